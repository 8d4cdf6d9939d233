/* Every key: its default, good values, and what bad ones get. */
#include "parse.h"

#include <signal.h>

static void the_four_lines_get_every_default(void **state)
{
    (void)state;
    struct app_spec *s = parse_whole("app: shop\n"
                                     "run: [\"./shop\", \"--port\", \"$PORT\"]\n"
                                     "routes: [{path: /}]\n"
                                     "probes: {readiness: {http: /ready}}\n");
    assert_string_equal(s->app, "shop");
    assert_string_equal(s->environment, "production");
    assert_null(s->version);
    assert_null(s->source);
    assert_null(s->user);
    assert_int_equal(s->build_len, 0);
    assert_int_equal(s->release_len, 0);
    assert_int_equal(s->processes_len, 1);
    assert_string_equal(s->processes[0].name, "web");
    assert_int_equal(s->processes[0].replicas, 1);
    assert_true(s->processes[0].routed);
    assert_false(s->processes[0].run.shell);
    assert_int_equal(s->processes[0].run.argc, 3);
    assert_string_equal(s->processes[0].run.argv[2], "$PORT");
    assert_null(s->processes[0].run.argv[3]);
    assert_int_equal(s->port, 0);
    assert_int_equal(s->env_len, 0);
    assert_int_equal(s->cpu_milli, 0);
    assert_int_equal(s->memory_bytes, 0);
    assert_int_equal(s->readiness.kind, PROBE_HTTP);
    assert_string_equal(s->readiness.http_path, "/ready");
    assert_int_equal(s->readiness.delay_ms, 0);
    assert_int_equal(s->readiness.period_ms, 1000);
    assert_int_equal(s->readiness.timeout_ms, 1000);
    assert_int_equal(s->readiness.successes, 1);
    assert_int_equal(s->readiness.failures, 3);
    assert_int_equal(s->liveness.kind, PROBE_NONE);
    assert_int_equal(s->startup.kind, PROBE_NONE);
    assert_int_equal(s->stop.signal, SIGTERM);
    assert_int_equal(s->stop.drain_ms, 30000);
    assert_int_equal(s->stop.grace_ms, 30000);
    assert_int_equal(s->stop.before_len, 0);
    assert_int_equal(s->routes_len, 1);
    assert_string_equal(s->routes[0].host, "");
    assert_string_equal(s->routes[0].path, "/");
    assert_int_equal(s->routes[0].timeout_ms, 60000);
    assert_int_equal(s->routes[0].retries, 1);
    const struct resilience_spec *to = &s->routes[0].resilience;
    assert_int_equal(to->connect_ms, 2000);
    assert_int_equal(to->total_ms, 0);
    assert_int_equal(to->retry_budget_ppm, 200000);
    assert_int_equal(to->retry_backoff_ms, 25);
    assert_int_equal(to->retry_on, RETRY_ON_RESET);
    assert_int_equal(to->eject_errors, 5);
    assert_int_equal(to->eject_latency_ppm, 0);
    assert_int_equal(to->eject_base_ms, 30000);
    assert_int_equal(to->eject_max_ms, 300000);
    assert_int_equal(to->eject_share_ppm, 500000);
    assert_int_equal(to->in_flight, 0);
    assert_int_equal(to->pending, 100);
    assert_int_equal(to->queue_ms, 5000);
    assert_int_equal(to->slow_start_ms, 0);
    assert_int_equal(s->hold_ms, 10000);
    assert_int_equal(s->hold_requests, 1000);
    assert_int_equal(s->strategy.kind, STRATEGY_ROLLING);
    assert_true(s->strategy.max_surge.percent);
    assert_int_equal(s->strategy.max_surge.value, 25);
    assert_true(s->strategy.max_unavailable.percent);
    assert_int_equal(s->strategy.max_unavailable.value, 25);
    assert_int_equal(s->strategy.min_ready_ms, 0);
    assert_true(s->strategy.judge.alpha == 0.001);
    assert_true(s->strategy.judge.max_worse == 1.0);
    assert_false(s->slo.has_error_rate);
    assert_false(s->slo.has_latency);
    assert_int_equal(s->slo.min_requests, 50);
    assert_int_equal(s->slo.window_ms, 60000);
    assert_int_equal(s->metrics_len, 0);
    assert_int_equal(s->bake.time_ms, 0);
    assert_false(s->bake.keep);
    assert_int_equal(s->strategy.judge.inconclusive, INCONCLUSIVE_CONTINUE);
    assert_true(s->strategy.judge.more_memory == 1.0 && s->strategy.judge.more_cpu == 1.0);
    assert_int_equal(s->strategy.judge.usage_interval_ms, 5000);
    assert_int_equal(s->deadline_ms, 600000);
    assert_int_equal(s->history, 10);
    assert_false(s->pause_on_failure);
    spec_free(s);
}

static void each_strategy_gets_its_defaults(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("strategy: recreate\n", NULL);
    assert_int_equal(s->strategy.kind, STRATEGY_RECREATE);
    assert_int_equal(s->strategy.hold_requests_ms, 30000);
    spec_free(s);
    s = parse_good("strategy: {blue-green: }\n", NULL);
    assert_int_equal(s->strategy.kind, STRATEGY_BLUE_GREEN);
    assert_int_equal(s->strategy.keep_ms, 600000);
    assert_false(s->strategy.approve);
    assert_int_equal(s->strategy.preview.len, 0);
    assert_int_equal(s->strategy.smoke_len, 0);
    spec_free(s);
    s = parse_good("strategy: shadow\nroutes: [{}]\n", NULL);
    const struct shadow_spec *shadow = &s->strategy.shadow;
    assert_int_equal(s->strategy.kind, STRATEGY_SHADOW);
    assert_int_equal(shadow->share_ppm, 1000000);
    assert_int_equal(shadow->for_ms, 300000);
    assert_int_equal(shadow->methods, COPY_GET | COPY_HEAD | COPY_OPTIONS);
    assert_int_equal(shadow->body_bytes, 32768);
    assert_true(shadow->compare.status);
    assert_int_equal(shadow->compare.body, COMPARED_JSON);
    assert_int_equal(shadow->compare.headers_len, 2);
    assert_string_equal(shadow->compare.headers[0], "content-type");
    assert_string_equal(shadow->compare.headers[1], "location");
    assert_int_equal(shadow->compare.ignored_len, 0);
    assert_int_equal(shadow->differences_ppm, 1000);
    assert_false(s->strategy.approve);
    assert_int_equal(s->strategy.keep_ms, 600000);
    assert_int_equal(s->strategy.judge.inconclusive, INCONCLUSIVE_CONTINUE);
    assert_true(s->strategy.judge.alpha == 0.001);
    spec_free(s);
    s = parse_good("strategy: canary\nroutes: [{}]\n", NULL);
    static const uint32_t weights[] = {50000, 100000, 250000, 500000, 750000, 1000000};
    assert_int_equal(s->strategy.steps_len, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(s->strategy.steps[i].weight_ppm, weights[i]);
        assert_int_equal(s->strategy.steps[i].hold_ms, 60000);
        assert_false(s->strategy.steps[i].approve);
    }
    assert_int_equal(s->strategy.instances, 0);
    assert_false(s->strategy.sticky);
    assert_true(s->strategy.judge.alpha == 0.001);
    spec_free(s);
}

