#include "base/assert.h"
#include "judge/evidence.h"

#include <math.h>

static double log_beta(double x, double y)
{
    /* lgamma() would write the sign into a global. */
    int sign;
    return lgamma_r(x, &sign) + lgamma_r(y, &sign) - lgamma_r(x + y, &sign);
}

/* 0 * ln(0) is 0 here. */
static double times_log(double n, double log_x)
{
    return n > 0 ? n * log_x : 0;
}

double beta_log_e(double k, double m, double theta0, double a, double b)
{
    ASSERT(k >= 0 && m >= 0 && theta0 >= 0 && theta0 <= 1 && a > 0 && b > 0);
    return log_beta(a + k, b + m) - log_beta(a, b) - times_log(k, log(theta0)) -
           times_log(m, log1p(-theta0));
}

/* E falls from either end towards the share that was seen, and is below any bar there: with the
 * mixture for a numerator it is at most 1. */
void beta_interval(double k, double m, double a, double b, double alpha, double *low, double *high)
{
    double middle = k + m > 0 ? k / (k + m) : .5;
    double bar = -log(alpha);
    double fixed = log_beta(a + k, b + m) - log_beta(a, b) - bar;
    for (int side = 0; side < 2; side++) {
        double out = side, in = middle;
        /* 80 halvings: as near as doubles get to it, also where the share is 1e-9. */
        for (int i = 0; i < 80; i++) {
            double x = (out + in) / 2;
            if (fixed - times_log(k, log(x)) - times_log(m, log1p(-x)) < 0)
                in = x;
            else
                out = x;
        }
        *(side == 0 ? low : high) = out;
    }
}

void beta_ratio_interval(double c, double b, double share, double prior_a, double prior_b,
                         double alpha, double *low, double *high)
{
    ASSERT(share > 0 && share < 1);
    double odds = (1 - share) / share;
    beta_interval(c, b, prior_a, prior_b, alpha, low, high);
    *low = *low / (1 - *low) * odds;
    *high = *high < 1 ? *high / (1 - *high) * odds : INFINITY;
}

/* Narrow for the rates of a few percent and less that errors have, and not wide at a half. */
static const double RATE_PRIOR_A = .5, RATE_PRIOR_B = 4;

void rate_interval(uint64_t events, uint64_t requests, double alpha, double *low, double *high)
{
    ASSERT(events <= requests);
    *low = 0;
    *high = 1;
    if (requests != 0)
        beta_interval((double)events, (double)(requests - events), RATE_PRIOR_A, RATE_PRIOR_B,
                      alpha, low, high);
}

/* The prior's weight, in requests: narrowest for some hundred of them. */
static const double QUANTILE_PRIOR = 40;

void quantile_interval(const uint64_t *counts, size_t len, double p, double alpha, size_t *low,
                       size_t *high)
{
    ASSERT(len > 0 && p > 0 && p < 1);
    double total = 0, below = 0, bar = -log(alpha);
    for (size_t i = 0; i < len; i++)
        total += (double)counts[i];
    *low = 0;
    *high = len - 1;
    for (size_t i = 0; i + 1 < len; i++) {
        below += (double)counts[i];
        if (beta_log_e(below, total - below, p, QUANTILE_PRIOR * p, QUANTILE_PRIOR * (1 - p)) < bar)
            continue;
        if (below < p * total) {
            *low = i + 1;
        } else {
            *high = i;
            return;
        }
    }
}
