#include "gateway/h2_head.h"

#include "gateway/grpc.h"
#include "gateway/h2_limits.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_BYTES = 4096, KEY_BYTES = 16 };

void h2_block_init(struct h2_block *b, struct chunk_pool *pool)
{
    memset(b, 0, sizeof *b);
    b->pool = pool;
    b->grpc_status = GRPC_NONE;
}

void h2_block_release(struct h2_block *b)
{
    chunk_put(b->pool, b->lines);
    chunk_put(b->pool, b->cookies);
    h2_block_init(b, b->pool);
}

static void refuse(struct h2_block *b, unsigned status, const char *why)
{
    if (b->status == 0) {
        b->status = status;
        b->why = why;
    }
}

/* ---- fields
 * ------------------------------------------------------------------------------------------- */

/* The limit of the list keeps all of it within the largest chunk: a line has 4 bytes beside its
 * text, a crumb 2, and the list counts 32. */
static char *reserve(struct h2_block *b, struct chunk **c, size_t len)
{
    if (*c == NULL)
        *c = chunk_get(b->pool, FIRST_BYTES);
    if (*c != NULL && (*c)->cap - (*c)->end < len) {
        struct chunk *larger = chunk_get(b->pool, CHUNK_BIG);
        if (larger == NULL) { /* the old one stays: pseudo-fields point into it */
            refuse(b, 503, "out of memory");
            return NULL;
        }
        chunk_add(larger, (*c)->data, (*c)->end);
        chunk_put(b->pool, *c);
        *c = larger;
    }
    if (*c == NULL) {
        refuse(b, 503, "out of memory");
        return NULL;
    }
    char *at = (*c)->data + (*c)->end;
    (*c)->end += (uint32_t)len;
    return at;
}

static bool visible(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] <= ' ' || p[i] == 0x7f)
            return false;
    return len > 0;
}

static bool name_is_clean(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] == ':' || (p[i] >= 'A' && p[i] <= 'Z'))
            return false;
    return visible(p, len);
}

static bool value_is_clean(const char *p, size_t len)
{
    return memchr(p, '\r', len) == NULL && memchr(p, '\n', len) == NULL &&
           memchr(p, 0, len) == NULL;
}

#define IS(p, len, literal) ((len) == sizeof(literal) - 1 && memcmp(p, literal, (len)) == 0)

static void pseudo(struct h2_block *b, const char *name, size_t name_len, const char *value,
                   size_t len)
{
    struct h2_text *to = IS(name, name_len, ":method")      ? &b->method
                         : IS(name, name_len, ":path")      ? &b->path
                         : IS(name, name_len, ":authority") ? &b->authority
                         : IS(name, name_len, ":scheme")    ? &b->scheme
                         : IS(name, name_len, ":protocol")  ? &b->protocol
                         : IS(name, name_len, ":status")    ? &b->code
                                                            : NULL;
    if (to == NULL || to->len > 0 || b->regular || (!visible(value, len) && to != &b->authority)) {
        refuse(b, 400, "malformed pseudo-header fields");
        return;
    }
    if (len > 0 && !visible(value, len)) {
        refuse(b, 400, http1_error_text(HTTP1_E_HOST));
        return;
    }
    char *at = len > 0 ? reserve(b, &b->lines, len) : NULL;
    if (at == NULL)
        return;
    memcpy(at, value, len);
    *to = (struct h2_text){(uint32_t)(at - b->lines->data), (uint32_t)len};
    b->fields_at = b->lines->end;
}

/* RFC 9113 section 8.2.2: what belongs to a connection of HTTP/1. */
static bool connection_specific(const char *name, size_t len, const char *value, size_t value_len)
{
    return IS(name, len, "connection") || IS(name, len, "keep-alive") ||
           IS(name, len, "proxy-connection") || IS(name, len, "transfer-encoding") ||
           IS(name, len, "upgrade") || IS(name, len, "http2-settings") ||
           (IS(name, len, "te") && !IS(value, value_len, "trailers"));
}

static void crumb(struct h2_block *b, const char *value, size_t len)
{
    bool first = b->cookies == NULL;
    char *at = reserve(b, &b->cookies, len + (first ? 0 : 2));
    if (at == NULL)
        return;
    if (!first) {
        memcpy(at, "; ", 2);
        at += 2;
    }
    memcpy(at, value, len);
}

/* With a format or parameters perhaps; "application/grpc-web" is another type. */
static bool is_grpc(const char *type, size_t len)
{
    static const char grpc[] = "application/grpc";
    const size_t n = sizeof grpc - 1;
    return len >= n && strncasecmp(type, grpc, n) == 0 &&
           (len == n || memchr("+; \t", type[n], 4) != NULL);
}

