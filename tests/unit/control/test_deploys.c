/* Deploys from the request to the end, with a made-up engine: order of writes, failures, repeats.
 */
#include "rig.h"

#define SHOP                                                                                       \
    "{\"app\":\"shop\",\"run\":[\"./shop\",\"--port\",\"$PORT\"],\"routes\":[{\"path\":\"/\"}]"
static const char shop[] = SHOP "}";
static const char shop_build[] = SHOP ",\"build\":[\"make\"]}";
static const char shop_recreate[] = SHOP ",\"strategy\":\"recreate\"}";

static void a_first_deploy_runs_and_is_told_in_order(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop_build), "promoted");
    assert_int_equal(rig_alive(&r, "shop-1-1"), 1);
    const char *accepted = strstr(r.events, "deploy-accepted"),
               *packed = strstr(r.events, "packed"), *ready = strstr(r.events, "instance-ready"),
               *ended = strstr(r.events, "ended");
    assert_true(accepted < packed && packed < ready && ready < ended);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM rollout WHERE ended_ms > 0"), 1);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'ended'"), 1);
    assert_null(rig_run(&r, "shop-1-build.0")); /* its record went when it was not needed */
    assert_int_equal(rig_started(&r, "-build."), 1);
    rig_end(&r);
}

static void a_build_that_fails_ends_the_deploy_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "-build.", FATE_EXITS, 2);
    assert_string_equal(rig_deploy_whole(&r, shop_build), "rolled-back");
    const json_t *reason = json_object_get(r.ended, "reason");
    assert_string_equal(json_string_value(json_object_get(reason, "code")), "build-failed");
    assert_non_null(strstr(json_string_value(json_object_get(reason, "text")), "status 2"));
    assert_non_null(strstr(r.events, "build-failed ended"));
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(r.ends, 1);
    assert_int_equal(rig_started(&r, "shop-1-1"), 0);
    struct error err = ERROR_INIT;
    const struct app_name name = {"shop", "production"};
    json_t *history = control_history(r.c, &name, 10, &err);
    assert_int_equal(json_array_size(history), 1);
    const json_t *row = json_array_get(history, 0);
    assert_string_equal(json_string_value(json_object_get(row, "result")), "rolled-back");
    assert_true(json_equal(json_object_get(row, "reason"), reason));
    assert_true(json_is_null(json_object_get(row, "from")));
    assert_string_equal(json_string_value(json_object_get(row, "version")), "1");
    assert_true(json_is_string(json_object_get(row, "ended")));
    json_decref(history);
    rig_end(&r);
}

static void what_cannot_be_stored_is_not_accepted(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_break_store(&r);
    rig_send(&r, shop, NULL, NULL);
    RIG_UNTIL(&r, r.answers == 1);
    assert_int_equal(r.answer_error.class, ERROR_UNAVAILABLE);
    assert_int_equal(r.c->apps.len, 0); /* no ghost of it is listed */
    assert_int_equal(r.runs_len, 0);
    rig_mend_store(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_end(&r);
}

static void no_instance_starts_before_its_row_is_stored(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "-build.", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    RIG_UNTIL(&r, rig_alive(&r, "-build.") == 1);
    rig_break_store(&r);
    rig_end_run(&r, rig_find(&r, "-build."), 0, 0);
    RIG_UNTIL(&r, rig_app(&r, "shop@production")->phase == PIPE_RETRYING);
    rig_spin(&r, 1300);
    assert_int_equal(rig_started(&r, "shop-1-1"), 0);
    assert_int_equal(r.ends, 0);
    rig_mend_store(&r);
    RIG_UNTIL(&r, r.ends == 1);
    assert_string_equal(json_string_value(json_object_get(r.ended, "result")), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM rollout WHERE result = 'promoted'"), 1);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM instance"), 1);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'ended'"), 1);
    rig_end(&r);
}

/* The end of a rollout, its release's status and the old instance's row are written in one batch;
 * that batch fails, and the controller is killed after the next one. */
