#include "wire/proxy.h"

#include <arpa/inet.h>
#include <string.h>

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

enum { V2_FIXED = 16, V2_IPV4 = 12, V2_IPV6 = 36, V2_TLV = 3 };
enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { FAMILY_INET = 1, FAMILY_INET6 = 2, FAMILY_UNIX = 3, TRANSPORT_STREAM = 1, TRANSPORT_DGRAM };

static bool begins_like(const char *p, size_t len, const char *text, size_t text_len)
{
    return memcmp(p, text, len < text_len ? len : text_len) == 0;
}

/* ---- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" ------------------------------- */

/* The word that ends with this byte; false: none, or a longer one than fits. */
static bool take_word(const char **at, const char *end, char stop, char *out, size_t size)
{
    const char *to = memchr(*at, stop, (size_t)(end - *at));
    size_t len = to != NULL ? (size_t)(to - *at) : 0;
    if (len == 0 || len >= size || memchr(*at, 0, len) != NULL)
        return false;
    memcpy(out, *at, len);
    out[len] = 0;
    *at = to + 1;
    return true;
}

static bool take_address(const char **at, const char *end, bool ipv6, uint8_t out[16])
{
    char word[INET6_ADDRSTRLEN];
    if (!take_word(at, end, ' ', word, sizeof word))
        return false;
    if (ipv6)
        return inet_pton(AF_INET6, word, out) == 1;
    memcpy(out, ipv4_prefix, sizeof ipv4_prefix);
    return inet_pton(AF_INET, word, out + 12) == 1;
}

/* 0 to 65535 without zeros in front. */
static bool take_port(const char **at, const char *end, char stop, uint16_t *out)
{
    char word[6];
    uint32_t value = 0;
    if (!take_word(at, end, stop, word, sizeof word) || (word[0] == '0' && word[1] != 0))
        return false;
    for (const char *c = word; *c != 0; c++) {
        if (*c < '0' || *c > '9')
            return false;
        value = value * 10 + (uint32_t)(*c - '0');
    }
    *out = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* The whole line with its CR, behind "PROXY ". */
static bool parse_line(const char *at, const char *end, struct proxy_header *h)
{
    size_t len = (size_t)(end - at);
    if (len >= 7 && memcmp(at, "UNKNOWN", 7) == 0) {
        h->local = true;
        return at[7] == ' ' || at[7] == '\r'; /* what follows is to be ignored */
    }
    if (len < 5 || memcmp(at, "TCP", 3) != 0 || (at[3] != '4' && at[3] != '6') || at[4] != ' ')
        return false;
    bool ipv6 = at[3] == '6';
    at += 5;
    return take_address(&at, end, ipv6, h->source) &&
           take_address(&at, end, ipv6, h->destination) &&
           take_port(&at, end, ' ', &h->source_port) &&
           take_port(&at, end, '\r', &h->destination_port) && at == end;
}

static ssize_t parse_v1(const char *p, size_t len, struct proxy_header *h)
{
    const char *lf = memchr(p, '\n', len < PROXY_V1_MAX ? len : PROXY_V1_MAX);
    if (lf == NULL)
        return len < PROXY_V1_MAX ? 0 : -1;
    if (lf - p < 7 || lf[-1] != '\r' || !parse_line(p + 6, lf, h))
        return -1;
    return lf + 1 - p;
}

/* ---- version 2, binary ----------------------------------------------------------------------- */

static uint16_t big_endian(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static bool tlvs_fit(const uint8_t *p, size_t len)
{
    while (len >= V2_TLV) {
        size_t size = V2_TLV + (size_t)big_endian(p + 1);
        if (size > len)
            return false;
        p += size;
        len -= size;
    }
    return len == 0;
}

static bool parse_addresses(const uint8_t *p, size_t len, uint8_t family, struct proxy_header *h)
{
    size_t each = family == FAMILY_INET ? 4 : 16;
    size_t size = family == FAMILY_INET ? V2_IPV4 : V2_IPV6;
    if (len < size)
        return false;
    if (family == FAMILY_INET) {
        memcpy(h->source, ipv4_prefix, sizeof ipv4_prefix);
        memcpy(h->destination, ipv4_prefix, sizeof ipv4_prefix);
    }
    memcpy(h->source + 16 - each, p, each);
    memcpy(h->destination + 16 - each, p + each, each);
    h->source_port = big_endian(p + 2 * each);
    h->destination_port = big_endian(p + 2 * each + 2);
    return tlvs_fit(p + size, len - size);
}

static ssize_t parse_v2(const char *text, size_t len, struct proxy_header *h)
{
    const uint8_t *p = (const uint8_t *)text;
    if (len > 12 && p[12] != V2_LOCAL && p[12] != V2_PROXY)
        return -1;
    if (len < V2_FIXED)
        return 0;
    uint8_t family = p[13] >> 4, transport = p[13] & 15;
    size_t rest = big_endian(p + 14);
    if (family > FAMILY_UNIX || transport > TRANSPORT_DGRAM || rest > PROXY_MAX - V2_FIXED)
        return -1;
    if (len < V2_FIXED + rest)
        return 0;
    h->local = p[12] == V2_LOCAL || transport != TRANSPORT_STREAM ||
               (family != FAMILY_INET && family != FAMILY_INET6);
    if (!h->local && !parse_addresses(p + V2_FIXED, rest, family, h))
        return -1;
    return (ssize_t)(V2_FIXED + rest);
}

ssize_t proxy_parse(const char *p, size_t len, struct proxy_header *h)
{
    memset(h, 0, sizeof *h);
    ssize_t n = -1;
    if (begins_like(p, len, "PROXY ", 6))
        n = parse_v1(p, len, h);
    else if (begins_like(p, len, signature, sizeof signature))
        n = parse_v2(p, len, h);
    if (n <= 0 || h->local) /* nothing of what was read counts */
        *h = (struct proxy_header){.local = n > 0};
    return n;
}
