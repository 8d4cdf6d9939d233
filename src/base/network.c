#include "base/network.h"

#include "base/alloc.h"
#include "base/units.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

int network_parse(const char *text, struct network *out, struct error *err)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    uint64_t most = 32, bits;
    snprintf(address, sizeof address, "%.*s", len < sizeof address ? (int)len : 0, text);
    *out = (struct network){0};
    memcpy(out->address, v4_prefix, sizeof v4_prefix);
    if (inet_pton(AF_INET, address, out->address + sizeof v4_prefix) != 1) {
        if (inet_pton(AF_INET6, address, out->address) != 1)
            return error_set(err, ERROR_USAGE,
                             "`%.80s` is no network: expected one such as 10.0.0.0/8 or "
                             "2001:db8::/32, or an IP address",
                             text);
        most = 128;
    }
    bits = most;
    if (text[len] == '/' && parse_u64(text + len + 1, most, &bits) < 0)
        return error_set(err, ERROR_USAGE, "`%.80s`: expected a length from 0 to %u behind the /",
                         text, (unsigned)most);
    out->bits = (uint8_t)(bits + 128 - most);
    return 0;
}

int network_parse_list(const char *list, struct network out[NETWORK_LIST_MAX], size_t *len,
                       struct error *err)
{
    cleanup_free char *copy = xstrdup(list);
    char *save = NULL;
    *len = 0;
    for (char *s = strtok_r(copy, ", ", &save); s != NULL; s = strtok_r(NULL, ", ", &save)) {
        if (*len == NETWORK_LIST_MAX)
            return error_set(err, ERROR_USAGE, "more than %d networks", NETWORK_LIST_MAX);
        if (network_parse(s, &out[*len], err) < 0)
            return -1;
        (*len)++;
    }
    return 0;
}

static struct network cleared(const struct network *n)
{
    struct network out = *n;
    for (size_t bit = n->bits; bit < 128; bit++)
        out.address[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return out;
}

bool network_is_exact(const struct network *n)
{
    struct network exact = cleared(n);
    return memcmp(exact.address, n->address, sizeof exact.address) == 0;
}

char *network_format(const struct network *n, char out[NETWORK_TEXT_SIZE])
{
    struct network exact = cleared(n);
    char text[INET6_ADDRSTRLEN];
    bool v4 = n->bits >= 96 && memcmp(exact.address, v4_prefix, sizeof v4_prefix) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, exact.address + (v4 ? sizeof v4_prefix : 0), text,
              sizeof text);
    snprintf(out, NETWORK_TEXT_SIZE, "%s/%u", text, v4 ? n->bits - 96u : n->bits);
    return out;
}
