/* What people are told: the verdicts at the end, each metric in a sentence, what it still takes. */
#include "worlds.h"

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

static void expect_verdict(const struct judge *j, enum judgement now, enum judgement at_end,
                           const char *words)
{
    struct buf text = BUF_INIT;
    enum judgement got = judge_verdict(j);
    if (got != now)
        fail_msg("%s, not %s", judgement_word(got), judgement_word(now));
    assert_int_equal(judge_look(j, &text), now);
    buf_clear(&text);
    got = judge_at_end(j, &text);
    if (got != at_end)
        fail_msg("%s, not %s", judgement_word(got), judgement_word(at_end));
    expect_text(&text, words);
    buf_release(&text);
}

static void expect_sentence(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* ---- verdicts
 * --------------------------------------------------------------------------------------------- */

static void the_end_of_a_hold_makes_inconclusive_of_continue(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7};
    struct judge_config config = {
        .alpha = .001, .has_stable = true, .edges = edges, .edges_len = 1};
    struct judge j = made(&config);
    expect_verdict(&j, JUDGEMENT_NO_DATA, JUDGEMENT_NO_DATA, "no request");
    feed(&j, 1000, 5, 9000, 45);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE,
                   "the time is over without an answer: the errors are not shown to be no more "
                   "than 2 times as bad as stable (evidence 1.5 of the 20 needed)");
    for (int i = 0; i < 20; i++)
        feed(&j, 1000, 5, 9000, 45);
    /* The errors are fine; nothing was ever slow, in 21,000 requests. */
    expect_verdict(&j, JUDGEMENT_PASS, JUDGEMENT_PASS, "as good as it has to be");
    feed(&j, 1000, 500, 9000, 45);
    expect_verdict(&j, JUDGEMENT_ERRORS, JUDGEMENT_ERRORS, "worse by a factor");
}

static void each_guarded_metric_has_to_be_fine(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7};
    static const struct judge_extra extra = {.name = "memory", .test = {.tolerance = 1.5}};
    struct judge_config config = {.alpha = .001,
                                  .has_stable = true,
                                  .edges = edges,
                                  .edges_len = 1,
                                  .extras = &extra,
                                  .extras_len = 1};
    struct judge j = made(&config);
    feed(&j, 10000, 50, 90000, 450);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "memory is not shown");
    for (int i = 0; i < 8; i++)
        judge_pair(&j, 0, 100, 100);
    expect_verdict(&j, JUDGEMENT_PASS, JUDGEMENT_PASS, "");
    for (int i = 0; i < 40; i++)
        judge_pair(&j, 0, 200, 100);
    expect_verdict(&j, JUDGEMENT_METRIC, JUDGEMENT_METRIC,
                   "memory 200 against 100 of stable, higher by more than a factor of 1.5 in 40 of "
                   "48 comparisons; evidence");
    config.edges_len = 0; /* the latency has no marks yet */
    config.extras_len = 0;
    j = made(&config);
    feed(&j, 10000, 50, 90000, 450);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "the latency is not shown");
}

/* It has a small part of alpha, rolls back also where nobody visits, and nothing waits for it. */
static void what_instances_use_only_condemns(void **state)
{
    (void)state;
    static const struct judge_extra extras[] = {
        {.name = "memory", .kind = EXTRA_MEMORY, .test = {.tolerance = 2}},
        {.name = "cpu-per-request", .kind = EXTRA_CPU, .test = {.tolerance = 2}}};
    struct judge_config config = {.alpha = .001, .has_stable = true};
    double alone = judge_errors_alpha(&config);
    config.extras = extras;
    config.extras_len = 2;
    assert_true(judge_errors_alpha(&config) > .9 * alone);
    struct judge j = made(&config);
    feed(&j, 10000, 50, 90000, 450);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "the latency is not shown");
    assert_null(judge_used(&(struct judge){0}, EXTRA_CPU));
    j = made(&config);
    struct pair_test *memory = judge_used(&j, EXTRA_MEMORY);
    int pairs = 0;
    for (; judge_verdict(&j) == JUDGEMENT_NO_DATA; pairs++)
        pair_count(memory, true, 300 << 20, 100 << 20);
    assert_in_range(pairs, 16, 19);
    expect_verdict(&j, JUDGEMENT_METRIC, JUDGEMENT_METRIC,
                   "memory per instance 300 MiB against 100 MiB of stable, higher by more than a "
                   "factor of 2 and still growing in ");
}

