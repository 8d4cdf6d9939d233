/* What `verdict` shows, to the letter. */
#include "base/vec.h"
#include "cli/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct term plain = {.columns = 80, .rows = 24};

#define METRIC                                                                                     \
    "{\"name\":\"errors\",\"kind\":\"rate\",\"text\":\"t\",\"guarded\":true,\"fine\":false,"       \
    "\"ratio_moved\":false,\"weight\":0.57,"                                                       \
    "\"candidate\":{\"events\":12,\"requests\":2011,\"rate\":0.006,\"low\":0.003,\"high\":0.011}," \
    "\"stable\":{\"events\":41,\"requests\":8123,\"rate\":0.005,\"low\":0.0036,\"high\":0.0072},"  \
    "\"ratio\":1.18,\"ratio_low\":0.5,\"ratio_high\":2.4,\"ln_e\":-0.4,\"ln_worse\":-0.9,"         \
    "\"ln_fine\":1.44,\"needs_to_roll_back\":null,\"needs_to_pass\":9000}"

#define RUNNING                                                                                    \
    "\"app\":\"shop\",\"environment\":\"production\",\"rollout\":12,\"release\":8,"                \
    "\"version\":\"2.0\",\"from\":7,\"from_version\":\"1.0\",\"running\":true,\"result\":null,"    \
    "\"reason\":null,\"weight\":20.0,\"requests_per_s\":35.2,\"judgement\":\"continue\","          \
    "\"answer\":\"No difference so far; would need about 4 min more\",\"ln_e\":-0.5,"              \
    "\"ln_bar\":6.907755,\"ln_pass_bar\":2.995732,\"metrics\":[" METRIC "]"

static void show(const char *text, struct buf *out)
{
    json_error_t bad;
    json_t *j = json_loads(text, JSON_DECODE_ANY, &bad);
    if (j == NULL)
        fail_msg("%s: %s", text, bad.text);
    view_verdict(j, &plain, out);
    json_decref(j);
}

static void of_a_rollout_under_way(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    show("{" RUNNING ",\"routes\":[],\"measured\":[]}", &out);
    assert_string_equal(
        buf_str(&out),
        "shop (production): release 8 (2.0) against release 7 (1.0), 20% of the traffic, 35.2 "
        "req/s\n"
        "\n"
        "No difference so far; would need about 4 min more.\n"
        "\n"
        "errors\n"
        "  candidate  0.60%  12 of 2,011     between 0.30% and 1.1%\n"
        "  stable     0.50%  41 of 8,123     between 0.36% and 0.72%\n"
        "  ratio        1.2  times stable's  between 0.5 and 2.4\n"
        "  to roll back  ------------------------  0.4 of 1,000\n"
        "  to promote    ############------------  4.2 of 20\n");
}

static void of_clients_that_try_again(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    show("{\"metrics\":[{\"name\":\"errors\",\"kind\":\"rate\",\"candidate\":{\"events\":1200,"
         "\"repeats\":1100,\"requests\":5000,\"rate\":0.24,\"low\":0.2,\"high\":0.3}}]}",
         &out);
    assert_non_null(strstr(buf_str(&out), "  24%  1,200 of 5,000 (1,100 repeats)  between "));
}

static void of_one_that_ended(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    show("{\"app\":\"shop\",\"environment\":\"production\",\"rollout\":12,\"release\":8,"
         "\"version\":\"2.0\",\"from\":7,\"from_version\":\"1.0\",\"since\":\"soon\","
         "\"running\":false,\"result\":\"rolled-back\",\"reason\":{\"code\":\"error-rate\","
         "\"text\":\"errors 9% against 0%\"},\"judgement\":\"errors\","
         "\"answer\":\"Worse beyond doubt: its error rate\",\"ln_bar\":6.9,\"ln_pass_bar\":3.0,"
         "\"metrics\":[]}",
         &out);
    assert_string_equal(buf_str(&out),
                        "shop (production): release 8 (2.0) against release 7 (1.0), rolled-back; "
                        "begun soon\n\n"
                        "Worse beyond doubt: its error rate.\n"
                        "errors 9% against 0%\n");
}

static void routes_and_history(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    show("{" RUNNING ",\"routes\":["
         "{\"route\":\"/\",\"candidate\":{\"requests\":1000,\"errors\":0},"
         "\"stable\":{\"requests\":4000,\"errors\":1}},"
         "{\"route\":\"/pay\",\"candidate\":{\"requests\":11,\"errors\":12},"
         "\"stable\":{\"requests\":123,\"errors\":40}}],"
         "\"measured\":[{\"name\":\"queue\",\"last\":\"bad\",\"value\":22.5,\"stable_value\":null,"
         "\"measurements\":6,\"failures\":2,\"errors\":1,\"inconclusive\":0,"
         "\"text\":\"queue: 22.5 > max 20\"}],"
         "\"history\":[{\"at\":\"soon\",\"weight\":5.0,\"candidate\":{\"requests\":10,"
         "\"errors\":1},\"stable\":{\"requests\":190,\"errors\":0},\"ln_e\":3.45,\"ln_fine\":-1.0}"
         "]}",
         &out);
    const char *tail = strstr(buf_str(&out), "\nMETRIC");
    assert_non_null(tail);
    assert_string_equal(
        tail, "\nMETRIC  LAST  VALUE  STABLE  MEASURED           SAYS\n"
              "queue   bad    22.5       -  6: 2 bad, 1 error  22.5 > max 20\n"
              "\n"
              "ROUTE  ERRORS OF CANDIDATE   OF STABLE\n"
              "/               0 of 1,000  1 of 4,000\n"
              "/pay              12 of 11   40 of 123\n"
              "\n"
              "AT    WEIGHT  ERRORS OF CANDIDATE  OF STABLE  TO ROLL BACK  TO PROMOTE\n"
              "soon      5%              1 of 10   0 of 190  ######------  ------------\n");
}

static void a_long_history_is_thinned(void **state)
{
    (void)state;
    json_t *rows = json_array();
    for (int i = 0; i < 600; i++)
        json_array_append_new(rows, json_pack("{s:s,s:f,s:{s:i,s:i}}", "at", "x", "weight", 5.0,
                                              "candidate", "requests", i, "errors", 0));
    json_t *j = json_pack("{s:o,s:f,s:f}", "history", rows, "ln_bar", 7.0, "ln_pass_bar", 3.0);
    cleanup_buf struct buf out = BUF_INIT;
    view_verdict(j, &plain, &out);
    size_t lines = 0;
    for (const char *p = buf_str(&out); (p = strstr(p, "\nx ")) != NULL; p++)
        lines++;
    assert_int_equal(lines, 20);
    assert_non_null(strstr(buf_str(&out), "0 of 599"));
    json_decref(j);
}

static void no_json_breaks_it(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "{}", "[]", "null",
        "{\"metrics\":[7,null,{}],\"routes\":[1,2],\"measured\":[7],\"history\":[7]}",
        "{\"metrics\":[{\"name\":\"\\u001b[2J\",\"ln_worse\":1e300,\"guarded\":true,"
        "\"ln_fine\":-1e300}],\"ln_bar\":1e300,\"answer\":\"\\u001b[2J\",\"history\":[]}"};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        cleanup_buf struct buf out = BUF_INIT;
        show(odd[i], &out);
        assert_null(strchr(buf_str(&out), '\033'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_rollout_under_way),    cmocka_unit_test(of_clients_that_try_again),
        cmocka_unit_test(of_one_that_ended),         cmocka_unit_test(routes_and_history),
        cmocka_unit_test(a_long_history_is_thinned), cmocka_unit_test(no_json_breaks_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
