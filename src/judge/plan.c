/* What a hold can find, before there is any data: the chance that the evidence at its end is
 * enough, over what both arms may bring by then. A rollout is looked at all the time, so it is
 * found a little more often than that. */
#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>
#include <string.h>

static const double POWER = .8;
enum { STRATA = 15 }; /* of stable's errors */

struct hold {
    double log_bar, candidate_requests, stable_requests;
    struct shares shares;
    double least[STRATA]; /* candidate errors that are enough, in each stratum */
};

/* The error count that a share q of the outcomes stays below; Poisson. */
static double poisson_quantile(double mean, double q)
{
    static const double z[STRATA] = {-1.834, -1.282, -.967, -.728, -.524, -.341, -.168, 0,
                                     .168,   .341,   .524,  .728,  .967,  1.282, 1.834};
    if (mean > 500)
        return floor(mean + z[(int)(q * STRATA)] * sqrt(mean));
    double p = exp(-mean), sum = p, k = 0;
    while (sum < q && k < 2000) {
        k++;
        p *= mean / k;
        sum += p;
    }
    return k;
}

/* P(X >= k), X binomial. */
static double binomial_tail(double n, double p, double k)
{
    int sign;
    if (k <= 0 || p >= 1)
        return k <= n ? 1 : 0;
    if (k > n || p <= 0)
        return 0;
    if (n * p * (1 - p) > 1e4)
        return .5 * erfc((k - .5 - n * p) / sqrt(2 * n * p * (1 - p)));
    bool upper = k > n * p;
    double at = upper ? k : k - 1, odds = p / (1 - p);
    double term = exp(lgamma_r(n + 1, &sign) - lgamma_r(at + 1, &sign) -
                      lgamma_r(n - at + 1, &sign) + at * log(p) + (n - at) * log1p(-p));
    double sum = 0;
    while (at >= 0 && at <= n && term > 1e-17) {
        sum += term;
        term *= upper ? (n - at) / (at + 1) * odds : at / (n - at + 1) / odds;
        at += upper ? 1 : -1;
    }
    return upper ? sum : 1 - sum;
}

static bool enough(const struct hold *h, double c, double b)
{
    struct curve curve;
    curve_init(&curve);
    curve_update(&curve, &h->shares, (uint64_t)c, (uint64_t)b);
    return curve_worse_log(&curve) >= h->log_bar;
}

static double least_errors(const struct hold *h, double b)
{
    double low = 0, high = h->candidate_requests + 1; /* low is not enough */
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        if (enough(h, middle, b))
            high = middle;
        else
            low = middle;
    }
    return high;
}

static void hold_init(struct hold *h, double alpha, double share, double base_rate, double requests)
{
    ASSERT(alpha > 0 && alpha < 1 && share > 0 && share < 1 && base_rate >= 0 && base_rate <= 1);
    h->log_bar = -log(alpha);
    h->candidate_requests = floor(requests * share);
    h->stable_requests = requests - h->candidate_requests;
    shares_init(&h->shares, 1 + (uint64_t)(share * 1e9), 1 + (uint64_t)((1 - share) * 1e9), 2);
    for (int i = 0; i < STRATA; i++)
        h->least[i] =
            least_errors(h, poisson_quantile(h->stable_requests * base_rate, (i + .5) / STRATA));
}

static double power_of(const struct hold *h, double rate)
{
    double sum = 0;
    for (int i = 0; i < STRATA; i++)
        sum += binomial_tail(h->candidate_requests, rate, h->least[i]);
    return sum / STRATA;
}

double judge_errors_alpha(const struct judge_config *config)
{
    struct judge j;
    double weights[METRICS_COUNT];
    judge_init(&j, config);
    judge_weigh(&j, weights);
    return config->alpha * weights[METRIC_ERRORS];
}

double judge_detectable(double alpha, double share, double base_rate, double requests_per_s,
                        double hold_s)
{
    struct hold h;
    double low = base_rate, high = 1;
    hold_init(&h, alpha, share, base_rate, requests_per_s * hold_s);
    if (power_of(&h, 1) < POWER)
        return INFINITY;
    for (int i = 0; i < 40; i++) {
        double middle = (low + high) / 2;
        if (power_of(&h, middle) < POWER)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double judge_hold_for(double alpha, double share, double base_rate, double rate,
                      double requests_per_s, double most_s)
{
    struct hold h;
    double low = 0, high = most_s;
    hold_init(&h, alpha, share, base_rate, requests_per_s * most_s);
    if (power_of(&h, rate) < POWER)
        return INFINITY;
    while (high - low > most_s / 1024 && high - low > high / 64) {
        double middle = (low + high) / 2;
        hold_init(&h, alpha, share, base_rate, requests_per_s * middle);
        if (power_of(&h, rate) < POWER)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double judge_errors_to_pass(double alpha_pass, double share, double max_worse)
{
    ASSERT(max_worse > 0);
    return -log(alpha_pass) / growth_of_ratio(share, 1, 1 + max_worse);
}

double judge_requests_to_keep(double alpha_pass, double ceiling, double rate)
{
    struct ceiling c;
    double low = 0, high = 64;
    ceiling_init(&c, ceiling);
    if (rate >= ceiling * .95 || ceiling >= 1)
        return INFINITY;
    while (high < 1e15) {
        if (ceiling_under_log(&c, (uint64_t)(rate * high), (uint64_t)high) >= -log(alpha_pass))
            break;
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        if (ceiling_under_log(&c, (uint64_t)(rate * middle), (uint64_t)middle) >= -log(alpha_pass))
            high = middle;
        else
            low = middle;
    }
    return high < 1e15 ? high : INFINITY;
}
