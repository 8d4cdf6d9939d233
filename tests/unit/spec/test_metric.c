/* metrics, bake, and what the judge does when it cannot tell. */
#include "parse.h"

#define PROMETHEUS "prometheus: 'http://h:9090', "

static void a_metric_gets_its_defaults(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("metrics: [{name: lag, " PROMETHEUS "query: lag, max: 5}]\n", NULL);
    assert_int_equal(s->metrics_len, 1);
    const struct metric_spec *m = &s->metrics[0];
    assert_string_equal(m->name, "lag");
    assert_int_equal(m->source, METRIC_PROMETHEUS);
    assert_string_equal(m->url, "http://h:9090");
    assert_string_equal(m->query, "lag");
    assert_true(m->max.given);
    assert_true(m->max.value == 5);
    assert_false(m->min.given);
    assert_false(m->compare);
    assert_false(m->per_release);
    assert_int_equal(m->interval_ms, 10000);
    assert_int_equal(m->initial_delay_ms, 0);
    assert_int_equal(m->timeout_ms, 10000);
    assert_int_equal(m->count, 0);
    assert_int_equal(m->failure_limit, 0);
    assert_int_equal(m->consecutive_error_limit, 4);
    assert_int_equal(m->inconclusive_limit, 3);
    spec_free(s);
}

static void all_that_a_metric_can_say(void **state)
{
    (void)state;
    struct app_spec *s = parse_good(
        "metrics:\n"
        "  - {name: a, command: [./a, '${HOME}', $SLUICE_RELEASE], min: -2.5, max: 1e3, count: 7,\n"
        "     interval: 1s, initial-delay: 1m, failure-limit: 1, consecutive-error-limit: 0,\n"
        "     inconclusive-limit: 9, timeout: 250ms}\n"
        "  - {name: b, webhook: 'https://u:${TOKEN}@h/x?y=1', per-release: true, compare: stable,\n"
        "     worse: lower}\n",
        NULL);
    assert_int_equal(s->metrics_len, 2);
    const struct metric_spec *a = &s->metrics[0], *b = &s->metrics[1];
    assert_int_equal(a->source, METRIC_COMMAND);
    assert_string_equal(a->command.argv[1], "/home/me");
    assert_string_equal(a->command.argv[2], "$SLUICE_RELEASE");
    assert_true(a->min.given && a->min.value == -2.5);
    assert_true(a->max.given && a->max.value == 1000);
    assert_int_equal(a->count, 7);
    assert_int_equal(a->interval_ms, 1000);
    assert_int_equal(a->initial_delay_ms, 60000);
    assert_int_equal(a->failure_limit, 1);
    assert_int_equal(a->consecutive_error_limit, 0);
    assert_int_equal(a->inconclusive_limit, 9);
    assert_int_equal(a->timeout_ms, 250);
    assert_int_equal(b->source, METRIC_WEBHOOK);
    assert_string_equal(b->url, "https://u:hunter2@h/x?y=1");
    assert_true(b->per_release && b->compare && b->lower_is_worse);
    assert_string_equal(metric_source_word(b->source), "webhook");
    spec_free(s);
}

