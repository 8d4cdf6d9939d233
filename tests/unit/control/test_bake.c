/* The watch after a promotion: against the day before, against the slo, and what ends it. */
#include "rig.h"

#define SHOP                                                                                       \
    "{\"app\":\"shop\",\"run\":[\"./shop\",\"--port\",\"$PORT\"],\"routes\":[{\"path\":\"/\"}]"
static const char shop[] = SHOP "}";
static const char shop_bake[] = SHOP ",\"bake\":\"10m\"}";
static const char shop_bake_slo[] =
    SHOP ",\"bake\":\"10m\",\"slo\":{\"error-rate\":\"1%\",\"min-requests\":50}}";
static const char shop_keep[] =
    SHOP ",\"bake\":{\"time\":\"10m\",\"keep\":true},\"strategy\":{\"canary\":{\"steps\":[100],"
         "\"hold\":\"0s\"}}}";

enum { MINUTE = 60000, FAST = 20, SLOW = 110 }; /* buckets */

/* Release 1 has served `requests` in the day before, `errors` of them in vain. */
static void had_traffic(struct rig *r, uint64_t requests, uint64_t errors)
{
    char latency[64];
    snprintf(latency, sizeof latency, "%d:%llu", FAST, (unsigned long long)requests);
    struct store_batch *batch = store_batch_new(r->c->store);
    batch_put_traffic(batch, &(struct store_traffic){.app = "shop@production",
                                                     .minute = control_now() / MINUTE - 30,
                                                     .release = 1,
                                                     .requests = requests,
                                                     .errors = errors,
                                                     .latency = latency});
    store_submit(r->c->store, batch, NULL, NULL);
    store_flush(r->c->store);
}

static struct app *begin(struct rig *r, const char *second, uint64_t requests, uint64_t errors)
{
    rig_begin(r);
    assert_string_equal(rig_deploy_whole(r, shop), "promoted");
    if (requests > 0)
        had_traffic(r, requests, errors);
    assert_string_equal(rig_deploy_whole(r, second), "promoted");
    return rig_app(r, "shop@production");
}

/* Requests as a gateway that ended has left them behind. */
static void bring(struct app *a, uint64_t requests, uint64_t errors, uint32_t bucket)
{
    struct slot *s = app_slot(a, "/", a->state.stable, ROLE_SHARE);
    struct slot_totals **t = &a->control->ended_requests[s->index];
    if (*t == NULL)
        *t = xcalloc(1, sizeof **t);
    (*t)->counters[REQUESTS] += requests;
    (*t)->counters[REQUESTS_5XX] += errors;
    (*t)->buckets[bucket] += requests;
}

static void expect_way_back(struct rig *r, const char *code)
{
    struct app *a = rig_app(r, "shop@production");
    RIG_UNTIL(r, r->ends == 3 && rig_quiet(r));
    assert_int_equal(app_stable_release(a), 1);
    assert_null(a->bake);
    assert_int_equal(app_release(a, 2)->status, RELEASE_REJECTED);
    assert_int_equal(
        rig_count(r, "SELECT count(*) FROM release WHERE number = 2 AND status = 'rejected'"), 1);
    assert_int_equal(rig_count(r, "SELECT count(*) FROM rollout WHERE kind = 'rollback' AND "
                                  "actor = 'sluice' AND result = 'promoted'"),
                     1);
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM event WHERE kind = 'bake-failed' AND json LIKE "
             "'%%\"code\":\"%s\"%%'",
             code);
    assert_int_equal(rig_count(r, sql), 1);
}

static void worse_than_the_day_before_goes_back(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 100000, 300);
    assert_non_null(a->bake);
    bring(a, 1000, 4, FAST);
    bake_tick(a, control_now());
    assert_non_null(a->bake); /* about as before */
    bring(a, 500, 41, FAST);
    bake_tick(a, control_now());
    expect_way_back(&r, "error-rate");
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'bake-failed' AND "
                                   "text LIKE '%3.00 % of 1500 requests failed; in the day "
                                   "before 0.30 % of 100000%'"),
                     1);
    rig_end(&r);
}

static void slower_than_the_day_before_goes_back(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 100000, 0);
    bring(a, 300, 0, FAST);
    bring(a, 60, 0, SLOW);
    bake_tick(a, control_now());
    expect_way_back(&r, "latency");
    rig_end(&r);
}

static void a_budget_that_burns_goes_back_without_any_history(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake_slo, 0, 0);
    bring(a, 40, 40, FAST);
    bake_tick(a, control_now());
    assert_non_null(a->bake); /* fewer than min-requests say nothing */
    bring(a, 60, 10, FAST);
    bake_tick(a, control_now());
    expect_way_back(&r, "slo");
    rig_end(&r);
}

