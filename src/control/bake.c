/* The watch after a promotion (`bake`): no stable release runs beside it any more, so what it does
 * is held against the day before and against the slo's error budget. Where that says worse, the app
 * goes back to the release before, as if someone had typed `rollback`.
 *
 * Anything that people begin meanwhile ends the watch: it is theirs then. */
#include "control/bake.h"

#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    HISTORY_NEEDS = 200, /* requests: fewer are no baseline */
    SAVE_MS = 10000,
    HOUR_MS = 3600 * 1000,
};
/* 2 % of a month's error budget within an hour: SRE Workbook, "Alerting on SLOs". */
static const double BURN_LIMIT = 14.4;
/* As long as fewer fail, it is nobody's regression, however clean the day before was. */
static const double NEGLIGIBLE = 0.002;
static const double ALLOWED = 2; /* times the day before, as for the judge of a rollout */

/* ---- beginning
 * ---------------------------------------------------------------------------------- */

static void begin_baseline(struct app *a, struct bake *b)
{
    struct error err = ERROR_INIT;
    struct traffic_sum day;
    if (traffic_history(a, b->release, &day, &err) < 0) {
        log_warn("app %s: no baseline for the watch after the promotion: %s", a->key, err.text);
        return;
    }
    b->history_requests = day.requests;
    b->history_errors = day.errors < day.requests ? day.errors : day.requests;
    if (day.requests < HISTORY_NEEDS)
        return;
    b->has_errors =
        baseline_init(&b->errors, b->history_errors, b->history_requests, ALLOWED, b->alpha);
    if (b->has_errors && b->errors.ceiling.p_max < NEGLIGIBLE)
        ceiling_init(&b->errors.ceiling, NEGLIGIBLE);
    uint32_t edges[BAKE_MARKS];
    size_t n = judge_choose_edges(day.buckets, METRICS_BUCKETS,
                                  metrics_bucket((uint64_t)WATCH_FELT_MS * 1000), edges);
    for (size_t i = 0; i < n; i++) {
        uint64_t slow = 0, all = 0;
        for (uint32_t k = 0; k < METRICS_BUCKETS; k++) {
            all += day.buckets[k];
            slow += k >= edges[i] ? day.buckets[k] : 0;
        }
        struct bake_mark *m = &b->marks[b->marks_len];
        m->bucket = edges[i];
        if (baseline_init(&m->slow, slow, all, ALLOWED, b->alpha))
            b->marks_len++;
    }
}

static void begin_burn(const struct slo_spec *slo, struct bake *b)
{
    int64_t window = b->until_ms - b->began_ms;
    window = window < HOUR_MS ? window : HOUR_MS;
    b->has_burn_errors = slo->has_error_rate && slo->error_rate > 0 && slo->error_rate < 1;
    b->has_burn_slow = slo->has_latency && slo->latency_quantile > 0 && slo->latency_quantile < 1;
    if (b->has_burn_errors)
        burn_init(&b->burn_errors, slo->error_rate, window, slo->min_requests);
    if (b->has_burn_slow)
        burn_init(&b->burn_slow, 1 - slo->latency_quantile, window, slo->min_requests);
}

void bake_begin(struct app *a, uint32_t release, uint32_t previous)
{
    const struct app_spec *spec = pool_spec(a, a->state.stable);
    bake_end(a);
    if (spec == NULL || spec->bake.time_ms <= 0 || previous == 0)
        return;
    struct bake *b = a->bake = xcalloc(1, sizeof *b);
    b->release = release;
    b->previous = previous;
    b->began_ms = control_now();
    b->until_ms = b->began_ms + spec->bake.time_ms;
    b->alpha = spec->strategy.judge.alpha > 0 ? spec->strategy.judge.alpha : 0.001;
    begin_baseline(a, b);
    begin_burn(&spec->slo, b);
    pool_traffic(a, a->state.stable, &b->seen);
}

void bake_end(struct app *a)
{
    free(a->bake);
    a->bake = NULL;
}

/* ---- looking
 * ------------------------------------------------------------------------------------ */

