#include "ground.h"

static struct judge made(const struct judge_config *config)
{
    struct judge j;
    judge_init(&j, config);
    return j;
}

static void feed(struct judge *j, uint64_t nc, uint64_t c, uint64_t nb, uint64_t b)
{
    struct judge_arm candidate = {.requests = nc, .errors = c},
                     stable = {.requests = nb, .errors = b};
    judge_batch(j, &candidate, &stable);
}

static void expect(const struct judge *j, enum judgement judgement, const char *a, const char *b)
{
    struct buf text = BUF_INIT;
    enum judgement got = judge_look(j, &text);
    if (got != judgement)
        fail_msg("judgement %d, not %d: %s", got, judgement, buf_str(&text));
    expect_text(&text, a);
    expect_text(&text, b);
    buf_release(&text);
}

static const struct judge_config with_stable = {.alpha = .001, .has_stable = true};

static void no_data_is_said(void **state)
{
    (void)state;
    struct judge j = made(&with_stable);
    expect(&j, JUDGEMENT_NO_DATA, "no request has reached the new release yet", "");
    feed(&j, 0, 0, 5000, 20);
    expect(&j, JUDGEMENT_NO_DATA, "no request has reached the new release yet", "");
    assert_int_equal(j.silent_batches, 1);
    j = made(&with_stable);
    feed(&j, 50, 50, 0, 0);
    expect(&j, JUDGEMENT_NO_DATA, "no request has reached stable yet", "nothing to compare");
}

static void a_worse_candidate_is_told_with_both_arms_numbers(void **state)
{
    (void)state;
    struct judge j = made(&with_stable);
    feed(&j, 1020, 52, 9180, 48);
    expect(&j, JUDGEMENT_ERRORS,
           "errors 5.1% (52 of 1,020 requests) against 0.5% (48 of 9,180) of stable: worse by a "
           "factor of about 9.8; evidence over 1,000,000 of the 1,000 needed",
           "");
    j = made(&with_stable);
    feed(&j, 100, 8, 900, 10);
    expect(&j, JUDGEMENT_CONTINUE, "errors 8.0% (8 of 100 requests) against 1.1% (10 of 900)",
           " of the 1,000 needed");
    j = made(&with_stable);
    feed(&j, 100, 10, 900, 0);
    expect(&j, JUDGEMENT_ERRORS, "0% (0 of 900) of stable: worse, stable had none", "evidence");
    j = made(&with_stable);
    feed(&j, 1000, 5, 9000, 45);
    expect(&j, JUDGEMENT_CONTINUE, "no worse", "evidence 0.");
    j = made(&with_stable);
    feed(&j, 1234567, 0, 9000, 0);
    expect(&j, JUDGEMENT_CONTINUE, "errors 0% (0 of 1,234,567 requests)", "evidence 1.0");
}

static void a_fix_of_a_broken_release_is_not_rolled_back(void **state)
{
    (void)state;
    struct judge j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .slo_error_rate = .01, .min_requests = 50});
    feed(&j, 500, 50, 4500, 4000); /* 10 % is ten times the slo, but stable fails 89 % */
    expect(&j, JUDGEMENT_CONTINUE, "no worse", "");
    j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .slo_error_rate = .01, .min_requests = 50});
    feed(&j, 500, 450, 4500, 3900); /* no better, and far over the slo */
    expect(&j, JUDGEMENT_SLO, "over the slo's 1.0%", "not better than stable's 87%");
}

