/* judge: is the candidate worse than stable? Is it as good? Sequential tests that may be looked at
 * at any time.
 *
 * Pure, in the controller and the simulator. evidence.h has the building blocks; this is the judge
 * of one rollout, what it tells people, and what it can find at a given traffic. docs/judge.md
 * explains it, tests/unit/judge has the numbers.
 *
 * Roll back: each metric has an e-process E_i whose null is "no worse"; E = sum of w_i * E_i with
 * weights fixed at init, and P(E ever >= 1/alpha) <= alpha for a release that is no worse.
 * Promote: each guarded metric has an e-process whose null is "worse than allowed in every way that
 * counts": more than allowed = 1 + max_worse times stable's rate AND over the slo's ceiling. The
 * mean of the two e-processes serves that null. When all metrics have 1/alpha_pass: PASS; the
 * chance to pass a release of which one metric is that bad is at most alpha_pass, however many
 * there are.
 *
 * Errors are compared twice: all of them, and each client's once (retries make many errors out of
 * one fault). The first is sound where requests fail independently of each other, the second where
 * clients do; neither always is: a client that retries breaks the first, one that sends most of an
 * arm's requests the second. The lesser of the two e-processes is one wherever either is, so that
 * is what counts, to roll back and to pass. Ceilings are about requests: they take all errors.
 */
#ifndef SLUICE_JUDGE_JUDGE_H
#define SLUICE_JUDGE_JUDGE_H

#include "judge/evidence.h"

enum { JUDGE_MARKS = 4, JUDGE_EDGES = 5, JUDGE_EXTRAS = 10, JUDGE_NAME_MAX = 48 };

/* Slow answers are a fault only beyond twice as many as stable's at the same mark. Two arms of one
 * release differ a little for good reasons (fewer instances, cold caches), and a test that never
 * stops looking finds every true difference in the end: it would roll back good releases. For the
 * same reason a candidate need not be shown to be better than that to pass: the ratio to be ruled
 * out for latency is the larger of this and 1 + max_worse. */
#define JUDGE_SLOWER_ALLOWED 2.0
/* Marks that hardly any request of the candidate exceeds are fine without a comparison: 99 % of its
 * answers are faster. (No test of a ratio ever ends where nothing exceeds the mark in either arm.)
 */
#define JUDGE_SLOWER_NEGLIGIBLE 0.01
/* What is shown to people is sure to 99 %, at any time. */
#define JUDGE_SHOWN_ALPHA 0.01

/* What is slow: the bucket bounds nearest above p50, p90, p95, p99 of stable's history, none under
 * `least` (differences that nobody feels are no fault). counts: a histogram of `len` buckets.
 * marks[i] is a bucket index, requests in buckets >= marks[i] are events; `len` where nothing lies
 * above. What is slow for one route is usual for another, so each may have its own: the null, "no
 * more events than stable has in this batch", knows of no mark, and a choice made before the batch
 * cannot favour a result. */
void judge_choose_marks(const uint64_t *counts, size_t len, uint32_t least,
                        uint32_t marks[JUDGE_MARKS]);
/* The same, each once and rising, without those that nothing lies above. Gives how many. */
size_t judge_choose_edges(const uint64_t *counts, size_t len, uint32_t least,
                          uint32_t edges[JUDGE_MARKS]);

/* X(name, word, title): what a compared number is. All but the asked ones are what the instances
 * themselves use: they can roll back, with a small part of alpha, but passing does not wait for
 * them, and they say nothing of a candidate that nobody visited. */
#define JUDGE_EXTRA_KINDS(X)                                                                       \
    X(EXTRA_ASKED, "asked", "") /* a metric of the spec; it has a name of its own */               \
    X(EXTRA_MEMORY, "memory", "memory per instance")   /* bytes */                                 \
    X(EXTRA_CPU, "cpu-per-request", "CPU per request") /* microseconds */
enum judge_extra_kind {
#define X(name, word, title) name,
    JUDGE_EXTRA_KINDS(X)
#undef X
        EXTRA_KINDS
};
const char *judge_extra_word(enum judge_extra_kind kind);

/* A number from elsewhere that is compared with stable's: see struct pair_test. */
struct judge_extra {
    char name[JUDGE_NAME_MAX];
    enum judge_extra_kind kind;
    struct pair_test test;
};