static void without_errors_a_ceiling_lets_it_pass(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7};
    struct judge_config config = {
        .alpha = .001, .has_stable = true, .edges = edges, .edges_len = 1};
    struct judge j = made(&config);
    feed(&j, 100000, 0, 900000, 0); /* nothing to compare */
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "the errors are not shown");
    config.negligible_error_rate = .001;
    j = made(&config);
    feed(&j, 1000, 0, 9000, 0);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "or within its ceiling");
    feed(&j, 9000, 0, 90000, 0);
    expect_verdict(&j, JUDGEMENT_PASS, JUDGEMENT_PASS, "");
    /* It is for promotion only: a rate above it is not rolled back for that. */
    j = made(&config);
    feed(&j, 10000, 50, 90000, 450);
    expect_verdict(&j, JUDGEMENT_PASS, JUDGEMENT_PASS, "");
    config = (struct judge_config){.alpha = .001, .slo_error_rate = .01};
    j = made(&config);
    feed(&j, 400, 0, 0, 0);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "not shown to be within its");
    feed(&j, 100, 0, 0, 0);
    expect_verdict(&j, JUDGEMENT_PASS, JUDGEMENT_PASS, "shown to be within its ceiling");
    config.slo_error_rate = 0;
    j = made(&config);
    feed(&j, 400, 0, 0, 0);
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE,
                   "nothing says what good would be");
}

/* A mark of the latency that is only at the tail is not made good by the others. */
static void one_slow_mark_does_not_pass(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7, 9};
    struct judge j = made(
        &(struct judge_config){.alpha = 1e-9, .has_stable = true, .edges = edges, .edges_len = 2});
    for (int i = 0; i < 300; i++) {
        struct judge_arm candidate = {.requests = 100, .errors = 1, .above = {50, 2 + i % 2}};
        struct judge_arm stable = {.requests = 900, .errors = 9, .above = {450, 10}};
        judge_batch(&j, &candidate, &stable);
    }
    expect_verdict(&j, JUDGEMENT_CONTINUE, JUDGEMENT_INCONCLUSIVE, "the latency is not shown");
}

/* ---- reports
 * ---------------------------------------------------------------------------------------------- */

static void a_metric_is_told_with_what_it_still_takes(void **state)
{
    (void)state;
    struct judge j = made(&(struct judge_config){.alpha = .001, .has_stable = true});
    struct judge_report r;
    judge_explain(&j, 35, &r);
    assert_int_equal(r.judgement, JUDGEMENT_NO_DATA);
    assert_int_equal(r.len, 1);
    expect_sentence(r.metrics[0].text, "errors: no data yet");
    assert_true(isinf(r.needs_s));
    for (int i = 0; i < 4; i++)
        feed(&j, 200, 3, 1800, 10);
    judge_explain(&j, 35, &r);
    const struct metric_report *m = &r.metrics[0];
    assert_int_equal(r.judgement, JUDGEMENT_CONTINUE);
    assert_int_equal(m->candidate_events, 12);
    assert_int_equal(m->stable_requests, 7200);
    assert_near(m->ratio, 2.7, 1e-9);
    assert_true(m->ratio_low < 2.7 && m->ratio_high > 2.7);
    assert_true(m->candidate_low < .015 && m->candidate_high > .015);
    assert_near(m->log_worse, m->log_e + log(m->weight), 1e-12);
    assert_true(m->guarded && !m->fine);
    assert_true(isinf(m->needs_to_pass)); /* at this estimate it never will */
    assert_true(m->needs_to_roll_back > 200 && m->needs_to_roll_back < 3000);
    assert_near(r.needs_s, m->needs_to_roll_back / 35, 1e-9);
    expect_sentence(m->text, "the new version's error rate is 1.5% (between 0.");
    expect_sentence(m->text, "stable's 0.6%, 0.");
    expect_sentence(m->text, " times stable's; evidence ");
    expect_sentence(m->text, " of the 1,000 needed; about ");
    expect_sentence(m->text, " more at 35 req/s");
    expect_sentence(r.text, "more at 35 req/s");
    judge_explain(&j, 0, &r);
    expect_sentence(r.metrics[0].text, " more requests");
    assert_true(isinf(r.needs_s) && isfinite(r.needs_requests));
}

