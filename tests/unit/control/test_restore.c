/* What a starting controller makes of what a killed one left: each test kills at another point. */
#include "rig.h"

#define SHOP "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]"
static const char shop[] = SHOP "}";
static const char shop_two[] = SHOP ",\"replicas\":2}";
static const char shop_build[] = SHOP ",\"build\":[\"first\",\"second\"]}";
static const char shop_release[] = SHOP ",\"release\":[\"migrate one\",\"migrate two\"]}";
static const char shop_canary[] =
    SHOP ",\"strategy\":{\"canary\":{\"steps\":[50,100],\"hold\":\"10m\"}}}";

static const char shop_metric[] =
    SHOP ",\"strategy\":{\"canary\":{\"steps\":[50,100],\"hold\":\"10m\"}},"
         "\"metrics\":[{\"name\":\"lag\",\"command\":\"./lag\",\"interval\":\"1s\",\"max\":5}]}";

static const char *result(struct rig *r)
{
    return json_string_value(json_object_get(r->ended, "result"));
}

static void runs_are_adopted(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop_two), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_open(&r);
    assert_true(instance_ready(rig_app(&r, "shop@production")->instances.items[0])); /* at once */
    rig_spin(&r, 200);
    assert_int_equal(rig_alive(&r, "shop-1-"), 2);
    assert_int_equal(rig_started(&r, "shop-1-"), 2);
    rig_end(&r);
}

static void a_row_without_its_run_is_started(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 0, 9);
    rig_find(&r, "shop-1-1.")->forgotten = true;
    rig_open(&r);
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
    rig_end(&r);
}

/* The log of a measurement goes with its run, whichever controller asked for it. */
static void a_measurement_leaves_no_log(void **state)
{
    (void)state;
    struct rig r;
    char path[200];
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_deploy(&r, shop_metric);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-metric-") == 1);
    struct rig_run *run = rig_find(&r, "shop-2-metric-");
    snprintf(path, sizeof path, "%s/apps/shop@production/logs/%.*s.log", r.data,
             (int)strlen(run->id) - 2, run->id);
    rig_kill(&r);
    int fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    rig_open(&r);
    RIG_UNTIL(&r, access(path, F_OK) < 0);
    assert_true(run->forgotten);
    rig_end(&r);
}

/* Told to stop, over, forgotten, its row not deleted yet: it must not come back. */
static void a_leaving_row_without_its_run_is_not_started(void **state)
{
    (void)state;
    struct rig r;
    char sql[160];
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 0, 15);
    rig_find(&r, "shop-1-1.")->forgotten = true;
    snprintf(sql, sizeof sql, "UPDATE instance SET flags = %d", INSTANCE_FLAG_LEAVING);
    rig_sql(&r, sql);
    rig_open(&r);
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-") == 1 && rig_quiet(&r));
    assert_int_equal(rig_started(&r, "shop-1-1.1"), 1);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM instance"), 1);
    rig_end(&r);
}

/* Its TERM was sent, it is in its grace: ready when it was last stored, yet never routed again. */
static void a_leaving_run_is_not_routed_again(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-1-1.", FATE_STAYS, 0);
    rig_deploy(&r, shop);
    RIG_UNTIL(&r, rig_find(&r, "shop-1-1.")->stopped > 0);
    rig_kill(&r);
    rig_open(&r);
    struct app *a = rig_app(&r, "shop@production");
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i]->release == 1)
            assert_false(instance_ready(a->instances.items[i]));
    rig_spin(&r, 100);
    r.rules_len = 0;
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 0, 15);
    RIG_UNTIL(&r, rig_app(&r, "shop@production")->instances.len == 1);
    assert_null(strstr(r.events, "instance-crashed"));
    rig_end(&r);
}

