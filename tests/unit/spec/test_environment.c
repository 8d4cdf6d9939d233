/* -e NAME, ${NAME}, env-files. */
#include "parse.h"

static const char *value(const struct app_spec *s, const char *name)
{
    for (size_t i = 0; i < s->env_len; i++)
        if (strcmp(s->env[i].name, name) == 0)
            return s->env[i].value;
    return NULL;
}

/* ---- environments ---------------------------------------------------------------------------- */

static const char layered[] =
    "replicas: 2\nenv: {A: base, B: base}\nroutes: [{host: a.example}, {host: b.example}]\n"
    "probes: {readiness: {http: /ready, period: 5s}}\nstrategy: {canary: {steps: [5]}}\n"
    "slo: {latency: {p95: 1s}}\nstop: {drain: 1m}\n"
    "environments:\n"
    "  staging:\n    replicas: 1\n    env: {B: over, C: new}\n    routes: [{host: s.example}]\n"
    "    probes: {readiness: {tcp: true}}\n    strategy: {rolling: {max-surge: 1}}\n"
    "    slo: {latency: {p99: 2s}}\n"
    "  same: {strategy: {canary: {hold: 5s}}}\n"
    "  empty:\n";

static void maps_are_merged_and_the_rest_replaced(void **state)
{
    (void)state;
    struct app_spec *s = parse_good(layered, "staging");
    assert_string_equal(s->environment, "staging");
    assert_int_equal(s->processes[0].replicas, 1);
    assert_string_equal(value(s, "A"), "base");
    assert_string_equal(value(s, "B"), "over");
    assert_string_equal(value(s, "C"), "new");
    assert_int_equal(s->routes_len, 1);
    assert_string_equal(s->routes[0].host, "s.example");
    assert_int_equal(s->readiness.kind, PROBE_TCP); /* tcp displaces http, the period stays */
    assert_int_equal(s->readiness.period_ms, 5000);
    assert_int_equal(s->strategy.kind, STRATEGY_ROLLING);
    assert_false(s->strategy.max_surge.percent);
    assert_true(s->slo.latency_quantile == 0.99);
    assert_int_equal(s->slo.latency_ms, 2000);
    assert_int_equal(s->stop.drain_ms, 60000);
    spec_free(s);
}

static void others_are_left_as_they_are(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "production", "empty", "same"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct app_spec *s = parse_good(layered, names[i]);
        assert_string_equal(s->environment, names[i] != NULL ? names[i] : "production");
        assert_int_equal(s->processes[0].replicas, 2);
        assert_int_equal(s->routes_len, 2);
        assert_int_equal(s->strategy.kind, STRATEGY_CANARY);
        assert_int_equal(s->strategy.steps_len, 2);
        assert_int_equal(s->strategy.steps[0].hold_ms, i == 3 ? 5000 : 60000);
        spec_free(s);
    }
}

static void names_of_the_user_do_not_displace_each_other(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("env: {http: a, rolling: b}\n"
                                    "environments: {qa: {env: {tcp: c, canary: d}}}\n",
                                    "qa");
    assert_int_equal(s->env_len, 4);
    spec_free(s);
}

static void check_environment(const char *rest, const char *environment, const char *expected)
{
    cleanup_free char *text = xasprintf("app: shop\nrun: ./shop\n%s", rest);
    check_faults(text, strlen(text), environment, expected);
}

static void an_unknown_environment_names_the_known_ones(void **state)
{
    (void)state;
    check_environment(layered, "stagng",
                      "0:0 no environment `stagng`; the file has `staging`, `same`, `empty` | did "
                      "you mean `staging`?");
    check_environment(layered, "x",
                      "0:0 no environment `x`; the file has `staging`, `same`, `empty`");
    check_environment("", "Staging",
                      "0:0 `Staging` is no name for an environment | lower case letters, "
                      "digits and dashes");
    check_environment("", "../x",
                      "0:0 `../x` is no name for an environment | lower case letters, digits "
                      "and dashes");
    /* Without the key any name will do. */
    struct app_spec *s = parse_good("", "review-17");
    assert_string_equal(s->environment, "review-17");
    spec_free(s);
}

