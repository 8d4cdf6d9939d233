/* Text that is no YAML, or YAML that is no sluice.yaml, or made to hurt. */
#include "parse.h"

struct whole {
    const char *text;
    const char *expected;
};

static const struct whole faults[] = {
    {"", "0:0 the file is empty | `sluice init` writes one"},
    {"# only a comment\n", "0:0 the file is empty | `sluice init` writes one"},
    {"---\n...\n", "0:0 the file is empty | `sluice init` writes one"},
    {"- a\n", "1:1 expected a map of keys, such as `app: shop`, got a list"},
    {"hello\n", "1:1 expected a map of keys, such as `app: shop`, got `hello`"},
    {"app: a\n\trun: b\n",
     "2:1 a tab in the indentation; YAML wants spaces | two spaces per level"},
    {"app: a\nenv:\n  A: b\n \tC: d\n",
     "4:2 a tab in the indentation; YAML wants spaces | two spaces per level"},
    {"app: a\nrun: [./x\n", "2:6 a [ is never closed"},
    {"app: a\nenv: {A: b\n", "3:1 a comma or a closing bracket is missing here | what was opened "
                             "in line 2 is not closed yet"},
    {"app: a\nrun: [\"x\"\nroutes: []\n",
     "3:1 what was opened in line 2 is not closed yet | close it there, or indent this line if it "
     "belongs inside"},
    {"app: a\nenv: {A: b,\nC: d}\n",
     "3:1 what was opened in line 2 is not closed yet | close it there, or indent this line if it "
     "belongs inside"},
    {"app: \"x\n", "1:7 this quote is never closed"},
    {"app: 'x\n", "1:7 this quote is never closed"},
    {"app: b: c\n",
     "1:7 a second `key: value` on the same line | put quotes around text that holds a "
     "colon and a space"},
    {"app: a\nrun: x\n  port: 1\n", "2:6 the next line is indented as if it went on with this, but "
                                    "looks like a key | check the indentation of the next line"},
    {"app: @x\n", "1:6 text cannot start with this character | put it in quotes"},
    {"app: a\nrun: [${HOME}]\n", "2:8 a comma or a closing bracket is missing here | inside of [ ] "
                                 "and { }, put quotes around text "
                                 "with braces, such as \"${NAME}\""},
    {"app: a\nrun: x\nenv: {A: b}}\n", "3:12 a } without its {"},
    {"app: a\nrun: x\n---\napp: b\nrun: y\n", "3:1 a second document starts here; a sluice.yaml is "
                                              "one document | remove the `---`, or put the "
                                              "other app into a folder of its own"},
    {"app: a\nrun: x\napp: b\n", "3:1 `app` is given twice | it stands in line 1 already"},
    {"app: a\nrun: x\nenv:\n  A: b\n  \"A\": c\n",
     "5:3 `A` is given twice | it stands in line 4 already"},
    {"app: a\n? [run]\n: x\n",
     "2:3 a key must be a word | text that starts with { or [ needs quotes"},
    {"app: a\nrun: x\n? {a: b}\n: c\n",
     "3:3 a key must be a word | text that starts with { or [ needs quotes"},
    {"app: a\nrun: x\nuser: *me\n",
     "3:7 there is no anchor `&me` above | text that starts with * needs quotes"},
    {"app: a\nrun: x\nenv: &e {A: *e}\n",
     "3:13 there is no anchor `&e` above | text that starts with * needs quotes"},
    {"app: a\nrun: x\nenv: {<<: 3}\n",
     "3:11 `<<` merges a map or a list of maps | write `<<: *name`, "
     "where &name marks a map"},
    {"app: a\nrun: x\nenv: {<<: [{A: b}, c]}\n",
     "3:20 `<<` merges a map or a list of maps | write `<<: *name`, where &name marks a map"},
    {"app: a\nrun: x\nenv: {A: \"\\0\"}\n",
     "3:10 this text holds a NUL or bytes that are not UTF-8"},
    {"app: a\nrun: >-\n  x\n  \n   y\n",
     "3:1 this block of text cannot be read | write it in double quotes"},
    {"app: a\nrun: x\nenv: {A: \"\\ud83d\"}\n",
     "3:11 double-quoted scalar has invalid UTF8 escape"},
    {"app: \xff\n", "1:6 this is not UTF-8 | save the file as UTF-8"},
    {"# \xc3\xa9\xc3\xa9 \xe9\n", "1:6 this is not UTF-8 | save the file as UTF-8"},
    {"app: \xed\xa0\x80\n", "1:6 this is not UTF-8 | save the file as UTF-8"}, /* a surrogate */
    {"app: \xc0\xaf\n", "1:6 this is not UTF-8 | save the file as UTF-8"},     /* overlong */
};

