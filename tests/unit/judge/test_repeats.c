/* Clients that try again and again: many errors out of one fault, counted once. */
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

/* ---- good releases
 * ----------------------------------------------------------------------------------- */

enum { TRIES = 8 };

/* Clients stay with their arm. Some fault of their own hits one now and then, and all that it tries
 * within the batch fails. */
static void draw_bursts(struct dice *dice, uint64_t requests, double faults, struct judge_arm *arm)
{
    uint64_t hit = dice_binomial(dice, requests, faults);
    *arm = (struct judge_arm){.requests = requests + hit * (TRIES - 1),
                              .errors = hit * TRIES,
                              .repeats = hit * (TRIES - 1)};
}

static bool run_bursts(struct dice *dice, bool tell_repeats)
{
    struct judge j = errors_only(.01);
    for (int batch = 0; batch < BATCHES; batch++) {
        struct judge_arm candidate, stable;
        draw_bursts(dice, PER_BATCH / 10, .005, &candidate);
        draw_bursts(dice, PER_BATCH - PER_BATCH / 10, .005, &stable);
        if (!tell_repeats)
            candidate.repeats = stable.repeats = 0;
        judge_batch(&j, &candidate, &stable);
        if (rolled_back(&j))
            return true;
    }
    return false;
}

static void bursts_do_not_take_good_releases_back(void **state)
{
    (void)state;
    struct dice dice = {414};
    int alarms = 0, naive = 0;
    for (int i = 0; i < runs(); i++) {
        alarms += run_bursts(&dice, true);
        naive += run_bursts(&dice, false);
    }
    print_message("if all that is tried counts: %.1f%%\n", 100.0 * naive / runs());
    expect_few(alarms, runs(), .01, "bursts of retries, each client counted once");
    assert_true(naive > runs() / 10); /* or this world shows nothing */
}

/* One client sends most of stable's requests, and counts once; those of the candidate are many.
 * Both arms fail alike, so only the count of all errors is fair to both. */
static void a_client_that_sends_most_of_an_arm_is_no_ground(void **state)
{
    (void)state;
    struct dice dice = {415};
    int alarms = 0, by_clients_alone = 0;
    for (int i = 0; i < runs() / 10; i++) {
        struct judge j = errors_only(.01);
        bool alarm = false;
        for (int batch = 0; batch < BATCHES && !alarm; batch++) {
            uint64_t heavy = dice_binomial(&dice, 300, .05);
            struct judge_arm candidate = {.requests = 40, .errors = dice_binomial(&dice, 40, .05)};
            struct judge_arm stable = {.requests = 360,
                                       .errors = heavy + dice_binomial(&dice, 60, .05),
                                       .repeats = heavy > 0 ? heavy - 1 : 0};
            judge_batch(&j, &candidate, &stable);
            alarm = rolled_back(&j);
        }
        alarms += alarm;
        by_clients_alone += curve_worse_log(&j.errors_once) >= -log(.01);
    }
    print_message("if only clients count: %.1f%%\n", 1000.0 * by_clients_alone / runs());
    expect_few(alarms, runs() / 10, .01, "one client with most of stable's requests");
    assert_true(by_clients_alone > runs() / 20);
}

/* ---- bad ones
 * ------------------------------------------------------------------------------------------- */

/* Half of the candidate's answers fail and every client tries again: it is found as before. */
static void bad_releases_go_although_clients_try_again(void **state)
{
    (void)state;
    struct dice dice = {416};
    double seconds = 0;
    int gone = 0;
    for (int i = 0; i < 500; i++) {
        struct judge j = errors_only(.001);
        for (int batch = 1; batch <= 120; batch++) {
            struct judge_arm candidate, stable;
            draw_bursts(&dice, dice_binomial(&dice, 100, .1), .05, &candidate);
            draw_bursts(&dice, 90, .005, &stable);
            judge_batch(&j, &candidate, &stable);
            if (rolled_back(&j)) {
                gone++;
                seconds += batch;
                break;
            }
        }
    }
    print_message("5%% faults, each tried %d times: gone after %.1f s\n", TRIES, seconds / gone);
    assert_true(gone >= 495);
    assert_true(seconds / gone < 35);
}

/* The worst case for counting clients: there is one alone. Its first error of a second falls to
 * the candidate as often as all of its errors do. */
static void one_client_alone_is_enough(void **state)
{
    (void)state;
    struct judge j = errors_only(.001);
    int second = 0;
    while (!rolled_back(&j) && second < 60) {
        struct judge_arm candidate = {.requests = 10, .errors = 10, .repeats = 9};
        struct judge_arm stable = {.requests = 90};
        judge_batch(&j, &candidate, &stable);
        second++;
    }
    print_message("one client, all of the candidate's answers fail: gone after %d s\n", second);
    assert_true(second >= 2); /* not within one burst */
    assert_true(second <= 6);
}