static double log_sum(double a, double b)
{
    double most = a > b ? a : b;
    return isinf(most) ? most : most + log(exp(a - most) + exp(b - most));
}

/* ln E over what is compared: errors and slow answers have half of the weight each. */
static double evidence(const struct bake *b, double *errors_log, double *slow_log, size_t *slowest)
{
    *errors_log = b->has_errors ? baseline_log(&b->errors) : 0;
    *slow_log = 0;
    *slowest = 0;
    double sum = -INFINITY;
    for (size_t i = 0; i < b->marks_len; i++) {
        double one = baseline_log(&b->marks[i].slow);
        sum = log_sum(sum, one);
        if (one > baseline_log(&b->marks[*slowest].slow))
            *slowest = i;
    }
    if (b->marks_len > 0)
        *slow_log = sum - log((double)b->marks_len);
    return log_sum(*errors_log, *slow_log) - log(2);
}

static bool burns(const struct burn *burn, int64_t now, const char *what, char *text, size_t size)
{
    if (!burn_fires(burn, now, BURN_LIMIT))
        return false;
    char longer[32], shorter[32];
    int64_t window = burn->bucket_ms * BURN_BUCKETS;
    snprintf(text, size,
             "%s use up the slo's budget %.1f times as fast as it allows (over %s; %.1f times over "
             "%s; the limit is %.1f)",
             what, burn_long(burn, now), format_duration_ms(window, longer, sizeof longer),
             burn_short(burn, now), format_duration_ms(window / 12, shorter, sizeof shorter),
             BURN_LIMIT);
    return true;
}

static double percent(uint64_t part, uint64_t of)
{
    return of > 0 ? 100 * (double)part / (double)of : 0;
}

/* False: nothing is wrong so far. */
static bool is_worse(const struct bake *b, int64_t now, enum reason_code *code, char *text,
                     size_t size)
{
    double errors_log, slow_log;
    size_t slowest;
    if (b->has_burn_errors && burns(&b->burn_errors, now, "errors", text, size)) {
        *code = REASON_SLO;
        return true;
    }
    if (b->has_burn_slow && burns(&b->burn_slow, now, "slow answers", text, size)) {
        *code = REASON_SLO;
        return true;
    }
    if (evidence(b, &errors_log, &slow_log, &slowest) < -log(b->alpha))
        return false;
    if (errors_log >= slow_log) {
        *code = REASON_ERRORS;
        snprintf(text, size, "%.2f %% of %llu requests failed; in the day before %.2f %% of %llu",
                 percent(b->errors.events, b->errors.requests),
                 (unsigned long long)b->errors.requests,
                 percent(b->history_errors, b->history_requests),
                 (unsigned long long)b->history_requests);
        return true;
    }
    const struct bake_mark *m = &b->marks[slowest];
    *code = REASON_LATENCY;
    snprintf(text, size,
             "%.2f %% of %llu requests took %.0f ms or longer, where %.2f %% is the most that the "
             "day before lets expect",
             percent(m->slow.events, m->slow.requests), (unsigned long long)m->slow.requests,
             (double)metrics_bucket_low(m->bucket) / 1000, 100 * m->slow.ceiling.p_max / ALLOWED);
    return true;
}

static void take(struct app *a, struct bake *b, int64_t now)
{
    struct traffic_sum total, since;
    pool_traffic(a, a->state.stable, &total);
    if (b->adopted)
        b->seen = total;
    b->adopted = false;
    traffic_since(&total, &b->seen, &since);
    if (since.requests == 0)
        return;
    b->requests += since.requests;
    b->failed += since.errors;
    if (b->has_errors)
        baseline_update(&b->errors, since.errors, since.requests);
    uint64_t answers = 0;
    for (uint32_t k = 0; k < METRICS_BUCKETS; k++)
        answers += since.buckets[k];
    for (size_t i = 0; i < b->marks_len; i++) {
        uint64_t slow = 0;
        for (uint32_t k = b->marks[i].bucket; k < METRICS_BUCKETS; k++)
            slow += since.buckets[k];
        baseline_update(&b->marks[i].slow, slow, answers);
    }
    if (b->has_burn_errors)
        burn_update(&b->burn_errors, now, since.errors, since.requests);
    if (b->has_burn_slow)
        burn_update(&b->burn_slow, now, since.above_slo < answers ? since.above_slo : answers,
                    answers);
}

