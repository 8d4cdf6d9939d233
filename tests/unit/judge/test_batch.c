/* Batches that are long enough to be compared: what a tick of a quiet app brings says nothing. */
#include "worlds.h"

enum { TICK = 100 };

static struct judge made(double alpha)
{
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = alpha, .has_stable = true});
    return j;
}

struct route {
    struct judge_gathering gathering;
    int64_t now_ms;
};

static void tick(struct judge *j, struct route *r, struct judge_arm candidate,
                 struct judge_arm stable, bool ends)
{
    judge_gather(j, &r->gathering, &candidate, &stable, ends, r->now_ms);
    r->now_ms += TICK;
}

static const struct judge_arm nobody, one = {.requests = 1},
                                      one_failed = {.requests = 1, .errors = 1};

static double evidence(const struct judge *j)
{
    return curve_worse_log(&j->errors);
}

static void it_is_counted_at_once_and_compared_when_both_have_enough(void **state)
{
    (void)state;
    struct judge j = made(.001);
    struct route r = {.now_ms = 1};
    tick(&j, &r, one_failed, nobody, false);
    assert_int_equal(j.errors.candidate_events, 1);
    for (int i = 0; i < 45; i++)
        tick(&j, &r, nobody, one, false);
    assert_near(evidence(&j), 0, 0);
    for (int i = 1; i < JUDGE_BATCH_REQUESTS; i++)
        tick(&j, &r, one, nobody, false);
    assert_near(evidence(&j), log_e_of(1, JUDGE_BATCH_REQUESTS, 0, 45), 1e-12);
    assert_int_equal(j.errors.candidate_requests, JUDGE_BATCH_REQUESTS);
    assert_int_equal(j.errors.stable_requests, 45);
    assert_int_equal(r.gathering.candidate.requests + r.gathering.stable.requests, 0);
}

static void after_a_while_one_of_each_is_enough(void **state)
{
    (void)state;
    struct judge j = made(.001);
    struct route r = {.now_ms = 1};
    for (int i = 0; i < 19; i++)
        tick(&j, &r, nobody, one, false);
    tick(&j, &r, one_failed, nobody, false);
    while (r.now_ms < 1 + JUDGE_BATCH_FEW_MS)
        tick(&j, &r, nobody, nobody, false);
    assert_near(evidence(&j), 0, 0);
    tick(&j, &r, nobody, nobody, false);
    assert_near(evidence(&j), log_e_of(1, 1, 0, 19), 1e-12);
}

static void what_one_arm_brought_alone_is_not_kept_for_ever(void **state)
{
    (void)state;
    struct judge j = made(.001);
    struct route r = {.now_ms = 1};
    tick(&j, &r, nobody, (struct judge_arm){.requests = 500}, false);
    while (r.now_ms <= 1 + JUDGE_BATCH_MOST_MS)
        tick(&j, &r, nobody, nobody, false);
    assert_int_equal(r.gathering.stable.requests, 0);
    assert_int_equal(j.silent_batches, 1);
    assert_int_equal(j.errors.stable_requests, 500);
}

static void a_batch_ends_where_the_shares_change(void **state)
{
    (void)state;
    struct judge j = made(.001);
    struct route r = {.now_ms = 1};
    tick(&j, &r, one_failed, (struct judge_arm){.requests = 9}, true);
    assert_near(evidence(&j), log_e_of(1, 1, 0, 9), 1e-12);
}

static void a_clock_that_is_set_back_does_not_hold_a_batch_up(void **state)
{
    (void)state;
    struct judge j = made(.001);
    struct route r = {.now_ms = 3600000};
    tick(&j, &r, one_failed, one, false);
    r.now_ms = 1;
    for (int i = 0; i <= JUDGE_BATCH_FEW_MS / TICK; i++)
        tick(&j, &r, nobody, nobody, false);
    assert_near(evidence(&j), log_e_of(1, 1, 0, 1), 1e-12);
}

/* One request a second, the tenth of them the candidate's: all of those fail. */
static void a_broken_release_is_found_at_little_traffic(void **state)
{
    (void)state;
    struct judge gathered = made(.001), by_tick = made(.001);
    struct route r = {.now_ms = 1};
    int failed = 0;
    for (int second = 1; second <= 100 && !judgement_rolls_back(judge_verdict(&gathered));
         second++) {
        bool mine = second % 10 == 0;
        failed += mine;
        judge_batch(&by_tick, mine ? &one_failed : &nobody, mine ? &nobody : &one);
        tick(&gathered, &r, mine ? one_failed : nobody, mine ? nobody : one, false);
        for (int i = 1; i < 1000 / TICK; i++)
            tick(&gathered, &r, nobody, nobody, false);
    }
    assert_int_equal(judge_verdict(&gathered), JUDGEMENT_ERRORS);
    assert_in_range(failed, 3, 6);
    assert_near(evidence(&by_tick), 0, 0); /* or this world shows nothing */
}

static bool run_quiet(struct dice *dice, double candidate_errors)
{
    struct judge j = made(.01);
    struct route r = {.now_ms = 1};
    for (int i = 0; i < 6000; i++) {
        struct judge_arm candidate = {.requests = dice_binomial(dice, 2, .05)},
                         stable = {.requests = dice_binomial(dice, 2, .45)};
        candidate.errors = dice_binomial(dice, candidate.requests, candidate_errors);
        stable.errors = dice_binomial(dice, stable.requests, .05);
        tick(&j, &r, candidate, stable, false);
        if (judgement_rolls_back(judge_verdict(&j)))
            return true;
    }
    return false;
}

static void quiet_good_releases_stay(void **state)
{
    (void)state;
    struct dice dice = {77};
    int alarms = 0, found = 0;
    for (int i = 0; i < runs() / 10; i++) {
        alarms += run_quiet(&dice, .05);
        found += run_quiet(&dice, .3);
    }
    expect_few(alarms, runs() / 10, .01, "a few requests per tick");
    assert_true(found > runs() / 10 * 99 / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_counted_at_once_and_compared_when_both_have_enough),
        cmocka_unit_test(after_a_while_one_of_each_is_enough),
        cmocka_unit_test(what_one_arm_brought_alone_is_not_kept_for_ever),
        cmocka_unit_test(a_batch_ends_where_the_shares_change),
        cmocka_unit_test(a_clock_that_is_set_back_does_not_hold_a_batch_up),
        cmocka_unit_test(a_broken_release_is_found_at_little_traffic),
        cmocka_unit_test(quiet_good_releases_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
