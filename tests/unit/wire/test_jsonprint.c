/* Fingerprints of JSON: what counts as the same, what as another, what is left out, and where two
 * texts differ. Every text is fed whole and byte by byte, in memory of just its size. */
#include "wire/jsonprint.h"

#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct jsonprint_ignored ignored[JSONPRINT_IGNORED];
static uint32_t ignored_len;

static void ignore(const char *pointer)
{
    assert_true(jsonprint_compile(&ignored[ignored_len++], pointer));
}

static int ignore_nothing(void **state)
{
    (void)state;
    ignored_len = 0;
    return 0;
}

static bool print_bytes(struct jsonprint *j, const char *text, size_t len)
{
    struct jsonprint whole;
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    jsonprint_start(&whole, ignored, ignored_len);
    jsonprint_feed(&whole, copy, len);
    bool good = jsonprint_end(&whole);
    jsonprint_start(j, ignored, ignored_len);
    for (size_t i = 0; i < len; i++)
        jsonprint_feed(j, copy + i, 1);
    free(copy);
    assert_int_equal(jsonprint_end(j), good);
    if (good)
        assert_true(whole.value == j->value);
    return good;
}

static bool print(struct jsonprint *j, const char *text)
{
    return print_bytes(j, text, strlen(text));
}

static bool same(const char *a, const char *b)
{
    struct jsonprint x, y;
    if (!print(&x, a) || !print(&y, b))
        fail_msg("not JSON: %s or %s", a, b);
    return x.value == y.value;
}

static void writings_of_the_same(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"a\":1,\"b\":[true,null]}", " {\r\n\t\"b\" : [ true , null ] , \"a\" : 1 } "},
        {"{\"a\":{\"x\":1,\"y\":2},\"b\":3}", "{\"b\":3,\"a\":{\"y\":2,\"x\":1}}"},
        {"1", "1.0"},
        {"1", "1e0"},
        {"1", "10E-1"},
        {"1200", "1.2e+3"},
        {"0.05", "5e-2"},
        {"0", "-0.0e7"},
        {"-12.50", "-1250e-2"},
        {"\"a/b\"", "\"\\u0061\\/b\""},
        {"\"\xc3\xa9\"", "\"\\u00E9\""},
        {"\"\xe2\x82\xac\"", "\"\\u20ac\""},
        {"\"\xf0\x9f\x98\x80\"", "\"\\uD83D\\ude00\""},
        {"\"\\b\\f\\n\\r\\t\\\"\\\\\"", "\"\\u0008\\u000c\\u000a\\u000d\\u0009\\u0022\\u005c\""},
        {"{\"k\":1}", "{\"\\u006b\":1}"},
        {"[]", "[ ]"},
        {"{}", "{\n}"},
    };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        if (!same(pairs[i][0], pairs[i][1]))
            fail_msg("%s and %s are not the same", pairs[i][0], pairs[i][1]);
}

static void what_is_another(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"[1,2]", "[2,1]"},
        {"[1,2]", "[1,2,2]"},
        {"[[1],2]", "[1,[2]]"},
        {"[]", "{}"},
        {"[]", "[[]]"},
        {"[]", "[null]"},
        {"{}", "{\"a\":null}"},
        {"1", "\"1\""},
        {"null", "\"null\""},
        {"true", "false"},
        {"1", "-1"},
        {"1", "10"},
        {"1e400", "1e401"},
        {"0.1", "0.10000000000000000000000001"},
        {"\"a\"", "\"A\""},
        {"\"\"", "\"\\u0000\""},
        {"\"\\ud83d\"", "\"\\ud83d\\ude00\""},
        {"\"\\ud83dx\"", "\"x\\ud83d\""},
        {"{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"a\":{\"b\":1}}", "{\"b\":{\"a\":1}}"},
        {"{\"a\":1}", "{\"a\":1,\"a\":1}"},
    };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        if (same(pairs[i][0], pairs[i][1]))
            fail_msg("%s and %s are the same", pairs[i][0], pairs[i][1]);
}

static void what_is_no_json(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[",
        "]",
        "}",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "1,2",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "--1",
        "1.2.3",
        "1e2e3",
        "1e2.5",
        "0x10",
        "NaN",
        "tru",
        "truE",
        "nulll",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "'a'",
        "[1]]",
        "\xef\xbb\xbf{}",
        "{}{}",
        "// {}",
        "{\"a\":1,,}",
    };
    struct jsonprint j;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (print(&j, texts[i]))
            fail_msg("was taken: %s", texts[i]);
    assert_false(print_bytes(&j, "\"\0\"", 3));
    assert_false(print_bytes(&j, "1\0", 2));
    assert_false(print_bytes(&j, "\"\\\0\"", 4));
}

static void depth_and_numbers_are_bounded(void **state)
{
    (void)state;
    char text[2 * JSONPRINT_DEPTH + 8];
    struct jsonprint j;
    for (size_t depth = JSONPRINT_DEPTH; depth <= JSONPRINT_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(print(&j, text), depth == JSONPRINT_DEPTH);
    }
    memset(text, '7', sizeof text);
    text[JSONNUMBER_MAX] = '\0';
    assert_true(print(&j, text));
    text[JSONNUMBER_MAX] = '7';
    text[JSONNUMBER_MAX + 1] = '\0';
    assert_false(print(&j, text));
}

