#include "simulate/simulate_internal.h"

#include <math.h>

void verdict_begin(struct judge *j, const struct app_spec *spec, const struct marks *marks)
{
    const struct slo_spec *slo = &spec->slo;
    struct judge_config config = {
        .alpha = spec->strategy.judge.alpha > 0 ? spec->strategy.judge.alpha : 0.001,
        .edges = marks->edges,
        .edges_len = marks->edges_len,
        .slo_error_rate = slo->has_error_rate ? slo->error_rate : 0,
        .slo_latency_share = slo->has_latency ? 1 - slo->latency_quantile : 0,
        .min_requests = slo->min_requests,
        .has_stable = true,
    };
    judge_init(j, &config);
}

static double most(const double *logs, size_t len)
{
    double most = logs[0];
    for (size_t i = 1; i < len; i++)
        most = logs[i] > most ? logs[i] : most;
    return most;
}

/* E is a mean: it is not above its largest part. */
bool verdict_may_condemn(const struct judge *j)
{
    double needed = -log(j->alpha);
    if (most(j->errors.log_likelihood, JUDGE_GRID) >= needed)
        return true;
    for (uint32_t i = 0; i < j->edges_len; i++)
        if (most(j->latency[i].log_likelihood, JUDGE_GRID) >= needed)
            return true;
    return most(j->slo_errors.log_likelihood, CEILING_GRID) >= needed ||
           most(j->slo_latency.log_likelihood, CEILING_GRID) >= needed;
}

enum verdict verdict_ask(const struct judge *j, enum reason_code *reason)
{
    cleanup_buf struct buf text = BUF_INIT;
    switch (judge_look(j, &text)) {
    case JUDGEMENT_CONTINUE: return VERDICT_CONTINUE;
    case JUDGEMENT_NO_DATA: return VERDICT_NO_DATA;
    case JUDGEMENT_ERRORS: *reason = REASON_ERRORS; break;
    case JUDGEMENT_LATENCY: *reason = REASON_LATENCY; break;
    case JUDGEMENT_SLO: *reason = REASON_SLO; break;
    }
    return VERDICT_ROLL_BACK;
}
