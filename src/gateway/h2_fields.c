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
