/* What the tests of judge share. */
#ifndef TESTS_UNIT_JUDGE_GROUND_H
#define TESTS_UNIT_JUDGE_GROUND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "judge/judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static inline void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.8f is not %.8f (within %g)", value, expected, tolerance);
}

/* One batch, as judge_batch() does it; lambda0 is 2. */
static inline void feed_curve(struct curve *c, uint64_t events, uint64_t requests,
                              uint64_t stable_events, uint64_t stable_requests)
{
    struct shares shares;
    curve_count(c, events, requests, stable_events, stable_requests);
    if (requests == 0 || stable_requests == 0 || events + stable_events == 0)
        return;
    shares_init(&shares, requests, stable_requests, 2);
    curve_update(c, &shares, events, stable_events);
}

static inline double log_e_of(uint64_t c, uint64_t nc, uint64_t b, uint64_t nb)
{
    struct curve curve;
    curve_init(&curve);
    feed_curve(&curve, c, nc, b, nb);
    return curve_worse_log(&curve);
}

static inline void expect_text(const struct buf *text, const char *part)
{
    if (strstr(buf_str(text), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", buf_str(text), part);
}

/* splitmix64: a seed gives the same numbers everywhere. */
struct dice {
    uint64_t state;
};
static inline double dice_uniform(struct dice *d)
{
    uint64_t z = (d->state += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}
/* How many of n happen, each with chance p: the gaps between them are geometric. */
static inline uint64_t dice_binomial(struct dice *d, uint64_t n, double p)
{
    if (p <= 0)
        return 0;
    if (p >= 1)
        return n;
    uint64_t happened = 0;
    double at = 0, log_not = log1p(-p);
    for (;;) {
        at += floor(log(1 - dice_uniform(d)) / log_not) + 1;
        if (at > (double)n)
            return happened;
        happened++;
    }
}

#endif
