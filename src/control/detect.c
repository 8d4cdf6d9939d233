/* What a canary can find at the app's present traffic, said before the deploy; and steps that can.
 *
 * Each hold is looked at alone: evidence of one goes on in the next, so what a rollout finds in all
 * is a little more. */
#include "control/control_internal.h"

#include "base/units.h"

#include <math.h>

enum { HOURS_OF_HISTORY = 24, HISTORY_REQUESTS_LEAST = 1000 };
/* What a proposal has to find: that, or twice stable's rate where that is more. */
static const double ERRORS_TO_FIND = .02;
/* A canary that finds only more than that, or than four times stable's, is warned of. */
static const double ERRORS_TO_WARN = .05;
/* A proposal's first hold is at most the one, or, where that is not possible, the other. */
static const double HOLD_GOOD_S = 600, HOLD_MOST_S = 3600;
static const double HOLD_LEAST_S = 10;

struct traffic {
    double requests_per_s, errors; /* of both releases; stable's share */
    double alpha;                  /* the errors' part of it */
};

/* The present rate, else the last day's mean. The last day's errors, where there were requests
 * enough to speak of. False: there is no traffic, or nothing to compare with. */
static bool traffic_of(struct app *a, const struct app_spec *spec, struct traffic *out)
{
    struct judge_extra extras[JUDGE_EXTRAS];
    struct judge_config config;
    struct traffic_sum day;
    if (a == NULL || a->state.stable == 0)
        return false;
    struct pool_figures stable = rates_of(a, a->state.stable), candidate = {-1, -1, -1};
    if (a->state.candidate != 0 && a->state.mirror_ppm == 0) /* copies are no more traffic */
        candidate = rates_of(a, a->state.candidate);
    if (traffic_history(a, 0, &day, NULL) < 0)
        day = (struct traffic_sum){.requests = 0};
    out->requests_per_s = fmax(stable.requests_per_s, 0) + fmax(candidate.requests_per_s, 0);
    if (out->requests_per_s <= 0)
        out->requests_per_s = (double)day.requests / (HOURS_OF_HISTORY * 3600.0);
    out->errors = fmax(stable.error_rate, 0);
    if (day.requests >= HISTORY_REQUESTS_LEAST)
        out->errors = (double)day.errors / (double)day.requests;
    watch_config(spec, true, extras, &config);
    out->alpha = judge_errors_alpha(&config);
    return out->requests_per_s > 0;
}

static void put_share(struct buf *out, double share)
{
    double percent = 100 * share;
    buf_printf(out, percent < 10 ? "%.2g%%" : "%.0f%%", percent);
}

static void put_duration(struct buf *out, int64_t ms)
{
    char text[32];
    buf_puts(out, format_duration_ms(ms, text, sizeof text));
}

/* ---- the file's own steps
 * -------------------------------------------------------------------------- */

/* A time in which the candidate gets a share of the requests, or copies of it. */
struct hold {
    uint32_t weight_ppm;
    int64_t ms;
    double share, requests_per_s; /* the candidate's of what is judged, and all of that */
};

static json_t *hold_json(const struct traffic *t, const struct hold *hold)
{
    cleanup_buf struct buf text = BUF_INIT;
    double hold_s = (double)hold->ms / 1000;
    double requests = floor(hold->requests_per_s * hold_s * hold->share);
    double found = judge_detectable(t->alpha, hold->share, t->errors, hold->requests_per_s, hold_s);
    buf_puts(&text, "at ");
    put_share(&text, hold->weight_ppm / 1e6);
    buf_puts(&text, " for ");
    put_duration(&text, hold->ms);
    buf_printf(&text, " with %.3g req/s: ", t->requests_per_s);
    if (found <= 1) {
        buf_puts(&text, "finds an error rate of ");
        put_share(&text, found);
        buf_puts(&text, " or more");
    } else {
        buf_printf(&text, "cannot find anything (%.0f requests)", requests);
    }
    json_t *out = json_pack("{s:f,s:I,s:f,s:s}", "weight", hold->weight_ppm / 10000.0, "hold_ms",
                            (json_int_t)hold->ms, "requests", requests, "text", buf_str(&text));
    json_object_set_new(out, "error_rate", found <= 1 ? json_real(found) : json_null());
    return out;
}

