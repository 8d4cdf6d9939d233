/* Both sides by simulation from fixed seeds: how often a good release is rolled back although it is
 * looked at after every batch, and how soon a bad one is. */
#include "worlds.h"

static struct judge errors_only(double alpha)
{
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = alpha, .has_stable = true});
    return j;
}

static bool rolled_back(const struct judge *j)
{
    return judgement_rolls_back(judge_verdict(j));
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
        if (curve_worse_most(&j.errors) >= -log(.01) && rolled_back(&j))
            return true;
    }
    return false;
}

static void good_releases_stay(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        world_fn world;
    } worlds[] = {{"independent", independent},
                  {"round robin", round_robin},
                  {"a ramp", ramped},
                  {"skewed shares", skewed},
                  {"shared incidents", incidents}};
    for (size_t w = 0; w < sizeof worlds / sizeof worlds[0]; w++) {
        struct dice dice = {2026 + w};
        int alarms = 0;
        for (int i = 0; i < runs(); i++)
            alarms += run_errors(&dice, worlds[w].world);
        expect_few(alarms, runs(), .01, worlds[w].name);
    }
}

/* ---- all metrics together
 * ---------------------------------------------------------------------------- */

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
    for (int batch = 0; batch < 120; batch++) {
        struct judge_arm candidate, stable;
        uint64_t requests = dice_binomial(dice, 200, .1);
        draw_arm(dice, &candidate, requests, error_rate, slower);
        draw_arm(dice, &stable, 200 - requests, .005, 1);
        judge_batch(&j, &candidate, &stable);
        *judgement = judge_verdict(&j);
        if (judgement_rolls_back(*judgement))
            return j.errors.candidate_requests;
    }
    return 0;
}

static void good_releases_stay_with_all_metrics_on(void **state)
{
    (void)state;
    struct dice dice = {77};
    int alarms = 0;
    enum judgement judgement;
    for (int i = 0; i < runs() / 4; i++)
        alarms += run_all(&dice, .005, 1, &judgement) != 0;
    expect_few(alarms, runs() / 4, .01, "errors, latency and slo");
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
        int times = 2000;
        for (int run = 0; run < times; run++) {
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
        requests /= times;
        print_message("error rate %g: rolled back after %.1f requests (exact %.1f)\n", cases[i][0],
                      requests, cases[i][1]);
        assert_true(requests > cases[i][1] * .9 && requests < cases[i][1] * 1.1 + 1);
    }
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* 100 requests a second, one-second batches, a tenth of them the candidate's. */
static double median_requests(struct dice *dice, double rate)
{
    int times = runs();
    double *seen = calloc((size_t)times, sizeof *seen);
    assert_non_null(seen);
    for (int run = 0; run < times; run++) {
        struct judge j = errors_only(.01);
        do {
            struct judge_arm candidate = {.requests = dice_binomial(dice, 100, .1)}, stable;
            stable = (struct judge_arm){.requests = 100 - candidate.requests};
            candidate.errors = dice_binomial(dice, candidate.requests, rate);
            stable.errors = dice_binomial(dice, stable.requests, .005);
            judge_batch(&j, &candidate, &stable);
        } while (curve_worse_log(&j.errors) < -log(.01));
        seen[run] = (double)j.errors.candidate_requests;
    }
    qsort(seen, (size_t)times, sizeof *seen, rising);
    double median = seen[times / 2];
    free(seen);
    return median;
}

static void half_of_the_bad_releases_are_seen_by_then(void **state)
{
    (void)state;
    struct dice dice = {31};
    double five = median_requests(&dice, .05), half = median_requests(&dice, .5);
    print_message("median requests to roll back: %.0f at 5%% errors, %.0f at 50%%\n", five, half);
    assert_true(five <= 120);
    assert_true(half <= 15);
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
        cmocka_unit_test(half_of_the_bad_releases_are_seen_by_then),
        cmocka_unit_test(five_percent_of_errors_are_seen_early_with_all_metrics_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
