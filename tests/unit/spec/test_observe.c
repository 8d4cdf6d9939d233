/* What a route tells about its requests: access-log, trace, request-id. */
#include "parse.h"

static void without_the_keys(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("routes: [{path: /}]\n", NULL);
    const struct observe_spec *o = &s->routes[0].observe;
    assert_true(o->log_ppm == 1000000 && o->log_errors && o->log_slower_ms == 0 && !o->log_query);
    assert_true(!o->trace && !o->request_id);
    cleanup_buf struct buf out = BUF_INIT;
    spec_to_json(s, &out);
    assert_null(strstr(buf_str(&out), "access-log"));
    assert_null(strstr(buf_str(&out), "trace"));
    assert_null(strstr(buf_str(&out), "request-id"));
    spec_free(s);
}

static void all_that_can_be_said(void **state)
{
    (void)state;
    struct app_spec *s = parse_good("routes:\n"
                                    "  - path: /\n"
                                    "    access-log: {sample: 0.1%, errors: false, slower: 1500ms, "
                                    "query: true}\n"
                                    "    trace: 0%\n"
                                    "    request-id: true\n"
                                    "  - {path: /b, trace: 100%, access-log: {sample: 0%}}\n"
                                    "  - {path: /c, access-log: off}\n",
                                    NULL);
    const struct observe_spec *a = &s->routes[0].observe, *b = &s->routes[1].observe;
    assert_int_equal(a->log_ppm, 1000);
    assert_int_equal(a->log_slower_ms, 1500);
    assert_true(!a->log_errors && a->log_query && a->trace && a->request_id);
    assert_int_equal(a->trace_ppm, 0);
    assert_true(b->trace && !b->request_id && b->log_errors);
    assert_int_equal(b->trace_ppm, 1000000);
    assert_int_equal(b->log_ppm, 0);
    const struct observe_spec *c = &s->routes[2].observe;
    assert_true(c->log_ppm == 0 && !c->log_errors && c->log_slower_ms == 0);
    cleanup_buf struct buf out = BUF_INIT;
    spec_to_json(s, &out);
    assert_non_null(strstr(buf_str(&out),
                           "\"access-log\":{\"sample\":\"0.1%\",\"errors\":false,\"slower\":"
                           "\"1500ms\",\"query\":true},\"trace\":\"0%\",\"request-id\":true"));
    spec_free(s);
}

static void what_is_wrong(void **state)
{
    (void)state;
    static const struct fault faults[] = {
        {"routes: [{trace: 10}]\n",
         "3:18 `routes.trace`: expected a percentage from 0% to 100%, got "
         "`10` | did you mean `10%`?"},
        {"routes: [{trace: 101%}]\n",
         "3:18 `routes.trace`: expected a percentage from 0% to 100%, got `101%`"},
        {"routes: [{access-log: on}]\n",
         "3:23 `routes.access-log`: expected `off`, or a map such as {sample: 1%, slower: 500ms}, "
         "got `on`"},
        {"routes: [{access-log: {sample: -1%}}]\n",
         "3:32 `routes.access-log.sample`: expected a percentage from 0% to 100%, got `-1%`"},
        {"routes: [{access-log: {sampel: 1%}}]\n",
         "3:24 unknown key `sampel` in `routes.access-log` | did you mean `sample`?"},
    };
    check_fault_table(faults, COUNT_OF(faults));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_keys),
        cmocka_unit_test(all_that_can_be_said),
        cmocka_unit_test(what_is_wrong),
    };
    return cmocka_run_group_tests_name("spec/observe", tests, NULL, NULL);
}