struct judge {
    double alpha, alpha_pass;
    double allowed;              /* 1 + max_worse: the ratio of error rates to be ruled out */
    struct curve errors;         /* all of them */
    struct curve errors_once;    /* without repeats; the same requests */
    uint32_t edges[JUDGE_EDGES]; /* bucket indices */
    uint32_t edges_len;
    struct curve latency[JUDGE_EDGES];
    struct tail tail[JUDGE_EDGES];
    struct ceiling slo_errors, slo_latency; /* slo_latency: share of requests above the latency */
    struct ceiling negligible_errors;       /* to promote only */
    uint64_t candidate_above_slo, stable_above_slo; /* of the errors' requests */
    uint32_t min_requests;                          /* the slo's */
    bool has_stable;
    uint64_t silent_batches;            /* those in which an arm had no request */
    struct difference_test differences; /* of copies of requests */
    struct judge_extra extras[JUDGE_EXTRAS];
    uint32_t extras_len;
};
struct judge_config {
    double alpha;
    double alpha_pass;     /* 0: 5 % */
    double max_worse;      /* 0: 1.0, no worse than twice stable's error rate */
    const uint32_t *edges; /* may be none */
    uint32_t edges_len;
    double slo_error_rate;    /* 0: none */
    double slo_latency_share; /* 1 - quantile; 0: none */
    /* Without an slo's error rate: one that is fine without a comparison; 0: none. Without it an
     * app whose two releases never fail cannot pass, for nothing can be compared. */
    double negligible_error_rate;
    uint32_t min_requests;
    bool has_stable;
    bool compares_answers; /* judge_differed() will be called */
    double differences;    /* share of the pairs of answers that may differ, 0..1 */
    /* Name, kind, test.tolerance and test.less_is_worse; copied. */
    const struct judge_extra *extras;
    uint32_t extras_len; /* <= JUDGE_EXTRAS; none without a stable release */
};
void judge_init(struct judge *j, const struct judge_config *config);

/* The edges, where judge_init() was given none: once stable has history enough. Only batches after
 * that enter the latency test. Copied; len <= JUDGE_EDGES. They are kept for the caller, who counts
 * what is above. */
void judge_set_edges(struct judge *j, const uint32_t *edges, uint32_t len);

/* What one tick brought, per route: errors = the instance's 5xx + the gateway's 502/504 + cut;
 * repeats: of the errors, those of a client that had one in either arm just before. */
struct judge_arm {
    uint64_t requests, errors, repeats;
    uint64_t above[JUDGE_EDGES]; /* per edge */
    uint64_t above_slo;
};
/* candidate and stable of one route. With no stable at all: stable is all zeros. */
void judge_batch(struct judge *j, const struct judge_arm *candidate,
                 const struct judge_arm *stable);

/* What one route brought that is not compared yet; all zeros at first.
 *
 * A comparison goes by the candidate's share of the batch's requests. In a batch of one request
 * there is nothing to compare, and in one of very few the share is far above the traffic's, so that
 * an error says next to nothing. So a batch is as long as it takes until both arms have enough.
 * When it ends depends on requests and on time, never on which of them failed: else the evidence
 * would be none. */
struct judge_gathering {
    struct judge_arm candidate, stable;
    int64_t since_ms; /* of the first request in it */
};
enum {
    JUDGE_BATCH_REQUESTS = 5,    /* of each arm: it is compared at once */
    JUDGE_BATCH_FEW_MS = 10000,  /* then one of each is enough */
    JUDGE_BATCH_MOST_MS = 60000, /* then it is over; an arm without any: nothing is compared */
};
/* What a tick brought: it is counted now, and compared when its batch ends; to be called at each
 * tick. ends: now (the shares of the traffic change). now_ms: any clock. */
void judge_gather(struct judge *j, struct judge_gathering *g, const struct judge_arm *candidate,
                  const struct judge_arm *stable, bool ends, int64_t now_ms);
/* Pairs of answers since the last call; only where the config says that they are compared. */
void judge_differed(struct judge *j, const struct judge_compared *more);
/* A pair of values of extra metric `extra` < extras_len, taken at about the same time; NaN: none.
 */
void judge_pair(struct judge *j, uint32_t extra, double candidate, double stable);
/* Of what the instances use: its test, to count pairs by; NULL: it is not compared. */
struct pair_test *judge_used(struct judge *j, enum judge_extra_kind kind);

/* X(name, word) */
#define JUDGEMENTS(X)                                                                              \
    X(JUDGEMENT_CONTINUE, "continue")         /* not decided yet */                                \
    X(JUDGEMENT_NO_DATA, "no-data")           /* nothing to judge by yet */                        \
    X(JUDGEMENT_PASS, "pass")                 /* every guarded metric is fine */                   \
    X(JUDGEMENT_INCONCLUSIVE, "inconclusive") /* the time is over, nothing was decided */          \
    X(JUDGEMENT_ERRORS, "errors")             /* the rest: roll back, because of ... */            \
    X(JUDGEMENT_LATENCY, "latency")                                                                \
    X(JUDGEMENT_SLO, "slo")                                                                        \
    X(JUDGEMENT_METRIC, "metric") /* an extra one */                                               \
    X(JUDGEMENT_DIFFERENCES, "differences")
