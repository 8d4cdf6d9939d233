/* The model: what becomes of good and bad releases, from fixed seeds. */
#include "simulate/simulate_internal.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define APP "app: shop\nrun: ./shop\nroutes: [{path: /}]\n"

static struct app_spec *spec_of(const char *text)
{
    struct diagnostics diags = {0};
    struct spec_source source = {.text = text, .len = strlen(text)};
    struct app_spec *spec = spec_parse(&source, &diags);
    if (spec == NULL)
        fail_msg("%s: %s", text, diags.len > 0 ? diags.items[0].text : "?");
    diagnostics_release(&diags);
    return spec;
}

/* What differs from 100 requests per second, of which 0.5 % fail on both sides. */
struct world {
    double rate;             /* 0: 100 per second */
    double stable_errors;    /* 0: .005; negative: none */
    double candidate_errors; /* 0: as stable's; negative: none */
    double slower;           /* 0: as fast */
    int64_t start_ms;        /* 0: 1 s */
};

static const struct simulate_latency usual = {.median_ms = 40, .sigma = .6};

static struct simulation *world_begin(const struct app_spec *spec, const struct world *w)
{
    struct simulate_minute minute = {.requests_per_s = w->rate > 0 ? w->rate : 100,
                                     .stable_errors = w->stable_errors > 0   ? w->stable_errors
                                                      : w->stable_errors < 0 ? 0
                                                                             : .005};
    struct simulate_config config = {
        .spec = spec,
        .minutes = &minute,
        .minutes_len = 1,
        .stable = usual,
        .candidate = {usual.median_ms * (w->slower > 0 ? w->slower : 1), usual.sigma},
        .candidate_errors = w->candidate_errors > 0   ? w->candidate_errors
                            : w->candidate_errors < 0 ? 0
                                                      : 1,
        .candidate_errors_relative = w->candidate_errors == 0,
        .start_ms = w->start_ms > 0 ? w->start_ms : 1000,
    };
    return simulation_new(&config);
}

static struct simulate_summary many(const char *text, const struct world *w, size_t runs)
{
    struct app_spec *spec = spec_of(text);
    struct simulation *s = world_begin(spec, w);
    struct simulate_outcome *outcomes = xcalloc(runs, sizeof *outcomes);
    struct simulate_summary summary;
    for (size_t i = 0; i < runs; i++)
        simulation_run(s, 2026, i, &outcomes[i]);
    simulate_summarize(outcomes, runs, &summary);
    free(outcomes);
    simulation_free(s);
    spec_free(spec);
    return summary;
}