static void all_that_an_app_can_say(void **state)
{
    (void)state;
    struct app_spec *s = parse_whole(
        "app: shop\nversion: 1.10\nengine: process\nsource: ../code\nbuild: make\n"
        "release: [[./migrate, --now], \"echo $HOME ${PORT}\"]\n"
        "run: {web: [./web, '${HOME}', '${PORT}', '$${X}'], worker: './worker $$ ${x%.c}'}\n"
        "replicas: {worker: 4}\nuser: shop-app\nresources: {cpu: 1.5, memory: 256Mi}\n"
        "env: {A: 1, B: true, C: \"${HOME}/x\", D: '', E: '$HOME'}\n"
        "probes:\n  liveness: {exec: [./ok], delay: 1m30s, failures: 5}\n"
        "  startup: {tcp: true, period: 250ms, timeout: 2s, successes: 2}\n"
        "stop: {before: [[./bye]], signal: SIGUSR1, drain: 0s, grace: 1h}\n");
    assert_string_equal(s->version, "1.10"); /* text, not the number 1.1 */
    assert_string_equal(s->source, "../code");
    assert_int_equal(s->build_len, 1);
    assert_true(s->build[0].shell);
    assert_string_equal(s->build[0].argv[2], "make");
    assert_int_equal(s->release_len, 2);
    assert_string_equal(s->release[1].argv[2], "echo $HOME ${PORT}");
    assert_int_equal(s->processes_len, 2);
    assert_string_equal(s->processes[0].run.argv[1], "/home/me");
    assert_string_equal(s->processes[0].run.argv[2], "${PORT}");
    assert_string_equal(s->processes[0].run.argv[3], "${X}");
    assert_string_equal(s->processes[1].run.argv[2], "./worker $$ ${x%.c}");
    assert_int_equal(s->processes[0].replicas, 1);
    assert_int_equal(s->processes[1].replicas, 4);
    assert_false(s->processes[0].routed);
    assert_string_equal(s->user, "shop-app");
    assert_int_equal(s->cpu_milli, 1500);
    assert_int_equal(s->memory_bytes, 256 << 20);
    assert_int_equal(s->env_len, 5);
    assert_string_equal(s->env[1].value, "true");
    assert_string_equal(s->env[2].value, "/home/me/x");
    assert_string_equal(s->env[3].value, "");
    assert_string_equal(s->env[4].value, "$HOME");
    assert_int_equal(s->liveness.kind, PROBE_EXEC);
    assert_int_equal(s->liveness.delay_ms, 90000);
    assert_int_equal(s->liveness.failures, 5);
    assert_int_equal(s->startup.kind, PROBE_TCP);
    assert_int_equal(s->startup.period_ms, 250);
    assert_int_equal(s->startup.timeout_ms, 2000);
    assert_int_equal(s->startup.successes, 2);
    assert_int_equal(s->stop.before_len, 1);
    assert_int_equal(s->stop.signal, SIGUSR1);
    assert_int_equal(s->stop.drain_ms, 0);
    assert_int_equal(s->stop.grace_ms, 3600000);
    spec_free(s);
}

static void all_that_traffic_can_say(void **state)
{
    (void)state;
    struct app_spec *s = parse_good(
        "routes:\n"
        "  - {host: Shop.Example, path: /api, timeout: 5m, retries: 0,\n"
        "     rate-limit: {requests: 10, per: 1m, by: {header: X-Key}}, limits: {body: 1Mi}}\n"
        "  - {host: '*.shop.example', match: {header: {X-Beta: 1, x-any: }, cookie: {Beta: "
        "'on'}}}\n"
        "hold: {time: 0s, requests: 0}\nslo: {error-rate: 0.5%, latency: {p99: 2s}}\n"
        "deadline: 1h\nhistory: 1\non-failure: pause\n"
        "strategy:\n  canary:\n    steps: [0.5, 5%, {weight: 20, hold: 2m, approve: true, smoke: "
        "[[./s, $SLUICE_PREVIEW_URL]]}]\n    hold: 10s\n    instances: 2\n"
        "    match: {header: {canary: \"true\"}}\n    sticky: cookie\n"
        "    judge: {alpha: 1%, max-worse: 50%, memory: 'off', cpu: 250%, usage-interval: 1m}\n",
        NULL);
    assert_string_equal(s->routes[0].host, "shop.example");
    assert_int_equal(s->routes[0].timeout_ms, 300000);
    assert_int_equal(s->routes[0].retries, 0);
    assert_int_equal(s->routes[0].rate_limit.requests, 10);
    assert_int_equal(s->routes[0].rate_limit.per_ms, 60000);
    assert_int_equal(s->routes[0].rate_limit.burst, 10);
    assert_string_equal(s->routes[0].rate_limit.header, "x-key");
    assert_int_equal(s->routes[0].limits.body_bytes, 1 << 20);
    assert_int_equal(s->routes[0].limits.head_bytes, 16384);
    assert_int_equal(s->routes[0].limits.min_rate, 0);
    assert_int_equal(s->routes[1].rate_limit.requests, 0);
    assert_int_equal(s->routes[1].limits.head_bytes, 0);
    const struct match_spec *m = &s->routes[1].match;
    assert_int_equal(m->len, 3);
    assert_string_equal(m->items[0].name, "x-beta");
    assert_string_equal(m->items[0].value, "1");
    assert_null(m->items[1].value);
    assert_int_equal(m->items[2].kind, MATCH_COOKIE);
    assert_string_equal(m->items[2].name, "Beta"); /* cookies' names keep their case */
    assert_true(s->processes[0].routed);
    assert_int_equal(s->hold_ms, 0);
    assert_int_equal(s->hold_requests, 0);
    assert_true(s->slo.has_error_rate && s->slo.error_rate == 0.005);
    assert_true(s->slo.has_latency && s->slo.latency_quantile == 0.99);
    assert_int_equal(s->slo.latency_ms, 2000);
    assert_int_equal(s->history, 1);
    assert_true(s->pause_on_failure);
    const struct strategy_spec *c = &s->strategy;
    assert_int_equal(c->steps_len, 4); /* 100 was added */
    assert_int_equal(c->steps[0].weight_ppm, 5000);
    assert_int_equal(c->steps[0].hold_ms, 10000);
    assert_int_equal(c->steps[2].hold_ms, 120000);
    assert_true(c->steps[2].approve);
    assert_int_equal(c->steps[2].smoke_len, 1);
    assert_int_equal(c->steps[3].weight_ppm, 1000000);
    assert_int_equal(c->steps[3].hold_ms, 10000);
    assert_int_equal(c->instances, 2);
    assert_true(c->sticky);
    assert_true(c->judge.alpha == 0.01 && c->judge.max_worse == 0.5);
    assert_true(c->judge.more_memory == 0 && c->judge.more_cpu == 2.5);
    assert_int_equal(c->judge.usage_interval_ms, 60000);
    spec_free(s);
}

static void a_fixed_port_and_absolute_amounts(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("port: 8080\nstrategy: recreate\n", NULL);
    assert_int_equal(s->port, 8080);
    spec_free(s);
    s = parse_good("strategy: {rolling: {max-surge: 0, max-unavailable: 1, min-ready: 5s}}\n",
                   NULL);
    assert_false(s->strategy.max_surge.percent);
    assert_int_equal(s->strategy.max_surge.value, 0);
    assert_int_equal(s->strategy.max_unavailable.value, 1);
    assert_int_equal(s->strategy.min_ready_ms, 5000);
    spec_free(s);
}

