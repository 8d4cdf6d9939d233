/* App states by hand -> the routing snapshot; totals over generations; what an app's run sees. */
#include "rig.h"

#include "control/orders.h"

static const char shop[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"hold\":{\"time\":\"7s\",\"requests\":9},"
    "\"routes\":[{\"path\":\"/\"},{\"path\":\"/old\"}]}";
static const char shop_next[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"},{\"path\":\"/new\"}],"
    "\"strategy\":{\"canary\":{\"steps\":[33,100],\"sticky\":\"cookie\",\"match\":{\"header\":{\"x-"
    "canary\":"
    "\"1\"}}}}}";
static const char shop_recreate[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}],"
    "\"strategy\":{\"recreate\":{\"hold-requests\":\"45s\"}}}";

struct scene {
    struct rig r;
    struct app *app;
    struct arena memory;
    struct snapshot s;
};

/* An app with the stable release 1 and, where there is one, a candidate 2 with that weight. */
static void scene_begin(struct scene *x, const char *candidate, uint32_t weight_ppm)
{
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    const char *specs[] = {shop, candidate};
    for (uint32_t n = 1; n <= (candidate != NULL ? 2u : 1u); n++) {
        char version[] = {'v', (char)('0' + n), '\0'};
        struct store_release row = {
            .number = n, .version = version, .spec_json = specs[n - 1], .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){.id = n, .release = n, .wanted = {1}};
    }
    a->state.next_pool = 3;
    a->state.stable = 1;
    a->state.candidate = candidate != NULL ? 2 : 0;
    a->state.pools[0].weight_ppm = 1000000 - weight_ppm;
    a->state.pools[1].weight_ppm = weight_ppm;
}

static struct instance *add_instance(struct scene *x, uint32_t pool, bool ready)
{
    struct instance *in = instance_new(x->app, pool, pool, 0);
    in->life = LIFE_RUNNING;
    in->port = (uint16_t)(7000 + x->app->instances.len);
    in->adopted_ready = ready;
    return in;
}

static void build(struct scene *x)
{
    arena_release(&x->memory);
    x->s = (struct snapshot){.version = x->s.version + 1};
    routes_build(x->r.c, &x->s, &x->memory);
    /* What the gateway gets must pass its checks. */
    struct error err = ERROR_INIT;
    cleanup_buf struct buf bytes = BUF_INIT;
    snapshot_encode(&x->s, &bytes);
    struct snapshot *again = snapshot_decode(bytes.data, bytes.len, &err);
    if (again == NULL)
        fail_msg("%s", err.text);
    snapshot_free(again);
}

static void scene_end(struct scene *x)
{
    arena_release(&x->memory);
    for (size_t i = 0; i < x->app->instances.len; i++)
        x->app->instances.items[i]->life = LIFE_EXITED;
    app_forget(x->app);
    rig_end(&x->r);
}

static const struct snapshot_route *route(const struct scene *x, const char *path)
{
    for (uint32_t i = 0; i < x->s.routes_len; i++)
        if (strcmp(x->s.routes[i].path, path) == 0)
            return &x->s.routes[i];
    fail_msg("no route %s", path);
    return NULL;
}

static const char shop_rewritten[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\",\"rewrite\":{\"prefix\":\"/"
    "v2\"},"
    "\"headers\":{\"request\":{\"set\":{\"x-a\":\"1\"}},\"response\":{\"remove\":[\"server\"]}}}],"
    "\"strategy\":{\"canary\":{\"steps\":[33,100]}}}";

/* A canary gets its requests as its own file says, stable as before. */
static void rules_are_of_a_release(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_rewritten, 333333);
    add_instance(&x, 1, true);
    add_instance(&x, 2, true);
    build(&x);
    const struct snapshot_route *r = route(&x, "/");
    assert_int_equal(r->shares_len, 2);
    assert_int_equal(r->shares[0].rules, 0);
    assert_int_equal(r->shares[1].rules, 1);
    assert_string_equal(x.s.rules[0].prefix, "/v2");
    assert_int_equal(x.s.rules[0].request_edits, 1);
    assert_int_equal(x.s.rules[0].answer_edits, 1);
    assert_int_equal(x.s.edits[1].kind, SNAPSHOT_REMOVE);
    scene_end(&x);
}

static const char shop_secured[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\",\"protocol\":\"https\","
    "\"upstream-tls\":{\"ca\":\"internal\",\"server-name\":\"app.internal\"},"
    "\"client-cert\":\"required\"},{\"path\":\"/old\",\"protocol\":\"h2c\"}],"
    "\"strategy\":{\"canary\":{\"steps\":[33,100],\"match\":{\"header\":{\"x-canary\":\"1\"}}}}}";

/* Each release's instances are spoken to as it says itself, from the first request to the last. */
static void what_instances_speak_is_of_a_release(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_secured, 333333);
    x.app->state.matching = true;
    add_instance(&x, 1, true);
    add_instance(&x, 2, true);
    build(&x);
    const struct snapshot_route *r = route(&x, "/"), *old = route(&x, "/old");
    assert_int_equal(r->shares_len, 2);
    assert_null(r->shares[0].tls.name);
    assert_string_equal(r->shares[1].tls.name, "app.internal");
    assert_string_equal(r->shares[1].tls.ca, "internal");
    assert_null(r->shares[1].tls.pair);
    assert_string_equal(r->pins[0].share.tls.name, "app.internal");
    assert_false(old->shares[0].h2c);
    assert_true(old->shares[1].h2c);
    assert_true(r->client_cert && !old->client_cert);
    x.app->state.pools[0].weight_ppm = 0;
    x.app->state.pools[1].weight_ppm = 1000000;
    build(&x);
    r = route(&x, "/");
    assert_int_equal(r->shares_len, 1);
    assert_string_equal(r->shares[0].tls.name, "app.internal");
    scene_end(&x);
}

/* Who does not get a candidate's answers needs no certificate for it; who asks for it does. */
static void a_candidate_without_a_share_wants_certificates_of_its_own_only(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_secured, 0);
    x.app->state.matching = true;
    add_instance(&x, 1, true);
    add_instance(&x, 2, true);
    build(&x);
    const struct snapshot_route *r = route(&x, "/");
    assert_false(r->client_cert);
    assert_int_equal(r->pins_len, 1);
    assert_true(r->pins[0].client_cert);
    scene_end(&x);
}