static void ignored_values(void **state)
{
    (void)state;
    ignore("/id");
    ignore("/items/*/at");
    ignore("/*/trace");
    ignore("/list/1");
    ignore("/a~1b/c~0d");
    ignore("/deep");
    assert_true(same("{\"id\":1,\"x\":2}", "{\"id\":{\"y\":[]},\"x\":2}"));
    assert_true(same("{\"id\":1,\"x\":2}", "{\"x\":2}"));
    assert_false(same("{\"id\":1,\"x\":2}", "{\"id\":1,\"x\":3}"));
    assert_false(same("{\"x\":{\"id\":1}}", "{\"x\":{\"id\":2}}"));
    assert_true(
        same("{\"items\":[{\"at\":1,\"n\":1},{\"at\":2}]}", "{\"items\":[{\"n\":1},{\"at\":3}]}"));
    assert_false(same("{\"items\":[{\"at\":1}]}", "{\"items\":[{\"at\":1},{}]}"));
    assert_true(same("{\"q\":{\"trace\":1}}", "{\"q\":{\"trace\":2}}"));
    assert_false(same("{\"q\":{\"r\":{\"trace\":1}}}", "{\"q\":{\"r\":{\"trace\":2}}}"));
    assert_true(same("{\"list\":[1,2,3]}", "{\"list\":[1,9,3]}"));
    assert_false(same("{\"list\":[1,2,3]}", "{\"list\":[1,2,4]}"));
    assert_true(same("{\"a/b\":{\"c~d\":1}}", "{\"a/b\":{\"c~d\":2}}"));
    assert_true(same("{\"deep\":{\"a\":[1,{\"b\":2}]}}", "{\"deep\":[[]]}"));
    /* What is ignored must still be JSON. */
    struct jsonprint j;
    assert_false(print(&j, "{\"id\":[}"));
}

static void all_elements_ignored(void **state)
{
    (void)state;
    ignore("/*");
    assert_true(same("[1,2]", "[3]"));
    assert_true(same("{\"a\":1}", "{}"));
    assert_false(same("[]", "{}"));
}

static void as_many_pointers_as_there_may_be(void **state)
{
    (void)state;
    char pointer[16];
    for (int i = 0; i < JSONPRINT_IGNORED; i++) {
        snprintf(pointer, sizeof pointer, "/%d/*", i);
        ignore(pointer);
    }
    assert_true(same("{\"31\":{\"x\":1}}", "{\"31\":{\"y\":2}}"));
    assert_false(same("{\"32\":{\"x\":1}}", "{\"32\":{\"y\":2}}"));
    struct jsonprint_ignored i;
    assert_true(jsonprint_compile(&i, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"));
    assert_false(jsonprint_compile(&i, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"));
    assert_false(jsonprint_compile(&i, ""));
}

static void differs_at(const char *a, const char *b, const char *where)
{
    struct jsonprint x, y;
    char text[JSONPRINT_WHERE + 1];
    assert_true(print(&x, a) && print(&y, b));
    assert_true(x.value != y.value);
    text[jsonprint_where(&x, &y, text)] = '\0';
    assert_string_equal(text, where);
    text[jsonprint_where(&y, &x, text)] = '\0';
    assert_string_equal(text, where);
}

static void where_they_differ(void **state)
{
    (void)state;
    differs_at("{\"a\":1,\"b\":2}", "{\"b\":3,\"a\":1}", "/b");
    differs_at("{\"a\":{\"x\":1,\"y\":[1,2]}}", "{\"a\":{\"y\":[1,3],\"x\":1}}", "/a/y/1");
    differs_at("{\"a\":1}", "{\"a\":1,\"new\":2}", "/new");
    differs_at("{\"a\":{\"x\":1}}", "{\"a\":{}}", "/a/x");
    differs_at("[{\"id\":1},{\"id\":2}]", "[{\"id\":1},{\"id\":3}]", "/1/id");
    differs_at("{\"a~b/c\":1}", "{\"a~b/c\":2}", "/a~0b~1c");
    differs_at("{\"\":1}", "{\"\":2}", "/");
    differs_at("1", "2", "");
    differs_at("[]", "{}", "");
}

static void what_is_called_too_long_is_cut(void **state)
{
    (void)state;
    char a[400], b[400], where[JSONPRINT_WHERE + 1] = "/";
    memset(where + 1, 'k', JSONPRINT_WHERE - 1);
    snprintf(a, sizeof a, "{\"%.*s%.*s\":{\"x\":1}}", JSONPRINT_WHERE - 1, where + 1,
             JSONPRINT_WHERE - 1, where + 1);
    snprintf(b, sizeof b, "%s", a);
    *strchr(b, '1') = '2';
    differs_at(a, b, where);
}

/* More places than are remembered: what is told is true, or nothing is. */
static void many_places(void **state)
{
    (void)state;
    char a[4096] = "{", b[4096] = "{";
    for (int i = 0; i < 100; i++) {
        char member[32];
        snprintf(member, sizeof member, "%s\"k%d\":%d", i > 0 ? "," : "", i, i);
        strcat(a, member);
        if (i != 50) {
            strcat(b, member);
        }
    }
    strcat(a, "}");
    strcat(b, "}");
    differs_at(a, b, "");
    *strstr(b, "\"k3\":3") = ' ';
    memcpy(strstr(b, " k3\":3"), "\"k3\":4", 6);
    differs_at(a, b, "/k3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(writings_of_the_same, ignore_nothing),
        cmocka_unit_test_setup(what_is_another, ignore_nothing),
        cmocka_unit_test_setup(what_is_no_json, ignore_nothing),
        cmocka_unit_test_setup(depth_and_numbers_are_bounded, ignore_nothing),
        cmocka_unit_test_setup(ignored_values, ignore_nothing),
        cmocka_unit_test_setup(all_elements_ignored, ignore_nothing),
        cmocka_unit_test_setup(as_many_pointers_as_there_may_be, ignore_nothing),
        cmocka_unit_test_setup(where_they_differ, ignore_nothing),
        cmocka_unit_test_setup(what_is_called_too_long_is_cut, ignore_nothing),
        cmocka_unit_test_setup(many_places, ignore_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
