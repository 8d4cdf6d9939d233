/* Heads for the other side: what ends at this hop is taken out (RFC 9110 section 7.6.1), what the
 * next one must know is put in. Field lines that stay are copied in runs, as they came. */
#include "gateway/conn.h"

#include "gateway/client_cert.h"
#include "gateway/split.h"
#include "gateway/via.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct run {
    struct chunk *out;
    const char *p;
    size_t from, to; /* of p: lines that stay and were not copied yet */
};

static void run_flush(struct run *r)
{
    if (r->to > r->from)
        chunk_add(r->out, r->p + r->from, r->to - r->from);
}

static void run_keep(struct run *r, size_t from, size_t to)
{
    if (r->to != from) {
        run_flush(r);
        r->from = from;
    }
    r->to = to;
}

#define ADD(out, literal) chunk_add(out, literal, sizeof(literal) - 1)

static void add_span(struct chunk *out, const char *p, struct http1_span s)
{
    chunk_add(out, p + s.at, s.len);
}

/* ---- requests
 * ---------------------------------------------------------------------------------------- */

static bool request_field_stays(const struct client *c, const struct http1_head *h, const char *p,
                                const struct http1_field *f)
{
    switch ((enum http1_name)f->id) {
    case HTTP1_N_CONNECTION:
    case HTTP1_N_KEEP_ALIVE:
    case HTTP1_N_PROXY_CONNECTION:
    case HTTP1_N_TE:
    case HTTP1_N_UPGRADE:
    case HTTP1_N_HTTP2_SETTINGS:
    case HTTP1_N_CLIENT_CERT:
    case HTTP1_N_CLIENT_CERT_CHAIN:
    case HTTP1_N_X_FORWARDED_FOR:
    case HTTP1_N_X_FORWARDED_PROTO:
    case HTTP1_N_X_FORWARDED_HOST: return false;
    /* RFC 7239 says the same as X-Forwarded-*: it must not be believed from anyone. */
    case HTTP1_N_FORWARDED: return c->trusted && !f->named;
    /* A user's request is no copy (mirror.h), unless a gateway in front says so. */
    case HTTP1_N_SLUICE_MIRROR:
        return c->trusted && !f->named && memchr(p + f->name.at, '_', f->name.len) == NULL;
    case HTTP1_N_EXPECT: return h->expect_continue;
    case HTTP1_N_HOST: return true;
    default: return !f->named;
    }
}

/* The values of all fields of this kind, joined with commas. A name with '_' is never believed. */
static bool add_values(struct chunk *out, const struct http1_head *h, const char *p,
                       enum http1_name id)
{
    bool any = false;
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (f->id != id || f->value.len == 0 || memchr(p + f->name.at, '_', f->name.len) != NULL)
            continue;
        if (any)
            ADD(out, ", ");
        add_span(out, p, f->value);
        any = true;
    }
    return any;
}

static void add_scheme(struct chunk *out, const struct client *c)
{
    ADD(out, "http");
    if (c->secure)
        ADD(out, "s");
}

/* From a trusted proxy what it says stays, and our peer is appended; from others it is replaced. */
static void add_forwarded(struct chunk *out, const struct client *c, const struct http1_head *h,
                          const char *p)
{
    ADD(out, "X-Forwarded-For: ");
    if (c->trusted && add_values(out, h, p, HTTP1_N_X_FORWARDED_FOR))
        ADD(out, ", ");
    chunk_add(out, c->address, c->address_len);
    ADD(out, "\r\nX-Forwarded-Proto: ");
    if (!c->trusted || !add_values(out, h, p, HTTP1_N_X_FORWARDED_PROTO))
        add_scheme(out, c);
    ADD(out, "\r\nX-Forwarded-Host: ");
    if (!c->trusted || !add_values(out, h, p, HTTP1_N_X_FORWARDED_HOST))
        add_span(out, p, h->authority);
    ADD(out, "\r\n");
}

static void add_request_line(struct chunk *out, const struct http1_head *h, const char *p)
{
    if (h->minor == 1 && h->path.at == h->target.at) {
        chunk_add(out, p, h->fields_at); /* as it came */
        return;
    }
    add_span(out, p, h->method_text);
    ADD(out, " ");
    if (h->path.len > 0)
        add_span(out, p, h->path);
    else if (h->method == HTTP1_M_OPTIONS) /* RFC 9112 section 3.2.4 */
        ADD(out, "*");
    else
        ADD(out, "/");
    ADD(out, " HTTP/1.1\r\n");
}

/* RFC 9440 section 2. Nobody else's words: whatever came by that name is gone. */
static void add_client_cert(struct chunk *out, const char *value)
{
    ADD(out, "Client-Cert: ");
    chunk_add(out, value, strlen(value));
    ADD(out, "\r\n");
}

