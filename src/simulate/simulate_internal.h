/* Inside of simulate. */
#ifndef SLUICE_SIMULATE_INTERNAL_H
#define SLUICE_SIMULATE_INTERNAL_H

#include "base/arena.h"
#include "judge/judge.h"
#include "simulate/simulate.h"

/* ---- dice.c: xoshiro256** and what is drawn with it ---- */

struct dice {
    uint64_t state[4];
};
void dice_init(struct dice *d, uint64_t seed, uint64_t number);
uint64_t dice_next(struct dice *d);
double dice_uniform(struct dice *d); /* 0 <= x < 1 */
uint64_t dice_poisson(struct dice *d, double mean);
/* How many of n happen, each with chance p. Above a variance of some hundreds a rounded normal. */
uint64_t dice_binomial(struct dice *d, uint64_t n, double p);

/* ---- marks.c: the latencies that the judge counts above ---- */

enum { MARKS_MAX = JUDGE_EDGES + 1 };
struct marks {
    uint32_t edges[JUDGE_EDGES]; /* bucket indices: the judge's */
    uint32_t edges_len;
    /* Rising, so that a request above one is above all before it. */
    struct mark {
        uint32_t edge; /* index in edges; JUDGE_EDGES: the slo's */
        uint32_t bucket;
        double stable, candidate; /* chance of being above */
    } items[MARKS_MAX];
    size_t len;
};
void marks_choose(struct marks *m, const struct simulate_config *config);

/* ---- verdict.c: the judge, asked as the controller asks it ---- */

void verdict_begin(struct judge *j, const struct app_spec *spec, const struct marks *marks);
/* Cheap: false where the judge cannot say "roll back" now. */
bool verdict_may_condemn(const struct judge *j);
enum verdict verdict_ask(const struct judge *j, enum reason_code *reason);

/* ---- run.c ---- */

struct simulation {
    struct simulate_config config;
    struct simulate_minute *minutes;
    struct marks marks;
    struct arena memory; /* of the plan */
    struct plan plan;
};

#endif
