/* The canonical JSON and back, other strategies, the difference of two specs. */
#include "parse.h"

static struct app_spec *from_json(const struct buf *json)
{
    struct diagnostics diags = {0};
    struct app_spec *s =
        spec_parse(&(struct spec_source){.text = json->data, .len = json->len}, &diags);
    if (s == NULL) {
        cleanup_buf struct buf out = BUF_INIT;
        diagnostics_render(&diags, "json", json->data, json->len, false, &out);
        fail_msg("%s", buf_str(&out));
    }
    diagnostics_release(&diags);
    return s;
}

static void assert_same_after_json(const struct app_spec *s)
{
    cleanup_buf struct buf json = BUF_INIT, again = BUF_INIT, diff = BUF_INIT;
    spec_to_json(s, &json);
    struct app_spec *copy = from_json(&json);
    spec_to_json(copy, &again);
    assert_string_equal(buf_str(&json), buf_str(&again));
    spec_diff(s, copy, &diff);
    assert_string_equal(buf_str(&diff), "");
    /* What the JSON might leave out on both sides alike. */
    assert_int_equal(s->strategy.judge.alpha * 1e6, copy->strategy.judge.alpha * 1e6);
    assert_int_equal(s->processes_len, copy->processes_len);
    for (size_t i = 0; i < s->processes_len; i++)
        assert_int_equal(s->processes[i].routed, copy->processes[i].routed);
    spec_free(copy);
}

static void the_small_file(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("routes: [{path: /}]\nprobes: {readiness: {http: /ready}}\n", "staging");
    cleanup_buf struct buf json = BUF_INIT;
    spec_to_json(s, &json);
    assert_string_equal(
        buf_str(&json),
        "{\"app\":\"shop\",\"environment\":\"staging\",\"run\":\"./shop\",\"replicas\":1,"
        "\"port\":\"auto\",\"probes\":{\"readiness\":{\"http\":\"/ready\",\"delay\":\"0s\","
        "\"period\":\"1s\",\"timeout\":\"1s\",\"successes\":1,\"failures\":3}},"
        "\"stop\":{\"signal\":\"TERM\",\"drain\":\"30s\",\"grace\":\"30s\"},"
        "\"tls\":\"files\",\"routes\":[{\"path\":\"/"
        "\",\"timeout\":\"1m\",\"connect-timeout\":\"2s\",\"retries\":1,\"protocol\":\"http1\","
        "\"https\":\"optional\","
        "\"tls\":\"files\",\"hsts\":\"0s\"}],"
        "\"hold\":{\"time\":\"10s\",\"requests\":1000},\"strategy\":{\"rolling\":{"
        "\"max-surge\":\"25%\",\"max-unavailable\":\"25%\",\"min-ready\":\"0s\"}},"
        "\"slo\":{\"min-requests\":50,\"window\":\"1m\"},\"bake\":{\"time\":\"0s\",\"keep\":false},"
        "\"deadline\":\"10m\",\"history\":10,"
        "\"on-failure\":\"rollback\"}");
    struct app_spec *copy = from_json(&json);
    assert_string_equal(copy->environment, "staging"); /* said by the JSON itself */
    spec_free(copy);
    spec_free(s);
}

/* ---- the property: any good file survives ---------------------------------------------------- */

