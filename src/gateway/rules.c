#include "gateway/rules.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/field.h"
#include "wire/url.h"

#include <string.h>

/* ---- compiling
 * ------------------------------------------------------------------------------------------- */

static size_t compiled_size(const struct snapshot *s)
{
    size_t bytes = s->rules_len * sizeof(struct rules);
    for (uint32_t i = 0; i < s->edits_len; i++) /* a length and a name, and a line of both */
        bytes += 1 + 2 * strlen(s->edits[i].name) + strlen(s->edits[i].value) + 4;
    return bytes;
}

static char *put(char *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

static char *compile(struct edits *e, const struct snapshot_edit *edits, uint32_t len, char *at)
{
    e->data = at;
    for (uint32_t i = 0; i < len; i++)
        if (edits[i].kind != SNAPSHOT_ADD) {
            *at++ = (char)strlen(edits[i].name);
            at = put(at, edits[i].name);
        }
    e->names_len = (uint32_t)(at - e->data);
    for (uint32_t i = 0; i < len; i++)
        if (edits[i].kind != SNAPSHOT_REMOVE) {
            at = put(put(at, edits[i].name), ": ");
            at = put(put(at, edits[i].value), "\r\n");
        }
    e->lines_len = (uint32_t)(at - e->data) - e->names_len;
    return at;
}

_Static_assert(FIELD_NAME_MAX <= UINT8_MAX, "a name's length is a byte");

struct rules *rules_make(const struct snapshot *s)
{
    if (s->rules_len == 0)
        return NULL;
    struct rules *all = xcalloc(1, compiled_size(s));
    char *at = (char *)(all + s->rules_len);
    for (uint32_t i = 0; i < s->rules_len; i++) {
        const struct snapshot_rules *from = &s->rules[i];
        const struct snapshot_edit *edits = s->edits + from->first_edit;
        all[i].strip_prefix = from->strip_prefix;
        all[i].prefix = from->prefix;
        all[i].path = from->path;
        at = compile(&all[i].request, edits, from->request_edits, at);
        at = compile(&all[i].answer, edits + from->request_edits, from->answer_edits, at);
    }
    return all;
}

bool edits_drop(const struct edits *e, const char *name, size_t len)
{
    const char *end = e->data + e->names_len;
    for (const char *at = e->data; at < end; at += 1 + (unsigned char)*at)
        if (field_same_name(at + 1, (unsigned char)*at, name, len))
            return true;
    return false;
}

/* ---- requests
 * ----------------------------------------------------------------------------------------- */

#define ADD(out, literal) chunk_add(out, literal, sizeof(literal) - 1)
#define PREFIX_FIELD "X-Forwarded-Prefix"

static bool strips(const struct rules *r, const char *path, size_t len)
{
    return r->strip_prefix != NULL &&
           url_path_under(path, len, r->strip_prefix, strlen(r->strip_prefix));
}

/* The path of the request line; true: the prefix was there, and is gone. What is left never starts
 * with two slashes, which an app may take for another host. */
static bool add_path(struct chunk *out, const struct rules *r, const char *path, size_t len)
{
    char normal[HTTP1_MAX_HEAD];
    bool stripped = false;
    if (r->path != NULL) {
        chunk_add(out, r->path, strlen(r->path));
        return false;
    }
    /* Also where nothing is stripped: "/../b" behind the prefix "/a" would be "/b". */
    ssize_t n = url_normalize_path(path, len, normal);
    if (n > 0 && strips(r, normal, (size_t)n)) {
        stripped = true;
        path = normal + strlen(r->strip_prefix);
        len = (size_t)n - strlen(r->strip_prefix);
        while (len > 1 && (path[1] == '/' || path[1] == '\\')) {
            path++;
            len--;
        }
        normal[path - normal] = '/';
    } else if (n > 0 && r->prefix != NULL) {
        path = normal;
        len = (size_t)n;
    }
    if (r->prefix != NULL)
        chunk_add(out, r->prefix, strlen(r->prefix));
    chunk_add(out, path, len);
    if (len == 0 && r->prefix == NULL)
        ADD(out, "/");
    return stripped;
}

/* The request line; true: the prefix was taken away. What is for the server as a whole ("*") is
 * left alone. */
static bool add_request_line(struct chunk *out, const struct rules *r, const struct http1_head *h,
                             const char *p)
{
    const char *target = http1_at(p, h->target);
    bool changes = r->strip_prefix != NULL || r->prefix != NULL || r->path != NULL;
    if (!changes || target[0] != '/') {
        chunk_add(out, p, h->fields_at);
        return false;
    }
    const char *query = memchr(target, '?', h->target.len);
    size_t len = query != NULL ? (size_t)(query - target) : h->target.len;
    chunk_add(out, p, h->target.at);
    bool stripped = add_path(out, r, target, len);
    chunk_add(out, target + len, h->target.len - len);
    ADD(out, " HTTP/1.1\r\n");
    return stripped;
}

struct chunk *rules_request(const struct rules *r, struct chunk_pool *pool,
                            const struct http1_head *h, const char *p)
{
    size_t paths = (r->strip_prefix != NULL ? strlen(r->strip_prefix) : 0) +
                   (r->prefix != NULL ? strlen(r->prefix) : 0) +
                   (r->path != NULL ? strlen(r->path) : 0);
    size_t most = h->len + r->request.lines_len + paths + sizeof PREFIX_FIELD + 16u;
    struct chunk *out = chunk_get(pool, most);
    if (out == NULL)
        return NULL;
    bool stripped = add_request_line(out, r, h, p);
    size_t from = h->fields_at, at = from; /* [from, at): lines that stay */
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        const char *name = http1_at(p, f->name);
        bool prefix =
            stripped && field_same_name(name, f->name.len, PREFIX_FIELD, sizeof PREFIX_FIELD - 1);
        if (prefix || edits_drop(&r->request, name, f->name.len)) {
            chunk_add(out, p + from, at - from);
            from = f->line_end;
        }
        at = f->line_end;
    }
    chunk_add(out, p + from, at - from);
    chunk_add(out, r->request.data + r->request.names_len, r->request.lines_len);
    if (stripped) {
        ADD(out, PREFIX_FIELD ": ");
        chunk_add(out, r->strip_prefix, strlen(r->strip_prefix));
        ADD(out, "\r\n");
    }
    ADD(out, "\r\n");
    return out;
}

/* ---- answers
 * ------------------------------------------------------------------------------------------ */

struct chunk *rules_copy_answer(const struct rules *r, struct chunk_pool *pool)
{
    const struct edits *e = &r->answer;
    struct chunk *copy = chunk_get(pool, sizeof *e + e->names_len + e->lines_len);
    if (copy == NULL)
        return NULL;
    chunk_add(copy, e, sizeof *e);
    chunk_add(copy, e->data, e->names_len + e->lines_len);
    return copy;
}

struct edits rules_answer(const struct chunk *copy)
{
    struct edits e;
    memcpy(&e, copy->data + copy->start, sizeof e);
    e.data = copy->data + copy->start + sizeof e;
    return e;
}
