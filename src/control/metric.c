/* The metrics of a rollout's spec: when each is measured, and what its measurements come to.
 *
 * They are measured from the moment that the candidate has something to do until the rollout ends,
 * also while it is paused. What is compared with stable goes to the judge as pairs; all else is
 * counted against its limits here. */
#include "control/control_internal.h"
#include "control/metric_ask.h"

#include "os/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Releases of one version differ by so much at times, by chance and by their age. */
#define COMPARE_TOLERANCE 1.25

/* {{window}}: not so long that the start of a long rollout hides what it does now. */
enum { WINDOW_MOST_MS = 600000 };

enum { CANDIDATE, STABLE, SIDES_MEASURED };

struct metric_run {
    struct app *app;
    const struct metric_spec *spec;
    struct tally tally;
    enum measurement last;
    bool has_value[SIDES_MEASURED];
    double value[SIDES_MEASURED];
    char text[METRIC_TEXT_MAX]; /* of the last measurement */
    int64_t at_ms;              /* when that ended; 0: none yet */
    int64_t due_ms;
    /* Of the measurement under way. */
    int64_t began_ms;
    unsigned waits; /* for so many answers */
    struct metric_ask *asks[SIDES_MEASURED];
    struct metric_answer answers[SIDES_MEASURED];
    struct ask_end {
        struct metric_run *run;
        int side;
    } ends[SIDES_MEASURED];
};

struct metrics {
    int64_t since_ms; /* the candidate has traffic since; 0: not yet */
    size_t len;
    struct metric_run runs[SPEC_MAX_METRICS];
};

static struct tally_limits limits_of(const struct metric_spec *spec)
{
    return (struct tally_limits){.count = spec->count,
                                 .failures = spec->failure_limit,
                                 .consecutive_errors = spec->consecutive_error_limit,
                                 .inconclusive = spec->inconclusive_limit};
}

/* ---- one measurement ------------------------------------------------------------------------- */

/* The judge's pair of a compared metric: the so-manieth of them. */
static void give_pair(struct metric_run *run)
{
    struct app *a = run->app;
    uint32_t index = 0;
    for (const struct metric_run *r = a->metrics->runs; r < run; r++)
        index += r->spec->compare;
    if (index >= a->judge.extras_len)
        return;
    judge_pair(&a->judge, index, run->value[CANDIDATE], run->value[STABLE]);
}

static void put_comparison(struct metric_run *run)
{
    char candidate[32], stable[32];
    snprintf(run->text, sizeof run->text, "%s, stable %s",
             metric_number(run->value[CANDIDATE], candidate, sizeof candidate),
             metric_number(run->value[STABLE], stable, sizeof stable));
}

/* What both sides' answers are together. A comparison needs both; else stable's is to be seen. */
static enum measurement conclude(struct metric_run *run)
{
    struct metric_answer *mine = &run->answers[CANDIDATE], *other = &run->answers[STABLE];
    for (int side = 0; side < SIDES_MEASURED; side++) {
        run->has_value[side] = run->answers[side].has_value;
        run->value[side] = run->answers[side].value;
    }
    snprintf(run->text, sizeof run->text, "%s", mine->text);
    if (!run->spec->compare || mine->says != MEASURED_GOOD)
        return mine->says;
    if (other->says == MEASURED_GOOD) {
        give_pair(run);
        put_comparison(run);
    } else {
        snprintf(run->text, sizeof run->text, "stable: %.*s", METRIC_TEXT_MAX - 10, other->text);
    }
    return other->says;
}

/* "metric queue-lag: 7.2 > max 5 (2 failures, limit 1)" */
static void describe(const struct metric_run *run, struct buf *out)
{
    const struct metric_spec *spec = run->spec;
    const struct tally *t = &run->tally;
    char value[32];
    buf_printf(out, "metric %s: ", spec->name);
    if (run->text[0] != '\0')
        buf_puts(out, run->text);
    else if (run->has_value[CANDIDATE])
        buf_puts(out, metric_number(run->value[CANDIDATE], value, sizeof value));
    else
        buf_puts(out, measurement_word(run->last));
    if (run->last == MEASURED_BAD)
        buf_printf(out, " (%u failure%s, limit %u)", t->failures, t->failures == 1 ? "" : "s",
                   spec->failure_limit);
    else if (run->last == MEASURED_ERROR)
        buf_printf(out, " (%u error%s in a row, limit %u)", t->consecutive_errors,
                   t->consecutive_errors == 1 ? "" : "s", spec->consecutive_error_limit);
    else if (run->last == MEASURED_UNCLEAR)
        buf_printf(out, " (%u inconclusive, limit %u)", t->inconclusive, spec->inconclusive_limit);
}

