/* What the death of controllers and shims must not be taken for, and what a full disk must not make
 * anyone miss. */
#include "rig.h"

#define SHOP "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]"
static const char shop[] = SHOP "}";
static const char shop_three[] = SHOP ",\"replicas\":3,\"strategy\":\"blue-green\"}";

static unsigned count_events(const struct rig *r, const char *kind)
{
    unsigned n = 0;
    size_t len = strlen(kind);
    for (const char *at = r->events; (at = strstr(at, kind)) != NULL; at += len)
        n += (at == r->events || at[-1] == ' ') && at[len] == ' ';
    return n;
}

/* As many as would be a crash loop, had the release crashed. */
static void lost_runs_are_no_fault_of_the_release(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-2-", FATE_DEAF, 0);
    rig_deploy(&r, shop_three);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-") == 3);
    for (size_t i = 0; i < r.runs_len; i++)
        if (strstr(r.runs[i].id, "shop-2-") != NULL)
            rig_lose_run(&r, &r.runs[i]);
    r.rules_len = 0;
    RIG_UNTIL(&r, r.ends == 2);
    assert_string_equal(json_string_value(json_object_get(r.ended, "result")), "promoted");
    rig_end(&r);
}

static void lost_runs_back_off(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    for (unsigned n = 1; n <= 2; n++) {
        RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
        rig_lose_run(&r, rig_find(&r, "shop-1-1."));
        RIG_UNTIL(&r, rig_app(&r, "shop@production")->instances.items[0]->losses == n);
    }
    rig_spin(&r, 200);
    assert_int_equal(rig_alive(&r, "shop-1-1."), 0);
    assert_int_equal(rig_app(&r, "shop@production")->instances.items[0]->fast_crashes, 0);
    rig_end(&r);
}

/* Killed between the store's word that a crash is stored and the forgetting of its record. */
static void a_crash_is_counted_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 1, 0);
    RIG_UNTIL(&r, count_events(&r, "instance-crashed") == 1 && rig_quiet(&r));
    rig_kill(&r);
    rig_find(&r, "shop-1-1.1")->forgotten = false;
    rig_open(&r);
    assert_int_equal(rig_app(&r, "shop@production")->instances.items[0]->fast_crashes, 1);
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
    assert_int_equal(count_events(&r, "instance-crashed"), 1);
    assert_true(rig_find(&r, "shop-1-1.1")->forgotten);
    rig_end(&r);
}

/* On a busy machine a shim's answer may come after the first routes: they must have the instance.
 */
static void who_was_ready_stays_routed_until_its_shim_answers(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_kill(&r);
    struct rig_run *run = rig_find(&r, "shop-1-1.");
    pid_t pid = run->status.pid;
    run->status.state = RUN_STARTING;
    run->status.pid = 0;
    rig_open(&r);
    const struct instance *in = rig_app(&r, "shop@production")->instances.items[0];
    assert_true(instance_ready(in));
    run->status.state = RUN_RUNNING;
    run->status.pid = pid;
    run->changed = true;
    rig_wake(&r);
    RIG_UNTIL(&r, in->probes[PROBE_READINESS].passed);
    assert_true(instance_ready(in));
    rig_end(&r);
}

/* The store fails while an instance crashes and comes back: once it can be written, all of it is
 * told, once, in the order of the ids. */
static void events_of_a_failed_write_are_told_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    r.events[0] = '\0';
    rig_break_store(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1."), 1, 0);
    RIG_UNTIL(&r, rig_alive(&r, "shop-1-1.") == 1);
    RIG_UNTIL(&r, instance_ready(rig_app(&r, "shop@production")->instances.items[0]));
    rig_spin(&r, 100);
    assert_int_equal(count_events(&r, "instance-crashed"), 0);
    rig_mend_store(&r);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(count_events(&r, "instance-crashed"), 1);
    assert_int_equal(count_events(&r, "instance-ready"), 1);
    assert_true(r.ids_rise);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'instance-crashed'"),
                     1);
    rig_end(&r);
}