static void the_environments_not_chosen_are_checked_too(void **state)
{
    (void)state;
    check_environment(
        "environments:\n  staging: {replicas: x, foo: 1, user: \"${NOPE}\"}\n  B_d: {}\n"
        "  list: [a]\n",
        NULL,
        "4:23 `environments.staging.replicas`: expected a whole number from 0 to 1000, got "
        "`x`\n"
        "4:26 unknown key `foo` in `environments.staging` | known here: app, version, "
        "engine, image, source, build, release, run, replicas, port, env-files, env, "
        "secrets, user, resources, probes, stop, tls, routes, errors, hold, strategy, slo, "
        "metrics, bake, "
        "deadline, "
        "history, on-failure, environments\n"
        "5:3 `environments.B_d`: this is no name for an environment | lower case letters, "
        "digits and dashes\n"
        "6:9 `environments.list`: expected a map, got a list");
    check_environment("environments: {a: {environments: {}}}\n", NULL,
                      "3:34 `environments.a.environments`: an environment has no environments");
    check_environment(
        "environments: [a]\n", NULL,
        "3:15 `environments`: expected a map such as {staging: {replicas: 1}}, got a list");
    /* One that is chosen is said once, and with the place in its own lines. */
    check_environment("replicas: 1\nenvironments: {staging: {replicas: x}}\n", "staging",
                      "4:36 `replicas`: expected a whole number from 0 to 1000, got `x`");
    /* Rules hold for what is effective: recreate below makes the fixed port good in staging only.
     */
    struct app_spec *s = parse_good(
        "strategy: recreate\nport: 80\nenvironments: {staging: {port: auto, strategy: rolling}}\n",
        "staging");
    assert_int_equal(s->port, 0);
    spec_free(s);
    check_environment(
        "strategy: recreate\nport: 80\nenvironments: {staging: {strategy: rolling}}\n", "staging",
        "4:7 `port`: with a fixed port the old instance must be gone before the new one "
        "starts, which rolling does not do | write `strategy: recreate`, or remove `port`");
}

/* ---- ${NAME} --------------------------------------------------------------------------------- */

static void variables_are_resolved_in_values(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("replicas: ${N}\nhistory: \"${NOPE:-7}\"\n"
                                    "env:\n  A: ${HOME}/x\n  B: ${NOPE:-d e}\n  C: ${EMPTY:-e}\n"
                                    "  D: a${EMPTY}b\n  E: ${NOPE:-${HOME}}\n  F: $${HOME}\n"
                                    "  G: $HOME $$ $\n  H: ${EVIL}\n  I: ${NOPE:-}\n",
                                    NULL);
    assert_int_equal(s->processes[0].replicas, 3);
    assert_int_equal(s->history, 7);
    assert_string_equal(value(s, "A"), "/home/me/x");
    assert_string_equal(value(s, "B"), "d e");
    assert_string_equal(value(s, "C"), "e");
    assert_string_equal(value(s, "D"), "ab");
    assert_string_equal(value(s, "E"), "/home/me");
    assert_string_equal(value(s, "F"), "${HOME}");
    assert_string_equal(value(s, "G"), "$HOME $$ $");
    assert_string_equal(value(s, "H"), "x}\n- a: [b"); /* text, whatever it looks like */
    assert_string_equal(value(s, "I"), "");
    spec_free(s);
}

static void commands_keep_what_an_instance_is_given(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("build: [[a, '${PORT}', '${SLUICE_VERSION}', '${HOME}', '$HOME']]\n"
                   "release: ['x ${PORT} ${HOME} ${y%.c} ${#z} $${y}']\n",
                   NULL);
    assert_string_equal(s->build[0].argv[1], "${PORT}");
    assert_string_equal(s->build[0].argv[2], "${SLUICE_VERSION}");
    assert_string_equal(s->build[0].argv[3], "/home/me");
    assert_string_equal(s->build[0].argv[4], "$HOME");
    assert_string_equal(s->release[0].argv[2], "x ${PORT} /home/me ${y%.c} ${#z} ${y}");
    spec_free(s);
    s = parse_good("strategy: recreate\nport: ${PORT}\n", NULL); /* elsewhere it is a variable */
    assert_int_equal(s->port, 9);
    spec_free(s);
}

static const struct fault variable_faults[] = {
    {"user: ${NOPE}\n",
     "3:7 `user`: the environment variable NOPE is not set | export NOPE, or give a "
     "default: ${NOPE:-...}; a literal is $${NOPE}"},
    {"build: ['echo ${NOPE}']\n",
     "3:9 `build`: the environment variable NOPE is not set | export NOPE, "
     "or give a default: ${NOPE:-...}; a literal is $${NOPE}"},
    {"env: {A: '${SLUICE_APP}'}\n",
     "3:10 `env.A`: the environment variable SLUICE_APP is not set | an "
     "instance gets SLUICE_APP at its start: use $SLUICE_APP in `run`"},
    {"env: {A: '${HOME'}\n", "3:10 `env.A`: a ${ is never closed | write $${ for a literal ${"},
    {"env: {A: '${}'}\n",
     "3:10 `env.A`: `${}` is neither ${NAME} nor ${NAME:-default} | write $${ for a literal ${"},
    {"env: {A: '${HOME%x}'}\n", "3:10 `env.A`: `${HOME%x}` is neither ${NAME} nor ${NAME:-default} "
                                "| write $${ for a literal ${"},
    {"env: {A: '${1A}'}\n",
     "3:10 `env.A`: `${1A}` is neither ${NAME} nor ${NAME:-default} | write $${ for a literal ${"},
    {"env: {A: '${LATIN1}'}\n", "3:10 `env.A`: the environment variable LATIN1 is not UTF-8"},
    {"env: {A: '${A:-${B:-${C:-${D:-${E:-${F:-x}}}}}}'}\n",
     "3:10 `env.A`: defaults of ${} are nested too deeply"},
    /* What a variable holds is never shown: it may be a secret. */
    {"version: ${SECRET}\n",
     "3:10 `version`: expected a version: letters, digits and ._+-/@:, at most "
     "128, got what is in `${SECRET}`"},
    {"deadline: ${N}\n",
     "3:11 `deadline`: expected a duration such as 10s, got what is in `${N}` | "
     "units: ms, s, m, h, d; also 1m30s"},
    {"routes: [{host: 'a,${SECRET}'}]\n",
     "3:17 `routes.host`: one host only; this holds a separator"},
};

