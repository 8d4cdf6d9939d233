/* What `plan` says of what a canary can find, and the steps that it proposes. */
#include "rig.h"

#define SHOP "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]"
#define CANARY(steps) SHOP ",\"strategy\":{\"canary\":{\"steps\":[" steps "],\"hold\":\"60s\"}}}"

struct scene {
    struct rig r;
    struct app *app;
};

/* Release 1 is stable; in the last day it had so many requests per second. */
static void scene_begin(struct scene *x, double requests_per_s, double errors)
{
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    struct store_batch *batch = store_batch_new(x->r.c->store);
    struct store_release row = {
        .number = 1, .version = "1.0", .spec_json = SHOP "}", .dir = "/nowhere"};
    app_add_release(a, &row);
    a->state.pools[0] = (struct pool_state){.id = 1, .release = 1, .wanted = {1}};
    a->state.next_pool = 2;
    a->state.stable = 1;
    app_put_row(a, batch);
    uint64_t requests = (uint64_t)(requests_per_s * 86400);
    struct store_traffic minute = {.app = a->key,
                                   .minute = control_now() / 60000 - 5,
                                   .release = 1,
                                   .requests = requests,
                                   .errors = (uint64_t)(errors * (double)requests),
                                   .latency = ""};
    if (requests > 0)
        batch_put_traffic(batch, &minute);
    store_submit(x->r.c->store, batch, NULL, NULL);
    store_flush(x->r.c->store);
}

static void scene_end(struct scene *x)
{
    x->app->state.stable = 0;
    memset(x->app->state.pools, 0, sizeof x->app->state.pools);
    rig_end(&x->r);
}

static json_t *plan_of(struct scene *x, const char *spec, bool suggest)
{
    struct error err = ERROR_INIT;
    json_t *j = control_plan(x->r.c, NULL, spec, suggest, &err);
    if (j == NULL)
        fail_msg("%s: %s", spec, err.text);
    return j;
}

static const char *warning(const json_t *plan)
{
    const json_t *all = json_object_get(plan, "warnings");
    assert_in_range(json_array_size(all), 0, 1);
    const char *text = json_string_value(json_array_get(all, 0));
    return text != NULL ? text : "";
}

static double found(const json_t *steps, size_t i)
{
    return json_real_value(json_object_get(json_array_get(steps, i), "error_rate"));
}

#define SHADOW(what) SHOP ",\"strategy\":{\"shadow\":{" what "}}}"

/* Of copies and what was copied there are as many: a fifth of the requests finds what a canary at
 * 50 % of two fifths would. */
static void copies_say_what_they_find(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, 50, .005);
    json_t *j = plan_of(&x, SHADOW("\"share\":\"20%\",\"for\":\"60s\""), false);
    const json_t *one = json_array_get(json_object_get(json_object_get(j, "detects"), "steps"), 0);
    assert_string_equal(warning(j), "");
    assert_int_equal(json_real_value(json_object_get(one, "requests")), 600);
    assert_int_equal(json_real_value(json_object_get(one, "weight")), 20);
    double rate = json_real_value(json_object_get(one, "error_rate"));
    assert_true(rate > .01 && rate < .1);
    json_decref(j);
    j = plan_of(&x, SHADOW("\"share\":\"1%\",\"for\":\"2s\""), false);
    assert_string_equal(warning(j), "0.5 copies a second for 2s cannot find even a release that "
                                    "always fails; raise `share` or `for`");
    json_decref(j);
    scene_end(&x);
    scene_begin(&x, 0, 0);
    j = plan_of(&x, SHADOW(""), false);
    assert_string_equal(warning(j),
                        "no request has come in the last day: there would be none to copy");
    json_decref(j);
    scene_end(&x);
}

static void each_hold_says_what_it_finds(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, 50, .005);
    json_t *j = plan_of(&x, CANARY("5,50"), false);
    const json_t *detects = json_object_get(j, "detects"),
                 *steps = json_object_get(detects, "steps");
    assert_float_equal(json_real_value(json_object_get(detects, "requests_per_s")), 50, .01);
    assert_float_equal(json_real_value(json_object_get(detects, "stable_errors")), .005, 1e-5);
    assert_int_equal(json_array_size(steps), 2); /* the last 100 % is not compared */
    assert_true(found(steps, 0) > .03 && found(steps, 0) < .2);
    assert_true(found(steps, 1) < found(steps, 0) && found(steps, 1) > .005);
    const char *text = json_string_value(json_object_get(json_array_get(steps, 0), "text"));
    assert_non_null(strstr(text, "at 5% for 1m with 50 req/s: finds an error rate of "));
    assert_string_equal(warning(j), "");
    assert_null(json_object_get(j, "suggestion"));
    json_decref(j);
    scene_end(&x);
}