/* Told: what is not good, once, and when it is good again. */
static void tell(struct metric_run *run, enum measurement before)
{
    struct app *a = run->app;
    bool was_bad = before != MEASURED_GOOD && before != MEASURED_NOTHING;
    bool is_bad = run->last != MEASURED_GOOD && run->last != MEASURED_NOTHING;
    if ((!is_bad && !was_bad) || (run->last == before && run->tally.state == TALLY_RUNNING))
        return;
    cleanup_buf struct buf text = BUF_INIT;
    describe(run, &text);
    event_now(a->control, a, "metric", NULL, a->start.release, buf_str(&text), NULL);
}

static void finish(struct metric_run *run)
{
    struct app *a = run->app;
    struct tally_limits limits = limits_of(run->spec);
    enum measurement before = run->last;
    run->last = conclude(run);
    run->at_ms = control_now();
    run->due_ms = run->began_ms + run->spec->interval_ms;
    tally_add(&run->tally, &limits, run->last);
    tell(run, before);
    a->judge_fed = true; /* to be stored */
    control_mark(a);
}

static void on_asked(void *arg, struct metric_answer *answer)
{
    struct ask_end *end = arg;
    struct metric_run *run = end->run;
    run->asks[end->side] = NULL;
    if (end->side == CANDIDATE || run->spec->compare)
        metric_judge(run->spec, answer);
    run->answers[end->side] = *answer;
    ASSERT(run->waits > 0);
    if (--run->waits == 0)
        finish(run);
}

static uint32_t release_of(const struct app *a, uint32_t pool)
{
    const struct pool_state *p = pool != 0 ? app_pool(&a->state, pool) : NULL;
    return p != NULL ? p->release : 0;
}

static void measure(struct metric_run *run, int64_t now)
{
    struct app *a = run->app;
    int64_t window = now - a->metrics->since_ms;
    uint32_t releases[SIDES_MEASURED] = {release_of(a, a->state.candidate),
                                         release_of(a, a->state.stable)};
    if (run->spec->compare && releases[STABLE] == 0) {
        snprintf(run->text, sizeof run->text, "there is no stable release to compare with");
        return;
    }
    if (window < run->spec->interval_ms)
        window = run->spec->interval_ms;
    run->began_ms = now;
    memset(run->answers, 0, sizeof run->answers);
    for (int side = 0; side < SIDES_MEASURED; side++) {
        struct metric_about about = {.release = releases[side],
                                     .stable_release = releases[STABLE],
                                     .window_ms =
                                         window < WINDOW_MOST_MS ? window : WINDOW_MOST_MS};
        if (app_release(a, releases[side]) == NULL || (side == STABLE && !run->spec->per_release))
            continue;
        run->ends[side] = (struct ask_end){.run = run, .side = side};
        run->waits++;
        run->asks[side] = metric_ask_start(a, run->spec, &about, on_asked, &run->ends[side]);
    }
}

static void stop_measuring(struct metric_run *run)
{
    for (int side = 0; side < SIDES_MEASURED; side++) {
        metric_ask_cancel(run->asks[side]);
        run->asks[side] = NULL;
    }
    run->waits = 0;
}

/* ---- the rollout ----------------------------------------------------------------------------- */

uint32_t metrics_compared(const struct app_spec *spec, struct judge_extra extras[JUDGE_EXTRAS])
{
    uint32_t n = 0;
    for (size_t i = 0; i < spec->metrics_len && n < JUDGE_EXTRAS; i++) {
        const struct metric_spec *m = &spec->metrics[i];
        if (!m->compare)
            continue;
        extras[n] = (struct judge_extra){
            .test = {.tolerance = COMPARE_TOLERANCE, .less_is_worse = m->lower_is_worse}};
        snprintf(extras[n++].name, sizeof extras[0].name, "%.*s", JUDGE_NAME_MAX - 1, m->name);
    }
    return n;
}

