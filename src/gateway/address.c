#include "gateway/address.h"

#include <arpa/inet.h>
#include <string.h>

static bool within(const uint8_t address[ADDRESS_BYTES], const struct cidr *c)
{
    uint8_t whole = c->bits / 8, rest = c->bits % 8;
    return memcmp(address, c->address, whole) == 0 &&
           (rest == 0 || ((address[whole] ^ c->address[whole]) >> (8 - rest)) == 0);
}

bool address_in(const struct cidr *list, size_t len, const uint8_t address[ADDRESS_BYTES])
{
    for (size_t i = 0; i < len; i++)
        if (within(address, &list[i]))
            return true;
    return false;
}

#define IPV4(a, b, c, d)                                                                           \
    {                                                                                              \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d                                       \
    }

static bool is_loopback(const uint8_t address[ADDRESS_BYTES])
{
    static const struct cidr loopback[] = {
        {IPV4(127, 0, 0, 0), 96 + 8},
        {{[15] = 1}, 128},
    };
    return address_in(loopback, sizeof loopback / sizeof loopback[0], address);
}

static bool is_public(const uint8_t address[ADDRESS_BYTES])
{
    static const struct cidr inside[] = {
        {IPV4(0, 0, 0, 0), 96 + 8},
        {IPV4(10, 0, 0, 0), 96 + 8},
        {IPV4(100, 64, 0, 0), 96 + 10},
        {IPV4(169, 254, 0, 0), 96 + 16},
        {IPV4(172, 16, 0, 0), 96 + 12},
        {IPV4(192, 168, 0, 0), 96 + 16},
        {{[0] = 0}, 128},
        {{[0] = 0xfc}, 7},
        {{[0] = 0xfe, [1] = 0x80}, 10},
    };
    return !is_loopback(address) && !address_in(inside, sizeof inside / sizeof inside[0], address);
}

const uint8_t *address_of_client(const uint8_t *forwarded, const uint8_t peer[ADDRESS_BYTES],
                                 bool trusted)
{
    if (forwarded != NULL)
        return is_loopback(forwarded) ? NULL : forwarded;
    return !trusted && is_public(peer) ? peer : NULL;
}

/* ---- X-Forwarded-For
 * -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80 */
static bool parse(const char *text, size_t len, uint8_t address[ADDRESS_BYTES])
{
    char copy[INET6_ADDRSTRLEN];
    const char *colon = memchr(text, ':', len);
    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (end == NULL || (end + 1 < text + len && end[1] != ':'))
            return false;
        text++;
        len = (size_t)(end - text);
    } else if (colon != NULL && memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)) == NULL) {
        len = (size_t)(colon - text); /* one colon alone: a port's */
    }
    if (len >= sizeof copy || memchr(text, 0, len) != NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    if (inet_pton(AF_INET6, copy, address) == 1)
        return true;
    memcpy(address, (uint8_t[]){[10] = 0xff, [11] = 0xff}, 12);
    return inet_pton(AF_INET, copy, address + 12) == 1;
}

/* Takes the last element off the list. false: it is empty. */
static bool last_element(const char *list, size_t *len, struct http1_span *out)
{
    while (*len > 0) {
        size_t end = *len;
        while (*len > 0 && list[*len - 1] != ',')
            (*len)--;
        size_t at = *len;
        *len -= *len > 0; /* the comma */
        while (at < end && is_blank(list[at]))
            at++;
        while (end > at && is_blank(list[end - 1]))
            end--;
        *out = (struct http1_span){(uint16_t)at, (uint16_t)(end - at)};
        if (end > at)
            return true; /* an empty one says nothing (RFC 9110 section 5.6.1.2) */
    }
    return false;
}

bool address_forwarded(const struct http1_head *h, const char *p, const struct cidr *trusted,
                       size_t trusted_len, uint8_t address[ADDRESS_BYTES])
{
    bool any = false;
    for (size_t i = h->fields_len; i-- > 0;) {
        const struct http1_field *f = &h->fields[i];
        /* A name with '_' is not passed on as this one either (forward.c). */
        if (f->id != HTTP1_N_X_FORWARDED_FOR || memchr(p + f->name.at, '_', f->name.len) != NULL)
            continue;
        const char *list = http1_at(p, f->value);
        size_t len = f->value.len;
        struct http1_span one;
        while (last_element(list, &len, &one)) {
            if (!parse(http1_at(list, one), one.len, address))
                return false;
            if (!address_in(trusted, trusted_len, address))
                return true;
            any = true;
        }
    }
    return any;
}
