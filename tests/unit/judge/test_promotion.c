/* Promotion, what is shown, and what plans promise, by simulation from fixed seeds: each both ways.
 */
#include "worlds.h"

/* A candidate exactly as bad as must not pass, looked at after each batch. */
static void the_allowed_ratio_hardly_ever_passes(void **state)
{
    (void)state;
    static const double shares[] = {.1, .5};
    for (size_t s = 0; s < 2; s++) {
        struct dice dice = {400 + s};
        int passed = 0;
        for (int run = 0; run < runs(); run++) {
            struct curve c;
            bool pass = false;
            curve_init(&c);
            for (int batch = 0; batch < BATCHES && !pass; batch++) {
                uint64_t n = (uint64_t)(1000 * shares[s]);
                feed_curve(&c, dice_binomial(&dice, n, .02), n, dice_binomial(&dice, 1000 - n, .01),
                           1000 - n);
                pass = curve_no_worse_log(&c) >= log(20);
            }
            passed += pass;
        }
        expect_few(passed, runs(), .05, "twice stable's error rate passes");
    }
}

/* Twice stable's rate and at the slo's ceiling: neither way lets it pass. */
static void two_ways_are_not_two_chances(void **state)
{
    (void)state;
    struct dice dice = {402};
    int passed = 0;
    for (int run = 0; run < runs() / 2; run++) {
        struct judge j;
        bool pass = false;
        judge_init(
            &j, &(struct judge_config){.alpha = 1e-9, .has_stable = true, .slo_error_rate = .02});
        for (int batch = 0; batch < BATCHES && !pass; batch++) {
            struct judge_arm candidate = {.requests = 50, .errors = dice_binomial(&dice, 50, .02)};
            struct judge_arm stable = {.requests = 450, .errors = dice_binomial(&dice, 450, .01)};
            struct judge_report report;
            judge_batch(&j, &candidate, &stable);
            if (batch % 10 == 9) {
                judge_explain(&j, 0, &report);
                pass = report.metrics[0].fine;
            }
        }
        passed += pass;
    }
    expect_few(passed, runs() / 2, .05, "twice stable's rate, at the slo");
}

static void good_releases_pass(void **state)
{
    (void)state;
    static const uint32_t edges[4] = {10, 20, 30, 40};
    struct dice dice = {403};
    int passed = 0, slow_passed = 0;
    double requests = 0;
    for (int run = 0; run < 400; run++) {
        bool slow = run % 2;
        struct judge j;
        judge_init(&j, &(struct judge_config){
                           .alpha = .001, .has_stable = true, .edges = edges, .edges_len = 4});
        for (int batch = 0; batch < 600; batch++) {
            struct judge_arm candidate, stable;
            draw_arm(&dice, &candidate, 40, .005, slow ? 2.2 : 1);
            draw_arm(&dice, &stable, 160, .005, 1);
            judge_batch(&j, &candidate, &stable);
            if (judge_verdict(&j) == JUDGEMENT_PASS) {
                passed += !slow;
                slow_passed += slow;
                requests += slow ? 0 : (double)j.errors.candidate_requests;
                break;
            }
        }
    }
    print_message("%d of 200 good releases passed, after %.0f requests; %d of 200 slow ones\n",
                  passed, requests / passed, slow_passed);
    assert_true(passed >= 195);
    assert_true(slow_passed <= 10);
}

/* The ratio lies in the running intersection at all times, while shares and rates change. */
static void the_confidence_sequence_covers(void **state)
{
    (void)state;
    static const double ratios[] = {1, 3, .5};
    for (size_t r = 0; r < 3; r++) {
        struct dice dice = {500 + r};
        int missed = 0;
        double width = 0;
        for (int run = 0; run < runs() / 2; run++) {
            struct curve c;
            double memory = 0, low, high;
            bool moved;
            curve_init(&c);
            for (int batch = 0; batch < BATCHES; batch++) {
                struct tick t = ramped(&dice, batch, &memory);
                feed_curve(&c, dice_binomial(&dice, t.candidate, 2 * t.candidate_rate * ratios[r]),
                           t.candidate, dice_binomial(&dice, t.stable, 2 * t.stable_rate),
                           t.stable);
                curve_narrow(&c, .01);
            }
            curve_interval(&c, .01, &low, &high, &moved);
            missed += low > ratios[r] || high < ratios[r] || moved;
            width += log(high / low);
        }
        expect_few(missed, runs() / 2, .01, "the ratio outside of its confidence sequence");
        /* The other side: it says something. */
        width /= runs() / 2;
        print_message("the ends of %g are a factor of %.2f apart\n", ratios[r], exp(width));
        assert_true(width < log(4));
    }
}

/* What a plan says that it can find is found with a chance of about 80 %. */
static void plans_come_true(void **state)
{
    (void)state;
    static const struct {
        double alpha, share, base, requests_per_s, hold_s;
    } cases[] = {{.01, .1, .005, 100, 60}, {.001, .05, .001, 50, 300}, {.001, .5, .02, 10, 120}};
    for (size_t i = 0; i < 3; i++) {
        struct dice dice = {600 + i};
        double rate = judge_detectable(cases[i].alpha, cases[i].share, cases[i].base,
                                       cases[i].requests_per_s, cases[i].hold_s);
        assert_true(rate > cases[i].base && rate < 1);
        int found = 0, times = 1000;
        for (int run = 0; run < times; run++) {
            struct curve c;
            curve_init(&c);
            for (int second = 0; second < (int)cases[i].hold_s; second++) {
                uint64_t all = (uint64_t)cases[i].requests_per_s;
                uint64_t n = dice_binomial(&dice, all, cases[i].share);
                feed_curve(&c, dice_binomial(&dice, n, rate), n,
                           dice_binomial(&dice, all - n, cases[i].base), all - n);
                if (curve_worse_most(&c) >= -log(cases[i].alpha) &&
                    curve_worse_log(&c) >= -log(cases[i].alpha)) {
                    found++;
                    break;
                }
            }
        }
        print_message("an error rate of %.2f%% in a hold of %.0f s: found in %.1f%%\n", 100 * rate,
                      cases[i].hold_s, 100.0 * found / times);
        assert_true(found > times * .74 && found < times * .93);
        double hold = judge_hold_for(cases[i].alpha, cases[i].share, cases[i].base, rate,
                                     cases[i].requests_per_s, 3600);
        assert_near(hold, cases[i].hold_s, cases[i].hold_s * .1 + 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_allowed_ratio_hardly_ever_passes),
        cmocka_unit_test(two_ways_are_not_two_chances),
        cmocka_unit_test(good_releases_pass),
        cmocka_unit_test(the_confidence_sequence_covers),
        cmocka_unit_test(plans_come_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
