/* Inside of judge. */
#ifndef SLUICE_JUDGE_JUDGE_INTERNAL_H
#define SLUICE_JUDGE_JUDGE_INTERNAL_H

#include "judge/judge.h"

/* ln of the mean of exp(logs[i]), without overflow. */
double log_mean_exp(const double *logs, size_t len);
double curve_log_ratio(int point); /* ln(lambda) of a point of the grid */

/* What E is a mean of; extra i is METRIC_EXTRA + i. */
enum metric {
    METRIC_ERRORS,
    METRIC_LATENCY,
    METRIC_SLO_ERRORS,
    METRIC_SLO_LATENCY,
    METRIC_DIFFERENCES,
    METRIC_EXTRA,
    METRICS_COUNT = METRIC_EXTRA + JUDGE_EXTRAS
};

/* judge.c: the state of the evidence at one look. */
struct evidence {
    double weight[METRICS_COUNT];       /* 0: not configured */
    double log_e[METRICS_COUNT];        /* ln E; 0 where there is no evidence */
    double weighted_log[METRICS_COUNT]; /* ln(weight * E); -INFINITY: does not count */
    double total_log;                   /* ln E */
    enum metric strongest;
    uint32_t latency_edge; /* the edge with the most evidence */
};
void judge_weigh(const struct judge *j, double weights[METRICS_COUNT]);
void evidence_gather(const struct judge *j, struct evidence *e);
bool judge_has_slo(const struct judge *j);
/* All errors, or each client's once: those that say less about it. */
const struct curve *errors_worse(const struct judge *j);
const struct curve *errors_no_worse(const struct judge *j);

/* promote.c: of the guarded metrics; METRIC_ERRORS and METRIC_LATENCY include their slo. */
struct fineness {
    bool guarded[METRICS_COUNT];
    double log_e[METRICS_COUNT];
    enum metric last;      /* the one that is farthest from being fine */
    uint32_t latency_edge; /* the edge that is */
    bool any, all;         /* guarded at all; all of those are fine */
};
bool fineness_reached(const struct judge *j); /* any and all, as cheaply as can be */
void fineness_gather(const struct judge *j, struct fineness *f);
double judge_latency_allowed(const struct judge *j);

/* growth.c: how fast ln E grows in the mean, per event or request */
double growth_of_ratio(double share, double ratio, double null); /* per event of either arm */
double growth_of_rate(double rate, double null);                 /* per request */

/* sentence.c */
void sentence_no_data(const struct judge *j, struct buf *text);
void sentence_evidence(const struct judge *j, const struct evidence *e, enum metric metric,
                       struct buf *text);
void sentence_pass(const struct judge *j, struct buf *text);
void sentence_inconclusive(const struct judge *j, const struct fineness *f, struct buf *text);
const char *words_extra(const struct judge_extra *extra); /* what it is called in a sentence */
void words_value(struct buf *out, enum judge_extra_kind kind, double value); /* 52.3 MiB */
/* "higher by more than a factor of 2 in 17 of 19 comparisons" */
void words_pairs(struct buf *out, const struct pair_test *p, enum judge_extra_kind kind,
                 const char *higher);
/* "3% of the answers differ from stable's (12 of 400 compared), over the tolerated 0.1%; ..." */
void words_differences(const struct judge *j, struct buf *out);
void words_count(struct buf *out, uint64_t n);     /* 1,234,567 */
void words_percent(struct buf *out, double share); /* 0.5% */
/* "; 40 and 3 of these errors are repeats by the same clients"; nothing where there are none */
void words_repeats(struct buf *out, uint64_t candidate, uint64_t stable, bool has_stable);
void words_evidence(struct buf *out, double log_e, double log_bar); /* 14 of the 1,000 needed */

/* words.c: one metric, and the whole, in a sentence each */
void words_metric(const struct judge *j, const struct judge_report *r, struct metric_report *m,
                  double requests_per_s);
void words_whole(struct judge_report *r, double requests_per_s);

#endif
