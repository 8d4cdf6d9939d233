/* Routes that want a client's certificate. */
#include "parse.h"

#include <stdio.h>

static void a_route_may_insist(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("routes:\n"
                                    "  - {path: /admin, client-cert: required}\n"
                                    "  - {path: /, client-cert: optional}\n"
                                    "  - {path: /x}\n",
                                    NULL);
    assert_true(s->routes[0].client_cert);
    assert_false(s->routes[1].client_cert || s->routes[2].client_cert);
    cleanup_buf struct buf json = BUF_INIT, diff = BUF_INIT;
    spec_to_json(s, &json);
    const char *first = strstr(buf_str(&json), "\"client-cert\":\"required\"");
    assert_non_null(first);
    assert_null(strstr(first + 20, "client-cert"));
    struct spec_source source = {.text = buf_str(&json), .len = json.len};
    struct diagnostics diags = {0};
    struct app_spec *again = spec_parse(&source, &diags);
    assert_non_null(again);
    assert_true(again->routes[0].client_cert && !again->routes[1].client_cert);
    again->routes[0].client_cert = false;
    spec_diff(s, again, &diff);
    assert_non_null(strstr(buf_str(&diff), "client-cert"));
    spec_free(again);
    spec_free(s);
}

static const struct fault faults[] = {
    {"routes: [{client-cert: yes}]\n",
     "3:24 `routes.client-cert`: expected `optional` or `required`, got `yes`"},
    {"routes: [{tcp: {listen: 5432}, client-cert: required}]\n",
     "3:32 `routes`: `client-cert` is of requests, and this is a TCP route | what comes "
     "there is not looked into"},
};

static void what_cannot_be(void **state)
{
    (void)state;
    check_fault_table(faults, COUNT_OF(faults));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_may_insist),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
