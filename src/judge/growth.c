#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>

/* Mean of the log likelihood ratio of theta1 against theta0, when theta is the truth. */
static double gain(double theta, double theta1, double theta0)
{
    double log_hit = theta > 0 ? theta * log(theta1 / theta0) : 0;
    return log_hit + (theta < 1 ? (1 - theta) * log((1 - theta1) / (1 - theta0)) : 0);
}

static double theta_of(double share, double ratio)
{
    return share * ratio / (1 - share + share * ratio);
}

/* The alternatives of both mixtures: what lies outside is as good as their ends. */
static double alternative(double ratio, double null)
{
    if (ratio > null)
        return fmin(fmax(ratio, 1.25 * null), 200 * null);
    return fmin(fmax(ratio, .2), null);
}

double growth_of_ratio(double share, double ratio, double null)
{
    ASSERT(share > 0 && share < 1 && ratio >= 0 && null > 0);
    if (isinf(ratio))
        return gain(1, theta_of(share, 200 * null), theta_of(share, null));
    return gain(theta_of(share, ratio), theta_of(share, alternative(ratio, null)),
                theta_of(share, null));
}

double growth_of_rate(double rate, double null)
{
    ASSERT(rate >= 0 && rate <= 1 && null > 0 && null < 1);
    double most = fmin(10 * null, (1 + null) / 2);
    return gain(rate, fmin(fmax(rate, .05 * null), most), null);
}