#define expect_between(value, low, high)                                                           \
    do {                                                                                           \
        double v = (double)(value);                                                                \
        if (!(v >= (low) && v <= (high)))                                                          \
            fail_msg(#value " is %g, not within %g and %g", v, (double)(low), (double)(high));     \
    } while (0)

#define CANARY APP "strategy: {canary: {steps: [10, 50], hold: 10s}}\n"

/* ---- canaries
 * ---------------------------------------------------------------------------- */

static void no_errors_at_all_is_no_roll_back(void **state)
{
    (void)state;
    struct world w = {.stable_errors = -1, .candidate_errors = -1};
    struct simulate_summary s = many(CANARY, &w, 300);
    assert_int_equal(s.promoted, 300);
    assert_int_equal(s.failed.most, 0);
    /* 1 s of start, three times: for each weight more instances? One replica: only once. */
    expect_between(s.promoted_ms.median, 31000, 31000);
    expect_between(s.promoted_ms.most, 31000, 31000);
}

static void half_of_all_requests_failing_is_seen_at_once(void **state)
{
    (void)state;
    struct world w = {.candidate_errors = .5};
    struct simulate_summary s = many(CANARY, &w, 300);
    assert_int_equal(s.rolled_back, 300);
    assert_int_equal(s.decided_by[DECIDED_BY_ERRORS], 300);
    expect_between(s.exposed_ms.median, 200, 2500);
    expect_between(s.candidate_requests.median, 5, 30);
    expect_between(s.failed.median, 4, 15);
    /* 10 % for 10 s, 50 % for 10 s, then all for 10 s: 1,600 requests. */
    expect_between(s.failed_unjudged.median, 780, 820);
}

static void alpha_is_kept(void **state)
{
    (void)state;
    struct world w = {.stable_errors = .02};
    struct simulate_summary s = many(
        APP "strategy: {canary: {steps: [20, 50], hold: 10s, judge: {alpha: 2%}}}\n", &w, 1500);
    assert_int_equal(s.promoted + s.rolled_back, 1500);
    expect_between(s.rolled_back, 1, 1500 * .02 + 3 * sqrt(1500 * .02 * .98));
}

static void more_worse_is_seen_sooner(void **state)
{
    (void)state;
    struct simulate_summary a = many(CANARY, &(struct world){.candidate_errors = .05}, 200);
    struct simulate_summary b = many(CANARY, &(struct world){.candidate_errors = .2}, 200);
    expect_between(a.rolled_back, 180, 200);
    expect_between(b.rolled_back, 199, 200);
    assert_true(b.exposed_ms.median < a.exposed_ms.median);
}

static void slow_answers_are_the_latency_s(void **state)
{
    (void)state;
    struct simulate_summary s = many(CANARY, &(struct world){.slower = 5}, 100);
    expect_between(s.decided_by[DECIDED_BY_LATENCY], 99, 100);
    /* A tenth slower is no fault. */
    s = many(CANARY, &(struct world){.slower = 1.1}, 100);
    expect_between(s.rolled_back, 0, 1);
}

static void the_policy_for_the_inconclusive(void **state)
{
    (void)state;
    struct world w = {.rate = .5}; /* five requests in all of the first hold */
#define WITH(policy)                                                                               \
    APP "strategy: {canary: {steps: [10], hold: 10s, judge: {inconclusive: " policy "}}}\n"
    struct simulate_summary s = many(WITH("pause"), &w, 50);
    assert_int_equal(s.paused, 50);
    assert_int_equal(s.decided_by[DECIDED_BY_POLICY], 50);
    expect_between(s.stopped_ms.median, 11000, 11000);
    s = many(WITH("rollback"), &w, 50);
    assert_int_equal(s.rolled_back, 50);
    s = many(WITH("continue"), &w, 50);
    assert_int_equal(s.promoted, 50);
    assert_int_equal(s.cleared, 0);
    expect_between(s.without_data, 1, 50);
#undef WITH
}

static void on_failure_pause_pauses(void **state)
{
    (void)state;
    struct simulate_summary s =
        many(CANARY "on-failure: pause\n", &(struct world){.candidate_errors = .5}, 50);
    assert_int_equal(s.paused, 50);
    assert_int_equal(s.decided_by[DECIDED_BY_ERRORS], 50);
}

static void what_both_share_is_nobody_s_fault(void **state)
{
    (void)state;
    struct app_spec *spec = spec_of(APP "strategy: {canary: {steps: [20], hold: 2m}}\n");
    /* A bad minute in every three. */
    struct simulate_minute minutes[] = {{100, .001}, {300, .3}, {20, .001}};
    struct simulate_config config = {.spec = spec,
                                     .minutes = minutes,
                                     .minutes_len = 3,
                                     .stable = usual,
                                     .candidate = usual,
                                     .candidate_errors = 1,
                                     .candidate_errors_relative = true};
    struct simulation *s = simulation_new(&config);
    struct simulate_outcome o;
    uint64_t least = UINT64_MAX, most = 0;
    for (uint64_t i = 0; i < 60; i++) {
        simulation_run(s, 1, i, &o);
        assert_int_equal(o.result, RESULT_PROMOTED);
        least = o.stable_errors < least ? o.stable_errors : least;
        most = o.stable_errors > most ? o.stable_errors : most;
    }
    /* Two minutes of three: one run in three misses the bad one in its judged part. */
    expect_between(least, 0, 1000);
    expect_between(most, 4000, 6000);
    simulation_free(s);
    spec_free(spec);
}

/* ---- the other strategies
 * ---------------------------------------------------------------- */

static void a_rolling_deploy_of_bad_code_is_mostly_too_fast(void **state)
{
    (void)state;
    struct world w = {.candidate_errors = .5};
    struct simulate_summary s = many(APP "replicas: 4\n", &w, 100);
    expect_between(s.rolled_back, 95, 100); /* the second instance takes its second */
    s = many(APP, &w, 100);
    assert_int_equal(s.promoted, 100); /* one instance: switched over before it served anybody */
    assert_int_equal(s.without_data, 100);
}

static void blue_green_is_over_with_the_switch(void **state)
{
    (void)state;
    struct simulate_summary s =
        many(APP "strategy: blue-green\n", &(struct world){.candidate_errors = .5}, 50);
    assert_int_equal(s.promoted, 50);
    expect_between(s.promoted_ms.median, 1000, 1000);
}

static void requests_wait_while_there_is_nobody(void **state)
{
    (void)state;
    static const char text[] = APP "hold: {time: 5s, requests: 50}\nstrategy: {recreate: "
                                   "{hold-requests: 3s}}\n";
    struct world w = {.stable_errors = -1, .candidate_errors = -1, .rate = 20};
    struct simulate_summary s = many(text, &w, 50);
    assert_int_equal(s.promoted, 50);
    expect_between(s.failed.most, 0, 0); /* about 20 wait for a second */
    w.start_ms = 4000;
    s = many(text, &w, 50); /* about 80 for 50 places */
    expect_between(s.failed.median, 20, 40);
    w.start_ms = 8000;
    s = many(text, &w, 50); /* and those of the first 3 s give up: 60 and 50 */
    expect_between(s.failed.median, 90, 130);
}

static void the_first_instances_are_waited_for(void **state)
{
    (void)state;
    struct world w = {.stable_errors = -1, .candidate_errors = -1, .start_ms = 7000};
    struct simulate_summary s =
        many(APP "replicas: 4\nstrategy: {canary: {steps: [25, 50], hold: 10s}}\n", &w, 5);
    /* One instance, one more, two more; three holds. */
    expect_between(s.promoted_ms.median, 51000, 51000);
}

/* ---- numbers
 * ----------------------------------------------------------------------------- */

static void a_seed_and_a_number_give_a_run(void **state)
{
    (void)state;
    struct app_spec *spec = spec_of(CANARY);
    struct simulation *s = world_begin(spec, &(struct world){.candidate_errors = .05});
    struct simulate_outcome a, b, c, d;
    simulation_run(s, 7, 3, &a);
    simulation_run(s, 7, 4, &c);
    simulation_run(s, 8, 3, &d);
    simulation_run(s, 7, 3, &b);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    assert_memory_not_equal(&a, &d, sizeof a);
    simulation_free(s);
    spec_free(spec);
}

static void draws_have_their_means_and_variances(void **state)
{
    (void)state;
    static const struct {
        uint64_t n; /* 0: Poisson of mean p */
        double p;
    } cases[] = {{0, .02}, {0, 5},       {0, 100},   {0, 3000},    {10, .3},
                 {40, .7}, {1500, .004}, {1500, .1}, {100000, .5}, {7, .999}};
    enum { DRAWS = 40000 };
    struct dice dice;
    dice_init(&dice, 1, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double n = (double)cases[i].n, p = cases[i].p, sum = 0, squares = 0;
        double mean = n > 0 ? n * p : p, variance = n > 0 ? n * p * (1 - p) : p;
        for (int k = 0; k < DRAWS; k++) {
            double x =
                (double)(n > 0 ? dice_binomial(&dice, cases[i].n, p) : dice_poisson(&dice, p));
            assert_true(x >= 0 && (n == 0 || x <= n));
            sum += x;
            squares += (x - mean) * (x - mean);
        }
        expect_between(sum / DRAWS, mean - 4 * sqrt(variance / DRAWS),
                       mean + 4 * sqrt(variance / DRAWS));
        expect_between(squares / DRAWS, variance * .85, variance * 1.15);
    }
    assert_int_equal(dice_binomial(&dice, 9, 0), 0);
    assert_int_equal(dice_binomial(&dice, 9, 1), 9);
    assert_int_equal(dice_poisson(&dice, 0), 0);
}

static void latencies_go_through_their_quantiles(void **state)
{
    (void)state;
    struct simulate_latency l = simulate_latency_through(.5, 40, .99, 400);
    expect_between(simulate_latency_quantile(&l, .5), 39.999, 40.001);
    expect_between(simulate_latency_quantile(&l, .99), 399.99, 400.01);
    l = simulate_latency_moved(&l, .99, 800);
    expect_between(simulate_latency_quantile(&l, .5), 79.99, 80.01);
}

static void marks_are_the_judge_s(void **state)
{
    (void)state;
    struct app_spec *spec =
        spec_of(APP "slo: {latency: {p95: 90ms}}\nstrategy: {canary: {steps: [10]}}\n");
    struct simulation *s = world_begin(spec, &(struct world){.slower = 2});
    const struct marks *m = &s->marks;
    assert_int_equal(m->edges_len, 4);
    assert_int_equal(m->len, 5);
    for (size_t i = 0; i < m->len; i++) {
        assert_true(m->items[i].candidate > m->items[i].stable);
        if (i > 0)
            assert_true(m->items[i].bucket >= m->items[i - 1].bucket &&
                        m->items[i].candidate <= m->items[i - 1].candidate);
    }
    /* Bucket bounds are at most an eighth above the quantile. */
    expect_between(m->items[0].stable, .4, .5);
    expect_between(m->items[m->len - 1].stable, .006, .01);
    simulation_free(s);
    spec_free(spec);
}

static void spreads_of_what_was_seen(void **state)
{
    (void)state;
    struct simulate_outcome o[10] = {{.result = RESULT_NONE}};
    for (int i = 0; i < 10; i++)
        o[i] = (struct simulate_outcome){.result = i < 4 ? RESULT_PROMOTED : RESULT_ROLLED_BACK,
                                         .reason = i < 4 ? REASON_NONE : REASON_SLO,
                                         .verdict = i < 3 ? VERDICT_PASS : VERDICT_CONTINUE,
                                         .duration_ms = 100 * (i + 1),
                                         .candidate_errors = (uint64_t)i};
    struct simulate_summary s;
    simulate_summarize(o, 10, &s);
    assert_int_equal(s.promoted, 4);
    assert_int_equal(s.cleared, 3);
    assert_int_equal(s.decided_by[DECIDED_BY_SLO], 6);
    expect_between(s.promoted_ms.median, 200, 200);
    expect_between(s.stopped_ms.median, 700, 700);
    expect_between(s.stopped_ms.p90, 1000, 1000);
    expect_between(s.failed.median, 4, 4);
    expect_between(s.failed.p90, 8, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_errors_at_all_is_no_roll_back),
        cmocka_unit_test(half_of_all_requests_failing_is_seen_at_once),
        cmocka_unit_test(alpha_is_kept),
        cmocka_unit_test(more_worse_is_seen_sooner),
        cmocka_unit_test(slow_answers_are_the_latency_s),
        cmocka_unit_test(the_policy_for_the_inconclusive),
        cmocka_unit_test(on_failure_pause_pauses),
        cmocka_unit_test(what_both_share_is_nobody_s_fault),
        cmocka_unit_test(a_rolling_deploy_of_bad_code_is_mostly_too_fast),
        cmocka_unit_test(blue_green_is_over_with_the_switch),
        cmocka_unit_test(requests_wait_while_there_is_nobody),
        cmocka_unit_test(the_first_instances_are_waited_for),
        cmocka_unit_test(a_seed_and_a_number_give_a_run),
        cmocka_unit_test(draws_have_their_means_and_variances),
        cmocka_unit_test(latencies_go_through_their_quantiles),
        cmocka_unit_test(marks_are_the_judge_s),
        cmocka_unit_test(spreads_of_what_was_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