static void warn(json_t *plan, const char *text)
{
    json_array_append_new(json_object_get(plan, "warnings"), json_string(text));
}

/* Gives the list of judged holds; *best: the lowest rate that one of them finds. */
static json_t *holds_json(const struct traffic *t, const struct strategy_spec *s, double *best)
{
    json_t *list = json_array();
    *best = INFINITY;
    for (size_t i = 0; i < s->steps_len; i++) {
        const struct canary_step *step = &s->steps[i];
        if (step->weight_ppm >= 1000000 || step->hold_ms <= 0)
            continue;
        json_t *one = hold_json(t, &(struct hold){step->weight_ppm, step->hold_ms,
                                                  step->weight_ppm / 1e6, t->requests_per_s});
        const json_t *found = json_object_get(one, "error_rate");
        if (json_is_real(found))
            *best = fmin(*best, json_real_value(found));
        json_array_append_new(list, one);
    }
    return list;
}

static void warn_of(json_t *plan, const struct traffic *t, size_t holds, double best)
{
    cleanup_buf struct buf text = BUF_INIT;
    double enough = fmax(ERRORS_TO_WARN, 4 * t->errors);
    if (holds == 0)
        buf_puts(&text, "no step of this canary is held before 100%: the judge has no time to find "
                        "anything");
    else if (isinf(best))
        buf_printf(&text,
                   "at %.3g req/s no step of this canary can find even a release that always "
                   "fails; `sluice plan --suggest` proposes steps",
                   t->requests_per_s);
    else if (best > enough) {
        buf_printf(&text, "at %.3g req/s no step of this canary finds an error rate under ",
                   t->requests_per_s);
        put_share(&text, best);
        buf_puts(&text, "; `sluice plan --suggest` proposes steps");
    }
    if (text.len > 0)
        warn(plan, buf_str(&text));
}

/* Of copies and of what was copied the judge has as many. */
static json_t *copies_json(const struct traffic *t, const struct shadow_spec *s, json_t *plan)
{
    double copies_per_s = t->requests_per_s * s->share_ppm / 1e6;
    json_t *one = hold_json(t, &(struct hold){s->share_ppm, s->for_ms, .5, 2 * copies_per_s});
    if (json_is_null(json_object_get(one, "error_rate"))) {
        cleanup_buf struct buf text = BUF_INIT;
        buf_printf(&text, "%.3g copies a second for ", copies_per_s);
        put_duration(&text, s->for_ms);
        buf_puts(&text, " cannot find even a release that always fails; raise `share` or `for`");
        warn(plan, buf_str(&text));
    }
    return json_pack("[o]", one);
}

void detect_add(json_t *plan, struct app *a, const struct app_spec *spec)
{
    struct traffic t;
    double best = INFINITY;
    json_object_set_new(plan, "detects", json_null());
    bool canary = spec->strategy.kind == STRATEGY_CANARY;
    if ((!canary && spec->strategy.kind != STRATEGY_SHADOW) || a == NULL || a->state.stable == 0)
        return;
    if (!traffic_of(a, spec, &t)) {
        warn(plan, canary ? "no request has come in the last day: this canary would have nothing "
                            "to judge"
                          : "no request has come in the last day: there would be none to copy");
        return;
    }
    json_t *holds = canary ? holds_json(&t, &spec->strategy, &best)
                           : copies_json(&t, &spec->strategy.shadow, plan);
    if (canary)
        warn_of(plan, &t, json_array_size(holds), best);
    json_object_set_new(plan, "detects",
                        json_pack("{s:f,s:f,s:o}", "requests_per_s", t.requests_per_s,
                                  "stable_errors", t.errors, "steps", holds));
}