static const struct fault app_faults[] = {
    {"version: a b\n",
     "3:10 `version`: expected a version: letters, digits and ._+-/@:, at most 128, got `a b`"},
    {"version: []\n",
     "3:10 `version`: expected a version: letters, digits and ._+-/@:, at most 128, "
     "got a list"},
    {"engine: container\n",
     "3:9 `engine`: the container engine is not in this version | this version "
     "runs processes: remove the key, or write `engine: process`"},
    {"engine: kubernetes\n",
     "3:9 `engine`: the kubernetes engine is not in this version | this version "
     "runs processes: remove the key, or write `engine: process`"},
    {"engine: proces\n",
     "3:9 `engine`: expected `process`, `container` or `kubernetes`, got `proces` | "
     "did you mean `process`?"},
    {"image: nginx\n", "3:8 `image`: not in this version | this version runs processes: say `run`"},
    {"secrets: [A]\n",
     "3:10 `secrets`: not in this version | until then: `env-files`, or `env` with "
     "${NAME} from the environment of the deploy"},
    {"source: ''\n", "3:9 `source`: expected the path of a folder, got an empty text"},
    {"build: {a: b}\n", "3:8 `build`: expected a list of commands such as [\"make\"], got a map"},
    {"build: [[]]\n", "3:9 `build`: expected a command: a list such as [\"./shop\", \"--port\", "
                      "\"$PORT\"], or a text for the shell, got a list | it has no words"},
    {"build: ['']\n", "3:9 `build`: the command is empty"},
    {"build: [[a, [b]]]\n", "3:13 `build`: expected a word of a command, got a list"},
    {"build: [[a, ]]\nrelease: [[a, ~]]\n",
     "4:15 `release`: expected a word of a command, got nothing | write \"\" for an empty one"},
    {"build: [npm, install, --all]\n", "3:23 warning: `build`: each entry is a command of its own "
                                       "| for one command with arguments write "
                                       "[[\"cmd\", \"--option\"]]"},
    {"replicas: three\n", "3:11 `replicas`: expected a whole number from 0 to 1000, got `three`"},
    {"replicas: -1\n", "3:11 `replicas`: expected a whole number from 0 to 1000, got `-1`"},
    {"replicas: 1.5\n", "3:11 `replicas`: expected a whole number from 0 to 1000, got `1.5`"},
    {"replicas: 1001\n", "3:11 `replicas`: expected a whole number from 0 to 1000, got `1001`"},
    {"replicas: 18446744073709551617\n",
     "3:11 `replicas`: expected a whole number from 0 to 1000, got `18446744073709551617`"},
    {"replicas: [1]\n",
     "3:11 `replicas`: expected a whole number from 0 to 1000, or a map by process "
     "name, got a list"},
    {"replicas:\n", "3:1 `replicas`: has no value | expected a whole number from 0 to 1000, or a "
                    "map by process name"},
    {"replicas: {wbe: 2}\n",
     "3:12 `replicas.wbe`: `run` has no process of this name | did you mean `web`?"},
    {"port: UNIX\n", "3:7 `port`: expected `auto`, `unix`, or a port from 1 to 65535, got `UNIX`"},
    {"port: 0\n", "3:7 `port`: expected `auto`, `unix`, or a port from 1 to 65535, got `0`"},
    {"port: 65536\n",
     "3:7 `port`: expected `auto`, `unix`, or a port from 1 to 65535, got `65536`"},
    {"port: 80\n",
     "3:7 `port`: with a fixed port the old instance must be gone before the new one "
     "starts, which rolling does not do | write `strategy: recreate`, or remove `port`"},
    {"port: 80\nstrategy: recreate\nreplicas: 2\n",
     "3:7 `port`: a fixed port fits one replica, not 2 | remove `port`: each instance then gets a "
     "free "
     "one as $PORT"},
    {"env: [A]\n", "3:6 `env`: expected a map such as {LOG_LEVEL: info}, got a list"},
    {"env: {A: }\n", "3:7 `env.A`: has no value | write \"\" for an empty one"},
    {"env: {A: [1]}\n", "3:10 `env.A`: expected a text, got a list"},
    {"env: {1A: x}\n",
     "3:7 `env.1A`: this is no name for an environment variable | letters, digits and "
     "_, no digit in front"},
    {"env: {A B: x}\n",
     "3:7 `env.A B`: this is no name for an environment variable | letters, digits "
     "and _, no digit in front"},
    {"env: {PORT: 80}\n",
     "3:7 `env.PORT`: is set by sluice for each instance | a fixed one is `port: 8080`"},
    {"env: {SLUICE_APP: x}\n", "3:7 `env.SLUICE_APP`: is set by sluice for each instance"},
    {"user: 'a b'\n", "3:7 `user`: expected the name of a system user, got `a b`"},
    {"resources: {cpu: 500x}\n",
     "3:18 `resources.cpu`: expected an amount of processor time such as "
     "500m or 1.5, got `500x`"},
    {"resources: {cpu: 0}\n",
     "3:18 `resources.cpu`: expected an amount of processor time such as 500m or 1.5, got `0`"},
    {"resources: {memory: 256}\n",
     "3:21 `resources.memory`: less than 1Mi: no program runs in that | "
     "did you mean `256Mi`?"},
    {"resources: {memory: 1Q}\n",
     "3:21 `resources.memory`: expected a size such as 256Mi, got `1Q` | "
     "units: Ki, Mi, Gi, Ti (1024), k, M, G, T (1000)"},
    {"resources: {mem: 1Gi}\n",
     "3:13 unknown key `mem` in `resources` | here it is called `memory`"},
    {"resources: 1Gi\n",
     "3:12 `resources`: expected a map such as {cpu: 500m, memory: 256Mi}, got `1Gi`"},
    {"deadline: 10\n",
     "3:11 `deadline`: expected a duration such as 10s, got `10` | the unit is missing: "
     "did you mean `10s`?"},
    {"deadline: 0s\n", "3:11 `deadline`: must be longer than 0"},
    {"deadline: 10 minutes\n",
     "3:11 `deadline`: expected a duration such as 10s, got `10 minutes` | did you mean `10m`?"},
    {"deadline: 31d\n", "3:11 `deadline`: 30d is the longest duration"},
    {"history: 0\n", "3:10 `history`: expected a whole number from 1 to 1000, got `0`"},
    {"on-failure: Rollback\n", "3:13 `on-failure`: expected `rollback` or `pause`, got `Rollback` "
                               "| did you mean `rollback`?"},
    {"on-failure: explode\n", "3:13 `on-failure`: expected `rollback` or `pause`, got `explode`"},
};

static void bad_values_of_the_app(void **state)
{
    (void)state;
    check_fault_table(app_faults, COUNT_OF(app_faults));
}

