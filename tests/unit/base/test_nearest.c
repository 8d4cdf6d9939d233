#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void nearest_words(void **state)
{
    (void)state;
    static const char *const words[] = {"replicas",  "release", "run", "env",
                                        "env-files", "p95",     NULL};
    assert_string_equal(nearest_word("replica", words), "replicas");
    assert_string_equal(nearest_word("REPLICAS", words), "replicas");
    assert_string_equal(nearest_word("repilcas", words),
                        "replicas"); /* swapped neighbours cost 1 */
    assert_string_equal(nearest_word("realease", words), "release");
    assert_string_equal(nearest_word("env_files", words), "env-files");
    assert_string_equal(nearest_word("rn", words), "run");
    assert_null(nearest_word("xyz", words));
    assert_null(nearest_word("", words));
    assert_null(nearest_word("a-very-long-word-that-is-longer-than-any-key-there-could-be", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
