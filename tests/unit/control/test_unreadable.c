/* One app's row in the store is damaged: that app stays as it is, all others go on. And a control
 * that cannot open at all. */
#include "control/acme.h"
#include "rig.h"

static const char shop[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"},{\"path\":\"/cart\","
    "\"match\":{\"header\":{\"x-shop\":\"1\"}}}]}";
static const char shop_tls[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"host\":\"shop.test\",\"tls\":\"auto\"},"
    "{\"host\":\"files.test\"}]}";
static const char news[] =
    "{\"app\":\"news\",\"run\":[\"./news\"],\"routes\":[{\"path\":\"/news\"}]}";
static const char thief[] =
    "{\"app\":\"thief\",\"run\":[\"./thief\"],\"routes\":[{\"path\":\"/cart\"}]}";

#define OF_SHOP " WHERE app = 'shop@production'"

static const struct harm {
    const char *sql, *says, *mend;
} harms[] = {
    {"UPDATE app SET state_json = '{'" OF_SHOP, "its state",
     "UPDATE app SET state_json = (SELECT state_json FROM saved.app" OF_SHOP ")" OF_SHOP},
    {"UPDATE app SET extras_json = '[]'" OF_SHOP, "beside its state",
     "UPDATE app SET extras_json = (SELECT extras_json FROM saved.app" OF_SHOP ")" OF_SHOP},
    {"UPDATE release SET spec_json = '{}'" OF_SHOP, "spec of its release 1",
     "UPDATE release SET spec_json = (SELECT spec_json FROM saved.release" OF_SHOP ")" OF_SHOP},
    {"DELETE FROM release" OF_SHOP, "release 1 is gone",
     "INSERT INTO release SELECT * FROM saved.release" OF_SHOP},
};

/* Two live apps, and a controller that was killed. */
static void begin(struct rig *r)
{
    rig_begin(r);
    assert_string_equal(rig_deploy_whole(r, shop), "promoted");
    assert_string_equal(rig_deploy_whole(r, news), "promoted");
    RIG_UNTIL(r, rig_quiet(r));
    rig_kill(r);
    char sql[160];
    snprintf(sql, sizeof sql, "VACUUM INTO '%s/saved.db'", r->data);
    rig_sql(r, sql);
}

static void open_harmed(struct rig *r, const char *sql)
{
    rig_sql(r, sql);
    log_init("test", LOG_ERROR + 1); /* it says so */
    rig_open(r);
    log_init("test", LOG_ERROR);
    RIG_UNTIL(r, r->c->snapshot.len > 0 && rig_quiet(r));
}

static void mend(struct rig *r, const char *sql)
{
    cleanup_free char *all = xasprintf("ATTACH '%s/saved.db' AS saved; %s", r->data, sql);
    rig_sql(r, all);
}

/* How many instances take the route's requests, each on that port; -1: no such route. */
static int routed(struct rig *r, const char *path, int port)
{
    struct error err = ERROR_INIT;
    struct snapshot *s = snapshot_decode(r->c->snapshot.data, r->c->snapshot.len, &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    int found = -1;
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *route = &s->routes[i];
        if (strcmp(route->path, path) != 0)
            continue;
        assert_int_equal(found, -1);
        assert_int_equal(route->shares_len, 1);
        assert_int_equal(route->shares[0].weight_ppm, 1000000);
        const struct snapshot_pool *pool = &s->pools[route->shares[0].pool];
        for (uint32_t k = 0; k < pool->instances; k++)
            assert_int_equal(s->instances[pool->first_instance + k].port, port);
        found = (int)pool->instances;
    }
    snapshot_free(s);
    return found;
}

static void expect_degraded(struct rig *r, const char *says)
{
    json_t *status = rig_status(r, "shop");
    assert_string_equal(json_string_value(json_object_get(status, "state")), "degraded");
    const char *why = json_string_value(json_object_get(status, "degraded"));
    assert_non_null(strstr(why, says));
    assert_non_null(strstr(why, "state.db"));
    json_decref(status);
    status = rig_status(r, "news");
    assert_string_equal(json_string_value(json_object_get(status, "state")), "steady");
    assert_true(json_is_null(json_object_get(status, "degraded")));
    json_decref(status);
    json_t *apps = control_apps(r->c);
    assert_int_equal(json_array_size(apps), 2);
    json_decref(apps);
    assert_int_equal(rig_count(r, "SELECT count(*) FROM event WHERE kind = 'degraded'"), 1);
}

static void its_orders_are_refused(struct rig *r)
{
    rig_send(r, shop, NULL, NULL);
    assert_int_equal(r->answer_error.class, ERROR_UNAVAILABLE);
    assert_non_null(strstr(r->answer_error.text, "shop@production is degraded"));
    rig_order(r, COMMAND_RESTART, "shop");
    assert_int_equal(r->answer_error.class, ERROR_UNAVAILABLE);
    rig_send(r, thief, NULL, NULL);
    assert_int_equal(r->answer_error.class, ERROR_CONFLICT);
    assert_non_null(strstr(r->answer_error.text, "/cart"));
}

static void an_unreadable_row_degrades_its_app_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(harms); i++) {
        struct rig r;
        begin(&r);
        int port = rig_find(&r, "shop-1-1.")->port;
        open_harmed(&r, harms[i].sql);
        assert_non_null(r.c->store);
        assert_string_equal(r.c->degraded, "");
        expect_degraded(&r, harms[i].says);
        assert_int_equal(routed(&r, "/", port), 1);
        its_orders_are_refused(&r);
        assert_string_equal(rig_deploy_whole(&r, news), "promoted");
        RIG_UNTIL(&r, rig_quiet(&r));
        assert_int_equal(routed(&r, "/", port), 1);
        assert_int_equal(routed(&r, "/cart", port), 1);
        assert_int_equal(routed(&r, "/news", rig_find(&r, "news-2-1.")->port), 1);
        assert_int_equal(rig_find(&r, "shop-1-1.")->stopped, 0);
        rig_leave(&r);
        mend(&r, harms[i].mend); /* as nobody has written over it */
        rig_open(&r);
        assert_true(instance_ready(rig_app(&r, "shop@production")->instances.items[0]));
        RIG_UNTIL(&r, rig_quiet(&r) && r.c->snapshot.len > 0);
        assert_int_equal(routed(&r, "/", port), 1);
        assert_int_equal(rig_started(&r, "shop-1-1."), 1);
        assert_int_equal(rig_alive(&r, "shop-1-1."), 1);
        rig_end(&r);
    }
}