/* What the gateway itself looks at. */
static void note(struct h2_block *b, const char *name, size_t name_len, const char *value,
                 size_t len)
{
    if (IS(name, name_len, "content-length")) {
        b->has_length = true;
    } else if (IS(name, name_len, "content-type")) {
        b->grpc = is_grpc(value, len);
    } else if (IS(name, name_len, "grpc-status")) {
        unsigned status = 0;
        for (size_t i = 0; i < len && i < 3; i++)
            status = status * 10 + (unsigned char)value[i] - '0';
        b->grpc_status = len > 0 && status <= GRPC_STATUS_MAX ? (int8_t)status : GRPC_NONE;
    }
}

static void line(struct h2_block *b, const char *name, size_t name_len, const char *value,
                 size_t len)
{
    char *at = reserve(b, &b->lines, name_len + len + 4);
    if (at == NULL)
        return;
    memcpy(at, name, name_len);
    memcpy(at + name_len, ": ", 2);
    memcpy(at + name_len + 2, value, len);
    memcpy(at + name_len + 2 + len, "\r\n", 2);
    note(b, name, name_len, value, len);
    if (IS(name, name_len, "host")) {
        if (b->host.len > 0)
            refuse(b, 400, http1_error_text(HTTP1_E_HOST));
        b->host = (struct h2_text){(uint32_t)(at + name_len + 2 - b->lines->data), (uint32_t)len};
    }
}

void h2_block_field(struct h2_block *b, const char *name, size_t name_len, const char *value,
                    size_t len)
{
    b->fields++;
    b->list_bytes += (uint32_t)(name_len + len) + 32;
    if (b->list_bytes > H2_MAX_HEADER_LIST)
        refuse(b, 431, http1_error_text(HTTP1_E_TOO_LONG));
    if (b->status != 0)
        return;
    if (name_len > 0 && name[0] == ':') {
        pseudo(b, name, name_len, value, len);
        return;
    }
    b->regular = true;
    if (!name_is_clean(name, name_len))
        refuse(b, 400, http1_error_text(HTTP1_E_FIELD_NAME));
    else if (!value_is_clean(value, len))
        refuse(b, 400, http1_error_text(HTTP1_E_FIELD_VALUE));
    else if (connection_specific(name, name_len, value, len))
        refuse(b, 400, "a field that belongs to a connection of HTTP/1");
    else if (IS(name, name_len, "cookie"))
        crumb(b, value, len);
    else
        line(b, name, name_len, value, len);
}

/* ---- what they make
 * --------------------------------------------------------------------------------- */

#define ADD(out, literal) chunk_add(out, literal, sizeof(literal) - 1)

static const char *at(const struct h2_block *b, struct h2_text t)
{
    return b->lines->data + t.at;
}

static bool equal_hosts(const struct h2_block *b)
{
    return b->host.len == b->authority.len &&
           strncasecmp(at(b, b->host), at(b, b->authority), b->host.len) == 0;
}

static void check_request(struct h2_block *b)
{
    bool connect = b->method.len > 0 && IS(at(b, b->method), b->method.len, "CONNECT");
    if (b->method.len == 0 || b->code.len > 0)
        refuse(b, 400, "no :method");
    else if (connect && b->protocol.len == 0)
        refuse(b, http1_error_status(HTTP1_E_CONNECT_UNSUPPORTED),
               http1_error_text(HTTP1_E_CONNECT_UNSUPPORTED));
    else if (b->host.len == 0 && b->authority.len == 0)
        refuse(b, 400, http1_error_text(HTTP1_E_NO_HOST));
    else if (b->path.len == 0 || b->scheme.len == 0)
        refuse(b, 400, "no :path or no :scheme");
    else if (!connect && b->protocol.len > 0)
        refuse(b, 400, ":protocol without CONNECT");
    else if (*at(b, b->path) != '/' && !(IS(at(b, b->path), b->path.len, "*") &&
                                         IS(at(b, b->method), b->method.len, "OPTIONS")))
        refuse(b, 400, http1_error_text(HTTP1_E_TARGET));
    else if (b->host.len > 0 && b->authority.len > 0 && !equal_hosts(b))
        refuse(b, 400, "Host is not what :authority is");
}

