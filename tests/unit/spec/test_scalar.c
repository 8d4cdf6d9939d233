/* Texts in quotes: escapes, folding. Expected values are those of YAML 1.2 (and of PyYAML). */
#include "parse.h"
#include "spec/scalar.h"

struct scalar {
    const char *raw, *text;
};

static void check_table(const struct scalar *cases, size_t n, bool double_quoted)
{
    for (size_t i = 0; i < n; i++) {
        cleanup_buf struct buf out = BUF_INIT;
        size_t len = strlen(cases[i].raw);
        cleanup_free char *exact = xmalloc(len); /* a sanitizer sees a read behind it */
        memcpy(exact, cases[i].raw, len);
        scalar_unquote(exact, len, double_quoted, &out);
        assert_string_equal(buf_str(&out), cases[i].text);
    }
}

static void single_quotes(void **state)
{
    (void)state;
    static const struct scalar cases[] = {
        {"", ""},         {"a", "a"},          {"it''s", "it's"},     {"a''''b", "a''b"},
        {"''", "'"},      {"''''''", "'''"},   {" a ", " a "},        {"a\\n", "a\\n"},
        {"a\n b", "a b"}, {"a\n\n b", "a\nb"}, {"a \t\n\t b", "a b"}, {"a\r\n  b", "a b"},
        {"\n a", " a"},   {"a\n ", "a "},      {"\n\n\n", "\n\n"},    {"a\n  \n  \n  b", "a\n\nb"},
        {"  \n b", " b"}, {"a\rb", "a b"},     {"a''\n''b", "a' 'b"},
    };
    check_table(cases, COUNT_OF(cases), false);
}

static void double_quotes(void **state)
{
    (void)state;
    static const struct scalar cases[] = {
        {"", ""},
        {"a\\nb", "a\nb"},
        {"\\\"\\\\\\/", "\"\\/"},
        {"\\a\\b\\t\\n\\v\\f\\r\\e\\ ", "\a\b\t\n\v\f\r\x1b "},
        {"\\x41\\u00e9\\U0001F600", "Aé😀"},
        {"\\N\\_\\L\\P", "\xC2\x85\xC2\xA0\xE2\x80\xA8\xE2\x80\xA9"},
        {"\\ud83d\\ude00", "😀"}, /* as JSON writes it */
        {"\\ud83dx", "\xFFx"},
        {"\\ud83d\\u0041", "\xFF"
                           "A"},
        {"\\ude00", "\xFF"},
        {"\\U00110000", "\xFF"},
        {"\\UFFFFFFFF", "\xFF"},
        {"\\u00", "\xFF"},
        {"\\q", "\xFF"},
        {"\\", ""},
        {"''", "''"},
        {"a\n b", "a b"},
        {"a \\t\n b", "a \t b"}, /* what an escape gave is not trimmed */
        {"a\\\n   b", "ab"},     /* an escaped break is none */
        {"a \\\n   b", "a b"},
        {"a\\\n\n   b", "a\nb"},
        {"a\\\n  \\ b", "a b"},
        {"a\t\n b&", "a b&"},
        {"a\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\nb", "a\n\n\n\n\n\n\n\n\n\n\n\nb"},
    };
    check_table(cases, COUNT_OF(cases), true);
}

static void a_nul_stays_for_the_caller_to_find(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    scalar_unquote("a\\0b", 4, true, &out);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "a\0b", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_quotes),
        cmocka_unit_test(double_quotes),
        cmocka_unit_test(a_nul_stays_for_the_caller_to_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
