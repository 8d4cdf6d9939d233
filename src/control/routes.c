/* From the apps' states to the routing snapshot.
 *
 * While a rollout runs, the table has the routes of every pool that has a share: a route that
 * several releases have is split between them by weight; one that only one release has goes to it
 * alone. */
#include "control/orders.h"
#include "control/pages.h"

#include <stdio.h>
#include <string.h>

enum { KEEP_ALIVE_MS = 4000 };

struct builder {
    struct control *control;
    struct snapshot *s;
    struct arena *memory;
    uint32_t caps[8];
    struct snapshot_mirror mirror; /* of the app under way */
};

/* Room for one more in an array of the snapshot; arrays grow in the arena. */
static void *push(struct builder *b, void **items, uint32_t *len, uint32_t *cap, size_t size)
{
    if (*len == *cap) {
        uint32_t bigger = *cap != 0 ? *cap * 2 : 16;
        void *grown = arena_alloc(b->memory, bigger * size);
        if (*len > 0)
            memcpy(grown, *items, *len * size);
        *items = grown;
        *cap = bigger;
    }
    return (char *)*items + (size_t)(*len)++ * size;
}
#define PUSH(b, field, n)                                                                          \
    ((__typeof__((b)->s->field))push((b), (void **)&(b)->s->field, &(b)->s->field##_len,           \
                                     &(b)->caps[n], sizeof *(b)->s->field))

static const uint32_t match_kinds[] = {
    [MATCH_HEADER] = SNAPSHOT_MATCH_HEADER,
    [MATCH_COOKIE] = SNAPSHOT_MATCH_COOKIE,
    [MATCH_QUERY] = SNAPSHOT_MATCH_QUERY,
    [MATCH_METHOD] = SNAPSHOT_MATCH_METHOD,
};

static uint32_t add_matches(struct builder *b, const struct match_spec *match)
{
    uint32_t first = b->s->matches_len;
    for (size_t i = 0; i < match->len; i++) {
        struct snapshot_match *m = PUSH(b, matches, 0);
        m->kind = match_kinds[match->items[i].kind];
        m->name = match->items[i].name;
        m->value = match->items[i].value;
    }
    return first;
}

_Static_assert((int)SPEC_MAX_EDITS == (int)SNAPSHOT_MAX_EDITS &&
                   (int)SPEC_MAX_EDIT_BYTES == (int)SNAPSHOT_MAX_EDIT_BYTES,
               "a gateway takes what a file may say");

static void add_edits(struct builder *b, const struct edits_spec *edits)
{
    static const uint16_t kinds[] = {
        [EDIT_REMOVE] = SNAPSHOT_REMOVE, [EDIT_SET] = SNAPSHOT_SET, [EDIT_ADD] = SNAPSHOT_ADD};
    for (size_t i = 0; i < edits->len; i++) {
        struct snapshot_edit *e = PUSH(b, edits, 6);
        e->kind = kinds[edits->items[i].kind];
        e->name = edits->items[i].name;
        e->value = edits->items[i].value;
    }
}

/* What a release says of the requests that it gets itself; 0: nothing. */
static uint32_t add_rules(struct builder *b, const struct route_spec *spec)
{
    const struct rewrite_spec *w = &spec->rewrite;
    size_t edits = spec->headers.request.len + spec->headers.answer.len;
    if (edits == 0 && w->strip_prefix == NULL && w->prefix == NULL && w->path == NULL)
        return 0;
    struct snapshot_rules *r = PUSH(b, rules, 7);
    r->strip_prefix = w->strip_prefix;
    r->prefix = w->prefix;
    r->path = w->path;
    r->first_edit = b->s->edits_len;
    r->request_edits = (uint32_t)spec->headers.request.len;
    r->answer_edits = (uint32_t)spec->headers.answer.len;
    add_edits(b, &spec->headers.request);
    add_edits(b, &spec->headers.answer);
    return b->s->rules_len;
}

