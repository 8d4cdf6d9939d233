/* What Prometheus, webhooks and commands say, and what that means; also what is hostile. */
#include "base/alloc.h"
#include "base/vec.h"
#include "control/metric_answer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define VECTOR(series)                                                                             \
    "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" series "]}}"
#define SERIES(value) "{\"metric\":{},\"value\":[1.5,\"" value "\"]}"

struct expected {
    uint32_t status;
    const char *body;
    enum measurement says;
    const char *value; /* as metric_number() writes it; NULL: none */
    const char *text;
};

static void check(const struct metric_answer *got, const struct expected *e)
{
    char value[32] = "";
    if (got->says != e->says || got->has_value != (e->value != NULL) ||
        strcmp(got->text, e->text) != 0 ||
        (got->has_value && strcmp(metric_number(got->value, value, sizeof value), e->value) != 0))
        fail_msg("%.200s: %s, %s, \"%s\"", e->body, measurement_word(got->says), value, got->text);
}

static void prometheus_is_read(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {200, VECTOR(SERIES("7.25")), MEASURED_GOOD, "7.25", ""},
        {200, VECTOR(SERIES("+Inf")), MEASURED_GOOD, "+Inf", ""},
        {200, VECTOR(SERIES("-Inf")), MEASURED_GOOD, "-Inf", ""},
        {200, VECTOR(SERIES("NaN")), MEASURED_NOTHING, NULL, "NaN"},
        {200, VECTOR(""), MEASURED_NOTHING, NULL, "no series"},
        {200, VECTOR(SERIES("1") "," SERIES("2")), MEASURED_ERROR, NULL,
         "2 series, expected one: aggregate them, for example with sum(...) or max(...)"},
        {200, VECTOR("{\"metric\":{},\"histogram\":[1,{}]}"), MEASURED_ERROR, NULL,
         "a histogram, expected a number: for example histogram_quantile(0.95, ...)"},
        {200, "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"4\"]}}",
         MEASURED_GOOD, "4", ""},
        {200, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}",
         MEASURED_ERROR, NULL,
         "a range of values, expected one: for example avg_over_time(...[5m])"},
        {200, "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[1,\"x\"]}}",
         MEASURED_ERROR, NULL, "a string, expected a number"},
        {200,
         "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" SERIES(
             "3") "]},\"warnings\":[\"a store is down\"]}",
         MEASURED_GOOD, "3", "warning: a store is down"},
        {400,
         "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:4: parse \\u001b error\"}",
         MEASURED_ERROR, NULL, "bad_data: 1:4: parse   error"},
        {503, "no healthy upstream", MEASURED_ERROR, NULL, "answered 503"},
        {302, "", MEASURED_ERROR, NULL, "answered 302: redirects are not followed"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct metric_answer got;
        metric_of_prometheus(cases[i].status, cases[i].body, strlen(cases[i].body), &got);
        check(&got, &cases[i]);
    }
}

/* Whatever comes, it is an error with a text, and no value. */
static void what_is_no_prometheus_is_an_error(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "null",
        "[]",
        "<html>",
        "{\"status\":\"success\"}",
        "{\"status\":1}",
        "{\"status\":\"success\",\"data\":[]}",
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":{}}}",
        "{\"status\":\"success\",\"data\":{\"resultType\":7,\"result\":[]}}",
        VECTOR("null"),
        VECTOR("{}"),
        VECTOR("{\"value\":[1]}"),
        VECTOR("{\"value\":[1,2]}"),
        VECTOR("{\"value\":[1,\"2\",3]}"),
        VECTOR(SERIES("")),
        VECTOR(SERIES("1x")),
        "{\"status\":\"error\",\"error\":{}}",
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[]}}",
    };
    struct metric_answer got;
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        metric_of_prometheus(200, bodies[i], strlen(bodies[i]), &got);
        if (got.says != MEASURED_ERROR || got.has_value || got.text[0] == '\0')
            fail_msg("%s: %s", bodies[i], measurement_word(got.says));
    }
    /* Every piece of a good one, and a million brackets. */
    static const char good[] = VECTOR(SERIES("7.25"));
    for (size_t len = 0; len < sizeof good - 1; len++) {
        char *exact = test_malloc(len + 1);
        memcpy(exact, good, len);
        metric_of_prometheus(200, exact, len, &got);
        assert_int_equal(got.says, MEASURED_ERROR);
        test_free(exact);
    }
    char *deep = test_malloc(1 << 20);
    memset(deep, '[', 1 << 20);
    metric_of_prometheus(200, deep, 1 << 20, &got);
    assert_int_equal(got.says, MEASURED_ERROR);
    metric_of_webhook(200, deep, 1 << 20, &got);
    assert_int_equal(got.says, MEASURED_ERROR);
    memset(deep, 'a', 1 << 20);
    metric_of_webhook(500, deep, 1 << 20, &got);
    assert_true(strlen(got.text) < METRIC_TEXT_MAX);
    test_free(deep);
}