static void wrong_metrics(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"metrics: lag\n",
         "3:10 `metrics`: expected a list such as [{name: queue-lag, command: [\"./lag\"], max: "
         "5}], got `lag`"},
        {"metrics: [lag]\n", "3:11 `metrics`: expected a map such as {name: queue-lag, command: "
                             "[./lag]}, got `lag`"},
        {"metrics: [{command: x}]\n",
         "3:11 `metrics`: `name` is missing | for example {name: queue-lag, ...}"},
        {"metrics: [{name: A_b, command: x}]\n",
         "3:18 `metrics.name`: expected a name: a letter, then letters, digits and dashes, all "
         "lower "
         "case, at most 63, got `A_b` | did you mean `a-b`?"},
        {"metrics: [{name: a, command: x}, {name: a, command: y}]\n",
         "3:41 `metrics`: the name `a` is given twice | each has a name of its own"},
        {"metrics: [{name: a}]\n",
         "3:11 `metrics`: needs one of `prometheus`, `command`, `webhook` | for example "
         "{prometheus: \"http://127.0.0.1:9090\", query: \"...\"}, {command: [\"./measure\"]} or "
         "{webhook: \"https://...\"}"},
        {"metrics: [{name: a, command: x, webhook: 'http://h'}]\n",
         "3:11 `metrics`: has more than one of `prometheus`, `command`, `webhook` | one metric for "
         "each of them"},
        {"metrics: [{name: a, " PROMETHEUS "max: 1}]\n",
         "3:11 `metrics`: `query` is missing | for example query: "
         "'sum(queue_lag{version=\"{{version}}\"})'"},
        {"metrics: [{name: a, command: x, query: y}]\n",
         "3:33 `metrics`: `query` is for `prometheus` only"},
        {"metrics: [{name: a, " PROMETHEUS "query: y}]\n",
         "3:11 `metrics`: nothing says which values are good | add `max`, `min`, or `compare: "
         "stable` with `per-release: true`"},
        {"metrics: [{name: a, command: x, compare: stable, per-release: true, max: 1}]\n",
         "3:33 `metrics`: is judged by `max` and `min`, or by `compare`, not by both | two metrics "
         "can have the same source"},
        {"metrics: [{name: a, command: x, compare: stable}]\n",
         "3:33 `metrics`: a comparison needs the same measurement of both releases | write "
         "`per-release: true`, and tell the two apart in the query: {version=\"{{version}}\"}"},
        {"metrics: [{name: a, command: x, compare: candidate, per-release: true}]\n",
         "3:42 `metrics.compare`: expected `stable`, got `candidate`"},
        {"metrics: [{name: a, command: x, worse: lower}]\n",
         "3:33 `metrics`: `worse` is for `compare` only | `max` and `min` say it by themselves"},
        {"metrics: [{name: a, " PROMETHEUS "max: 1, per-release: true, query: y}]\n",
         "3:77 `metrics`: asks the same of both releases: neither {{release}} nor {{version}} is "
         "in "
         "it | for example lag{version=\"{{version}}\"}"},
        {"metrics: [{name: a, command: x, min: 2, max: 1}]\n",
         "3:33 `metrics`: `min` is above `max`: every value would be a failure | both together are "
         "a "
         "range from `min` to `max`"},
        {"metrics: [{name: a, command: x, max: 5%}]\n",
         "3:38 `metrics.max`: expected a number such as 5 or 0.25, got `5%` | as the source gives "
         "it: 5% is 0.05 mostly"},
        {"metrics: [{name: a, command: x, max: nan}]\n",
         "3:38 `metrics.max`: expected a number such as 5 or 0.25, got `nan`"},
        {"metrics: [{name: a, command: x, max: 1e999}]\n",
         "3:38 `metrics.max`: expected a number such as 5 or 0.25, got `1e999`"},
        {"metrics: [{name: a, command: x, interval: 500ms}]\n",
         "3:43 `metrics.interval`: expected a duration of at least 1s, such as 10s, got `500ms`"},
        {"metrics: [{name: a, command: x, failureLimit: 2}]\n",
         "3:33 unknown key `failureLimit` in `metrics` | did you mean `failure-limit`?"},
        {"metrics: [{name: a, command: x, failure-limit: -1}]\n",
         "3:48 `metrics.failure-limit`: expected a whole number from 0 to 100000, got `-1`"},
        {"metrics: [{name: a, command: []}]\n",
         "3:30 `metrics.command`: expected a command: a list such as [\"./shop\", \"--port\", "
         "\"$PORT\"], or a text for the shell, got a list | it has no words"},
    };
    check_fault_table(faults, COUNT_OF(faults));
}

static void wrong_urls_are_not_shown(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"h:9090", "it starts with http:// or https://"},
        {"ftp://secret@h", "it starts with http:// or https://"},
        {"http://u:secret@", "the host is missing"},
        {"http://:9090", "the host is missing"},
        {"http:///secret", "the host is missing"},
        {"http://h/a secret", "no spaces, quotes, fragments, or characters beyond ASCII"},
        {"http://h/#secret", "no spaces, quotes, fragments, or characters beyond ASCII"},
        {"http://h/?query=secret",
         "what is asked for stands under `query`; this is only where the server is"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_free char *text = xasprintf(
            "app: shop\nrun: x\nmetrics:\n- {name: a, prometheus: '%s', query: q, max: 1}",
            cases[i][0]);
        cleanup_free char *expected = xasprintf("4:25 `metrics.prometheus`: expected a URL such as "
                                                "http://127.0.0.1:9090 | %s",
                                                cases[i][1]);
        check_faults(text, strlen(text), NULL, expected);
    }
}