static const struct fault probe_faults[] = {
    {"probes: {readiness: }\n",
     "3:10 `probes.readiness`: has no value | expected a map such as {http: /ready}"},
    {"probes: {readiness: {}}\n", "3:21 `probes.readiness`: needs one of `http`, `tcp`, `exec` | "
                                  "for example {http: /ready}, {tcp: "
                                  "true} or {exec: [\"./check\"]}"},
    {"probes: {readiness: {http: /, tcp: true}}\n",
     "3:21 `probes.readiness`: has more than one of `http`, `tcp`, `exec` | remove the others"},
    {"probes: {readiness: {http: ready}}\n",
     "3:28 `probes.readiness.http`: expected a path that starts "
     "with /, got `ready` | did you mean `/ready`?"},
    {"probes: {readiness: {http: 'http://a/b'}}\n",
     "3:28 `probes.readiness.http`: expected a path that starts with /, got `http://a/b` | only "
     "the "
     "path: the host and port are the instance's own"},
    {"probes: {readiness: {http: {path: /x}}}\n",
     "3:28 `probes.readiness.http`: expected a path that starts with /, got a map | write `http: "
     "/ready`; the port is the instance's own"},
    {"probes: {readiness: {http: '/a b'}}\n",
     "3:28 `probes.readiness.http`: expected a path that starts with /, got `/a b`"},
    {"probes: {readiness: {tcp: 8080}}\n",
     "3:27 `probes.readiness.tcp`: expected `true`, got `8080` | "
     "the port is the instance's own"},
    {"probes: {readiness: {exec: {}}}\n",
     "3:28 `probes.readiness.exec`: expected a command: a list such as [\"./shop\", \"--port\", "
     "\"$PORT\"], or a text for the shell, got a map"},
    {"probes: {readiness: {http: /, period: 0s}}\n",
     "3:39 `probes.readiness.period`: must be longer than 0"},
    {"probes: {readiness: {http: /, timeout: 1}}\n",
     "3:40 `probes.readiness.timeout`: expected a duration such as 10s, got `1` | the unit is "
     "missing: "
     "did you mean `1s`?"},
    {"probes: {readiness: {http: /, failures: 0}}\n",
     "3:41 `probes.readiness.failures`: expected a whole number from 1 to 1000, got `0`"},
    {"probes: {readiness: {http: /, periodSeconds: 3}}\n",
     "3:31 unknown key `periodSeconds` in `probes.readiness` | here it is called `period`"},
    {"probes: {livenes: {http: /}}\n",
     "3:10 unknown key `livenes` in `probes` | did you mean `liveness`?"},
    {"probes: {readiness: {http: /, delay: 20m}}\n",
     "1:1 the delays of the probes alone are longer than the deadline | raise `deadline`"},
    {"stop: {signal: SIGTRM}\n",
     "3:16 `stop.signal`: expected `TERM`, `INT`, `QUIT`, `HUP`, `USR1`, "
     "`USR2` or `KILL`, got `SIGTRM` | did you mean `TERM`?"},
    {"stop: {signal: 19}\n", "3:16 `stop.signal`: expected `TERM`, `INT`, `QUIT`, `HUP`, `USR1`, "
                             "`USR2` or `KILL`, got `19`"},
    {"stop: {drain: -1s}\n",
     "3:15 `stop.drain`: expected a duration such as 10s, got `-1s` | units: ms, "
     "s, m, h, d; also 1m30s"},
    {"stop: {before: 3, after: 4}\n",
     "3:19 unknown key `after` in `stop` | known here: before, signal, "
     "drain, grace"},
    {"hold: {time: 5, requests: many}\n",
     "3:14 `hold.time`: expected a duration such as 10s, got `5` | the unit is missing: did you "
     "mean "
     "`5s`?\n3:27 `hold.requests`: expected a whole number from 0 to 1000000, got `many`"},
    {"slo: {error-rate: 1}\n",
     "3:19 `slo.error-rate`: expected a percentage from 0% to 100%, got `1` | did you mean `1%`?"},
    {"slo: {error-rate: 101%}\n",
     "3:19 `slo.error-rate`: expected a percentage from 0% to 100%, got `101%`"},
    {"slo: {latency: 500ms}\n",
     "3:16 `slo.latency`: expected a map such as {p95: 500ms}, got `500ms` | "
     "one quantile and its limit"},
    {"slo: {latency: {p95: 1s, p99: 2s}}\n",
     "3:16 `slo.latency`: expected a map such as {p95: 500ms}, "
     "got a map | one quantile and its limit"},
    {"slo: {latency: {95: 1s}}\n",
     "3:17 `slo.latency`: expected `p50`, `p75`, `p90`, `p95`, `p99` or "
     "`p99.9`, got `95` | did you mean `p95`?"},
    {"slo: {latency: {p95: }}\n",
     "3:17 `slo.latency.p95`: has no value | expected a duration such as "
     "500ms"},
    {"slo: {latency: {p95: 0s}}\n", "3:22 `slo.latency.p95`: must be longer than 0"},
    {"slo: {min-requests: 0}\n",
     "3:21 `slo.min-requests`: expected a whole number from 1 to 1000000, got `0`"},
    {"slo: {window: 0s}\n", "3:15 `slo.window`: must be longer than 0"},
};

static void bad_values_of_probes_stop_hold_and_slo(void **state)
{
    (void)state;
    check_fault_table(probe_faults, COUNT_OF(probe_faults));
}

