/* The judge of each rollout: fed with what every tick brought, per route; asked by the pipeline.
 *
 * Only a deploy is judged. A roll back and a restart go to a release that people know. */
#include "control/control_internal.h"

#include <stdio.h>
#include <string.h>

enum { MARKS_NEED_REQUESTS = 200, SAVE_MS = 2000, NAMED_DIFFERENCES = 2 };

/* Two releases that never fail cannot be compared: where the file has no slo, a candidate that is
 * shown to fail less often than that is fine. It says nothing about rolling back. */
#define NEGLIGIBLE_ERROR_RATE 0.005

static void remember(struct app *a, struct slot *s)
{
    for (int m = 0; m < REQUEST_METRICS; m++)
        s->judged[m] = slot_value(a->control, s, (enum request_metric)m);
    slot_buckets(a->control, s, s->judged_buckets);
}

void watch_config(const struct app_spec *spec, bool has_stable,
                  struct judge_extra extras[JUDGE_EXTRAS], struct judge_config *out)
{
    const struct slo_spec *slo = &spec->slo;
    *out = (struct judge_config){
        .alpha = spec->strategy.judge.alpha > 0 ? spec->strategy.judge.alpha : 0.001,
        .max_worse = spec->strategy.judge.max_worse,
        .negligible_error_rate = NEGLIGIBLE_ERROR_RATE,
        .slo_error_rate = slo->has_error_rate ? slo->error_rate : 0,
        .slo_latency_share = slo->has_latency ? 1 - slo->latency_quantile : 0,
        .min_requests = slo->min_requests,
        .has_stable = has_stable,
        .compares_answers = has_stable && mirror_compares(spec),
        .differences = spec->strategy.shadow.differences_ppm / 1e6,
        .extras = extras,
    };
    if (has_stable)
        out->extras_len = usage_compared(spec, extras, metrics_compared(spec, extras));
}

void watch_begin(struct app *a)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    struct judge_extra extras[JUDGE_EXTRAS];
    struct judge_config config;
    if (spec == NULL)
        return;
    watch_config(spec, a->state.stable != 0, extras, &config);
    judge_init(&a->judge, &config);
    metrics_begin(a);
    usage_begin(a);
    a->judging = true;
    a->judgement = JUDGEMENT_NO_DATA;
    a->difference_told = false;
    a->judged_ms = control_now();
    const struct pool_state *candidate = app_pool(&a->state, a->state.candidate);
    a->judged_weight_ppm = candidate != NULL ? candidate->weight_ppm : 0;
    buf_clear(&a->judge_text);
    verdict_log_begin(a);
    for (size_t i = 0; i < a->slots.len; i++) {
        struct slot *s = a->slots.items[i];
        remember(a, s);
        s->rollout_requests = s->rollout_errors = 0;
        s->has_marks = false;
        memset(&s->gathering, 0, sizeof s->gathering);
    }
}

void watch_restore(struct app *a, const char *json)
{
    struct error err = ERROR_INIT;
    struct judge judge;
    if (json == NULL || judge_from_json(&judge, json, &err) < 0) {
        log_warn("app %s: the judge begins anew: %s", a->key, err.text);
        return;
    }
    a->judge = judge;
    a->difference_told = judge.differences.seen.differed > 0;
    verdict_log_resume(a);
    a->judgement = judge_look(&a->judge, &a->judge_text);
}

/* What the judge knows is stored with each step; while nothing steps, every two seconds. */
static void save(struct app *a, int64_t now)
{
    if (!a->judge_fed || now - a->judge_saved_ms < SAVE_MS || a->phase != PIPE_IDLE || a->unstored)
        return;
    a->judge_fed = false;
    a->judge_saved_ms = now;
    struct store_batch *batch = store_batch_new(a->control->store);
    app_put_row(a, batch);
    verdict_log_add(a, batch);
    app_write(a, batch, NULL, NULL);
}

void watch_end(struct app *a)
{
    a->judging = false;
    a->judgement = JUDGEMENT_NO_DATA;
    buf_clear(&a->judge_text);
    metrics_end(a);
    usage_end(a);
}