static void add_redirect(struct snapshot_redirect *out, const struct redirect_spec *spec)
{
    static const uint16_t keeps[] = {[KEEP_PATH] = SNAPSHOT_KEEP_PATH,
                                     [KEEP_REST] = SNAPSHOT_KEEP_REST,
                                     [KEEP_QUERY] = SNAPSHOT_KEEP_QUERY,
                                     [KEEP_NOTHING] = SNAPSHOT_KEEP_NOTHING};
    out->to = spec->to;
    out->status = (uint16_t)spec->status;
    out->keep = keeps[spec->keep];
}

/* Both sides of a rollout are held to the candidate's slo: the judge compares them by it. */
static uint64_t slo_us(struct app *a, uint32_t pool)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    if (spec == NULL || !spec->slo.has_latency)
        spec = pool_spec(a, pool);
    return spec != NULL && spec->slo.has_latency ? (uint64_t)spec->slo.latency_ms * 1000 : 0;
}

/* The pool with its ready instances. */
static uint32_t add_pool(struct builder *b, struct app *a, const struct pool_state *p)
{
    uint32_t index = b->s->pools_len;
    struct release *r = app_release(a, p->release);
    struct snapshot_pool *pool = PUSH(b, pools, 1);
    pool->release = p->release;
    pool->version = r != NULL ? r->version : "";
    pool->first_instance = b->s->instances_len;
    pool->slo_us = slo_us(a, p->id);
    for (size_t i = 0; i < a->instances.len; i++) {
        struct instance *in = a->instances.items[i];
        if (in->pool != p->id || in->slot == UINT32_MAX || !instance_ready(in))
            continue;
        struct snapshot_instance *out = PUSH(b, instances, 2);
        out->id = in->id;
        out->slot = in->slot;
        out->port = in->port;
        out->ipv6 = in->ipv6;
        out->socket = in->socket[0] != '\0' ? in->socket : NULL;
        out->socket_uid = in->socket_uid;
        out->keepalive_ms = KEEP_ALIVE_MS;
        out->ready_at_ms = in->ready_boot_ms;
        in->routed = true;
        in->undrained_version = 0;
        if (in->slot + 1 > b->s->instance_slots)
            b->s->instance_slots = in->slot + 1;
    }
    b->s->pools[index].instances = b->s->instances_len - b->s->pools[index].first_instance;
    return index;
}

static void add_draining(struct builder *b, struct app *a)
{
    for (size_t i = 0; i < a->instances.len; i++) {
        struct instance *in = a->instances.items[i];
        if (!in->routed || in->slot == UINT32_MAX || instance_ready(in))
            continue;
        if (in->undrained_version == 0)
            in->undrained_version = b->s->version;
        if (!in->draining || in->life != LIFE_RUNNING)
            continue;
        struct snapshot_draining *d = PUSH(b, draining, 3);
        d->slot = in->slot;
        d->deadline_ms = in->drain_deadline_boot_ms;
        if (in->slot + 1 > b->s->instance_slots)
            b->s->instance_slots = in->slot + 1;
    }
}

static void route_key(const struct route_spec *r, struct buf *out)
{
    buf_clear(out);
    if (r->tcp.listen != NULL) {
        buf_printf(out, SNAPSHOT_TCP "%s", r->tcp.listen);
        return;
    }
    buf_printf(out, "%s%s", r->host, r->path);
    for (size_t i = 0; i < r->match.len; i++)
        buf_printf(out, " %s:%s=%s", match_kind_word(r->match.items[i].kind),
                   r->match.items[i].name,
                   r->match.items[i].value != NULL ? r->match.items[i].value : "*");
}

static uint32_t use_slot(struct builder *b, struct app *a, const char *key, uint32_t pool,
                         enum slot_role role)
{
    struct slot *slot = app_slot(a, key, pool, role);
    slot->seen = true;
    if (slot->index + 1 > b->s->request_slots)
        b->s->request_slots = slot->index + 1;
    return slot->index;
}

/* One pool's place in the app's traffic. */
struct arm {
    const struct pool_state *pool;
    const struct app_spec *spec;
    uint32_t index; /* in snapshot.pools */
    bool done[SPEC_MAX_ROUTES];
};