static void webhooks_are_read(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {200, "", MEASURED_GOOD, NULL, ""},
        {204, " \n", MEASURED_GOOD, NULL, ""},
        {200, "{\"result\": \"pass\"}", MEASURED_GOOD, NULL, ""},
        {200, "{\"result\": \"FAIL\", \"text\": \"no orders\\n\"}", MEASURED_BAD, NULL,
         "no orders"},
        {201, "{\"result\": \"inconclusive\", \"value\": 2}", MEASURED_UNCLEAR, "2", ""},
        {200, "{\"value\": 0.5}", MEASURED_GOOD, "0.5", ""},
        {200, "{\"value\": null}", MEASURED_NOTHING, NULL, ""},
        {200, "{\"value\": \"1\"}", MEASURED_ERROR, NULL, "`value` in the answer is not a number"},
        {200, "{\"result\": true}", MEASURED_ERROR, NULL,
         "`result` in the answer is not pass, fail or inconclusive"},
        {200, "{}", MEASURED_ERROR, NULL, "the answer has neither `result` nor `value`"},
        {200, "[1]", MEASURED_ERROR, NULL, "the answer has neither `result` nor `value`"},
        {500, "busy\x1b[2J\n", MEASURED_ERROR, NULL, "answered 500: busy [2J"},
        {307, "", MEASURED_ERROR, NULL, "answered 307: redirects are not followed"},
    };
    struct metric_answer got;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        metric_of_webhook(cases[i].status, cases[i].body, strlen(cases[i].body), &got);
        check(&got, &cases[i]);
    }
    metric_of_webhook(200, "pass", 4, &got);
    assert_int_equal(got.says, MEASURED_ERROR);
    assert_non_null(strstr(got.text, "is not JSON"));
}

static void commands_are_read(void **state)
{
    (void)state;
    static const struct expected cases[] = {
        {0, "", MEASURED_GOOD, NULL, ""},
        {0, "all is well\n", MEASURED_GOOD, NULL, ""},
        {0, " 12.5 \n", MEASURED_GOOD, "12.5", ""},
        {0, "0x10", MEASURED_GOOD, NULL, ""},
        {0, "nan", MEASURED_NOTHING, NULL, "NaN"},
        {0, "fail", MEASURED_BAD, NULL, ""},
        {0, "Inconclusive\n", MEASURED_UNCLEAR, NULL, ""},
        {3, "", MEASURED_BAD, NULL, "exited with status 3"},
        {3, "pass\n", MEASURED_BAD, NULL, "exited with status 3: pass"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct metric_answer got;
        metric_of_command((int)cases[i].status, cases[i].body, &got);
        check(&got, &cases[i]);
    }
}

static void bounds_decide_over_numbers(void **state)
{
    (void)state;
    static const struct {
        struct metric_spec spec;
        double value;
        enum measurement says;
        const char *text;
    } cases[] = {
        {{.max = {true, 5}}, 5, MEASURED_GOOD, ""},
        {{.max = {true, 5}}, 5.5, MEASURED_BAD, "5.5 > max 5"},
        {{.max = {true, 5}}, INFINITY, MEASURED_BAD, "+Inf > max 5"},
        {{.min = {true, 0.25}}, 0.125, MEASURED_BAD, "0.125 < min 0.25"},
        {{.min = {true, 1}, .max = {true, 2}}, 1.5, MEASURED_GOOD, ""},
        {{.min = {true, 1}, .max = {true, 2}}, 3, MEASURED_BAD, "3 > max 2"},
        {{.compare = true}, 3, MEASURED_GOOD, ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct metric_answer a = {
            .says = MEASURED_GOOD, .has_value = true, .value = cases[i].value};
        metric_judge(&cases[i].spec, &a);
        assert_int_equal(a.says, cases[i].says);
        assert_string_equal(a.text, cases[i].text);
    }
    struct metric_spec spec = {.max = {true, 5}};
    struct metric_answer word = {.says = MEASURED_GOOD}, none = {.says = MEASURED_NOTHING},
                         bad = {.says = MEASURED_BAD, .has_value = true, .value = 1};
    metric_judge(&spec, &word);
    assert_int_equal(word.says, MEASURED_ERROR);
    assert_string_equal(word.text, "there is no number in the answer to hold against `max`");
    metric_judge(&spec, &none);
    assert_int_equal(none.says, MEASURED_NOTHING);
    metric_judge(&spec, &bad); /* its own word stays */
    assert_int_equal(bad.says, MEASURED_BAD);
}

static void queries_are_encoded(void **state)
{
    (void)state;
    cleanup_buf struct buf body = BUF_INIT, url = BUF_INIT;
    metric_query_body("a{b=\"ä\"} + 1&x", &body);
    assert_string_equal(buf_str(&body), "query=a%7Bb%3D%22%C3%A4%22%7D%20%2B%201%26x");
    metric_query_url("http://h/prefix/", &url);
    assert_string_equal(buf_str(&url), "http://h/prefix/api/v1/query");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prometheus_is_read),
        cmocka_unit_test(what_is_no_prometheus_is_an_error),
        cmocka_unit_test(webhooks_are_read),
        cmocka_unit_test(commands_are_read),
        cmocka_unit_test(bounds_decide_over_numbers),
        cmocka_unit_test(queries_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
