#include "gateway/table.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/ipv6.h"
#include "gateway/reach.h"
#include "wire/metrics.h"
#include "wire/url.h"

#include <string.h>

static uint32_t hash_name(const char *s, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a: names come from the operator's own files */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h;
}

static struct table_host *host_place(const struct table *t, const char *name, size_t len)
{
    uint32_t i = hash_name(name, len) & (t->hosts_cap - 1);
    while (t->hosts[i].name != NULL &&
           (t->hosts[i].name_len != len || memcmp(t->hosts[i].name, name, len) != 0))
        i = (i + 1) & (t->hosts_cap - 1);
    return &t->hosts[i];
}

static int by_host_then_precedence(const void *a, const void *b)
{
    const struct table_route *x = a, *y = b;
    int order = strcmp(x->route->host, y->route->host);
    if (order != 0)
        return order;
    if (x->path_len != y->path_len)
        return x->path_len > y->path_len ? -1 : 1;
    if (x->route->matches != y->route->matches)
        return x->route->matches > y->route->matches ? -1 : 1;
    return x->route < y->route ? -1 : 1; /* as in the snapshot */
}

/* weight_ppm of 1,000,000 as a share of 2^64. */
static uint64_t share_of_2_64(uint32_t ppm)
{
    unsigned __int128 x = ((unsigned __int128)ppm << 64) / 1000000;
    return x >> 64 != 0 ? UINT64_MAX : (uint64_t)x;
}

static void compile_split(struct table_route *r)
{
    uint64_t sum = 0;
    uint32_t with_weight = 0;
    for (uint32_t i = r->route->shares_len; i-- > 0;) {
        uint32_t ppm = r->route->shares[i].weight_ppm;
        uint64_t part = share_of_2_64(ppm);
        sum = sum + part < sum ? UINT64_MAX : sum + part;
        r->upto[i] = sum;
        if (ppm > 0) {
            if (with_weight++ == 0)
                r->candidate = i;
            r->whole = i;
        }
    }
    r->split = with_weight > 1;
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    do /* with the NUL, which keeps texts apart */
        h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++ != 0);
    return h;
}

static void compile_guard(const struct snapshot *s, struct table_route *r)
{
    const struct snapshot_guard *g = &r->route->guard;
    r->guarded = g->rate_requests > 0 || g->body_bytes > 0 || g->head_bytes > 0 || g->min_rate > 0;
    if (g->rate_requests > 0)
        r->rate = rate_limit_of(g->rate_requests, g->rate_per_ms, g->rate_burst);
    uint64_t h = hash_text(UINT64_C(14695981039346656037), r->app->name);
    h = hash_text(h, r->app->environment);
    h = hash_text(h, r->route->host);
    h = hash_text(h, r->route->path);
    for (uint32_t i = 0; i < r->route->matches; i++) {
        const struct snapshot_match *m = &s->matches[r->route->first_match + i];
        h = (hash_text(h, m->name) ^ m->kind) * UINT64_C(1099511628211);
        h = hash_text(h, m->value != NULL ? m->value : "");
    }
    r->identity = h;
}

/* What snapshot_decode() cannot know: the metrics' limits. */
static int check_slots(const struct snapshot *s, struct error *err)
{
    uint32_t request = 0, instance = 0;
    for (uint32_t i = 0; i < s->apps_len; i++)
        request = s->apps[i].slot > request ? s->apps[i].slot : request;
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *r = &s->routes[i];
        for (uint32_t k = 0; k < r->shares_len; k++)
            request = r->shares[k].slot > request ? r->shares[k].slot : request;
        for (uint32_t k = 0; k < r->pins_len; k++)
            request = r->pins[k].share.slot > request ? r->pins[k].share.slot : request;
        if (strlen(r->path) > UINT16_MAX)
            return error_set(err, ERROR_USAGE, "snapshot: a path that is too long");
    }
    for (uint32_t i = 0; i < s->instances_len; i++)
        instance = s->instances[i].slot > instance ? s->instances[i].slot : instance;
    for (uint32_t i = 0; i < s->draining_len; i++)
        instance = s->draining[i].slot > instance ? s->draining[i].slot : instance;
    if (request >= METRICS_REQUEST_SLOTS || instance >= METRICS_INSTANCE_SLOTS)
        return error_set(err, ERROR_USAGE, "snapshot: a slot beyond the metrics (%u, %u)", request,
                         instance);
    return 0;
}

static void compile_hosts(struct table *t)
{
    for (uint32_t i = 0; i < t->routes_len;) {
        const char *name = t->routes[i].route->host;
        uint32_t first = i;
        while (i < t->routes_len && strcmp(t->routes[i].route->host, name) == 0)
            i++;
        struct table_host *host = host_place(t, name, strlen(name));
        *host = (struct table_host){name, strlen(name), first, i - first};
    }
}

/* An id and a place make an instance; a slot may be given to another one later. */
static void compile_instances(struct table *t)
{
    const struct snapshot *s = t->snapshot;
    t->identities = xcalloc(s->instances_len + 1, sizeof *t->identities);
    for (uint32_t i = 0; i < s->instances_len; i++)
        if (s->instances[i].slot >= t->by_slot_len)
            t->by_slot_len = s->instances[i].slot + 1;
    t->by_slot = xcalloc(t->by_slot_len + 1, sizeof *t->by_slot);
    for (uint32_t i = 0; i < s->instances_len; i++) {
        uint64_t h = reach_hash(UINT64_C(14695981039346656037), &s->instances[i]);
        for (const char *c = s->instances[i].id; *c != 0; c++)
            h = (h ^ (unsigned char)*c) * UINT64_C(1099511628211);
        t->identities[i] = h;
        t->by_slot[s->instances[i].slot] = i + 1;
    }
}

