/* What each app's traffic was, minute by minute, for a day: what a later release is compared with,
 * and what a rehearsal of a rollout starts from. A minute without a request has no row; one in
 * which the controller was restarted may be short. */
#include "control/control_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MINUTE_MS = 60 * 1000 };

/* A pool's totals when its last minute was written. */
struct traffic_mark {
    uint32_t pool;
    struct traffic_sum seen;
};

/* Preview and match traffic, and copies, are no sample of what users do. */
void pool_traffic(const struct app *a, uint32_t pool, struct traffic_sum *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (s->pool != pool || s->role != ROLE_SHARE)
            continue;
        uint64_t left = slot_value(a->control, s, REQUESTS_CLIENT_LEFT);
        uint64_t all = slot_value(a->control, s, REQUESTS);
        uint64_t buckets[METRICS_BUCKETS];
        out->requests += all > left ? all - left : 0;
        /* All of them, also repeats: what is kept here are rates of requests, for people, for an
         * slo's budget, and for the watch after a promotion, which holds a rate against the same
         * one of the day before. Repeats matter where two releases share the clients: watch.c. */
        out->errors += slot_value(a->control, s, REQUESTS_5XX) +
                       slot_value(a->control, s, REQUESTS_FAILED) +
                       slot_value(a->control, s, REQUESTS_CUT);
        out->above_slo += slot_value(a->control, s, REQUESTS_ABOVE_SLO);
        slot_buckets(a->control, s, buckets);
        for (int b = 0; b < METRICS_BUCKETS; b++)
            out->buckets[b] += buckets[b];
    }
}

void traffic_since(const struct traffic_sum *now, struct traffic_sum *seen, struct traffic_sum *out)
{
    /* A route that is gone took its numbers along. */
#define SINCE(member) (now->member > seen->member ? now->member - seen->member : 0)
    out->requests = SINCE(requests);
    out->errors = SINCE(errors);
    out->above_slo = SINCE(above_slo);
    for (int b = 0; b < METRICS_BUCKETS; b++)
        out->buckets[b] = SINCE(buckets[b]);
#undef SINCE
    if (out->errors > out->requests)
        out->errors = out->requests;
    *seen = *now;
}

static void write_buckets(const uint64_t *buckets, struct buf *out)
{
    for (int b = 0; b < METRICS_BUCKETS; b++)
        if (buckets[b] > 0)
            buf_printf(out, "%s%d:%llu", out->len > 0 ? " " : "", b,
                       (unsigned long long)buckets[b]);
}

/* False: not as it was written, and *buckets is no histogram. */
static bool read_buckets(const char *text, uint64_t buckets[METRICS_BUCKETS])
{
    memset(buckets, 0, METRICS_BUCKETS * sizeof *buckets);
    while (*text != '\0') {
        char *end;
        unsigned long bucket = strtoul(text, &end, 10);
        if (end == text || *end != ':' || bucket >= METRICS_BUCKETS)
            return false;
        text = end + 1;
        unsigned long long count = strtoull(text, &end, 10);
        if (end == text || (*end != ' ' && *end != '\0'))
            return false;
        buckets[bucket] += count;
        text = *end == ' ' ? end + 1 : end;
    }
    return true;
}

static struct traffic_mark *mark_of(struct app *a, uint32_t pool)
{
    for (size_t i = 0; i < a->traffic_marks.len; i++)
        if (a->traffic_marks.items[i].pool == pool)
            return &a->traffic_marks.items[i];
    struct traffic_mark *mark = vec_push(&a->traffic_marks);
    *mark = (struct traffic_mark){.pool = pool};
    return mark;
}

