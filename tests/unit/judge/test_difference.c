/* Answers that differ: how often that may be, and how soon more is found; both ways. */
#include "worlds.h"

static struct judge comparing(double tolerated)
{
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = .001,
                                          .has_stable = true,
                                          .compares_answers = true,
                                          .differences = tolerated});
    return j;
}

static void bring(struct judge *j, uint64_t pairs, uint64_t differed)
{
    judge_batch(j, &(struct judge_arm){.requests = pairs}, &(struct judge_arm){.requests = pairs});
    judge_differed(
        j, &(struct judge_compared){.pairs = pairs, .differed = differed, .body = differed});
}

static void where_none_may_differ_the_first_rolls_back(void **state)
{
    (void)state;
    struct judge j = comparing(0);
    cleanup_buf struct buf text = BUF_INIT;
    bring(&j, 100000, 0);
    assert_false(judgement_rolls_back(judge_verdict(&j)));
    bring(&j, 1, 1);
    assert_int_equal(judge_verdict(&j), JUDGEMENT_DIFFERENCES);
    assert_int_equal(judge_look(&j, &text), JUDGEMENT_DIFFERENCES);
    expect_text(&text,
                "0.001% of the answers differ from stable's (1 of 100,001 compared), over the "
                "tolerated 0%; 1 in the body; evidence over 1,000,000 of the 1,000 needed");
}

/* Few are chance where some may differ; but not many in a row. */
static void where_some_may_differ_it_takes_several(void **state)
{
    (void)state;
    struct judge j = comparing(.001);
    uint64_t first = 0;
    while (!judgement_rolls_back(judge_verdict(&j)) && first < 100) {
        bring(&j, 1, 1);
        first++;
    }
    assert_in_range(first, 4, 6);
    j = comparing(.001);
    for (int i = 0; i < 200; i++)
        bring(&j, 1000, 1); /* exactly what is tolerated */
    assert_false(judgement_rolls_back(judge_verdict(&j)));
    j = comparing(1);
    bring(&j, 5000, 5000); /* they are only counted */
    assert_false(judgement_rolls_back(judge_verdict(&j)));
    assert_int_equal(j.differences.seen.differed, 5000);
}

/* To pass, that hardly any differs has to be shown, too. */
static void passing_waits_for_them(void **state)
{
    (void)state;
    static const uint32_t edges[] = {7};
    for (int i = 0; i < 2; i++) {
        struct judge j = comparing(i == 0 ? 0 : .001);
        cleanup_buf struct buf text = BUF_INIT;
        judge_set_edges(&j, edges, 1);
        struct judge_arm arm = {.requests = 20000, .errors = 400};
        judge_batch(&j, &arm, &arm);
        assert_int_equal(judge_verdict(&j), JUDGEMENT_CONTINUE);
        judge_differed(&j, &(struct judge_compared){.pairs = 500});
        assert_int_equal(judge_at_end(&j, &text), JUDGEMENT_INCONCLUSIVE);
        expect_text(&text, i == 0 ? "the differences are not shown to be under 0.5% (evidence "
                                  : "the differences are not shown to be under 0.1% (evidence ");
        uint64_t pairs = 500;
        for (; judge_verdict(&j) != JUDGEMENT_PASS && pairs < 100000; pairs += 100)
            judge_differed(&j, &(struct judge_compared){.pairs = 100});
        if (i == 0)
            assert_in_range(pairs, 600, 1300);
        else
            assert_in_range(pairs, 3000, 6500);
    }
}

static void a_release_at_the_limit_is_left_alone(void **state)
{
    (void)state;
    struct dice dice = {77};
    int false_alarms = 0, found = 0, n = runs();
    double pairs_until_found = 0;
    for (int run = 0; run < n; run++) {
        struct difference_test d;
        difference_init(&d, .01);
        for (int batch = 0; batch < 300; batch++) {
            struct judge_compared more = {.pairs = 50};
            more.differed = dice_binomial(&dice, 50, .01);
            difference_update(&d, &more);
            if (difference_worse_log(&d) >= log(100)) {
                false_alarms++;
                break;
            }
        }
    }
    for (int run = 0; run < 300; run++) {
        struct difference_test d;
        difference_init(&d, .01);
        for (int batch = 0; batch < 300; batch++) {
            struct judge_compared more = {.pairs = 50};
            more.differed = dice_binomial(&dice, 50, .05);
            difference_update(&d, &more);
            if (difference_worse_log(&d) >= log(100)) {
                found++;
                pairs_until_found += (double)d.seen.pairs;
                break;
            }
        }
    }
    print_message("%d of %d false alarms; %d of 300 found after %.0f pairs\n", false_alarms, n,
                  found, pairs_until_found / found);
    assert_true(false_alarms <= n / 100); /* alpha is 1 % */
    assert_int_equal(found, 300);
    assert_true(pairs_until_found / found < 400);
}

static void the_report_has_them(void **state)
{
    (void)state;
    struct judge j = comparing(.001), back;
    struct judge_report r;
    struct buf text = BUF_INIT;
    bring(&j, 1000, 0);
    judge_differed(&j, &(struct judge_compared){
                           .pairs = 400, .differed = 12, .status = 2, .headers = 1, .body = 10});
    judge_explain(&j, 0, &r);
    const struct metric_report *m = &r.metrics[r.len - 1];
    assert_string_equal(m->name, "differences");
    assert_false(m->is_pair);
    assert_true(m->guarded && !m->fine);
    assert_int_equal(m->candidate_events, 12);
    assert_int_equal(m->candidate_requests, 1400);
    buf_puts(&text, m->text);
    expect_text(&text, "0.9% of the answers differ from stable's (12 of 1,400 compared), over the "
                       "tolerated 0.1%; 2 in the status, 1 in the header fields, 10 in the body");
    /* It is kept with the rest; what an earlier version stored has none. */
    buf_clear(&text);
    judge_to_json(&j, &text);
    assert_int_equal(judge_from_json(&back, buf_str(&text), NULL), 0);
    assert_true(back.differences.used);
    assert_memory_equal(&back.differences.seen, &j.differences.seen, sizeof j.differences.seen);
    assert_true(difference_worse_log(&back.differences) == difference_worse_log(&j.differences));
    char *broken = strstr(text.data, "\"tolerated\":0.001");
    assert_non_null(broken);
    memcpy(broken, "\"tolerated\":1.001", strlen("\"tolerated\":1.001"));
    assert_int_equal(judge_from_json(&back, buf_str(&text), NULL), -1);
    judge_init(&j, &(struct judge_config){.alpha = .001, .has_stable = true});
    buf_clear(&text);
    judge_to_json(&j, &text);
    assert_null(strstr(buf_str(&text), "differences"));
    assert_int_equal(judge_from_json(&back, buf_str(&text), NULL), 0);
    assert_false(back.differences.used);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_none_may_differ_the_first_rolls_back),
        cmocka_unit_test(where_some_may_differ_it_takes_several),
        cmocka_unit_test(passing_waits_for_them),
        cmocka_unit_test(a_release_at_the_limit_is_left_alone),
        cmocka_unit_test(the_report_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