static void the_end_of_a_rollout_is_not_lost_on_a_full_disk(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop_recreate), "promoted");
    rig_rule(&r, "shop-2-1", FATE_DEAF, 0);
    rig_deploy(&r, shop_recreate);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-1.") == 1);
    rig_break_store(&r);
    struct rig_run *run = rig_find(&r, "shop-2-1.");
    run->listener = rig_listen(run->port);
    RIG_UNTIL(&r, rig_app(&r, "shop@production")->retrying);
    rig_spin(&r, 300);
    rig_mend_store(&r);
    RIG_UNTIL(&r, r.ends == 2 && rig_quiet(&r));
    rig_kill(&r);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM rollout WHERE ended_ms = 0"), 0);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'ended'"), 2);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM release WHERE status = 'promoted'"), 2);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM instance"), 1);
    rig_open(&r);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_alive(&r, "shop-1-"), 0);
    assert_int_equal(rig_alive(&r, "shop-2-"), 1);
    rig_end(&r);
}

static void what_crashes_on_a_full_disk_comes_back(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_break_store(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 1, 0);
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
    rig_mend_store(&r);
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_end(&r);
}

static void the_same_key_is_the_same_deploy_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_send(&r, shop, NULL, "key-1");
    rig_send(&r, shop, NULL, "key-1"); /* while the first is on its way into the store */
    rig_send(&r, shop_build, NULL, "key-1");
    assert_int_equal(r.answers, 1); /* the third, at once */
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT);
    RIG_UNTIL(&r, r.answers == 3);
    assert_int_equal(json_integer_value(json_object_get(r.answer, "release")), 1);
    RIG_UNTIL(&r, r.ends == 1);
    rig_send(&r, shop, NULL, "key-1");
    assert_int_equal(r.answer_error.class, ERROR_NONE);
    assert_int_equal(json_integer_value(json_object_get(r.answer, "release")), 1);
    rig_send(&r, shop_build, NULL, "key-1");
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT);
    assert_non_null(strstr(r.answer_error.text, "idempotency key"));
    assert_int_equal(rig_app(&r, "shop@production")->next_release, 2);
    rig_end(&r);
}

static void a_route_of_a_deploy_that_is_being_built_is_taken(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "-build.", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    rig_send(&r, "{\"app\":\"other\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/\"}]}", NULL, NULL);
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT);
    assert_non_null(strstr(r.answer_error.text, "shop@production"));
    rig_end(&r);
}

static void a_rollback_does_not_take_anothers_route(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    assert_string_equal(
        rig_deploy_whole(
            &r, "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/new\"}]}"),
        "promoted");
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-") == 0 && rig_quiet(&r));
    assert_string_equal(
        rig_deploy_whole(&r, "{\"app\":\"other\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/\"}]}"),
        "promoted");
    rig_order(&r, COMMAND_ROLLBACK, "shop");
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT);
    assert_non_null(strstr(r.answer_error.text, "other@production"));
    rig_end(&r);
}

static void a_later_deploy_supersedes_a_build(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "shop-1-build.", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    RIG_UNTIL(&r, rig_alive(&r, "-build.") == 1);
    rig_deploy(&r, shop);
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(json_string_value(json_object_get(r.ended, "result")), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM release WHERE status = 'failed'"), 1);
    RIG_UNTIL(&r, rig_run(&r, "shop-1-build.0") == NULL); /* killed and forgotten */
    rig_end(&r);
}

static void delete_and_deploy_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_order(&r, COMMAND_DELETE, "shop");
    assert_int_equal(r.answer_error.class, ERROR_NONE);
    rig_send(&r, shop, NULL, NULL);
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT); /* not yet */
    RIG_UNTIL(&r, r.c->apps.len == 0);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted"); /* the old folder is deleted yet */
    RIG_UNTIL(&r, r.c->cleanups.len == 0 && rig_quiet(&r));
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/apps/shop@production/releases/1", r.data);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM release"), 1);
    rig_end(&r);
}