static void a_release_that_is_as_good_stands(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake_slo, 100000, 300);
    int64_t now = control_now();
    for (int i = 0; i < 590; i++) {
        bring(a, 100, i % 3 == 0, FAST);
        bake_tick(a, now += 1000);
        assert_non_null(a->bake);
    }
    json_t *status = rig_status(&r, "shop");
    const json_t *bake = json_object_get(status, "bake");
    assert_int_equal(json_integer_value(json_object_get(bake, "release")), 2);
    assert_int_equal(json_integer_value(json_object_get(bake, "previous")), 1);
    assert_int_equal(json_integer_value(json_object_get(bake, "requests")), 59000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(bake, "day_before"), "requests")),
        100000);
    json_decref(status);
    bake_tick(a, now + 10 * MINUTE);
    assert_null(a->bake);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'baked' AND text LIKE "
                                   "'%59000 requests, 197 failed%'"),
                     1);
    assert_int_equal(app_stable_release(a), 2);
    rig_end(&r);
}

static void no_request_is_said_not_taken_for_good(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 0, 0);
    bake_tick(a, control_now() + 11 * MINUTE);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'baked' AND text LIKE "
                                   "'%no request came%'"),
                     1);
    rig_end(&r);
}

/* The evidence is not lost with a controller. */
static void a_killed_controller_goes_on_watching(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 100000, 300);
    bring(a, 1000, 9, FAST);
    bake_tick(a, control_now());
    assert_non_null(a->bake);
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_open(&r);
    RIG_UNTIL(&r, rig_quiet(&r));
    a = rig_app(&r, "shop@production");
    assert_non_null(a->bake);
    json_t *now = bake_json(a);
    assert_int_equal(json_integer_value(json_object_get(now, "requests")), 1000);
    assert_int_equal(json_integer_value(json_object_get(now, "failed")), 9);
    json_decref(now);
    bring(a, 1000, 60, FAST);
    bake_tick(a, control_now());
    RIG_UNTIL(&r, r.ends == 3 && rig_quiet(&r));
    assert_int_equal(app_stable_release(a), 1);
    rig_end(&r);
}

static void what_people_begin_ends_the_watch(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 100000, 300);
    assert_non_null(a->bake);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    assert_null(a->bake); /* that one asks for none */
    rig_end(&r);

    a = begin(&r, shop_bake, 100000, 300);
    rig_order(&r, COMMAND_STOP, "shop");
    bring(a, 1000, 1000, FAST);
    bake_tick(a, control_now());
    assert_null(a->bake);
    rig_end(&r);
}

static void a_first_release_has_no_watch(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop_bake), "promoted");
    assert_null(rig_app(&r, "shop@production")->bake);
    rig_end(&r);
}

static void without_a_way_back_it_stays_and_says_so_once(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_bake, 100000, 300);
    RIG_UNTIL(&r, rig_quiet(&r));
    app_drop_release(a, 1);
    for (int i = 0; i < 3; i++) {
        bring(a, 500, 250, FAST);
        bake_tick(a, control_now());
    }
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'bake-failed' AND "
                                   "text LIKE '%no way back: release 1 is not kept any more'"),
                     1);
    assert_int_equal(app_stable_release(a), 2);
    rig_end(&r);
}

static void the_release_before_is_kept_warm(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = begin(&r, shop_keep, 100000, 300);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_alive(&r, "shop-1-"), 1);
    unsigned started = rig_started(&r, "shop-1-");
    bring(a, 500, 250, FAST);
    bake_tick(a, control_now());
    RIG_UNTIL(&r, r.ends == 3 && rig_quiet(&r));
    assert_int_equal(app_stable_release(a), 1);
    assert_int_equal(rig_started(&r, "shop-1-"), started); /* the same instance has it again */
    rig_end(&r);
}

/* A row of another version, or a damaged one: no watch, and nothing worse. */
static void an_unreadable_record_is_no_watch(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "null",
                                      "{\"release\":2,\"previous\":1,\"alpha\":0}",
                                      "{\"release\":2,\"previous\":0,\"alpha\":0.001}",
                                      "{\"release\":2,\"previous\":1,\"alpha\":7}"};
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    struct app *a = rig_app(&r, "shop@production");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        json_t *record = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        bake_restore(a, record);
        assert_null(a->bake);
        json_decref(record);
    }
    static const char odd[] =
        "{\"release\":2,\"previous\":1,\"alpha\":0.001,\"errors\":{\"p_max\":3},\"marks\":[{"
        "\"p_max\":0.5,\"bucket\":100000},7],\"burn_errors\":\"x\"}";
    json_t *record = json_loads(odd, 0, NULL);
    bake_restore(a, record);
    assert_non_null(a->bake); /* it has nothing to compare with, but an end */
    json_decref(record);
    bake_end(a);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worse_than_the_day_before_goes_back),
        cmocka_unit_test(slower_than_the_day_before_goes_back),
        cmocka_unit_test(a_budget_that_burns_goes_back_without_any_history),
        cmocka_unit_test(a_release_that_is_as_good_stands),
        cmocka_unit_test(no_request_is_said_not_taken_for_good),
        cmocka_unit_test(a_killed_controller_goes_on_watching),
        cmocka_unit_test(what_people_begin_ends_the_watch),
        cmocka_unit_test(a_first_release_has_no_watch),
        cmocka_unit_test(without_a_way_back_it_stays_and_says_so_once),
        cmocka_unit_test(the_release_before_is_kept_warm),
        cmocka_unit_test(an_unreadable_record_is_no_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
