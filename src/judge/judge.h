/* judge: is the candidate worse than stable? Sequential tests that may be looked at at any time.
 *
 * Pure, in the controller and the simulator. See the numbers in tests/unit/judge.
 *
 * Sources: Lindon, Sanden, Shirikian, KDD 2022; Howard & Ramdas, Bernoulli 2022; Ville 1939.
 *
 * Given that an error happened, the chance that it was the candidate's is
 * theta = rho*lambda / (1 - rho + rho*lambda), rho the candidate's share of the batch's requests,
 * lambda the ratio of the error rates. The e-process is a mixture over a log-spaced grid of ratios
 * lambda_j from 1.25 to 200, JUDGE_GRID points of equal weight. P(E ever >= 1/alpha) <= alpha when
 * the candidate is no worse.
 */
#ifndef SLUICE_JUDGE_JUDGE_H
#define SLUICE_JUDGE_JUDGE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JUDGE_GRID = 32, JUDGE_EDGES = 5 };

/* One metric: error events of two arms. Plain data: copy and store it as it is. */
struct eprocess {
    double log_likelihood[JUDGE_GRID]; /* per grid point, sum over the batches */
    uint64_t candidate_events, stable_events;
    uint64_t candidate_requests, stable_requests;
};
void eprocess_init(struct eprocess *e);
/* One batch: events and requests of both arms in it. No requests in one arm, or no events: no
 * update of the evidence (the counts are kept). events <= requests. */
void eprocess_update(struct eprocess *e, uint64_t candidate_events, uint64_t candidate_requests,
                     uint64_t stable_events, uint64_t stable_requests);
/* The same against "at most `allowed` times as often as stable", allowed >= 1: the grid is of
 * ratios allowed * lambda_j, and E's expectation stays at most 1 while the true ratio is at most
 * allowed. One batch multiplies the evidence by `most` at the most: what is made smaller is an
 * e-process still, and events that have one cause (a stall of a busy machine) come in one batch. */
void eprocess_update_beyond(struct eprocess *e, double allowed, double most,
                            uint64_t candidate_events, uint64_t candidate_requests,
                            uint64_t stable_events, uint64_t stable_requests);
double eprocess_log(const struct eprocess *e); /* ln E */

/* Slow answers are a fault only beyond twice as many as stable's at the same mark. Two arms of one
 * release differ a little for good reasons (fewer instances, cold caches), and a test that never
 * stops looking finds every true difference in the end: it would roll back good releases. */
#define JUDGE_SLOWER_ALLOWED 2.0
/* Requests that are slow together are slow for one reason more often than errors are. */
#define JUDGE_SLOWER_PER_BATCH 4.0

/* ln of the beta-binomial mixture: k candidate events, m others, null share theta0, prior
 * Beta(a,b). */
double beta_binomial_log_e(double k, double m, double theta0, double a, double b);

/* An absolute ceiling p_max on one arm. Ceiling exceeded: evidence that p > p_max, mixture of
 * likelihood ratios over q = p_max * {1.25, 1.5, 2, 3, 5, 10} (those under 1). */
enum { CEILING_GRID = 6 };
struct ceiling {
    double p_max; /* 0..1; 0: not in use */
    double log_likelihood[CEILING_GRID];
    uint64_t events, requests;
};
void ceiling_init(struct ceiling *c, double p_max);
void ceiling_update(struct ceiling *c, uint64_t events, uint64_t requests);
double ceiling_log(const struct ceiling *c);

/* Bucket edges for the latency test, chosen before the batches that they judge from stable's
 * history: the bucket bounds nearest above p50, p90, p95, p99, none under `least` (differences that
 * nobody feels are no fault). counts: a histogram of `len` buckets. Gives how many distinct ones;
 * edges[i] is a bucket index: requests in buckets >= edges[i] are events. */
size_t judge_choose_edges(const uint64_t *counts, size_t len, uint32_t least,
                          uint32_t edges[JUDGE_EDGES - 1]);

/* All of one rollout. */
struct judge {
    double alpha;
    struct eprocess errors;
    uint32_t edges[JUDGE_EDGES]; /* bucket indices */
    uint32_t edges_len;
    struct eprocess latency[JUDGE_EDGES];
    struct ceiling slo_errors,
        slo_latency;       /* slo_latency: share of requests above the SLO's latency */
    uint32_t min_requests; /* the slo's */
    bool has_stable;
    uint64_t stable_above_slo; /* of errors.stable_requests */
    uint64_t silent_batches;   /* those in which an arm had no request */
};
struct judge_config {
    double alpha;
    const uint32_t *edges; /* may be none */
    uint32_t edges_len;
    double slo_error_rate;    /* 0: none */
    double slo_latency_share; /* 1 - quantile; 0: none */
    uint32_t min_requests;
    bool has_stable;
};
void judge_init(struct judge *j, const struct judge_config *config);

/* The edges, where judge_init() was given none: once stable has history enough. Only batches after
 * that enter the latency test. Copied; len <= JUDGE_EDGES. */
void judge_set_edges(struct judge *j, const uint32_t *edges, uint32_t len);

/* What one tick brought, per route: errors = the instance's 5xx + the gateway's 502/504 + cut. */
struct judge_arm {
    uint64_t requests, errors;
    uint64_t above[JUDGE_EDGES]; /* per edge */
    uint64_t above_slo;
};
/* candidate and stable of one route. With no stable at all: stable is all zeros. */
void judge_batch(struct judge *j, const struct judge_arm *candidate,
                 const struct judge_arm *stable);

enum judgement {
    JUDGEMENT_CONTINUE,
    JUDGEMENT_NO_DATA,
    JUDGEMENT_ERRORS,
    JUDGEMENT_LATENCY,
    JUDGEMENT_SLO
};
/* Roll back at E >= 1/alpha, E the weighted mean of the metrics' E (weights fixed at init). The
 * slo's ceilings count only where stable is not better to compare with: no stable, no request to
 * it, or it breaks the ceiling itself and the candidate is no better than it; and from min_requests
 * on. text: one sentence with both arms' numbers in words, also for CONTINUE and NO_DATA; appended.
 */
enum judgement judge_look(const struct judge *j, struct buf *text);

void judge_to_json(const struct judge *j, struct buf *out);
int judge_from_json(struct judge *j, const char *text, struct error *err);

#endif
