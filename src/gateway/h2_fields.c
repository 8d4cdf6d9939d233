#include "gateway/h2_fields.h"

#include <string.h>

static void add(struct h2_fields *f, char *name, size_t name_len, const char *value, size_t len)
{
    if (f->len == H2_FIELDS_MAX)
        return;
    f->items[f->len++] = (nghttp2_nv){
        .name = (uint8_t *)name, .namelen = name_len, .value = (uint8_t *)value, .valuelen = len};
}

static void lower(char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] | 0x20);
}

static bool stays(const struct http1_field *f)
{
    switch ((enum http1_name)f->id) {
    case HTTP1_N_CONNECTION:
    case HTTP1_N_KEEP_ALIVE:
    case HTTP1_N_PROXY_CONNECTION:
    case HTTP1_N_TRANSFER_ENCODING:
    case HTTP1_N_UPGRADE:
    case HTTP1_N_HTTP2_SETTINGS:
    case HTTP1_N_TE: return false;
    default: return !f->named;
    }
}

void h2_fields_answer(struct h2_fields *f, const struct http1_head *h, char *p, unsigned status)
{
    static char name[] = ":status";
    f->len = 0;
    for (size_t i = 3; i-- > 0; status /= 10)
        f->status[i] = (char)('0' + status % 10);
    add(f, name, sizeof name - 1, f->status, sizeof f->status);
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *field = &h->fields[i];
        if (!stays(field))
            continue;
        lower(p + field->name.at, field->name.len);
        add(f, p + field->name.at, field->name.len, p + field->value.at, field->value.len);
    }
}

#define ADD(f, name, value, len) add(f, (char *)(name), sizeof(name) - 1, value, len)

void h2_fields_request(struct h2_fields *f, const struct http1_head *h, char *p)
{
    f->len = 0;
    ADD(f, ":method", p + h->method_text.at, h->method_text.len);
    ADD(f, ":scheme", "http", 4);
    if (h->authority.len > 0)
        ADD(f, ":authority", p + h->authority.at, h->authority.len);
    ADD(f, ":path", p + h->target.at, h->target.len);
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *field = &h->fields[i];
        if (!stays(field) || (field->id == HTTP1_N_HOST && h->authority.len > 0))
            continue;
        lower(p + field->name.at, field->name.len);
        add(f, p + field->name.at, field->name.len, p + field->value.at, field->value.len);
    }
    /* Of this hop, and true: trailers are passed on. gRPC asks for it. */
    ADD(f, "te", "trailers", 8);
}

/* PROTOCOL-HTTP2.md: Percent-Encoded. */
static size_t percent(char *to, size_t room, const char *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < len && n + 3 <= room; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            to[n++] = (char)c;
        } else {
            to[n++] = '%';
            to[n++] = digits[c >> 4];
            to[n++] = digits[c & 15];
        }
    }
    return n;
}

void h2_fields_grpc(struct h2_fields *f, unsigned status, const char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    f->len = 0;
    f->text[0] = (char)('0' + status / 10);
    f->text[1] = (char)('0' + status % 10);
    size_t from = status < 10 ? 1 : 0;
    ADD(f, ":status", "200", 3);
    ADD(f, "content-type", "application/grpc", 16);
    ADD(f, "grpc-status", f->text + from, 2 - from);
    ADD(f, "grpc-message", f->text + 2, percent(f->text + 2, sizeof f->text - 2, text, len));
}

void h2_fields_trailers(struct h2_fields *f, char *p, size_t len)
{
    f->len = 0;
    for (char *end = p + len; p < end;) {
        char *lf = memchr(p, '\n', (size_t)(end - p)), *colon = memchr(p, ':', (size_t)(end - p));
        if (lf == NULL || colon == NULL || colon > lf)
            return;
        char *value = colon + 1, *value_end = lf - 1; /* its CR */
        while (value < value_end && (*value == ' ' || *value == '\t'))
            value++;
        while (value < value_end && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        lower(p, (size_t)(colon - p));
        add(f, p, (size_t)(colon - p), value, (size_t)(value_end - value));
        p = lf + 1;
    }
}
