/* Numbers of JSON: the same however they are written, in memory of just their size. */
#include "wire/jsonnumber.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool print(const char *text, uint64_t *out)
{
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    bool good = jsonnumber_print(copy, len, out);
    free(copy);
    return good;
}

/* Numbers that are all different, each in several notations. */
static void each_has_one_print(void **state)
{
    (void)state;
    static const char *const numbers[][4] = {
        {"0", "-0", "0.000", "-0e99"},
        {"1", "1.0", "10e-1", "0.1E+1"},
        {"-1", "-1.00", "-100e-2", "-0.001e3"},
        {"10", "1e1", "10.0", "100E-1"},
        {"0.1", "1e-1", "0.10", "100e-3"},
        {"9007199254740993", "9007199254740993.0", "900719925474099.3e1", "9007199254740993e0"},
        {"9007199254740992", "9007199254740992.0", "9007199254740992e-0", "9007199254740992e+0"},
        {"1e400", "10e399", "0.1e401", "1.0e400"},
        {"1e-400", "10e-401", "0.1e-399", "1.0e-400"},
    };
    enum { LEN = sizeof numbers / sizeof numbers[0] };
    uint64_t prints[LEN], other;
    for (size_t i = 0; i < LEN; i++) {
        assert_true(print(numbers[i][0], &prints[i]));
        for (size_t k = 1; k < 4; k++) {
            assert_true(print(numbers[i][k], &other));
            if (other != prints[i])
                fail_msg("%s is not %s", numbers[i][k], numbers[i][0]);
        }
        for (size_t k = 0; k < i; k++)
            if (prints[k] == prints[i])
                fail_msg("%s is %s", numbers[k][0], numbers[i][0]);
    }
}

static void what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "-",   "01",  "-01",  "1.", ".1",
                                        "1e",    "1e+", "1e.", "1.e1", "+1", "1e1.0",
                                        "1.2.3", "--1", "1-1", "1e1e1"};
    uint64_t out;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (print(texts[i], &out))
            fail_msg("was taken: %s", texts[i]);
}

static void as_long_as_it_may_be(void **state)
{
    (void)state;
    char text[JSONNUMBER_MAX + 1] = "1e";
    uint64_t a, b;
    memset(text + 2, '9', JSONNUMBER_MAX - 2);
    assert_true(print(text, &a));
    memset(text, '9', JSONNUMBER_MAX);
    assert_true(print(text, &a));
    text[JSONNUMBER_MAX - 1] = '8';
    assert_true(print(text, &b));
    assert_true(a != b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_one_print),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(as_long_as_it_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