/* What was ordered is stored with the app and comes back, but for a fault of before a reboot. */
static void orders_go_to_the_gateways_and_come_back(void **state)
{
    (void)state;
    struct scene x;
    struct error err = ERROR_INIT;
    char text[256];
    scene_begin(&x, NULL, 0);
    add_instance(&x, 1, true);
    json_t *on = json_pack("{s:b,s:i,s:s,s:[s,s]}", "on", 1, "hold_ms", 20000, "page", "<p>",
                           "allow", "10.0.0.0/8", "X-Tester=me");
    json_t *fault = json_pack("{s:b,s:i,s:i}", "on", 1, "abort", 502, "for_ms", 60000);
    assert_int_equal(maintenance_order(x.app, on, "ann", text, sizeof text, &err), 0);
    assert_int_equal(fault_order(x.app, fault, "ann", text, sizeof text, &err), 0);
    json_t *extras = json_object();
    orders_save(x.app, extras);
    orders_release(x.app);
    build(&x);
    assert_int_equal(x.s.apps[0].maintenance.status, 0);
    orders_restore(x.app, extras);
    build(&x);
    const struct snapshot_app *a = &x.s.apps[0];
    assert_int_equal(a->maintenance.status, 503);
    assert_int_equal(a->maintenance.retry_after_s, 60);
    assert_int_equal(a->hold_ms, 7000);
    assert_string_equal(x.s.pages[a->maintenance.page - 1].body.data, "<p>");
    assert_int_equal(a->maintenance.callers, 2);
    assert_int_equal(x.s.callers[0].bits, 104);
    assert_true(x.s.callers[0].low == UINT64_C(0xffff0a000000));
    assert_string_equal(x.s.callers[1].name, "x-tester");
    assert_int_equal(a->fault.abort, 502);
    assert_int_equal(a->fault.share_ppm, 1000000);
    orders_release(x.app);
    json_object_set_new(json_object_get(extras, "fault"), "boot", json_string("another"));
    orders_restore(x.app, extras);
    assert_non_null(x.app->maintenance);
    assert_null(x.app->fault);
    json_decref(extras);
    json_decref(on);
    json_decref(fault);
    scene_end(&x);
}

