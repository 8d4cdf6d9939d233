/* The judge's building blocks: e-processes, each a small plain struct with its functions.
 *
 * An e-process is a number E >= 0 whose expectation is at most 1 while a null hypothesis holds,
 * whenever one stops. By Ville's inequality P(E ever >= 1/alpha) <= alpha, however often one looks.
 * All functions here give ln E. Sources: Ville 1939; Lindon, Sanden, Shirikian, KDD 2022; Lindon &
 * Malek, NeurIPS 2022; Howard & Ramdas, Bernoulli 2022.
 */
#ifndef SLUICE_JUDGE_EVIDENCE_H
#define SLUICE_JUDGE_EVIDENCE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- curve.c: the ratio of two arms' rates, while the shares of the traffic change
 *
 * Given that an event happened, the chance that it was the candidate's is
 * theta = rho*lambda / (1 - rho + rho*lambda): rho the candidate's share of the batch's requests,
 * lambda the ratio of the rates. That holds for any rate that both share, also one that moves (an
 * incident in a database hits both). The log likelihood of lambda, over all batches,
 *
 *     L(lambda) = sum of c*ln(lambda) - (c + b)*ln(1 - rho + rho*lambda)
 *
 * is kept at the points of one grid and is all that is needed: to roll back, to promote and for the
 * confidence sequence. L(1) = 0. */
enum {
    CURVE_LOW = 8,               /* .01 .. .16, for the confidence sequence */
    CURVE_BETTER = 16,           /* .2 .. 1: the mixture of "no worse" */
    CURVE_MIDDLE = 1,            /* between the two */
    CURVE_WORSE = 32,            /* 1.25 .. 200: the mixture of "worse" */
    CURVE_BETTER_AT = CURVE_LOW, /* where each begins */
    CURVE_MIDDLE_AT = CURVE_BETTER_AT + CURVE_BETTER,
    CURVE_WORSE_AT = CURVE_MIDDLE_AT + CURVE_MIDDLE,
    CURVE_POINTS = CURVE_WORSE_AT + CURVE_WORSE
};

/* What a batch's share of the traffic makes of the grid; one for all curves that it updates. */
struct shares {
    double share;                   /* rho */
    double log_ratio[CURVE_POINTS]; /* ln(lambda) */
    double log_mix[CURVE_POINTS];   /* ln(1 - rho + rho*lambda) */
    /* Of lambda0, the ratio that promotion has to rule out. */
    double log_ratio_allowed, log_mix_allowed;
};
/* Requests of both arms in the batch, neither 0; allowed > 1. */
void shares_init(struct shares *s, uint64_t candidate_requests, uint64_t stable_requests,
                 double allowed);
void shares_allow(struct shares *s, double allowed); /* another ratio, the same shares */

struct curve {
    double log_likelihood[CURVE_POINTS];
    double at_allowed; /* L(lambda0); lambda0 is the same in all batches */
    /* The confidence sequence of lambda: running intersection. When a new set has nothing in common
     * with it the ratio itself has changed: it begins anew and `moved` says so. */
    double low, high; /* 0 and INFINITY at first */
    bool moved;
    uint64_t narrowed_events; /* of both arms when the intersection was last made */
    uint64_t candidate_events, candidate_requests, stable_events, stable_requests;
};
void curve_init(struct curve *c);
/* The batch's counts. shares: NULL where an arm had no request; then, and when there was no event,
 * the evidence stays as it is. */
void curve_count(struct curve *c, uint64_t candidate_events, uint64_t candidate_requests,
                 uint64_t stable_events, uint64_t stable_requests);
void curve_update(struct curve *c, const struct shares *shares, uint64_t candidate_events,
                  uint64_t stable_events);
double curve_worse_log(const struct curve *c);    /* null: lambda <= 1 */
double curve_worse_most(const struct curve *c);   /* ln E is at most that; costs next to nothing */
double curve_no_worse_log(const struct curve *c); /* null: lambda >= lambda0 */
/* The set of lambda that the evidence leaves at this moment, {M - L(lambda) < ln(1/alpha)}, M the
 * mixture over the whole grid. L is concave in ln(lambda): between the points it lies under the
 * neighbouring chords, which are used to invert it, so that the set is never too small. */
