/* Is every guarded metric fine? A metric has up to two ways to be: no worse than allowed against
 * stable, or under a fixed ceiling. The null is "neither", under which the mean of both e-processes
 * has an expectation of at most 1 only if each has: so it is. Of several marks of the latency each
 * has to be fine, and the least of their e-processes serves "some mark is not". */
#include "judge/judge_internal.h"

#include <math.h>

double judge_latency_allowed(const struct judge *j)
{
    return fmax(JUDGE_SLOWER_ALLOWED, j->allowed);
}

static double mean_of_two(double a, double b)
{
    double both[2] = {a, b};
    return log_mean_exp(both, 2);
}

static double errors_log(const struct judge *j)
{
    uint64_t events = j->errors.candidate_events, requests = j->errors.candidate_requests;
    const struct ceiling *c = j->slo_errors.p_max > 0 ? &j->slo_errors : &j->negligible_errors;
    if (!j->has_stable)
        return ceiling_under_log(c, events, requests);
    double against_stable = curve_no_worse_log(errors_no_worse(j));
    return c->p_max > 0 ? mean_of_two(against_stable, ceiling_under_log(c, events, requests))
                        : against_stable;
}

static double marks_log(const struct judge *j, uint32_t *edge)
{
    struct ceiling negligible;
    double least = j->edges_len != 0 ? INFINITY : 0; /* none yet: E = 1 */
    ceiling_init(&negligible, JUDGE_SLOWER_NEGLIGIBLE);
    *edge = 0;
    for (uint32_t i = 0; i < j->edges_len; i++) {
        const struct curve *c = &j->latency[i];
        double log_e =
            mean_of_two(tail_no_worse_log(&j->tail[i]),
                        ceiling_under_log(&negligible, c->candidate_events, c->candidate_requests));
        if (log_e < least) {
            least = log_e;
            *edge = i;
        }
    }
    return least;
}

static double latency_log(const struct judge *j, uint32_t *edge)
{
    double slo =
        ceiling_under_log(&j->slo_latency, j->candidate_above_slo, j->errors.candidate_requests);
    if (!j->has_stable)
        return slo;
    double marks = marks_log(j, edge);
    return j->slo_latency.p_max > 0 ? mean_of_two(marks, slo) : marks;
}

static bool is_guarded(const struct judge *j, enum metric metric)
{
    switch (metric) {
    case METRIC_ERRORS:
        return j->has_stable || j->slo_errors.p_max > 0 || j->negligible_errors.p_max > 0;
    case METRIC_LATENCY: return j->has_stable || j->slo_latency.p_max > 0;
    case METRIC_SLO_ERRORS:
    case METRIC_SLO_LATENCY: return false; /* part of the two above */
    case METRIC_DIFFERENCES: return difference_decides(&j->differences);
    default:
        return metric - METRIC_EXTRA < j->extras_len &&
               j->extras[metric - METRIC_EXTRA].kind == EXTRA_ASKED;
    }
}

static double fine_log(const struct judge *j, enum metric metric, uint32_t *edge)
{
    switch (metric) {
    case METRIC_ERRORS: return errors_log(j);
    case METRIC_LATENCY: return latency_log(j, edge);
    case METRIC_DIFFERENCES: return difference_fine_log(&j->differences);
    default: return pair_no_worse_log(&j->extras[metric - METRIC_EXTRA].test);
    }
}

bool fineness_reached(const struct judge *j)
{
    bool any = false;
    double bar = -log(j->alpha_pass);
    uint32_t edge;
    for (enum metric i = 0; i < METRICS_COUNT; i++) {
        if (!is_guarded(j, i))
            continue;
        if (fine_log(j, i, &edge) < bar)
            return false;
        any = true;
    }
    return any;
}

void fineness_gather(const struct judge *j, struct fineness *f)
{
    double bar = -log(j->alpha_pass), least = INFINITY;
    *f = (struct fineness){.all = true};
    for (enum metric i = 0; i < METRICS_COUNT; i++) {
        f->guarded[i] = is_guarded(j, i);
        if (!f->guarded[i])
            continue;
        f->log_e[i] = fine_log(j, i, &f->latency_edge);
        f->any = true;
        f->all = f->all && f->log_e[i] >= bar;
        if (f->log_e[i] < least) {
            least = f->log_e[i];
            f->last = i;
        }
    }
}
