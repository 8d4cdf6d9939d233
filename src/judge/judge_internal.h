/* Inside of judge. */
#ifndef SLUICE_JUDGE_JUDGE_INTERNAL_H
#define SLUICE_JUDGE_JUDGE_INTERNAL_H

#include "judge/judge.h"

/* ln of the sum of weight * exp(logs[i]): without overflow. weight is the same for all. */
double log_mean_exp(const double *logs, size_t len);

/* X(name): what E is the mean of. */
#define METRICS(X)                                                                                 \
    X(METRIC_ERRORS)                                                                               \
    X(METRIC_LATENCY)                                                                              \
    X(METRIC_SLO_ERRORS)                                                                           \
    X(METRIC_SLO_LATENCY)
enum metric {
#define X(name) name,
    METRICS(X)
#undef X
        METRICS_COUNT
};

/* judge.c: the state of the evidence at one look. */
struct evidence {
    double weighted_log[METRICS_COUNT]; /* ln(weight * E); -INFINITY: does not count */
    double total_log;                   /* ln E */
    enum metric strongest;
    uint32_t latency_edge; /* the edge with the most evidence */
};
void evidence_gather(const struct judge *j, struct evidence *e);

/* sentence.c */
void sentence_no_data(const struct judge *j, struct buf *text);
void sentence_evidence(const struct judge *j, const struct evidence *e, enum metric metric,
                       struct buf *text);

#endif