void curve_set(const struct curve *c, double alpha, double *low, double *high);
void curve_narrow(struct curve *c, double alpha); /* brings low, high, moved up to date, nearly */
/* What is left at this moment; the arguments as the members of the curve. */
void curve_interval(const struct curve *c, double alpha, double *low, double *high, bool *moved);

/* The same test on events that come in bursts (a stall makes all requests of a moment slow):
 * against a ratio of at most `slower` to roll back, at least `allowed` to promote, and each batch
 * multiplies each point's evidence by at most TAIL_PER_BATCH. What is made smaller is an e-process
 * still. */
#define TAIL_PER_BATCH 4.0
struct tail {
    double worse[CURVE_WORSE];     /* at slower * 1.25 .. 200 */
    double no_worse[CURVE_BETTER]; /* at .2 .. 1 */
};
struct tail_shares {
    double log_ratio_worse[CURVE_WORSE]; /* relative to `slower` */
    double log_mix_worse[CURVE_WORSE];
};
void tail_shares_init(struct tail_shares *t, const struct shares *s, double slower);
/* s: its `allowed` is the ratio that promotion has to rule out. */
void tail_update(struct tail *t, const struct tail_shares *ts, const struct shares *s,
                 uint64_t candidate_events, uint64_t stable_events);
double tail_worse_log(const struct tail *t);
double tail_worse_most(const struct tail *t); /* ln E is at most that */
double tail_no_worse_log(const struct tail *t);

/* ---- beta.c: one arm alone, in closed form */

/* ln of the beta-binomial mixture: k events, m others, null share theta0, prior Beta(a, b). */
double beta_log_e(double k, double m, double theta0, double a, double b);
/* Confidence sequence of the share: {theta: beta_log_e < ln(1/alpha)}. Within 0 and 1. */
void beta_interval(double k, double m, double a, double b, double alpha, double *low, double *high);
/* Of lambda, with one share rho of the traffic all the time: c and b events of the two arms. */
void beta_ratio_interval(double c, double b, double share, double prior_a, double prior_b,
                         double alpha, double *low, double *high);
/* An arm's rate, with the prior that suits small rates; requests may be 0. */
void rate_interval(uint64_t events, uint64_t requests, double alpha, double *low, double *high);
/* The p-quantile of a histogram lies in one of the buckets *low .. *high, at any time with a
 * confidence of 1 - alpha. len > 0, 0 < p < 1. */
void quantile_interval(const uint64_t *counts, size_t len, double p, double alpha, size_t *low,
                       size_t *high);

/* ---- ceiling.c: one arm against a fixed rate p_max */
enum { CEILING_OVER = 6, CEILING_UNDER = 9 };
struct ceiling {
    double p_max;                        /* 0..1; 0 and 1: not in use, E = 1 */
    size_t over_len;                     /* rates over p_max that are under 1 */
    double log_over_other[CEILING_OVER]; /* ln((1 - q) / (1 - p_max)) */
    double log_under_other[CEILING_UNDER];
};
void ceiling_init(struct ceiling *c, double p_max);
/* null: p <= p_max; mixture over q = p_max * {1.25, 1.5, 2, 3, 5, 10}. events <= requests. */
double ceiling_over_log(const struct ceiling *c, uint64_t events, uint64_t requests);
/* null: p >= p_max; mixture over q = p_max * {.05, .1, .2, ... .8} */
double ceiling_under_log(const struct ceiling *c, uint64_t events, uint64_t requests);

/* ---- difference.c: answers of both arms to the same requests, compared one by one */

