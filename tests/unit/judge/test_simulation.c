/* Both sides by simulation from fixed seeds: how often a good release is rolled back although it is
 * looked at after every batch, and how soon a bad one is. */
#include "ground.h"

enum { RUNS = 10000, BATCHES = 120 };

struct tick {
    uint64_t candidate, stable; /* requests */
    double candidate_rate, stable_rate;
};
typedef struct tick (*world_fn)(struct dice *dice, int batch, double *memory);

/* Every request is drawn on its own. */
static struct tick independent(struct dice *dice, int batch, double *memory)
{
    (void)batch;
    (void)memory;
    uint64_t candidate = dice_binomial(dice, 200, .1);
    return (struct tick){candidate, 200 - candidate, .005, .005};
}
static struct tick round_robin(struct dice *dice, int batch, double *memory)
{
    (void)dice;
    (void)batch;
    (void)memory;
    return (struct tick){20, 180, .005, .005};
}
/* The share climbs in steps, wanders around each, and the error rate of both grows tenfold on the
 * way: a test with the configured weight, or one that pools over the ramp, falls for it. */
static struct tick skewed(struct dice *dice, int batch, double *memory)
{
    (void)memory;
    static const double shares[] = {.05, .1, .25, .5, .75, .95};
    double share = shares[batch * 6 / BATCHES] * (.5 + dice_uniform(dice) / 2);
    double rate = .002 + .02 * batch / BATCHES;
    uint64_t all = 100 + (uint64_t)(dice_uniform(dice) * 300);
    uint64_t candidate = dice_binomial(dice, all, share);
    return (struct tick){candidate, all - candidate, rate, rate};
}
/* A database that is down now and then: 30 % of all requests fail, wherever they go. */
static struct tick incidents(struct dice *dice, int batch, double *memory)
{
    (void)batch;
    if (dice_uniform(dice) < .05)
        *memory = *memory > 0 ? 0 : .3;
    uint64_t candidate = dice_binomial(dice, 200, .1);
    return (struct tick){candidate, 200 - candidate, .005 + *memory, .005 + *memory};
}

static struct judge errors_only(double alpha)
{
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = alpha, .has_stable = true});
    return j;
}

static bool rolled_back(const struct judge *j)
{
    struct buf text = BUF_INIT;
    enum judgement judgement = judge_look(j, &text);
    buf_release(&text);
    return judgement_rolls_back(judgement);
}

static bool run_errors(struct dice *dice, world_fn world)
{
    struct judge j = errors_only(.01);
    double memory = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        struct tick t = world(dice, batch, &memory);
        struct judge_arm candidate = {.requests = t.candidate,
                                      .errors = dice_binomial(dice, t.candidate, t.candidate_rate)};
        struct judge_arm stable = {.requests = t.stable,
                                   .errors = dice_binomial(dice, t.stable, t.stable_rate)};
        judge_batch(&j, &candidate, &stable);
        /* The same look as judge_look()'s, without the sentence: that would be most of the time. */
        if (curve_worse_log(&j.errors) >= -log(.01))
            return rolled_back(&j);
    }
    return false;
}

/* At most alpha, and three standard deviations of the simulation. */
static void expect_few(int alarms, int runs, double alpha, const char *what)
{
    double most = runs * alpha + 3 * sqrt(runs * alpha * (1 - alpha));
    if (alarms > most)
        fail_msg("%s: %d of %d good releases were rolled back", what, alarms, runs);
    print_message("%s: %.2f%% of good releases rolled back (at most %.2f%%)\n", what,
                  100.0 * alarms / runs, 100 * alpha);
}

static void good_releases_stay(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        world_fn world;
    } worlds[] = {{"independent", independent},
                  {"round robin", round_robin},
                  {"skewed shares on a ramp", skewed},
                  {"shared incidents", incidents}};
    for (size_t w = 0; w < 4; w++) {
        struct dice dice = {2026 + w};
        int alarms = 0;
        for (int i = 0; i < RUNS; i++)
            alarms += run_errors(&dice, worlds[w].world);
        expect_few(alarms, RUNS, .01, worlds[w].name);
    }
}

/* ---- all metrics together
 * ---------------------------------------------------------------------------- */

/* Requests over the edges p50, p90, p95, p99 of stable: nested, as bucket counts are. */
static void draw_arm(struct dice *dice, struct judge_arm *arm, uint64_t requests, double error_rate,
                     double slower)
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

