/* The wall clock is set while a rollout holds: what was waited for goes on. */
#include "rig.h"

enum { HOUR_MS = 3600 * 1000, CLOSE_MS = 5000 };

static const char shop[] = "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]}";
static const char shop_canary[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}],"
    "\"strategy\":{\"canary\":{\"steps\":[50,100],\"hold\":\"10m\"}}}";

static struct app *hold(struct rig *r)
{
    rig_begin(r);
    assert_string_equal(rig_deploy_whole(r, shop), "promoted");
    rig_deploy(r, shop_canary);
    struct app *a = rig_app(r, "shop@production");
    RIG_UNTIL(r, a->state.candidate != 0 &&
                     app_pool(&a->state, a->state.candidate)->weight_ppm == 500000 &&
                     a->phase == PIPE_IDLE && !a->marked);
    return a;
}

static void assert_moved(int64_t before, int64_t now, int64_t by)
{
    assert_true(llabs(now - before - by) < CLOSE_MS);
}

/* As if it had been right until now, and were five minutes back. (Ahead: the simulator's.) */
static void under_a_controller(void **state)
{
    (void)state;
    const int64_t by = -HOUR_MS / 12;
    struct rig r;
    struct app *a = hold(&r);
    int64_t since = a->state.rollout.step_since_ms;
    struct instance *in = a->instances.items[0];
    int64_t instance_since = in->since_ms;
    r.c->clock_offset_ms -= by;
    RIG_UNTIL(&r, a->state.rollout.step_since_ms != since);
    assert_moved(since, a->state.rollout.step_since_ms, by);
    assert_moved(instance_since, in->since_ms, by);
    RIG_UNTIL(&r, a->phase == PIPE_IDLE && !a->unstored && !a->marked);
    since = a->state.rollout.step_since_ms;
    rig_kill(&r);
    rig_open(&r); /* it is stored, and not moved twice */
    assert_int_equal(rig_app(&r, "shop@production")->state.rollout.step_since_ms, since);
    rig_end(&r);
}

static void small_steps_are_the_daemons(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = hold(&r);
    int64_t since = a->state.rollout.step_since_ms;
    r.c->clock_offset_ms -= 100;
    rig_spin(&r, 200);
    assert_int_equal(a->state.rollout.step_since_ms, since);
    rig_end(&r);
}

static void between_two_controllers(void **state)
{
    (void)state;
    struct rig r;
    struct app *a = hold(&r);
    int64_t since = a->state.rollout.step_since_ms;
    rig_kill(&r);
    rig_sql(&r, "UPDATE app SET extras_json = json_set(extras_json, '$.clock.offset', "
                "json_extract(extras_json, '$.clock.offset') + 300000)");
    rig_open(&r);
    a = rig_app(&r, "shop@production");
    assert_moved(since, a->state.rollout.step_since_ms, -HOUR_MS / 12);
    RIG_UNTIL(&r, a->phase == PIPE_IDLE && !a->unstored && !a->marked);
    rig_kill(&r);
    rig_sql(&r, "UPDATE app SET extras_json = json_set(extras_json, '$.clock.offset', 0, "
                "'$.clock.boot', 'another')");
    rig_open(&r); /* nobody knows how its clock was */
    assert_moved(since, rig_app(&r, "shop@production")->state.rollout.step_since_ms, -HOUR_MS / 12);
    rig_end(&r);
}

int main(void)
{
    log_init("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_a_controller),
        cmocka_unit_test(small_steps_are_the_daemons),
        cmocka_unit_test(between_two_controllers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