/* Where no difference is tolerated, a share below that is shown before a release passes. */
#define DIFFERENCES_NEGLIGIBLE 0.005
/* ln E of what the null excludes: more than any bar. */
#define DIFFERENCES_CERTAIN_LOG 1000.0
/* Pairs of answers, those that differ, and in what: one pair may differ in several. */
struct judge_compared {
    uint64_t pairs, differed, status, headers, body;
};
struct difference_test {
    bool used;
    double tolerated; /* share of the pairs that may differ; 1: they are only counted */
    struct ceiling ceiling;
    struct judge_compared seen;
};
void difference_init(struct difference_test *d, double tolerated);
void difference_update(struct difference_test *d, const struct judge_compared *more);
bool difference_decides(const struct difference_test *d); /* used, and not only counted */
/* null: a pair differs with a chance of at most `tolerated`, whatever was before */
double difference_worse_log(const struct difference_test *d);
/* null: of at least `tolerated` (0: DIFFERENCES_NEGLIGIBLE) */
double difference_fine_log(const struct difference_test *d);

/* ---- pair.c: a number of both arms, once in a while (memory, CPU per request, a query's value)
 *
 * A sign test: each pair of values is a coin, "worse" when the candidate's value lies beyond
 * stable's by more than the factor `tolerance`. Nulls: given all that was before, worse comes at
 * most (to roll back) or at least (to promote) half of the time. No assumption on the values'
 * distribution; but values that drift stay on one side for long, and only the tolerance makes half
 * of the time true for a good release: choose it as large as good releases differ. */
enum { PAIR_GRID = 6 };
struct pair_test {
    double tolerance; /* >= 1 */
    bool less_is_worse;
    uint64_t worse, not_worse;
    double candidate_last, stable_last;
};
void pair_init(struct pair_test *p, double tolerance, bool less_is_worse);
void pair_update(struct pair_test *p, double candidate, double stable); /* NaN, infinity: no data */
/* The same, by one who knows more than the two values. */
void pair_count(struct pair_test *p, bool worse, double candidate, double stable);
void pair_note(struct pair_test *p, double candidate, double stable); /* to be shown: no evidence */
double pair_worse_log(const struct pair_test *p);
double pair_no_worse_log(const struct pair_test *p);

/* ---- baseline.c: one arm against its predecessor's history, for the watch after a promotion */
struct baseline {
    struct ceiling ceiling;
    uint64_t events, requests;
};
/* p_max is `allowed` times the upper end of what the history's rate can be with a confidence of
 * 1 - alpha, so the chance of a false alarm at ln E >= ln(1/alpha) is at most 2*alpha. false: the
 * history says too little (p_max would be 1 or more), E stays 1. allowed >= 1. */
bool baseline_init(struct baseline *b, uint64_t history_events, uint64_t history_requests,
                   double allowed, double alpha);
void baseline_update(struct baseline *b, uint64_t events, uint64_t requests);
double baseline_log(const struct baseline *b);

/* ---- burn.c: how fast the error budget of an slo goes, over a long and a short window
 *
 * No e-process: a threshold on a window, the backstop behind the others. burn = error rate /
 * budget; it fires when both windows burn faster than the threshold. short = long / 12. */
enum { BURN_BUCKETS = 60, BURN_SHORT = BURN_BUCKETS / 12 };
struct burn {
    double budget;         /* 1 - slo: the error rate that is allowed; 0 < budget < 1 */
    int64_t bucket_ms;     /* long window / BURN_BUCKETS */
    uint64_t min_requests; /* of the short window; fewer never fire */
    int64_t newest;        /* now_ms / bucket_ms of the last update; -1: none yet */
    uint64_t errors[BURN_BUCKETS], requests[BURN_BUCKETS]; /* at (bucket % BURN_BUCKETS) */
};
/* 14.4 is burn_threshold(.02, 1): 2 % of thirty days' budget within an hour. */
double burn_threshold(double budget_fraction, double long_hours);
void burn_init(struct burn *b, double budget, int64_t long_ms, uint64_t min_requests);
/* Any monotonic clock; one that goes back counts into the newest bucket. */
void burn_update(struct burn *b, int64_t now_ms, uint64_t errors, uint64_t requests);
double burn_long(const struct burn *b, int64_t now_ms); /* burn rates; 0 without a request */
double burn_short(const struct burn *b, int64_t now_ms);
bool burn_fires(const struct burn *b, int64_t now_ms, double threshold);
void burn_to_json(const struct burn *b, struct buf *out);
int burn_from_json(struct burn *b, const char *text, struct error *err);

#endif