static const struct fault route_faults[] = {
    {"routes: /\n",
     "3:9 `routes`: expected a list such as [{host: shop.example, path: /}], got `/`"},
    {"routes: {path: /}\n",
     "3:9 `routes`: expected a list such as [{host: shop.example, path: /}], got a map"},
    {"routes: [/]\n",
     "3:10 `routes`: expected a map such as {host: shop.example, path: /}, got `/`"},
    /* kamal#1169: a comma in a host name broke TLS silently. */
    {"routes: [{host: 'a.example,b.example'}]\n", "3:17 `routes.host`: one host only; this holds a "
                                                  "separator | one route each: [{host: a.example}, "
                                                  "{host: b.example}]"},
    {"routes: [{host: 'https://Shop.example:80/x'}]\n",
     "3:17 `routes.host`: a host has no scheme | did you mean `Shop.example`?"},
    {"routes: [{host: 'a.example:80'}]\n",
     "3:17 `routes.host`: a host has no port | did you mean "
     "`a.example`? The ports are those that `serve` listens on"},
    {"routes: [{host: a.example/api}]\n",
     "3:17 `routes.host`: a host has no path | did you mean {host: "
     "a.example, path: /api}?"},
    {"routes: [{host: '[::1]:80'}]\n", "3:17 `routes.host`: is no host name and no IPv6 address | "
                                       "an IPv6 address stands in brackets, "
                                       "without a port: \"[2001:db8::1]\""},
    {"routes: [{host: '2001:db8::1'}]\n", "3:17 `routes.host`: is no host name and no IPv6 address "
                                          "| an IPv6 address stands in brackets, "
                                          "without a port: \"[2001:db8::1]\""},
    {"routes: [{host: '[::1]'}, {host: '[0:0::1]'}]\n",
     "3:27 `routes`: this route is given twice | the same host, path and match stand in line 3"},
    {"tls: auto\nroutes: [{host: '[::1]'}]\n",
     "4:11 `routes`: `tls: auto` has certificates for names only, this is an address | `tls: "
     "files`, and a certificate for it in DATA/certs"},
    {"routes: [{host: '*'}]\n",
     "3:17 `routes.host`: `*` alone is no host | leave `host` out for any host"},
    {"routes: [{host: ''}]\n", "3:17 `routes.host`: is empty | leave `host` out for any host"},
    {"routes: [{host: a.*.example}]\n",
     "3:17 `routes.host`: a `*` may only stand in front, as `*.` | "
     "`*.shop.example` matches all names below it"},
    {"routes: [{host: münchen.example}]\n",
     "3:17 `routes.host`: a host is ASCII | write its ASCII form, "
     "which starts with xn--"},
    {"routes: [{host: a.example.}]\n",
     "3:17 `routes.host`: ends with a dot | leave the dot at the end out"},
    {"routes: [{host: -a.example}]\n", "3:17 `routes.host`: is no host name"},
    {"routes: [{host: a_b.example}]\n", "3:17 `routes.host`: is no host name"},
    {"routes: [{host: a..example}]\n", "3:17 `routes.host`: is no host name"},
    {"routes: [{path: api}]\n", "3:17 `routes.path`: must start with /"},
    {"routes: [{path: '/a?b=c'}]\n",
     "3:17 `routes.path`: a path has no query and no fragment | a route "
     "looks at the path only; `match` looks at headers, cookies and the query"},
    {"routes: [{path: /a/*}]\n",
     "3:17 `routes.path`: a path has no wildcard | leave the * out: a path "
     "matches everything below it already"},
    {"routes: [{path: /a//b}]\n", "3:17 `routes.path`: holds an empty segment (//)"},
    {"routes: [{path: /a/../b}]\n", "3:17 `routes.path`: holds a . or .. segment"},
    {"routes: [{path: /a/.}]\n", "3:17 `routes.path`: holds a . or .. segment"},
    {"routes: [{path: /%zz}]\n", "3:17 `routes.path`: a % needs two hexadecimal digits"},
    {"routes: [{path: '/a b'}]\n",
     "3:17 `routes.path`: holds a character that no path has | write other "
     "characters in their %XX form"},
    {"routes: [{path: /a}, {path: /b}, {path: /a}]\n",
     "3:34 `routes`: this route is given twice | the same host, path and match stand in line 3"},
    {"routes: [{match: {header: {x: 1, y: 2}}}, {match: {header: {Y: 2, X: 1}}}]\n",
     "3:43 `routes`: this route is given twice | the same host, path and match stand in line 3"},
    {"routes: [{timeout: 0s}]\n", "3:20 `routes.timeout`: must be longer than 0"},
    {"routes: [{retries: 11}]\n",
     "3:20 `routes.retries`: expected a whole number from 0 to 10, or a map such as "
     "{attempts: 1, budget: 20%}, got `11`"},
    {"routes: [{retries: {attempts: 11}}]\n",
     "3:31 `routes.retries.attempts`: expected a whole number from 0 to 10, got `11`"},
    {"routes: [{retries: {budget: 20}}]\n",
     "3:29 `routes.retries.budget`: expected a percentage from 0% to 100%, got `20` | did you mean "
     "`20%`?"},
    {"routes: [{retries: {on: [504, 500]}}]\n",
     "3:31 `routes.retries.on`: expected `reset`, `502`, `503` or `504`, got `500`"},
    {"routes: [{retries: {on: {a: b}}}]\n",
     "3:25 `routes.retries.on`: expected a list of `reset`, `502`, `503` and `504`, got a map"},
    {"routes: [{retries: [1]}]\n", "3:20 `routes.retries`: expected a whole number from 0 to 10, "
                                   "or a map such as {attempts: 1, budget: 20%}, got a list"},
    {"routes: [{outlier: on}]\n",
     "3:20 `routes.outlier`: expected a map such as {errors: 5, base: 30s}, or `off`, got `on`"},
    {"routes: [{outlier: {latency: 110%}}]\n",
     "3:30 `routes.outlier.latency`: expected a percentage from 150% to 10000%, or `off`, got "
     "`110%`"},
    {"routes: [{outlier: {base: 0s}}]\n", "3:27 `routes.outlier.base`: must be longer than 0"},
    {"routes: [{capacity: {in-flight: x}}]\n",
     "3:33 `routes.capacity.in-flight`: expected a whole number from 0 to 100000, got `x`"},
    {"routes: [{connect-timeout: 0s}]\n", "3:28 `routes.connect-timeout`: must be longer than 0"},
    {"routes: [{rate-limit: {}}]\n",
     "3:23 `routes.rate-limit`: `requests` is missing | for example {requests: 100, per: 1s}"},
    {"routes: [{rate-limit: 100}]\n",
     "3:23 `routes.rate-limit`: expected a map such as {requests: 100, per: 1s}, got `100`"},
    {"routes: [{rate-limit: {requests: 0}}]\n",
     "3:34 `routes.rate-limit.requests`: expected a whole number from 1 to 1000000, got `0`"},
    {"routes: [{rate-limit: {requests: 1, per: 0s}}]\n",
     "3:42 `routes.rate-limit.per`: must be longer than 0"},
    {"routes: [{rate-limit: {requests: 1, per: 1h, burst: 1000}}]\n",
     "3:23 `routes.rate-limit`: a burst that is used up would take longer than 30d to come back | "
     "a "
     "smaller burst, or more requests"},
    {"routes: [{rate-limit: {requests: 1, by: addres}}]\n",
     "3:41 `routes.rate-limit.by`: expected `address`, or a map such as {header: X-Api-Key}, got "
     "`addres`"},
    {"routes: [{rate-limit: {requests: 1, by: {header: a b}}}]\n",
     "3:50 `routes.rate-limit.by`: this is no name for a header"},
    {"routes: [{rate-limit: {requests: 1, by: {cookie: a}}}]\n",
     "3:41 `routes.rate-limit.by`: expected `address`, or a map such as {header: X-Api-Key}, got a "
     "map"},
    {"routes: [{limits: {body: 0}}]\n",
     "3:26 `routes.limits.body`: expected a size from 1 to 1Pi, such as 10Mi, got `0` | units: Ki, "
     "Mi, Gi, Ti (1024), k, M, G, T (1000)"},
    {"routes: [{limits: {headers: 17Ki}}]\n",
     "3:29 `routes.limits.headers`: expected a size from 256 to 16Ki, got `17Ki` | units: Ki, Mi, "
     "Gi, Ti (1024), k, M, G, T (1000)"},
    {"routes: [{limits: {min-rate: 1/s}}]\n",
     "3:30 `routes.limits.min-rate`: expected a size per second from 1 to 1Gi, such as 500, got "
     "`1/s` | did you mean `1`?"},
    {"routes: [{match: {headers: {a: b}}}]\n",
     "3:19 unknown key `headers` in `routes.match` | did you mean `header`?"},
    {"routes: [{match: {header: {a b: c}}}]\n",
     "3:28 `routes.match.header.a b`: this is no name for a header"},
    {"routes: [{match: {header: {a: ' x'}}}]\n",
     "3:31 `routes.match.header.a`: no header has such a "
     "value"},
    {"routes: [{match: {cookie: {a: 'x;y'}}}]\n",
     "3:31 `routes.match.cookie.a`: no cookie has such a value"},
    {"routes: [{match: {query: {\"a\\nb\": c}}}]\n",
     "3:27 `routes.match.query.a\nb`: this is no name for a query"},
    {"routes: [{match: {query: {a: \"\\x01\"}}}]\n",
     "3:30 `routes.match.query.a`: no query has such a value"},
    {"routes: [{match: {method: get}}]\n",
     "3:27 `routes.match.method`: is no method | did you mean `GET`?"},
    {"routes: [{match: {method: []}}]\n",
     "3:27 `routes.match.method`: expected a list of methods such as [GET, HEAD], got a list"},
    {"routes: [{match: {method: [GET, {a: b}]}}]\n",
     "3:33 `routes.match.method`: expected a list of methods such as [GET, HEAD], got a map"},
    {"routes: [{match: {method: [GET, HEAD]}}, {match: {method: [HEAD, GET, GET]}}]\n",
     "3:42 `routes`: this route is given twice | the same host, path and match stand in line 3"},
    {"routes: [{match: {header: {A: 1, a: 2}}}]\n",
     "3:34 `routes.match.header.a`: is given twice | the case of a header's name does not matter"},
    {"routes: [{match: {header: [a]}}]\n",
     "3:27 `routes.match.header`: expected a map such as {x-beta: "
     "\"1\"}, got a list"},
    {"routes: [{domain: a.example}]\n",
     "3:11 unknown key `domain` in `routes` | here it is called `host`"},
    {"replicas: 0\nroutes: [{}]\n", "3:1 warning: no instance: requests wait for the hold and are "
                                    "then answered with 503 | `sluice "
                                    "scale` brings them back"},
};

