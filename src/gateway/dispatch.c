/* Where a request goes: route, pool, instance; or the hold; or an answer of our own. */
#include "gateway/access.h"
#include "gateway/capacity.h"
#include "gateway/h2.h"

#include "base/assert.h"
#include "gateway/guard.h"
#include "gateway/mirror.h"
#include "gateway/orders.h"
#include "gateway/outlier.h"
#include "gateway/split.h"
#include "gateway/stats.h"
#include "gateway/tls.h"
#include "gateway/upstream_tls.h"

#include "gateway/via.h"

#include <stdio.h>
#include <string.h>

#define NO_SLOT UINT32_MAX

/* A request at its place: what is looked at to route it. */
struct request {
    struct exchange *x;
    const struct http1_head *h;
    const char *p;
    const struct table_route *r;
};

/* A later attempt stays with its share, so that the judge's arms are not mixed by retries. */
static const struct snapshot_share *same_share(const struct request *q)
{
    const struct snapshot_route *r = q->r->route;
    for (uint32_t i = 0; i < r->shares_len; i++)
        if (r->shares[i].slot == q->x->share_slot)
            return &r->shares[i];
    for (uint32_t i = 0; i < r->pins_len; i++)
        if (r->pins[i].share.slot == q->x->share_slot)
            return &r->pins[i].share;
    return NULL;
}

static const struct snapshot_share *sticky_share(const struct request *q)
{
    const struct snapshot_route *r = q->r->route;
    struct exchange *x = q->x;
    size_t len = 0;
    const char *value = http1_cookie(q->h, q->p, r->sticky_cookie, &len);
    uint16_t bucket = value != NULL ? split_bucket(value, len) : STICKY_NONE;
    if (bucket == STICKY_NONE)
        bucket = x->sticky; /* a later attempt */
    if (bucket == STICKY_NONE && strlen(r->sticky_cookie) < sizeof x->cookie) {
        bucket = (uint16_t)(worker_random(x->worker) % STICKY_BUCKETS);
        x->sticky = bucket;
        memcpy(x->cookie, r->sticky_cookie, strlen(r->sticky_cookie) + 1);
    }
    return &r->shares[split_by_bucket(q->r, bucket)];
}

static const struct snapshot_share *split_share(const struct request *q)
{
    const struct snapshot_route *r = q->r->route;
    if (r->shares_len == 0)
        return NULL;
    if (!q->r->split)
        return &r->shares[q->r->whole];
    if (r->sticky_cookie[0] != 0)
        return sticky_share(q);
    /* One counter for all workers, by the candidate's slot, so that a new table goes on counting.
     */
    struct gateway *g = q->x->worker->gateway;
    uint32_t slot = r->shares[q->r->candidate].slot;
    uint64_t n = atomic_fetch_add_explicit(&g->split_count[slot], 1, memory_order_relaxed) + 1;
    return &r->shares[split_by_count(q->r, n)];
}

static const struct snapshot_share *pinned_share(const struct request *q, const struct table *t)
{
    const struct snapshot_route *r = q->r->route;
    for (uint32_t i = 0; i < r->pins_len; i++)
        if (r->pins[i].matches > 0 && (!r->pins[i].client_cert || q->x->certified) &&
            table_matches(t, q->h, q->p, r->pins[i].first_match, r->pins[i].matches))
            return &r->pins[i].share;
    return NULL;
}

struct choice {
    struct instance *instance;
    const struct snapshot_share *share;
    bool spilled;
};

static bool try_share(struct worker *w, const struct snapshot_share *s,
                      const struct instance *avoid, uint32_t limit, struct choice *c)
{
    c->instance = balance_choose(w, &w->table->snapshot->pools[s->pool], avoid, limit);
    c->share = s;
    return c->instance != NULL;
}

/* The chosen share; where its pool has nobody, the others that take part: stable always, those with
 * a weight. (What has no weight yet was not approved for anybody.) */
static bool choose(const struct request *q, const struct instance *avoid, uint32_t limit,
                   struct choice *c)
{
    struct worker *w = q->x->worker;
    const struct snapshot_route *r = q->r->route;
    const struct snapshot_share *first = q->x->share_slot != NO_SLOT ? same_share(q) : NULL;
    if (first == NULL)
        first = pinned_share(q, w->table);
    if (first == NULL)
        first = split_share(q);
    if (first == NULL)
        return false;
    c->spilled = false;
    if (try_share(w, first, avoid, limit, c))
        return true;
    c->spilled = true;
    for (uint32_t i = 0; i < r->shares_len; i++)
        if (&r->shares[i] != first && (i == 0 || r->shares[i].weight_ppm > 0) &&
            try_share(w, &r->shares[i], avoid, limit, c))
            return true;
    return false;
}

