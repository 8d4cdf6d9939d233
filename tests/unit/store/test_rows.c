#include "fixture.h"

#include <poll.h>

static void every_row_comes_back_as_it_was_put(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    assert_true(store_batch_empty(batch));
    put_app(batch, "shop");
    assert_false(store_batch_empty(batch));
    batch_put_release(batch, &(struct store_release){.app = "shop@production",
                                                     .number = 7,
                                                     .version = "v'1\"; DROP TABLE app; \xc3\xa4",
                                                     .spec_json = "{\"app\":\"shop\"}",
                                                     .digest = "aa",
                                                     .commit = "cc",
                                                     .author = "Ada <a@b>",
                                                     .branch = "main",
                                                     .dirty = true,
                                                     .created_ms = -3,
                                                     .created_by = "uid 1000",
                                                     .status = RELEASE_PROMOTED,
                                                     .dir = "/x/7",
                                                     .bytes = INT64_C(5) << 40});
    batch_put_rollout(batch, &(struct store_rollout){.id = store_next_rollout_id(store),
                                                     .app = "shop@production",
                                                     .kind = "deploy",
                                                     .version = "2.0",
                                                     .strategy = "canary",
                                                     .release = 7,
                                                     .started_ms = 10,
                                                     .actor = "ada",
                                                     .requests_stable = UINT64_MAX});
    batch_put_instance(batch, &(struct store_instance){.app = "shop@production",
                                                       .id = "shop-7-1",
                                                       .pool = 3,
                                                       .process = 1,
                                                       .run = 2,
                                                       .port = 65535,
                                                       .boot_id = "b",
                                                       .created_ms = 11,
                                                       .restarts = 4,
                                                       .flags = STORE_INSTANCE_ADOPTED_READY});
    batch_put_idempotency(batch, &(struct store_idempotency){.key = "k",
                                                             .app = "shop@production",
                                                             .request_digest = "d",
                                                             .response_json = "{}",
                                                             .at_ms = 12});
    batch_put_meta(batch, "mark", "left");
    batch_put_meta_u64(batch, "snapshot", UINT64_MAX);
    add_event(store, batch, "shop@production", "step 1");
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    store_close(store);

    store = open_in(&f); /* all of it survives */
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_apps apps;
    assert_int_equal(store_read_apps(store, &arena, &apps, NULL), 0);
    assert_int_equal(apps.len, 1);
    assert_string_equal(apps.items[0].app, "shop@production");
    assert_string_equal(apps.items[0].name, "shop");
    assert_int_equal(apps.items[0].next_release, 1);

    struct store_release r;
    assert_int_equal(store_read_release(store, "shop@production", 7, &arena, &r, NULL), 1);
    assert_string_equal(r.version, "v'1\"; DROP TABLE app; \xc3\xa4");
    assert_string_equal(r.commit, "cc");
    assert_string_equal(r.branch, "main");
    assert_true(r.dirty);
    assert_int_equal(r.created_ms, -3);
    assert_int_equal(r.status, RELEASE_PROMOTED);
    assert_string_equal(r.dir, "/x/7");
    assert_int_equal(r.bytes, INT64_C(5) << 40);
    assert_int_equal(store_read_release(store, "shop@production", 8, &arena, &r, NULL), 0);

    struct store_rollouts open;
    assert_int_equal(store_read_open_rollouts(store, &arena, &open, NULL), 0);
    assert_int_equal(open.len, 1);
    assert_string_equal(open.items[0].strategy, "canary");
    assert_int_equal(open.items[0].requests_stable, INT64_MAX);
    assert_string_equal(open.items[0].result, "");

    struct store_instances instances;
    assert_int_equal(store_read_instances(store, NULL, &arena, &instances, NULL), 0);
    assert_int_equal(instances.len, 1);
    const struct store_instance *i = &instances.items[0];
    assert_string_equal(i->id, "shop-7-1");
    assert_int_equal(i->pool * 1000 + i->process * 100 + i->run * 10 + i->restarts, 3124);
    assert_int_equal(i->port, 65535);
    assert_int_equal(i->flags, STORE_INSTANCE_ADOPTED_READY);

    struct store_idempotency key;
    assert_int_equal(store_read_idempotency(store, "k", "shop@production", &arena, &key, NULL), 1);
    assert_string_equal(key.response_json, "{}");
    assert_int_equal(store_read_idempotency(store, "k", "shop@staging", &arena, &key, NULL), 0);

    const char *mark;
    uint64_t snapshot;
    assert_int_equal(store_read_meta(store, "mark", &arena, &mark, NULL), 1);
    assert_string_equal(mark, "left");
    assert_int_equal(store_read_meta_u64(store, "snapshot", &snapshot, NULL), 1);
    assert_true(snapshot == UINT64_MAX);
    assert_int_equal(store_read_meta_u64(store, "none", &snapshot, NULL), 0);
    struct error err = ERROR_INIT;
    assert_int_equal(store_read_meta_u64(store, "mark", &snapshot, &err), -1);

    assert_int_equal(store_last_event_id(store), 1);
    assert_int_equal(store_next_event_id(store), 2);
    assert_int_equal(store_next_rollout_id(store), 2);
    store_close(store);
    folder_remove(&f);
}