static void bad_routes(void **state)
{
    (void)state;
    check_fault_table(route_faults, COUNT_OF(route_faults));
}

static void what_a_route_changes(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("routes:\n"
                   "  - path: /api\n"
                   "    headers:\n"
                   "      request: {set: {X-Tenant: blue}, remove: [x-debug]}\n"
                   "      response: {add: {Vary: cookie}, remove: server}\n"
                   "    rewrite: {strip-prefix: /api/, prefix: /v2}\n"
                   "  - {path: /home, rewrite: {path: /index.html}}\n"
                   "  - {path: /old, redirect: {to: /new, status: 302, append: rest}}\n"
                   "  - {host: www.shop.example, redirect: {to: 'https://shop.example'}}\n",
                   NULL);
    const struct route_spec *r = &s->routes[0];
    assert_int_equal(r->headers.request.len, 2);
    assert_int_equal(r->headers.request.items[0].kind, EDIT_REMOVE);
    assert_string_equal(r->headers.request.items[1].name, "X-Tenant");
    assert_string_equal(r->headers.request.items[1].value, "blue");
    assert_int_equal(r->headers.answer.items[1].kind, EDIT_ADD);
    assert_string_equal(r->rewrite.strip_prefix, "/api");
    assert_string_equal(r->rewrite.prefix, "/v2");
    assert_null(r->redirect.to);
    assert_string_equal(s->routes[1].rewrite.path, "/index.html");
    assert_int_equal(s->routes[2].redirect.status, 302);
    assert_int_equal(s->routes[2].redirect.keep, KEEP_REST);
    assert_string_equal(s->routes[3].redirect.to, "https://shop.example");
    assert_int_equal(s->routes[3].redirect.status, 308);
    assert_int_equal(s->routes[3].redirect.keep, KEEP_PATH);
    spec_free(s);
}

static void pages_for_errors(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("errors: {503: pages/busy.html, 429: slow.json, 502: a/b/c.txt}\n", NULL);
    assert_int_equal(s->errors_len, 3);
    assert_int_equal(s->errors[0].status, 429);
    assert_int_equal(s->errors[2].status, 503);
    assert_string_equal(s->errors[2].path, "pages/busy.html");
    spec_free(s);
}

static const struct fault page_faults[] = {
    {"errors: {404: a.html}\n",
     "3:10 `errors.404`: the gateway has no such answer of its own | 404 is for requests that no "
     "route matches: they are of no app"},
    {"errors: {oops: a.html}\n", "3:10 `errors.oops`: the gateway has no such answer of its own | "
                                 "one of 413, 429, 431, 502, 503, "
                                 "504"},
    {"errors: {502: ../secret.html}\n",
     "3:15 `errors.502`: holds an empty, a . or a .. part | for example pages/502.html"},
    {"errors: {502: a//b.html}\n",
     "3:15 `errors.502`: holds an empty, a . or a .. part | for example pages/502.html"},
    {"errors: {502: /etc/x.html}\n", "3:15 `errors.502`: must be a file, seen from the release's "
                                     "folder | for example pages/502.html"},
    {"errors: {502: page.exe}\n",
     "3:15 `errors.502`: ends in none of .html, .htm, .txt, .json: its type is "
     "not known | for example pages/502.html"},
    {"errors: pages/502.html\n",
     "3:9 `errors`: expected a map such as {502: pages/502.html}, got `pages/502.html`"},
};

static void bad_pages_for_errors(void **state)
{
    (void)state;
    check_fault_table(page_faults, COUNT_OF(page_faults));
}

static const struct fault change_faults[] = {
    {"routes: [{headers: {request: {set: {Content_Length: 1}}}}]\n",
     "3:37 `routes.headers.request.set.Content_Length`: this header cannot be changed: it says "
     "where "
     "the message ends"},
    {"routes: [{headers: {request: {remove: [Host]}}}]\n",
     "3:40 `routes.headers.request.remove`: this header cannot be changed: it says whom the "
     "request "
     "is for"},
    {"routes: [{headers: {request: {set: {'x y': 1}}}}]\n",
     "3:37 `routes.headers.request.set.x y`: this is no name of a header | letters, digits and "
     "`-`, "
     "such as x-tenant"},
    {"routes: [{headers: {response: {add: {x-a: \"1\\r\\nx-b: 2\"}}}}]\n",
     "3:43 `routes.headers.response.add.x-a`: no header has such a value | one line without "
     "control "
     "characters and without blanks around it"},
    {"routes: [{headers: {request: {set: {x-a: 1, X_A: 2}}}}]\n",
     "3:45 `routes.headers.request.set.X_A`: is given twice | the case of a name does not matter, "
     "and `_` counts as `-`"},
    {"routes: [{headers: {request: {set: {x-a: 1}, remove: [x-a]}}}]\n",
     "3:37 `routes.headers.request.set.x-a`: is removed and set | `set` alone replaces whatever "
     "was "
     "there"},
    {"routes: [{rewrite: {strip-prefix: /}}]\n",
     "3:35 `routes.rewrite.strip-prefix`: `/` is in front of every path | leave it out"},
    {"routes: [{path: /api, rewrite: {strip-prefix: /v1}}]\n",
     "3:33 `routes`: no path of this route begins with that | the route's path is /api"},
    {"routes: [{rewrite: {path: /x, prefix: /v2}}]\n",
     "3:21 `routes`: `path` replaces the whole path: there is no prefix left to change | remove "
     "the "
     "others"},
    {"routes: [{rewrite: {path: '/a b'}}]\n",
     "3:27 `routes.rewrite.path`: holds a character that no path has | write other characters in "
     "their %XX form"},
    {"routes: [{redirect: {status: 301}}]\n",
     "3:21 `routes`: `to` is missing | for example {to: \"https://shop.example\"}"},
    {"routes: [{redirect: {to: '//evil.example'}}]\n",
     "3:26 `routes.redirect.to`: starts with two slashes | browsers would take what follows for a "
     "host: write https://"},
    {"routes: [{redirect: {to: shop.example}}]\n",
     "3:26 `routes.redirect.to`: is neither http://, https:// nor a path | for example "
     "https://shop.example, or a path such as /new"},
    {"routes: [{redirect: {to: 'https://u@shop.example'}}]\n",
     "3:26 `routes.redirect.to`: its host holds a character that no host name has | for example "
     "https://shop.example, or a path such as /new"},
    {"routes: [{redirect: {to: '/x?y', append: query}}]\n",
     "3:22 `routes`: `to` has a query of its own | write `append: nothing`, or leave the query "
     "out"},
    {"routes: [{redirect: {to: /x, status: 300}}]\n",
     "3:38 `routes.redirect.status`: expected `301`, `302`, `303`, `307` or `308`, got `300`"},
    {"routes: [{redirect: {to: /x}, rewrite: {prefix: /y}}]\n",
     "3:31 `routes`: with `redirect`, no request of this route gets to the app | remove one of "
     "them"},
};

static void bad_changes_of_a_route(void **state)
{
    (void)state;
    check_fault_table(change_faults, COUNT_OF(change_faults));
}