static void variables_that_cannot_be_resolved(void **state)
{
    (void)state;
    check_fault_table(variable_faults, COUNT_OF(variable_faults));
}

static void the_controller_leaves_variables_alone(void **state)
{
    (void)state;
    static const char text[] = "{\"app\":\"a\",\"run\":\"x\",\"env\":{\"A\":\"${HOME}\"}}";
    struct diagnostics diags = {0};
    struct app_spec *s =
        spec_parse(&(struct spec_source){.text = text, .len = strlen(text)}, &diags);
    assert_non_null(s);
    assert_string_equal(value(s, "A"), "${HOME}");
    spec_free(s);
    static const char with_files[] =
        "{\"app\":\"a\",\"run\":\"x\",\"env-files\":[\"/etc/shadow\"]}";
    s = spec_parse(&(struct spec_source){.text = with_files, .len = strlen(with_files)}, &diags);
    assert_null(s);
    assert_string_equal(diags.items[0].text,
                        "`env-files`: files are read by the command line only");
    diagnostics_release(&diags);
}

/* ---- env-files ------------------------------------------------------------------------------- */

static void dotenv_files(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("env-files: [.env, second.env]\nenv: {A: mine}\n", NULL);
    assert_string_equal(value(s, "A"), "mine");
    assert_string_equal(value(s, "B"), "over");
    assert_string_equal(value(s, "C"), "single ${X} # kept");
    assert_string_equal(value(s, "D"), "line\nnext \"q\" $ \\x");
    assert_string_equal(value(s, "E"), "");
    assert_string_equal(value(s, "F"), "a#b");
    assert_string_equal(value(s, "G"), "two\nlines");
    assert_string_equal(value(s, "H"), "x");
    assert_string_equal(value(s, "Z"), "z");
    assert_int_equal(s->env_len, 9);
    spec_free(s);
    s = parse_good("env-files: .env\n", NULL);
    assert_string_equal(value(s, "B"), "two words");
    spec_free(s);
}

static const struct fault file_faults[] = {
    {"env-files: [nope.env]\n",
     "3:13 `env-files`: nope.env cannot be read: No such file or directory"},
    {"env-files: {a: b}\n", "3:12 `env-files`: expected a list of files such as [.env], got a map"},
    {"env-files: ['']\n", "3:13 `env-files`: expected the path of a file, got an empty text"},
    {"env-files: [broken.env]\n",
     "3:13 `env-files`: broken.env:2: expected NAME=value | comments start with #\n"
     "3:13 `env-files`: broken.env:3: expected NAME=value | comments start with #\n"
     "3:13 `env-files`: broken.env:4: a quote is never closed"},
    {"env-files: [tail.env]\n",
     "3:13 `env-files`: tail.env:1: text behind the closing quote | put all "
     "of the value into the quotes"},
    {"env-files: [latin1.env]\n", "3:13 `env-files`: latin1.env: this is no UTF-8 text"},
    {"env-files: [port.env]\n",
     "3:13 warning: `env-files`: port.env:1: PORT is left out | sluice sets "
     "it for each instance\n3:13 warning: `env-files`: port.env:2: SLUICE_APP "
     "is left out | sluice sets it for each instance"},
};

static void broken_env_files(void **state)
{
    (void)state;
    check_fault_table(file_faults, COUNT_OF(file_faults));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_merged_and_the_rest_replaced),
        cmocka_unit_test(others_are_left_as_they_are),
        cmocka_unit_test(names_of_the_user_do_not_displace_each_other),
        cmocka_unit_test(an_unknown_environment_names_the_known_ones),
        cmocka_unit_test(the_environments_not_chosen_are_checked_too),
        cmocka_unit_test(variables_are_resolved_in_values),
        cmocka_unit_test(commands_keep_what_an_instance_is_given),
        cmocka_unit_test(variables_that_cannot_be_resolved),
        cmocka_unit_test(the_controller_leaves_variables_alone),
        cmocka_unit_test(dotenv_files),
        cmocka_unit_test(broken_env_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