/* Marks under 10 ms tell machines apart, not releases; an slo may ask for less. */
static uint32_t least_mark(struct app *a)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    int64_t ms = WATCH_FELT_MS;
    if (spec != NULL && spec->slo.has_latency && spec->slo.latency_ms < ms)
        ms = spec->slo.latency_ms;
    return metrics_bucket((uint64_t)ms * 1000);
}

static bool choose_marks(struct app *a, const uint64_t buckets[METRICS_BUCKETS],
                         uint32_t marks[JUDGE_MARKS])
{
    uint64_t total = 0;
    for (int b = 0; b < METRICS_BUCKETS; b++)
        total += buckets[b];
    if (total < MARKS_NEED_REQUESTS)
        return false;
    judge_choose_marks(buckets, METRICS_BUCKETS, least_mark(a), marks);
    return true;
}

/* The marks come from stable's history, once there is enough of it; batches before that have no
 * part in the latency test, so the choice cannot favour a result. */
static void choose_edges(struct app *a)
{
    if (a->judge.edges_len != 0 || a->state.stable == 0)
        return;
    uint64_t buckets[METRICS_BUCKETS];
    uint32_t marks[JUDGE_MARKS];
    pool_buckets(a, a->state.stable, buckets);
    if (choose_marks(a, buckets, marks))
        judge_set_edges(&a->judge, marks, JUDGE_MARKS);
}

/* Those of the route, so that a quick one is not measured by a slow one's; until stable has
 * answered enough there, those of the whole app. */
static const uint32_t *marks_of(struct app *a, struct slot *stable)
{
    uint64_t buckets[METRICS_BUCKETS];
    if (stable == NULL || a->judge.edges_len != JUDGE_MARKS)
        return a->judge.edges;
    if (!stable->has_marks) {
        slot_buckets(a->control, stable, buckets);
        stable->has_marks = choose_marks(a, buckets, stable->marks);
    }
    return stable->has_marks ? stable->marks : a->judge.edges;
}

/* What one slot brought since the last batch. */
static void take(struct app *a, struct slot *s, const uint32_t *marks, struct judge_arm *arm)
{
    uint64_t now[REQUEST_METRICS], buckets[METRICS_BUCKETS];
    for (int m = 0; m < REQUEST_METRICS; m++)
        now[m] = slot_value(a->control, s, (enum request_metric)m);
    slot_buckets(a->control, s, buckets);
#define SINCE(m) counted_since(now[m], s->judged[m])
    uint64_t left = SINCE(REQUESTS_CLIENT_LEFT);
    arm->requests = SINCE(REQUESTS) > left ? SINCE(REQUESTS) - left : 0;
    arm->errors = SINCE(REQUESTS_5XX) + SINCE(REQUESTS_FAILED) + SINCE(REQUESTS_CUT) +
                  SINCE(REQUESTS_RESCUED);
    /* Copies have no client that could repeat them, so those that were copied are not told apart.
     */
    arm->repeats = s->role == ROLE_SHARE ? SINCE(REQUESTS_REPEATS) : 0;
    arm->above_slo = SINCE(REQUESTS_ABOVE_SLO);
#undef SINCE
    if (s->role == ROLE_COPIES && a->judge.differences.used) {
        struct judge_compared more = mirror_compared(s, now);
        judge_differed(&a->judge, &more);
    }
    for (uint32_t b = 0; b < METRICS_BUCKETS; b++) {
        uint64_t n = counted_since(buckets[b], s->judged_buckets[b]);
        for (uint32_t e = 0; e < a->judge.edges_len && e < JUDGE_EDGES; e++)
            if (b >= marks[e])
                arm->above[e] += n;
    }
    /* A request is in the histogram when its head is answered, and counted when it is over. */
    if (arm->errors > arm->requests)
        arm->requests = arm->errors;
    for (uint32_t e = 0; e < JUDGE_EDGES; e++)
        if (arm->above[e] > arm->requests)
            arm->above[e] = arm->requests;
    if (arm->above_slo > arm->requests)
        arm->above_slo = arm->requests;
    s->rollout_requests += arm->requests;
    s->rollout_errors += arm->errors;
    memcpy(s->judged, now, sizeof now);
    memcpy(s->judged_buckets, buckets, sizeof buckets);
}