enum { LINES = 12 };
static const char *const lines[][LINES] = {
    {"version: 1.0\n", "version: v2+3\n", "version: ${N}\n"},
    {"source: .\n", "source: \"a \\\"b\\\" \\\\ c\"\n"},
    {"build: [make]\n", "build: [[npm, ci], 'x && y']\n", "build: []\n"},
    {"release: ['./migrate \"$A\"']\n"},
    {"run: './shop $PORT'\n", "run: [./shop, '$${X}', '${PORT}', '']\n",
     "run: {web: [a], worker: b}\nreplicas: {worker: 3}\n", "run: {web: [a], b: c}\n"},
    {"env: {A: b}\n",
     "env: {A: \"\\u0001\\t\\n\\r\\e\\x7f\\x85\\u2028\\ufeff\\uffff\\U0001F600é\"}\n",
     "env: {A: '', B: 'null', C: '~', D: '3', E: ' x ', F: '${EVIL}', G: '# y', H: '- z'}\n",
     "env-files: [.env, second.env]\nenv: {A: over}\n", "env: \n"},
    {"user: shop\n", "user: _x.y-1\n"},
    {"resources: {cpu: 0.25}\n", "resources: {memory: 1Gi}\n",
     "resources: {cpu: 2, memory: 1500k}\n", "resources: {memory: 1048577}\n"},
    {"probes: {readiness: {http: '/r?x=1', delay: 90s}}\n",
     "probes: {liveness: {exec: 'x y'}, startup: {tcp: true, failures: 100}}\n",
     "probes: {readiness: {exec: [a, b], period: 1ms}}\n", "probes: {}\n"},
    {"stop: {signal: 2}\n", "stop: {signal: SIGHUP, drain: 0s, before: [[a], b]}\n",
     "stop: {grace: 1h1m}\n"},
    {"routes: [{}]\n", "routes: [{host: '*.A.example', path: /x/%41/}]\n",
     "routes: [{match: {cookie: {c: }, header: {X: 'a \"b\"', Y: é}}}, {path: /b, retries: 0}]\n",
     "routes: [{match: {query: {a b: 'c=&', d: , e: ''}, method: [POST, GET]}}]\n",
     "routes: [{retries: {attempts: 3, budget: 10%, backoff: 0s, on: [503, reset]}}]\n",
     "routes: [{retries: {on: []}, outlier: off, connect-timeout: 1s, total-timeout: 1m}]\n",
     "routes: [{outlier: {errors: 0, latency: 300%, base: 1s, max: 2s, max-ejected: 10%}}]\n",
     "routes: [{capacity: {in-flight: 5, pending: 0, queue-time: 0s}, "
     "slow-start: 30s}]\n",
     "routes: [{rate-limit: {requests: 1}, limits: {}, via: true}, {path: /b, forwarded: true, "
     "rate-limit: {requests: 1000000, "
     "per: 1ms, burst: 1, by: {header: X-A}}, limits: {body: 3, headers: 256, min-rate: 1Gi}}]\n",
     "routes: []\n"},
    {"hold: {time: 0s}\n", "hold: {requests: 5}\n"},
    {"strategy: recreate\n",
     "strategy: {rolling: {max-surge: 3, max-unavailable: 0%, min-ready: 7s}}\n",
     "strategy: {blue-green: {preview: {header: {x-p: g}}, smoke: [[s, $A], t], approve: true, "
     "keep: 0}}\n",
     "strategy: canary\n",
     "strategy: {canary: {steps: [0.0001, 33.3%, {weight: 50, hold: 0, approve: true, smoke: "
     "[x]}], "
     "hold: 5s, instances: 4, match: {cookie: {a: b}}, sticky: cookie, judge: {alpha: 0.0001%, "
     "max-worse: 33.3333%, inconclusive: rollback, memory: off, cpu: 10%, usage-interval: 90s}}}\n",
     "strategy: {canary: {judge: {memory: 1000%, cpu: off}}}\n",
     "strategy: {shadow: {share: 0.5%, for: 90s, methods: [DELETE, GET], body-limit: "
     "1Ki, differences: 0%, smoke: [[s]], approve: true, keep: 0s, judge: {inconclusive: pause}, "
     "compare: {status: false, headers: [X-A, x-b, x-a], body: json, ignore: ['/a~1b', "
     "'/items/*/t', '/a\"b']}}}\n",
     "strategy: {shadow: {share: 33.3%, compare: {headers: [], body: none}}}\n",
     "strategy: {canary: {steps: []}}\n", "strategy: {canary: {steps: [100]}}\n"},
    {"slo: {error-rate: 0%}\n", "slo: {error-rate: 0.01%, latency: {p99.9: 1ms}, window: 5m}\n",
     "slo: {latency: {p50: 30d}, min-requests: 1}\n"},
    {"metrics: [{name: a, prometheus: 'http://u:p@h:9090/x', query: 'a{b=\"{{version}}\"}', max: "
     "5}]\n",
     "metrics: [{name: a, command: [./a, $B], min: -1e-3, max: 0.1, count: 3, interval: 1s},\n"
     "  {name: b, webhook: 'https://h/?t=1', failure-limit: 1, timeout: 1m}]\n",
     "metrics: [{name: a, command: 'x | y', per-release: true, compare: stable, worse: lower}]\n",
     "metrics: [{name: a, command: x, compare: stable, per-release: true, initial-delay: 1m}]\n",
     "metrics: []\n"},
    {"bake: 10m\n", "bake: {keep: true}\n", "bake: {time: 1h, keep: true}\n", "bake: \n"},
    {"deadline: 1d\n"},
    {"history: 3\n"},
    {"on-failure: pause\n"},
    {"environments: {staging: {env: {NEW: x}}}\n"},
};

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13; /* xorshift32 */
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