/* ---- steps that can
 * -------------------------------------------------------------------------------- */

static double hold_for(const struct traffic *t, unsigned weight, double errors)
{
    return judge_hold_for(t->alpha, weight / 100.0, t->errors, errors, t->requests_per_s,
                          HOLD_MOST_S);
}

/* What one would write: 10s, 35s, 1m30s, 12m. */
static int64_t round_hold_ms(double s)
{
    double step = s <= 60 ? 5 : s <= 600 ? 30 : 60;
    return (int64_t)(ceil(fmax(s, HOLD_LEAST_S) / step) * step * 1000);
}

/* The lowest of these weights at which it is found in good time, else the one that takes least. */
static size_t first_weight(const struct traffic *t, const unsigned *weights, size_t len,
                           double errors)
{
    size_t best = len;
    double least = INFINITY;
    for (size_t i = 0; i < len; i++) {
        double s = hold_for(t, weights[i], errors);
        if (s <= HOLD_GOOD_S)
            return i;
        if (s < least) {
            least = s;
            best = i;
        }
    }
    return best;
}

static void put_steps(const struct traffic *t, const unsigned *weights, size_t first, size_t len,
                      double errors, json_t *steps, struct buf *yaml)
{
    buf_puts(yaml, "strategy:\n  canary:\n    steps:\n");
    for (size_t i = first; i < len; i++) {
        double s = hold_for(t, weights[i], errors);
        if (isinf(s))
            continue;
        int64_t ms = round_hold_ms(s);
        double found = judge_detectable(t->alpha, weights[i] / 100.0, t->errors, t->requests_per_s,
                                        (double)ms / 1000);
        json_t *one =
            json_pack("{s:f,s:I}", "weight", (double)weights[i], "hold_ms", (json_int_t)ms);
        json_object_set_new(one, "error_rate", found <= 1 ? json_real(found) : json_null());
        json_array_append_new(steps, one);
        buf_printf(yaml, "      - {weight: %u, hold: ", weights[i]);
        put_duration(yaml, ms);
        buf_puts(yaml, "}\n");
    }
}

static void tell_suggestion(const struct traffic *t, double errors, bool possible, struct buf *text)
{
    if (possible)
        buf_puts(text, "each step finds an error rate of ");
    else
        buf_printf(text, "at %.3g req/s not even an hour at 50%% finds an error rate of ",
                   t->requests_per_s);
    put_share(text, errors);
    buf_puts(text, possible ? " in 4 of 5 rollouts (stable's is "
                            : "; a blue-green deploy with smoke commands says more (stable's is ");
    put_share(text, t->errors);
    buf_puts(text, ")");
}

void suggest_add(json_t *plan, struct app *a, const struct app_spec *spec)
{
    static const unsigned weights[] = {1, 5, 10, 25, 50};
    cleanup_buf struct buf yaml = BUF_INIT, text = BUF_INIT;
    struct traffic t;
    json_t *steps = json_array(), *out = json_pack("{s:o}", "steps", steps);
    json_object_set_new(plan, "suggestion", out);
    if (!traffic_of(a, spec, &t)) {
        json_object_set_new(out, "error_rate", json_null());
        json_object_set_new(out, "yaml", json_null());
        json_object_set_new(out, "text",
                            json_string("there is no traffic yet to propose steps for"));
        return;
    }
    double errors = fmin(1, fmax(ERRORS_TO_FIND, 2 * t.errors));
    size_t first = first_weight(&t, weights, COUNT_OF(weights), errors);
    bool possible = first < COUNT_OF(weights);
    if (possible)
        put_steps(&t, weights, first, COUNT_OF(weights), errors, steps, &yaml);
    tell_suggestion(&t, errors, possible, &text);
    json_object_set_new(out, "error_rate", json_real(errors));
    json_object_set_new(out, "yaml", possible ? json_string(buf_str(&yaml)) : json_null());
    json_object_set_new(out, "text", json_string(buf_str(&text)));
    buf_release(&text);
}