static void each_syntax_fault_says_what_to_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(faults); i++)
        check_faults(faults[i].text, strlen(faults[i].text), NULL, faults[i].expected);
}

static void a_nul_byte_is_no_end(void **state)
{
    (void)state;
    static const char text[] = "app: a\nrun: x\0\nport: 3\n";
    check_faults(text, sizeof text - 1, NULL, "2:7 a NUL byte: this is no text file");
}

static void a_file_may_come_from_other_systems(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_whole("\xef\xbb\xbf%YAML 1.2\r\n---\r\napp: shop\r\nrun: |\r\n  one\r\n"
                    "  two\r\nenv: {\r\n  A: b }\r\n");
    assert_string_equal(s->app, "shop");
    assert_string_equal(s->processes[0].run.argv[2], "one\ntwo\n");
    assert_string_equal(s->env[0].value, "b");
    spec_free(s);
}

static void the_text_need_not_end(void **state)
{
    (void)state;
    static const char text[] = {'a', 'p', 'p', ':', ' ', 'a', '\n', 'r', 'u', 'n', ':', ' ', 'x'};
    cleanup_free char *exact = xmalloc(sizeof text); /* a sanitizer sees a read behind it */
    memcpy(exact, text, sizeof text);
    struct diagnostics diags = {0};
    struct app_spec *s = parse_in(exact, sizeof text, NULL, &diags);
    assert_non_null(s);
    spec_free(s);
    check_faults("", 0, NULL, "0:0 the file is empty | `sluice init` writes one");
    diagnostics_release(&diags);
}

static void anchors_and_merge_keys(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("env: &all\n  A: a\n  B: b\n"
                                    "environments:\n"
                                    "  staging:\n    env: {<<: *all, B: c, D: d}\n"
                                    "  qa:\n    env: {<<: [{A: first}, *all], E: e}\n",
                                    "staging");
    assert_int_equal(s->env_len, 3);
    assert_string_equal(s->env[0].value, "a");
    assert_string_equal(s->env[1].value, "c");
    assert_string_equal(s->env[2].name, "D");
    spec_free(s);
    s = parse_good(
        "env: &all {A: a, B: b}\nenvironments: {qa: {env: {<<: [{A: first}, *all], E: e}}}\n",
        "qa");
    assert_int_equal(s->env_len, 3);
    assert_string_equal(s->env[0].value, "first");
    spec_free(s);
    s = parse_good("probes: {readiness: &p {http: /ok, period: 2s}, liveness: *p}\n", NULL);
    assert_string_equal(s->liveness.http_path, "/ok");
    assert_int_equal(s->liveness.period_ms, 2000);
    spec_free(s);
}

/* libfyaml 0.7.12 reads these wrong, and leaks (libfyaml#233). */
static void many_quotes_in_quotes(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("env: {A: ''''''''''''''''''''''''''}\n", NULL);
    assert_string_equal(s->env[0].value, "''''''''''''");
    spec_free(s);
}

