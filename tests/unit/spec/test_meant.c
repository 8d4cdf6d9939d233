/* What other tools take and this file does not; and what it takes though it is surely not meant. */
#include "parse.h"

#define DURATION "expected a duration such as 10s, got "
#define FRACTION "expected a percentage from 0% to 100%, got "

static const struct fault values[] = {
    /* durations */
    {"deadline: 30sec\n", "3:11 `deadline`: " DURATION "`30sec` | did you mean `30s`?"},
    {"deadline: 2 Hours\n", "3:11 `deadline`: " DURATION "`2 Hours` | did you mean `2h`?"},
    {"deadline: 1w\n", "3:11 `deadline`: " DURATION "`1w` | did you mean `7d`?"},
    {"deadline: 1y\n",
     "3:11 `deadline`: " DURATION "`1y` | units: ms, s, m, h, d; also 1m30s"}, /* over 30d */
    {"deadline: 1.5h\n", "3:11 `deadline`: " DURATION "`1.5h` | units: ms, s, m, h, d; also 1m30s"},
    {"deadline: 99999999999999999999 days\n",
     "3:11 `deadline`: " DURATION
     "`99999999999999999999 days` | units: ms, s, m, h, d; also 1m30s"},
    {"deadline: ${SECRET}\n",
     "3:11 `deadline`: " DURATION "what is in `${SECRET}` | units: ms, s, m, h, d; also 1m30s"},
    {"routes: [{rate-limit: {requests: 1, per: minute}}]\n",
     "3:42 `routes.rate-limit.per`: " DURATION "`minute` | did you mean `1m`?"},
    {"routes: [{hsts: 1y}]\n",
     "3:17 `routes.hsts`: expected a duration such as 365d, got `1y` | did you mean `365d`?"},
    /* sizes */
    {"routes: [{limits: {body: 10MB}}]\n",
     "3:26 `routes.limits.body`: expected a size from 1 to 1Pi, such as 10Mi, got `10MB` | did you "
     "mean `10M`?"},
    {"routes: [{limits: {body: 10m}}]\n",
     "3:26 `routes.limits.body`: expected a size from 1 to 1Pi, such as 10Mi, got `10m` | did you "
     "mean `10M`?"},
    {"routes: [{limits: {body: 5 mib}}]\n",
     "3:26 `routes.limits.body`: expected a size from 1 to 1Pi, such as 10Mi, got `5 mib` | did "
     "you mean `5Mi`?"},
    {"routes: [{limits: {body: 10 apples}}]\n",
     "3:26 `routes.limits.body`: expected a size from 1 to 1Pi, such as 10Mi, got `10 apples` | "
     "units: Ki, Mi, Gi, Ti (1024), k, M, G, T (1000)"},
    {"routes: [{limits: {min-rate: 500/s}}]\n",
     "3:30 `routes.limits.min-rate`: expected a size per second from 1 to 1Gi, such as 500, got "
     "`500/s` | did you mean `500`?"},
    /* shares */
    {"routes: [{retries: {budget: 0.2}}]\n",
     "3:29 `routes.retries.budget`: " FRACTION "`0.2` | did you mean `20%`?"},
    {"routes: [{trace: 0.1}]\n", "3:18 `routes.trace`: " FRACTION "`0.1` | did you mean `10%`?"},
    {"routes: [{trace: 150}]\n", "3:18 `routes.trace`: " FRACTION "`150`"},
    {"slo: {error-rate: 0.01}\n", "3:19 `slo.error-rate`: " FRACTION "`0.01` | did you mean `1%`?"},
    /* numbers are not guessed at */
    {"routes: [{retries: {on: [500]}}]\n",
     "3:26 `routes.retries.on`: expected `reset`, `502`, `503` or `504`, got `500`"},
    {"routes: [{redirect: {to: /a, status: 300}, path: /b}]\n",
     "3:38 `routes.redirect.status`: expected `301`, `302`, `303`, `307` or `308`, got `300`"},
    /* words */
    {"routes: [{protocol: grpc}]\n", "3:21 `routes.protocol`: expected `http1`, `h2c` or `https`, "
                                     "got `grpc` | did you mean `h2c`?"},
    {"routes: [{https: true}]\n",
     "3:18 `routes.https`: expected `optional` or `redirect`, got `true` | did you mean "
     "`redirect`?"},
    {"routes: [{https: required}]\n",
     "3:18 `routes.https`: expected `optional` or `redirect`, got `required` | did you mean "
     "`redirect`?"},
    {"routes: [{via: on}]\n",
     "3:16 `routes.via`: expected `false` or `true`, got `on` | did you mean `true`?"},
    {"routes: [{forwarded: Yes}]\n",
     "3:22 `routes.forwarded`: expected `false` or `true`, got `Yes` | did you mean `true`?"},
    {"tls: letsencrypt\n",
     "3:6 `tls`: expected `files` or `auto`, got `letsencrypt` | did you mean `auto`?"},
    {"routes: [{tls: on}]\n",
     "3:16 `routes.tls`: expected `files` or `auto`, got `on` | did you mean `auto`?"},
    {"routes: [{match: {method: [get]}}]\n",
     "3:28 `routes.match.method`: is no method | did you mean `GET`?"},
    {"routes: [{match: {method: 'g t'}}]\n",
     "3:27 `routes.match.method`: is no method | methods are words in capitals, such as GET"},
    {"routes: [{rate-limit: {requests: 1, by: X-Api-Key}}]\n",
     "3:41 `routes.rate-limit.by`: expected `address`, or a map such as {header: X-Api-Key}, got "
     "`X-Api-Key` | did you mean {header: X-Api-Key}?"},
    /* maps */
    {"routes: [{redirect: /new}]\n",
     "3:21 `routes.redirect`: expected a map such as {to: \"https://shop.example\"}, got `/new`"},
    {"routes: [{capacity: 50}]\n",
     "3:21 `routes.capacity`: expected a map such as {in-flight: 50, queue-time: 5s}, got `50`"},
    /* one thing that is wrong is one error */
    {"routes: [{host: wrong.invalid., tls: auto}]\n",
     "3:17 `routes.host`: ends with a dot | leave the dot at the end out"},
};

