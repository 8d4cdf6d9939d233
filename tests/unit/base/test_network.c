#include "base/network.h"

#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void networks_are_read_and_written(void **state)
{
    static const struct {
        const char *text, *usual; /* NULL: no network */
        bool exact;
        const char *error; /* a part of it */
    } cases[] = {
        {"10.0.0.0/8", "10.0.0.0/8", true, NULL},
        {"10.0.0.1/8", "10.0.0.0/8", false, NULL},
        {"10.0.0.1", "10.0.0.1/32", true, NULL},
        {"10.0.0.1/32", "10.0.0.1/32", true, NULL},
        {"0.0.0.0/0", "0.0.0.0/0", true, NULL},
        {"1.2.3.4/0", "0.0.0.0/0", false, NULL},
        {"2001:DB8::/32", "2001:db8::/32", true, NULL},
        {"2001:db8::7/32", "2001:db8::/32", false, NULL},
        {"::1", "::1/128", true, NULL},
        {"::/0", "::/0", true, NULL},
        {"10.0.0.1/33", NULL, false, "`10.0.0.1/33`: expected a length from 0 to 32"},
        {"::1/129", NULL, false, "expected a length from 0 to 128"},
        {"10.0.0.0/", NULL, false, "expected a length"},
        {"10.0.0.0/-1", NULL, false, "expected a length"},
        {"10.0.0.0/8x", NULL, false, "expected a length"},
        {"10.0.0/8", NULL, false, "`10.0.0/8` is no network"},
        {"", NULL, false, "is no network"},
        {"proxy.example", NULL, false, "is no network"},
        {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0001", NULL, false, "is no network"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct network n;
        char text[NETWORK_TEXT_SIZE];
        struct error err = ERROR_INIT;
        int answer = network_parse(cases[i].text, &n, &err);
        assert_int_equal(answer, cases[i].usual != NULL ? 0 : -1);
        if (answer < 0) {
            assert_int_equal(err.class, ERROR_USAGE);
            assert_non_null(strstr(err.text, cases[i].error));
            continue;
        }
        assert_string_equal(network_format(&n, text), cases[i].usual);
        assert_int_equal(network_is_exact(&n), cases[i].exact);
    }
}

static void lists_are_bounded(void **state)
{
    struct network list[NETWORK_LIST_MAX];
    struct error err = ERROR_INIT;
    char text[(NETWORK_LIST_MAX + 1) * 4 + 1] = "";
    size_t len;
    (void)state;
    assert_int_equal(network_parse_list(" 127.0.0.1, ::1,,10.0.0.0/8 ", list, &len, &err), 0);
    assert_int_equal(len, 3);
    assert_int_equal(network_parse_list("", list, &len, &err), 0);
    assert_int_equal(len, 0);
    assert_int_equal(network_parse_list("127.0.0.1,x", list, &len, &err), -1);
    for (int i = 0; i < NETWORK_LIST_MAX; i++)
        strcat(text, "::1,");
    assert_int_equal(network_parse_list(text, list, &len, &err), 0);
    assert_int_equal(len, NETWORK_LIST_MAX);
    strcat(text, "::1,");
    assert_int_equal(network_parse_list(text, list, &len, &err), -1);
    assert_non_null(strstr(err.text, "more than 64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_are_read_and_written),
        cmocka_unit_test(lists_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