/* RFC 8441 section 5 has no key; RFC 6455 section 4.1 wants one, with a new value each time. */
static void add_websocket_key(struct chunk *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char key[KEY_BYTES + 2] = {0};
    if (getrandom(key, KEY_BYTES, GRND_NONBLOCK) != KEY_BYTES)
        memset(key, 'k', KEY_BYTES); /* it proves nothing anyway: nobody caches it */
    ADD(out, "sec-websocket-key: ");
    for (size_t i = 0; i < KEY_BYTES; i += 3) {
        unsigned v = (unsigned)key[i] << 16 | (unsigned)key[i + 1] << 8 | key[i + 2];
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63]};
        if (i + 3 > KEY_BYTES)
            four[2] = four[3] = '=';
        chunk_add(out, four, 4);
    }
    ADD(out, "\r\n");
}

/* KEY_BYTES is one more than a multiple of three: its last group is two digits and two pads. */
_Static_assert(KEY_BYTES % 3 == 1, "padding of the key");

static void add_upgrade(const struct h2_block *b, struct chunk *out)
{
    ADD(out, "connection: upgrade\r\nupgrade: ");
    chunk_add(out, at(b, b->protocol), b->protocol.len);
    ADD(out, "\r\n");
    if (IS(at(b, b->protocol), b->protocol.len, "websocket"))
        add_websocket_key(out);
}

struct chunk *h2_block_request(struct h2_block *b, bool bodiless)
{
    if (b->status == 0)
        check_request(b);
    if (b->status != 0)
        return NULL;
    bool upgrade = b->protocol.len > 0;
    size_t lines = b->lines->end - b->fields_at, cookies = chunk_len(b->cookies);
    size_t most =
        lines + cookies + b->method.len + b->path.len + b->authority.len + b->protocol.len + 256;
    struct chunk *out = chunk_get(b->pool, most);
    if (out == NULL)
        return NULL;
    if (upgrade)
        ADD(out, "GET");
    else
        chunk_add(out, at(b, b->method), b->method.len);
    ADD(out, " ");
    chunk_add(out, at(b, b->path), b->path.len);
    ADD(out, " HTTP/1.1\r\n");
    if (b->host.len == 0) {
        ADD(out, "host: ");
        chunk_add(out, b->lines->data + b->authority.at, b->authority.len);
        ADD(out, "\r\n");
    }
    chunk_add(out, b->lines->data + b->fields_at, lines);
    if (cookies > 0) {
        ADD(out, "cookie: ");
        chunk_add(out, b->cookies->data, cookies);
        ADD(out, "\r\n");
    }
    if (upgrade)
        add_upgrade(b, out);
    else if (!bodiless && !b->has_length)
        ADD(out, "transfer-encoding: chunked\r\n");
    ADD(out, "\r\n");
    return out;
}

struct chunk *h2_block_answer(struct h2_block *b, bool bodiless, bool to_head)
{
    const char *code = b->code.len > 0 ? at(b, b->code) : "";
    if (b->code.len != 3 || code[0] < '1' || code[0] > '5' || code[1] < '0' || code[1] > '9' ||
        code[2] < '0' || code[2] > '9' || memcmp(code, "101", 3) == 0 ||
        b->method.len + b->path.len + b->authority.len + b->scheme.len + b->protocol.len > 0)
        refuse(b, 400, http1_error_text(HTTP1_E_STATUS_LINE));
    if (b->status != 0)
        return NULL;
    size_t lines = b->lines->end - b->fields_at, cookies = chunk_len(b->cookies);
    struct chunk *out = chunk_get(b->pool, lines + cookies + 128);
    if (out == NULL)
        return NULL;
    ADD(out, "HTTP/1.1 ");
    chunk_add(out, code, 3);
    ADD(out, " \r\n");
    chunk_add(out, b->lines->data + b->fields_at, lines);
    if (cookies > 0) {
        ADD(out, "cookie: ");
        chunk_add(out, b->cookies->data, cookies);
        ADD(out, "\r\n");
    }
    bool none =
        to_head || code[0] == '1' || memcmp(code, "204", 3) == 0 || memcmp(code, "304", 3) == 0;
    if (!none && !b->has_length && bodiless)
        ADD(out, "content-length: 0\r\n");
    else if (!none && !b->has_length)
        ADD(out, "transfer-encoding: chunked\r\n");
    ADD(out, "\r\n");
    return out;
}

struct chunk *h2_block_trailers(struct h2_block *b)
{
    if (b->code.len + b->method.len + b->path.len + b->authority.len + b->scheme.len +
            b->protocol.len >
        0)
        refuse(b, 400, http1_error_text(HTTP1_E_TRAILER));
    if (b->status != 0)
        return NULL;
    size_t lines = chunk_len(b->lines);
    struct chunk *out = chunk_get(b->pool, lines + 8);
    if (out == NULL)
        return NULL;
    ADD(out, "0\r\n");
    if (lines > 0)
        chunk_add(out, b->lines->data, lines);
    ADD(out, "\r\n");
    return out;
}