static const struct fault strategy_faults[] = {
    {"strategy: blue_green\n", "3:11 `strategy`: expected `rolling`, `recreate`, `blue-green`, "
                               "`canary` or `shadow`, got `blue_green` | did you mean "
                               "`blue-green`?"},
    {"strategy: {canary: {}, rolling: {}}\n", "3:11 `strategy`: expected `rolling`, `recreate`, "
                                              "`blue-green`, `canary` or `shadow`, or a map with "
                                              "that one key, got a map | exactly one strategy"},
    {"strategy: {canry: {}}\n", "3:12 unknown key `canry` in `strategy` | did you mean `canary`?"},
    {"strategy: {rolling: {max_surge: 1}}\n",
     "3:22 unknown key `max_surge` in `strategy.rolling` | did you mean `max-surge`?"},
    {"strategy: {rolling: {max-surge: 0, max-unavailable: 0}}\n",
     "3:36 `strategy.rolling`: `max-surge` and `max-unavailable` are both 0: nothing could ever be "
     "replaced | let one of them be at least 1"},
    {"strategy: {rolling: {max-surge: 0%, max-unavailable: 0}}\n",
     "3:37 `strategy.rolling`: `max-surge` and `max-unavailable` are both 0: nothing could ever be "
     "replaced | let one of them be at least 1"},
    {"strategy: {rolling: {max-surge: 101%}}\n", "3:33 `strategy.rolling.max-surge`: expected a "
                                                 "number of instances, or a whole percentage up to "
                                                 "100%, got `101%`"},
    {"strategy: {rolling: {keep: 10m}}\n",
     "3:22 unknown key `keep` in `strategy.rolling` | `keep` is a key of strategy.blue-green"},
    {"strategy: {recreate: {hold-requests: soon}}\n",
     "3:38 `strategy.recreate.hold-requests`: expected a duration such as 10s, got `soon` | units: "
     "ms, "
     "s, m, h, d; also 1m30s"},
    {"routes: [{}]\nstrategy: {recreate: {hold-requests: 20s}}\nstop: {grace: 5s}\n",
     "4:23 warning: drain, grace and start-up may take 35s, but requests wait for 20s only | raise "
     "`strategy.recreate.hold-requests`, or lower `stop.drain` and `stop.grace`"},
    {"routes: [{}]\nstrategy: {shadow: {share: 0%}}\n",
     "4:28 `strategy.shadow.share`: expected a percentage above 0% and up to 100%, got `0%`"},
    {"routes: [{}]\nstrategy: {shadow: {for: 0s}}\n",
     "4:26 `strategy.shadow.for`: must be longer than 0"},
    {"routes: [{}]\nstrategy: {shadow: {methods: []}}\n",
     "4:30 `strategy.shadow.methods`: expected a list of methods such as [GET, HEAD], got a list"},
    {"routes: [{}]\nstrategy: {shadow: {methods: [GET, get, CONNECT]}}\n",
     "4:36 `strategy.shadow.methods`: expected `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH` or "
     "`DELETE`, got `get` | did you mean `GET`?\n"
     "4:41 `strategy.shadow.methods`: expected `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`, `PATCH` or "
     "`DELETE`, got `CONNECT`"},
    {"routes: [{}]\nstrategy: {shadow: {methods: [GET, POST]}}\n",
     "4:36 warning: `strategy.shadow.methods`: what a copied POST does, it does twice: orders, "
     "mails, payments | the new release can tell a copy by its `Sluice-Mirror` field; else leave "
     "the method out"},
    {"routes: [{}]\nstrategy: {shadow: {body-limit: 64Ki}}\n",
     "4:33 `strategy.shadow.body-limit`: expected a size from 1 to 32Ki, got `64Ki` | units: Ki, "
     "Mi, Gi, Ti (1024), k, M, G, T (1000)"},
    {"routes: [{}]\nstrategy: {shadow: {compare: {body: xml}}}\n",
     "4:37 `strategy.shadow.compare.body`: expected `json`, `exact` or `none`, got `xml`"},
    {"routes: [{}]\nstrategy: {shadow: {compare: {headers: [\"a b\"]}}}\n",
     "4:41 `strategy.shadow.compare.headers`: expected a list of header names such as "
     "[content-type, location], got `a b`"},
    {"routes: [{}]\nstrategy: {shadow: {compare: {ignore: [time, /a~2, /b]}}}\n",
     "4:40 `strategy.shadow.compare.ignore`: expected a list of JSON pointers such as "
     "[/generated_at, /items/*/etag], got `time` | a pointer begins with `/`; `*` is any member or "
     "element (RFC 6901: ~1 is a `/`, ~0 a `~`)\n"
     "4:46 `strategy.shadow.compare.ignore`: expected a list of JSON pointers such as "
     "[/generated_at, /items/*/etag], got `/a~2` | a pointer begins with `/`; `*` is any member or "
     "element (RFC 6901: ~1 is a `/`, ~0 a `~`)"},
    {"routes: [{}]\nstrategy: {shadow: {compare: {body: exact, ignore: [/a]}}}\n",
     "4:44 `strategy.shadow.compare`: only of bodies that are compared as JSON can parts be left "
     "out | write `body: json`, or leave `ignore` out"},
    {"routes: [{}, {tcp: {listen: 5432}}]\nstrategy: shadow\n",
     "3:14 `strategy: shadow` copies requests and compares their answers: what comes at a TCP "
     "route has neither | `strategy: blue-green` tries a new release out before the switch, too"},
    {"strategy: shadow\n",
     "3:1 warning: there are no routes: no request could be copied | `blue-green` does the same"},
    {"strategy: {blue-green: {approve: yes}}\n",
     "3:34 `strategy.blue-green.approve`: expected `false` "
     "or `true`, got `yes` | did you mean `true`?"},
    {"strategy: canary\n",
     "3:1 warning: there are no routes: a canary has no requests to split or to "
     "judge | `rolling` does the same and is quicker"},
    {"routes: [{}]\nstrategy: {canary: {steps: [5, 5]}}\n",
     "4:32 `strategy.canary.steps`: the weights must rise: it was 5% before | each step's weight "
     "is "
     "above the one before"},
    {"routes: [{}]\nstrategy: {canary: {steps: [0]}}\n",
     "4:29 `strategy.canary.steps`: expected a percentage above 0 and up to 100, got `0`"},
    {"routes: [{}]\nstrategy: {canary: {steps: [101]}}\n",
     "4:29 `strategy.canary.steps`: expected a percentage above 0 and up to 100, got `101`"},
    {"routes: [{}]\nstrategy: {canary: {steps: [[5]]}}\n",
     "4:29 `strategy.canary.steps`: expected a weight such as 25, or a map such as {weight: 25, "
     "hold: "
     "2m}, got a list"},
    {"routes: [{}]\nstrategy: {canary: {steps: [{hold: 3s}]}}\n",
     "4:29 `strategy.canary.steps`: `weight` is missing | for example {weight: 25, hold: 2m}"},
    {"routes: [{}]\nstrategy: {canary: {steps: [{weight: 5, pause: 3s}]}}\n",
     "4:41 unknown key `pause` in `strategy.canary.steps` | here it is called `hold`"},
    {"routes: [{}]\nstrategy: {canary: {instances: 0}}\n",
     "4:32 `strategy.canary.instances`: expected `proportional`, or a number from 1 to 1000, got "
     "`0`"},
    {"routes: [{}]\nstrategy: {canary: {sticky: cookies}}\n",
     "4:29 `strategy.canary.sticky`: expected `none` or `cookie`, got `cookies` | did you mean "
     "`cookie`?"},
    {"routes: [{}]\nstrategy: {canary: {judge: {alpha: 0.1}}}\n",
     "4:36 `strategy.canary.judge.alpha`: expected a percentage above 0% and up to 50%, got `0.1` "
     "| did "
     "you mean `10%`?"},
    {"routes: [{}]\nstrategy: {canary: {judge: {alpha: 0%}}}\n",
     "4:36 `strategy.canary.judge.alpha`: expected a percentage above 0% and up to 50%, got `0%`"},
    {"routes: [{}]\nstrategy: {canary: {judge: {max-worse: 0%}}}\n",
     "4:40 `strategy.canary.judge.max-worse`: expected a percentage above 0%, such as 100%, got "
     "`0%`"},
    {"routes: [{}]\nstrategy: {canary: {judge: {memory: 5%}}}\n",
     "4:37 `strategy.canary.judge.memory`: expected a percentage of at least 10%, such as 100%, or "
     "`off`, got `5%`"},
    {"routes: [{}]\nstrategy: {canary: {judge: {cpu: none}}}\n",
     "4:34 `strategy.canary.judge.cpu`: expected a percentage of at least 10%, such as 100%, or "
     "`off`, got `none`"},
};

