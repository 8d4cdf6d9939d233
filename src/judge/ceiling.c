#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>

static const double over[CEILING_OVER] = {1.25, 1.5, 2, 3, 5, 10};
static const double under[CEILING_UNDER] = {.05, .1, .2, .3, .4, .5, .6, .7, .8};

void ceiling_init(struct ceiling *c, double p_max)
{
    ASSERT(p_max >= 0 && p_max <= 1);
    *c = (struct ceiling){.p_max = p_max};
    if (p_max <= 0 || p_max >= 1)
        return;
    double log_other = log1p(-p_max);
    for (size_t i = 0; i < CEILING_OVER && p_max * over[i] < 1; i++) {
        c->log_over_other[i] = log1p(-p_max * over[i]) - log_other;
        c->over_len = i + 1;
    }
    for (size_t i = 0; i < CEILING_UNDER; i++)
        c->log_under_other[i] = log1p(-p_max * under[i]) - log_other;
}

static double mixture(const double *factors, const double *log_other, size_t len, uint64_t events,
                      uint64_t requests)
{
    double logs[CEILING_UNDER];
    ASSERT(events <= requests && len <= CEILING_UNDER);
    for (size_t i = 0; i < len; i++)
        logs[i] = (double)events * log(factors[i]) + (double)(requests - events) * log_other[i];
    return log_mean_exp(logs, len);
}

double ceiling_over_log(const struct ceiling *c, uint64_t events, uint64_t requests)
{
    if (c->over_len == 0)
        return 0;
    return mixture(over, c->log_over_other, c->over_len, events, requests);
}

double ceiling_under_log(const struct ceiling *c, uint64_t events, uint64_t requests)
{
    if (c->p_max <= 0 || c->p_max >= 1)
        return 0;
    return mixture(under, c->log_under_other, CEILING_UNDER, events, requests);
}
