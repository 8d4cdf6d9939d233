/* Rules of a share on an exchange, and redirects of a route. */
#include "gateway/conn.h"

#include "wire/url.h"

#include <stdio.h>
#include <string.h>

/* ---- rules
 * --------------------------------------------------------------------------------------------- */

/* first instead of the first chunk of what is sent and kept. */
static void replace_head(struct exchange *x, struct chunk *first)
{
    struct chunk *old = x->kept;
    x->kept_bytes += (uint32_t)chunk_len(first);
    x->kept_bytes -= (uint32_t)chunk_len(old);
    first->next = old->next;
    old->next = NULL;
    x->kept = x->cursor = first;
    x->cursor_at = 0;
    if (x->plain == NULL)
        x->plain = old; /* routes are looked up in it, at a later attempt */
    else if (x->plain != first)
        chunk_put(&x->worker->chunks, old);
    else
        x->plain = NULL;
}

static void forget_answer(struct exchange *x)
{
    chunk_put(&x->worker->chunks, x->answer_edits);
    x->answer_edits = NULL;
}

bool rewrite_request(struct exchange *x, uint32_t rules)
{
    struct chunk_pool *pool = &x->worker->chunks;
    forget_answer(x);
    if (rules == 0) { /* an earlier attempt went to a share that has some */
        struct chunk *old = x->kept;
        replace_head(x, x->plain);
        chunk_put(pool, old);
        return true;
    }
    const struct rules *r = &x->worker->table->rules[rules - 1];
    struct http1_head h;
    const char *p;
    exchange_parse_kept(x, &h, &p);
    struct chunk *head = rules_request(r, pool, &h, p);
    if (head == NULL)
        return false;
    replace_head(x, head);
    if (r->answer.names_len + r->answer.lines_len == 0)
        return true;
    x->answer_edits = rules_copy_answer(r, pool);
    return x->answer_edits != NULL;
}

/* ---- redirects
 * ----------------------------------------------------------------------------------------- */

struct target {
    const char *path, *query; /* the query with its "?" */
    size_t path_len, query_len;
};

/* What goes behind `to`. normal has room for the path. false: nothing could be told from it. */
static bool kept_of(const struct snapshot_route *r, struct target *t, char *normal)
{
    if (r->redirect.keep >= SNAPSHOT_KEEP_QUERY)
        t->path_len = 0;
    if (r->redirect.keep == SNAPSHOT_KEEP_NOTHING)
        t->query_len = 0;
    if (r->redirect.keep != SNAPSHOT_KEEP_REST)
        return true;
    size_t prefix = strlen(r->path);
    prefix -= r->path[prefix - 1] == '/';
    ssize_t n = url_normalize_path(t->path, t->path_len, normal);
    if (n < 0 || (n > 0 && (size_t)n < prefix))
        return false;
    t->path = normal + (n > 0 ? prefix : 0);
    t->path_len = n > 0 ? (size_t)n - prefix : 0;
    return true;
}

ssize_t redirect_location(const struct snapshot_route *r, const char *target, size_t len, char *out,
                          size_t size)
{
    char normal[HTTP1_MAX_HEAD];
    const char *query = memchr(target, '?', len);
    struct target t = {target, query, query != NULL ? (size_t)(query - target) : len, 0};
    t.query_len = len - t.path_len;
    if (!kept_of(r, &t, normal))
        return -1;
    size_t to = strlen(r->redirect.to);
    if (t.path_len > 0 && r->redirect.to[to - 1] == '/')
        to--;      /* the path has its own */
    if (to == 0) { /* "//host" and "/\host" would be another host's for a browser */
        size_t slashes = 0;
        while (slashes < t.path_len && strchr("/\\", t.path[slashes]) != NULL)
            slashes++;
        t.path += slashes;
        t.path_len -= slashes;
        to = 1;
    }
    int n = snprintf(out, size, "%.*s%.*s%.*s", (int)to, r->redirect.to, (int)t.path_len, t.path,
                     (int)t.query_len, t.query_len > 0 ? t.query : "");
    return n < 0 || (size_t)n >= size ? -1 : n;
}

void redirect_answer(struct exchange *x, const struct snapshot_route *r, const struct http1_head *h,
                     const char *p)
{
    char location[REDIRECT_MAX];
    const char *target = h->path.len > 0 ? http1_at(p, h->path) : "/";
    size_t len = h->path.len > 0 ? h->path.len : 1;
    if (target[0] != '/') /* "*": the server as a whole */
        len = 0;
    if (redirect_location(r, target, len, location, sizeof location) < 0)
        exchange_refuse(x, OUTCOME_REDIRECTED, 414, "the target is too long to be redirected");
    else
        exchange_redirect(x, r->redirect.status, location);
}