/* Whom a slot's numbers are compared with: of the other release, on the same route; copies with the
 * very requests that were copied. */
struct slot *watch_counterpart(const struct app *a, const struct slot *of)
{
    uint32_t pool = of->pool == a->state.stable ? a->state.candidate : a->state.stable;
    enum slot_role role = of->role == ROLE_COPIES   ? ROLE_COPIED
                          : of->role == ROLE_COPIED ? ROLE_COPIES
                                                    : ROLE_SHARE;
    for (size_t i = 0; i < a->slots.len && pool != 0; i++) {
        struct slot *s = a->slots.items[i];
        if (s->role == role && s->pool == pool && strcmp(s->route, of->route) == 0)
            return s;
    }
    return NULL;
}

void watch_tick(struct app *a)
{
    int64_t now = control_now();
    if (!a->judging || now - a->judged_ms < TICK_ROLLOUT_MS || a->state.candidate == 0)
        return;
    uint32_t weight_ppm = app_pool(&a->state, a->state.candidate)->weight_ppm;
    bool shares_change = weight_ppm != a->judged_weight_ppm;
    a->judged_ms = now;
    a->judged_weight_ppm = weight_ppm;
    choose_edges(a);
    for (size_t i = 0; i < a->slots.len; i++) {
        struct slot *s = a->slots.items[i];
        struct judge_arm candidate = {0}, stable = {0};
        if (s->role == ROLE_PINNED || (s->pool != a->state.candidate && s->pool != a->state.stable))
            continue;
        if (s->pool == a->state.stable) {
            /* Nobody to compare with: what it brought meanwhile must not come in one lump later. */
            if (watch_counterpart(a, s) == NULL)
                take(a, s, a->judge.edges, &stable);
            continue;
        }
        struct slot *other = watch_counterpart(a, s);
        const uint32_t *marks = marks_of(a, other);
        take(a, s, marks, &candidate);
        if (other != NULL)
            take(a, other, marks, &stable);
        judge_gather(&a->judge, &s->gathering, &candidate, &stable, shares_change, now);
        a->judge_fed = a->judge_fed || candidate.requests + stable.requests > 0;
    }
    usage_tick(a, now);
    save(a, now);
    buf_clear(&a->judge_text);
    enum judgement before = a->judgement;
    a->judgement = judge_look(&a->judge, &a->judge_text);
    if (a->judgement != before)
        control_mark(a);
}

void watch_verdict(struct app *a, struct observations *obs)
{
    obs->verdict = VERDICT_CONTINUE;
    if (!a->judging)
        return;
    cleanup_buf struct buf text = BUF_INIT;
    switch (a->judgement) {
    case JUDGEMENT_CONTINUE:
    case JUDGEMENT_INCONCLUSIVE:
    case JUDGEMENTS_COUNT: break;
    case JUDGEMENT_PASS: obs->verdict = VERDICT_PASS; break;
    case JUDGEMENT_NO_DATA:
        obs->verdict = VERDICT_NO_DATA;
        obs->unanswered = mirror_unanswered(a);
        break;
    case JUDGEMENT_METRIC:
        obs->verdict = VERDICT_ROLL_BACK;
        obs->verdict_reason.code = REASON_METRIC;
        break;
    case JUDGEMENT_ERRORS:
        obs->verdict = VERDICT_ROLL_BACK;
        obs->verdict_reason.code = REASON_ERRORS;
        break;
    case JUDGEMENT_LATENCY:
        obs->verdict = VERDICT_ROLL_BACK;
        obs->verdict_reason.code = REASON_LATENCY;
        break;
    case JUDGEMENT_SLO:
        obs->verdict = VERDICT_ROLL_BACK;
        obs->verdict_reason.code = REASON_SLO;
        break;
    case JUDGEMENT_DIFFERENCES:
        obs->verdict = VERDICT_ROLL_BACK;
        obs->verdict_reason.code = REASON_DIFFERENCES;
        mirror_name_differences(a, NAMED_DIFFERENCES, &text);
        break;
    }
    if (obs->unanswered)
        buf_puts(&text, ": none of the copies was answered");
    snprintf(obs->verdict_reason.text, sizeof obs->verdict_reason.text, "%s%s",
             buf_str(&a->judge_text), buf_str(&text));
}