/* Instances are spoken to as their own release says, whatever the others do. */
static struct snapshot_share share_of(struct builder *b, const struct arm *arm,
                                      const struct route_spec *spec)
{
    struct snapshot_share share = {
        .pool = arm->index,
        .rules = add_rules(b, spec),
        .h2c = spec->protocol == PROTOCOL_H2C,
    };
    if (spec->protocol == PROTOCOL_HTTPS)
        share.tls =
            (struct snapshot_tls){spec->tls.server_name, spec->tls.ca, spec->tls.client_cert};
    return share;
}

static void pin(struct builder *b, struct app *a, struct snapshot_route *route, const char *key,
                const struct arm *candidate, const struct snapshot_pin *like,
                const struct match_spec *match)
{
    if (match->len == 0 || route->pins_len == 2)
        return;
    struct snapshot_pin *p = &route->pins[route->pins_len++];
    *p = *like;
    p->share.slot = use_slot(b, a, key, candidate->pool->id, ROLE_PINNED);
    p->first_match = add_matches(b, match);
    p->matches = (uint32_t)match->len;
}

/* Copies of what others answer. */
static void mirror(struct builder *b, struct app *a, struct snapshot_route *route, const char *key,
                   const struct arm *candidate, const struct snapshot_share *like)
{
    if (b->mirror.share_ppm == 0 || route->shares_len == 0)
        return;
    route->mirror = b->mirror;
    route->mirror.to = *like;
    route->mirror.to.slot = use_slot(b, a, key, candidate->pool->id, ROLE_COPIES);
    route->mirror.copied_slot = use_slot(b, a, key, a->state.stable, ROLE_COPIED);
}

/* Makes the shares sum to exactly 1,000,000, also where only some pools have this route. */
static void normalise(struct snapshot_route *r)
{
    uint64_t sum = 0;
    uint32_t given = 0;
    for (uint32_t i = 0; i < r->shares_len; i++)
        sum += r->shares[i].weight_ppm;
    if (sum == 0) {
        r->shares_len = 0;
        return;
    }
    for (uint32_t i = 0; i < r->shares_len; i++) {
        r->shares[i].weight_ppm = (uint32_t)(r->shares[i].weight_ppm * 1000000ull / sum);
        given += r->shares[i].weight_ppm;
    }
    r->shares[0].weight_ppm += 1000000 - given;
}

_Static_assert((int)RETRY_ON_RESET == SNAPSHOT_RETRY_RESET &&
                   (int)RETRY_ON_502 == SNAPSHOT_RETRY_502 &&
                   (int)RETRY_ON_503 == SNAPSHOT_RETRY_503 &&
                   (int)RETRY_ON_504 == SNAPSHOT_RETRY_504,
               "the file's and the snapshot's are the same");

static struct snapshot_resilience resilience_of(const struct resilience_spec *r)
{
    return (struct snapshot_resilience){
        .connect_ms = (uint32_t)r->connect_ms,
        .total_ms = (uint32_t)r->total_ms,
        .retry_budget_ppm = r->retry_budget_ppm,
        .retry_backoff_ms = (uint32_t)r->retry_backoff_ms,
        .retry_on = r->retry_on,
        .eject_errors = r->eject_errors,
        .eject_latency_ppm = r->eject_latency_ppm,
        .eject_base_ms = (uint32_t)r->eject_base_ms,
        .eject_max_ms = (uint32_t)r->eject_max_ms,
        .eject_share_ppm = r->eject_share_ppm,
        .in_flight = r->in_flight,
        .pending = r->pending,
        .queue_ms = (uint32_t)r->queue_ms,
        .slow_start_ms = (uint32_t)r->slow_start_ms,
    };
}

