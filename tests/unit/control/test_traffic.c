/* The last day's traffic: written minute by minute, read as a baseline and for people. */
#include "rig.h"

static const char shop[] = "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}],"
                           "\"strategy\":{\"canary\":{\"steps\":[33,100]}}}";

enum { MINUTE = 60000 };

struct scene {
    struct rig r;
    struct app *app;
    int64_t now; /* of the log's clock: some minutes ago, so that history reaches it */
};

static void scene_begin(struct scene *x)
{
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    struct store_batch *batch = store_batch_new(x->r.c->store);
    for (uint32_t n = 1; n <= 2; n++) {
        struct store_release row = {
            .number = n, .version = "v", .spec_json = shop, .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){.id = n, .release = n, .wanted = {1}};
    }
    a->state.next_pool = 3;
    a->state.stable = 1;
    a->state.candidate = 2;
    app_put_row(a, batch);
    store_submit(x->r.c->store, batch, NULL, NULL);
    x->now = control_now() / MINUTE * MINUTE - 10 * MINUTE;
    x->r.c->traffic_minute = 0;
    traffic_log_tick(x->r.c, x->now);
}

static void scene_end(struct scene *x)
{
    x->app->state.stable = x->app->state.candidate = 0;
    memset(x->app->state.pools, 0, sizeof x->app->state.pools);
    rig_end(&x->r);
}

/* Requests as a gateway that ended has left them behind. */
static void bring(struct scene *x, uint32_t pool, bool pinned, uint64_t requests, uint64_t errors,
                  uint32_t bucket)
{
    struct slot *s = app_slot(x->app, "/", pool, pinned ? ROLE_PINNED : ROLE_SHARE);
    struct slot_totals **t = &x->r.c->ended_requests[s->index];
    if (*t == NULL)
        *t = xcalloc(1, sizeof **t);
    (*t)->counters[REQUESTS] += requests;
    (*t)->counters[REQUESTS_5XX] += errors;
    (*t)->buckets[bucket] += requests;
}

static void next_minute(struct scene *x)
{
    x->now += MINUTE;
    traffic_log_tick(x->r.c, x->now);
    store_flush(x->r.c->store);
}

static struct traffic_sum history(struct scene *x, uint32_t without)
{
    struct traffic_sum sum;
    assert_int_equal(traffic_history(x->app, without, &sum, NULL), 0);
    return sum;
}

static void each_minute_is_told_apart(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    bring(&x, 1, false, 100, 2, 20);
    next_minute(&x);
    next_minute(&x); /* nothing came: no row */
    bring(&x, 1, false, 50, 50, 30);
    bring(&x, 2, false, 7, 1, 40);
    bring(&x, 2, true, 1000, 1000, 50); /* a preview is no user */
    traffic_log_tick(x.r.c, x.now + MINUTE / 2);
    next_minute(&x);
    assert_int_equal(rig_count(&x.r, "SELECT count(*) FROM traffic"), 3);

    json_t *all = control_traffic(x.r.c, &(struct app_name){"shop", NULL}, 60, NULL);
    json_t *minutes = json_object_get(all, "minutes");
    assert_int_equal(json_array_size(minutes), 3);
    json_t *first = json_array_get(minutes, 0), *last = json_array_get(minutes, 2);
    assert_int_equal(json_integer_value(json_object_get(first, "at")), x.now - 3 * MINUTE);
    assert_int_equal(json_integer_value(json_object_get(first, "requests")), 100);
    assert_int_equal(json_integer_value(json_object_get(first, "errors")), 2);
    assert_true(json_is_false(json_object_get(first, "candidate")));
    double p50 = json_real_value(json_object_get(first, "p50_ms"));
    assert_true(p50 * 1000 >= (double)metrics_bucket_low(20));
    assert_true(p50 * 1000 <= (double)metrics_bucket_high(20));
    assert_int_equal(json_integer_value(json_object_get(last, "requests")), 7);
    assert_true(json_is_true(json_object_get(last, "candidate")));
    json_decref(all);

    all = control_traffic(x.r.c, &(struct app_name){"shop", NULL}, 1, NULL);
    assert_int_equal(json_array_size(json_object_get(all, "minutes")), 0); /* all longer ago */
    json_decref(all);
    struct error err = ERROR_INIT;
    assert_null(control_traffic(x.r.c, &(struct app_name){"shup", NULL}, 1, &err));
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    scene_end(&x);
}

static void a_baseline_is_what_was_stable_and_another_release(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    bring(&x, 1, false, 100, 2, 20);
    bring(&x, 2, false, 900, 900, 60);
    next_minute(&x);
    x.app->state.stable = 2; /* promoted: it is what is to be compared now */
    x.app->state.candidate = 0;
    bring(&x, 2, false, 300, 30, 60);
    next_minute(&x);
    struct traffic_sum sum = history(&x, 2);
    assert_int_equal(sum.requests, 100);
    assert_int_equal(sum.errors, 2);
    assert_int_equal(sum.buckets[20], 100);
    assert_int_equal(sum.buckets[60], 0);
    sum = history(&x, 99);
    assert_int_equal(sum.requests, 400);
    assert_int_equal(sum.errors, 32);
    scene_end(&x);
}

static void damaged_rows_are_left_out(void **state)
{
    (void)state;
    static const char *const bad[] = {"x",       "20",     "20:",  ":5",           "178:1",
                                      "20:1,21", "20:1;2", "-1:5", "99999999999:1"};
    struct scene x;
    scene_begin(&x);
    bring(&x, 1, false, 100, 2, 20);
    next_minute(&x);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct store_batch *batch = store_batch_new(x.r.c->store);
        batch_put_traffic(batch, &(struct store_traffic){.app = "shop@production",
                                                         .minute = x.now / MINUTE,
                                                         .release = 1,
                                                         .requests = 5,
                                                         .latency = bad[i]});
        store_submit(x.r.c->store, batch, NULL, NULL);
        store_flush(x.r.c->store);
        struct traffic_sum sum = history(&x, 99);
        assert_int_equal(sum.requests, 100);
        assert_int_equal(sum.buckets[20], 100);
        json_t *all = control_traffic(x.r.c, &(struct app_name){"shop", NULL}, 60, NULL);
        json_t *row = json_array_get(json_object_get(all, "minutes"), 1);
        assert_true(json_is_null(json_object_get(row, "p99_ms")));
        json_decref(all);
    }
    scene_end(&x);
}

/* A route that goes takes its totals along: what comes after is counted all the same. */
static void totals_that_fall_begin_anew(void **state)
{
    (void)state;
    struct traffic_sum seen = {.requests = 500, .errors = 7}, since;
    seen.buckets[3] = 500;
    struct traffic_sum now = {.requests = 100, .errors = 1};
    now.buckets[3] = 100;
    traffic_since(&now, &seen, &since);
    assert_int_equal(since.requests, 0);
    assert_int_equal(since.buckets[3], 0);
    now.requests = 130;
    now.buckets[3] = 130;
    traffic_since(&now, &seen, &since);
    assert_int_equal(since.requests, 30);
    assert_int_equal(since.errors, 0);
    assert_int_equal(since.buckets[3], 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_minute_is_told_apart),
        cmocka_unit_test(a_baseline_is_what_was_stable_and_another_release),
        cmocka_unit_test(damaged_rows_are_left_out),
        cmocka_unit_test(totals_that_fall_begin_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
