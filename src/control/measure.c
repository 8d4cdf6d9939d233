/* Totals over gateway generations: what finished ones left behind plus what live ones say. */
#include "control/control_internal.h"

#include <string.h>

#define FOR_EACH_VIEW(c, v)                                                                        \
    for (size_t i_ = 0; i_ < (c)->gateways.len; i_++)                                              \
        for (const struct metrics_view *v = live_view((c)->gateways.items[i_]); v != NULL; v = NULL)

static const struct metrics_view *live_view(const struct gateway *g)
{
    return g->dead ? NULL : gateway_link_metrics(g->link);
}

uint64_t measure_request(const struct control *c, uint32_t slot, enum request_metric m)
{
    uint64_t sum = c->ended_requests[slot] != NULL ? c->ended_requests[slot]->counters[m] : 0;
    FOR_EACH_VIEW(c, v)
    sum += metrics_request(v, slot, m);
    return sum;
}

uint64_t measure_latency_us(const struct control *c, uint32_t slot)
{
    uint64_t sum = c->ended_requests[slot] != NULL ? c->ended_requests[slot]->latency_us : 0;
    FOR_EACH_VIEW(c, v)
    sum += metrics_latency_us(v, slot);
    return sum;
}

void measure_buckets(const struct control *c, uint32_t slot, uint64_t out[METRICS_BUCKETS])
{
    if (c->ended_requests[slot] != NULL)
        memcpy(out, c->ended_requests[slot]->buckets, sizeof c->ended_requests[slot]->buckets);
    else
        memset(out, 0, METRICS_BUCKETS * sizeof *out);
    FOR_EACH_VIEW(c, v)
    {
        uint64_t one[METRICS_BUCKETS];
        metrics_buckets(v, slot, one);
        for (int b = 0; b < METRICS_BUCKETS; b++)
            out[b] += one[b];
    }
}

void measure_red(const struct control *c, uint32_t slot, struct red *out)
{
    *out = c->ended_requests[slot] != NULL ? c->ended_requests[slot]->red : (struct red){0};
    FOR_EACH_VIEW(c, v)
    metrics_red(v, slot, out);
}

static bool is_gauge(enum instance_metric m)
{
    return m == INSTANCE_IN_FLIGHT || m == INSTANCE_UPGRADED;
}

uint64_t measure_instance(const struct control *c, uint32_t slot, enum instance_metric m)
{
    uint64_t sum = is_gauge(m) ? 0 : c->ended_instances[slot][m];
    FOR_EACH_VIEW(c, v)
    sum += metrics_instance(v, slot, m);
    return sum;
}

uint64_t measure_in_flight(const struct control *c, uint32_t slot)
{
    return measure_instance(c, slot, INSTANCE_IN_FLIGHT);
}

bool measure_is_whole(const struct control *c)
{
    for (size_t i = 0; i < c->gateways.len; i++)
        if (!c->gateways.items[i]->dead && gateway_link_is_foreign(c->gateways.items[i]->link))
            return false;
    return true;
}

void measure_keep_ended(struct control *c, const struct metrics_view *v)
{
    for (uint32_t slot = 0; slot < METRICS_REQUEST_SLOTS; slot++) {
        if (!c->request_slot_used[slot] && c->ended_requests[slot] == NULL)
            continue;
        if (c->ended_requests[slot] == NULL)
            c->ended_requests[slot] = xcalloc(1, sizeof **c->ended_requests);
        struct slot_totals *t = c->ended_requests[slot];
        for (int m = 0; m < REQUEST_METRICS; m++)
            if (!request_metric_is_gauge((enum request_metric)m))
                t->counters[m] += metrics_request(v, slot, (enum request_metric)m);
        t->latency_us += metrics_latency_us(v, slot);
        uint64_t one[METRICS_BUCKETS];
        metrics_buckets(v, slot, one);
        for (int b = 0; b < METRICS_BUCKETS; b++)
            t->buckets[b] += one[b];
        metrics_red(v, slot, &t->red);
    }
    for (uint32_t slot = 0; slot < METRICS_INSTANCE_SLOTS; slot++)
        for (int m = 0; c->instance_slot_used[slot] && m < INSTANCE_METRICS; m++)
            if (!is_gauge((enum instance_metric)m))
                c->ended_instances[slot][m] += metrics_instance(v, slot, (enum instance_metric)m);
}

/* ---- per owner of a slot
 * -------------------------------------------------------------------------- */

uint64_t counted_since(uint64_t now, uint64_t before)
{
    int64_t more = (int64_t)(now - before);
    return more > 0 ? (uint64_t)more : 0;
}

uint64_t slot_value(const struct control *c, const struct slot *s, enum request_metric m)
{
    uint64_t now = measure_request(c, s->index, m);
    if (request_metric_is_gauge(m))
        return now;
    /* A generation that was killed before its numbers were read took them along. */
    return now > s->base[m] ? now - s->base[m] : 0;
}

void slot_buckets(const struct control *c, const struct slot *s, uint64_t out[METRICS_BUCKETS])
{
    measure_buckets(c, s->index, out);
    for (int b = 0; b < METRICS_BUCKETS; b++)
        out[b] = out[b] > s->base_buckets[b] ? out[b] - s->base_buckets[b] : 0;
}