static void add_route(struct builder *b, struct app *a, struct arm *arms, size_t n, size_t owner,
                      size_t route_index, uint32_t app_index)
{
    const struct route_spec *spec = &arms[owner].spec->routes[route_index];
    cleanup_buf struct buf key = BUF_INIT, other = BUF_INIT;
    route_key(spec, &key);
    struct snapshot_route *route = PUSH(b, routes, 4);
    route->app = app_index;
    route->host = spec->host;
    route->path = spec->path;
    route->first_match = add_matches(b, &spec->match);
    route->matches = (uint32_t)spec->match.len;
    route->timeout_ms = (uint32_t)spec->timeout_ms;
    route->retries = spec->retries;
    /* Who is sent to a host that has no certificate yet gets nothing at all. */
    route->redirect_https =
        spec->redirect_https && (!spec->tls_auto || certificates_for(b->control, spec->host));
    route->hsts_s = (uint32_t)(spec->hsts_ms / 1000);
    route->tls_auto = spec->tls_auto && spec->tcp.listen == NULL && spec->host[0] != '\0';
    route->client_cert = spec->client_cert;
    route->resilience = resilience_of(&spec->resilience);
    route->observe = (struct snapshot_observe){
        .log_ppm = spec->observe.log_ppm,
        .log_slower_ms = (uint32_t)spec->observe.log_slower_ms,
        .log_errors = spec->observe.log_errors,
        .log_query = spec->observe.log_query,
        .trace = spec->observe.trace,
        .request_id = spec->observe.request_id,
        .trace_ppm = spec->observe.trace_ppm,
    };
    route->guard = (struct snapshot_guard){
        .rate_requests = spec->rate_limit.requests,
        .rate_per_ms = (uint32_t)spec->rate_limit.per_ms,
        .rate_burst = spec->rate_limit.burst,
        .rate_header = spec->rate_limit.header,
        .body_bytes = spec->limits.body_bytes,
        .head_bytes = (uint32_t)spec->limits.head_bytes,
        .min_rate = (uint32_t)spec->limits.min_rate,
    };
    route->forwarded = spec->forwarded;
    route->via = spec->via;
    route->sticky_cookie = "";
    add_redirect(&route->redirect, &spec->redirect);
    bool tcp = spec->tcp.listen != NULL;
    if (tcp) {
        route->host = arena_strdup(b->memory, buf_str(&key));
        route->timeout_ms = (uint32_t)spec->tcp.idle_ms;
    }
    for (size_t i = owner; i < n; i++) {
        for (size_t k = 0; k < arms[i].spec->routes_len; k++) {
            route_key(&arms[i].spec->routes[k], &other);
            if (arms[i].done[k] || strcmp(buf_str(&key), buf_str(&other)) != 0)
                continue;
            arms[i].done[k] = true;
            const struct snapshot_pin to = {
                .share = share_of(b, &arms[i], &arms[i].spec->routes[k]),
                .client_cert = arms[i].spec->routes[k].client_cert,
            };
            bool candidate = arms[i].pool->id == a->state.candidate;
            if (arms[i].pool->weight_ppm > 0 && route->shares_len < SNAPSHOT_MAX_SPLIT) {
                struct snapshot_share *share = &route->shares[route->shares_len++];
                *share = to.share;
                share->weight_ppm = arms[i].pool->weight_ppm;
                route->client_cert |= to.client_cert;
                share->slot = use_slot(b, a, buf_str(&key), arms[i].pool->id, ROLE_SHARE);
            }
            if (candidate && !tcp && arms[i].spec->strategy.sticky)
                route->sticky_cookie = arena_printf(b->memory, "sluice-%s", a->name);
            if (candidate && !tcp && a->state.previewing)
                pin(b, a, route, buf_str(&key), &arms[i], &to, &arms[i].spec->strategy.preview);
            if (candidate && !tcp)
                mirror(b, a, route, buf_str(&key), &arms[i], &to.share);
            if (candidate && !tcp && a->state.matching)
                pin(b, a, route, buf_str(&key), &arms[i], &to, &arms[i].spec->strategy.match);
        }
    }
    normalise(route);
}