/* The end of a rollout that could not be stored: "promoted" and "ended" come once each. */
static void the_end_of_a_rollout_is_told_once(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-2-1", FATE_DEAF, 0);
    rig_deploy(&r, shop);
    RIG_UNTIL(&r, rig_alive(&r, "shop-2-1.") == 1 &&
                      rig_app(&r, "shop@production")->phase == PIPE_IDLE);
    rig_break_store(&r);
    rig_order(&r, COMMAND_ABORT, "shop");
    rig_spin(&r, 1500);
    assert_int_equal(r.ends, 1);
    rig_mend_store(&r);
    RIG_UNTIL(&r, r.ends == 2 && rig_quiet(&r));
    rig_spin(&r, 100);
    assert_int_equal(r.ends, 2);
    assert_int_equal(count_events(&r, "command"), 1);
    assert_true(r.ids_rise);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'ended'"), 2);
    rig_end(&r);
}

/* A deploy that was refused, since it could not be stored, was never accepted. */
static void what_was_taken_back_is_not_told(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_break_store(&r);
    unsigned before = r.answers;
    rig_send(&r, shop, NULL, NULL);
    RIG_UNTIL(&r, r.answers > before);
    assert_int_equal(r.answer_error.class, ERROR_UNAVAILABLE);
    rig_mend_store(&r);
    RIG_UNTIL(&r, rig_quiet(&r));
    assert_int_equal(count_events(&r, "deploy-accepted"), 1);
    rig_end(&r);
}

/* A request that was under way when the controller was killed is counted where the old routes said,
 * when it ends: that must not be somebody else's place by then. */
static void the_slots_of_the_last_routes_are_not_given_away(void **state)
{
    (void)state;
    struct rig r;
    uint32_t old[8];
    size_t n = 0;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    struct app *a = rig_app(&r, "shop@production");
    for (size_t i = 0; i < a->slots.len && n < COUNT_OF(old); i++)
        old[n++] = a->slots.items[i]->index;
    assert_true(n > 1);
    rig_kill(&r);
    rig_open(&r);
    r.c->request_slot_next = old[0]; /* the ring has come round */
    a = rig_app(&r, "shop@production");
    RIG_UNTIL(&r, a->slots.len > 0);
    for (size_t i = 0; i < a->slots.len; i++)
        for (size_t k = 0; k < n; k++)
            assert_int_not_equal(a->slots.items[i]->index, old[k]);
    /* But rather theirs than one that is in use. */
    memset(r.c->request_slot_used, SLOT_USED, METRICS_REQUEST_SLOTS);
    r.c->request_slot_used[old[0]] = SLOT_LEFT;
    assert_int_equal(app_slot(a, "more", 1, ROLE_SHARE)->index, old[0]);
    rig_end(&r);
}

/* A judge's evidence of the last moments is not lost to the next controller when this one leaves in
 * order. */
static void the_judge_is_stored_by_who_leaves(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_deploy(&r, SHOP ",\"strategy\":{\"canary\":{\"steps\":[50,100],\"hold\":\"10m\"}}}");
    struct app *a = rig_app(&r, "shop@production");
    RIG_UNTIL(&r, a->state.candidate != 0 &&
                      app_pool(&a->state, a->state.candidate)->weight_ppm == 500000 &&
                      a->phase == PIPE_IDLE && !a->marked && a->judging);
    struct judge_arm candidate = {.requests = 40}, stable = {.requests = 60, .errors = 1};
    judge_batch(&a->judge, &candidate, &stable);
    a->judge_fed = true;
    a->judge_saved_ms = control_now(); /* it was stored a moment ago */
    rig_leave(&r);
    rig_open(&r);
    assert_int_equal(rig_app(&r, "shop@production")->judge.errors.candidate_requests, 40);
    rig_end(&r);
}

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_runs_are_no_fault_of_the_release),
        cmocka_unit_test(lost_runs_back_off),
        cmocka_unit_test(a_crash_is_counted_once),
        cmocka_unit_test(who_was_ready_stays_routed_until_its_shim_answers),
        cmocka_unit_test(events_of_a_failed_write_are_told_once),
        cmocka_unit_test(the_end_of_a_rollout_is_told_once),
        cmocka_unit_test(what_was_taken_back_is_not_told),
        cmocka_unit_test(the_slots_of_the_last_routes_are_not_given_away),
        cmocka_unit_test(the_judge_is_stored_by_who_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