static void want_of_memory_is_a_reason_of_its_own(void **state)
{
    (void)state;
    static const char *const limits[][2] = {
        {"{\"app\":\"shop\",\"run\":[\"./shop\"],\"resources\":{\"memory\":\"64Mi\"}}",
         "killed: out of memory (limit 64Mi)"},
        {"{\"app\":\"shop\",\"run\":[\"./shop\"]}",
         "killed: out of memory (of the machine: it has no limit of its own)"},
    };
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct rig r;
        rig_begin(&r);
        rig_rule(&r, "shop-1-1", FATE_OOM, 0);
        assert_string_equal(rig_deploy_whole(&r, limits[i][0]), "rolled-back");
        const json_t *reason = json_object_get(r.ended, "reason");
        assert_string_equal(json_string_value(json_object_get(reason, "code")), "out-of-memory");
        if (strstr(json_string_value(json_object_get(reason, "text")), limits[i][1]) == NULL)
            fail_msg("%s", json_string_value(json_object_get(reason, "text")));
        RIG_UNTIL(&r, rig_quiet(&r));
        rig_end(&r);
    }
}

static void a_crashing_first_release_ends_rolled_back(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "shop-1-1", FATE_EXITS, 3);
    assert_string_equal(rig_deploy_whole(&r, shop), "rolled-back");
    const json_t *reason = json_object_get(r.ended, "reason");
    assert_string_equal(json_string_value(json_object_get(reason, "code")), "crash-loop");
    assert_non_null(strstr(json_string_value(json_object_get(reason, "text")), "status 3"));
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM instance"), 0);
    rig_end(&r);
}

/* libuv closes handles in the reverse order: the hook's timer after its app's. ASan tells. */
static void leaving_and_deleting_with_a_hook_under_way(void **state)
{
    (void)state;
    struct rig r;
    struct app_name name = {"shop", NULL};
    const char *const argv[] = {"sleep", "9", NULL};
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "-run-", FATE_RUNS, 0);
    control_run(r.c, &name, argv, &rig_caller, rig_answer, &r);
    RIG_UNTIL(&r, rig_alive(&r, "-run-") == 1);
    assert_string_equal(rig_find(&r, "-run-")->argv, "sleep 9");
    rig_leave(&r);
    assert_int_equal(rig_alive(&r, "-run-"), 1); /* it goes on */
    rig_open(&r);
    rig_spin(&r, 50);
    rig_end_run(&r, rig_find(&r, "-run-"), 7, 0);
    RIG_UNTIL(&r, strstr(r.events, "run-ended") != NULL);
    assert_int_equal(rig_count(&r, "SELECT json_extract(json, '$.data.code') FROM event WHERE "
                                   "kind = 'run-ended'"),
                     7);
    control_run(r.c, &name, argv, &rig_caller, rig_answer, &r);
    RIG_UNTIL(&r, rig_alive(&r, "-run-") == 1);
    rig_order(&r, COMMAND_DELETE, "shop");
    RIG_UNTIL(&r, r.c->apps.len == 0);
    assert_int_equal(rig_alive(&r, "-run-"), 0);
    rig_end(&r);
}

static void long_names_do_not_meet(void **state)
{
    (void)state;
    struct rig r;
    char one[300], two[300], name[61];
    memset(name, 'a', 60);
    name[60] = '\0';
    rig_begin(&r);
    snprintf(one, sizeof one, "{\"app\":\"%s-x\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/x\"}]}",
             name);
    snprintf(two, sizeof two, "{\"app\":\"%s-y\",\"run\":[\"./y\"],\"routes\":[{\"path\":\"/y\"}]}",
             name);
    assert_string_equal(rig_deploy_whole(&r, one), "promoted");
    assert_string_equal(rig_deploy_whole(&r, two), "promoted");
    unsigned before = r.answers;
    rig_send(&r, one, "long-environment-name-of-sixty-characters-and-some-more-of-them", NULL);
    RIG_UNTIL(&r,
              r.answers > before && r.answer_error.class != ERROR_NONE); /* its route is taken */
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(DISTINCT id) FROM instance"), 2);
    rig_end(&r);
}

static void commands_while_leaving_are_refused(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    control_leave(r.c, false);
    rig_send(&r, shop, NULL, NULL);
    assert_int_equal(r.answer_error.class, ERROR_UNAVAILABLE);
    rig_end(&r);
}

static int64_t bytes_in(json_t *object, const char *key)
{
    const json_t *bytes = json_object_get(object, key);
    return json_is_integer(bytes) ? json_integer_value(bytes) : -1;
}

