#include "judge/judge.h"

#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>
#include <string.h>

size_t judge_choose_edges(const uint64_t *counts, size_t len, uint32_t least,
                          uint32_t edges[JUDGE_EDGES - 1])
{
    static const double quantiles[JUDGE_EDGES - 1] = {.5, .9, .95, .99};
    double total = 0, below = 0;
    size_t found = 0, quantile = 0;
    for (size_t i = 0; i < len; i++)
        total += (double)counts[i];
    for (size_t i = 0; i + 1 < len && total > 0; i++) {
        below += (double)counts[i];
        bool reached = false;
        while (quantile < JUDGE_EDGES - 1 && below >= quantiles[quantile] * total) {
            reached = true;
            quantile++;
        }
        uint32_t edge = (uint32_t)i + 1 > least ? (uint32_t)i + 1 : least;
        if (reached && edge < len && (found == 0 || edges[found - 1] < edge))
            edges[found++] = edge;
    }
    return found;
}

void judge_init(struct judge *j, const struct judge_config *config)
{
    ASSERT(config->alpha > 0 && config->alpha < 1);
    ASSERT(config->edges_len <= JUDGE_EDGES);
    *j = (struct judge){.alpha = config->alpha,
                        .edges_len = config->has_stable ? config->edges_len : 0,
                        .min_requests = config->min_requests,
                        .has_stable = config->has_stable};
    for (uint32_t i = 0; i < j->edges_len; i++)
        j->edges[i] = config->edges[i];
    eprocess_init(&j->errors);
    for (size_t i = 0; i < JUDGE_EDGES; i++)
        eprocess_init(&j->latency[i]);
    ceiling_init(&j->slo_errors, config->slo_error_rate);
    ceiling_init(&j->slo_latency, config->slo_latency_share);
}

void judge_set_edges(struct judge *j, const uint32_t *edges, uint32_t len)
{
    ASSERT(len <= JUDGE_EDGES && j->edges_len == 0);
    j->edges_len = j->has_stable ? len : 0;
    for (uint32_t i = 0; i < j->edges_len; i++)
        j->edges[i] = edges[i];
}

static uint64_t at_most(uint64_t events, uint64_t requests)
{
    return events < requests ? events : requests;
}

void judge_batch(struct judge *j, const struct judge_arm *candidate, const struct judge_arm *stable)
{
    if (candidate->requests == 0 && stable->requests == 0)
        return;
    j->silent_batches += candidate->requests == 0 || stable->requests == 0;
    /* Counters of several threads are not read at one instant: an error may be seen a batch before
     * its request. */
    uint64_t candidate_errors = at_most(candidate->errors, candidate->requests);
    eprocess_update(&j->errors, candidate_errors, candidate->requests,
                    at_most(stable->errors, stable->requests), stable->requests);
    for (uint32_t i = 0; i < j->edges_len; i++)
        eprocess_update_beyond(&j->latency[i], JUDGE_SLOWER_ALLOWED, JUDGE_SLOWER_PER_BATCH,
                               at_most(candidate->above[i], candidate->requests),
                               candidate->requests, at_most(stable->above[i], stable->requests),
                               stable->requests);
    if (j->slo_errors.p_max > 0)
        ceiling_update(&j->slo_errors, candidate_errors, candidate->requests);
    if (j->slo_latency.p_max > 0)
        ceiling_update(&j->slo_latency, at_most(candidate->above_slo, candidate->requests),
                       candidate->requests);
    j->stable_above_slo += at_most(stable->above_slo, stable->requests);
}

/* ---- looking
 * ------------------------------------------------------------------------------------------ */

/* Fixed by what is configured, never by what was seen: a mean with such weights is an e-process
 * too. The comparison with stable has most of it, for it decides whenever stable is there. */
static void weigh(const struct judge *j, double weights[METRICS_COUNT])
{
    double sum = 0;
    weights[METRIC_ERRORS] = j->has_stable ? 4 : 0;
    weights[METRIC_LATENCY] = j->has_stable ? 3 : 0; /* also before its edges are known */
    weights[METRIC_SLO_ERRORS] = j->slo_errors.p_max > 0 ? 1 : 0;
    weights[METRIC_SLO_LATENCY] = j->slo_latency.p_max > 0 ? 1 : 0;
    for (int i = 0; i < METRICS_COUNT; i++)
        sum += weights[i];
    for (int i = 0; i < METRICS_COUNT && sum > 0; i++)
        weights[i] /= sum;
}