void slot_red(const struct control *c, const struct slot *s, struct red *out)
{
    measure_red(c, s->index, out);
#define SINCE(member)                                                                              \
    out->classes[class].member =                                                                   \
        out->classes[class].member > s->base_red.classes[class].member                             \
            ? out->classes[class].member - s->base_red.classes[class].member                       \
            : 0
    for (int class = 0; class < RED_CLASSES_COUNT; class ++) {
        SINCE(us);
        for (int step = 0; step < RED_STEPS; step++)
            SINCE(steps[step]);
    }
#undef SINCE
}

uint64_t pool_value(const struct app *a, uint32_t pool, enum request_metric m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->pool == pool && slot_is_of_users(a->slots.items[i]))
            sum += slot_value(a->control, a->slots.items[i], m);
    return sum;
}

void pool_buckets(const struct app *a, uint32_t pool, uint64_t out[METRICS_BUCKETS])
{
    memset(out, 0, METRICS_BUCKETS * sizeof *out);
    for (size_t i = 0; i < a->slots.len; i++) {
        if (a->slots.items[i]->pool != pool || !slot_is_of_users(a->slots.items[i]))
            continue;
        uint64_t one[METRICS_BUCKETS];
        slot_buckets(a->control, a->slots.items[i], one);
        for (int b = 0; b < METRICS_BUCKETS; b++)
            out[b] += one[b];
    }
}

uint64_t app_failed(const struct app *a)
{
    uint64_t sum = a->failed_before;
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (slot_is_of_users(s))
            sum += slot_value(a->control, s, REQUESTS_FAILED) +
                   slot_value(a->control, s, REQUESTS_CUT) +
                   slot_value(a->control, s, REQUESTS_UNSERVED);
    }
    return sum;
}

/* ---- rates for people
 * ----------------------------------------------------------------------------- */

/* All that its instances answer. */
static void sample(const struct app *a, uint32_t pool, int64_t now_ms, struct rate_sample *out)
{
    *out = (struct rate_sample){.at_ms = now_ms};
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        uint64_t buckets[METRICS_BUCKETS];
        if (s->pool != pool || s->role == ROLE_COPIED)
            continue;
        out->requests += slot_value(a->control, s, REQUESTS);
        out->errors += slot_value(a->control, s, REQUESTS_5XX) +
                       slot_value(a->control, s, REQUESTS_FAILED) +
                       slot_value(a->control, s, REQUESTS_CUT);
        slot_buckets(a->control, s, buckets);
        for (int b = 0; b < METRICS_BUCKETS; b++)
            out->buckets[b] += buckets[b];
    }
}

void rates_sample(struct app *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->rates.len;) {
        if (app_pool(&a->state, a->rates.items[i].pool) == NULL)
            vec_remove(&a->rates, i);
        else
            i++;
    }
    for (size_t p = 0; p < CORE_MAX_POOLS; p++) {
        uint32_t pool = a->state.pools[p].id;
        if (pool == 0)
            continue;
        struct pool_rate *r = NULL;
        for (size_t i = 0; i < a->rates.len; i++)
            if (a->rates.items[i].pool == pool)
                r = &a->rates.items[i];
        if (r == NULL) {
            r = vec_push(&a->rates);
            r->pool = pool;
            sample(a, pool, now_ms, &r->old);
            r->young = r->old;
        } else if (now_ms - r->young.at_ms >= RATE_WINDOW_MS) {
            r->old = r->young;
            sample(a, pool, now_ms, &r->young);
        }
    }
}

double buckets_quantile_ms(const uint64_t *buckets, double q)
{
    uint64_t total = 0, below = 0;
    for (int b = 0; b < METRICS_BUCKETS; b++)
        total += buckets[b];
    if (total == 0)
        return -1;
    double rank = q * (double)total;
    for (uint32_t b = 0; b < METRICS_BUCKETS; b++) {
        if (buckets[b] > 0 && (double)(below + buckets[b]) >= rank) {
            double low = (double)metrics_bucket_low(b);
            double high = b + 1 < METRICS_BUCKETS ? (double)metrics_bucket_high(b) : low;
            return (low + (high - low) * (rank - (double)below) / (double)buckets[b]) / 1000;
        }
        below += buckets[b];
    }
    return -1;
}

struct pool_figures rates_of(struct app *a, uint32_t pool)
{
    struct pool_figures f = {-1, -1, -1};
    for (size_t i = 0; i < a->rates.len; i++) {
        const struct pool_rate *r = &a->rates.items[i];
        if (r->pool != pool)
            continue;
        struct rate_sample now;
        sample(a, pool, control_now(), &now);
        if (now.at_ms - r->old.at_ms < 200)
            return f;
        uint64_t requests = now.requests - r->old.requests;
        f.requests_per_s = (double)requests * 1000 / (double)(now.at_ms - r->old.at_ms);
        if (requests > 0)
            f.error_rate = (double)(now.errors - r->old.errors) / (double)requests;
        for (int b = 0; b < METRICS_BUCKETS; b++)
            now.buckets[b] -= r->old.buckets[b] <= now.buckets[b] ? r->old.buckets[b] : 0;
        f.p95_ms = buckets_quantile_ms(now.buckets, 0.95);
    }
    return f;
}