static void any_good_file_survives_its_json(void **state)
{
    (void)state;
    uint32_t seed = 20261121;
    for (int round = 0; round < 1500; round++) {
        cleanup_buf struct buf text = BUF_INIT;
        buf_puts(&text, "app: shop\n");
        bool has_run = false;
        for (size_t i = 0; i < COUNT_OF(lines); i++) {
            size_t n = 0;
            while (n < LINES && lines[i][n] != NULL)
                n++;
            uint32_t pick = next_random(&seed) % (uint32_t)(n + 1);
            if (pick < n)
                buf_puts(&text, lines[i][pick]);
            has_run |= pick < n && strncmp(lines[i][pick], "run", 3) == 0;
        }
        if (!has_run)
            buf_puts(&text, "run: x\n");
        struct diagnostics diags = {0};
        struct app_spec *s =
            parse_in(text.data, text.len, round % 2 == 0 ? NULL : "staging", &diags);
        /* -e staging where the file has no environments is good as well. */
        if (s == NULL) {
            cleanup_buf struct buf out = BUF_INIT;
            diagnostics_render(&diags, "f", text.data, text.len, false, &out);
            fail_msg("%s", buf_str(&out));
        }
        assert_same_after_json(s);
        diagnostics_release(&diags);
        spec_free(s);
    }
}

static void every_line_is_good_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        for (size_t j = 0; j < LINES && lines[i][j] != NULL; j++) {
            cleanup_free char *text =
                xasprintf("app: shop\n%s%s", lines[i][j],
                          strncmp(lines[i][j], "run", 3) == 0 ? "" : "run: x\n");
            struct app_spec *s = parse_whole(text);
            assert_same_after_json(s);
            spec_free(s);
        }
}

/* ---- deploy --strategy ----------------------------------------------------------------------- */

static void another_strategy_has_its_defaults(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("routes: [{}]\nreplicas: 4\nenv: {A: '${HOME}'}\n"
                                    "strategy: {rolling: {max-surge: 1, max-unavailable: 0}}\n",
                                    "staging");
    struct diagnostics diags = {0};
    struct app_spec *canary = spec_with_strategy(s, "canary", &diags);
    assert_non_null(canary);
    assert_int_equal(canary->strategy.kind, STRATEGY_CANARY);
    assert_int_equal(canary->strategy.steps_len, 6);
    assert_int_equal(canary->processes[0].replicas, 4);
    assert_string_equal(canary->environment, "staging");
    assert_string_equal(canary->env[0].value, "/home/me");
    assert_int_equal(s->strategy.kind, STRATEGY_ROLLING); /* untouched */
    struct app_spec *same = spec_with_strategy(s, "rolling", &diags);
    assert_int_equal(same->strategy.max_surge.value, 1); /* the file's own settings */
    assert_int_equal(diags.len, 0);
    spec_free(same);
    spec_free(canary);
    spec_free(s);
}

static void a_strategy_that_does_not_fit(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("strategy: recreate\nport: 80\n", NULL);
    struct diagnostics diags = {0};
    assert_null(spec_with_strategy(s, "rolling", &diags));
    assert_int_equal(diags.len, 1);
    assert_int_equal(diags.items[0].line, 0);
    assert_string_equal(
        diags.items[0].text,
        "`port`: with a fixed port the old instance must be gone before the new one "
        "starts, which rolling does not do");
    diagnostics_release(&diags);
    assert_null(spec_with_strategy(s, "canery\"", &diags));
    assert_string_equal(diags.items[0].text, "`strategy`: expected `rolling`, `recreate`, "
                                             "`blue-green`, `canary` or `shadow`, got `canery\"`");
    assert_string_equal(diags.items[0].hint, "did you mean `canary`?");
    diagnostics_release(&diags);
    spec_free(s);
}

static void strategies_have_names(void **state)
{
    (void)state;
    assert_string_equal(strategy_name(STRATEGY_ROLLING), "rolling");
    assert_string_equal(strategy_name(STRATEGY_RECREATE), "recreate");
    assert_string_equal(strategy_name(STRATEGY_BLUE_GREEN), "blue-green");
    assert_string_equal(strategy_name(STRATEGY_CANARY), "canary");
    assert_string_equal(strategy_name(STRATEGY_SHADOW), "shadow");
}

/* ---- diff ------------------------------------------------------------------------------------ */

static void check_diff(const char *before, const char *after, const char *expected)
{
    struct app_spec *old = parse_good(before, NULL), *new = parse_good(after, NULL);
    cleanup_buf struct buf out = BUF_INIT;
    spec_diff(old, new, &out);
    assert_string_equal(buf_str(&out), expected);
    spec_free(old);
    spec_free(new);
}