static void the_table_has_the_routes_of_both(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_next, 333333);
    add_instance(&x, 1, true);
    add_instance(&x, 2, true);
    build(&x);
    assert_int_equal(x.s.routes_len, 3);
    const struct snapshot_route *both = route(&x, "/");
    assert_int_equal(both->shares_len, 2);
    assert_int_equal(both->shares[0].weight_ppm, 666667);
    assert_int_equal(both->shares[1].weight_ppm, 333333);
    assert_int_equal(x.s.pools[both->shares[0].pool].release, 1); /* stable first */
    assert_string_equal(both->sticky_cookie, "sluice-shop");
    /* A route of one release only is its own, whole. */
    assert_int_equal(route(&x, "/old")->shares_len, 1);
    assert_int_equal(route(&x, "/old")->shares[0].weight_ppm, 1000000);
    assert_int_equal(x.s.pools[route(&x, "/new")->shares[0].pool].release, 2);
    assert_int_equal(route(&x, "/new")->shares[0].weight_ppm, 1000000);
    scene_end(&x);
}

/* The judge compares both by the candidate's slo; alone, a release is held to its own. */
static void both_sides_are_held_to_the_candidates_slo(void **state)
{
    (void)state;
    static const char strict[] =
        "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}],"
        "\"slo\":{\"latency\":{\"p95\":\"250ms\"}}}";
    struct scene x;
    scene_begin(&x, strict, 500000);
    build(&x);
    assert_int_equal(x.s.pools_len, 2);
    assert_int_equal(x.s.pools[0].slo_us, 250000);
    assert_int_equal(x.s.pools[1].slo_us, 250000);
    x.app->state.candidate = 0; /* two releases still share the traffic */
    build(&x);
    const struct snapshot_route *r = route(&x, "/");
    assert_int_equal(x.s.pools[r->shares[0].pool].slo_us, 0);
    assert_int_equal(x.s.pools[r->shares[1].pool].slo_us, 250000);
    scene_end(&x);
}

static void only_ready_instances_are_in_it(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, NULL, 0);
    build(&x);
    assert_int_equal(x.s.instances_len, 0);
    assert_int_equal(x.s.pools_len, 1); /* the route holds, rather than answers 404 */
    add_instance(&x, 1, true);
    add_instance(&x, 1, false);
    build(&x);
    assert_int_equal(x.s.instances_len, 1);
    assert_int_equal(x.s.apps[0].hold_ms, 7000);
    assert_int_equal(x.s.apps[0].hold_limit, 9);
    assert_false(x.s.apps[0].hold);
    scene_end(&x);
}

static void a_candidate_without_a_share_is_not_in_it(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_next, 0);
    add_instance(&x, 1, true);
    add_instance(&x, 2, true);
    build(&x);
    assert_int_equal(x.s.pools_len, 1);
    assert_int_equal(x.s.routes_len, 2);
    x.app->state.matching = true;
    build(&x);
    const struct snapshot_route *r = route(&x, "/");
    assert_int_equal(r->pins_len, 1);
    assert_int_equal(x.s.pools[r->pins[0].share.pool].release, 2);
    assert_int_not_equal(r->pins[0].share.slot, r->shares[0].slot); /* its numbers are apart */
    scene_end(&x);
}

