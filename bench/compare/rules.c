#include "compare.h"

#include "judge/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SHARE = COMPARE_SHARE_PERCENT / 100.0;
static const double Z_ONE_PERCENT = 2.3263479;
/* Nobody would test less than that by a normal approximation. */
enum { WINDOW_S = 60, Z_TEST_LEAST = 50 };

const char *rule_label(enum rule rule)
{
    static const char *const labels[RULES_COUNT] = {
#define X(name, label) [name] = label,
        RULES(X)
#undef X
    };
    return labels[rule];
}

/* splitmix64 */
static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

struct run {
    int stopped[RULES_COUNT];           /* 0: not yet */
    struct judge_arm candidate, stable; /* of this second */
    double nc, c, nb, b;
    int second;
    int window_requests[WINDOW_S], window_errors[WINDOW_S];
    struct judge judge[2];
};

static void stop(struct run *r, enum rule rule, int request)
{
    if (r->stopped[rule] == 0)
        r->stopped[rule] = request;
}

static bool z_test(const struct run *r)
{
    double d = r->c / r->nc - r->b / r->nb, p = (r->c + r->b) / (r->nc + r->nb);
    return d > 0 && d * d > Z_ONE_PERCENT * Z_ONE_PERCENT * p * (1 - p) * (1 / r->nc + 1 / r->nb);
}

/* From the first full window on. */
static bool window(struct run *r)
{
    int requests = 0, errors = 0;
    r->window_requests[r->second % WINDOW_S] = (int)r->candidate.requests;
    r->window_errors[r->second % WINDOW_S] = (int)r->candidate.errors;
    for (int i = 0; i < WINDOW_S; i++) {
        requests += r->window_requests[i];
        errors += r->window_errors[i];
    }
    return r->second + 1 >= WINDOW_S && errors > .01 * requests;
}

static void each_second(struct run *r, int request)
{
    if (window(r))
        stop(r, RULE_WINDOW, request);
    for (int i = 0; i < 2; i++) {
        enum rule rule = i == 0 ? RULE_SLUICE : RULE_SLUICE_DEFAULT;
        if (r->stopped[rule] != 0)
            continue;
        judge_batch(&r->judge[i], &r->candidate, &r->stable);
        if (judgement_rolls_back(judge_verdict(&r->judge[i])))
            stop(r, rule, request);
    }
    r->candidate = r->stable = (struct judge_arm){0};
    r->second++;
}

static void run_one(const struct scenario *s, uint64_t *dice, struct run *r)
{
    memset(r, 0, sizeof *r);
    judge_init(&r->judge[0], &(struct judge_config){.alpha = .01, .has_stable = true});
    judge_init(&r->judge[1], &(struct judge_config){.alpha = .001, .has_stable = true});
    for (int request = 1; request <= COMPARE_REQUESTS; request++) {
        bool mine = uniform(dice) < SHARE;
        bool error = uniform(dice) < (mine ? s->candidate_rate : s->stable_rate);
        struct judge_arm *arm = mine ? &r->candidate : &r->stable;
        arm->requests++;
        arm->errors += error;
        *(mine ? &r->nc : &r->nb) += 1;
        *(mine ? &r->c : &r->b) += error;
        if (r->stopped[RULE_Z_TEST] == 0 && r->nc >= Z_TEST_LEAST && z_test(r))
            stop(r, RULE_Z_TEST, request);
        if (request % s->requests_per_s == 0)
            each_second(r, request);
    }
    if (z_test(r))
        stop(r, RULE_FIXED, COMPARE_REQUESTS);
}

static int rising(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void scenario_run(struct scenario *s, int runs)
{
    uint64_t dice = 2026;
    s->runs = runs;
    for (int rule = 0; rule < RULES_COUNT; rule++) {
        s->stopped[rule] = calloc((size_t)runs, sizeof *s->stopped[rule]);
        if (s->stopped[rule] == NULL)
            abort();
    }
    for (int i = 0; i < runs; i++) {
        struct run r;
        run_one(s, &dice, &r);
        for (int rule = 0; rule < RULES_COUNT; rule++)
            s->stopped[rule][i] = r.stopped[rule] != 0 ? r.stopped[rule] : COMPARE_REQUESTS + 1;
    }
    for (int rule = 0; rule < RULES_COUNT; rule++)
        qsort(s->stopped[rule], (size_t)runs, sizeof *s->stopped[rule], rising);
}

void scenario_release(struct scenario *s)
{
    for (int rule = 0; rule < RULES_COUNT; rule++)
        free(s->stopped[rule]);
}

double scenario_share(const struct scenario *s, enum rule rule, int requests)
{
    int low = 0, high = s->runs; /* the first that stopped later */
    while (low < high) {
        int middle = (low + high) / 2;
        if (s->stopped[rule][middle] <= requests)
            low = middle + 1;
        else
            high = middle;
    }
    return (double)low / s->runs;
}

double scenario_median(const struct scenario *s, enum rule rule)
{
    int at = s->stopped[rule][s->runs / 2];
    return at <= COMPARE_REQUESTS ? at * SHARE : -1;
}
