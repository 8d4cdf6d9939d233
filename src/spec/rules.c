/* What keys must be together: within a mapping, and over the whole file. */
#include "base/assert.h"
#include "base/units.h"
#include "spec/types.h"

#include <string.h>

static void finish_probe(struct reader *r, const struct node *node)
{
    int kinds = (tree_get(node, "http") != NULL) + (tree_get(node, "tcp") != NULL) +
                (tree_get(node, "exec") != NULL);
    if (kinds == 0)
        reader_fail(r, node, "for example {http: /ready}, {tcp: true} or {exec: [\"./check\"]}",
                    "needs one of `http`, `tcp`, `exec`");
    else if (kinds > 1)
        reader_fail(r, node, "remove the others", "has more than one of `http`, `tcp`, `exec`");
}

static void finish_rolling(struct reader *r, const struct node *node, const struct strategy_spec *s)
{
    const struct node *at = tree_key(node, "max-unavailable");
    if (at == NULL)
        at = tree_key(node, "max-surge");
    if (at != NULL && s->max_surge.value == 0 && s->max_unavailable.value == 0)
        reader_fail(r, at, "let one of them be at least 1",
                    "`max-surge` and `max-unavailable` are both 0: nothing could ever be replaced");
}

static void finish_metric_source(struct reader *r, const struct node *node)
{
    int sources = (tree_get(node, "prometheus") != NULL) + (tree_get(node, "command") != NULL) +
                  (tree_get(node, "webhook") != NULL);
    const struct node *query = tree_key(node, "query");
    if (sources == 0)
        reader_fail(r, node,
                    "for example {prometheus: \"http://127.0.0.1:9090\", query: \"...\"}, "
                    "{command: [\"./measure\"]} or {webhook: \"https://...\"}",
                    "needs one of `prometheus`, `command`, `webhook`");
    else if (sources > 1)
        reader_fail(r, node, "one metric for each of them",
                    "has more than one of `prometheus`, `command`, `webhook`");
    else if (tree_get(node, "prometheus") != NULL && query == NULL)
        reader_fail(r, node, "for example query: 'sum(queue_lag{version=\"{{version}}\"})'",
                    "`query` is missing");
    else if (query != NULL && tree_get(node, "prometheus") == NULL)
        reader_fail(r, query, NULL, "`query` is for `prometheus` only");
}

static void finish_metric(struct reader *r, const struct node *node, const struct metric_spec *m)
{
    const struct node *compare = tree_key(node, "compare"), *worse = tree_key(node, "worse");
    bool bounds = tree_get(node, "max") != NULL || tree_get(node, "min") != NULL;
    if (tree_get(node, "name") == NULL)
        reader_fail(r, node, "for example {name: queue-lag, ...}", "`name` is missing");
    finish_metric_source(r, node);
    if (compare != NULL && bounds)
        reader_fail(r, compare, "two metrics can have the same source",
                    "is judged by `max` and `min`, or by `compare`, not by both");
    if (compare != NULL && !m->per_release)
        reader_fail(r, compare,
                    "write `per-release: true`, and tell the two apart in the query: "
                    "{version=\"{{version}}\"}",
                    "a comparison needs the same measurement of both releases");
    if (m->per_release && m->query != NULL && strstr(m->query, "{{release}}") == NULL &&
        strstr(m->query, "{{version}}") == NULL)
        reader_fail(r, tree_key(node, "query"), "for example lag{version=\"{{version}}\"}",
                    "asks the same of both releases: neither {{release}} nor {{version}} is in it");
    if (worse != NULL && compare == NULL)
        reader_fail(r, worse, "`max` and `min` say it by themselves",
                    "`worse` is for `compare` only");
    if (tree_get(node, "prometheus") != NULL && compare == NULL && !bounds)
        reader_fail(r, node, "add `max`, `min`, or `compare: stable` with `per-release: true`",
                    "nothing says which values are good");
    if (m->max.given && m->min.given && m->min.value > m->max.value)
        reader_fail(r, tree_key(node, "min"), "both together are a range from `min` to `max`",
                    "`min` is above `max`: every value would be a failure");
}

void finish_mapping(struct reader *r, enum mapping in, const struct node *node, void *base)
{
    switch (in) {
    case IN_PROBE: finish_probe(r, node); break;
    case IN_ROLLING: finish_rolling(r, node, base); break;
    case IN_METRIC: finish_metric(r, node, base); break;
    case IN_ROUTE:
        finish_tcp_route(r, node, base);
        finish_route(r, node, base);
        finish_tls(r, node, base);
        doubt_route(r, node, base);
        finish_upstream(r, node, base);
        break;
    case IN_TCP: finish_tcp(r, node); break;
    case IN_OUTLIER: doubt_outlier(r, node, base); break;
    case IN_CAPACITY: doubt_capacity(r, node, base); break;
    case IN_COMPARE: finish_compare(r, node, base); break;
    case IN_STEP:
        if (tree_get(node, "weight") == NULL)
            reader_fail(r, node, "for example {weight: 25, hold: 2m}", "`weight` is missing");
        break;
    default: break;
    }
}

/* ---- the whole file -------------------------------------------------------------------------- */

/* The deepest key of the path that is in the file, for its place. */
static const struct node *place(const struct node *root, const char *a, const char *b,
                                const char *c)
{
    const struct node *at = root;
    const char *const path[] = {a, b, c};
    for (int i = 0; i < 3 && path[i] != NULL; i++) {
        const struct node *key = tree_key(root, path[i]);
        if (key == NULL)
            break;
        at = key;
        root = tree_get(root, path[i]);
    }
    return at;
}