static void recreate_holds_for_as_long_as_it_says(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_recreate, 1000000);
    x.app->state.hold = true;
    build(&x);
    assert_true(x.s.apps[0].hold);
    assert_int_equal(x.s.apps[0].hold_ms, 45000);
    x.app->state.hold = false;
    build(&x);
    assert_int_equal(x.s.apps[0].hold_ms, 10000);
    scene_end(&x);
}

static void what_drains_is_listed_and_drained_when_seen(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, NULL, 0);
    struct instance *in = add_instance(&x, 1, true);
    build(&x);
    assert_true(in->routed);
    instance_drain(in);
    assert_false(instance_drained(in)); /* in no snapshot yet that is without it */
    build(&x);
    assert_int_equal(x.s.instances_len, 0);
    assert_int_equal(x.s.draining_len, 1);
    assert_int_equal(x.s.draining[0].slot, in->slot);
    assert_int_equal(in->undrained_version, x.s.version);
    assert_true(instance_drained(in)); /* no gateway lives that could not have seen it */
    scene_end(&x);
}

static void slots_are_given_back_and_what_they_counted_stays(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, shop_next, 500000);
    build(&x);
    struct app *a = x.app;
    struct control *c = x.r.c;
    size_t before = a->slots.len;
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->pool == 2) {
            uint32_t at = a->slots.items[i]->index;
            c->ended_requests[at] = xcalloc(1, sizeof **c->ended_requests);
            c->ended_requests[at]->counters[REQUESTS] = 10;
            c->ended_requests[at]->counters[REQUESTS_FAILED] = 3;
            break;
        }
    assert_int_equal(pool_value(a, 2, REQUESTS), 10);
    assert_int_equal(app_failed(a), 3);
    a->state.pools[1].id = a->state.candidate = 0;
    a->state.pools[0].weight_ppm = 1000000;
    build(&x);
    assert_true(a->slots.len < before);
    assert_int_equal(pool_value(a, 2, REQUESTS), 0);
    assert_int_equal(app_failed(a), 3); /* a counter never goes back */
    /* The next owner of such a slot begins at zero. */
    for (uint32_t n = 0; n < 200; n++) {
        char route_name[16];
        snprintf(route_name, sizeof route_name, "/%u", n);
        struct slot *s = app_slot(a, route_name, 1, ROLE_SHARE);
        assert_int_equal(slot_value(c, s, REQUESTS), 0);
    }
    scene_end(&x);
}

static void totals_go_on_over_generations(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x, NULL, 0);
    struct control *c = x.r.c;
    struct slot *s = app_slot(x.app, "/", 1, ROLE_SHARE);
    struct metrics_view v = {.workers_len = 1};
    struct metrics_worker *worker = calloc(1, sizeof *worker);
    v.workers = worker;
    atomic_store(&worker->requests[s->index].counters[REQUESTS], 5);
    atomic_store(&worker->requests[s->index].counters[REQUESTS_WAITING], 2); /* a gauge */
    atomic_store(&worker->requests[s->index].buckets[3], 5);
    measure_keep_ended(c, &v);
    measure_keep_ended(c, &v); /* the next generation did as much */
    assert_int_equal(slot_value(c, s, REQUESTS), 10);
    assert_int_equal(slot_value(c, s, REQUESTS_WAITING), 0); /* gauges die with theirs */
    uint64_t buckets[METRICS_BUCKETS];
    slot_buckets(c, s, buckets);
    assert_int_equal(buckets[3], 10);
    free(worker);
    scene_end(&x);
}

static void quantiles_of_buckets(void **state)
{
    (void)state;
    uint64_t buckets[METRICS_BUCKETS] = {0};
    assert_true(buckets_quantile_ms(buckets, 0.95) < 0); /* none is not zero */
    buckets[metrics_bucket(10000)] = 99;
    buckets[metrics_bucket(2000000)] = 1;
    assert_true(buckets_quantile_ms(buckets, 0.5) > 8 && buckets_quantile_ms(buckets, 0.5) < 13);
    assert_true(buckets_quantile_ms(buckets, 0.999) > 1500);
    memset(buckets, 0, sizeof buckets);
    buckets[METRICS_BUCKETS - 1] = 1; /* above all */
    assert_true(buckets_quantile_ms(buckets, 0.95) > 200000);
}

