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

/* ---- as JSON and back
 * --------------------------------------------------------------------------------- */

static void the_record_is_exact(void **state)
{
    (void)state;
    static const uint32_t edges[] = {3, 5, 8, 13, UINT32_MAX};
    struct dice dice = {11};
    for (uint32_t len = 0; len <= 5; len++) {
        struct judge j = made(&(struct judge_config){.alpha = .001 / 3,
                                                     .has_stable = true,
                                                     .edges = edges,
                                                     .edges_len = len,
                                                     .slo_error_rate = 1.0 / 7,
                                                     .slo_latency_share = .05,
                                                     .min_requests = 50});
        for (int i = 0; i < 200; i++) {
            struct judge_arm candidate = {.requests = 10 + (uint64_t)(dice_uniform(&dice) * 100)};
            struct judge_arm stable = {.requests = (uint64_t)(dice_uniform(&dice) * 1000)};
            candidate.errors = dice_binomial(&dice, candidate.requests, .1);
            stable.errors = stable.above_slo = dice_binomial(&dice, stable.requests, .1);
            for (uint32_t k = 0; k < len; k++)
                candidate.above[k] = dice_binomial(&dice, candidate.requests, .3);
            judge_batch(&j, &candidate, &stable);
        }
        struct buf text = BUF_INIT;
        judge_to_json(&j, &text);
        struct judge back;
        memset(&back, 0x5a, sizeof back);
        struct error err = ERROR_INIT;
        if (judge_from_json(&back, buf_str(&text), &err) < 0)
            fail_msg("%s", err.text);
        struct buf again = BUF_INIT;
        judge_to_json(&back, &again);
        assert_string_equal(buf_str(&again), buf_str(&text));
        assert_memory_equal(back.errors.log_likelihood, j.errors.log_likelihood,
                            sizeof j.errors.log_likelihood);
        assert_memory_equal(back.latency, j.latency, sizeof j.latency);
        assert_memory_equal(&back.slo_errors, &j.slo_errors, sizeof j.slo_errors);
        assert_memory_equal(back.edges, j.edges, sizeof j.edges);
        assert_true(back.alpha == j.alpha && back.has_stable && back.min_requests == 50);
        assert_int_equal(back.silent_batches, j.silent_batches);
        assert_int_equal(back.stable_above_slo, j.stable_above_slo);
        /* What is cut anywhere is refused, and the judge is left as it was. */
        struct judge kept = j;
        for (size_t cut = 0; cut < text.len; cut += 1 + text.len / 97) {
            buf_clear(&again);
            buf_append(&again, buf_str(&text), cut);
            assert_int_equal(judge_from_json(&j, buf_str(&again), &err), -1);
        }
        assert_memory_equal(&kept, &j, sizeof j);
        buf_release(&again);
        buf_release(&text);
    }
}

static void a_wrong_record_is_refused(void **state)
{
    (void)state;
    static const uint32_t edges[] = {3};
    struct judge j = made(&(struct judge_config){
        .alpha = .5, .has_stable = true, .edges = edges, .edges_len = 1, .slo_error_rate = .5});
    struct buf text = BUF_INIT;
    judge_to_json(&j, &text);
    static const char *const changes[][2] = {
        {"\"v\":1", "\"v\":2"},
        {"\"alpha\":0.5", "\"alpha\":1.5"},
        {"\"alpha\":0.5", "\"alpha\":0"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[9,0,0,0]"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[-1,0,0,0]"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[0,0,0]"},
        {"\"edges\":[3]", "\"edges\":[3,4]"},
        {"\"edges\":[3]", "\"edges\":[3,4,5,6,7,8]"},
        {"\"edges\":[3]", "\"edges\":[4294967296]"},
        {"\"log\":[0,", "\"log\":["},
        {"\"log\":[0,", "\"log\":[\"0\","},
        {"\"p_max\":0.5", "\"p_max\":1.01"},
        {"\"has_stable\":true", "\"has_stable\":1"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *at = strstr(buf_str(&text), changes[i][0]);
        assert_non_null(at);
        struct buf changed = BUF_INIT;
        buf_append(&changed, text.data, (size_t)(at - text.data));
        buf_puts(&changed, changes[i][1]);
        buf_puts(&changed, at + strlen(changes[i][0]));
        struct error err = ERROR_INIT;
        struct judge out;
        if (judge_from_json(&out, buf_str(&changed), &err) == 0)
            fail_msg("%s was taken", changes[i][1]);
        assert_true(err.text[0] != '\0');
        buf_release(&changed);
    }
    assert_int_equal(judge_from_json(&j, "[]", NULL), -1);
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
        cmocka_unit_test(the_record_is_exact),
        cmocka_unit_test(a_wrong_record_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
