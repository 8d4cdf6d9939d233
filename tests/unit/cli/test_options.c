#include "cli/options.h"
#include "cli/place.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS(...) ((const char *[]){__VA_ARGS__, NULL})

static int parse(struct options *o, enum verb_id verb, const char **words, struct error *err)
{
    int n = 0;
    while (words[n] != NULL)
        n++;
    *err = (struct error)ERROR_INIT;
    return options_parse(o, verb_get(verb), n, (char **)(uintptr_t)words, err);
}

static void options_stand_anywhere(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    assert_int_equal(parse(&o, VERB_logs,
                           WORDS("logs", "-f", "shop", "--release=7", "-n5", "-e", "staging"),
                           &err),
                     0);
    assert_string_equal(o.arguments[0], "shop");
    assert_true(o.given[OPTION_FOLLOW]);
    assert_false(o.given[OPTION_JSON]);
    assert_string_equal(o.value[OPTION_RELEASE], "7");
    assert_string_equal(o.value[OPTION_LINES], "5");
    assert_string_equal(o.value[OPTION_ENV], "staging");
    assert_null(o.rest);
}

static void one_letter_means_what_the_verb_says(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    assert_int_equal(parse(&o, VERB_deploy, WORDS("deploy", "-f", "x.yaml"), &err), 0);
    assert_string_equal(o.value[OPTION_FILE], "x.yaml");
    assert_false(o.given[OPTION_FOLLOW]);
}

static void a_command_stands_behind_two_dashes(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    assert_int_equal(parse(&o, VERB_run, WORDS("run", "shop", "--", "ls", "--help", "--"), &err),
                     0);
    assert_int_equal(o.rest_len, 3);
    assert_string_equal(o.rest[1], "--help");
    assert_int_equal(parse(&o, VERB_status, WORDS("status", "--", "x"), &err), -1);
}

static void an_option_may_be_given_again(void **state)
{
    (void)state;
    struct options o;
    struct error err = ERROR_INIT;
    assert_int_equal(parse(&o, VERB_serve,
                           WORDS("serve", "--listen", "a:1", "--stop-apps", "--listen=b:2"), &err),
                     0);
    assert_int_equal(o.each_len, 3);
    assert_int_equal(o.each[0].id, OPTION_LISTEN);
    assert_string_equal(o.each[0].value, "a:1");
    assert_int_equal(o.each[1].id, OPTION_STOP_APPS);
    assert_string_equal(o.each[2].value, "b:2");
    assert_string_equal(o.value[OPTION_LISTEN], "b:2"); /* the last one */
    const char *many[OPTIONS_MAX_GIVEN + 3] = {"serve"};
    for (unsigned i = 1; i <= OPTIONS_MAX_GIVEN + 1; i++)
        many[i] = "--stop-apps";
    assert_int_equal(parse(&o, VERB_serve, many, &err), -1);
    assert_non_null(strstr(err.text, "more than 64 options"));
}

static void wrong_words_are_said(void **state)
{
    (void)state;
    static const struct {
        enum verb_id verb;
        const char *words[6];
        const char *part;
    } cases[] = {
        {VERB_deploy, {"deploy", "--detatch"}, "did you mean --detach?"},
        {VERB_deploy, {"deploy", "--timeout"}, "needs a value: D"},
        {VERB_deploy, {"deploy", "--file="}, "not empty"},
        {VERB_deploy, {"deploy", "--json=1"}, "takes no value"},
        {VERB_deploy, {"deploy", "shop"}, "no use for `shop`"},
        {VERB_status, {"status", "a", "b"}, "no use for `b`"},
        {VERB_scale, {"scale", "shop"}, "scale APP N"},
        {VERB_status, {"status", "-z"}, "no option -z"},
        {VERB_scale, {"scale", "shop", "-1"}, "scale -1: a number below 0"},
        {VERB_status, {"status", "--follow"}, "no option --follow"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options o;
        struct error err;
        const char *words[6];
        memcpy(words, cases[i].words, sizeof words);
        assert_int_equal(parse(&o, cases[i].verb, words, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
        if (strstr(err.text, cases[i].part) == NULL)
            fail_msg("%s has no %s", err.text, cases[i].part);
    }
}

static void verbs_are_known(void **state)
{
    (void)state;
    assert_string_equal(nearest_verb("deplyo"), "deploy");
    assert_null(nearest_verb("xyzzy"));
    assert_null(verb_find("exec"));
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        assert_ptr_equal(verb_find(v->word), v);
        assert_true(v->most <= OPTIONS_MAX_ARGUMENTS && v->least <= v->most);
        /* SPEC: every verb takes --json and --no-color; one with APP takes -e. */
        assert_true((v->options & OPTS_OUTPUT) == OPTS_OUTPUT);
        if (strstr(v->arguments, "APP") != NULL)
            assert_true((v->options & OPT(ENV)) != 0);
        /* A letter means one thing within a verb. */
        for (unsigned a = 0; a < OPTIONS_COUNT; a++) {
            for (unsigned b = a + 1; b < OPTIONS_COUNT; b++) {
                char letter = option_get((enum option_id)a)->letter;
                if (letter != 0 && letter == option_get((enum option_id)b)->letter)
                    assert_false((v->options >> a & 1) && (v->options >> b & 1));
            }
        }
    }
}

static void the_server_is_found(void **state)
{
    (void)state;
    struct place p;
    struct error err = ERROR_INIT;
    unsetenv("SLUICE_API");
    setenv("SLUICE_DATA", "/data", 1);
    assert_int_equal(place_find(&p, NULL, NULL, &err), 0);
    assert_string_equal(p.text, "unix:/data/api.sock");
    place_release(&p);
    assert_int_equal(place_find(&p, NULL, "/other", &err), 0);
    assert_string_equal(p.path, "/other/api.sock");
    place_release(&p);
    setenv("SLUICE_API", "[::1]:7000", 1);
    setenv("SLUICE_TOKEN", "t", 1);
    assert_int_equal(place_find(&p, NULL, NULL, &err), 0);
    assert_string_equal(p.host, "::1");
    assert_string_equal(p.port, "7000");
    assert_string_equal(p.token, "t");
    place_release(&p);
    assert_int_equal(place_find(&p, "unix:/x/y.sock", NULL, &err), 0);
    assert_string_equal(p.path, "/x/y.sock");
    place_release(&p);
    static const char *const bad[] = {"nowhere", ":80", "host:", "host:http", "http://x/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(place_find(&p, bad[i], NULL, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
        place_release(&p);
    }
    unsetenv("SLUICE_API");
    unsetenv("SLUICE_DATA");
    cleanup_free char *relative = place_data_dir("some/dir", &err);
    assert_true(relative[0] == '/');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(one_letter_means_what_the_verb_says),
        cmocka_unit_test(a_command_stands_behind_two_dashes),
        cmocka_unit_test(an_option_may_be_given_again),
        cmocka_unit_test(wrong_words_are_said),
        cmocka_unit_test(verbs_are_known),
        cmocka_unit_test(the_server_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