static void tell(struct app *a, struct store_batch *batch, const char *kind, const char *text)
{
    json_t *data = bake_json(a);
    event_add(a->control, batch, a, kind, NULL, a->bake->release, text, data);
    json_decref(data);
}

static void go_back(struct app *a, enum reason_code code, const char *why)
{
    struct bake *b = a->bake;
    struct control *c = a->control;
    struct error err = ERROR_INIT;
    struct release *r = app_release(a, b->previous);
    struct store_batch *batch = store_batch_new(c->store);
    const struct app_spec *spec = r != NULL ? release_spec(a, r) : NULL;
    if (r == NULL)
        error_set(&err, ERROR_NOT_FOUND, "release %u is not kept any more", b->previous);
    cleanup_free char *text = xasprintf("release %u did not stand its watch: %s; going back to %u",
                                        b->release, why, b->previous);
    json_t *data = bake_json(a);
    if (spec == NULL || routes_check(c, a, spec, &err) < 0 ||
        rollout_begin(a, ROLLOUT_ROLLBACK, r, "sluice", batch, &err) < 0) {
        b = a->bake; /* a rollout that began has ended it; none did */
        b->given_up = true;
        cleanup_free char *stuck = xasprintf("release %u does not stand its watch: %s; it stays, "
                                             "for there is no way back: %s",
                                             b->release, why, err.text);
        log_warn("app %s: %s", a->key, stuck);
        tell(a, batch, "bake-failed", stuck);
    } else {
        log_info("app %s: %s", a->key, text);
        json_object_set_new(data, "reason",
                            json_pack("{s:s,s:s}", "code", reason_code_word(code), "text", why));
        event_add(c, batch, a, "bake-failed", NULL, app_stable_release(a), text, data);
        control_tick_soon(c);
    }
    json_decref(data);
    app_put_row(a, batch);
    app_write(a, batch, NULL, NULL);
}

static void stand(struct app *a)
{
    struct bake *b = a->bake;
    struct store_batch *batch = store_batch_new(a->control->store);
    cleanup_free char *text =
        b->requests > 0
            ? xasprintf("release %u stood its watch: %llu requests, %llu failed", b->release,
                        (unsigned long long)b->requests, (unsigned long long)b->failed)
            : xasprintf("release %u was watched, but no request came: nothing is known",
                        b->release);
    tell(a, batch, "baked", text);
    bake_end(a);
    app_put_row(a, batch);
    app_write(a, batch, NULL, NULL);
}

void bake_clock_moved(struct app *a, int64_t by_ms)
{
    if (a->bake == NULL)
        return;
    a->bake->began_ms += by_ms;
    a->bake->until_ms += by_ms;
    a->bake->saved_ms += by_ms;
}

void bake_tick(struct app *a, int64_t now)
{
    struct bake *b = a->bake;
    char why[REASON_TEXT_MAX];
    enum reason_code code;
    if (b == NULL || a->state.rollout.id != 0 || a->control->store == NULL)
        return;
    if (a->state.stopped || a->deleting || app_stable_release(a) != b->release) {
        bake_end(a);
        return;
    }
    take(a, b, now);
    /* The clock may have been set back: no watch is longer for it. */
    if (now < b->began_ms)
        b->until_ms -= b->began_ms - now, b->began_ms = now;
    if (!b->given_up && is_worse(b, now, &code, why, sizeof why)) {
        go_back(a, code, why);
        return;
    }
    if (now >= b->until_ms) {
        stand(a);
        return;
    }
    if (now - b->saved_ms >= SAVE_MS && a->phase == PIPE_IDLE && !a->unstored) {
        struct store_batch *batch = store_batch_new(a->control->store);
        b->saved_ms = now;
        app_put_row(a, batch);
        app_write(a, batch, NULL, NULL);
    }
}