/* Where it goes, or waits. Who spilled over has done so in later attempts, too. */
static void take_share(struct exchange *x, const struct choice *c)
{
    x->spilled = c->spilled || (x->spilled && x->share_slot == c->share->slot);
    x->share_slot = c->share->slot;
}

/* The gauge rises before the connect, under the table that was seen: so an instance whose removal
 * was acknowledged by all workers and whose gauges are zero gets nothing more. */
static bool open_connection(struct exchange *x, const struct choice *c, bool *local)
{
    struct worker *w = x->worker;
    struct instance *i = c->instance;
    stats_instance(w, i->slot, INSTANCE_IN_FLIGHT, 1);
    /* After a connection that was kept alive broke, a new one: the next kept one may be dead too.
     */
    bool fresh = x->attempts > 0 || x->stream;
    x->h2c = c->share->h2c;
    const struct snapshot_tls *tls = &c->share->tls;
    struct upstream *u = x->h2c ? h2_upstream_open(w, i, local)
                         : tls->name != NULL
                             ? upstream_tls_open(w, i, tls, x->replayable, fresh, local)
                             : upstream_open(w, i, 0, x->replayable, fresh, local);
    if (x->attempts < UINT8_MAX)
        x->attempts++;
    if (u == NULL) {
        stats_instance(w, i->slot, INSTANCE_IN_FLIGHT, -1);
        if (!*local) {
            stats_instance(w, i->slot, INSTANCE_CONNECT_ERRORS, 1);
            i->rest_until_ms = w->now_ms + w->gateway->limits.rest_ms;
            if (x->watched)
                outlier_failed(w, i, c->share->slot);
        }
        return false;
    }
    u->exchange = x;
    x->upstream = u;
    if (x->h2c && x->kept != NULL && !x->sent_any)
        x->keeping = true; /* a stream may be refused by itself, and then is sent again */
    if (x->h2c && x->attempts > 1)
        client_later(x->client); /* its connection may be there, and make no event */
    x->instance_slot = i->slot;
    take_share(x, c);
    stats_request(w, x->share_slot, REQUESTS_IN_FLIGHT, 1);
    uint64_t slo_us = w->table->snapshot->pools[c->share->pool].slo_us;
    x->slo_us = slo_us != 0 ? slo_us : UINT64_MAX;
    if (x->access != NULL)
        access_chosen(x, &w->table->snapshot->pools[c->share->pool], i->slot);
    x->taken = true;
    x->drain_deadline_ms = i->drain_deadline_ms;
    x->state = u->connecting ? EXCHANGE_CONNECTING : EXCHANGE_ACTIVE;
    x->deadline_ms = w->now_ms + (u->connecting ? x->connect_ms : x->timeout_ms);
    exchange_set_timer(x);
    return true;
}

enum sent { SENT, NOBODY, LOCAL, MISSING, GONE, FULL };

/* false: no memory; this connection pays, and x is gone. */
static bool follow_rules(struct exchange *x, const struct snapshot_share *share)
{
    struct client *c = x->client;
    if ((share->rules == 0 && x->plain == NULL) || rewrite_request(x, share->rules))
        return true;
    exchange_end(x, x->copy ? OUTCOME_CLIENT_LEFT : OUTCOME_CUT);
    client_reset(c);
    return false;
}

/* limit: as of balance_choose(). FULL: x->share_slot says where. MISSING: what its TLS needs. */
static enum sent send_to_somebody(const struct request *q, const struct instance *avoid,
                                  uint32_t limit, bool in_turn)
{
    struct choice c = {0};
    bool limited = q->r->route->resilience.in_flight != 0 || q->x->place != 0;
    /* Each refusal rests an instance, so this ends. */
    while (choose(q, avoid, limit, &c)) {
        bool local;
        if (c.share->tls.name != NULL && !upstream_tls_known(q->x->worker))
            return NOBODY; /* a gateway that has just started */
        if (limited && !capacity_take(q->x, q->r, c.share, in_turn)) {
            take_share(q->x, &c);
            return FULL;
        }
        if (open_connection(q->x, &c, &local)) {
            if (!follow_rules(q->x, c.share))
                return GONE;
            if (q->r->mirrored)
                mirror_draw(q->x, q->r, c.share, q->h);
            return SENT;
        }
        if (local)
            return c.share->tls.name != NULL && upstream_tls_missing(q->x->worker, &c.share->tls)
                       ? MISSING
                       : LOCAL;
        stats_request(q->x->worker, c.share->slot, REQUESTS_RETRIED, 1);
        avoid = c.instance;
    }
    return NOBODY;
}

static void unserved(struct exchange *x, const char *text)
{
    exchange_refuse(x, OUTCOME_UNSERVED, 503, text);
}