static void log_app(struct app *a, int64_t minute)
{
    struct store_batch *batch = store_batch_new(a->control->store);
    for (size_t i = 0; i < a->traffic_marks.len;)
        if (app_pool(&a->state, a->traffic_marks.items[i].pool) == NULL)
            vec_remove(&a->traffic_marks, i);
        else
            i++;
    for (size_t p = 0; p < CORE_MAX_POOLS; p++) {
        const struct pool_state *pool = &a->state.pools[p];
        struct traffic_sum now, since;
        if (pool->id == 0)
            continue;
        pool_traffic(a, pool->id, &now);
        traffic_since(&now, &mark_of(a, pool->id)->seen, &since);
        if (since.requests == 0)
            continue;
        cleanup_buf struct buf latency = BUF_INIT;
        write_buckets(since.buckets, &latency);
        batch_put_traffic(batch,
                          &(struct store_traffic){.app = a->key,
                                                  .minute = minute,
                                                  .release = pool->release,
                                                  .candidate = pool->id == a->state.candidate,
                                                  .requests = since.requests,
                                                  .errors = since.errors,
                                                  .latency = buf_str(&latency)});
    }
    if (store_batch_empty(batch))
        store_batch_free(batch);
    else
        store_submit(a->control->store, batch, NULL, NULL); /* a lost minute is no harm */
}

/* What was counted before this controller is an earlier one's to write. */
static void adopt_app(struct app *a)
{
    for (size_t p = 0; p < CORE_MAX_POOLS; p++)
        if (a->state.pools[p].id != 0)
            pool_traffic(a, a->state.pools[p].id, &mark_of(a, a->state.pools[p].id)->seen);
}

void traffic_log_tick(struct control *c, int64_t now_ms)
{
    int64_t minute = now_ms / MINUTE_MS;
    if (c->store == NULL || minute == c->traffic_minute)
        return;
    for (size_t i = 0; i < c->apps.len; i++)
        if (c->traffic_minute == 0)
            adopt_app(c->apps.items[i]);
        else if (!c->apps.items[i]->deleting)
            log_app(c->apps.items[i], c->traffic_minute);
    c->traffic_minute = minute;
}

int traffic_history(struct app *a, uint32_t without_release, struct traffic_sum *out,
                    struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_traffics rows;
    memset(out, 0, sizeof *out);
    int64_t from = control_now() / MINUTE_MS - STORE_TRAFFIC_MINUTES;
    if (store_read_traffic(a->control->store, a->key, from, &memory, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.len; i++) {
        const struct store_traffic *row = &rows.items[i];
        uint64_t buckets[METRICS_BUCKETS];
        if (row->candidate || row->release == without_release ||
            !read_buckets(row->latency, buckets))
            continue;
        out->requests += row->requests;
        out->errors += row->errors;
        for (int b = 0; b < METRICS_BUCKETS; b++)
            out->buckets[b] += buckets[b];
    }
    return 0;
}

/* ---- for people
 * ----------------------------------------------------------------------------------- */

static json_t *quantile_json(const uint64_t *buckets, double q)
{
    double ms = buckets_quantile_ms(buckets, q);
    return ms < 0 ? json_null() : json_real(ms);
}

static json_t *minute_json(const struct store_traffic *row)
{
    uint64_t buckets[METRICS_BUCKETS];
    if (!read_buckets(row->latency, buckets))
        memset(buckets, 0, sizeof buckets); /* no quantiles, then */
    return json_pack("{s:I,s:i,s:b,s:I,s:I,s:o,s:o,s:o,s:o}", "at",
                     (json_int_t)row->minute * MINUTE_MS, "release", (int)row->release, "candidate",
                     (int)row->candidate, "requests", (json_int_t)row->requests, "errors",
                     (json_int_t)row->errors, "p50_ms", quantile_json(buckets, .5), "p90_ms",
                     quantile_json(buckets, .9), "p95_ms", quantile_json(buckets, .95), "p99_ms",
                     quantile_json(buckets, .99));
}

json_t *control_traffic(struct control *c, const struct app_name *name, uint32_t minutes,
                        struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_traffics rows;
    struct app *a = app_find(c, name, err);
    if (a == NULL || control_available(c, err) < 0)
        return NULL;
    int64_t from = control_now() / MINUTE_MS - minutes;
    if (store_read_traffic(c->store, a->key, from, &memory, &rows, err) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < rows.len; i++)
        json_array_append_new(list, minute_json(&rows.items[i]));
    return json_pack("{s:s,s:s,s:o}", "app", a->name, "environment", a->environment, "minutes",
                     list);
}
