/* TCP routes: what they may say, where they listen, and that the canonical form says the same. */
#include "parse.h"

#include <stdio.h>

static void addresses(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"5432", "127.0.0.1:5432"},
        {"'0.0.0.0:1'", "0.0.0.0:1"},
        {"localhost:65535", "127.0.0.1:65535"},
        {"'[::]:80'", "[::]:80"},
        {"'[0:0::1]:443'", "[::1]:443"},
        {"10.1.2.3:5432", "10.1.2.3:5432"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cleanup_free char *rest = xasprintf("routes: [{tcp: {listen: %s}}]\n", good[i][0]);
        struct app_spec *s = parse_good(rest, NULL);
        assert_int_equal(s->routes_len, 1);
        assert_string_equal(s->routes[0].tcp.listen, good[i][1]);
        assert_int_equal(s->routes[0].tcp.idle_ms, 0);
        assert_true(s->processes[0].routed);
        spec_free(s);
    }
}

static void the_canonical_form_says_the_same(void **state)
{
    (void)state;
    struct app_spec *s =
        parse_good("routes:\n"
                   "  - {tcp: {listen: 5432, idle: 1h}, retries: 3, connect-timeout: 1s}\n"
                   "  - {path: /}\n",
                   NULL);
    cleanup_buf struct buf json = BUF_INIT, twice = BUF_INIT;
    spec_to_json(s, &json);
    struct spec_source source = {.text = buf_str(&json), .len = json.len};
    struct diagnostics diags = {0};
    struct app_spec *again = spec_parse(&source, &diags);
    assert_non_null(again);
    assert_int_equal(diags.len, 0);
    spec_to_json(again, &twice);
    assert_string_equal(buf_str(&json), buf_str(&twice));
    assert_int_equal(again->routes_len, 2);
    assert_string_equal(again->routes[0].tcp.listen, "127.0.0.1:5432");
    assert_int_equal(again->routes[0].tcp.idle_ms, 3600000);
    assert_int_equal(again->routes[0].retries, 3);
    assert_int_equal(again->routes[0].resilience.connect_ms, 1000);
    assert_null(again->routes[1].tcp.listen);
    cleanup_buf struct buf diff = BUF_INIT;
    again->routes[0].tcp.idle_ms = 0;
    spec_diff(s, again, &diff);
    assert_string_equal(buf_str(&diff), "routes[127.0.0.1:5432].tcp.idle: 1h -> 0s\n");
    spec_free(again);
    spec_free(s);
}

#define LISTEN_SHAPE                                                                               \
    "`routes.tcp.listen`: expected a port such as 5432, or an IP address with a port such as "     \
    "0.0.0.0:5432, got "

static void what_gets_an_error(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"routes: [{tcp: {}}]\n",
         "3:16 `routes.tcp`: `listen` is missing | for example {listen: 5432}"},
        {"routes: [{tcp: 5432}]\n",
         "3:16 `routes.tcp`: expected a map such as {listen: 5432}, got `5432`"},
        {"routes: [{tcp: {listen: 0}}]\n",
         "3:25 " LISTEN_SHAPE "`0` | clients must know the port: choose one"},
        {"routes: [{tcp: {listen: 65536}}]\n", "3:25 " LISTEN_SHAPE "`65536`"},
        {"routes: [{tcp: {listen: db.example:5432}}]\n", "3:25 " LISTEN_SHAPE "`db.example:5432`"},
        {"routes: [{tcp: {listen: '::1:5432'}}]\n",
         "3:25 " LISTEN_SHAPE "`::1:5432` | 0.0.0.0:5432 is the port on all IPv4 addresses of the "
         "machine, [::]:5432 on all "
         "of IPv6"},
        {"routes: [{tcp: {listen: '*:5432'}}]\n",
         "3:25 " LISTEN_SHAPE "`*:5432` | 0.0.0.0:5432 is the port on all IPv4 addresses of the "
         "machine, [::]:5432 on all "
         "of IPv6"},
        {"routes: [{tcp: {listen: 5432, idle: soon}}]\n",
         "3:37 `routes.tcp.idle`: expected a duration such as 10s, got `soon` | units: ms, s, m, "
         "h, d; also 1m30s"},
        {"routes: [{tcp: {listen: 5432}, host: db.example}]\n",
         "3:32 `routes`: `host` is of requests, and this is a TCP route | what comes there is not "
         "looked into"},
        {"routes: [{path: /, tcp: {listen: 5432}, timeout: 5s}]\n",
         "3:11 `routes`: `path` is of requests, and this is a TCP route | what comes there is not "
         "looked into\n"
         "3:41 `routes`: `timeout` is of requests, and this is a TCP route | what comes there is "
         "not "
         "looked into"},
        {"routes: [{tcp: {listen: 5432}}, {tcp: {listen: '0.0.0.0:5432'}}]\n",
         "3:33 `routes`: this route is given twice | the same address stands in line 3"},
        {"routes: [{tcp: {listen: 5432}}]\nstrategy: {canary: {sticky: cookie}}\n",
         "4:21 `strategy.canary.sticky` looks at requests, and all routes are TCP routes | leave "
         "it "
         "out: a connection goes by the weights alone"},
        {"routes: [{tcp: {listen: 5432}}]\nstrategy: {blue-green: {preview: {header: {x: y}}}}\n",
         "4:25 `strategy.blue-green.preview` looks at requests, and all routes are TCP routes | "
         "leave "
         "it out: a connection goes by the weights alone"},
    };
    check_fault_table(faults, sizeof faults / sizeof faults[0]);
    /* With a route of requests beside it they have something to look at. */
    spec_free(parse_good("routes: [{tcp: {listen: 5432}}, {path: /}]\n"
                         "strategy: {canary: {sticky: cookie, match: {header: {x: y}}}}\n",
                         NULL));
    /* The file's `tls` is for hosts. */
    spec_free(parse_good("tls: auto\nroutes: [{tcp: {listen: 5432}}, {host: a.example}]\n", NULL));
    spec_free(
        parse_good("routes: [{tcp: {listen: 5432}}]\nstrategy: {canary: {sticky: none}}\n", NULL));
}

static void what_overlaps(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool overlap;
    } pairs[] = {
        {"127.0.0.1:5432", "127.0.0.1:5432", true},  {"127.0.0.1:5432", "127.0.0.1:5433", false},
        {"127.0.0.1:5432", "127.0.0.2:5432", false}, {"127.0.0.1:5432", "0.0.0.0:5432", true},
        {"0.0.0.0:5432", "10.0.0.1:5432", true},     {"[::1]:5432", "[::]:5432", true},
        {"[::]:5432", "0.0.0.0:5432", false},        {"[::1]:5432", "127.0.0.1:5432", false},
        {"127.0.0.1:432", "127.0.0.1:5432", false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(tcp_listen_overlaps(pairs[i].a, pairs[i].b), pairs[i].overlap);
        assert_int_equal(tcp_listen_overlaps(pairs[i].b, pairs[i].a), pairs[i].overlap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(the_canonical_form_says_the_same),
        cmocka_unit_test(what_gets_an_error),
        cmocka_unit_test(what_overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