static void what_a_run_sees(void **state)
{
    (void)state;
    struct scene x;
    static const char spec[] =
        "{\"app\":\"shop\",\"run\":[\"./"
        "shop\",\"--port=$PORT\",\"${A}b\",\"$$HOME\",\"$NOT_SET.\",\"a$\",\"${A\","
        "\"$1\"],\"routes\":[{\"path\":\"/"
        "\"}],\"env\":{\"A\":\"x\"}}";
    scene_begin(&x, spec, 0);
    setenv("SLUICE_SECRET_OF_THE_SERVER", "1", 1);
    struct instance *in = add_instance(&x, 2, true);
    in->port = 8123;
    struct release *r = app_release(x.app, 2);
    const struct app_spec *s = release_spec(x.app, r);
    assert_non_null(s);
    struct run_env env;
    run_env_make(&env, x.app, r, s, in, &(struct env_var){"EXTRA", "e"}, 1);
    const char *const *argv = run_env_expand(&env, &s->processes[0].run);
    const char *const expected[] = {"./shop", "--port=8123", "xb", "$HOME", ".", "a$", "${A"};
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_string_equal(argv[i], expected[i]);
    cleanup_buf struct buf all = BUF_INIT;
    unsigned ports = 0;
    for (const char **item = env.envp; *item != NULL; item++) {
        buf_printf(&all, "%s\n", *item);
        ports += strncmp(*item, "PORT=", 5) == 0;
    }
    assert_int_equal(ports, 1);
    static const char *const has[] = {"PORT=8123\n",         "SLUICE_APP=shop\n",
                                      "EXTRA=e\n",           "SLUICE_RELEASE=2\n",
                                      "SLUICE_VERSION=v2\n", "SLUICE_ENV=production\n"};
    for (size_t i = 0; i < COUNT_OF(has); i++)
        if (strstr(buf_str(&all), has[i]) == NULL)
            fail_msg("no %s in %s", has[i], buf_str(&all));
    assert_null(strstr(buf_str(&all), "SLUICE_SECRET")); /* the server's own is not the app's */
    run_env_release(&env);
    scene_end(&x);
}

static void a_shell_command_is_left_to_the_shell(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(
        &x, "{\"app\":\"shop\",\"run\":\"exec ./shop $PORT\",\"routes\":[{\"path\":\"/\"}]}", 0);
    struct release *r = app_release(x.app, 2);
    const struct app_spec *s = release_spec(x.app, r);
    struct run_env env;
    run_env_make(&env, x.app, r, s, NULL, NULL, 0);
    const char *const *argv = run_env_expand(&env, &s->processes[0].run);
    assert_string_equal(argv[s->processes[0].run.argc - 1], "exec ./shop $PORT");
    run_env_release(&env);
    scene_end(&x);
}

int main(void)
{
    log_init("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_of_a_release),
        cmocka_unit_test(what_instances_speak_is_of_a_release),
        cmocka_unit_test(a_candidate_without_a_share_wants_certificates_of_its_own_only),
        cmocka_unit_test(orders_go_to_the_gateways_and_come_back),
        cmocka_unit_test(the_table_has_the_routes_of_both),
        cmocka_unit_test(both_sides_are_held_to_the_candidates_slo),
        cmocka_unit_test(only_ready_instances_are_in_it),
        cmocka_unit_test(a_candidate_without_a_share_is_not_in_it),
        cmocka_unit_test(recreate_holds_for_as_long_as_it_says),
        cmocka_unit_test(what_drains_is_listed_and_drained_when_seen),
        cmocka_unit_test(slots_are_given_back_and_what_they_counted_stays),
        cmocka_unit_test(totals_go_on_over_generations),
        cmocka_unit_test(quantiles_of_buckets),
        cmocka_unit_test(what_a_run_sees),
        cmocka_unit_test(a_shell_command_is_left_to_the_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