/* What a build adds counts: the size is that of the folder which is sealed. */
static void a_release_has_the_size_of_its_finished_folder(void **state)
{
    (void)state;
    struct rig r;
    struct error err = ERROR_INIT;
    char path[160];
    static char grown[1 << 20] = "what a build made";
    const struct app_name name = {"shop", NULL};
    rig_begin(&r);
    rig_rule(&r, "-build.", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    RIG_UNTIL(&r, rig_alive(&r, "-build.") == 1);
    json_t *releases = control_releases(r.c, &name, &err);
    assert_true(json_is_null(json_object_get(json_array_get(releases, 0), "bytes")));
    json_decref(releases);
    snprintf(path, sizeof path, "%s/apps/shop@production/releases/1/made", r.data);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, grown, sizeof grown), sizeof grown);
    assert_int_equal(fsync(fd), 0);
    close(fd);
    rig_end_run(&r, rig_find(&r, "-build."), 0, 0);
    RIG_UNTIL(&r, r.ends == 1 && rig_quiet(&r));
    rig_kill(&r);
    rig_open(&r); /* it is in the store */
    releases = control_releases(r.c, &name, &err);
    int64_t bytes = bytes_in(json_array_get(releases, 0), "bytes");
    assert_in_range(bytes, sizeof grown, 2 * sizeof grown);
    json_decref(releases);
    json_t *history = control_history(r.c, &name, 10, &err);
    assert_int_equal(bytes_in(json_array_get(history, 0), "bytes"), bytes);
    json_decref(history);
    RIG_UNTIL(&r, rig_app(&r, "shop@production")->disk.state_bytes >= 0);
    json_t *status = rig_status(&r, "shop"), *disk = json_object_get(status, "disk");
    assert_int_equal(bytes_in(disk, "releases"), bytes);
    assert_true(bytes_in(disk, "logs") >= 0 && bytes_in(disk, "state") >= 0);
    json_decref(status);
    rig_end(&r);
}

static void low_is_a_share_of_the_disk_within_bounds(void **state)
{
    (void)state;
    const uint64_t mib = 1 << 20, gib = 1 << 30;
    assert_true(disk_is_low(0, 100 * gib));
    assert_true(disk_is_low(5 * gib - 1, 100 * gib));
    assert_false(disk_is_low(5 * gib, 100 * gib));
    assert_true(disk_is_low(255 * mib, 2 * gib));
    assert_false(disk_is_low(256 * mib, 2 * gib));
    assert_true(disk_is_low(15 * mib, 64 * mib)); /* a small one: a quarter */
    assert_false(disk_is_low(16 * mib, 64 * mib));
    assert_false(disk_is_low(10 * gib, 8000 * gib)); /* a large one */
    assert_false(disk_is_low(0, 0));                 /* no figures */
}

int main(void)
{
    log_init("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_deploy_runs_and_is_told_in_order),
        cmocka_unit_test(a_build_that_fails_ends_the_deploy_once),
        cmocka_unit_test(what_cannot_be_stored_is_not_accepted),
        cmocka_unit_test(no_instance_starts_before_its_row_is_stored),
        cmocka_unit_test(the_end_of_a_rollout_is_not_lost_on_a_full_disk),
        cmocka_unit_test(what_crashes_on_a_full_disk_comes_back),
        cmocka_unit_test(the_same_key_is_the_same_deploy_once),
        cmocka_unit_test(a_route_of_a_deploy_that_is_being_built_is_taken),
        cmocka_unit_test(a_rollback_does_not_take_anothers_route),
        cmocka_unit_test(a_later_deploy_supersedes_a_build),
        cmocka_unit_test(delete_and_deploy_at_once),
        cmocka_unit_test(a_crashing_first_release_ends_rolled_back),
        cmocka_unit_test(want_of_memory_is_a_reason_of_its_own),
        cmocka_unit_test(leaving_and_deleting_with_a_hook_under_way),
        cmocka_unit_test(long_names_do_not_meet),
        cmocka_unit_test(commands_while_leaving_are_refused),
        cmocka_unit_test(a_release_has_the_size_of_its_finished_folder),
        cmocka_unit_test(low_is_a_share_of_the_disk_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