/* ---- the rest
 * ------------------------------------------------------------------------------------------- */

static void a_burst_alone_says_little(void **state)
{
    (void)state;
    struct judge j = errors_only(.001);
    judge_batch(&j, &(struct judge_arm){.requests = 500, .errors = 100, .repeats = 99},
                &(struct judge_arm){.requests = 4500});
    assert_int_equal(judge_verdict(&j), JUDGEMENT_CONTINUE);
    struct buf text = BUF_INIT;
    assert_int_equal(judge_look(&j, &text), JUDGEMENT_CONTINUE);
    expect_text(&text, "errors 20% (100 of 500 requests)");
    expect_text(&text, "; 99 and 0 of these errors are repeats by the same clients");
    struct judge_report r;
    judge_explain(&j, 10, &r);
    assert_int_equal(r.metrics[0].candidate_events, 100);
    assert_int_equal(r.metrics[0].candidate_repeats, 99);
    assert_non_null(strstr(r.metrics[0].text, "99 and 0 of these errors are repeats"));
    assert_near(r.metrics[0].log_e, log_e_of(1, 500, 0, 4500), 1e-9);
    buf_release(&text);
    /* The same from a hundred clients. */
    j = errors_only(.001);
    judge_batch(&j, &(struct judge_arm){.requests = 500, .errors = 100},
                &(struct judge_arm){.requests = 4500});
    assert_int_equal(judge_verdict(&j), JUDGEMENT_ERRORS);
    judge_explain(&j, 10, &r);
    assert_null(strstr(r.metrics[0].text, "repeats"));
}

/* Counters of several threads are not read at one instant. */
static void more_repeats_than_errors_are_none_at_all(void **state)
{
    (void)state;
    struct judge j = errors_only(.01);
    judge_batch(&j, &(struct judge_arm){.requests = 10, .errors = 3, .repeats = 7},
                &(struct judge_arm){.requests = 90, .errors = 2, .repeats = UINT64_MAX});
    assert_int_equal(j.errors.candidate_events, 3);
    assert_int_equal(j.errors_once.candidate_events, 0);
    assert_int_equal(j.errors_once.stable_events, 0);
    assert_int_equal(j.errors_once.stable_requests, 90);
}

/* An slo promises something about requests, however few clients they are from. */
static void ceilings_count_all_errors(void **state)
{
    (void)state;
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = .001, .slo_error_rate = .01});
    judge_batch(&j, &(struct judge_arm){.requests = 1000, .errors = 60, .repeats = 59},
                &(struct judge_arm){.requests = 0});
    assert_int_equal(judge_verdict(&j), JUDGEMENT_SLO);
}

/* Few clients, but they fail often: neither is it shown to be fine. */
static void to_pass_all_errors_count_too(void **state)
{
    (void)state;
    struct judge_arm good = {.requests = 1000, .errors = 10},
                     stable = {.requests = 1000, .errors = 10};
    struct judge_arm few_clients = {.requests = 1000, .errors = 100, .repeats = 95};
    struct judge fine = errors_only(.001), not_fine = fine, shaky = fine;
    struct judge_arm shaky_stable = {.requests = 1000, .errors = 100, .repeats = 99};
    struct judge_report r;
    for (int i = 0; i < 20; i++) {
        judge_batch(&fine, &good, &stable);
        judge_batch(&not_fine, &few_clients, &stable);
        judge_batch(&shaky, &good, &shaky_stable);
    }
    judge_explain(&fine, 0, &r);
    assert_true(r.metrics[0].fine);
    judge_explain(&not_fine, 0, &r); /* half of stable's clients, ten times its errors */
    assert_false(r.metrics[0].fine);
    judge_explain(&shaky, 0, &r); /* ten times stable's clients, a tenth of its errors */
    assert_false(r.metrics[0].fine);
    assert_true(r.metrics[0].ratio_low < .2 && r.metrics[0].ratio_high > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bursts_do_not_take_good_releases_back),
        cmocka_unit_test(a_client_that_sends_most_of_an_arm_is_no_ground),
        cmocka_unit_test(bad_releases_go_although_clients_try_again),
        cmocka_unit_test(one_client_alone_is_enough),
        cmocka_unit_test(a_burst_alone_says_little),
        cmocka_unit_test(more_repeats_than_errors_are_none_at_all),
        cmocka_unit_test(ceilings_count_all_errors),
        cmocka_unit_test(to_pass_all_errors_count_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
