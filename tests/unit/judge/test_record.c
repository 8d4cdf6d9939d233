/* The stored evidence: exact both ways, refused when it is not what was written. */
#include "ground.h"

static struct judge made(const struct judge_config *config)
{
    struct judge j;
    judge_init(&j, config);
    return j;
}

static void expect_same(const struct judge *a, const struct judge *b)
{
    struct buf one = BUF_INIT, other = BUF_INIT;
    judge_to_json(a, &one);
    judge_to_json(b, &other);
    assert_string_equal(buf_str(&one), buf_str(&other));
    assert_memory_equal(&a->errors, &b->errors, sizeof a->errors.log_likelihood);
    assert_memory_equal(&a->errors_once, &b->errors_once, sizeof a->errors_once.log_likelihood);
    for (uint32_t i = 0; i < a->edges_len; i++) {
        assert_memory_equal(&a->latency[i], &b->latency[i], sizeof a->latency[i].log_likelihood);
        assert_memory_equal(&a->tail[i], &b->tail[i], sizeof a->tail[i]);
    }
    buf_release(&one);
    buf_release(&other);
}

static void the_record_is_exact(void **state)
{
    (void)state;
    static const uint32_t edges[] = {3, 5, 8, 13, UINT32_MAX};
    static const struct judge_extra extras[] = {
        {.name = "p\"95 µs", .test = {.tolerance = 1.1}},
        {.name = "memory", .kind = EXTRA_MEMORY, .test = {.tolerance = 3, .less_is_worse = true}}};
    struct dice dice = {11};
    for (uint32_t len = 0; len <= 5; len++) {
        struct judge j = made(&(struct judge_config){.alpha = .001 / 3,
                                                     .has_stable = true,
                                                     .edges = edges,
                                                     .edges_len = len,
                                                     .slo_error_rate = 1.0 / 7,
                                                     .slo_latency_share = .05,
                                                     .negligible_error_rate = .001,
                                                     .min_requests = 50,
                                                     .extras = extras,
                                                     .extras_len = len % 3});
        for (int i = 0; i < 200; i++) {
            struct judge_arm candidate = {.requests = 10 + (uint64_t)(dice_uniform(&dice) * 100)};
            struct judge_arm stable = {.requests = (uint64_t)(dice_uniform(&dice) * 1000)};
            candidate.errors = dice_binomial(&dice, candidate.requests, .1);
            stable.errors = stable.above_slo = dice_binomial(&dice, stable.requests, .1);
            candidate.repeats = dice_binomial(&dice, candidate.errors, .3);
            stable.repeats = dice_binomial(&dice, stable.errors, .3);
            for (uint32_t k = 0; k < len; k++)
                candidate.above[k] = dice_binomial(&dice, candidate.requests, .3);
            judge_batch(&j, &candidate, &stable);
            for (uint32_t k = 0; k < j.extras_len; k++)
                judge_pair(&j, k, dice_uniform(&dice), dice_uniform(&dice));
        }
        struct buf text = BUF_INIT;
        judge_to_json(&j, &text);
        struct judge back;
        memset(&back, 0x5a, sizeof back);
        struct error err = ERROR_INIT;
        if (judge_from_json(&back, buf_str(&text), &err) < 0)
            fail_msg("%s", err.text);
        struct buf again = BUF_INIT;
        expect_same(&back, &j);
        /* Both go on alike. */
        struct judge_arm candidate = {.requests = 100, .errors = 7},
                         stable = {.requests = 900, .errors = 60};
        struct judge kept = j;
        judge_batch(&back, &candidate, &stable);
        judge_batch(&j, &candidate, &stable);
        expect_same(&back, &j);
        assert_int_equal(judge_verdict(&back), judge_verdict(&j));
        j = kept;
        /* What is cut anywhere is refused, and the judge is left as it was. */
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
    static const struct judge_extra extra = {.name = "cpu", .test = {.tolerance = 1.5}};
    struct judge j = made(&(struct judge_config){.alpha = .5,
                                                 .alpha_pass = .25,
                                                 .has_stable = true,
                                                 .edges = edges,
                                                 .edges_len = 1,
                                                 .slo_error_rate = .5,
                                                 .extras = &extra,
                                                 .extras_len = 1});
    struct buf text = BUF_INIT;
    judge_to_json(&j, &text);
    static const char *const changes[][2] = {
        {"\"v\":3", "\"v\":2"},
        {"\"v\":3", "\"v\":4"},
        {"\"v\":3", "\"v\":\"3\""},
        {"\"alpha\":0.5", "\"alpha\":1.5"},
        {"\"alpha\":0.5", "\"alpha\":0"},
        {"\"alpha_pass\":0.25", "\"alpha_pass\":1"},
        {"\"allowed\":2", "\"allowed\":1"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[9,0,0,0]"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[-1,0,0,0]"},
        {"\"counts\":[0,0,0,0]", "\"counts\":[0,0,0]"},
        {"\"edges\":[3]", "\"edges\":[3,4]"},
        {"\"edges\":[3]", "\"edges\":[3,4,5,6,7,8]"},
        {"\"edges\":[3]", "\"edges\":[4294967296]"},
        {"\"log\":[0,", "\"log\":["},
        {"\"log\":[0,", "\"log\":[\"0\","},
        {"\"at_allowed\":0", "\"at_allowed\":null"},
        {"\"moved\":false", "\"moved\":0"},
        {"\"low\":0", "\"low\":-1"},
        {"\"low\":0,\"high\":null", "\"low\":2,\"high\":1"},
        {"\"worse\":[0,", "\"worse\":["},
        {"\"no_worse\":[0,", "\"no_worse\":[0,0,"},
        {"\"errors_once\":", "\"errors\":"},
        {"\"errors_once\":", "\"errors_twice\":"},
        {"\"errors_once\":{\"counts\":[0,0,0,0]", "\"errors_once\":{\"counts\":[0,1,0,0]"},
        {"\"errors_once\":{\"counts\":[0,0,0,0]", "\"errors_once\":{\"counts\":[0,0,0,1]"},
        {"\"errors\":{\"counts\":[0,0,0,0]", "\"errors\":{\"counts\":[0,7,0,0]"},
        {"\"above_slo\":[0,0]", "\"above_slo\":[1,0]"},
        {"\"above_slo\":[0,0]", "\"above_slo\":[0,1]"},
        {"\"ceilings\":[0.5,", "\"ceilings\":[1.01,"},
        {"\"ceilings\":[0.5,", "\"ceilings\":[0.5,0,"},
        {"\"has_stable\":true", "\"has_stable\":1"},
        {"\"name\":\"cpu\"", "\"name\":7"},
        {"\"name\":\"cpu\"",
         "\"name\":\"a name that is longer than any name that was ever written there\""},
        {"\"kind\":\"asked\"", "\"kind\":\"heard\""},
        {"\"kind\":\"asked\"", "\"kind\":0"},
        {"\"tolerance\":1.5", "\"tolerance\":0.5"},
        {"\"less\":false", "\"less\":0"},
        {"\"last\":[0,0]", "\"last\":[0]"},
        {"\"counts\":[0,0],", "\"counts\":[0,-1],"},
        {"\"extras\":[", "\"extras\":[0,"},
        {"\"extras\":[", "\"extra\":["},
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

/* What sluice 0.1 wrote: the judge says so and begins anew. */
static void the_first_form_is_refused_by_name(void **state)
{
    (void)state;
    struct judge j = made(&(struct judge_config){.alpha = .5});
    struct error err = ERROR_INIT;
    assert_int_equal(judge_from_json(&j, "{\"v\":1,\"alpha\":0.001,\"has_stable\":true}", &err),
                     -1);
    assert_non_null(strstr(err.text, "has form 1, this version reads form 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_record_is_exact),
        cmocka_unit_test(a_wrong_record_is_refused),
        cmocka_unit_test(the_first_form_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