static void putting_again_replaces_and_takes_nothing_along(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    batch_put_release(
        batch, &(struct store_release){.app = "shop@production", .number = 1, .version = "a"});
    batch_put_release(
        batch, &(struct store_release){.app = "shop@production", .number = 1, .version = "b"});
    put_app(batch, "shop"); /* an INSERT OR REPLACE here would delete the release */
    batch_put_app_state(batch, "shop@production", "{\"a\":1}");
    batch_put_app_extras(batch, "shop@production", "[]");
    batch_set_release_status(batch, "shop@production", 1, RELEASE_REJECTED);
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);

    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_releases releases;
    assert_int_equal(store_read_releases(store, "shop@production", &arena, &releases, NULL), 0);
    assert_int_equal(releases.len, 1);
    assert_string_equal(releases.items[0].version, "b");
    assert_int_equal(releases.items[0].status, RELEASE_REJECTED);
    struct store_apps apps;
    assert_int_equal(store_read_apps(store, &arena, &apps, NULL), 0);
    assert_string_equal(apps.items[0].state_json, "{\"a\":1}");
    assert_string_equal(apps.items[0].extras_json, "[]");
    store_close(store);
    folder_remove(&f);
}

static void a_deleted_app_takes_its_rows_but_not_its_events(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    put_app(batch, "blog");
    for (uint32_t n = 1; n <= 3; n++) {
        batch_put_release(batch, &(struct store_release){.app = "shop@production", .number = n});
        batch_put_release(batch, &(struct store_release){.app = "blog@production", .number = n});
    }
    batch_put_instance(batch, &(struct store_instance){.app = "shop@production", .id = "s1"});
    batch_put_instance(batch, &(struct store_instance){.app = "blog@production", .id = "b1"});
    batch_put_rollout(batch, &(struct store_rollout){.id = 9, .app = "shop@production"});
    add_event(store, batch, "shop@production", "hello");
    batch_delete_release(batch, "blog@production", 2);
    batch_delete_instance(batch, "b1");
    batch_delete_app(batch, "shop@production");
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);

    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_releases releases;
    struct store_instances instances;
    struct store_rollouts rollouts;
    struct store_events events;
    assert_int_equal(store_read_releases(store, NULL, &arena, &releases, NULL), 0);
    assert_int_equal(releases.len, 2);
    assert_int_equal(releases.items[1].number, 3);
    assert_int_equal(store_read_instances(store, NULL, &arena, &instances, NULL), 0);
    assert_int_equal(instances.len, 0);
    assert_int_equal(store_read_open_rollouts(store, &arena, &rollouts, NULL), 0);
    assert_int_equal(rollouts.len, 0);
    assert_int_equal(
        store_read_events_after(store, "shop@production", 0, 10, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 1);
    store_close(store);
    folder_remove(&f);
}

