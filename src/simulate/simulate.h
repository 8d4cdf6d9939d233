/* simulate: what a rollout would do, in virtual time, as often as one likes. Pure.
 *
 * In the command line's `simulate`. One run takes a spec's plan (core's plan_make) step by step,
 * draws the requests of every 100 ms, feeds them to a real judge as the controller does and does
 * what the judge says. The same simulation, seed and number give the same run, whatever other runs
 * there are, so that runs can be spread over threads.
 *
 * Modelled: plan, weights, holds and verdict steps; Poisson arrivals, split by the gateway's rule;
 * errors, each request on its own; log-normal latencies in the gateway's histogram buckets; alpha,
 * edges, slo and policies of the file; requests that wait at the gateway during a recreate.
 *
 * Not modelled: crashes, probes that fail, commands that fail or take time, approvals (given at
 * once), draining, errors that come in bursts, several routes (all traffic is one), sticky clients,
 * retries, metrics other than the requests themselves. Stable is the same spec, with history enough
 * for the latency's marks.
 *
 * Units: times in ms, rates per second, shares 0..1.
 */
#ifndef SLUICE_SIMULATE_SIMULATE_H
#define SLUICE_SIMULATE_SIMULATE_H

#include "core/core.h"
#include "spec/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the controller's judge has it while a rollout runs. */
enum { SIMULATE_TICK_MS = 100 };
#define SIMULATE_MAX_RATE 100000.0 /* requests per second */

/* Log-normal: ln(latency in ms) is normal around ln(median_ms). */
struct simulate_latency {
    double median_ms; /* > 0 */
    double sigma;     /* >= 0 */
};
double simulate_latency_quantile(const struct simulate_latency *l, double q); /* ms */
/* The distribution with these two quantiles, 0 < q1 < q2 < 1, 0 < ms1 <= ms2. */
struct simulate_latency simulate_latency_through(double q1, double ms1, double q2, double ms2);
/* The same spread, moved to where the quantile is ms. */
struct simulate_latency simulate_latency_moved(const struct simulate_latency *l, double q,
                                               double ms);

/* One minute of the app's traffic. A run begins at a minute drawn from them and goes on from there,
 * round and round; one minute alone is traffic that stays as it is. */
struct simulate_minute {
    double requests_per_s; /* 0 .. SIMULATE_MAX_RATE */
    double stable_errors;
};

struct simulate_config {
    const struct app_spec *spec;           /* outlives the simulation */
    const struct simulate_minute *minutes; /* at least one; copied */
    size_t minutes_len;
    struct simulate_latency stable, candidate;
    double candidate_errors; /* share, or, with relative, times stable's of that minute */
    bool candidate_errors_relative;
    int64_t start_ms; /* from an instance's start until it is ready */
};

struct simulation;
struct simulation *simulation_new(const struct simulate_config *config);
void simulation_free(struct simulation *s); /* NULL is fine */
/* The plan that it runs; the simulation owns it. */
const struct plan *simulation_plan(const struct simulation *s);

/* How a run ended. */
struct simulate_outcome {
    enum rollout_result result;  /* RESULT_PROMOTED, _ROLLED_BACK or _PAUSED */
    enum reason_code reason;     /* of the two latter: what decided */
    enum verdict verdict;        /* the last word of the judge */
    int64_t duration_ms;         /* from the start to that */
    int64_t exposed_ms;          /* from the candidate's first share of the traffic to that */
    uint64_t candidate_requests; /* that it has answered by then */
    uint64_t candidate_errors, stable_errors;
    uint64_t unserved;      /* gave up waiting at the gateway (503) */
    double unjudged_errors; /* of the candidate, had nobody judged: expected, whole plan */
};
/* Run `number` of this seed. May be called from several threads at once. */
void simulation_run(const struct simulation *s, uint64_t seed, uint64_t number,
                    struct simulate_outcome *out);

/* ---- what many runs say together ---- */

struct simulate_spread {
    double median, p90, most; /* all 0 where there is nothing */
};
/* X(name, word): what can decide against a candidate. */
#define SIMULATE_DECIDERS(X)                                                                       \
    X(DECIDED_BY_ERRORS, "errors")                                                                 \
    X(DECIDED_BY_LATENCY, "latency")                                                               \
    X(DECIDED_BY_SLO, "slo")                                                                       \
    X(DECIDED_BY_POLICY, "inconclusive")

enum simulate_decider {
#define X(name, word) name,
    SIMULATE_DECIDERS(X)
#undef X
        SIMULATE_DECIDERS_COUNT
};
struct simulate_summary {
    size_t runs;
    size_t promoted, rolled_back, paused; /* they sum to runs */
    size_t cleared;                       /* of the promoted: the judge had said "no worse" */
    size_t without_data;                  /* of the promoted: the judge had nothing to compare */
    size_t decided_by[SIMULATE_DECIDERS_COUNT];    /* of those rolled back or paused */
    struct simulate_spread promoted_ms;            /* durations of those that were promoted */
    struct simulate_spread stopped_ms, exposed_ms; /* of those rolled back or paused */
    struct simulate_spread candidate_requests;     /* the same: how many it took */
    struct simulate_spread failed; /* of all runs: errors of the candidate, and unserved ones */
    struct simulate_spread failed_unjudged; /* the same, had nobody judged */
};
/* runs >= 1. */
void simulate_summarize(const struct simulate_outcome *outcomes, size_t runs,
                        struct simulate_summary *out);

#endif