static void check_required(struct reader *r, const struct node *root)
{
    if (tree_get(root, "app") == NULL)
        report_add(r->diags, false, (struct spot){0, 0, 0}, "`app` is missing",
                   "name what is deployed: `app: shop`");
    if (tree_get(root, "run") == NULL)
        report_add(r->diags, false, (struct spot){0, 0, 0}, "`run` is missing",
                   "say how an instance is started: `run: [\"./shop\", \"--port\", \"$PORT\"]`");
}

static struct process_spec *web_of(struct app_spec *spec)
{
    for (size_t i = 0; i < spec->processes_len; i++)
        if (strcmp(spec->processes[i].name, "web") == 0)
            return &spec->processes[i];
    return NULL;
}

static void check_routed(struct reader *r, const struct node *root)
{
    struct app_spec *spec = r->spec;
    struct process_spec *web = web_of(spec);
    bool wants_routes = spec->routes_len > 0;
    if (web != NULL)
        web->routed = wants_routes;
    const struct node *run = tree_get(root, "run");
    if (wants_routes && web == NULL && run != NULL && run->kind == NODE_MAP &&
        tree_get(run, "web") == NULL)
        reader_fail(r, place(root, "run", NULL, NULL),
                    "the process that is to answer requests is called `web`",
                    "there are routes, but no process `web` to get them");
    if (web != NULL && wants_routes && web->replicas == 0)
        reader_warn(r, place(root, "replicas", NULL, NULL), "`sluice scale` brings them back",
                    "no instance: requests wait for the hold and are then answered with 503");
}

static void check_port(struct reader *r, const struct node *root)
{
    struct app_spec *spec = r->spec;
    if (spec->port == 0 || spec->processes_len == 0)
        return;
    const struct node *at = tree_get(root, "port");
    at = at != NULL ? at : root;
    const struct process_spec *p = web_of(spec) != NULL ? web_of(spec) : &spec->processes[0];
    if (p->replicas > 1)
        reader_fail(r, at, "remove `port`: each instance then gets a free one as $PORT",
                    "`port`: a fixed port fits one replica, not %u", p->replicas);
    if (r->strategy_known && spec->strategy.kind != STRATEGY_RECREATE)
        reader_fail(r, at, "write `strategy: recreate`, or remove `port`",
                    "`port`: with a fixed port the old instance must be gone before the new one "
                    "starts, which %s does not do",
                    strategy_name(spec->strategy.kind));
}

/* The defaults of recreate do not fit in the worst case either; only what the file says itself is
 * worth a warning. */
static void check_recreate_hold(struct reader *r, const struct node *root)
{
    const struct app_spec *spec = r->spec;
    const struct node *stop = tree_get(root, "stop");
    const struct node *recreate = tree_get(tree_get(root, "strategy"), "recreate");
    if (spec->strategy.kind != STRATEGY_RECREATE || spec->routes_len == 0 ||
        (tree_get(stop, "drain") == NULL && tree_get(stop, "grace") == NULL &&
         tree_get(recreate, "hold-requests") == NULL))
        return;
    int64_t start = spec->startup.kind != PROBE_NONE ? spec->startup.delay_ms : 0;
    start += spec->readiness.kind != PROBE_NONE ? spec->readiness.delay_ms : 0;
    int64_t longest = spec->stop.drain_ms + spec->stop.grace_ms + start;
    if (longest <= spec->strategy.hold_requests_ms)
        return;
    char all[32], hold[32];
    reader_warn(r, place(root, "strategy", "recreate", "hold-requests"),
                "raise `strategy.recreate.hold-requests`, or lower `stop.drain` and `stop.grace`",
                "drain, grace and start-up may take %s, but requests wait for %s only",
                format_duration_ms(longest, all, sizeof all),
                format_duration_ms(spec->strategy.hold_requests_ms, hold, sizeof hold));
}

static void check_waits(struct reader *r, const struct node *root)
{
    const struct app_spec *spec = r->spec;
    int64_t delay = spec->readiness.delay_ms;
    if (spec->startup.kind != PROBE_NONE)
        delay += spec->startup.delay_ms;
    if (spec->deadline_ms > 0 && delay >= spec->deadline_ms)
        reader_fail(r, place(root, "deadline", NULL, NULL), "raise `deadline`",
                    "the delays of the probes alone are longer than the deadline");
    bool splits = spec->strategy.kind == STRATEGY_CANARY;
    bool copies = spec->strategy.kind == STRATEGY_SHADOW;
    if (copies && spec->routes_len == 0 && tree_get(root, "routes") == NULL)
        reader_warn(r, place(root, "strategy", NULL, NULL), "`blue-green` does the same",
                    "there are no routes: no request could be copied");
    if (splits && spec->routes_len == 0 && tree_get(root, "routes") == NULL)
        reader_warn(r, place(root, "strategy", NULL, NULL),
                    "`rolling` does the same and is quicker",
                    "there are no routes: a canary has no requests to split or to judge");
}

void check_rules(struct reader *r, const struct node *root)
{
    ASSERT(r->path.len == 0);
    check_required(r, root);
    check_routed(r, root);
    check_port(r, root);
    check_recreate_hold(r, root);
    check_waits(r, root);
    check_tcp(r, root);
    check_doubts(r, root);
    check_shadow(r, root);
}
