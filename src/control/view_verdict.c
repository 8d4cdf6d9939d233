/* `verdict`: the judge's numbers, of the rollout under way or of the last one that was judged. */
#include "control/control_internal.h"

#include "os/clock.h"

#include <math.h>
#include <string.h>

enum { ROLLOUTS_LOOKED_AT = 50 };
/* From here on one may say that it looks worse. */
static const double SUSPICIOUS_LOG = 2.3;

static json_t *finite_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *time_or_null(int64_t ms)
{
    char at[WALL_TEXT_SIZE];
    return ms != 0 ? json_string(clock_format_wall(ms, at)) : json_null();
}

/* ---- metrics
 * ------------------------------------------------------------------------------------------- */

static json_t *arm_json(uint64_t events, uint64_t repeats, uint64_t requests, double rate,
                        double low, double high)
{
    json_t *out = json_pack("{s:I,s:I,s:I}", "events", (json_int_t)events, "repeats",
                            (json_int_t)repeats, "requests", (json_int_t)requests);
    json_object_set_new(out, "rate", finite_or_null(rate));
    json_object_set_new(out, "low", finite_or_null(low));
    json_object_set_new(out, "high", finite_or_null(high));
    return out;
}

static json_t *metric_json(const struct metric_report *m)
{
    json_t *out = json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:f}", "name", m->name, "kind",
                            m->is_pair ? "pair" : "rate", "text", m->text, "guarded", m->guarded,
                            "fine", m->fine, "ratio_moved", m->ratio_moved, "weight", m->weight);
    json_object_set_new(out, "candidate",
                        arm_json(m->candidate_events, m->candidate_repeats, m->candidate_requests,
                                 m->candidate_rate, m->candidate_low, m->candidate_high));
    json_object_set_new(out, "stable",
                        arm_json(m->stable_events, m->stable_repeats, m->stable_requests,
                                 m->stable_rate, m->stable_low, m->stable_high));
    json_object_set_new(out, "ratio", finite_or_null(m->ratio));
    json_object_set_new(out, "ratio_low", finite_or_null(m->ratio_low));
    json_object_set_new(out, "ratio_high", finite_or_null(m->ratio_high));
    json_object_set_new(out, "ln_e", finite_or_null(m->log_e));
    json_object_set_new(out, "ln_worse", finite_or_null(m->log_worse));
    json_object_set_new(out, "ln_fine", finite_or_null(m->log_fine));
    json_object_set_new(out, "needs_to_roll_back", finite_or_null(m->needs_to_roll_back));
    json_object_set_new(out, "needs_to_pass", finite_or_null(m->needs_to_pass));
    return out;
}

static void add_report(json_t *out, const struct judge_report *r)
{
    json_t *metrics = json_array();
    for (size_t i = 0; i < r->len; i++)
        json_array_append_new(metrics, metric_json(&r->metrics[i]));
    json_object_set_new(out, "judgement", json_string(judgement_word(r->judgement)));
    json_object_set_new(out, "text", json_string(r->text));
    json_object_set_new(out, "ln_e", finite_or_null(r->log_e));
    json_object_set_new(out, "ln_bar", json_real(r->log_bar));
    json_object_set_new(out, "ln_pass_bar", json_real(r->log_pass_bar));
    json_object_set_new(out, "needs_requests", finite_or_null(r->needs_requests));
    json_object_set_new(out, "needs_s", finite_or_null(r->needs_s));
    json_object_set_new(out, "metrics", metrics);
}

/* ---- the answer in a line
 * ------------------------------------------------------------------------------ */

static void tell_time(struct buf *out, double s)
{
    if (s < 90)
        buf_printf(out, "%.0f s", fmax(1, ceil(s)));
    else if (s < 90 * 60)
        buf_printf(out, "%.0f min", ceil(s / 60));
    else if (s < 48 * 3600)
        buf_printf(out, "%.0f h", ceil(s / 3600));
    else
        buf_printf(out, "%.0f days", ceil(s / 86400));
}

