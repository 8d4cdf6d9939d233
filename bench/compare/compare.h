/* Common rules for rolling back, and sluice's, on the same simulated traffic. */
#ifndef BENCH_JUDGE_COMPARE_H
#define BENCH_JUDGE_COMPARE_H

#include <stdio.h>

/* X(name, label) */
#define RULES(X)                                                                                   \
    X(RULE_WINDOW, "error rate > 1 % over 60 s")                                                   \
    X(RULE_Z_TEST, "z-test at each request, p = 1 %")                                              \
    X(RULE_FIXED, "z-test once, after 20,000 requests")                                            \
    X(RULE_SLUICE, "sluice, alpha 1 %")                                                            \
    X(RULE_SLUICE_DEFAULT, "sluice, alpha 0.1 % (default)")
enum rule {
#define X(name, label) name,
    RULES(X)
#undef X
        RULES_COUNT
};
const char *rule_label(enum rule rule);

enum { COMPARE_REQUESTS = 20000, COMPARE_SHARE_PERCENT = 10 };

/* One kind of release and of traffic: what each rule did in each of the runs. */
struct scenario {
    const char *name;
    double candidate_rate, stable_rate;
    int requests_per_s;
    int runs;
    int *stopped[RULES_COUNT]; /* [runs]: requests until it rolled back, rising; those that never:
                                  at the end, COMPARE_REQUESTS + 1 */
};
/* Allocates stopped[]. */
void scenario_run(struct scenario *s, int runs);
void scenario_release(struct scenario *s);
double scenario_share(const struct scenario *s, enum rule rule, int requests); /* stopped by then */
/* Candidate requests until half of the runs were rolled back; negative: fewer than half are. */
double scenario_median(const struct scenario *s, enum rule rule);

/* svg.c: rolled back over time, of a good and of a bad release. */
void svg_write(FILE *out, const struct scenario *good, const struct scenario *bad);

#endif