/* Stable first, the candidate last: the order that the snapshot wants. */
static size_t collect_arms(struct builder *b, struct app *a, struct arm arms[CORE_MAX_POOLS])
{
    size_t n = 0;
    for (int pass = 0; pass < 3; pass++)
        for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
            const struct pool_state *p = &a->state.pools[i];
            int rank = p->id == a->state.stable ? 0 : p->id == a->state.candidate ? 2 : 1;
            if (p->id == 0 || rank != pass)
                continue;
            bool pinned =
                rank == 2 && (a->state.previewing || a->state.matching || a->state.mirror_ppm > 0);
            const struct app_spec *spec = pool_spec(a, p->id);
            if (spec == NULL || (p->weight_ppm == 0 && rank == 1 && !pinned))
                continue;
            if (rank == 2 && p->weight_ppm == 0 && !pinned && a->state.stable != 0)
                continue;
            arms[n] = (struct arm){.pool = p, .spec = spec, .index = add_pool(b, a, p)};
            n++;
        }
    return n;
}

/* Then a route that no other has would take requests away from those, and answer none. */
static bool gets_only_copies(const struct app *a, const struct arm *arm)
{
    return arm->pool->id == a->state.candidate && arm->pool->weight_ppm == 0 &&
           a->state.stable != 0 && !a->state.previewing && !a->state.matching;
}

static void add_app(struct builder *b, struct app *a)
{
    for (size_t i = 0; i < a->slots.len; i++)
        a->slots.items[i]->seen = false;
    struct arm arms[CORE_MAX_POOLS];
    size_t n = collect_arms(b, a, arms);
    if (n > 0) {
        uint32_t app_index = b->s->apps_len;
        /* While one release replaces another, requests may wait as long as the new one says. */
        const struct app_spec *spec = arms[n - 1].spec;
        struct snapshot_app *app = PUSH(b, apps, 5);
        app->name = a->name;
        app->environment = a->environment;
        app->hold = a->state.hold;
        app->stopped = a->state.stopped;
        int64_t hold_ms = spec->hold_ms;
        if (a->state.hold && spec->strategy.kind == STRATEGY_RECREATE &&
            spec->strategy.hold_requests_ms > hold_ms)
            hold_ms = spec->strategy.hold_requests_ms;
        app->hold_ms = (uint32_t)hold_ms;
        app->hold_limit = spec->hold_requests;
        app->drain_ms = (uint32_t)spec->stop.drain_ms;
        app->slot = use_slot(b, a, "", 0, ROLE_SHARE);
        b->mirror = mirror_build(a, b->s, b->memory);
        orders_route(a, b->s, app, b->memory);
        pages_route(a, app_release(a, arms[0].pool->release), b->s, app, b->memory);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < arms[i].spec->routes_len && !gets_only_copies(a, &arms[i]); k++)
                if (!arms[i].done[k])
                    add_route(b, a, arms, n, i, k, app_index);
    }
    add_draining(b, a);
}

/* Slots of pools that are gone are given back; what they counted stays in the app's sum. */
static void sweep_slots(struct app *a)
{
    for (size_t i = 0; i < a->slots.len;) {
        struct slot *s = a->slots.items[i];
        bool over = s->role == ROLE_COPIED && a->state.rollout.id == 0;
        if (s->seen || s->pool == 0 || (app_pool(&a->state, s->pool) != NULL && !over)) {
            i++;
            continue;
        }
        app_free_slot(a, i);
    }
}

/* ---- routes that are kept as they were
 * ------------------------------------------------------------------ */

static uint32_t keep_matches(struct builder *b, const struct snapshot *from, uint32_t first,
                             uint32_t len)
{
    uint32_t kept = b->s->matches_len;
    for (uint32_t i = 0; i < len; i++) {
        struct snapshot_match *m = PUSH(b, matches, 0);
        *m = from->matches[first + i];
    }
    return kept;
}

static uint32_t keep_rules(struct builder *b, const struct snapshot *from, uint32_t rules)
{
    if (rules == 0)
        return 0;
    struct snapshot_rules *r = PUSH(b, rules, 7);
    *r = from->rules[rules - 1];
    uint32_t first = r->first_edit, len = r->request_edits + r->answer_edits;
    r->first_edit = b->s->edits_len;
    for (uint32_t i = 0; i < len; i++) {
        struct snapshot_edit *e = PUSH(b, edits, 6);
        *e = from->edits[first + i];
    }
    return b->s->rules_len;
}

