#include "wire/runsocket.h"

#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_run_has_its_place(void **state)
{
    (void)state;
    char place[RUNSOCKET_MAX];
    runsocket_place("shop-7-1.3", place);
    assert_string_equal(place, "shop-7-1.3/sock");
    runsocket_place("abcdefghijklmnopqrst-7.3", place); /* 24 */
    assert_string_equal(place, "abcdefghijklmnopqrst-7.3/sock");
}

static void long_names_are_hashed(void **state)
{
    (void)state;
    char long_id[121], one[RUNSOCKET_MAX], other[RUNSOCKET_MAX];
    memset(long_id, 'a', 120);
    long_id[120] = '\0';
    runsocket_place(long_id, one);
    assert_int_equal(strlen(one), RUNSOCKET_FOLDER_MAX + 5);
    assert_true(runsocket_is_place(one));
    long_id[119] = 'b';
    runsocket_place(long_id, other);
    assert_string_not_equal(one, other);
    runsocket_place(long_id, one);
    assert_string_equal(one, other);
}

static void what_is_no_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",        "/",         "sock",
        "/sock",   "a/",        "a/b/c",
        "../sock", "a/..",      "./sock",
        "a/.sock", "a /sock",   "a/so\nck",
        "@a/sock", "a\\b/sock", "shop-1-1.1/sock-of-a-name-that-is-too-long"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_false(runsocket_is_place(wrong[i]));
    assert_true(runsocket_is_place("a/b"));
    assert_true(runsocket_is_place("shop.staging-1-1.1/sock"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_its_place),
        cmocka_unit_test(long_names_are_hashed),
        cmocka_unit_test(what_is_no_place),
    };
    return cmocka_run_group_tests_name("wire/runsocket", tests, NULL, NULL);
}
