/* The building blocks that have no numbers in the literature: against what they are defined by. */
#include "ground.h"

/* ---- the curve's confidence sequence
 * ------------------------------------------------------------------------------ */

static double exact_log_likelihood(double ratio, double share, double c, double b)
{
    return c * log(ratio) - (c + b) * log(1 - share + share * ratio);
}

/* Never smaller than the exact set, and hardly larger. */
static void the_set_is_the_curves_inverse(void **state)
{
    (void)state;
    static const uint64_t cases[][4] = {{14, 1000, 45, 9000},     {3, 1000, 45, 9000},
                                        {200, 1000, 45, 9000},    {1, 100, 1, 900},
                                        {0, 1000, 300, 9000},     {50, 1000, 0, 9000},
                                        {0, 10, 0, 10},           {500, 500, 3, 500000},
                                        {4000, 9000, 4100, 9000}, {2, 50000, 900, 9000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t c = cases[i][0], nc = cases[i][1], b = cases[i][2], nb = cases[i][3];
        struct curve curve;
        double low, high, share = (double)nc / (double)(nc + nb);
        curve_init(&curve);
        feed_curve(&curve, c, nc, b, nb);
        curve_set(&curve, .01, &low, &high);
        double m = -INFINITY, sum = 0;
        for (int p = 0; p < CURVE_POINTS; p++)
            m = fmax(m, curve.log_likelihood[p]);
        for (int p = 0; p < CURVE_POINTS; p++)
            sum += exp(curve.log_likelihood[p] - m);
        double bar = m + log(sum / CURVE_POINTS) + log(.01);
        assert_true(low <= high);
        if (c == 0)
            assert_near(low, 0, 0);
        else
            assert_true(exact_log_likelihood(low, share, (double)c, (double)b) <= bar + 1e-9);
        if (b == 0 || c == nc) /* the ratio may be anything above the grid */
            assert_true(isinf(high));
        else
            assert_true(exact_log_likelihood(high, share, (double)c, (double)b) <= bar + 1e-9);
        /* A little further inside it is within the exact set; a gap of the grid is 18 % wide. */
        double inside = c + b > 1000 ? 1.2 : 1.05;
        if (low > .25)
            assert_true(exact_log_likelihood(low * inside, share, (double)c, (double)b) > bar);
        if (high > .25 && high < 200)
            assert_true(exact_log_likelihood(high / inside, share, (double)c, (double)b) > bar);
    }
}

static void a_ratio_that_changes_is_said_to(void **state)
{
    (void)state;
    struct curve c;
    double low, high;
    bool moved;
    curve_init(&c);
    curve_interval(&c, .01, &low, &high, &moved);
    assert_true(low == 0 && isinf(high) && !moved);
    for (int i = 0; i < 50; i++) {
        feed_curve(&c, 5, 1000, 45, 9000);
        curve_narrow(&c, .01);
    }
    curve_interval(&c, .01, &low, &high, &moved);
    assert_true(low < 1 && high > 1 && high < 1.6 && !moved);
    for (int i = 0; i < 50; i++) {
        feed_curve(&c, 80, 1000, 45, 9000);
        curve_narrow(&c, .01);
    }
    curve_interval(&c, .01, &low, &high, &moved);
    assert_true(moved && low > 5);
}

/* ---- quantiles
 * -------------------------------------------------------------------------------------------- */

static void quantiles_lie_between_their_bounds(void **state)
{
    (void)state;
    uint64_t counts[64] = {0};
    size_t low, high;
    quantile_interval(counts, 64, .95, .01, &low, &high); /* nothing seen */
    assert_int_equal(low, 0);
    assert_int_equal(high, 63);
    for (int i = 0; i < 50; i++)
        counts[i] = 1;
    quantile_interval(counts, 64, .5, .01, &low, &high);
    assert_true(low > 5 && low < 25 && high > 24 && high < 45);
    for (int i = 0; i < 50; i++)
        counts[i] = 100000;
    quantile_interval(counts, 64, .5, .01, &low, &high);
    assert_true(low == 24 || low == 25);
    assert_true(high == 24 || high == 25);
    counts[63] = 100000000; /* nothing is known beyond the last edge */
    quantile_interval(counts, 64, .99, .01, &low, &high);
    assert_int_equal(high, 63);
    assert_int_equal(low, 63);
}

/* The median of a uniform distribution stays between its bounds, looked at after each value. */
static void quantiles_cover_at_any_time(void **state)
{
    (void)state;
    struct dice dice = {9};
    int missed = 0, times = 1000;
    for (int run = 0; run < times; run++) {
        uint64_t counts[32] = {0};
        bool outside = false;
        for (int n = 0; n < 200 && !outside; n++) {
            size_t low, high;
            counts[(int)(dice_uniform(&dice) * 32)]++;
            if (n % 5 != 0)
                continue;
            quantile_interval(counts, 32, .75, .05, &low, &high);
            outside = low > 24 || high < 23; /* the quantile is the edge between the two */
        }
        missed += outside;
    }
    print_message("a quantile outside of its bounds: %.2f%%\n", 100.0 * missed / times);
    assert_true(missed <= times * .05 + 3 * sqrt(times * .05));
}

/* ---- pairs
 * ------------------------------------------------------------------------------------------------
 */

static void pairs_are_coins(void **state)
{
    (void)state;
    struct pair_test p;
    pair_init(&p, 1.2, false);
    assert_near(pair_worse_log(&p), 0, 1e-12);
    pair_update(&p, NAN, 1);
    pair_update(&p, 1, INFINITY);
    assert_int_equal(p.worse + p.not_worse, 0); /* no data */
    pair_update(&p, 1.3, 1);
    pair_update(&p, 1.1, 1); /* tolerated */
    pair_update(&p, 0, 0);
    assert_int_equal(p.worse, 1);
    assert_int_equal(p.not_worse, 2);
    double expected = 0, q[] = {.6, .7, .8, .9, .95, .99};
    for (int i = 0; i < 6; i++)
        expected += 2 * q[i] * pow(2 * (1 - q[i]), 2) / 6;
    assert_near(pair_worse_log(&p), log(expected), 1e-12);
    pair_init(&p, 2, true);
    pair_update(&p, 40, 100);
    pair_update(&p, 60, 100);
    assert_int_equal(p.worse, 1);
    /* A release that uses twice as much all the time is found within 13 looks at alpha = .001. */
    pair_init(&p, 1.2, false);
    for (int i = 0; i < 13; i++)
        pair_update(&p, 2, 1);
    assert_true(pair_worse_log(&p) > log(1000));
    pair_init(&p, 1.2, false);
    for (int i = 0; i < 7; i++)
        pair_update(&p, 1, 1);
    assert_true(pair_no_worse_log(&p) > log(20));
}

static void equal_pairs_stay(void **state)
{
    (void)state;
    struct dice dice = {10};
    int alarms = 0, passes = 0, times = 4000;
    for (int run = 0; run < times; run++) {
        struct pair_test p;
        bool alarm = false, pass = false;
        pair_init(&p, 1, false);
        for (int i = 0; i < 200; i++) {
            pair_update(&p, dice_uniform(&dice), dice_uniform(&dice));
            alarm = alarm || pair_worse_log(&p) >= log(100);
            pass = pass || pair_no_worse_log(&p) >= log(20);
        }
        alarms += alarm;
        passes += pass;
    }
    print_message("equal pairs: %.2f%% alarms, %.2f%% passes at the border\n",
                  100.0 * alarms / times, 100.0 * passes / times);
    assert_true(alarms <= times * .01 + 3 * sqrt(times * .01));
    assert_true(passes <= times * .05 + 3 * sqrt(times * .05));
}

/* ---- the watch after a promotion
 * ----------------------------------------------------------------------------- */

static void a_baseline_is_what_history_may_have_been(void **state)
{
    (void)state;
    struct baseline b;
    assert_false(baseline_init(&b, 0, 0, 2, .001)); /* no history */
    baseline_update(&b, 50, 50);
    assert_near(baseline_log(&b), 0, 0);
    assert_true(baseline_init(&b, 500, 100000, 2, .001));
    assert_true(b.ceiling.p_max > .01 && b.ceiling.p_max < .013);
    baseline_update(&b, 90, 10000); /* less than twice as many */
    assert_true(baseline_log(&b) < log(1000));
    baseline_update(&b, 100, 1000);
    assert_true(baseline_log(&b) > log(1000));
    assert_true(baseline_init(&b, 0, 100000, 2, .001)); /* a history without an error */
    baseline_update(&b, 1, 1000);
    assert_true(baseline_log(&b) < log(1000));
    baseline_update(&b, 9, 1000);
    assert_true(baseline_log(&b) > log(1000));
}

static void a_baseline_raises_few_false_alarms(void **state)
{
    (void)state;
    struct dice dice = {12};
    int alarms = 0, times = 2000;
    for (int run = 0; run < times; run++) {
        struct baseline b;
        baseline_init(&b, dice_binomial(&dice, 2000, .01), 2000, 1, .01);
        for (int i = 0; i < 100; i++) {
            baseline_update(&b, dice_binomial(&dice, 100, .01), 100);
            if (baseline_log(&b) >= log(100)) {
                alarms++;
                break;
            }
        }
    }
    print_message("false alarms against a baseline: %.2f%%\n", 100.0 * alarms / times);
    assert_true(alarms <= times * .02);
}

static void burn_rates_need_both_windows(void **state)
{
    (void)state;
    enum { MINUTE = 60000 };
    struct burn b;
    assert_near(burn_threshold(.02, 1), 14.4, 1e-9);
    assert_near(burn_threshold(.05, 6), 6, 1e-9);
    assert_near(burn_threshold(.1, 24), 3, 1e-9);
    assert_near(burn_threshold(.1, 72), 1, 1e-9);
    burn_init(&b, .001, 60 * MINUTE, 50);
    assert_false(burn_fires(&b, 0, 14.4));
    int64_t now = 1000000 * (int64_t)MINUTE;
    for (int i = 0; i < 55; i++, now += MINUTE)
        burn_update(&b, now, 1, 1000); /* burns at 1 */
    assert_near(burn_long(&b, now - MINUTE), 1, 1e-9);
    burn_update(&b, now, 500, 1000); /* one bad minute: the short window alone */
    assert_true(burn_short(&b, now) > 14.4);
    assert_true(burn_long(&b, now) < 14.4);
    assert_false(burn_fires(&b, now, 14.4));
    now += MINUTE;
    burn_update(&b, now, 500, 1000);
    assert_true(burn_fires(&b, now, 14.4));
    /* Nothing more comes: the short window forgets first. */
    assert_false(burn_fires(&b, now + 5 * MINUTE, 14.4));
    assert_true(burn_long(&b, now + 5 * MINUTE) > 14.4);
    assert_near(burn_long(&b, now + 61 * MINUTE), 0, 0);
    burn_update(&b, now + 200 * MINUTE, 0, 100); /* after a long silence */
    assert_near(burn_long(&b, now + 200 * MINUTE), 0, 0);
    burn_update(&b, now, 100, 100); /* a clock that went back: into the newest bucket */
    assert_near(burn_short(&b, now), .5 / .001, 1e-9);
}

static void few_requests_burn_nothing(void **state)
{
    (void)state;
    struct burn b;
    burn_init(&b, .01, 60000, 50);
    burn_update(&b, 5000, 49, 49);
    assert_false(burn_fires(&b, 5000, 14.4));
    burn_update(&b, 5000, 1, 1);
    assert_true(burn_fires(&b, 5000, 14.4));
}

static void burn_rates_survive_a_restart(void **state)
{
    (void)state;
    struct burn b, back;
    struct buf text = BUF_INIT, again = BUF_INIT;
    struct error err = ERROR_INIT;
    burn_init(&b, 1.0 / 3, 600000, 50);
    for (int i = 0; i < 100; i++)
        burn_update(&b, i * 7000, (uint64_t)i % 5, (uint64_t)i);
    burn_to_json(&b, &text);
    assert_int_equal(burn_from_json(&back, buf_str(&text), &err), 0);
    assert_memory_equal(&back, &b, sizeof b);
    for (size_t cut = 0; cut < text.len; cut += 7) {
        buf_clear(&again);
        buf_append(&again, buf_str(&text), cut);
        assert_int_equal(burn_from_json(&back, buf_str(&again), &err), -1);
    }
    static const char *const wrong[][2] = {
        {"\"budget\":0.3", "\"budget\":1.3"},   {"\"bucket_ms\":10000", "\"bucket_ms\":0"},
        {"\"newest\":69", "\"newest\":-2"},     {"\"buckets\":[", "\"buckets\":[0,"},
        {"\"buckets\":[", "\"buckets\":[1,0,"}, {"\"min_requests\":50", "\"min_requests\":-1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *at = strstr(buf_str(&text), wrong[i][0]);
        assert_non_null(at);
        buf_clear(&again);
        buf_append(&again, text.data, (size_t)(at - text.data));
        buf_puts(&again, wrong[i][1]);
        buf_puts(&again, at + strlen(wrong[i][0]));
        assert_int_equal(burn_from_json(&back, buf_str(&again), &err), -1);
    }
    assert_memory_equal(&back, &b, sizeof b);
    buf_release(&text);
    buf_release(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_is_the_curves_inverse),
        cmocka_unit_test(a_ratio_that_changes_is_said_to),
        cmocka_unit_test(quantiles_lie_between_their_bounds),
        cmocka_unit_test(quantiles_cover_at_any_time),
        cmocka_unit_test(pairs_are_coins),
        cmocka_unit_test(equal_pairs_stay),
        cmocka_unit_test(a_baseline_is_what_history_may_have_been),
        cmocka_unit_test(a_baseline_raises_few_false_alarms),
        cmocka_unit_test(burn_rates_need_both_windows),
        cmocka_unit_test(few_requests_burn_nothing),
        cmocka_unit_test(burn_rates_survive_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