static void tell_needs(struct buf *out, const struct judge_report *r)
{
    if (isfinite(r->needs_s) && r->needs_s > 0) {
        buf_puts(out, "; would need about ");
        tell_time(out, r->needs_s);
        buf_puts(out, " more");
    } else if (isfinite(r->needs_requests) && r->needs_requests > 0) {
        buf_printf(out, "; would need about %.0f more requests of the new release",
                   r->needs_requests);
    } else if (r->len > 0 && r->metrics[0].candidate_events + r->metrics[0].stable_events == 0) {
        buf_puts(out, "; without a single error in either there is nothing to compare");
    } else {
        buf_puts(out, "; nothing seen so far would settle it");
    }
}

static void tell_answer(struct buf *out, const struct judge_report *r, bool running)
{
    switch (r->judgement) {
    case JUDGEMENT_PASS: buf_puts(out, "No worse than the file allows: that is shown"); break;
    case JUDGEMENT_NO_DATA: buf_puts(out, "Nothing to judge by: there was no request yet"); break;
    case JUDGEMENT_CONTINUE:
    case JUDGEMENT_INCONCLUSIVE:
        buf_puts(out, r->log_e >= SUSPICIOUS_LOG ? "It looks worse, but may be chance"
                                                 : "No difference so far");
        if (running)
            tell_needs(out, r);
        else
            buf_puts(out, "; it was neither cleared nor condemned");
        break;
    case JUDGEMENT_ERRORS: buf_puts(out, "Worse beyond doubt: its error rate"); break;
    case JUDGEMENT_LATENCY: buf_puts(out, "Worse beyond doubt: its slow answers"); break;
    case JUDGEMENT_SLO: buf_puts(out, "Worse beyond doubt: it breaks the slo"); break;
    case JUDGEMENT_METRIC: buf_puts(out, "Worse beyond doubt: one of its metrics"); break;
    case JUDGEMENT_DIFFERENCES:
        buf_puts(out, "Its answers differ from stable's more often than is tolerated");
        break;
    case JUDGEMENTS_COUNT: UNREACHABLE();
    }
}

static void add_answer(json_t *out, const struct judge_report *r, bool running)
{
    cleanup_buf struct buf text = BUF_INIT;
    tell_answer(&text, r, running);
    json_object_set_new(out, "answer", json_string(buf_str(&text)));
}

/* ---- routes and history
 * ------------------------------------------------------------------------------- */

static json_t *route_arm_json(const struct slot *s)
{
    return json_pack("{s:I,s:I}", "requests", (json_int_t)(s != NULL ? s->rollout_requests : 0),
                     "errors", (json_int_t)(s != NULL ? s->rollout_errors : 0));
}

/* Since this controller judges the rollout. */
static json_t *routes_json(const struct app *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i], *stable = NULL;
        if ((s->role != ROLE_SHARE && s->role != ROLE_COPIES) || s->pool != a->state.candidate ||
            s->pool == 0)
            continue;
        stable = watch_counterpart(a, s);
        json_t *one = json_pack("{s:s,s:b}", "route", s->route, "copies", s->role == ROLE_COPIES);
        if (one == NULL)
            continue;
        json_object_set_new(one, "candidate", route_arm_json(s));
        json_object_set_new(one, "stable", route_arm_json(stable));
        json_array_append_new(list, one);
    }
    return list;
}

static int add_history(json_t *out, struct app *a, uint64_t rollout, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_verdicts rows;
    if (store_read_verdicts(a->control->store, a->key, rollout, &memory, &rows, err) < 0)
        return -1;
    json_t *list = json_array();
    for (size_t i = 0; i < rows.len; i++) {
        const struct store_verdict *v = &rows.items[i];
        json_t *one = json_pack(
            "{s:f,s:{s:I,s:I},s:{s:I,s:I},s:f,s:f,s:s}", "weight", v->weight_ppm / 10000.0,
            "candidate", "requests", (json_int_t)v->candidate_requests, "errors",
            (json_int_t)v->candidate_errors, "stable", "requests", (json_int_t)v->stable_requests,
            "errors", (json_int_t)v->stable_errors, "ln_e", (double)v->worse_milli / 1000,
            "ln_fine", (double)v->fine_milli / 1000, "judgement", v->judgement);
        json_object_set_new(one, "at", time_or_null(v->at_ms));
        json_array_append_new(list, one);
    }
    json_object_set_new(out, "history", list);
    return 0;
}