static void a_difference_is_a_line_per_key(void **state)
{
    (void)state;
    check_diff("", "", "");
    check_diff("replicas: 2\n", "replicas: 3\nversion: v2\n",
               "version: none -> v2\nreplicas: 2 -> 3\n");
    check_diff("stop: {drain: 1m}\n", "stop: {drain: 90s}\n", "stop.drain: 1m -> 90s\n");
    check_diff("probes: {readiness: {http: /a}}\n", "probes: {readiness: {http: /b, period: 2s}}\n",
               "probes.readiness.http: /a -> /b\nprobes.readiness.period: 1s -> 2s\n");
    check_diff("probes: {readiness: {http: /a}}\n", "",
               "probes: {\"readiness\":{\"http\":\"/a\",\"delay\":\"0s\",\"period\":\"1s\","
               "\"timeout\":\"1s\",\"successes\":1,\"failures\":3}} -> none\n");
    check_diff("strategy: recreate\n", "strategy: {rolling: {max-surge: 1}}\n",
               "strategy.rolling: none -> {\"max-surge\":1,\"max-unavailable\":\"25%\","
               "\"min-ready\":\"0s\"}\nstrategy.recreate: {\"hold-requests\":\"30s\"} -> none\n");
    check_diff("routes: [{path: /a}, {path: /b}]\n", "routes: [{path: /b}, {path: /c}]\n",
               "routes[/a]: removed\nroutes[/c]: added\n");
}

/* A route stays the same one as long as it is for the same requests. */
static void a_difference_of_a_route_is_its_keys(void **state)
{
    (void)state;
    check_diff("routes: [{path: /a, timeout: 5s}]\n",
               "routes: [{path: /a, timeout: 9s, capacity: {in-flight: 3}}]\n",
               "routes[/a].timeout: 5s -> 9s\nroutes[/a].capacity: none -> "
               "{\"in-flight\":3,\"pending\":100,\"queue-time\":\"5s\"}\n");
    check_diff("routes: [{host: a.example, limits: {body: 1Mi}}]\n",
               "routes: [{limits: {body: 2Mi}, host: a.example}, {host: a.example, match: {header: "
               "{x: y}}}]\n",
               "routes[a.example/].limits.body: 1Mi -> 2Mi\n"
               "routes[a.example/ {\"header\":{\"x\":\"y\"}}]: added\n");
    check_diff("routes: [{path: /a}, {path: /b}]\n", "routes: [{path: /b}, {path: /a}]\n", "");
    check_diff("routes: [{tcp: {listen: 5432}}]\n", "routes: [{tcp: {listen: 5432, idle: 1h}}]\n",
               "routes[127.0.0.1:5432].tcp.idle: 0s -> 1h\n");
    check_diff("routes: [{tcp: {listen: \"0.0.0.0:5432\"}}]\n", "routes: [{tcp: {listen: 5432}}]\n",
               "routes[0.0.0.0:5432]: removed\nroutes[127.0.0.1:5432]: added\n");
}

/* Plans and events are read by many; what env holds is not for all of them. */
static void a_difference_shows_no_value_of_env(void **state)
{
    (void)state;
    check_diff("env: {KEEP: k, GONE: secret1, CHANGED: secret2}\n",
               "env: {KEEP: k, CHANGED: secret3, NEW: secret4}\n",
               "env.GONE: removed\nenv.CHANGED: changed\nenv.NEW: added\n");
}

/* Of where a metric comes from is said that it changed: a URL may hold a password. */
static void a_difference_of_metrics_shows_no_url(void **state)
{
    (void)state;
    check_diff("metrics: [{name: a, webhook: 'http://u:secret1@h/'}, {name: gone, command: x}]\n",
               "metrics: [{name: a, webhook: 'http://u:secret2@h/', max: 2}, {name: b, webhook: "
               "'http://h/?secret3'}]\n",
               "metrics.a.webhook: changed\nmetrics.a.max: none -> 2\nmetrics.gone: removed\n"
               "metrics.b: added\n");
    check_diff("", "metrics: [{name: b, webhook: 'http://h/?secret3'}]\nbake: 1h\n",
               "metrics.b: added\nbake.time: 0s -> 1h\n");
    check_diff("metrics: [{name: a, command: x, max: 1}]\n",
               "metrics: [{name: a, prometheus: 'http://h', query: q, max: 1}]\n",
               "metrics.a.prometheus: added\nmetrics.a.query: none -> q\n"
               "metrics.a.command: x -> none\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_file),
        cmocka_unit_test(every_line_is_good_alone),
        cmocka_unit_test(any_good_file_survives_its_json),
        cmocka_unit_test(another_strategy_has_its_defaults),
        cmocka_unit_test(a_strategy_that_does_not_fit),
        cmocka_unit_test(strategies_have_names),
        cmocka_unit_test(a_difference_is_a_line_per_key),
        cmocka_unit_test(a_difference_of_a_route_is_its_keys),
        cmocka_unit_test(a_difference_shows_no_value_of_env),
        cmocka_unit_test(a_difference_of_metrics_shows_no_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