struct chunk *forward_request(const struct client *c, const struct http1_head *h, const char *p)
{
    const char *client_cert = c->certified ? client_cert_of(c) : NULL;
    if (c->certified && client_cert == NULL)
        return NULL; /* its connection is gone */
    /* What is added: names and separators, an address, the host once more, commas between values.
     */
    size_t most = h->len + 200u + sizeof c->address + HTTP1_MAX_HOST + 2u * h->fields_len;
    most = most < CHUNK_BIG ? most : CHUNK_BIG;
    if (client_cert != NULL)
        most += sizeof "Client-Cert: \r\n" + strlen(client_cert);
    struct chunk *out = chunk_get(&c->worker->chunks, most);
    if (out == NULL)
        return NULL;
    add_request_line(out, h, p);
    struct run run = {out, p, h->fields_at, h->fields_at};
    size_t at = h->fields_at;
    bool host = false;
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (request_field_stays(c, h, p, f))
            run_keep(&run, at, f->line_end);
        host |= f->id == HTTP1_N_HOST;
        at = f->line_end;
    }
    run_flush(&run);
    if (!host) { /* HTTP/1.0: what follows speaks 1.1 and must have one, even an empty one */
        ADD(out, "Host: ");
        add_span(out, p, h->authority);
        ADD(out, "\r\n");
    }
    add_forwarded(out, c, h, p);
    if (client_cert != NULL)
        add_client_cert(out, client_cert);
    if (h->upgrade) {
        ADD(out, "Connection: Upgrade\r\nUpgrade: ");
        add_span(out, p, h->upgrade_to);
        ADD(out, "\r\n");
    }
    ADD(out, "\r\n");
    return out;
}

/* ---- answers
 * ------------------------------------------------------------------------------------------- */

static bool answer_field_stays(const struct exchange *x, const struct http1_head *h,
                               const struct http1_field *f)
{
    bool bodiless = h->status < 200 || h->status == 204;
    switch ((enum http1_name)f->id) {
    case HTTP1_N_CONNECTION:
    case HTTP1_N_KEEP_ALIVE:
    case HTTP1_N_PROXY_CONNECTION:
    case HTTP1_N_UPGRADE: return false;
    case HTTP1_N_TRANSFER_ENCODING: return !bodiless && !x->http10;
    /* RFC 9110 section 8.6: none in 1xx and 204. */
    case HTTP1_N_CONTENT_LENGTH: return !bodiless;
    default: return !f->named;
    }
}

static void add_cookie(struct chunk *out, const struct exchange *x)
{
    char digits[5];
    size_t n = 0;
    uint16_t v = x->sticky;
    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    ADD(out, "Set-Cookie: ");
    chunk_add(out, x->cookie, strlen(x->cookie));
    ADD(out, "=");
    while (n > 0)
        chunk_add(out, &digits[--n], 1);
    ADD(out, "; Path=/; HttpOnly; SameSite=Lax\r\n");
}

/* RFC 6797 section 6.1. What the app says of it goes before. */
static void add_hsts(struct chunk *out, const struct exchange *x, const struct http1_head *h,
                     const char *p)
{
    static const char name[] = "strict-transport-security";
    char line[64];
    for (size_t i = 0; i < h->fields_len; i++)
        if (h->fields[i].name.len == sizeof name - 1 &&
            strncasecmp(p + h->fields[i].name.at, name, sizeof name - 1) == 0)
            return;
    int n = snprintf(line, sizeof line, "Strict-Transport-Security: max-age=%u\r\n", x->hsts_s);
    chunk_add(out, line, (size_t)n);
}

static void add_connection(struct chunk *out, const struct exchange *x, const struct http1_head *h,
                           const char *p)
{
    if (h->status == 101) {
        ADD(out, "Connection: Upgrade\r\n");
        if (h->upgrade) {
            ADD(out, "Upgrade: ");
            add_span(out, p, h->upgrade_to);
            ADD(out, "\r\n");
        }
        return;
    }
    if (h->status < 200)
        return;
    if (x->hsts_s > 0)
        add_hsts(out, x, h, p);
    if (x->via) {
        char line[VIA_LINE_MAX];
        size_t len = via_answer(x, h, line);
        chunk_add(out, line, len);
    }
    if (x->sticky != STICKY_NONE)
        add_cookie(out, x);
    if (x->client->close_after)
        ADD(out, "Connection: close\r\n");
    else if (x->http10) /* RFC 9112 section 9.3: it would not know otherwise */
        ADD(out, "Connection: keep-alive\r\n");
}

struct chunk *forward_answer(struct exchange *x, const struct http1_head *h, const char *p)
{
    struct edits edits = {0};
    if (x->answer_edits != NULL && h->status >= 200)
        edits = rules_answer(x->answer_edits);
    size_t most = h->len + 264u + VIA_LINE_MAX + sizeof x->cookie + edits.lines_len;
    struct chunk *out = chunk_get(&x->worker->chunks, most);
    if (out == NULL)
        return NULL;
    /* The line as it came, but for the version: ours is 1.1 (RFC 9110 section 6.2). */
    ADD(out, "HTTP/1.1");
    chunk_add(out, p + 8, h->fields_at - 8u);
    struct run run = {out, p, h->fields_at, h->fields_at};
    size_t at = h->fields_at;
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (answer_field_stays(x, h, f) &&
            !(edits.names_len > 0 && edits_drop(&edits, http1_at(p, f->name), f->name.len)))
            run_keep(&run, at, f->line_end);
        at = f->line_end;
    }
    run_flush(&run);
    if (edits.lines_len > 0)
        chunk_add(out, edits.data + edits.names_len, edits.lines_len);
    add_connection(out, x, h, p);
    ADD(out, "\r\n");
    return out;
}