/* ---- which rollout
 * ------------------------------------------------------------------------------------ */

static json_t *head_json(struct app *a, uint64_t rollout, uint32_t number, uint32_t from,
                         int64_t since_ms)
{
    const struct release *r = app_release(a, number), *f = app_release(a, from);
    json_t *out = json_pack("{s:s,s:s,s:I,s:i,s:s}", "app", a->name, "environment", a->environment,
                            "rollout", (json_int_t)rollout, "release", (int)number, "version",
                            r != NULL ? r->version : "");
    json_object_set_new(out, "from", from != 0 ? json_integer(from) : json_null());
    json_object_set_new(out, "from_version", f != NULL ? json_string(f->version) : json_null());
    json_object_set_new(out, "since", time_or_null(since_ms));
    return out;
}

static json_t *running_json(struct app *a)
{
    const struct pool_state *candidate = app_pool(&a->state, a->state.candidate);
    double per_s = rates_of(a, a->state.candidate).requests_per_s;
    struct judge_report report;
    judge_explain(&a->judge, per_s > 0 ? per_s : 0, &report);
    json_t *out =
        head_json(a, a->start.id, a->start.release, a->start.from_release, a->start.began_ms);
    json_object_set_new(out, "running", json_true());
    json_object_set_new(out, "result", json_null());
    json_object_set_new(out, "reason", json_null());
    json_object_set_new(out, "weight",
                        json_real(candidate != NULL ? candidate->weight_ppm / 10000.0 : 0));
    json_object_set_new(out, "requests_per_s", per_s >= 0 ? json_real(per_s) : json_null());
    add_answer(out, &report, true);
    add_report(out, &report);
    json_object_set_new(out, "routes", routes_json(a));
    json_object_set_new(out, "mirror", mirror_json(a));
    json_object_set_new(out, "measured", metrics_json(a));
    return out;
}

static json_t *ended_json(struct app *a, const struct store_rollout *row, const struct judge *judge)
{
    struct judge_report report;
    judge_explain(judge, 0, &report);
    json_t *out = head_json(a, row->id, row->release, row->from_release, row->started_ms);
    json_object_set_new(out, "running", json_false());
    json_object_set_new(out, "result", json_string(row->result));
    json_object_set_new(out, "reason",
                        json_pack("{s:s,s:s}", "code", row->reason_code, "text", row->reason_text));
    json_object_set_new(out, "weight", json_null());
    json_object_set_new(out, "requests_per_s", json_null());
    add_answer(out, &report, false);
    add_report(out, &report);
    json_object_set_new(out, "routes", json_array());
    json_object_set_new(out, "mirror", json_null());
    json_object_set_new(out, "measured", json_array());
    return out;
}

/* The last deploy whose judge can be read. */
static json_t *last_json(struct app *a, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_rollouts rows;
    struct judge judge;
    if (store_read_rollouts(a->control->store, a->key, ROLLOUTS_LOOKED_AT, &memory, &rows, err) < 0)
        return NULL;
    for (size_t i = 0; i < rows.len; i++) {
        const struct store_rollout *row = &rows.items[i];
        bool judged = row->ended_ms != 0 && row->from_release != 0 &&
                      strcmp(row->kind, rollout_kind_word(ROLLOUT_DEPLOY)) == 0 &&
                      row->judge_json[0] != '\0';
        if (judged && judge_from_json(&judge, row->judge_json, NULL) == 0)
            return ended_json(a, row, &judge);
    }
    error_set(err, ERROR_NOT_FOUND, "no rollout of %s has been judged yet", a->name);
    return NULL;
}

json_t *control_verdict(struct control *c, const struct app_name *name, bool history,
                        struct error *err)
{
    struct app *a = app_find(c, name, err);
    if (a == NULL || control_available(c, err) < 0)
        return NULL;
    bool running = a->judging && a->start.id != 0 && a->state.candidate != 0;
    json_t *out = running ? running_json(a) : last_json(a, err);
    if (out == NULL || !history)
        return out;
    uint64_t rollout = (uint64_t)json_integer_value(json_object_get(out, "rollout"));
    if (add_history(out, a, rollout, err) == 0)
        return out;
    json_decref(out);
    return NULL;
}