/* It is the gateway that cannot: LOCAL or MISSING. */
static void unable(struct exchange *x, enum sent why)
{
    unserved(x, why == LOCAL ? "out of connections"
                             : "a certificate for TLS to the instances is missing");
}

static void nobody(struct exchange *x, const struct snapshot_app *app)
{
    unserved(x, app->stopped ? "the app is stopped" : "no instance is ready");
}

static void take_route(struct exchange *x, const struct table_route *r)
{
    const struct snapshot_resilience *s = &r->route->resilience;
    if (x->app_slot == NO_SLOT) {
        x->retries_left = r->route->retries;
        x->total_deadline_ms = s->total_ms > 0 ? x->start_ms + s->total_ms : 0;
    }
    x->watched = !r->split && (s->eject_errors | s->eject_latency_ppm) != 0;
    x->connect_ms = s->connect_ms > 0 ? s->connect_ms : x->worker->gateway->limits.connect_ms;
    x->app_slot = r->app->slot;
    x->timeout_ms = r->route->timeout_ms > 0 ? r->route->timeout_ms
                    : x->stream              ? UINT32_MAX
                                             : 60000;
    x->hsts_s = x->secure ? r->route->hsts_s : 0;
    if (x->access != NULL)
        access_routed(x, r);
}

/* https://HOST[:PORT]TARGET. The host is the one that was asked for, without its port; the port is
 * that of a TLS listener, where none has the usual one. */
static void redirect(const struct request *q)
{
    char location[REDIRECT_MAX], after[16] = "";
    const struct http1_span host = q->h->authority, path = q->h->path;
    const char *name = q->p + host.at;
    int len = (int)host.len;
    const char *colon = memrchr(name, ':', host.len);
    if (colon != NULL && memchr(colon, ']', host.len - (size_t)(colon - name)) == NULL)
        len = (int)(colon - name);
    unsigned port = tls_port(q->x->worker->gateway);
    if (port != 443)
        snprintf(after, sizeof after, ":%u", port);
    int n = snprintf(location, sizeof location, "https://%.*s%s%.*s", len, name, after,
                     path.len > 0 ? (int)path.len : 1, path.len > 0 ? q->p + path.at : "/");
    if (len == 0)
        exchange_refuse(q->x, OUTCOME_REDIRECTED, 400, "no Host, and so no place to redirect to");
    else if (n < 0 || (size_t)n >= sizeof location)
        exchange_refuse(q->x, OUTCOME_REDIRECTED, 414, "the target is too long to be redirected");
    else
        exchange_redirect(q->x, 308, location);
}

/* Of a TCP route: there is no head to look at. */
static bool find_stream(struct request *q)
{
    q->r = stream_route(q->x);
    if (q->r != NULL)
        take_route(q->x, q->r);
    else
        unserved(q->x, "no route wants this listener any more");
    return q->r != NULL;
}

/* false: an answer was given instead, x is gone. */
static bool find_route(struct request *q)
{
    struct exchange *x = q->x;
    bool bad;
    if (x->stream)
        return find_stream(q);
    if (x->worker->table->snapshot->proofs_len > 0 && proofs_answer(x, q->h, q->p))
        return false;
    q->r = table_route(x->worker->table, q->h, q->p, &bad);
    if (q->r != NULL) {
        const struct snapshot_observe *o = &q->r->route->observe;
        if ((o->trace || o->request_id) && x->app_slot == NO_SLOT) /* the first time */
            trace_apply(x, q->h, q->p, o);
        if ((q->r->route->forwarded || q->r->route->via) && x->app_slot == NO_SLOT)
            via_apply(x, q->r->route, q->h, q->p);
        take_route(x, q->r);
        if (q->r->route->redirect_https != 0 && !x->secure)
            redirect(q);
        else if (q->r->route->client_cert && !x->certified)
            exchange_refuse(x, OUTCOME_REFUSED, 403, "a client certificate is needed here");
        else if (q->r->route->redirect.to != NULL)
            redirect_answer(x, q->r->route, q->h, q->p);
        else
            return true;
        return false;
    }
    if (bad)
        exchange_refuse(x, OUTCOME_UNSERVED, 400, "malformed percent-encoding in the path");
    else if (x->worker->table->version == 0)
        unserved(x, "no routes are known yet");
    else
        exchange_refuse(x, OUTCOME_UNSERVED, 404, "no route for this host and path");
    return false;
}

