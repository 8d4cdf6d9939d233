/* How diagnostics look, and the nearest word. */
#include "parse.h"
#include "spec/report.h"

static char *rendered(const char *text, size_t len, bool color)
{
    struct diagnostics diags = {0};
    spec_free(parse_in(text, len, NULL, &diags));
    struct buf out = BUF_INIT;
    diagnostics_render(&diags, "sluice.yaml", text, len, color, &out);
    diagnostics_release(&diags);
    return buf_detach(&out);
}

static void check(const char *text, const char *expected)
{
    cleanup_free char *got = rendered(text, strlen(text), false);
    assert_string_equal(got, expected);
}

static void the_spot_is_underlined(void **state)
{
    (void)state;
    check("app: shop\nrun: x\nreplica: 3\n", "sluice.yaml:3:1: error: unknown key `replica`\n"
                                             "  3 | replica: 3\n"
                                             "    | ^~~~~~~\n"
                                             "  did you mean `replicas`?\n");
    check("app: shop\nport: auto\n",
          "sluice.yaml: error: `run` is missing\n"
          "  say how an instance is started: `run: [\"./shop\", \"--port\", \"$PORT\"]`\n");
    check("app: shop\nrun: x\nreplicas: 0\nroutes: [{}]\n",
          "sluice.yaml:3:1: warning: no instance: requests wait for the hold and are then "
          "answered with 503\n"
          "  3 | replicas: 0\n"
          "    | ^~~~~~~~\n"
          "  `sluice scale` brings them back\n");
}

static void columns_count_characters(void **state)
{
    (void)state;
    check("app: shop\nrun: x\nenv: {A: \"ééé\", 1: x}\n",
          "sluice.yaml:3:17: error: `env.1`: this is no name for an environment variable\n"
          "  3 | env: {A: \"ééé\", 1: x}\n"
          "    |                 ^\n"
          "  letters, digits and _, no digit in front\n");
}

static void long_lines_are_cut_around_the_spot(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    buf_puts(&text, "{\"app\": \"a\", \"run\": \"x\", \"env\": {\"A\": \"");
    for (int i = 0; i < 300; i++)
        buf_putc(&text, 'x');
    buf_puts(&text, "\"}, \"port\": 0, \"history\": 3");
    for (int i = 0; i < 300; i++)
        buf_putc(&text, ' ');
    buf_puts(&text, "}\n");
    cleanup_free char *got = rendered(text.data, text.len, false);
    const char *line = strstr(got, "\n  1 | ...");
    assert_non_null(line);
    const char *end = strchr(line + 1, '\n');
    assert_true(end - line < 120);
    const char *mark = strchr(end, '^');
    /* The mark is below the 0. */
    assert_int_equal((line + 1)[mark - (end + 1)], '0');
}

static void nothing_moves_the_terminal(void **state)
{
    (void)state;
    static const char text[] = "app: a\nrun: x\n\"\\e[2J\\u009b\": 1\nuser: \x1b[31m\n";
    cleanup_free char *got = rendered(text, sizeof text - 1, false);
    for (const char *p = got; *p != '\0'; p++) {
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
        assert_false((unsigned char)p[0] == 0xC2 && (unsigned char)p[1] < 0xA0);
    }
    static const char broken[] = "app: a\xff\xfe\x80z\n";
    cleanup_free char *other = rendered(broken, sizeof broken - 1, false);
    assert_non_null(strstr(other, "app: a???z"));
}

static void colours_are_asked_for(void **state)
{
    (void)state;
    static const char text[] = "app: shop\nrun: x\nreplica: 3\n";
    cleanup_free char *got = rendered(text, sizeof text - 1, true);
    assert_string_equal(
        got,
        "\x1b[1msluice.yaml:3:1:\x1b[0m \x1b[1;31merror:\x1b[0m \x1b[1munknown key `replica`"
        "\x1b[0m\n  \x1b[34m3 |\x1b[0m replica: 3\n  \x1b[34m  |\x1b[0m \x1b[1;31m^~~~~~~\x1b[0m\n"
        "  \x1b[32mdid you mean `replicas`?\x1b[0m\n");
}

static void a_place_outside_of_the_text_is_no_crash(void **state)
{
    (void)state;
    struct diagnostics diags = {0};
    report_add(&diags, false, (struct spot){9, 9, 9}, "far away", NULL);
    report_add(&diags, false, (struct spot){1, 500, 500}, "to the right", NULL);
    cleanup_buf struct buf out = BUF_INIT;
    diagnostics_render(&diags, "f", "ab\n", 3, false, &out);
    diagnostics_render(&diags, "f", NULL, 0, false, &out);
    assert_non_null(strstr(buf_str(&out), "far away"));
    diagnostics_release(&diags);
}

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

static void utf8(void **state)
{
    (void)state;
    assert_int_equal(utf8_valid_prefix("aé€😀", 10), 10);
    assert_int_equal(utf8_valid_prefix("a\0b", 3), 1);
    assert_int_equal(utf8_valid_prefix("é", 1), 0);
    assert_int_equal(utf8_valid_prefix("\xf4\x90\x80\x80", 4), 0);
    assert_int_equal(utf8_valid_prefix("\xe0\x80\x80", 3), 0);
    assert_int_equal(utf8_valid_prefix("\xf5", 1), 0);
    assert_int_equal(utf8_valid_prefix("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_spot_is_underlined),
        cmocka_unit_test(columns_count_characters),
        cmocka_unit_test(long_lines_are_cut_around_the_spot),
        cmocka_unit_test(nothing_moves_the_terminal),
        cmocka_unit_test(colours_are_asked_for),
        cmocka_unit_test(a_place_outside_of_the_text_is_no_crash),
        cmocka_unit_test(nearest_words),
        cmocka_unit_test(utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