static void a_decided_metric_says_so(void **state)
{
    (void)state;
    struct judge j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .slo_error_rate = .2, .slo_latency_share = .05});
    struct judge_report r;
    feed(&j, 1000, 100, 9000, 45);
    judge_explain(&j, 10, &r);
    assert_int_equal(r.judgement, JUDGEMENT_ERRORS);
    assert_int_equal(r.len, 3);
    assert_near(r.needs_s, 0, 0);
    assert_near(r.metrics[0].needs_to_roll_back, 0, 0);
    expect_sentence(r.metrics[0].text, "that is worse beyond doubt: evidence over 1,000,000");
    expect_sentence(r.metrics[1].name, "slo-errors");
    expect_sentence(r.metrics[2].text, "share of answers over the slo's latency is 0%");
    j = made(&(struct judge_config){.alpha = .001, .has_stable = true});
    feed(&j, 10000, 50, 90000, 450);
    judge_explain(&j, 10, &r);
    assert_true(r.metrics[0].fine);
    expect_sentence(r.metrics[0].text, "that is good enough: evidence ");
    expect_sentence(r.metrics[0].text, " of the 20 needed");
}

static void extra_metrics_are_told_by_comparisons(void **state)
{
    (void)state;
    static const struct judge_extra extras[] = {
        {.name = "cpu", .test = {.tolerance = 1.2}},
        {.name = "hits", .test = {.tolerance = 1, .less_is_worse = true}}};
    struct judge j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .extras = extras, .extras_len = 2});
    struct judge_report r;
    for (int i = 0; i < 4; i++)
        judge_pair(&j, 0, .5, .25);
    judge_explain(&j, 10, &r);
    assert_int_equal(r.len, 3);
    assert_true(r.metrics[1].is_pair);
    expect_sentence(r.metrics[1].text, "cpu is 0.5, stable's 0.25; it was worse by more than a "
                                       "factor of 1.2 in 4 of 4 comparisons; evidence ");
    expect_sentence(r.metrics[1].text, " more comparisons");
    expect_sentence(r.metrics[2].text, "hits: no data yet");
    assert_true(r.metrics[1].needs_to_roll_back > 5 && r.metrics[1].needs_to_roll_back < 30);
}

static void what_instances_use_is_told_in_units(void **state)
{
    (void)state;
    static const struct judge_extra extras[] = {
        {.name = "memory", .kind = EXTRA_MEMORY, .test = {.tolerance = 2}},
        {.name = "cpu-per-request", .kind = EXTRA_CPU, .test = {.tolerance = 1.5}}};
    struct judge j = made(&(struct judge_config){
        .alpha = .001, .has_stable = true, .extras = extras, .extras_len = 2});
    struct judge_report r;
    pair_note(judge_used(&j, EXTRA_MEMORY), 53.5 * (1 << 20), 52 * (1 << 20));
    for (int i = 0; i < 4; i++)
        pair_count(judge_used(&j, EXTRA_CPU), i > 0, 3100, 1020);
    judge_explain(&j, 10, &r);
    assert_int_equal(r.len, 3);
    assert_string_equal(r.metrics[1].name, "memory");
    assert_string_equal(r.metrics[1].text, "memory per instance is 53.5 MiB, stable's 52 MiB");
    assert_false(r.metrics[1].guarded);
    expect_sentence(r.metrics[2].text,
                    "CPU per request is 3.1 ms, stable's 1.02 ms; it was worse by "
                    "more than a factor of 1.5 in 3 of 4 comparisons");
    pair_count(judge_used(&j, EXTRA_MEMORY), true, 200 << 20, 52 << 20);
    judge_explain(&j, 10, &r);
    expect_sentence(r.metrics[1].text, "and still growing in 1 of 1 comparisons");
}