enum judgement {
#define X(name, word) name,
    JUDGEMENTS(X)
#undef X
        JUDGEMENTS_COUNT
};
const char *judgement_word(enum judgement judgement);
bool judgement_rolls_back(enum judgement judgement);

/* Roll back at E >= 1/alpha. The slo's ceilings count against a candidate only where stable is not
 * better to compare with: no stable, no request to it, or it breaks the ceiling itself and the
 * candidate is no better than it; and from min_requests on. */
enum judgement judge_verdict(const struct judge *j);
/* The same; text: one sentence with both arms' numbers in words, whatever the verdict; appended. */
enum judgement judge_look(const struct judge *j, struct buf *text);
/* At the end of a hold: CONTINUE becomes INCONCLUSIVE, and the text says what is missing. */
enum judgement judge_at_end(const struct judge *j, struct buf *text);

void judge_to_json(const struct judge *j, struct buf *out);
/* *j is left as it was on an error: also evidence of an earlier version is refused, and the judge
 * begins anew (which can cost time, never a false verdict). */
int judge_from_json(struct judge *j, const char *text, struct error *err);

/* ---- explain.c: the numbers behind a look, and each metric in a sentence */

enum { JUDGE_METRICS_MAX = 5 + JUDGE_EXTRAS, JUDGE_TEXT_MAX = 400 };
struct metric_report {
    const char *name; /* "errors", "latency", "slo-errors", "slo-latency", "differences" or the
                       * extra's; borrowed */
    bool is_pair;     /* an extra: events are the pairs in which the candidate was worse */
    uint64_t candidate_events, candidate_requests, stable_events, stable_requests;
    uint64_t candidate_repeats, stable_repeats; /* of the events; "errors" only */
    /* Rates and where they lie, at any time; a pair: the last values, no interval. */
    double candidate_rate, candidate_low, candidate_high;
    double stable_rate, stable_low, stable_high;
    double ratio, ratio_low, ratio_high; /* NaN, 0, INFINITY where unknown */
    bool ratio_moved;                    /* it changed during the rollout */
    double weight;
    double log_e;     /* ln E_i */
    double log_worse; /* ln (w_i * E_i), -INFINITY: does not count; rolls back at report.log_bar */
    bool guarded;     /* has to be fine to pass */
    double log_fine;  /* ln of the e-process for promotion; fine at report.log_pass_bar */
    bool fine;
    /* More requests of the candidate until it rolls back, or is fine, if the present estimate is
     * the truth; a pair: more pairs. INFINITY: not with this estimate. */
    double needs_to_roll_back, needs_to_pass;
    char text[JUDGE_TEXT_MAX];
};
struct judge_report {
    enum judgement judgement;
    double log_e, log_bar, log_pass_bar;
    /* Candidate requests and seconds (at the rate given; INFINITY at 0) until the verdict that the
     * estimates point to. */
    double needs_requests, needs_s;
    size_t len;
    struct metric_report metrics[JUDGE_METRICS_MAX];
    char text[JUDGE_TEXT_MAX]; /* of the whole */
};
/* requests_per_s_candidate: its present rate, 0: unknown. */
void judge_explain(const struct judge *j, double requests_per_s_candidate,
                   struct judge_report *out);

/* ---- plan.c: what a hold can find, before there is any data */

/* The errors' part of alpha: what judge_detectable() and judge_passes_after() are to be asked with.
 */
double judge_errors_alpha(const struct judge_config *config);
/* The smallest error rate of the candidate that is rolled back within the hold with a chance of
 * 80 %, where stable's is base_rate; above 1: none. share: the candidate's, 0 < share < 1. */
double judge_detectable(double alpha, double share, double base_rate, double requests_per_s,
                        double hold_s);
/* How long a hold it takes to find `rate` with that chance, in s; INFINITY: longer than most_s. */
double judge_hold_for(double alpha, double share, double base_rate, double rate,
                      double requests_per_s, double most_s);
/* Errors of both arms together that it takes to pass a candidate which equals stable. */
double judge_errors_to_pass(double alpha_pass, double share, double max_worse);
/* Requests of the candidate that it takes to show, with `rate` < ceiling, that it keeps it. */
double judge_requests_to_keep(double alpha_pass, double ceiling, double rate);

#endif
