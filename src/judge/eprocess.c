#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>
#include <string.h>

static const double RATIO_LEAST = 1.25, RATIO_MOST = 200;

double log_mean_exp(const double *logs, size_t len)
{
    ASSERT(len > 0);
    double most = logs[0], sum = 0;
    for (size_t i = 1; i < len; i++)
        most = fmax(most, logs[i]);
    if (most == -INFINITY)
        return most;
    for (size_t i = 0; i < len; i++)
        sum += exp(logs[i] - most);
    return most + log(sum / (double)len);
}

void eprocess_init(struct eprocess *e)
{
    memset(e, 0, sizeof *e);
}

void eprocess_update(struct eprocess *e, uint64_t candidate_events, uint64_t candidate_requests,
                     uint64_t stable_events, uint64_t stable_requests)
{
    eprocess_update_beyond(e, 1, INFINITY, candidate_events, candidate_requests, stable_events,
                           stable_requests);
}

void eprocess_update_beyond(struct eprocess *e, double allowed, double most,
                            uint64_t candidate_events, uint64_t candidate_requests,
                            uint64_t stable_events, uint64_t stable_requests)
{
    ASSERT(allowed >= 1 && most > 1);
    ASSERT(candidate_events <= candidate_requests && stable_events <= stable_requests);
    e->candidate_events += candidate_events;
    e->candidate_requests += candidate_requests;
    e->stable_events += stable_events;
    e->stable_requests += stable_requests;
    if (candidate_requests == 0 || stable_requests == 0 || candidate_events + stable_events == 0)
        return;
    double c = (double)candidate_events, all = c + (double)stable_events;
    double share =
        (double)candidate_requests / ((double)candidate_requests + (double)stable_requests);
    double log_ratio = log(RATIO_LEAST), step = log(RATIO_MOST / RATIO_LEAST) / (JUDGE_GRID - 1);
    double ratio = RATIO_LEAST, growth = exp(step);
    double log_null = log1p(share * (allowed - 1));
    double log_most = log(most);
    for (int i = 0; i < JUDGE_GRID; i++, log_ratio += step, ratio *= growth) {
        double gain = c * log_ratio - all * (log1p(share * (allowed * ratio - 1)) - log_null);
        e->log_likelihood[i] += fmin(gain, log_most);
    }
}

double eprocess_log(const struct eprocess *e)
{
    return log_mean_exp(e->log_likelihood, JUDGE_GRID);
}

static double log_beta(double x, double y)
{
    /* lgamma() would write the sign into a global. */
    int sign;
    return lgamma_r(x, &sign) + lgamma_r(y, &sign) - lgamma_r(x + y, &sign);
}

double beta_binomial_log_e(double k, double m, double theta0, double a, double b)
{
    ASSERT(k >= 0 && m >= 0 && theta0 > 0 && theta0 < 1 && a > 0 && b > 0);
    return log_beta(a + k, b + m) - log_beta(a, b) - k * log(theta0) - m * log1p(-theta0);
}

/* ---- ceilings
 * ----------------------------------------------------------------------------------------- */

static const double ceiling_factors[CEILING_GRID] = {1.25, 1.5, 2, 3, 5, 10};

/* The factors rise, so those that keep the rate under 1 come first. */
static size_t ceiling_used(const struct ceiling *c)
{
    size_t used = 0;
    while (c->p_max > 0 && used < CEILING_GRID && c->p_max * ceiling_factors[used] < 1)
        used++;
    return used;
}

void ceiling_init(struct ceiling *c, double p_max)
{
    ASSERT(p_max >= 0 && p_max <= 1);
    *c = (struct ceiling){.p_max = p_max};
}

void ceiling_update(struct ceiling *c, uint64_t events, uint64_t requests)
{
    ASSERT(events <= requests);
    c->events += events;
    c->requests += requests;
    for (size_t i = 0, used = ceiling_used(c); i < used; i++) {
        double q = c->p_max * ceiling_factors[i];
        c->log_likelihood[i] += (double)events * log(ceiling_factors[i]) +
                                (double)(requests - events) * (log1p(-q) - log1p(-c->p_max));
    }
}

double ceiling_log(const struct ceiling *c)
{
    size_t used = ceiling_used(c);
    return used != 0 ? log_mean_exp(c->log_likelihood, used) : 0;
}