static void rollouts_end_and_make_history(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    for (uint64_t id = 1; id <= 5; id++)
        batch_put_rollout(batch, &(struct store_rollout){.id = store_next_rollout_id(store),
                                                         .app = "shop@production",
                                                         .kind = "deploy",
                                                         .version = "2.0",
                                                         .started_ms = (int64_t)id});
    for (uint64_t id = 1; id <= 4; id++)
        batch_end_rollout(batch, &(struct store_rollout){.id = id,
                                                         .ended_ms = 100,
                                                         .result = "rolled-back",
                                                         .reason_code = "error-rate",
                                                         .reason_text = "worse",
                                                         .requests_candidate = 40,
                                                         .failed = 2,
                                                         .judge_json = "{}"});
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_rollouts rollouts;
    assert_int_equal(store_read_rollouts(store, "shop@production", 3, &arena, &rollouts, NULL), 0);
    assert_int_equal(rollouts.len, 3);
    assert_int_equal(rollouts.items[0].id, 5);
    assert_int_equal(rollouts.items[0].ended_ms, 0);
    assert_string_equal(rollouts.items[1].reason_code, "error-rate");
    assert_int_equal(rollouts.items[1].failed, 2);
    assert_string_equal(rollouts.items[1].kind, "deploy"); /* the other columns are kept */
    struct store_rollout one;
    assert_int_equal(store_read_rollout(store, 2, &arena, &one, NULL), 1);
    assert_int_equal(one.requests_candidate, 40);
    assert_int_equal(store_read_rollout(store, 77, &arena, &one, NULL), 0);
    assert_int_equal(store_read_open_rollouts(store, &arena, &rollouts, NULL), 0);
    assert_int_equal(rollouts.len, 1);
    store_close(store);
    folder_remove(&f);
}