/* Going back to a release that is even worse helps nobody. */
static bool ceiling_counts(const struct judge *j, const struct ceiling *c, uint64_t stable_events)
{
    uint64_t stable_requests = j->errors.stable_requests;
    if (c->p_max <= 0 || c->requests == 0 || c->requests < j->min_requests)
        return false;
    if (!j->has_stable || stable_requests == 0)
        return true;
    double stable = (double)stable_events / (double)stable_requests;
    double candidate = (double)c->events / (double)c->requests;
    return stable > c->p_max && candidate >= stable;
}

static double latency_log(const struct judge *j, uint32_t *strongest)
{
    double logs[JUDGE_EDGES];
    *strongest = 0;
    for (uint32_t i = 0; i < j->edges_len; i++) {
        logs[i] = eprocess_log(&j->latency[i]);
        if (logs[i] > logs[*strongest])
            *strongest = i;
    }
    return j->edges_len != 0 ? log_mean_exp(logs, j->edges_len) : 0; /* none yet: E = 1 */
}

void evidence_gather(const struct judge *j, struct evidence *e)
{
    double weights[METRICS_COUNT];
    weigh(j, weights);
    double *logs = e->weighted_log;
    logs[METRIC_ERRORS] = eprocess_log(&j->errors);
    logs[METRIC_LATENCY] = latency_log(j, &e->latency_edge);
    logs[METRIC_SLO_ERRORS] = ceiling_counts(j, &j->slo_errors, j->errors.stable_events)
                                  ? ceiling_log(&j->slo_errors)
                                  : -INFINITY;
    logs[METRIC_SLO_LATENCY] = ceiling_counts(j, &j->slo_latency, j->stable_above_slo)
                                   ? ceiling_log(&j->slo_latency)
                                   : -INFINITY;
    e->strongest = METRIC_ERRORS;
    for (int i = 0; i < METRICS_COUNT; i++) {
        logs[i] = weights[i] > 0 ? logs[i] + log(weights[i]) : -INFINITY;
        if (logs[i] > logs[e->strongest])
            e->strongest = (enum metric)i;
    }
    e->total_log = log_mean_exp(logs, METRICS_COUNT) + log(METRICS_COUNT);
}

static enum judgement judgement_of(enum metric metric)
{
    switch (metric) {
    case METRIC_ERRORS: return JUDGEMENT_ERRORS;
    case METRIC_LATENCY: return JUDGEMENT_LATENCY;
    case METRIC_SLO_ERRORS:
    case METRIC_SLO_LATENCY: return JUDGEMENT_SLO;
    case METRICS_COUNT: break;
    }
    UNREACHABLE();
}

/* What is watched whether it is worse says more than "nothing yet". */
static enum metric metric_to_tell(const struct judge *j, const struct evidence *e)
{
    if (j->has_stable && j->errors.stable_requests != 0)
        return e->strongest == METRIC_LATENCY && e->total_log > 0 ? METRIC_LATENCY : METRIC_ERRORS;
    return j->slo_errors.p_max > 0 || j->slo_latency.p_max <= 0 ? METRIC_SLO_ERRORS
                                                                : METRIC_SLO_LATENCY;
}

enum judgement judge_look(const struct judge *j, struct buf *text)
{
    struct evidence e = {.total_log = 0};
    bool has_slo = j->slo_errors.p_max > 0 || j->slo_latency.p_max > 0;
    bool comparable = j->errors.stable_requests != 0 || !j->has_stable || has_slo;
    if (j->errors.candidate_requests == 0 || !comparable) {
        sentence_no_data(j, text);
        return JUDGEMENT_NO_DATA;
    }
    evidence_gather(j, &e);
    if (e.total_log >= -log(j->alpha)) {
        sentence_evidence(j, &e, e.strongest, text);
        return judgement_of(e.strongest);
    }
    sentence_evidence(j, &e, metric_to_tell(j, &e), text);
    return JUDGEMENT_CONTINUE;
}