static void too_little_traffic_is_warned_of(void **state)
{
    (void)state;
    static const struct {
        double requests_per_s;
        const char *spec, *says;
    } cases[] = {
        {.02, CANARY("5,50"), "no step of this canary can find even a release that always fails"},
        {5, CANARY("5"), "no step of this canary finds an error rate under"},
        {0, CANARY("5"), "would have nothing to judge"},
        {50, SHOP ",\"strategy\":{\"canary\":{\"steps\":[100]}}}", "is held before 100%"},
        {.02, SHOP "}", ""}, /* a rolling deploy promises nothing */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct scene x;
        scene_begin(&x, cases[i].requests_per_s, .005);
        json_t *j = plan_of(&x, cases[i].spec, false);
        const char *text = warning(j);
        if (strstr(text, cases[i].says) == NULL || (*cases[i].says == '\0') != (*text == '\0'))
            fail_msg("case %zu: \"%s\"", i, text);
        json_decref(j);
        scene_end(&x);
    }
}

static void a_first_deploy_has_nothing_to_compare(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, 50, .005);
    json_t *j =
        plan_of(&x, "{\"app\":\"new\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/new\"}]}", true);
    assert_true(json_is_null(json_object_get(j, "detects")));
    assert_true(json_is_null(json_object_get(json_object_get(j, "suggestion"), "yaml")));
    assert_string_equal(warning(j), "");
    json_decref(j);
    scene_end(&x);
}

static void what_a_deploy_refuses_is_no_plan(void **state)
{
    (void)state;
    struct scene x;
    struct error err = ERROR_INIT;
    const char *spec = "{\"app\":\"thief\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/\"}]}";
    scene_begin(&x, 50, .005);
    assert_null(control_plan(x.r.c, NULL, spec, false, &err));
    assert_int_equal(err.class, ERROR_CONFLICT);
    assert_non_null(strstr(err.text, "belongs to app shop@production already"));
    scene_end(&x);
}

static void redirects_to_where_nobody_listens_are_warned_of(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, 50, .005);
    json_t *j = plan_of(&x,
                        "{\"app\":\"new\",\"run\":[\"./x\"],\"routes\":[{\"host\":\"pr.example\","
                        "\"https\":\"redirect\"},{\"host\":\"other.example\"}]}",
                        false);
    assert_non_null(strstr(warning(j), "`https: redirect` of pr.example: this server has no TLS"));
    json_decref(j);
    scene_end(&x);
}

/* The proposal, pasted into the file, finds what it says. */
static void proposals_hold(double requests_per_s, double errors, double target)
{
    struct scene x;
    scene_begin(&x, requests_per_s, errors);
    json_t *j = plan_of(&x, CANARY("5,50"), true);
    const json_t *suggestion = json_object_get(j, "suggestion");
    assert_float_equal(json_real_value(json_object_get(suggestion, "error_rate")), target, 1e-4);
    const char *yaml = json_string_value(json_object_get(suggestion, "yaml"));
    assert_non_null(yaml);
    cleanup_free char *file = xasprintf("app: shop\nrun: ./shop\nroutes: [{path: /}]\n%s", yaml);
    json_t *again = plan_of(&x, file, false);
    const json_t *steps = json_object_get(json_object_get(again, "detects"), "steps");
    size_t len = json_array_size(json_object_get(suggestion, "steps"));
    assert_int_equal(json_array_size(steps), len);
    assert_in_range(len, 1, 5);
    for (size_t i = 0; i < len; i++)
        if (!(found(steps, i) <= target * 1.001))
            fail_msg("%g req/s: step %zu finds %g only, in\n%s", requests_per_s, i, found(steps, i),
                     yaml);
    assert_string_equal(warning(again), "");
    json_decref(again);
    json_decref(j);
    scene_end(&x);
}

static void proposed_steps_find_what_they_say(void **state)
{
    (void)state;
    proposals_hold(50, .005, .02);
    proposals_hold(5, .005, .02);
    proposals_hold(2000, 0, .02);
    proposals_hold(50, .03, .06); /* twice stable's */
}

static void no_steps_can_find_it(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, .02, .005);
    json_t *j = plan_of(&x, CANARY("5,50"), true);
    const json_t *suggestion = json_object_get(j, "suggestion");
    assert_true(json_is_null(json_object_get(suggestion, "yaml")));
    assert_int_equal(json_array_size(json_object_get(suggestion, "steps")), 0);
    assert_non_null(strstr(json_string_value(json_object_get(suggestion, "text")),
                           "not even an hour at 50% finds an error rate of 2%"));
    json_decref(j);
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_hold_says_what_it_finds),
        cmocka_unit_test(copies_say_what_they_find),
        cmocka_unit_test(too_little_traffic_is_warned_of),
        cmocka_unit_test(a_first_deploy_has_nothing_to_compare),
        cmocka_unit_test(what_a_deploy_refuses_is_no_plan),
        cmocka_unit_test(redirects_to_where_nobody_listens_are_warned_of),
        cmocka_unit_test(proposed_steps_find_what_they_say),
        cmocka_unit_test(no_steps_can_find_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