static void placeholders_are_known_words(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"metrics:\n- {name: a, " PROMETHEUS "max: 1, query: 'x{v=\"{{versoin}}\"}'}\n",
         "4:57 `metrics.query`: unknown placeholder {{versoin}} | did you mean {{version}}?"},
        {"metrics:\n- {name: a, " PROMETHEUS "max: 1, query: 'x{v=\"{{pod-template}}\"}'}\n",
         "4:57 `metrics.query`: unknown placeholder {{pod-template}} | known: {{release}}, "
         "{{version}}, {{window}}, {{app}}, {{environment}}"},
        {"metrics:\n- {name: a, " PROMETHEUS "max: 1, query: 'x{{release'}\n",
         "4:57 `metrics.query`: a {{ is never closed | a placeholder ends with }}"},
    };
    check_fault_table(faults, COUNT_OF(faults));
    cleanup_buf struct buf out = BUF_INIT;
    metric_query_fill(
        "a{b=\"{{app}}-{{environment}}\",r=\"{{release}}\",v=\"{{version}}\"}[{{window}}]",
        &(struct metric_place){.app = "shop",
                               .environment = "staging",
                               .release = "7",
                               .version = "1.2",
                               .window = "90s"},
        &out);
    assert_string_equal(buf_str(&out), "a{b=\"shop-staging\",r=\"7\",v=\"1.2\"}[90s]");
}

static void urls_are_masked(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"http://h:9090", "http://h:9090"},     {"http://h:9090/", "http://h:9090"},
        {"https://u:p@h", "https://***@h"},     {"https://u:p@q@h:1/token", "https://***@h:1/***"},
        {"https://h?token=1", "https://h/***"}, {"https://h/@x", "https://h/***"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_buf struct buf out = BUF_INIT;
        metric_url_masked(cases[i][0], &out);
        assert_string_equal(buf_str(&out), cases[i][1]);
    }
}

static void bake_is_a_duration_or_a_map(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("bake: 10m\n", NULL);
    assert_int_equal(s->bake.time_ms, 600000);
    assert_false(s->bake.keep);
    spec_free(s);
    s = parse_good("bake: {time: 1h, keep: true}\n", NULL);
    assert_int_equal(s->bake.time_ms, 3600000);
    assert_true(s->bake.keep);
    spec_free(s);
    static const struct fault faults[] = {
        {"bake: 10\n", "3:7 `bake.time`: expected a duration such as 10s, got `10` | the unit is "
                       "missing: did you mean `10s`?"},
        {"bake: [10m]\n", "3:7 `bake`: expected a duration such as 10m, or a map such as {time: "
                          "10m, keep: true}, got a list"},
        {"bake: {duration: 10m}\n", "3:8 unknown key `duration` in `bake` | here it is called "
                                    "`time`"},
    };
    check_fault_table(faults, COUNT_OF(faults));
}

static void what_an_inconclusive_judge_does(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("routes: [{}]\nstrategy: {canary: {judge: {inconclusive: pause}}}\n", NULL);
    assert_int_equal(s->strategy.judge.inconclusive, INCONCLUSIVE_PAUSE);
    spec_free(s);
    static const struct fault faults[] = {
        {"routes: [{}]\nstrategy: {canary: {judge: {inconclusive: rollbak}}}\n",
         "4:43 `strategy.canary.judge.inconclusive`: expected `continue`, `pause` or `rollback`, "
         "got "
         "`rollbak` | did you mean `rollback`?"},
    };
    check_fault_table(faults, COUNT_OF(faults));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_metric_gets_its_defaults),
        cmocka_unit_test(all_that_a_metric_can_say),
        cmocka_unit_test(wrong_metrics),
        cmocka_unit_test(wrong_urls_are_not_shown),
        cmocka_unit_test(placeholders_are_known_words),
        cmocka_unit_test(urls_are_masked),
        cmocka_unit_test(bake_is_a_duration_or_a_map),
        cmocka_unit_test(what_an_inconclusive_judge_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
