/* What a route or a pin asks of a request besides host and path. */
#include "gateway/table.h"

#include "wire/url.h"

#include <string.h>

static bool header_matches(const struct http1_head *h, const char *p,
                           const struct snapshot_match *m)
{
    size_t from = 0, len = strlen(m->name);
    const struct http1_field *f;
    while ((f = http1_find(h, p, m->name, len, &from)) != NULL)
        if (m->value == NULL || (strlen(m->value) == f->value.len &&
                                 memcmp(m->value, http1_at(p, f->value), f->value.len) == 0))
            return true;
    return false;
}

static bool cookie_matches(const struct http1_head *h, const char *p,
                           const struct snapshot_match *m)
{
    size_t len;
    const char *value = http1_cookie(h, p, m->name, &len);
    return value != NULL &&
           (m->value == NULL || (strlen(m->value) == len && memcmp(m->value, value, len) == 0));
}

static bool method_matches(const struct http1_head *h, const char *p, const char *words)
{
    const char *method = http1_at(p, h->method_text);
    for (size_t len; *words != 0; words += len + (words[len] == ' ')) {
        len = strcspn(words, " ");
        if (len == h->method_text.len && memcmp(words, method, len) == 0)
            return true;
    }
    return false;
}

static bool matches(const struct http1_head *h, const char *p, const struct snapshot_match *m)
{
    switch ((enum snapshot_match_kind)m->kind) {
    case SNAPSHOT_MATCH_HEADER: return header_matches(h, p, m);
    case SNAPSHOT_MATCH_COOKIE: return cookie_matches(h, p, m);
    case SNAPSHOT_MATCH_QUERY:
        return url_query_has(http1_at(p, h->path), h->path.len, m->name, m->value);
    case SNAPSHOT_MATCH_METHOD: return method_matches(h, p, m->name);
    case SNAPSHOT_MATCH_KINDS: break;
    }
    return false;
}

bool table_matches(const struct table *t, const struct http1_head *h, const char *p, uint32_t first,
                   uint32_t len)
{
    for (uint32_t i = first; i < first + len; i++)
        if (!matches(h, p, &t->snapshot->matches[i]))
            return false;
    return true;
}
