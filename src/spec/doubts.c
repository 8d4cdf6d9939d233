/* What is allowed and yet surely not meant: warnings. Routes by themselves, and beside each other.
 */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/types.h"

#include <string.h>

/* ---- one route ------------------------------------------------------------------------------- */

static void warn_time(struct reader *r, const struct node *node, const char *name, int64_t ms,
                      int64_t total_ms)
{
    const struct node *at = tree_key(node, name);
    char total[32];
    if (at != NULL && total_ms > 0 && ms > total_ms)
        reader_warn(r, at, "raise `total-timeout`, or lower this",
                    "`%s` never comes to its end: `total-timeout` is %s", name,
                    format_duration_ms(total_ms, total, sizeof total));
}

void doubt_route(struct reader *r, const struct node *node, const struct route_spec *route)
{
    const struct resilience_spec *s = &route->resilience;
    if (!reader_of_file(r))
        return;
    warn_time(r, node, "connect-timeout", s->connect_ms, s->total_ms);
    warn_time(r, node, "timeout", route->timeout_ms, s->total_ms);
}

void doubt_capacity(struct reader *r, const struct node *node, const struct resilience_spec *s)
{
    const struct node *at = tree_key(node, "pending");
    if (at == NULL)
        at = tree_key(node, "queue-time");
    if (at != NULL && s->in_flight == 0 && reader_of_file(r))
        reader_warn(r, at, "for example {in-flight: 50, pending: 100}",
                    "nothing ever waits: without `in-flight` there is no limit");
}

void doubt_outlier(struct reader *r, const struct node *node, const struct resilience_spec *s)
{
    const struct node *at = tree_key(node, "base");
    char base[32], max[32];
    if (at == NULL)
        at = tree_key(node, "max");
    if (at != NULL && s->eject_base_ms > s->eject_max_ms && reader_of_file(r))
        reader_warn(r, at, "raise `max`, or lower `base`",
                    "`base` (%s) is longer than `max` (%s), which counts",
                    format_duration_ms(s->eject_base_ms, base, sizeof base),
                    format_duration_ms(s->eject_max_ms, max, sizeof max));
}

/* ---- a route among others -------------------------------------------------------------------- */

static size_t path_len(const char *path)
{
    size_t len = strlen(path);
    return len - (path[len - 1] == '/');
}

/* Do requests of the host that b names find b before a? */
static bool host_before(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len == 0)
        return b_len > 0;
    return strncmp(a, "*.", 2) == 0 && b_len > a_len - 1 && strcmp(a, b) != 0 &&
           strcmp(b + b_len - (a_len - 1), a + 1) == 0;
}

static bool has_path_of(const struct app_spec *spec, const char *host, const char *path)
{
    for (size_t i = 0; i < spec->routes_len; i++) {
        const struct route_spec *c = &spec->routes[i];
        if (c->tcp.listen == NULL && strcmp(c->host, host) == 0 &&
            path_len(c->path) == path_len(path) && path_under(c->path, path))
            return true;
    }
    return false;
}

/* The host comes first: {host: shop.example} gets shop.example/api, {path: /api} does not. */
static void doubt_hidden(struct reader *r, const struct node *const *nodes, size_t i)
{
    const struct app_spec *spec = r->spec;
    const struct route_spec *a = &spec->routes[i];
    for (size_t k = 0; k < spec->routes_len; k++) {
        const struct route_spec *b = &spec->routes[k];
        if (b->tcp.listen != NULL || b->match.len > 0 || b->redirect.to != NULL ||
            !host_before(a->host, b->host) || path_len(b->path) >= path_len(a->path) ||
            !path_under(a->path, b->path) || has_path_of(spec, b->host, a->path))
            continue;
        cleanup_free char *hint =
            xasprintf("for those, too: {host: \"%s\", path: %s}", b->host, a->path);
        reader_warn(r, tree_key(nodes[i], "path"), hint,
                    "requests for %s%s go to the route in line %u: the host is looked at before "
                    "the path",
                    b->host, a->path, nodes[k]->line);
        return;
    }
}

/* Does another route take the path before this one does? */
static bool taken_by_another(const struct app_spec *spec, const struct route_spec *route,
                             const char *path)
{
    for (size_t i = 0; i < spec->routes_len; i++) {
        const struct route_spec *other = &spec->routes[i];
        if (other != route && other->tcp.listen == NULL && path_under(path, other->path) &&
            (strcmp(other->host, route->host) == 0 || host_before(route->host, other->host)) &&
            (path_len(other->path) > path_len(route->path) || other->match.len > 0))
            return true;
    }
    return false;
}

static void doubt_loop(struct reader *r, const struct node *node, const struct route_spec *route)
{
    const char *to = route->redirect.to;
    if (to == NULL || to[0] != '/' || route->match.len > 0)
        return;
    cleanup_free char *path = xstrndup(to, strcspn(to, "?"));
    if (path_under(path, route->path) && !taken_by_another(r->spec, route, path))
        reader_warn(r, tree_key(tree_get(node, "redirect"), "to"),
                    "a path that this route does not take, or a route of its own for that one",
                    "leads back to this route, without an end");
}

void check_doubts(struct reader *r, const struct node *root)
{
    const struct node *routes = tree_get(root, "routes");
    const struct app_spec *spec = r->spec;
    if (!reader_of_file(r) || reader_errors(r) > 0 || routes == NULL ||
        routes->len != spec->routes_len)
        return;
    size_t mark = path_push(r, "routes");
    for (size_t i = 0; i < spec->routes_len; i++) {
        if (spec->routes[i].tcp.listen != NULL)
            continue;
        doubt_hidden(r, routes->items, i);
        doubt_loop(r, routes->items[i], &spec->routes[i]);
    }
    path_pop(r, mark);
}