static void a_run_without_a_row_is_stopped(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(
        rig_deploy_whole(
            &r, "{\"app\":\"press-release-bot\",\"run\":[\"./x\"],\"routes\":[{\"path\":\"/\"}]}"),
        "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_sql(&r, "DELETE FROM instance");
    rig_open(&r);
    RIG_UNTIL(&r, rig_run(&r, "press-release-bot-1-1.1") == NULL); /* killed, forgotten */
    RIG_UNTIL(&r, rig_alive(&r, "press-release-bot-1-") == 1);
    rig_end(&r);
}

static void what_crashed_backs_off_as_before(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    for (unsigned n = 1; n <= 2; n++) {
        RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
        rig_end_run(&r, rig_find(&r, "shop-1-1."), 1, 0);
        RIG_UNTIL(&r, rig_app(&r, "shop@production")->instances.items[0]->fast_crashes == n);
    }
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    rig_open(&r);
    const struct instance *in = rig_app(&r, "shop@production")->instances.items[0];
    assert_int_equal(in->fast_crashes, 2);
    assert_int_equal(in->restarts, 1);
    rig_spin(&r, 200);
    assert_int_equal(instance_state(in), INSTANCE_BACKING_OFF);
    rig_end(&r);
}

static void a_build_goes_on_over_a_kill_and_a_leave(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, "-build.1", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    RIG_UNTIL(&r, rig_alive(&r, "-build.1") == 1);
    rig_leave(&r);
    assert_int_equal(rig_alive(&r, "-build.1"), 1);
    rig_open(&r);
    rig_spin(&r, 50);
    rig_kill(&r);
    rig_end_run(&r, rig_find(&r, "-build.1"), 0, 0); /* its record is there when the next comes */
    rig_open(&r);
    RIG_UNTIL(&r, r.ends == 1);
    assert_string_equal(result(&r), "promoted");
    assert_int_equal(rig_started(&r, "-build.0"), 1);
    assert_int_equal(rig_started(&r, "-build.1"), 1);
    assert_null(rig_run(&r, "shop-1-build.1"));
    rig_end(&r);
}

static void a_migration_runs_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    rig_rule(&r, ".1.", FATE_RUNS, 0);
    rig_rule(&r, "-release-1.0.1", FATE_RUNS, 0);
    rig_deploy(&r, shop_release);
    RIG_UNTIL(&r, rig_alive(&r, "-release-1.0.1") == 1);
    rig_kill(&r);
    rig_open(&r);
    rig_spin(&r, 300);
    rig_end_run(&r, rig_find(&r, "-release-1.0.1"), 0, 0);
    RIG_UNTIL(&r, r.ends == 1);
    assert_string_equal(result(&r), "promoted");
    assert_int_equal(rig_started(&r, "-release-1.0.0"), 1);
    assert_int_equal(rig_started(&r, "-release-1.0.1"), 1);
    RIG_UNTIL(&r, rig_run(&r, "shop-1-release-1.0.0") == NULL); /* forgotten in the end */
    rig_end(&r);
}

static void a_folder_that_was_packed_and_not_stored_is_packed_again(void **state)
{
    (void)state;
    struct rig r;
    char path[160];
    struct stat st;
    rig_begin(&r);
    rig_rule(&r, "-build.0", FATE_RUNS, 0);
    rig_deploy(&r, shop_build);
    RIG_UNTIL(&r,
              rig_alive(&r, "-build.0") == 1 && rig_app(&r, "shop@production")->phase == PIPE_IDLE);
    store_flush(r.c->store);
    rig_kill(&r);
    rig_sql(&r, "UPDATE app SET extras_json = json_set(extras_json, '$.pending.stage', 0)");
    snprintf(path, sizeof path, "%s/apps/shop@production/releases/1/old", r.data);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0644)), 0);
    r.rules_len = 0;
    rig_end_run(&r, rig_find(&r, "-build.0"), 0, 0);
    rig_open(&r);
    RIG_UNTIL(&r, r.ends == 1);
    assert_string_equal(result(&r), "promoted");
    assert_int_equal(stat(path, &st), -1);
    rig_end(&r);
}

static void a_rollout_goes_on(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-2-1", FATE_DEAF, 0);
    rig_deploy(&r, shop_two);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-1.") == 1);
    rig_kill(&r);
    r.rules_len = 0;
    struct rig_run *run = rig_find(&r, "shop-2-1.");
    run->listener = rig_listen(run->port);
    rig_open(&r);
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(result(&r), "promoted");
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-") == 0 && rig_alive(&r, "shop-2-") == 2 && rig_quiet(&r));
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM rollout WHERE ended_ms = 0"), 0);
    rig_end(&r);
}