static bool renewed(const struct rig *r, const char *host)
{
    const struct acme_host *h = r->c->acme != NULL ? map_get(&r->c->acme->by_name, host) : NULL;
    return h != NULL && h->wanted;
}

/* A row that nobody mends would end TLS for its hosts weeks later. */
static void its_certificates_are_still_renewed(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop_tls), "promoted");
    assert_string_equal(rig_deploy_whole(&r, news), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r) && renewed(&r, "shop.test"));
    rig_kill(&r);
    open_harmed(&r, harms[0].sql);
    RIG_UNTIL(&r, r.c->acme != NULL);
    rig_spin(&r, 200);
    assert_true(renewed(&r, "shop.test"));
    assert_false(renewed(&r, "files.test"));
    rig_end(&r);
}

/* Its port may be another's soon: nothing may go there. */
static void an_instance_that_ends_leaves_the_routes(void **state)
{
    (void)state;
    struct rig r;
    begin(&r);
    open_harmed(&r, harms[0].sql);
    int port = rig_find(&r, "shop-1-1.")->port;
    assert_int_equal(routed(&r, "/", port), 1);
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 0, SIGSEGV);
    RIG_UNTIL(&r, routed(&r, "/", port) == 0);
    rig_end(&r);
}

static void after_a_reboot_nothing_of_it_is_routed(void **state)
{
    (void)state;
    struct rig r;
    begin(&r);
    for (size_t i = 0; i < r.runs_len; i++) {
        rig_end_run(&r, &r.runs[i], 0, SIGKILL);
        r.runs[i].forgotten = true;
    }
    rig_sql(&r, "UPDATE instance SET boot_id = 'before'");
    open_harmed(&r, harms[0].sql);
    assert_int_equal(routed(&r, "/", 0), 0);
    RIG_UNTIL(&r, rig_alive(&r, "news-1-") == 1);
    expect_degraded(&r, harms[0].says);
    rig_end(&r);
}

/* The slots that its traffic is counted in are given to nobody. */
static void its_slots_stay_its_own(void **state)
{
    (void)state;
    struct rig r;
    begin(&r);
    open_harmed(&r, harms[0].sql);
    uint8_t instances[64] = {0};
    for (int n = 0; n < 3; n++)
        assert_string_equal(rig_deploy_whole(&r, news), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    struct snapshot *s = snapshot_decode(r.c->snapshot.data, r.c->snapshot.len, NULL);
    assert_non_null(s);
    for (uint32_t i = 0; i < s->instances_len; i++) {
        assert_in_range(s->instances[i].slot, 0, sizeof instances - 1);
        assert_int_equal(instances[s->instances[i].slot]++, 0);
    }
    for (uint32_t i = 0; i < s->routes_len; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(s->routes[i].shares[0].slot, s->routes[k].shares[0].slot);
    assert_int_not_equal(s->apps[0].slot, s->apps[1].slot);
    snapshot_free(s);
    rig_end(&r);
}

static void what_cannot_open_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const blocked[] = {"run", "run/instances"}; /* is a file */
    for (size_t i = 0; i < COUNT_OF(blocked); i++) {
        struct boot boot;
        struct error err = ERROR_INIT;
        uv_loop_t loop;
        char data[] = "/tmp/sluice-control-XXXXXX", path[96];
        assert_non_null(mkdtemp(data));
        snprintf(path, sizeof path, "%s/run", data);
        if (i > 0)
            assert_int_equal(mkdir(path, 0755), 0);
        snprintf(path, sizeof path, "%s/%s", data, blocked[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        close(fd);
        boot_init(&boot);
        boot_set(&boot.data_dir, data);
        assert_int_equal(uv_loop_init(&loop), 0);
        struct control_config config = {.boot = &boot, .loop = &loop};
        assert_null(control_open(&config, &err));
        assert_non_null(strstr(err.text, path));
        assert_int_equal(uv_loop_close(&loop), 0); /* no handle of it */
        boot_release(&boot);
        rig_remove(data);
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC); /* nor a descriptor */
        assert_int_equal(next, fd);
        close(next);
    }
}

int main(void)
{
    log_init("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unreadable_row_degrades_its_app_alone),
        cmocka_unit_test(its_certificates_are_still_renewed),
        cmocka_unit_test(an_instance_that_ends_leaves_the_routes),
        cmocka_unit_test(after_a_reboot_nothing_of_it_is_routed),
        cmocka_unit_test(its_slots_stay_its_own),
        cmocka_unit_test(what_cannot_open_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