void metrics_begin(struct app *a)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    metrics_end(a);
    if (spec == NULL || spec->metrics_len == 0)
        return;
    a->metrics = xcalloc(1, sizeof *a->metrics);
    a->metrics->len = spec->metrics_len;
    for (size_t i = 0; i < spec->metrics_len; i++) {
        a->metrics->runs[i].app = a;
        a->metrics->runs[i].spec = &spec->metrics[i];
        a->metrics->runs[i].last = MEASURED_NOTHING;
    }
}

void metrics_end(struct app *a)
{
    for (size_t i = 0; a->metrics != NULL && i < a->metrics->len; i++)
        stop_measuring(&a->metrics->runs[i]);
    free(a->metrics);
    a->metrics = NULL;
}

/* Something of the candidate is ready, and where its requests decide, it gets some. */
static bool has_work(struct app *a)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    const struct pool_state *p =
        a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
    if (spec == NULL || p == NULL)
        return false;
    bool by_requests =
        spec->strategy.kind == STRATEGY_CANARY || spec->strategy.kind == STRATEGY_SHADOW;
    if (by_requests && spec->routes_len > 0 && p->weight_ppm == 0 && !a->state.matching &&
        a->state.mirror_ppm == 0)
        return false;
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i]->pool == a->state.candidate &&
            instance_ready(a->instances.items[i]))
            return true;
    return false;
}

void metrics_tick(struct app *a)
{
    struct metrics *m = a->metrics;
    int64_t now = control_now();
    if (m == NULL || a->state.rollout.phase == PHASE_BACK)
        return;
    if (m->since_ms == 0 && !has_work(a))
        return;
    if (m->since_ms == 0) {
        m->since_ms = now;
        for (size_t i = 0; i < m->len; i++)
            m->runs[i].due_ms = now + m->runs[i].spec->initial_delay_ms;
        a->judge_fed = true;
    }
    for (size_t i = 0; i < m->len; i++) {
        struct metric_run *run = &m->runs[i];
        /* A clock that was set back must not stop it. */
        if (run->due_ms > now + run->spec->interval_ms + run->spec->initial_delay_ms)
            run->due_ms = now;
        if (run->waits == 0 && run->tally.state == TALLY_RUNNING && now >= run->due_ms)
            measure(run, now);
    }
}

void metrics_clock_moved(struct app *a, int64_t by_ms)
{
    struct metrics *m = a->metrics;
    if (m == NULL || m->since_ms == 0)
        return;
    m->since_ms += by_ms;
    for (size_t i = 0; i < m->len; i++) {
        m->runs[i].due_ms += by_ms;
        m->runs[i].began_ms += by_ms;
    }
}

/* The first that failed; none: the first that could not be read; none: the first inconclusive. */
static const struct metric_run *worst(const struct app *a)
{
    static const enum tally_state order[] = {TALLY_FAILED, TALLY_ERROR, TALLY_INCONCLUSIVE};
    for (size_t k = 0; k < COUNT_OF(order); k++)
        for (size_t i = 0; i < a->metrics->len; i++)
            if (a->metrics->runs[i].tally.state == order[k])
                return &a->metrics->runs[i];
    return NULL;
}

void metrics_verdict(const struct app *a, struct observations *obs)
{
    const struct metric_run *run = a->metrics != NULL ? worst(a) : NULL;
    if (run == NULL || obs->verdict == VERDICT_ROLL_BACK)
        return;
    cleanup_buf struct buf text = BUF_INIT;
    describe(run, &text);
    if (run->spec->query != NULL)
        buf_printf(&text, "; query %.200s", run->spec->query);
    obs->verdict =
        run->tally.state == TALLY_INCONCLUSIVE ? VERDICT_INCONCLUSIVE : VERDICT_ROLL_BACK;
    obs->verdict_reason.code = run->tally.state == TALLY_FAILED  ? REASON_METRIC
                               : run->tally.state == TALLY_ERROR ? REASON_METRIC_ERROR
                                                                 : REASON_INCONCLUSIVE;
    snprintf(obs->verdict_reason.text, sizeof obs->verdict_reason.text, "%s", buf_str(&text));
}

/* ---- for people, and for the next controller ------------------------------------------------- */

/* JSON has no infinity. */
static json_t *value_json(bool has, double value)
{
    if (!has)
        return json_null();
    return isfinite(value) ? json_real(value) : json_string(value > 0 ? "+Inf" : "-Inf");
}

