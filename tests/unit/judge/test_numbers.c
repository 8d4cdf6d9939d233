/* The judge against numbers that were computed elsewhere, and against exact dynamic programs. */
#include "ground.h"

#include <stdlib.h>

static void the_building_block(void **state)
{
    (void)state;
    assert_near(beta_log_e(14, 45, .1, 1, 9), 2.740547, 1e-5);
    assert_near(beta_log_e(14, 45, .1, 1, 1), 2.664396, 1e-5);
    assert_near(exp(beta_log_e(3, 0, .1, 1, 1)), 250, 1e-5 * 250);
    assert_near(beta_log_e(0, 0, .1, 1, 9), 0, 1e-12);
}

static void the_confidence_sequence_in_closed_form(void **state)
{
    (void)state;
    double low, high;
    beta_ratio_interval(14, 45, .1, 1, 9, .01, &low, &high);
    assert_near(low, .80591, 1e-5);
    assert_near(high, 7.80787, 1e-5);
    /* Its ends are where E is the bar, the share itself is inside. */
    beta_interval(14, 45, 1, 9, .01, &low, &high);
    assert_near(beta_log_e(14, 45, low, 1, 9), log(100), 1e-9);
    assert_near(beta_log_e(14, 45, high, 1, 9), log(100), 1e-9);
    assert_true(low < 14.0 / 59 && high > 14.0 / 59);
    beta_interval(0, 50, .5, .5, .01, &low, &high);
    assert_near(low, 0, 0);
    assert_near(beta_log_e(0, 50, high, .5, .5), log(100), 1e-9);
    beta_ratio_interval(8, 0, .1, 1, 9, .01, &low, &high);
    assert_true(low > 1 && isinf(high));
    rate_interval(0, 0, .01, &low, &high);
    assert_true(low == 0 && high == 1);
    rate_interval(3, 1000000000, .01, &low, &high);
    assert_true(low > 1e-12 && low < 3e-9 && high > 3e-9 && high < 1e-7);
}

static void non_inferiority(void **state)
{
    (void)state;
    struct curve c;
    curve_init(&c);
    feed_curve(&c, 12, 1000, 168, 9000);
    assert_near(curve_no_worse_log(&c), 9.22865, 1e-5);
    curve_init(&c);
    assert_near(curve_no_worse_log(&c), 0, 1e-12);
    feed_curve(&c, 36, 1000, 164, 9000); /* exactly twice as often */
    assert_true(curve_no_worse_log(&c) < 0);
    /* The number of errors that people are told: of a candidate that equals stable. */
    double needed = judge_errors_to_pass(.05, .1, 1);
    assert_near(needed, log(20) / (-.1 * log(2) + log(1.1)), 1e-9);
}

static void the_grid(void **state)
{
    (void)state;
    assert_near(log_e_of(14, 1000, 45, 9000), 2.730098, 1e-5);
    assert_near(log_e_of(170, 2000, 900, 18000), 14.6041, 5e-5);
    assert_near(log_e_of(0, 1000, 0, 9000), 0, 1e-12);
    assert_true(log_e_of(0, 1000, 500, 9000) < 0);
    assert_true(log_e_of(1000, 1000, 0, 9000) > 1000); /* finite, however large */
    assert_true(isfinite(log_e_of(UINT32_MAX, UINT32_MAX, 0, UINT32_MAX)));
}

static void batches_add_up_and_silent_ones_say_nothing(void **state)
{
    (void)state;
    struct curve e;
    curve_init(&e);
    for (int i = 0; i < 10; i++) {
        feed_curve(&e, 17, 200, 90, 1800);
        feed_curve(&e, 0, 50, 0, 450); /* no events */
        feed_curve(&e, 5, 50, 0, 0);   /* no stable in it: nothing to compare with */
        feed_curve(&e, 0, 0, 7, 100);
    }
    assert_near(curve_worse_log(&e), 14.6041, 5e-5);
    assert_int_equal(e.candidate_events, 220);
    assert_int_equal(e.candidate_requests, 3000);
    assert_int_equal(e.stable_events, 970);
    assert_int_equal(e.stable_requests, 23500);
}