void dispatch(struct exchange *x, const struct http1_head *head, const char *p,
              const struct instance *avoid)
{
    struct http1_head again;
    if (head == NULL) {
        exchange_parse_kept(x, &again, &p);
        head = &again;
    }
    struct request q = {x, head, p, NULL};
    if (!find_route(&q))
        return;
    if (q.r->guarded && x->attempts == 0 && !x->fault_tried && !x->stream &&
        !guard_admits(x, q.r, head, p))
        return;
    const struct snapshot_app *app = q.r->app;
    if (orders_any(app) && orders_take(x, app, head, p) != ORDERS_PASS)
        return;
    enum sent sent = NOBODY;
    /* Who comes while others wait stands behind them; but who may pass a maintenance does not wait
     * behind those that may not. */
    bool passes = app->maintenance.status != 0;
    if (!app->hold && (passes || !hold_waiting(x->worker, app->slot)))
        sent = send_to_somebody(&q, avoid, 0, false);
    if (sent == NOBODY && x->place != 0)
        capacity_give_back(x);
    if (sent == LOCAL || sent == MISSING)
        unable(x, sent);
    else if (sent == FULL)
        capacity_wait(x, q.r);
    else if (sent == NOBODY && (passes || !hold_put(x, app)))
        nobody(x, app);
}

enum dispatched dispatch_copy(struct exchange *x, const struct table_route *r,
                              const struct instance *avoid)
{
    struct worker *w = x->worker;
    const struct snapshot_share *to = &r->route->mirror.to;
    const struct snapshot_pool *pool = &w->table->snapshot->pools[to->pool];
    struct choice c = {0};
    take_route(x, r);
    x->watched = false;
    /* It does not wait longer than a user may; and not without end for what always goes on. */
    if (x->total_deadline_ms == 0)
        x->total_deadline_ms = x->start_ms + 2 * (uint64_t)x->timeout_ms;
    while (try_share(w, to, avoid, 0, &c)) {
        bool local;
        if (open_connection(x, &c, &local))
            return follow_rules(x, to) ? DISPATCHED : DISPATCH_GONE;
        if (local)
            return DISPATCH_LOCAL;
        stats_request(w, to->slot, REQUESTS_RETRIED, 1);
        avoid = c.instance;
    }
    if (pool->instances == 0)
        return DISPATCH_NOBODY;
    x->share_slot = to->slot;
    x->taken = true;
    return DISPATCH_FAILED;
}

bool dispatch_held(struct exchange *x, uint32_t limit)
{
    struct http1_head head;
    const char *p;
    exchange_parse_kept(x, &head, &p);
    struct request q = {x, &head, p, NULL};
    /* Those that end here do so outside of the queue's walk: the client goes on in the next turn.
     */
    struct client *c = x->client;
    if (!find_route(&q)) {
        if (!c->endpoint.dead)
            client_later(c);
        return true;
    }
    enum orders_step step = orders_any(q.r->app) ? orders_take(x, q.r->app, &head, p) : ORDERS_PASS;
    if (step == ORDERS_ANSWERED && !c->endpoint.dead)
        client_later(c);
    if (step != ORDERS_PASS) /* a fault's delay is outside of the hold */
        return step == ORDERS_ANSWERED || x->hold == NULL;
    /* A longer hold (recreate) counts for those who wait already. */
    if (x->held_since_ms + q.r->app->hold_ms > x->deadline_ms)
        hold_set_time(x, q.r->app->hold_ms);
    if (q.r->app->hold)
        return false;
    enum sent sent = send_to_somebody(&q, NULL, limit, false);
    if (sent == GONE)
        return true;
    bool in_vain = sent == NOBODY && q.r->app->stopped;
    if (!in_vain && (sent == NOBODY || sent == LOCAL)) {
        capacity_end(x);
        return false;
    }
    hold_remove(x);
    if (in_vain)
        nobody(x, q.r->app);
    else if (sent == MISSING)
        unable(x, sent);
    else if (sent == FULL)
        capacity_wait(x, q.r);
    if (!c->endpoint.dead)
        client_later(c);
    return true;
}

bool dispatch_queued(struct exchange *x)
{
    struct http1_head head;
    const char *p;
    struct client *c = x->client;
    exchange_parse_kept(x, &head, &p);
    struct request q = {x, &head, p, NULL};
    enum sent sent = GONE;
    if (find_route(&q)) {
        if (orders_any(q.r->app) && orders_bar(x, q.r->app, &head, p)) {
            capacity_leave_queue(x);
            if (orders_take(x, q.r->app, &head, p) == ORDERS_ANSWERED && !c->endpoint.dead)
                client_later(c);
            return true;
        }
        sent = q.r->app->hold ? NOBODY : send_to_somebody(&q, NULL, 0, true);
        if (sent == FULL)
            return false;
    }
    if (sent != GONE)
        capacity_leave_queue(x);
    if (sent == NOBODY && x->place != 0)
        capacity_give_back(x);
    if (sent == LOCAL || sent == MISSING)
        unable(x, sent);
    else if (sent == NOBODY && !hold_put(x, q.r->app))
        nobody(x, q.r->app);
    if (!c->endpoint.dead)
        client_later(c);
    return true;
}
