/* What instances speak, and by which certificates they are known. */
#include "parse.h"

#include <stdio.h>

static void what_a_route_says(void **state)
{
    (void)state;
    struct app_spec *s = parse_good(
        "routes:\n"
        "  - {path: /a, protocol: https, upstream-tls: {ca: internal}}\n"
        "  - path: /b\n"
        "    protocol: https\n"
        "    upstream-tls: {ca: my-ca.1, server-name: '::1', client-cert: gateway, verify: true}\n"
        "  - {path: /c, protocol: https, upstream-tls: {verify: false}}\n"
        "  - {path: /d, protocol: h2c}\n"
        "  - {path: /e}\n",
        NULL);
    const struct upstream_tls_spec *first = &s->routes[0].tls, *second = &s->routes[1].tls;
    assert_int_equal(s->routes[0].protocol, PROTOCOL_HTTPS);
    assert_string_equal(first->ca, "internal");
    assert_string_equal(first->server_name, "localhost");
    assert_null(first->client_cert);
    assert_true(first->verify);
    assert_string_equal(second->ca, "my-ca.1");
    assert_string_equal(second->server_name, "::1");
    assert_string_equal(second->client_cert, "gateway");
    assert_false(s->routes[2].tls.verify);
    assert_null(s->routes[2].tls.ca);
    assert_int_equal(s->routes[3].protocol, PROTOCOL_H2C);
    assert_int_equal(s->routes[4].protocol, PROTOCOL_HTTP1);

    cleanup_buf struct buf json = BUF_INIT, twice = BUF_INIT;
    spec_to_json(s, &json);
    struct spec_source source = {.text = buf_str(&json), .len = json.len};
    struct diagnostics diags = {0};
    struct app_spec *again = spec_parse(&source, &diags);
    assert_non_null(again);
    spec_to_json(again, &twice);
    assert_string_equal(buf_str(&json), buf_str(&twice));
    assert_string_equal(again->routes[1].tls.client_cert, "gateway");
    assert_false(again->routes[2].tls.verify);
    spec_free(again);
    spec_free(s);
}

#define NAME "expected the name of a file in DATA/certs, such as internal, got "

static void what_gets_an_error(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"routes: [{protocol: https}]\n",
         "3:11 `routes`: `upstream-tls.ca` is missing: by which CA is the app known? | "
         "upstream-tls: {ca: internal} is DATA/certs/internal.ca; {verify: false} takes whoever "
         "answers"},
        {"routes: [{protocol: https, upstream-tls: {server-name: a}}]\n",
         "3:28 `routes`: `upstream-tls.ca` is missing: by which CA is the app known? | "
         "upstream-tls: {ca: internal} is DATA/certs/internal.ca; {verify: false} takes whoever "
         "answers"},
        {"routes: [{protocol: https, upstream-tls: {ca: a, verify: false}}]\n",
         "3:50 `routes`: with `verify: false` nothing is compared with `ca` | remove one of them"},
        {"routes: [{upstream-tls: {ca: a}}]\n",
         "3:11 `routes`: `upstream-tls` is for `protocol: https` | write `protocol: https` beside "
         "it"},
        {"routes: [{protocol: h2}]\n",
         "3:21 `routes.protocol`: expected `http1`, `h2c` or `https`, got `h2` | did you mean "
         "`h2c`?"},
        {"routes: [{protocol: https, upstream-tls: {ca: a, client-cert: /etc/a.pem}}]\n",
         "3:63 `routes.upstream-tls.client-cert`: " NAME
         "`/etc/a.pem` | copy or link it into DATA/certs, and write its name there"},
        {"routes: [{protocol: https, upstream-tls: {ca: a, client-cert: .x}}]\n",
         "3:63 `routes.upstream-tls.client-cert`: " NAME "`.x`"},
        {"routes: [{protocol: https, upstream-tls: {ca: a, client-cert: ''}}]\n",
         "3:63 `routes.upstream-tls.client-cert`: " NAME "an empty text"},
        {"routes: [{protocol: https, upstream-tls: {ca: a, server-name: '*.a'}}]\n",
         "3:63 `routes.upstream-tls.server-name`: expected a name such as app.internal, or an "
         "address, got `*.a` | one of the names that `*` stands for"},
        {"routes: [{tcp: {listen: 5432}, protocol: https}]\n",
         "3:32 `routes`: `protocol` is of requests, and this is a TCP route | what comes there is "
         "not looked into"},
    };
    check_fault_table(faults, sizeof faults / sizeof faults[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_route_says),
        cmocka_unit_test(what_gets_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