static void the_value_that_was_meant_is_named(void **state)
{
    (void)state;
    check_fault_table(values, COUNT_OF(values));
}

static const struct fault keys[] = {
    {"routes: [{outlier: {consecutive-5xx: 3}}]\n",
     "3:21 unknown key `consecutive-5xx` in `routes.outlier` | here it is called `errors`"},
    {"routes: [{capacity: {max-connections: 3}}]\n",
     "3:22 unknown key `max-connections` in `routes.capacity` | here it is called `in-flight`"},
    {"maintenance: true\n", "3:1 unknown key `maintenance` | it is no part of a release: `sluice "
                            "maintenance APP on`"},
    {"fault: {delay: 1s}\n",
     "3:1 unknown key `fault` | it is no part of a release: `sluice fault APP on`"},
};

static void the_key_or_the_command_that_was_meant_is_named(void **state)
{
    (void)state;
    check_fault_table(keys, COUNT_OF(keys));
}

static const struct fault doubts[] = {
    {"routes: [{outlier: {base: 10m, max: 1m}}]\n",
     "3:21 warning: `routes.outlier`: `base` (10m) is longer than `max` (1m), which counts | raise "
     "`max`, or lower `base`"},
    {"routes: [{outlier: {max: 1s}}]\n",
     "3:21 warning: `routes.outlier`: `base` (30s) is longer than `max` (1s), which counts | raise "
     "`max`, or lower `base`"},
    {"routes: [{capacity: {pending: 10}}]\n",
     "3:22 warning: `routes.capacity`: nothing ever waits: without `in-flight` there is no limit | "
     "for example {in-flight: 50, pending: 100}"},
    {"routes: [{connect-timeout: 10s, timeout: 60s, total-timeout: 5s}]\n",
     "3:11 warning: `routes`: `connect-timeout` never comes to its end: `total-timeout` is 5s | "
     "raise `total-timeout`, or lower this\n"
     "3:33 warning: `routes`: `timeout` never comes to its end: `total-timeout` is 5s | raise "
     "`total-timeout`, or lower this"},
    {"routes: [{match: {header: {x: ~^a}}}]\n",
     "3:31 warning: `routes.match.header.x`: this is no pattern: the value is compared as it "
     "stands | without a value any will do, but it must be there"},
    {"routes: [{path: /old, redirect: {to: /old}}]\n",
     "3:34 warning: `routes`: leads back to this route, without an end | a path that this route "
     "does not take, or a route of its own for that one"},
    {"routes: [{redirect: {to: /new/, append: nothing}}]\n",
     "3:22 warning: `routes`: leads back to this route, without an end | a path that this route "
     "does not take, or a route of its own for that one"},
    {"routes: [{host: shop.example}, {path: /api, timeout: 5s}]\n",
     "3:33 warning: `routes`: requests for shop.example/api go to the route in line 3: the host is "
     "looked at before the path | for those, too: {host: \"shop.example\", path: /api}"},
    {"routes: [{host: www.shop.example}, {host: \"*.shop.example\", path: /api/}]\n",
     "3:61 warning: `routes`: requests for www.shop.example/api/ go to the route in line 3: the "
     "host is looked at before the path | for those, too: {host: \"www.shop.example\", path: "
     "/api/}"},
    /* a limit that was not asked for, a loop that another route ends, paths that are not hidden */
    {"routes: [{total-timeout: 5s, capacity: {in-flight: 1, pending: 10}}]\n", ""},
    {"routes: [{path: /docs, redirect: {to: /docs/2, append: nothing}}, {path: /docs/2}]\n", ""},
    {"routes: [{path: /docs, redirect: {to: /docsnew}}]\n", ""},
    {"routes: [{host: shop.example}, {}]\n", ""},
    {"routes: [{host: a.example, redirect: {to: \"https://b.example\"}}, {path: /api}]\n", ""},
    {"routes: [{host: shop.example}, {path: /api}, {host: shop.example, path: /api}]\n", ""},
    {"routes: [{host: shop.example, match: {method: GET}}, {path: /api}]\n", ""},
    {"routes: [{host: other.example}, {host: \"*.shop.example\", path: /api}]\n", ""},
    {"routes: [{match: {header: {accept: \"*/*\"}}}]\n", ""},
};

static void what_is_surely_not_meant_is_warned_of(void **state)
{
    (void)state;
    check_fault_table(doubts, COUNT_OF(doubts));
}

/* It says all defaults: a `timeout` that nobody wrote is above most `total-timeout`s. */
static void the_canonical_form_is_not_doubted(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("routes: [{host: a.example, total-timeout: 5s, outlier: {max: 1s}},"
                   " {path: /b, match: {header: {x: ~y}}, capacity: {pending: 1}},"
                   " {path: /c, redirect: {to: /c}}]\n",
                   NULL);
    cleanup_buf struct buf json = BUF_INIT;
    spec_to_json(s, &json);
    struct diagnostics diags = {0};
    struct app_spec *again =
        spec_parse(&(struct spec_source){.text = buf_str(&json), .len = json.len}, &diags);
    assert_non_null(again);
    assert_int_equal(diags.len, 0);
    spec_free(again);
    spec_free(s);
    diagnostics_release(&diags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_value_that_was_meant_is_named),
        cmocka_unit_test(the_key_or_the_command_that_was_meant_is_named),
        cmocka_unit_test(what_is_surely_not_meant_is_warned_of),
        cmocka_unit_test(the_canonical_form_is_not_doubted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
