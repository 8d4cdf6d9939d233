#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/url.h"

static void test_normalize(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: malformed */
    } cases[] = {
        {"/", "/"},
        {"/a/b?x=/../y%zz", "/a/b"},
        {"/%61%2Db", "/a-b"},
        {"/a%2fb", "/a%2Fb"},
        {"/a%2Fb%3a", "/a%2Fb%3A"},
        {"/./a", "/a"},
        {"/a/.", "/a/"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/b/..", "/a/"},
        {"/../../a", "/a"},
        {"/..", "/"},
        {"/%2e%2e/admin", "/admin"},
        {"/a/%2E%2e/b", "/b"},
        {"/a//b", "/a//b"},
        {"/.a/..b/...", "/.a/..b/..."},
        {"/a%", NULL},
        {"/a%2", NULL},
        {"/a%g0", NULL},
        {"/a%00", NULL},
        {"*", "/"},
        {"", ""},
        {"evil", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *in = strdup(cases[i].in);
        size_t len = strlen(in);
        char *exact = malloc(len + 1), *out = malloc(len + 1);
        memcpy(exact, in, len);
        ssize_t n = url_normalize_path(exact, len, out);
        if (cases[i].out == NULL) {
            assert_int_equal(n, -1);
        } else {
            assert_int_equal(n, strlen(cases[i].out));
            assert_memory_equal(out, cases[i].out, (size_t)n);
        }
        free(in);
        free(exact);
        free(out);
    }
}

static bool under(const char *path, const char *prefix)
{
    return url_path_under(path, strlen(path), prefix, strlen(prefix));
}

static void test_under(void **state)
{
    (void)state;
    assert_true(under("/", "/"));
    assert_true(under("/x", "/"));
    assert_true(under("", "/"));
    assert_true(under("/a", "/a"));
    assert_true(under("/a/", "/a"));
    assert_true(under("/a/b", "/a"));
    assert_true(under("/a", "/a/"));
    assert_false(under("/ab", "/a"));
    assert_false(under("/", "/a"));
    assert_false(under("/A", "/a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_normalize),
                                       cmocka_unit_test(test_under)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
