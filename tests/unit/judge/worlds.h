/* Traffic and releases from a seed, for the tests by simulation. */
#ifndef TESTS_UNIT_JUDGE_WORLDS_H
#define TESTS_UNIT_JUDGE_WORLDS_H

#include "ground.h"

#include <stdlib.h>

/* With the sanitizers only the code is of interest; `make sim` asks for more. */
#ifdef __SANITIZE_ADDRESS__
enum { RUNS = 500, BATCHES = 60 };
#else
enum { RUNS = 10000, BATCHES = 60 };
#endif

static inline int runs(void)
{
    const char *text = getenv("SLUICE_JUDGE_RUNS");
    return text != NULL && atoi(text) > 0 ? atoi(text) : RUNS;
}

struct tick {
    uint64_t candidate, stable; /* requests */
    double candidate_rate, stable_rate;
};
typedef struct tick (*world_fn)(struct dice *dice, int batch, double *memory);

enum { PER_BATCH = 400 };

/* Every request is drawn on its own. */
static inline struct tick independent(struct dice *dice, int batch, double *memory)
{
    (void)batch;
    (void)memory;
    uint64_t candidate = dice_binomial(dice, PER_BATCH, .1);
    return (struct tick){candidate, PER_BATCH - candidate, .005, .005};
}
static inline struct tick round_robin(struct dice *dice, int batch, double *memory)
{
    (void)dice;
    (void)batch;
    (void)memory;
    return (struct tick){PER_BATCH / 10, PER_BATCH - PER_BATCH / 10, .005, .005};
}
/* The share climbs in steps and the error rate of both grows tenfold on the way: a test that pools
 * over the ramp falls for it. */
static inline struct tick ramped(struct dice *dice, int batch, double *memory)
{
    (void)dice;
    (void)memory;
    static const uint64_t shares[] = {5, 10, 25, 50, 75, 95};
    uint64_t candidate = PER_BATCH * shares[batch * 6 / BATCHES] / 100;
    double rate = .002 + .02 * batch / BATCHES;
    return (struct tick){candidate, PER_BATCH - candidate, rate, rate};
}
/* The candidate gets half to all of what it is meant to, of traffic that comes and goes: a test
 * with the configured weight falls for it. */
static inline struct tick skewed(struct dice *dice, int batch, double *memory)
{
    (void)batch;
    (void)memory;
    double share = .1 * (.5 + dice_uniform(dice) / 2);
    uint64_t all = PER_BATCH / 2 + (uint64_t)(dice_uniform(dice) * PER_BATCH);
    uint64_t candidate = (uint64_t)(share * (double)all);
    return (struct tick){candidate, all - candidate, .005, .005};
}
/* A database that is down now and then: 30 % of all requests fail, wherever they go. */
static inline struct tick incidents(struct dice *dice, int batch, double *memory)
{
    (void)batch;
    if (dice_uniform(dice) < .05)
        *memory = *memory > 0 ? 0 : .3;
    return (struct tick){PER_BATCH / 10, PER_BATCH - PER_BATCH / 10, .005 + *memory,
                         .005 + *memory};
}

/* At most alpha, and three standard deviations of the simulation. */
static inline void expect_few(int alarms, int runs, double alpha, const char *what)
{
    double most = runs * alpha + 3 * sqrt(runs * alpha * (1 - alpha));
    if (alarms > most)
        fail_msg("%s: %d of %d", what, alarms, runs);
    print_message("%s: %.2f%% (at most %.2f%%)\n", what, 100.0 * alarms / runs, 100 * alpha);
}

/* Requests over the edges p50, p90, p95, p99 of stable: nested, as bucket counts are. */
static inline void draw_arm(struct dice *dice, struct judge_arm *arm, uint64_t requests,
                            double error_rate, double slower)
{
    static const double over[4] = {.5, .1, .05, .01};
    *arm = (struct judge_arm){.requests = requests,
                              .errors = dice_binomial(dice, requests, error_rate)};
    uint64_t left = requests;
    double before = 1;
    for (int i = 0; i < 4; i++) {
        double share = fmin(1, over[i] * slower);
        left = dice_binomial(dice, left, share / before);
        arm->above[i] = left;
        before = share;
    }
    arm->above_slo = arm->above[3];
}

#endif