static void one_fault_behind_an_anchor_is_one_fault(void **state)
{
    (void)state;
    static const char text[] = "app: a\nrun: x\nbuild: &b [[]]\nrelease: *b\n";
    check_faults(
        text, strlen(text), NULL,
        "3:12 `build`: expected a command: a list such as [\"./shop\", \"--port\", \"$PORT\"], "
        "or a text for the shell, got a list | it has no words\n"
        "3:12 `release`: expected a command: a list such as [\"./shop\", \"--port\", "
        "\"$PORT\"], or a text for the shell, got a list | it has no words");
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void a_huge_file(void **state)
{
    (void)state;
    size_t len = (1 << 20) + 1;
    cleanup_free char *text = xmalloc(len);
    memset(text, '#', len);
    check_faults(text, len, NULL, "0:0 larger than 1024 KiB | is this the file that was meant?");
    check_faults(text, len - 1, NULL, "0:0 the file is empty | `sluice init` writes one");
}

static void deep_nesting(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    buf_puts(&text, "app: a\nrun: ");
    for (int i = 0; i < 100000; i++)
        buf_putc(&text, '[');
    check_faults(text.data, text.len, NULL, "2:37 nested deeper than 32 levels");
    buf_clear(&text);
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "%*sa:\n", i, "");
    check_faults(text.data, text.len, NULL, "33:33 nested deeper than 32 levels");
}

static void an_alias_bomb(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    buf_puts(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++) {
        buf_printf(&text, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++)
            buf_printf(&text, "*a%d, ", i - 1);
        buf_puts(&text, "]\n");
    }
    check_faults(text.data, text.len, NULL,
                 "5:9 the file has too many values, those behind aliases counted too | 200000 are "
                 "allowed; do anchors multiply each other?");
}

static void a_merge_bomb(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    buf_puts(&text, "m0: &m0 {k0: v}\n");
    for (int i = 1; i < 2000; i++)
        buf_printf(&text, "m%d: &m%d {<<: *m%d, k%d: v}\n", i, i, i - 1, i);
    struct diagnostics diags = {0};
    assert_null(parse_in(text.data, text.len, NULL, &diags));
    assert_int_equal(diags.len, 1);
    diagnostics_release(&diags);
}

static void many_faults_are_cut(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    for (int i = 0; i < 5000; i++)
        buf_printf(&text, "k%d: v\n", i);
    struct diagnostics diags = {0};
    assert_null(parse_in(text.data, text.len, NULL, &diags));
    assert_int_equal(diags.len, 101);
    assert_string_equal(diags.items[100].text, "more than 100 errors; the rest is not shown");
    diagnostics_release(&diags);
}

/* Every cut of a good file is good or says why; a sanitizer sees the rest. */
static void every_prefix_of_a_file_has_an_answer(void **state)
{
    (void)state;
    static const char text[] =
        "app: shop\nrun: {web: [./web, \"${HOME}\"], w: \"x ${N:-2}\"}\nreplicas: {web: 2}\n"
        "env: &e {A: 'x', B: \"\\u00e9\\n\"}\nenv-files: [.env]\n"
        "routes:\n  - {host: \"*.a.example\", path: /x, match: {header: {x: 1}, cookie: {c: }}}\n"
        "probes: {readiness: {http: /r}}\nstrategy:\n  canary: {steps: [5, {weight: 50, hold: "
        "1m}]}\n"
        "environments:\n  staging: {env: {<<: *e, C: d}, strategy: rolling}\n";
    for (size_t len = 0; len < sizeof text; len++) {
        cleanup_free char *exact = xmalloc(len + 1);
        memcpy(exact, text, len);
        struct diagnostics diags = {0};
        struct app_spec *s = parse_in(exact, len, "staging", &diags);
        assert_int_equal(s == NULL, diagnostics_failed(&diags));
        cleanup_buf struct buf out = BUF_INIT;
        diagnostics_render(&diags, "f", exact, len, true, &out);
        spec_free(s);
        diagnostics_release(&diags);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_syntax_fault_says_what_to_do),
        cmocka_unit_test(a_nul_byte_is_no_end),
        cmocka_unit_test(a_file_may_come_from_other_systems),
        cmocka_unit_test(the_text_need_not_end),
        cmocka_unit_test(anchors_and_merge_keys),
        cmocka_unit_test(many_quotes_in_quotes),
        cmocka_unit_test(one_fault_behind_an_anchor_is_one_fault),
        cmocka_unit_test(a_huge_file),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(an_alias_bomb),
        cmocka_unit_test(a_merge_bomb),
        cmocka_unit_test(many_faults_are_cut),
        cmocka_unit_test(every_prefix_of_a_file_has_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