/* The estimate of what it takes is about what it takes. */
static void the_outlook_is_about_right(void **state)
{
    (void)state;
    static const double rates[] = {.02, .05, .5};
    for (size_t i = 0; i < 3; i++) {
        struct dice dice = {90 + i};
        double said = 0, took = 0;
        for (int run = 0; run < 300; run++) {
            struct judge j = made(&(struct judge_config){.alpha = .001, .has_stable = true});
            struct judge_report r;
            /* As if the estimate were the truth: as many as have to come. */
            uint64_t nc = (uint64_t)(2 / rates[i]);
            feed(&j, nc, 2, 9 * nc, (uint64_t)(.005 * 9 * (double)nc + dice_uniform(&dice)));
            judge_explain(&j, 0, &r);
            if (!isfinite(r.metrics[0].needs_to_roll_back) || r.metrics[0].stable_events == 0)
                continue;
            double rate_b = r.metrics[0].stable_rate;
            said += r.metrics[0].needs_to_roll_back;
            uint64_t before = j.errors.candidate_requests;
            while (!judgement_rolls_back(judge_verdict(&j)) &&
                   j.errors.candidate_requests < 1000000)
                feed(&j, 1, dice_uniform(&dice) < rates[i], 9, dice_binomial(&dice, 9, rate_b));
            took += (double)(j.errors.candidate_requests - before);
        }
        if (took > 0) {
            print_message("errors of %g: said %.2f of what it took\n", rates[i], said / took);
            assert_true(said / took > .5 && said / took < 2);
        }
    }
}

/* ---- plans
 * ------------------------------------------------------------------------------------------------
 */

static void plans_know_their_limits(void **state)
{
    (void)state;
    assert_true(isinf(judge_detectable(.001, .1, .005, 1, 10))); /* one request of the candidate */
    assert_true(judge_detectable(.001, .1, .005, 100, 600) <
                judge_detectable(.001, .1, .005, 100, 60));
    assert_true(judge_detectable(.001, .5, .005, 100, 60) <
                judge_detectable(.001, .05, .005, 100, 60));
    assert_true(isinf(judge_hold_for(.001, .1, .005, .006, 10, 3600)));
    assert_true(judge_detectable(.001, .1, .2, 1e5, 3600) < .25); /* a great many errors */
    assert_near(judge_requests_to_keep(.01, .01, 0), 613, 0);
    assert_true(isinf(judge_requests_to_keep(.05, .01, .01)));
    assert_true(judge_requests_to_keep(.05, .01, .005) > judge_requests_to_keep(.05, .01, .001));
    struct judge_config config = {.alpha = .001, .has_stable = true};
    assert_near(judge_errors_alpha(&config), .001 * 4 / 7, 1e-15);
    config.slo_error_rate = .01;
    assert_near(judge_errors_alpha(&config), .001 * 4 / 8, 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_a_hold_makes_inconclusive_of_continue),
        cmocka_unit_test(each_guarded_metric_has_to_be_fine),
        cmocka_unit_test(what_instances_use_only_condemns),
        cmocka_unit_test(without_errors_a_ceiling_lets_it_pass),
        cmocka_unit_test(one_slow_mark_does_not_pass),
        cmocka_unit_test(a_metric_is_told_with_what_it_still_takes),
        cmocka_unit_test(a_decided_metric_says_so),
        cmocka_unit_test(extra_metrics_are_told_by_comparisons),
        cmocka_unit_test(what_instances_use_is_told_in_units),
        cmocka_unit_test(the_outlook_is_about_right),
        cmocka_unit_test(plans_know_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