/* Another boot: nothing runs, what was under way ends rolled back, stable starts. */
static void a_reboot_rolls_back_what_was_under_way(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_deploy(&r, shop_canary);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-") == 1);
    rig_kill(&r);
    rig_sql(&r, "UPDATE instance SET boot_id = 'another'");
    for (size_t i = 0; i < r.runs_len; i++) {
        rig_end_run(&r, &r.runs[i], 0, 9);
        r.runs[i].forgotten = true;
    }
    rig_open(&r);
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(result(&r), "rolled-back");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(r.ended, "reason"), "code")),
        "host-restarted");
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-") == 1 && rig_alive(&r, "shop-2-") == 0);
    rig_end(&r);
}

static void count_requests(struct rig *r, uint32_t pool, uint64_t requests, uint64_t errors)
{
    struct app *a = rig_app(r, "shop@production");
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (s->pool != pool || s->pool == 0)
            continue;
        if (r->c->ended_requests[s->index] == NULL)
            r->c->ended_requests[s->index] = xcalloc(1, sizeof **r->c->ended_requests);
        r->c->ended_requests[s->index]->counters[REQUESTS] += requests;
        r->c->ended_requests[s->index]->counters[REQUESTS_5XX] += errors;
        return;
    }
    fail_msg("pool %u has no slot", pool);
}

static void in_canary(struct rig *r)
{
    assert_string_equal(rig_deploy_whole(r, shop), "promoted");
    rig_deploy(r, shop_canary);
    struct app *a = rig_app(r, "shop@production");
    RIG_UNTIL(r, a->state.candidate != 0 &&
                     app_pool(&a->state, a->state.candidate)->weight_ppm == 500000 &&
                     a->phase == PIPE_IDLE && !a->marked);
    rig_spin(r, 150);
}

static void the_judge_remembers(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    in_canary(&r);
    struct app *a = rig_app(&r, "shop@production");
    count_requests(&r, a->state.candidate, 40, 0);
    count_requests(&r, a->state.stable, 60, 1);
    RIG_UNTIL(&r, a->judge.errors.stable_requests == 60 && !a->judge_fed);
    store_flush(r.c->store);
    rig_kill(&r);
    rig_open(&r);
    a = rig_app(&r, "shop@production");
    assert_int_equal(a->judge.errors.candidate_requests, 40);
    assert_int_equal(a->judge.errors.stable_events, 1);
    assert_int_equal(rollout_counts(a).candidate, 40);
    rig_spin(&r, 150);
    for (int i = 0; i < 20 && r.ends < 2; i++) {
        count_requests(&r, a->state.candidate, 20, 20);
        count_requests(&r, a->state.stable, 20, 0);
        rig_spin(&r, 120);
    }
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(result(&r), "rolled-back");
    rig_end(&r);
}

/* A batch is gathered for seconds where there is little traffic: no kill may cost what is in it. */
static void a_batch_goes_on(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    in_canary(&r);
    struct app *a = rig_app(&r, "shop@production");
    RIG_UNTIL(&r, a->judged_weight_ppm == 500000);
    count_requests(&r, a->state.candidate, 3, 2);
    count_requests(&r, a->state.stable, 40, 1);
    RIG_UNTIL(&r, a->judge.errors.stable_requests == 40 && !a->judge_fed);
    store_flush(r.c->store);
    struct judge_gathering before = {.since_ms = 0}, after = before;
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->pool == a->state.candidate && a->slots.items[i]->role == ROLE_SHARE)
            before = a->slots.items[i]->gathering;
    assert_int_equal(before.candidate.requests, 3);
    assert_int_equal(before.stable.errors, 1);
    rig_kill(&r);
    rig_open(&r);
    a = rig_app(&r, "shop@production");
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->pool == a->state.candidate && a->slots.items[i]->role == ROLE_SHARE)
            after = a->slots.items[i]->gathering;
    assert_memory_equal(&before, &after, sizeof before);
    rig_spin(&r, 150); /* the weight is what it was: no reason to end it */
    count_requests(&r, a->state.candidate, 1, 0);
    RIG_UNTIL(&r, a->judge.errors.candidate_requests == 4);
    assert_true(a->judge.errors.log_likelihood[CURVE_POINTS - 1] == 0); /* nothing was compared */
    rig_end(&r);
}

/* The verdict moves the traffic on a full disk too, and the controller that is killed before that
 * could be stored has a successor that does not undo it. */