static void the_ceiling(void **state)
{
    (void)state;
    struct ceiling c;
    ceiling_init(&c, 0);
    assert_near(ceiling_over_log(&c, 50, 50), 0, 0); /* not in use */
    assert_near(ceiling_under_log(&c, 0, 50), 0, 0);
    ceiling_init(&c, .01);
    double expected = 0, factors[] = {1.25, 1.5, 2, 3, 5, 10};
    for (int i = 0; i < 6; i++)
        expected += exp(30 * log(factors[i]) + 970 * (log(1 - .01 * factors[i]) - log(.99))) / 6;
    assert_near(ceiling_over_log(&c, 30, 1000), log(expected), 1e-9);
    ceiling_init(&c, .3); /* only .375, .45, .6, .9 are rates */
    assert_near(ceiling_over_log(&c, 10, 10),
                log((pow(1.25, 10) + pow(1.5, 10) + pow(2, 10) + pow(3, 10)) / 4), 1e-9);
    ceiling_init(&c, 1);
    assert_near(ceiling_over_log(&c, 10, 10), 0, 0);
    assert_near(ceiling_under_log(&c, 0, 10), 0, 0);
}

static void the_ceiling_that_promotes(void **state)
{
    (void)state;
    struct ceiling c;
    ceiling_init(&c, .01);
    assert_true(ceiling_under_log(&c, 0, 612) < log(100));
    assert_true(ceiling_under_log(&c, 0, 613) >= log(100));
    assert_true(ceiling_under_log(&c, 0, 419) < log(20));
    assert_true(ceiling_under_log(&c, 0, 420) >= log(20));
    assert_true(ceiling_under_log(&c, 10, 613) < 0);
    double expected = 0, factors[] = {.05, .1, .2, .3, .4, .5, .6, .7, .8};
    for (int i = 0; i < 9; i++)
        expected += exp(3 * log(factors[i]) + 997 * (log(1 - .01 * factors[i]) - log(.99))) / 9;
    assert_near(ceiling_under_log(&c, 3, 1000), log(expected), 1e-9);
}

/* ---- exact: one error after the other, each the candidate's with a known chance
 * ---------------------- */

enum { ERRORS_MAX = 4000 };

static uint64_t least_for_rollback(uint64_t n, double alpha)
{
    for (uint64_t k = 0; k <= n; k++)
        if (log_e_of(k, 1000000, n - k, 9000000) >= -log(alpha))
            return k;
    return n + 1;
}