static void bad_strategies(void **state)
{
    (void)state;
    check_fault_table(strategy_faults, COUNT_OF(strategy_faults));
}

static const struct fault unknown_faults[] = {
    {"replica: 3\n", "3:1 unknown key `replica` | did you mean `replicas`?"},
    {"Replicas: 3\n", "3:1 unknown key `Replicas` | did you mean `replicas`?"},
    {"on_failure: pause\n", "3:1 unknown key `on_failure` | did you mean `on-failure`?"},
    {"raplicsa: 3\n", "3:1 unknown key `raplicsa` | did you mean `replicas`?"},
    {"readiness: {http: /}\n", "3:1 unknown key `readiness` | `readiness` is a key of probes"},
    {"healthcheck: /\n", "3:1 unknown key `healthcheck` | here it is called `probes`"},
    {"instances: 3\n", "3:1 unknown key `instances` | here it is called `replicas`"},
    {"environment: production\n", "3:1 unknown key `environment` | here it is called `env`"},
    {"'': 3\nprobes: {\"xyzzy\": {}}\n",
     "3:1 unknown key `` | known here: app, version, engine, image, source, build, release, run, "
     "replicas, port, env-files, env, secrets, user, resources, probes, stop, tls, routes, errors, "
     "hold, "
     "strategy, "
     "slo, metrics, bake, deadline, history, on-failure, environments\n4:10 unknown key `xyzzy` in "
     "`probes` | "
     "known "
     "here: readiness, liveness, startup"},
};

static void unknown_keys_get_the_nearest_one(void **state)
{
    (void)state;
    check_fault_table(unknown_faults, COUNT_OF(unknown_faults));
}

static void whole(const char *text, const char *expected)
{
    check_faults(text, strlen(text), NULL, expected);
}

static void what_an_app_needs(void **state)
{
    (void)state;
    whole("port: auto\n",
          "0:0 `app` is missing | name what is deployed: `app: shop`\n"
          "0:0 `run` is missing | say how an instance is started: `run: [\"./shop\", \"--port\", "
          "\"$PORT\"]`");
    whole(
        "app: My_Shop\nrun: x\n",
        "1:6 `app`: expected a name: a letter, then letters, digits and dashes, all lower case, at "
        "most 63, got `My_Shop` | did you mean `my-shop`?");
    whole("app: 9\nrun: x\n",
          "1:6 `app`: expected a name: a letter, then letters, digits and dashes, "
          "all lower case, at most 63, got `9`");
    whole("app: a\nrun: {}\n", "2:6 `run`: names 0 processes; 1 to 8 are allowed");
    whole("app: a\nrun: {a: x, b: x, c: x, d: x, e: x, f: x, g: x, h: x, i: x}\n",
          "2:6 `run`: names 9 processes; 1 to 8 are allowed");
    whole("app: a\nrun: {Web: x}\n", "2:7 `run.Web`: this is no name for a process | lower case "
                                     "letters, digits and dashes, at most 30");
    whole("app: a\nrun: {web: }\nreplicas: {web: 2}\n",
          "2:7 `run.web`: expected a command: a list such as [\"./shop\", \"--port\", \"$PORT\"], "
          "or a "
          "text for the shell, got nothing");
    whole("app: a\nrun: {worker: x}\nroutes: [{}]\n",
          "2:1 there are routes, but no process `web` to get them | the process that is to answer "
          "requests is called `web`");
    whole("app: a\nrun:\n", "2:1 `run`: has no value | expected a command such as [\"./shop\", "
                            "\"--port\", \"$PORT\"], or a map of process names");
}

static void all_faults_of_a_file_come_at_once_in_order(void **state)
{
    (void)state;
    whole(
        "replica: 3\nrun: [a, {b: c}]\nprobes: {readiness: {http: x}}\nport: 80000\n",
        "1:1 unknown key `replica` | did you mean `replicas`?\n"
        "2:10 `run`: expected a word of a command, got a map\n"
        "3:28 `probes.readiness.http`: expected a path that starts with /, got `x` | did you mean "
        "`/x`?\n"
        "4:7 `port`: expected `auto`, `unix`, or a port from 1 to 65535, got `80000`\n"
        "0:0 `app` is missing | name what is deployed: `app: shop`");
}

static void limits_on_lists(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    buf_puts(&text, "app: a\nrun: x\nroutes:\n");
    for (int i = 0; i < SPEC_MAX_ROUTES + 1; i++)
        buf_printf(&text, "  - path: /%d\n", i);
    check_faults(text.data, text.len, NULL, "4:3 `routes`: has 65 entries; at most 64 are allowed");
    buf_clear(&text);
    buf_puts(&text, "app: a\nroutes: [{}]\nrun: x\nstrategy: {canary: {steps: [");
    for (int i = 1; i <= SPEC_MAX_STEPS; i++)
        buf_printf(&text, "%d,", i);
    buf_puts(&text, "]}}\n");
    check_faults(text.data, text.len, NULL,
                 "4:28 `strategy.canary.steps`: has 32 entries; at most 31 are allowed");
    buf_clear(&text);
    buf_puts(&text, "app: a\nrun: [\"");
    for (int i = 0; i < 140000; i++)
        buf_putc(&text, 'x');
    buf_puts(&text, "\"]\n");
    check_faults(text.data, text.len, NULL,
                 "2:7 `run`: longer than 131071 bytes: no program can be started with that");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_four_lines_get_every_default),
        cmocka_unit_test(each_strategy_gets_its_defaults),
        cmocka_unit_test(all_that_an_app_can_say),
        cmocka_unit_test(all_that_traffic_can_say),
        cmocka_unit_test(a_fixed_port_and_absolute_amounts),
        cmocka_unit_test(bad_values_of_the_app),
        cmocka_unit_test(bad_values_of_probes_stop_hold_and_slo),
        cmocka_unit_test(bad_routes),
        cmocka_unit_test(pages_for_errors),
        cmocka_unit_test(bad_pages_for_errors),
        cmocka_unit_test(what_a_route_changes),
        cmocka_unit_test(bad_changes_of_a_route),
        cmocka_unit_test(bad_strategies),
        cmocka_unit_test(unknown_keys_get_the_nearest_one),
        cmocka_unit_test(what_an_app_needs),
        cmocka_unit_test(all_faults_of_a_file_come_at_once_in_order),
        cmocka_unit_test(limits_on_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
