#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>

/* The chance of the one side under the alternatives, against a fair coin: ln(2q), ln(2(1-q)) of
 * q = .6, .7, .8, .9, .95, .99. */
static const double log_hit[PAIR_GRID] = {0.1823215567939546, 0.3364722366212129,
                                          0.4700036292457356, 0.5877866649021191,
                                          0.6418538861723947, 0.6830968447064438};
static const double log_miss[PAIR_GRID] = {-0.2231435513142097, -0.5108256237659907,
                                           -0.9162907318741551, -1.6094379124341003,
                                           -2.3025850929940455, -3.9120230054281455};

void pair_init(struct pair_test *p, double tolerance, bool less_is_worse)
{
    ASSERT(tolerance >= 1);
    *p = (struct pair_test){.tolerance = tolerance, .less_is_worse = less_is_worse};
}

void pair_update(struct pair_test *p, double candidate, double stable)
{
    if (!isfinite(candidate) || !isfinite(stable))
        return;
    bool worse =
        p->less_is_worse ? candidate * p->tolerance < stable : candidate > stable * p->tolerance;
    pair_count(p, worse, candidate, stable);
}

void pair_count(struct pair_test *p, bool worse, double candidate, double stable)
{
    p->worse += worse;
    p->not_worse += !worse;
    pair_note(p, candidate, stable);
}

void pair_note(struct pair_test *p, double candidate, double stable)
{
    ASSERT(isfinite(candidate) && isfinite(stable));
    p->candidate_last = candidate;
    p->stable_last = stable;
}

static double coin(uint64_t hits, uint64_t misses)
{
    double logs[PAIR_GRID];
    for (int i = 0; i < PAIR_GRID; i++)
        logs[i] = (double)hits * log_hit[i] + (double)misses * log_miss[i];
    return log_mean_exp(logs, PAIR_GRID);
}

double pair_worse_log(const struct pair_test *p)
{
    return coin(p->worse, p->not_worse);
}

double pair_no_worse_log(const struct pair_test *p)
{
    return coin(p->not_worse, p->worse);
}