/* -> candidate requests until it was rolled back, 0: it was not. */
static uint64_t run_all(struct dice *dice, double error_rate, double slower,
                        enum judgement *judgement)
{
    static const uint32_t edges[4] = {10, 20, 30, 40};
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = .01,
                                          .edges = edges,
                                          .edges_len = 4,
                                          .slo_error_rate = .02,
                                          .slo_latency_share = .05,
                                          .min_requests = 50,
                                          .has_stable = true});
    struct buf text = BUF_INIT;
    for (int batch = 0; batch < BATCHES; batch++) {
        struct judge_arm candidate, stable;
        uint64_t requests = dice_binomial(dice, 200, .1);
        draw_arm(dice, &candidate, requests, error_rate, slower);
        draw_arm(dice, &stable, 200 - requests, .005, 1);
        judge_batch(&j, &candidate, &stable);
        buf_clear(&text);
        *judgement = judge_look(&j, &text);
        if (judgement_rolls_back(*judgement)) {
            buf_release(&text);
            return j.errors.candidate_requests;
        }
    }
    buf_release(&text);
    return 0;
}

static void good_releases_stay_with_all_metrics_on(void **state)
{
    (void)state;
    struct dice dice = {77};
    int alarms = 0;
    enum judgement judgement;
    for (int i = 0; i < RUNS / 4; i++)
        alarms += run_all(&dice, .005, 1, &judgement) != 0;
    expect_few(alarms, RUNS / 4, .01, "errors, latency and slo");
}

static void slow_releases_go(void **state)
{
    (void)state;
    struct dice dice = {78};
    int gone = 0, by_latency = 0;
    double requests = 0;
    for (int i = 0; i < 500; i++) {
        enum judgement judgement;
        uint64_t seen = run_all(&dice, .005, 8, &judgement);
        gone += seen != 0;
        by_latency += seen != 0 && judgement == JUDGEMENT_LATENCY;
        requests += (double)seen;
    }
    print_message("eight times as many slow answers: %d of 500 rolled back after %.0f requests\n",
                  gone, requests / gone);
    assert_true(gone >= 499);
    assert_true(by_latency >= 490);
    assert_true(requests / gone < 300);
}

static void releases_that_are_a_little_slower_stay(void **state)
{
    (void)state;
    struct dice dice = {79};
    int gone = 0;
    for (int i = 0; i < 500; i++) {
        enum judgement judgement;
        gone += run_all(&dice, .005, 1.6, &judgement) != 0;
    }
    expect_few(gone, 500, .01, "1.6 times as many slow answers");
}

/* ---- power
 * ------------------------------------------------------------------------------------------- */

static void bad_releases_go_about_as_soon_as_is_possible(void **state)
{
    (void)state;
    /* Error rate; candidate requests that it takes if every single error is looked at. Ten requests
     * a batch, one of them the candidate's, add one at the most. */
    static const double cases[][2] = {{.02, 569.6}, {.05, 107.8}, {.10, 40.8}, {.50, 6.5}};
    for (size_t i = 0; i < 4; i++) {
        struct dice dice = {900 + i};
        double requests = 0;
        int runs = 2000;
        for (int run = 0; run < runs; run++) {
            struct judge j = errors_only(.01);
            do {
                struct judge_arm candidate = {.requests = 1,
                                              .errors = dice_binomial(&dice, 1, cases[i][0])};
                struct judge_arm stable = {.requests = 9, .errors = dice_binomial(&dice, 9, .005)};
                judge_batch(&j, &candidate, &stable);
                if (j.errors.candidate_requests > 20000)
                    fail_msg("no power at an error rate of %g", cases[i][0]);
            } while (curve_worse_log(&j.errors) < -log(.01));
            requests += (double)j.errors.candidate_requests;
        }
        requests /= runs;
        print_message("error rate %g: rolled back after %.1f requests (exact %.1f)\n", cases[i][0],
                      requests, cases[i][1]);
        assert_true(requests > cases[i][1] * .9 && requests < cases[i][1] * 1.1 + 1);
    }
}

/* The default alpha, with everything configured: what a user gets. */
static void five_percent_of_errors_are_seen_early_with_all_metrics_on(void **state)
{
    (void)state;
    struct dice dice = {5};
    double requests = 0;
    int gone = 0;
    for (int i = 0; i < 1000; i++) {
        enum judgement judgement;
        uint64_t seen = run_all(&dice, .05, 1, &judgement);
        gone += seen != 0;
        requests += (double)seen;
    }
    print_message("5%% errors, all metrics on: rolled back after %.0f requests\n", requests / gone);
    assert_true(gone >= 999);
    assert_true(requests / gone < 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_releases_stay),
        cmocka_unit_test(good_releases_stay_with_all_metrics_on),
        cmocka_unit_test(slow_releases_go),
        cmocka_unit_test(releases_that_are_a_little_slower_stay),
        cmocka_unit_test(bad_releases_go_about_as_soon_as_is_possible),
        cmocka_unit_test(five_percent_of_errors_are_seen_early_with_all_metrics_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
