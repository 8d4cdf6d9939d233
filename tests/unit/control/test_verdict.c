/* What the judge knows, for people: of a rollout under way, of the last one, and how it grew. */
#include "rig.h"

static const char shop[] = "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"},"
                           "{\"path\":\"/pay\"}],\"strategy\":{\"canary\":{\"steps\":[20,100]}}}";

struct scene {
    struct rig r;
    struct app *app;
};

/* Release 2 beside release 1, at 20 %, judged. */
static void scene_begin(struct scene *x)
{
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    struct store_batch *batch = store_batch_new(x->r.c->store);
    for (uint32_t n = 1; n <= 2; n++) {
        struct store_release row = {
            .number = n, .version = n == 1 ? "1.0" : "2.0", .spec_json = shop, .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){
            .id = n, .release = n, .wanted = {1}, .weight_ppm = n == 2 ? 200000 : 800000};
    }
    a->state.next_pool = 3;
    a->state.stable = 1;
    a->state.candidate = 2;
    a->start.id = 9;
    a->start.release = 2;
    a->start.from_release = 1;
    a->start.began_ms = 1;
    app_put_row(a, batch);
    store_submit(x->r.c->store, batch, NULL, NULL);
    store_flush(x->r.c->store);
    watch_begin(a);
}

static void scene_end(struct scene *x)
{
    memset(&x->app->start, 0, sizeof x->app->start);
    watch_end(x->app);
    x->app->state.stable = x->app->state.candidate = 0;
    memset(x->app->state.pools, 0, sizeof x->app->state.pools);
    rig_end(&x->r);
}

static void bring(struct scene *x, const char *route, uint32_t pool, uint64_t requests,
                  uint64_t errors)
{
    struct slot *s = app_slot(x->app, route, pool, ROLE_SHARE);
    struct slot_totals **t = &x->r.c->ended_requests[s->index];
    if (*t == NULL)
        *t = xcalloc(1, sizeof **t);
    (*t)->counters[REQUESTS] += requests;
    (*t)->counters[REQUESTS_5XX] += errors;
}

/* The next batch, and two seconds have gone by. */
static void tick(struct scene *x)
{
    x->app->judged_ms = x->app->judge_saved_ms = 0;
    watch_tick(x->app);
    store_flush(x->r.c->store);
}

static json_t *ask(struct scene *x, bool history)
{
    struct app_name name = {"shop", NULL};
    struct error err = ERROR_INIT;
    json_t *j = control_verdict(x->r.c, &name, history, &err);
    if (j == NULL)
        fail_msg("%s", err.text);
    return j;
}

static json_int_t whole(const json_t *j, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(j, object), key));
}

