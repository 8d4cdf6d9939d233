#include "gateway/via.h"

#include "gateway/kept.h"

#include <stdio.h>
#include <string.h>

#define NAME(literal) literal, sizeof(literal) - 1

/* for="[2001:db8::1]":65535;proto=https;host="..." at the longest. */
enum { FORWARDED_MAX = ADDRESS_TEXT + HTTP1_MAX_HOST + 48 };

/* This hop: our peer, how it came to us, what it asked for. Addresses of IPv6 stand in brackets,
 * and what is no token in quotes (RFC 7239 sections 4 and 6); there is nothing in a host that would
 * have to be escaped. */
static void add_forwarded(struct exchange *x, const struct http1_head *h, const char *p)
{
    const struct client *c = x->client;
    char value[FORWARDED_MAX];
    bool ipv6 = strchr(c->address, ':') != NULL;
    int n = snprintf(value, sizeof value, "for=%s%s%s;proto=%s", ipv6 ? "\"[" : "", c->address,
                     ipv6 ? "]\"" : "", c->secure ? "https" : "http");
    if (h->authority.len > 0)
        n += snprintf(value + n, sizeof value - (size_t)n, ";host=\"%.*s\"", (int)h->authority.len,
                      http1_at(p, h->authority));
    if ((size_t)n < sizeof value)
        kept_add(x, NAME("Forwarded"), value, (size_t)n);
}

static const char *version(bool http2, uint8_t minor)
{
    return http2 ? "2" : minor == 0 ? "1.0" : "1.1";
}

void via_apply(struct exchange *x, const struct snapshot_route *r, const struct http1_head *h,
               const char *p)
{
    char value[VIA_LINE_MAX];
    if (!kept_room(x, FORWARDED_MAX + VIA_LINE_MAX + 32)) /* names and separators */
        return;
    if (r->forwarded)
        add_forwarded(x, h, p);
    x->via = r->via;
    if (!r->via)
        return;
    int n = snprintf(value, sizeof value, "%s sluice",
                     version(x->client->endpoint.stream != NULL, h->minor));
    kept_add(x, NAME("Via"), value, (size_t)n);
}

size_t via_answer(const struct exchange *x, const struct http1_head *h, char line[VIA_LINE_MAX])
{
    return (size_t)snprintf(line, VIA_LINE_MAX, "Via: %s sluice\r\n", version(x->h2c, h->minor));
}