static void compile_shares(struct table *t)
{
    t->route_by_slot = xcalloc(t->snapshot->request_slots + 1, sizeof *t->route_by_slot);
    t->slow_start_ms = xcalloc(t->snapshot->pools_len + 1, sizeof *t->slow_start_ms);
    for (uint32_t i = 0; i < t->routes_len; i++) {
        const struct snapshot_route *r = t->routes[i].route;
        for (uint32_t k = 0; k < r->shares_len; k++) {
            t->route_by_slot[r->shares[k].slot] = i + 1;
            uint32_t *slow = &t->slow_start_ms[r->shares[k].pool];
            if (r->resilience.slow_start_ms > *slow)
                *slow = r->resilience.slow_start_ms;
        }
    }
}

const struct table_route *table_route_of_share(const struct table *t, uint32_t slot)
{
    uint32_t i = slot < t->snapshot->request_slots ? t->route_by_slot[slot] : 0;
    return i != 0 ? &t->routes[i - 1] : NULL;
}

struct table *table_make(struct snapshot *s, struct error *err)
{
    if (check_slots(s, err) < 0) {
        snapshot_free(s);
        return NULL;
    }
    struct table *t = xcalloc(1, sizeof *t);
    t->version = s->version;
    t->snapshot = s;
    t->routes_len = s->routes_len;
    t->routes = xcalloc(s->routes_len + 1, sizeof *t->routes);
    t->hosts_cap = 4;
    while (t->hosts_cap < 2 * s->routes_len + 2)
        t->hosts_cap *= 2;
    t->hosts = xcalloc(t->hosts_cap, sizeof *t->hosts);
    for (uint32_t i = 0; i < s->routes_len; i++) {
        struct table_route *r = &t->routes[i];
        r->route = &s->routes[i];
        r->app = &s->apps[s->routes[i].app];
        r->path_len = (uint16_t)strlen(s->routes[i].path);
        compile_split(r);
        compile_guard(s, r);
        r->mirrored = r->route->mirror.share_ppm > 0;
        r->copies_below = share_of_2_64(r->route->mirror.share_ppm);
    }
    qsort(t->routes, t->routes_len, sizeof *t->routes, by_host_then_precedence);
    compile_hosts(t);
    compile_instances(t);
    t->rules = rules_make(s);
    compile_shares(t);
    return t;
}

void table_free(struct table *t)
{
    if (t == NULL)
        return;
    snapshot_free(t->snapshot);
    free(t->routes);
    free(t->hosts);
    free(t->rules);
    free(t->identities);
    free(t->by_slot);
    free(t->route_by_slot);
    free(t->slow_start_ms);
    free(t);
}

/* ---- finding
 * ------------------------------------------------------------------------------------- */

struct sought {
    const struct http1_head *h;
    const char *p, *path;
    size_t path_len;
};

static const struct table_route *route_of_host(const struct table *t, const char *name, size_t len,
                                               const struct sought *s)
{
    const struct table_host *host = host_place(t, name, len);
    if (host->name == NULL)
        return NULL;
    for (uint32_t i = host->first; i < host->first + host->len; i++) {
        const struct table_route *r = &t->routes[i];
        if (url_path_under(s->path, s->path_len, r->route->path, r->path_len) &&
            table_matches(t, s->h, s->p, r->route->first_match, r->route->matches))
            return r;
    }
    return NULL;
}

static const struct table_route *route_of_path(const struct table *t, const struct sought *s)
{
    char host[HTTP1_MAX_HOST + 2];
    size_t len = s->h->host.len;
    ASSERT(len <= HTTP1_MAX_HOST);
    for (size_t i = 0; i < len; i++) {
        char c = s->p[s->h->host.at + i];
        host[1 + i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    char *name = host + 1;
    if (len > 0 && name[0] == '[') /* as routes have it, whatever the client wrote */
        len = ipv6_literal(name, len, name) ? strlen(name) : len;
    if (len > 0 && name[len - 1] == '.') /* the root's dot, RFC 3986 section 3.2.2 */
        len--;
    const struct table_route *r = NULL;
    if (len > 0)
        r = route_of_host(t, name, len, s);
    /* "a.b.c": "*.b.c", then "*.c". The byte before the dot makes room for the star. */
    for (size_t i = 1; r == NULL && i < len; i++)
        if (name[i] == '.') {
            char before = name[i - 1];
            name[i - 1] = '*';
            r = route_of_host(t, name + i - 1, len - i + 1, s);
            name[i - 1] = before;
        }
    return r != NULL ? r : route_of_host(t, "", 0, s);
}

/* Whether a path may differ from its normal form: an escape, or a segment that starts with a dot.
 */
static bool plain_path(const char *path, size_t len)
{
    return len > 0 && path[0] == '/' && memchr(path, '%', len) == NULL &&
           memmem(path, len, "/.", 2) == NULL;
}

const struct table_route *table_route(const struct table *t, const struct http1_head *h,
                                      const char *p, bool *bad)
{
    char normal[HTTP1_MAX_HEAD];
    const char *path = http1_at(p, h->path);
    const char *query = memchr(path, '?', h->path.len);
    size_t len = query != NULL ? (size_t)(query - path) : h->path.len;
    *bad = false;
    if (!plain_path(path, len)) {
        ssize_t n = url_normalize_path(path, len, normal);
        if (n < 0) {
            *bad = true;
            return NULL;
        }
        path = normal;
        len = (size_t)n;
    }
    struct sought s = {h, p, path, len};
    return route_of_path(t, &s);
}

const struct table_route *table_tcp_route(const struct table *t, const char *listener)
{
    const struct table_host *host = host_place(t, listener, strlen(listener));
    return host->name != NULL ? &t->routes[host->first] : NULL;
}