static void expect_answer(const json_t *j, const char *part)
{
    const char *answer = json_string_value(json_object_get(j, "answer"));
    if (answer == NULL || strstr(answer, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", answer, part);
}

static void nothing_was_judged_yet(void **state)
{
    (void)state;
    struct scene x;
    struct app_name name = {"shop", NULL}, other = {"other", NULL};
    struct error err = ERROR_INIT;
    scene_begin(&x);
    json_t *j = ask(&x, true);
    expect_answer(j, "Nothing to judge by");
    assert_int_equal(json_array_size(json_object_get(j, "history")), 0);
    json_decref(j);
    x.app->judging = false;
    assert_null(control_verdict(x.r.c, &name, false, &err));
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no rollout of shop has been judged yet"));
    assert_null(control_verdict(x.r.c, &other, false, &err));
    scene_end(&x);
}

static void of_the_rollout_under_way(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    for (int i = 0; i < 4; i++) {
        bring(&x, "/", 2, 200, 1);
        bring(&x, "/", 1, 800, 4);
        bring(&x, "/pay", 2, 50, 0);
        bring(&x, "/pay", 1, 200, 1);
        tick(&x);
    }
    json_t *j = ask(&x, true);
    assert_true(json_is_true(json_object_get(j, "running")));
    assert_int_equal(json_integer_value(json_object_get(j, "rollout")), 9);
    assert_string_equal(json_string_value(json_object_get(j, "version")), "2.0");
    assert_string_equal(json_string_value(json_object_get(j, "from_version")), "1.0");
    assert_float_equal(json_real_value(json_object_get(j, "weight")), 20, 1e-9);
    assert_string_equal(json_string_value(json_object_get(j, "judgement")), "continue");
    expect_answer(j, "No difference so far; would need about");
    const json_t *errors = json_array_get(json_object_get(j, "metrics"), 0);
    assert_string_equal(json_string_value(json_object_get(errors, "name")), "errors");
    assert_int_equal(whole(errors, "candidate", "events"), 4);
    assert_int_equal(whole(errors, "candidate", "requests"), 1000);
    assert_int_equal(whole(errors, "stable", "requests"), 4000);
    const json_t *routes = json_object_get(j, "routes");
    assert_int_equal(json_array_size(routes), 2);
    json_int_t sum = whole(json_array_get(routes, 0), "candidate", "requests") +
                     whole(json_array_get(routes, 1), "candidate", "requests");
    assert_int_equal(sum, 1000);
    const json_t *rows = json_object_get(j, "history");
    assert_int_equal(json_array_size(rows), 4);
    const json_t *last = json_array_get(rows, 3);
    assert_true(whole(last, "candidate", "requests") <= 1000);
    assert_true(whole(last, "candidate", "requests") >
                whole(json_array_get(rows, 0), "candidate", "requests"));
    json_decref(j);
    scene_end(&x);
}

static void a_worse_one_is_said_to_be(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    bring(&x, "/", 2, 200, 60);
    bring(&x, "/", 1, 800, 0);
    tick(&x);
    json_t *j = ask(&x, false);
    assert_string_equal(json_string_value(json_object_get(j, "judgement")), "errors");
    expect_answer(j, "Worse beyond doubt: its error rate");
    assert_null(json_object_get(j, "history"));
    json_decref(j);
    scene_end(&x);
}

/* The same errors, but of few clients: shown whole, and no ground to roll back. */
static void repeats_are_shown_and_not_compared(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    bring(&x, "/", 2, 200, 60);
    bring(&x, "/", 1, 800, 5);
    x.r.c->ended_requests[app_slot(x.app, "/", 2, ROLE_SHARE)->index]->counters[REQUESTS_REPEATS] =
        59;
    x.r.c->ended_requests[app_slot(x.app, "/", 1, ROLE_SHARE)->index]->counters[REQUESTS_REPEATS] =
        3;
    tick(&x);
    tick(&x); /* nothing came: what was seen is not seen again */
    json_t *j = ask(&x, false);
    assert_string_equal(json_string_value(json_object_get(j, "judgement")), "continue");
    const json_t *errors = json_array_get(json_object_get(j, "metrics"), 0);
    assert_int_equal(whole(errors, "candidate", "events"), 60);
    assert_int_equal(whole(errors, "candidate", "repeats"), 59);
    assert_int_equal(whole(errors, "stable", "events"), 5);
    assert_int_equal(whole(errors, "stable", "repeats"), 3);
    const json_t *route = json_array_get(json_object_get(j, "routes"), 0);
    assert_int_equal(whole(route, "candidate", "errors"), 60); /* people are told all of them */
    json_decref(j);
    bring(&x, "/", 2, 200, 60);
    bring(&x, "/", 1, 800, 5);
    tick(&x);
    j = ask(&x, false);
    assert_string_equal(json_string_value(json_object_get(j, "judgement")), "errors");
    json_decref(j);
    scene_end(&x);
}

static void of_the_last_one_when_none_runs(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    bring(&x, "/", 2, 200, 60);
    bring(&x, "/", 1, 800, 0);
    tick(&x);
    struct store_batch *batch = store_batch_new(x.r.c->store);
    cleanup_buf struct buf judge = BUF_INIT;
    judge_to_json(&x.app->judge, &judge);
    verdict_log_end(x.app, batch);
    struct store_rollout row = {.id = 9,
                                .app = x.app->key,
                                .kind = "deploy",
                                .version = "2",
                                .strategy = "canary",
                                .release = 2,
                                .from_release = 1,
                                .started_ms = 5,
                                .ended_ms = 6,
                                .result = "rolled-back",
                                .reason_code = "error-rate",
                                .reason_text = "30% against 0%",
                                .judge_json = buf_str(&judge)};
    batch_put_rollout(batch, &row);
    row.id = 10; /* a roll back by hand after it, which nobody judged */
    row.kind = "rollback";
    row.judge_json = "";
    batch_put_rollout(batch, &row);
    row.id = 11; /* and one that a later version wrote */
    row.kind = "deploy";
    row.judge_json = "{\"version\":99}";
    batch_put_rollout(batch, &row);
    store_submit(x.r.c->store, batch, NULL, NULL);
    store_flush(x.r.c->store);
    watch_end(x.app);
    json_t *j = ask(&x, true);
    assert_true(json_is_false(json_object_get(j, "running")));
    assert_int_equal(json_integer_value(json_object_get(j, "rollout")), 9);
    assert_string_equal(json_string_value(json_object_get(j, "result")), "rolled-back");
    expect_answer(j, "Worse beyond doubt");
    const json_t *rows = json_object_get(j, "history");
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 1), "judgement")),
                        "errors");
    json_decref(j);
    scene_end(&x);
}

static uint32_t rows_now(struct scene *x, uint32_t *last)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_verdicts rows;
    assert_int_equal(
        store_read_verdicts(x->r.c->store, x->app->key, x->app->start.id, &memory, &rows, NULL), 0);
    *last = rows.len > 0 ? rows.items[rows.len - 1].number : 0;
    return (uint32_t)rows.len;
}

static void a_long_rollout_keeps_bounded_rows(void **state)
{
    (void)state;
    struct scene x;
    uint32_t last = 0;
    scene_begin(&x);
    for (int i = 0; i < 2500; i++) {
        struct store_batch *batch = store_batch_new(x.r.c->store);
        verdict_log_add(x.app, batch);
        store_submit(x.r.c->store, batch, NULL, NULL);
        if (i % 100 == 99)
            store_flush(x.r.c->store);
        if (i % 500 == 499)
            assert_in_range(rows_now(&x, &last), 300, 600);
    }
    assert_int_equal(last % 8, 0); /* two thousand and more: each eighth */
    /* A controller that starts goes on where the rows end. */
    uint32_t before = x.app->verdicts;
    verdict_log_begin(x.app);
    verdict_log_resume(x.app);
    assert_in_range(x.app->verdicts, before - 8, before);
    /* The next rollout begins with none of them. */
    x.app->start.id = 10;
    verdict_log_begin(x.app);
    struct store_batch *batch = store_batch_new(x.r.c->store);
    verdict_log_add(x.app, batch);
    store_submit(x.r.c->store, batch, NULL, NULL);
    store_flush(x.r.c->store);
    assert_int_equal(rig_count(&x.r, "SELECT count(*) FROM verdict"), 1);
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_was_judged_yet),
        cmocka_unit_test(of_the_rollout_under_way),
        cmocka_unit_test(a_worse_one_is_said_to_be),
        cmocka_unit_test(repeats_are_shown_and_not_compared),
        cmocka_unit_test(of_the_last_one_when_none_runs),
        cmocka_unit_test(a_long_rollout_keeps_bounded_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