static void traffic_that_went_back_stays_there(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    in_canary(&r);
    struct app *a = rig_app(&r, "shop@production");
    uint32_t candidate = a->state.candidate;
    rig_break_store(&r);
    for (int i = 0; i < 40 && app_pool(&a->state, candidate)->weight_ppm > 0; i++) {
        count_requests(&r, candidate, 20, 20);
        count_requests(&r, a->state.stable, 20, 0);
        rig_spin(&r, 120);
    }
    assert_int_equal(app_pool(&a->state, candidate)->weight_ppm, 0);
    assert_true(a->traffic_ahead);
    assert_int_equal(r.ends, 1);
    rig_kill(&r);
    rig_mend_store(&r);
    rig_open(&r);
    assert_int_equal(rig_app(&r, "shop@production")->state.rollout.phase, PHASE_BACK);
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(result(&r), "rolled-back");
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-") == 0 && rig_alive(&r, "shop-1-") == 1);
    rig_end(&r);
}

/* An abort is heard while an earlier write of the rollout is still being retried. */
static void a_verdict_is_heard_while_a_write_is_retried(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    in_canary(&r);
    struct app *a = rig_app(&r, "shop@production");
    rig_break_store(&r);
    rig_order(&r, COMMAND_PROMOTE, "shop"); /* a change that cannot be stored */
    assert_int_equal(r.answer_error.class, ERROR_UNAVAILABLE);
    RIG_UNTIL(&r, a->phase == PIPE_RETRYING);
    rig_order(&r, COMMAND_ABORT, "shop");
    RIG_UNTIL(&r, a->traffic_ahead);
    assert_int_equal(app_pool(&a->state, a->state.candidate)->weight_ppm, 0);
    rig_mend_store(&r);
    RIG_UNTIL(&r, r.ends == 2 && rig_quiet(&r));
    assert_string_equal(result(&r), "aborted");
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM rollout WHERE ended_ms = 0"), 0);
    rig_end(&r);
}

static void folders_of_unknown_releases_go(void **state)
{
    (void)state;
    struct rig r;
    char path[160];
    struct stat st;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    snprintf(path, sizeof path, "%s/apps/shop@production/releases/2", r.data);
    assert_int_equal(mkdir(path, 0755), 0);
    rig_open(&r);
    RIG_UNTIL(&r, r.c->cleanups.len == 0);
    assert_int_equal(stat(path, &st), -1);
    snprintf(path, sizeof path, "%s/apps/shop@production/releases/1", r.data);
    assert_int_equal(stat(path, &st), 0);
    rig_end(&r);
}

/* Someone deleted state.db: nothing that runs is stopped for it. */
static void a_lost_store_stops_nothing(void **state)
{
    (void)state;
    struct rig r;
    char path[96];
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", r.data, names[i]);
        unlink(path);
    }
    log_init("test", LOG_ERROR + 1);
    rig_open(&r);
    log_init("test", LOG_ERROR);
    rig_spin(&r, 100);
    assert_int_equal(rig_alive(&r, "shop-1-"), 1);
    rig_send(&r, shop, NULL, NULL);
    assert_int_equal(r.answer_error.class, ERROR_UNAVAILABLE);
    assert_non_null(strstr(r.answer_error.text, "state.db"));
    rig_end(&r);
}

int main(void)
{
    log_init("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_adopted),
        cmocka_unit_test(a_row_without_its_run_is_started),
        cmocka_unit_test(a_measurement_leaves_no_log),
        cmocka_unit_test(a_leaving_row_without_its_run_is_not_started),
        cmocka_unit_test(a_leaving_run_is_not_routed_again),
        cmocka_unit_test(a_run_without_a_row_is_stopped),
        cmocka_unit_test(what_crashed_backs_off_as_before),
        cmocka_unit_test(a_build_goes_on_over_a_kill_and_a_leave),
        cmocka_unit_test(a_migration_runs_once),
        cmocka_unit_test(a_folder_that_was_packed_and_not_stored_is_packed_again),
        cmocka_unit_test(a_rollout_goes_on),
        cmocka_unit_test(a_reboot_rolls_back_what_was_under_way),
        cmocka_unit_test(the_judge_remembers),
        cmocka_unit_test(a_batch_goes_on),
        cmocka_unit_test(traffic_that_went_back_stays_there),
        cmocka_unit_test(a_verdict_is_heard_while_a_write_is_retried),
        cmocka_unit_test(folders_of_unknown_releases_go),
        cmocka_unit_test(a_lost_store_stops_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