static void the_least_errors_that_roll_back(void **state)
{
    (void)state;
    static const uint64_t cases[][2] = {{3, 3},  {5, 4},   {6, 4},   {10, 6},
                                        {20, 8}, {50, 15}, {100, 23}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(least_for_rollback(cases[i][0], .01), cases[i][1]);
}

struct exact {
    double crossed; /* P(rolled back within the errors) */
    double errors;  /* expected errors until then or the end */
};
static struct exact walk(double theta, double alpha, uint64_t errors_max)
{
    double *p = calloc(errors_max + 2, sizeof *p); /* of k candidate errors, not yet rolled back */
    assert_non_null(p);
    p[0] = 1;
    struct exact result = {0, 0};
    uint64_t least = 0;
    for (uint64_t n = 1; n <= errors_max; n++) {
        result.errors += 1 - result.crossed;
        for (uint64_t k = n; k > 0; k--)
            p[k] = p[k] * (1 - theta) + p[k - 1] * theta;
        p[0] *= 1 - theta;
        /* The bound rises with n, by one at the most. */
        while (least <= n && log_e_of(least, 1000000, n - least, 9000000) < -log(alpha))
            least++;
        for (uint64_t k = least; k <= n; k++) {
            result.crossed += p[k];
            p[k] = 0;
        }
        if (1 - result.crossed < 1e-9)
            break;
    }
    free(p);
    return result;
}

static void exact_false_alarms(void **state)
{
    (void)state;
    assert_near(walk(.1, .01, 100).crossed, .00405, 5e-6);
    assert_near(walk(.1, .01, 300).crossed, .00453, 5e-6);
    assert_true(walk(.1, .001, 1000).crossed <= .001);
}

static void exact_power(void **state)
{
    (void)state;
    static const double rates[][2] = {{.02, 569.6}, {.05, 107.8}, {.10, 40.8}, {.50, 6.5}};
    for (size_t i = 0; i < 4; i++) {
        double share = .1, base = .005, bad = rates[i][0];
        double any = share * bad + (1 - share) * base; /* per request */
        struct exact e = walk(share * bad / any, .01, ERRORS_MAX);
        assert_true(e.crossed > .9999);
        assert_near(e.errors * share / any, rates[i][1], .06);
    }
}

/* ---- edges
 * -------------------------------------------------------------------------------------------- */

static void edges_lie_above_the_quantiles(void **state)
{
    (void)state;
    uint64_t counts[100];
    uint32_t edges[JUDGE_EDGES - 1];
    for (int i = 0; i < 100; i++)
        counts[i] = 10;
    assert_int_equal(judge_choose_edges(counts, 100, 0, edges), 4);
    assert_int_equal(edges[0], 50);
    assert_int_equal(edges[1], 90);
    assert_int_equal(edges[2], 95);
    assert_int_equal(edges[3], 99);
    assert_int_equal(judge_choose_edges(counts, 100, 92, edges), 3); /* none under the least */
    assert_int_equal(edges[0], 92);
    assert_int_equal(edges[1], 95);
    memset(counts, 0, sizeof counts);
    assert_int_equal(judge_choose_edges(counts, 100, 0, edges), 0); /* no history */
    counts[7] = 1000;
    assert_int_equal(judge_choose_edges(counts, 100, 0, edges), 1); /* all in one bucket */
    assert_int_equal(edges[0], 8);
    counts[99] = 1000000; /* nothing is above the last one */
    assert_int_equal(judge_choose_edges(counts, 100, 0, edges), 0);
    counts[99] = 60;
    assert_int_equal(judge_choose_edges(counts, 100, 0, edges), 1);
    assert_int_equal(edges[0], 8);
    assert_int_equal(judge_choose_edges(counts, 0, 0, edges), 0);
}

static void marks_keep_their_quantile(void **state)
{
    (void)state;
    uint64_t counts[100] = {[7] = 940, [40] = 50, [99] = 10};
    uint32_t marks[JUDGE_MARKS];
    judge_choose_marks(counts, 100, 10, marks);
    assert_int_equal(marks[0], 10); /* the least one, more than once */
    assert_int_equal(marks[1], 10);
    assert_int_equal(marks[2], 41);
    assert_int_equal(marks[3], 41);
    counts[99] = 11;
    judge_choose_marks(counts, 100, 0, marks);
    assert_int_equal(marks[0], 8);
    assert_int_equal(marks[3], 100); /* nothing lies above */
    memset(counts, 0, sizeof counts);
    judge_choose_marks(counts, 100, 0, marks);
    assert_int_equal(marks[0], 100); /* no history */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_building_block),
        cmocka_unit_test(the_confidence_sequence_in_closed_form),
        cmocka_unit_test(non_inferiority),
        cmocka_unit_test(the_grid),
        cmocka_unit_test(batches_add_up_and_silent_ones_say_nothing),
        cmocka_unit_test(the_ceiling),
        cmocka_unit_test(the_ceiling_that_promotes),
        cmocka_unit_test(the_least_errors_that_roll_back),
        cmocka_unit_test(exact_false_alarms),
        cmocka_unit_test(exact_power),
        cmocka_unit_test(edges_lie_above_the_quantiles),
        cmocka_unit_test(marks_keep_their_quantile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