static void without_a_stable_release_the_slo_decides(void **state)
{
    (void)state;
    struct judge_config config = {.alpha = .001, .slo_error_rate = .01, .min_requests = 50};
    struct judge j = made(&config);
    expect(&j, JUDGEMENT_NO_DATA, "no request", "");
    feed(&j, 49, 49, 0, 0);
    expect(&j, JUDGEMENT_CONTINUE, "no stable release", "over the slo's 1.0%"); /* too few yet */
    feed(&j, 1, 0, 0, 0);
    expect(&j, JUDGEMENT_SLO, "errors 98% (49 of 50 requests)", "no stable release");
    j = made(&config);
    feed(&j, 2000, 15, 0, 0);
    expect(&j, JUDGEMENT_CONTINUE, "within the slo's 1.0%", "");
    config.slo_error_rate = 0;
    config.slo_latency_share = .05;
    j = made(&config);
    struct judge_arm slow = {.requests = 300, .above_slo = 60}, none = {0};
    judge_batch(&j, &slow, &none);
    expect(&j, JUDGEMENT_SLO, "answers over the slo's latency 20% (60 of 300 requests)", "5.0%");
    config.slo_latency_share = 0;
    j = made(&config);
    feed(&j, 100, 100, 0, 0);
    expect(&j, JUDGEMENT_CONTINUE, "neither a stable release nor an slo", "100% (100 of 100");
}

static void a_stable_that_keeps_the_slo_is_what_is_compared_with(void **state)
{
    (void)state;
    struct judge j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .slo_error_rate = .01, .min_requests = 50});
    feed(&j, 100000, 1100, 100000, 990); /* a little over the slo, hardly worse than stable */
    expect(&j, JUDGEMENT_CONTINUE, "1.1%", "factor of about 1.1");
}

static void latency_has_its_own_judgement(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7, 9};
    struct judge j = made(
        &(struct judge_config){.alpha = .01, .has_stable = true, .edges = edges, .edges_len = 2});
    struct judge_arm candidate = {.requests = 2000, .errors = 10, .above = {1000, 170}};
    struct judge_arm stable = {.requests = 18000, .errors = 90, .above = {9000, 900}};
    judge_batch(&j, &candidate, &stable);
    expect(&j, JUDGEMENT_CONTINUE, "", ""); /* 1.7 times as many: allowed */
    j = made(
        &(struct judge_config){.alpha = .01, .has_stable = true, .edges = edges, .edges_len = 2});
    candidate.above[1] = 400;
    judge_batch(&j, &candidate, &stable);
    expect(&j, JUDGEMENT_CONTINUE, "", ""); /* slow together: one stall is no proof */
    j = made(
        &(struct judge_config){.alpha = .01, .has_stable = true, .edges = edges, .edges_len = 2});
    candidate = (struct judge_arm){.requests = 200, .errors = 1, .above = {100, 40}};
    stable = (struct judge_arm){.requests = 1800, .errors = 9, .above = {900, 90}};
    for (int i = 0; i < 10; i++)
        judge_batch(&j, &candidate, &stable);
    expect(&j, JUDGEMENT_LATENCY,
           "slow answers 20% (400 of 2,000 requests) against 5.0% (900 of 18,000) of stable",
           "of the 100 needed");
}

static void counts_that_do_not_fit_together_do_no_harm(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7};
    struct judge j = made(&(struct judge_config){.alpha = .01,
                                                 .has_stable = true,
                                                 .edges = edges,
                                                 .edges_len = 1,
                                                 .slo_error_rate = .01,
                                                 .slo_latency_share = .01});
    struct judge_arm candidate = {
        .requests = 3, .errors = 9, .above = {UINT64_MAX}, .above_slo = 50};
    struct judge_arm stable = {.requests = 0, .errors = 4};
    judge_batch(&j, &candidate, &stable);
    assert_int_equal(j.errors.candidate_events, 3);
    assert_int_equal(j.errors.stable_events, 0);
    struct buf text = BUF_INIT;
    judge_look(&j, &text);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_data_is_said),
        cmocka_unit_test(a_worse_candidate_is_told_with_both_arms_numbers),
        cmocka_unit_test(a_fix_of_a_broken_release_is_not_rolled_back),
        cmocka_unit_test(without_a_stable_release_the_slo_decides),
        cmocka_unit_test(a_stable_that_keeps_the_slo_is_what_is_compared_with),
        cmocka_unit_test(latency_has_its_own_judgement),
        cmocka_unit_test(counts_that_do_not_fit_together_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