/* With those of its instances that still run: another's may have the port of one that does not. */
static uint32_t keep_pool(struct builder *b, const struct unreadable *u, uint32_t pool,
                          uint32_t *kept)
{
    const struct snapshot *from = b->control->found;
    const struct snapshot_pool *old = &from->pools[pool];
    if (kept[pool] != UINT32_MAX)
        return kept[pool];
    uint32_t first = b->s->instances_len;
    for (uint32_t i = 0; i < old->instances; i++) {
        const struct snapshot_instance *in = &from->instances[old->first_instance + i];
        if (!unreadable_instance_runs(u, in->id))
            continue;
        struct snapshot_instance *out = PUSH(b, instances, 2);
        *out = *in;
    }
    kept[pool] = b->s->pools_len;
    struct snapshot_pool *p = PUSH(b, pools, 1);
    *p = *old;
    p->first_instance = first;
    p->instances = b->s->instances_len - first;
    return kept[pool];
}

static void keep_route(struct builder *b, const struct unreadable *u,
                       const struct snapshot_route *old, uint32_t app, uint32_t *kept)
{
    const struct snapshot *from = b->control->found;
    struct snapshot_route route = *old;
    route.app = app;
    route.mirror = (struct snapshot_mirror){0}; /* nobody looks at what copies come to */
    route.first_match = keep_matches(b, from, old->first_match, old->matches);
    for (uint32_t i = 0; i < old->shares_len; i++) {
        route.shares[i].pool = keep_pool(b, u, old->shares[i].pool, kept);
        route.shares[i].rules = keep_rules(b, from, old->shares[i].rules);
    }
    for (uint32_t i = 0; i < old->pins_len; i++) {
        route.pins[i].share.pool = keep_pool(b, u, old->pins[i].share.pool, kept);
        route.pins[i].share.rules = keep_rules(b, from, old->pins[i].share.rules);
        route.pins[i].first_match =
            keep_matches(b, from, old->pins[i].first_match, old->pins[i].matches);
    }
    struct snapshot_route *out = PUSH(b, routes, 4);
    *out = route;
}

static void keep_app(struct builder *b, const struct unreadable *u)
{
    const struct snapshot *from = b->control->found;
    if (from == NULL || u->found_app == UINT32_MAX)
        return;
    uint32_t *kept = arena_alloc(b->memory, (from->pools_len + 1) * sizeof *kept);
    memset(kept, 0xff, (from->pools_len + 1) * sizeof *kept);
    uint32_t app = b->s->apps_len;
    struct snapshot_app *out = PUSH(b, apps, 5);
    *out = from->apps[u->found_app];
    orders_keep(from, b->s, out, b->memory);
    pages_keep(from, b->s, out, b->memory);
    for (uint32_t i = 0; i < from->routes_len; i++)
        if (from->routes[i].app == u->found_app)
            keep_route(b, u, &from->routes[i], app, kept);
    for (uint32_t i = 0; i < from->draining_len; i++)
        if (unreadable_has_slot(u, from->draining[i].slot)) {
            struct snapshot_draining *d = PUSH(b, draining, 3);
            *d = from->draining[i];
        }
    if (b->s->request_slots < from->request_slots)
        b->s->request_slots = from->request_slots;
    if (b->s->instance_slots < from->instance_slots)
        b->s->instance_slots = from->instance_slots;
}

void routes_build(struct control *c, struct snapshot *s, struct arena *arena)
{
    struct builder b = {.control = c, .s = s, .memory = arena};
    for (size_t i = 0; i < c->apps.len; i++) {
        add_app(&b, c->apps.items[i]);
        sweep_slots(c->apps.items[i]);
    }
    for (size_t i = 0; i < c->unreadable.len; i++)
        keep_app(&b, c->unreadable.items[i]);
    acme_answers(c, s, arena);
}