static void events_are_read_in_pages(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    for (int i = 0; i < 30; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i + 1);
        add_event(store, batch, i % 3 == 0 ? "a@p" : "b@p", text);
    }
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_events events;
    assert_int_equal(store_read_events_after(store, NULL, 10, 5, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 5);
    assert_int_equal(events.items[0].id, 11);
    assert_string_equal(events.items[4].text, "15");
    assert_int_equal(store_read_events_after(store, "a@p", 10, 100, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 6);
    assert_int_equal(events.items[0].id, 13);
    assert_int_equal(store_read_events_after(store, NULL, UINT64_MAX, 5, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 0);
    assert_int_equal(store_read_last_events(store, "b@p", 3, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 3);
    assert_int_equal(events.items[0].id, 27);
    assert_int_equal(events.items[2].id, 30);
    assert_int_equal(store_read_last_events(store, NULL, SIZE_MAX, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 30);
    store_close(store);
    folder_remove(&f);
}

static void the_last_events_and_rollouts_of_each_app_are_kept(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = must_open(&(struct store_options){
        .path = f.db, .events_per_app = 10000, .rollouts_per_app = 3, .idempotency_kept = 4});
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    for (uint64_t i = 1; i <= 8; i++) {
        batch_put_rollout(batch, &(struct store_rollout){.id = store_next_rollout_id(store),
                                                         .app = "shop@production",
                                                         .ended_ms = i == 1 ? 0 : 5});
        char key[8];
        snprintf(key, sizeof key, "k%d", (int)i);
        batch_put_idempotency(batch, &(struct store_idempotency){.key = key, .app = "x"});
    }
    add_event(store, batch, "", "the server's own");
    store_submit(store, batch, NULL, NULL);
    for (int i = 0; i < 13000; i += 100) {
        batch = store_batch_new(store);
        for (int j = 0; j < 100; j++)
            add_event(store, batch, "shop@production", "x");
        store_submit(store, batch, NULL, NULL);
    }
    store_flush(store);
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_events events;
    assert_int_equal(
        store_read_events_after(store, "shop@production", 0, 50000, &arena, &events, NULL), 0);
    assert_in_range(events.len, 10000, 10000 + 10000 / 16 + 1); /* kept bounded as they come */
    store_maintain(store);
    store_close(store); /* the writer ends its work first */

    store = open_in(&f);
    assert_int_equal(
        store_read_events_after(store, "shop@production", 0, 50000, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 10000);
    assert_int_equal(events.items[9999].id, 13001);
    assert_int_equal(store_read_events_after(store, "", 0, 10, &arena, &events, NULL), 0);
    assert_int_equal(events.len, 1);
    struct store_rollouts rollouts;
    assert_int_equal(store_read_rollouts(store, "shop@production", 99, &arena, &rollouts, NULL), 0);
    assert_int_equal(rollouts.len, 4);
    assert_int_equal(rollouts.items[3].id, 1); /* open: never pruned */
    assert_int_equal(rollouts.items[2].id, 6);
    struct store_idempotency key;
    assert_int_equal(store_read_idempotency(store, "k4", "x", &arena, &key, NULL), 0);
    assert_int_equal(store_read_idempotency(store, "k5", "x", &arena, &key, NULL), 1);
    assert_int_equal(store_next_event_id(store), 13002);
    store_close(store);
    folder_remove(&f);
}

struct order {
    int next;
    bool right;
};
struct numbered {
    struct order *order;
    int number;
};

static void note_order(void *context, enum store_outcome outcome, const struct error *err)
{
    const struct numbered *n = context;
    (void)err;
    assert_int_equal(outcome, n->number % 7 == 3 ? STORE_FAILED : STORE_OK);
    n->order->right = n->order->right && n->order->next == n->number;
    n->order->next++;
}

static void batches_complete_in_order_and_one_that_fails_takes_no_other_along(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct order order = {0, true};
    struct numbered numbered[300];
    for (int i = 0; i < 300; i++) {
        numbered[i] = (struct numbered){&order, i};
        char name[16], key[64];
        snprintf(name, sizeof name, "a%d", i);
        struct store_batch *batch = store_batch_new(store);
        put_app(batch, name);
        if (i % 7 == 3) /* of an app that is not there */
            batch_put_release(batch,
                              &(struct store_release){.app = "none@production", .number = 1});
        batch_put_release(
            batch, &(struct store_release){
                       .app = store_app_key(name, "production", key, sizeof key), .number = 1});
        store_submit(store, batch, note_order, &numbered[i]);
    }
    assert_int_equal(store_pending(store), 300);
    while (store_pending(store) > 0) {
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 30000), 1);
        store_dispatch(store);
    }
    assert_true(order.right);
    assert_int_equal(order.next, 300);
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_apps apps;
    struct store_releases releases;
    assert_int_equal(store_read_apps(store, &arena, &apps, NULL), 0);
    assert_int_equal(apps.len, 300 - 43); /* a failed batch leaves nothing, not its first half */
    assert_int_equal(store_read_releases(store, NULL, &arena, &releases, NULL), 0);
    assert_int_equal(releases.len, apps.len);
    store_close(store);
    folder_remove(&f);
}

static void a_change_of_what_is_not_there_says_so(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct error err = ERROR_INIT;
    struct store_batch *batch = store_batch_new(store);
    batch_put_app_state(batch, "none@production", "{}");
    assert_int_equal(submit_wait(store, batch, &err), STORE_FAILED);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    batch = store_batch_new(store);
    batch_end_rollout(batch, &(struct store_rollout){.id = 4, .ended_ms = 1});
    assert_int_equal(submit_wait(store, batch, &err), STORE_FAILED);
    batch = store_batch_new(store); /* a delete of what is gone is what was wanted */
    batch_delete_instance(batch, "none");
    batch_delete_release(batch, "none", 1);
    batch_delete_app(batch, "none");
    assert_int_equal(submit_wait(store, batch, &err), STORE_OK);
    assert_int_equal(submit_wait(store, store_batch_new(store), &err), STORE_OK); /* empty */
    store_batch_free(store_batch_new(store));
    store_close(store);
    folder_remove(&f);
}

struct again {
    struct store *store;
    int left;
};
static void submit_again(void *context, enum store_outcome outcome, const struct error *err)
{
    struct again *a = context;
    (void)err;
    assert_int_equal(outcome, STORE_OK);
    if (a->left-- == 0)
        return;
    struct store_batch *batch = store_batch_new(a->store);
    batch_put_meta_u64(batch, "left", (uint64_t)a->left);
    store_submit(a->store, batch, submit_again, a);
}

static void a_completion_may_submit_and_flush_waits_for_that_too(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct again a = {open_in(&f), 20};
    store_submit(a.store, store_batch_new(a.store), submit_again, &a);
    store_close(a.store);
    assert_int_equal(a.left, -1);
    folder_remove(&f);
}

static void traffic_of_a_day_is_kept(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    put_app(batch, "other");
    for (int64_t minute = 1000; minute < 1000 + STORE_TRAFFIC_MINUTES + 5; minute++)
        for (uint32_t release = 1; release <= 2; release++)
            batch_put_traffic(batch, &(struct store_traffic){.app = "shop@production",
                                                             .minute = minute,
                                                             .release = release,
                                                             .candidate = release == 2,
                                                             .requests = 100 * release,
                                                             .errors = release,
                                                             .latency = "3:90 17:10"});
    batch_put_traffic(
        batch, &(struct store_traffic){.app = "other@production", .minute = 3, .latency = ""});
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);

    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_traffics all, late;
    assert_int_equal(store_read_traffic(store, "shop@production", 0, &arena, &all, NULL), 0);
    assert_int_equal(all.len, 2 * STORE_TRAFFIC_MINUTES);
    assert_int_equal(all.items[0].minute, 1005);
    assert_int_equal(all.items[1].release, 2);
    assert_true(all.items[1].candidate);
    assert_int_equal(all.items[1].requests, 200);
    assert_string_equal(all.items[1].latency, "3:90 17:10");
    assert_int_equal(store_read_traffic(store, "shop@production", 2440, &arena, &late, NULL), 0);
    assert_int_equal(late.len, 10);
    assert_int_equal(store_read_traffic(store, "other@production", 0, &arena, &all, NULL), 0);
    assert_int_equal(all.len, 1); /* another app's minutes are its own */

    batch = store_batch_new(store);
    batch_delete_app(batch, "shop@production");
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    assert_int_equal(store_read_traffic(store, "shop@production", 0, &arena, &all, NULL), 0);
    assert_int_equal(all.len, 0);
    store_close(store);
    folder_remove(&f);
}

static void verdicts_of_the_last_rollout(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    struct store *store = open_in(&f);
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "shop");
    for (uint64_t rollout = 1; rollout <= 2; rollout++)
        for (uint32_t number = 0; number < 10; number++)
            batch_put_verdict(batch, &(struct store_verdict){.app = "shop@production",
                                                             .rollout = rollout,
                                                             .number = number,
                                                             .at_ms = 1000 + number,
                                                             .weight_ppm = 50000,
                                                             .candidate_requests = 7,
                                                             .candidate_errors = 1,
                                                             .stable_requests = 90,
                                                             .stable_errors = 2,
                                                             .worse_milli = -350,
                                                             .fine_milli = 2100,
                                                             .judgement = "continue"});
    batch_thin_verdicts(batch, "shop@production", 2, 4);
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);

    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_verdicts rows;
    assert_int_equal(store_read_verdicts(store, "shop@production", 2, &arena, &rows, NULL), 0);
    assert_int_equal(rows.len, 3);
    assert_int_equal(rows.items[2].number, 8);
    assert_int_equal(rows.items[2].at_ms, 1008);
    assert_int_equal(rows.items[2].worse_milli, -350);
    assert_int_equal(rows.items[2].fine_milli, 2100);
    assert_string_equal(rows.items[2].judgement, "continue");
    assert_int_equal(store_read_verdicts(store, "shop@production", 1, &arena, &rows, NULL), 0);
    assert_int_equal(rows.len, 10);

    batch = store_batch_new(store);
    batch_forget_verdicts(batch, "shop@production", 2);
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    assert_int_equal(store_read_verdicts(store, "shop@production", 1, &arena, &rows, NULL), 0);
    assert_int_equal(rows.len, 0);

    batch = store_batch_new(store);
    batch_delete_app(batch, "shop@production");
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    assert_int_equal(store_read_verdicts(store, "shop@production", 2, &arena, &rows, NULL), 0);
    assert_int_equal(rows.len, 0);
    store_close(store);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_of_the_last_rollout),
        cmocka_unit_test(every_row_comes_back_as_it_was_put),
        cmocka_unit_test(putting_again_replaces_and_takes_nothing_along),
        cmocka_unit_test(a_deleted_app_takes_its_rows_but_not_its_events),
        cmocka_unit_test(rollouts_end_and_make_history),
        cmocka_unit_test(events_are_read_in_pages),
        cmocka_unit_test(the_last_events_and_rollouts_of_each_app_are_kept),
        cmocka_unit_test(batches_complete_in_order_and_one_that_fails_takes_no_other_along),
        cmocka_unit_test(a_change_of_what_is_not_there_says_so),
        cmocka_unit_test(traffic_of_a_day_is_kept),
        cmocka_unit_test(a_completion_may_submit_and_flush_waits_for_that_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
