#include "base/assert.h"
#include "simulate/simulate_internal.h"

#include <math.h>

/* As the controller's (src/control/watch.c). */
static const double NEGLIGIBLE_ERROR_RATE = .005;

void verdict_begin(struct judge *j, const struct app_spec *spec, const struct marks *marks)
{
    const struct slo_spec *slo = &spec->slo;
    struct judge_config config = {
        .alpha = spec->strategy.judge.alpha > 0 ? spec->strategy.judge.alpha : 0.001,
        .negligible_error_rate = NEGLIGIBLE_ERROR_RATE,
        .max_worse = spec->strategy.judge.max_worse,
        .edges = marks->edges,
        .edges_len = marks->edges_len,
        .slo_error_rate = slo->has_error_rate ? slo->error_rate : 0,
        .slo_latency_share = slo->has_latency ? 1 - slo->latency_quantile : 0,
        .min_requests = slo->min_requests,
        .has_stable = true,
    };
    judge_init(j, &config);
}

static bool any_reaches(const double *logs, size_t len, double bar)
{
    for (size_t i = 0; i < len; i++)
        if (logs[i] >= bar)
            return true;
    return false;
}

/* E is a mean: it is not above its largest part. */
bool verdict_may_condemn(const struct judge *j)
{
    const struct curve *errors = &j->errors;
    double bar = -log(j->alpha);
    if (any_reaches(errors->log_likelihood + CURVE_WORSE_AT, CURVE_WORSE, bar))
        return true;
    for (uint32_t i = 0; i < j->edges_len; i++)
        if (any_reaches(j->tail[i].worse, CURVE_WORSE, bar))
            return true;
    uint64_t n = errors->candidate_requests;
    return ceiling_over_log(&j->slo_errors, errors->candidate_events, n) >= bar ||
           ceiling_over_log(&j->slo_latency, j->candidate_above_slo, n) >= bar;
}

enum verdict verdict_ask(const struct judge *j, enum reason_code *reason)
{
    switch (judge_verdict(j)) {
    case JUDGEMENT_CONTINUE:
    case JUDGEMENT_INCONCLUSIVE: return VERDICT_CONTINUE;
    case JUDGEMENT_NO_DATA: return VERDICT_NO_DATA;
    case JUDGEMENT_PASS: return VERDICT_PASS;
    case JUDGEMENT_ERRORS: *reason = REASON_ERRORS; break;
    case JUDGEMENT_LATENCY: *reason = REASON_LATENCY; break;
    case JUDGEMENT_SLO: *reason = REASON_SLO; break;
    case JUDGEMENT_METRIC: /* only requests are judged here */
    case JUDGEMENT_DIFFERENCES:
    case JUDGEMENTS_COUNT: UNREACHABLE();
    }
    return VERDICT_ROLL_BACK;
}