json_t *metrics_json(const struct app *a)
{
    json_t *list = json_array();
    for (size_t i = 0; a->metrics != NULL && i < a->metrics->len; i++) {
        const struct metric_run *run = &a->metrics->runs[i];
        const struct tally *t = &run->tally;
        char at[WALL_TEXT_SIZE];
        json_t *one = json_pack(
            "{s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:s}", "name", run->spec->name, "source",
            metric_source_word(run->spec->source), "state", tally_state_word(t->state),
            "measurements", (int)tally_measurements(t), "failures", (int)t->failures, "errors",
            (int)t->errors, "inconclusive", (int)t->inconclusive, "text", run->text);
        json_object_set_new(
            one, "last", run->at_ms != 0 ? json_string(measurement_word(run->last)) : json_null());
        json_object_set_new(one, "value",
                            value_json(run->has_value[CANDIDATE], run->value[CANDIDATE]));
        json_object_set_new(one, "stable_value",
                            value_json(run->has_value[STABLE], run->value[STABLE]));
        json_object_set_new(one, "at",
                            run->at_ms != 0 ? json_string(clock_format_wall(run->at_ms, at))
                                            : json_null());
        json_array_append_new(list, one);
    }
    return list;
}

json_t *metrics_state_json(const struct app *a)
{
    json_t *runs = json_object();
    for (size_t i = 0; i < a->metrics->len; i++) {
        const struct metric_run *run = &a->metrics->runs[i];
        const struct tally *t = &run->tally;
        json_t *one =
            json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:I,s:I}", "state", (int)t->state, "last",
                      (int)run->last, "good", (int)t->good, "failures", (int)t->failures,
                      "inconclusive", (int)t->inconclusive, "nothing", (int)t->nothing, "errors",
                      (int)t->errors, "in_a_row", (int)t->consecutive_errors, "at",
                      (json_int_t)run->at_ms, "due", (json_int_t)run->due_ms);
        json_object_set_new(one, "text", json_string(run->text));
        json_object_set_new(one, "value",
                            value_json(run->has_value[CANDIDATE], run->value[CANDIDATE]));
        json_object_set_new(one, "stable_value",
                            value_json(run->has_value[STABLE], run->value[STABLE]));
        json_object_set_new(runs, run->spec->name, one);
    }
    return json_pack("{s:I,s:o}", "since", (json_int_t)a->metrics->since_ms, "runs", runs);
}

static void restore_value(const json_t *saved, const char *name, bool *has, double *value)
{
    const json_t *v = json_object_get(saved, name);
    *has = json_is_number(v) || json_is_string(v);
    *value = json_is_number(v) ? json_number_value(v) : 0;
    if (json_is_string(v))
        *value = json_string_value(v)[0] == '-' ? -INFINITY : INFINITY;
}

static void restore_run(struct metric_run *run, const json_t *saved)
{
#define NUMBER(name) json_integer_value(json_object_get(saved, name))
    json_int_t state = NUMBER("state"), last = NUMBER("last");
    if (!json_is_object(saved) || state < 0 || state >= TALLY_STATES_COUNT || last < 0 ||
        last >= MEASUREMENTS_COUNT)
        return;
    run->tally = (struct tally){.state = (enum tally_state)state,
                                .good = (uint32_t)NUMBER("good"),
                                .failures = (uint32_t)NUMBER("failures"),
                                .inconclusive = (uint32_t)NUMBER("inconclusive"),
                                .nothing = (uint32_t)NUMBER("nothing"),
                                .errors = (uint32_t)NUMBER("errors"),
                                .consecutive_errors = (uint32_t)NUMBER("in_a_row")};
    run->last = (enum measurement)last;
    run->at_ms = NUMBER("at");
    run->due_ms = NUMBER("due");
#undef NUMBER
    const char *text = json_string_value(json_object_get(saved, "text"));
    snprintf(run->text, sizeof run->text, "%s", text != NULL ? text : "");
    restore_value(saved, "value", &run->has_value[CANDIDATE], &run->value[CANDIDATE]);
    restore_value(saved, "stable_value", &run->has_value[STABLE], &run->value[STABLE]);
}

void metrics_restore(struct app *a, const json_t *saved)
{
    if (a->metrics == NULL)
        return;
    a->metrics->since_ms = json_integer_value(json_object_get(saved, "since"));
    for (size_t i = 0; i < a->metrics->len; i++)
        restore_run(&a->metrics->runs[i], json_object_get(json_object_get(saved, "runs"),
                                                          a->metrics->runs[i].spec->name));
}
