/* What people say, in every phase; and what operators of other tools suffer from (PAINS.md). */
#include "core/world.h"

struct setup {
    struct world w;
    struct app_spec specs[8];
};

/* Release 1 is live; all the others are of the same spec. */
static void setup(struct setup *s, enum strategy_kind kind, uint32_t replicas)
{
    world_init(&s->w);
    for (size_t i = 0; i < COUNT_OF(s->specs); i++) {
        s->specs[i] = world_spec(kind, replicas);
        s->w.spec[i + 1] = &s->specs[i];
    }
    world_live(&s->w);
    s->w.trace_actions = true;
}

static void begin(struct world *w, uint32_t release)
{
    assert_int_equal(world_begin(w, release, ROLLOUT_DEPLOY), 0);
}

static void says(struct world *w, int rc, struct error *err, const char *expected)
{
    if (expected == NULL) {
        if (rc != 0)
            fail_msg("%s", err->text);
        return;
    }
    assert_int_equal(rc, -1);
    assert_int_equal(err->class, ERROR_CONFLICT);
    assert_string_equal(err->text, expected);
    (void)w;
}

static int do_promote(struct world *w, struct error *err)
{
    return core_promote(&w->state, w->now, err);
}
static int do_abort(struct world *w, struct error *err)
{
    struct specs specs;
    world_specs(w, &specs);
    return core_abort(&w->state, &specs, REASON_ABORTED, "by alice", w->now, err);
}
static int do_pause(struct world *w, struct error *err)
{
    return core_pause(&w->state, w->now, err);
}
static int do_resume(struct world *w, struct error *err)
{
    return core_resume(&w->state, w->now, err);
}
static int do_stop(struct world *w, struct error *err)
{
    return core_stop(&w->state, err);
}
static int do_start(struct world *w, struct error *err)
{
    return core_start(&w->state, err);
}

typedef int command_fn(struct world *w, struct error *err);
enum { C_PROMOTE, C_ABORT, C_PAUSE, C_RESUME, C_STOP, C_START, C_COUNT };
static command_fn *const commands[C_COUNT] = {do_promote, do_abort, do_pause,
                                              do_resume,  do_stop,  do_start};

#define STEADY "the app is steady at release 1; there is nothing to "
#define BACK                                                                                       \
    "the app is going back from release 2 to release 1 (error-rate: 5% errors against 0.1%); "
#define EMPTY "nothing was deployed yet; there is nothing to "
#define STOPPED "the app is stopped at release 1; there is nothing to "

enum where { EMPTY_APP, STEADY_APP, STOPPED_APP, FORWARD, PAUSED, GOING_BACK };

static void go_to(struct setup *s, enum where where)
{
    struct error err = ERROR_INIT;
    if (where == EMPTY_APP) {
        world_init(&s->w);
        return;
    }
    setup(s, STRATEGY_CANARY, 2);
    if (where == STEADY_APP)
        return;
    if (where == STOPPED_APP) {
        assert_int_equal(core_stop(&s->w.state, &err), 0);
        world_run(&s->w, 1000);
        return;
    }
    s->w.how[2].bad_ms = where == GOING_BACK ? 100 : 0;
    s->w.how[2].drain_ms = 60000;
    begin(&s->w, 2);
    world_run(&s->w, 300);
    if (where == PAUSED)
        assert_int_equal(core_pause(&s->w.state, s->w.now, &err), 0);
    world_run(&s->w, 10);
}

static void test_every_command_in_every_phase(void **state)
{
    (void)state;
    static const struct {
        enum where where;
        const char *answers[C_COUNT]; /* NULL: done */
    } rows[] = {
        {EMPTY_APP,
         {EMPTY "promote", EMPTY "abort", EMPTY "pause", EMPTY "resume", EMPTY "stop",
          EMPTY "start"}},
        {STEADY_APP,
         {STEADY "promote", STEADY "abort", STEADY "pause", STEADY "resume", NULL, NULL}},
        {STOPPED_APP,
         {STOPPED "promote", STOPPED "abort", STOPPED "pause", STOPPED "resume", NULL, NULL}},
        {FORWARD,
         {NULL, NULL, NULL, "the rollout to release 2 is not paused; `pause` would", NULL, NULL}},
        {PAUSED, {NULL, NULL, NULL, NULL, NULL, NULL}},
        {GOING_BACK,
         {BACK "it cannot be promoted any more; `deploy` it again", NULL,
          BACK "that ends by itself and cannot be paused",
          BACK "it cannot be resumed; `deploy` it again", NULL, NULL}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t c = 0; c < C_COUNT; c++) {
            struct setup s;
            struct error err = ERROR_INIT;
            go_to(&s, rows[i].where);
            says(&s.w, commands[c](&s.w, &err), &err, rows[i].answers[c]);
            world_run(&s.w, 200000); /* and nothing is broken by it */
            world_release(&s.w);
        }
}

/* ---- promote ---- */

static void test_promote_passes_one_approval(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 2);
    s.specs[1].strategy.steps[0].approve = true;
    s.specs[1].strategy.steps[1].approve = true;
    begin(&s.w, 2);
    world_run(&s.w, 600000); /* the deadline does not run while it waits for people */
    assert_int_equal(world_weight(&s.w, 2), 250000);
    says(&s.w, core_resume(&s.w.state, s.w.now, &err), &err,
         "the rollout to release 2 is not paused; it waits for `promote`");
    assert_int_equal(core_promote(&s.w.state, s.w.now, &err), 0);
    world_run(&s.w, 500);
    assert_int_equal(world_weight(&s.w, 2), 250000); /* its hold is not skipped */
    world_run(&s.w, 2000);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    assert_int_equal(s.w.state.rollout.phase, PHASE_FORWARD);
    assert_int_equal(core_promote(&s.w.state, s.w.now, &err), 0);
    world_until_ended(&s.w, 2000);
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

static void test_promote_skips_what_only_waits(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 4);
    s.specs[1].strategy.steps_len = 4;
    for (uint32_t i = 0; i < 4; i++)
        s.specs[1].strategy.steps[i] =
            (struct canary_step){.weight_ppm = 250000 * (i + 1), .hold_ms = 3600000};
    s.w.how[2].bad_ms = 300; /* the judge would say roll back: it is not asked any more */
    s.w.how[2].ready_ms = 400;
    begin(&s.w, 2);
    world_run(&s.w, 500);
    assert_int_equal(core_promote(&s.w.state, s.w.now, &err), 0);
    world_run(&s.w, 200);
    assert_int_equal(world_weight(&s.w, 2), 250000); /* not before the others are ready */
    world_until_ended(&s.w, 400);                    /* the last three start together */
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

static void test_promote_does_not_save_a_crashing_one(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 2);
    s.w.how[2].crash_ms = 20;
    begin(&s.w, 2);
    world_run(&s.w, 5);
    assert_int_equal(core_promote(&s.w.state, s.w.now, &err), 0);
    world_until_ended(&s.w, 60000);
    assert_int_equal(s.w.last_result, RESULT_ROLLED_BACK);
    assert_int_equal(s.w.last_reason.code, REASON_CRASH_LOOP);
    world_release(&s.w);
}

/* ---- pause ---- */

static void test_pause_keeps_the_time_waited(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 4);
    s.specs[1].strategy.steps[0].hold_ms = 10000;
    s.w.reload = true;
    begin(&s.w, 2);
    world_run(&s.w, 55 + 6000);
    assert_int_equal(core_pause(&s.w.state, s.w.now, &err), 0);
    world_run(&s.w, 86400000);
    assert_int_equal(world_weight(&s.w, 2), 250000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 1);
    assert_int_equal(core_resume(&s.w.state, s.w.now, &err), 0);
    world_run(&s.w, 3500);
    assert_int_equal(world_weight(&s.w, 2), 250000);
    world_run(&s.w, 700);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    assert_non_null(strstr(buf_str(&s.w.trace), "paused: paused\n"));
    assert_non_null(strstr(buf_str(&s.w.trace), "resumed: resumed\n"));
    world_release(&s.w);
}

static void test_crashed_ones_come_back_in_a_pause(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 2);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    assert_int_equal(core_pause(&s.w.state, s.w.now, &err), 0);
    world_run(&s.w, 10);
    for (size_t i = 0; i < s.w.instances.len; i++)
        s.w.instances.items[i].crash_at = s.w.now + 1;
    world_run(&s.w, 10);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_BACKING_OFF), 2);
    world_run(&s.w, 2000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 2);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 1);
    world_release(&s.w);
}

static void test_on_failure_pause(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 4);
    s.specs[1].pause_on_failure = true;
    s.specs[1].strategy.steps[0].hold_ms = 10000;
    s.w.how[2].bad_ms = 4000;
    begin(&s.w, 2);
    world_run(&s.w, 60000);
    assert_int_equal(s.w.paused, 1);
    assert_int_equal(s.w.ended, 1); /* release 1's */
    assert_int_equal(s.w.state.rollout.phase, PHASE_PAUSED);
    assert_int_equal(s.w.state.rollout.reason.code, REASON_ERRORS);
    assert_int_equal(world_weight(&s.w, 2), 250000); /* frozen as it was */
    assert_int_equal(core_resume(&s.w.state, s.w.now, &err), 0);
    assert_in_range(world_until_ended(&s.w, 60000), 6000, 8000); /* of its hold 4 s were over */
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    assert_int_equal(s.w.paused, 1); /* that verdict is not acted on again */
    world_release(&s.w);
}

static void test_on_failure_pause_then_abort(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 3);
    s.specs[1].pause_on_failure = true;
    s.w.how[2].smoke_fails = s.w.how[2].never_ready = true;
    begin(&s.w, 2);
    world_run(&s.w, 61000);
    assert_int_equal(s.w.paused, 1);
    assert_int_equal(s.w.state.rollout.reason.code, REASON_NOT_READY);
    world_abort(&s.w);
    world_until_ended(&s.w, 10000);
    assert_int_equal(s.w.last_result, RESULT_ABORTED);
    assert_string_equal(s.w.last_reason.text, "by alice");
    assert_int_equal(world_weight(&s.w, 1), 1000000);
    world_release(&s.w);
}

/* Evidence that is open at the end of the last hold: a person is asked, once. */
static void test_inconclusive_pause(void **state)
{
    (void)state;
    static const enum verdict open[] = {VERDICT_CONTINUE, VERDICT_NO_DATA, VERDICT_INCONCLUSIVE};
    for (size_t i = 0; i < COUNT_OF(open); i++) {
        struct setup s;
        struct error err = ERROR_INIT;
        setup(&s, STRATEGY_CANARY, 2);
        s.specs[1].strategy.judge.inconclusive = INCONCLUSIVE_PAUSE;
        s.w.how[2].verdict = open[i];
        begin(&s.w, 2);
        world_run(&s.w, 60000);
        assert_int_equal(s.w.paused, 1);
        assert_int_equal(s.w.state.rollout.phase, PHASE_PAUSED);
        assert_int_equal(s.w.state.rollout.reason.code, REASON_INCONCLUSIVE);
        assert_int_equal(core_resume(&s.w.state, s.w.now, &err), 0);
        world_until_ended(&s.w, 60000);
        assert_int_equal(s.w.last_result, RESULT_PROMOTED);
        assert_int_equal(s.w.paused, 1);
        world_release(&s.w);
    }
}

/* A measurement that nobody can read stops a rollout at once, whatever the end of a hold does. */
static void test_unreadable_measurement_pauses(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 2);
    s.w.how[2].verdict = VERDICT_INCONCLUSIVE;
    begin(&s.w, 2);
    world_run(&s.w, 60000);
    assert_int_equal(s.w.paused, 1);
    assert_int_equal(s.w.state.rollout.reason.code, REASON_INCONCLUSIVE);
    world_abort(&s.w);
    world_until_ended(&s.w, 10000);
    assert_int_equal(s.w.last_result, RESULT_ABORTED);
    world_release(&s.w);
}

/* ---- abort ---- */

/* At each turn of each strategy's rollout, one after the other. */
static void test_abort_at_every_moment(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (int64_t at = 0; at < 2400; at += 7) {
            struct setup s;
            setup(&s, (enum strategy_kind)kind, 2);
            begin(&s.w, 2);
            world_run(&s.w, at);
            if (s.w.state.rollout.id == 0) {
                world_release(&s.w);
                break;
            }
            world_abort(&s.w);
            assert_int_equal(do_abort(&s.w, NULL), 0); /* twice is once */
            world_until_ended(&s.w, 10000);
            assert_int_equal(s.w.last_result, RESULT_ABORTED);
            world_run(&s.w, 1000);
            assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 2);
            assert_int_equal(s.w.instances.len, 2);
            world_release(&s.w);
        }
}

static void test_host_restarted_is_a_roll_back(void **state)
{
    (void)state;
    struct setup s;
    struct specs specs;
    setup(&s, STRATEGY_CANARY, 2);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    vec_release(&s.w.instances); /* all gone */
    world_specs(&s.w, &specs);
    assert_int_equal(
        core_abort(&s.w.state, &specs, REASON_HOST_RESTARTED, "host restarted", s.w.now, NULL), 0);
    world_until_ended(&s.w, 20000);
    assert_int_equal(s.w.last_result, RESULT_ROLLED_BACK);
    assert_int_equal(s.w.last_reason.code, REASON_HOST_RESTARTED);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 2);
    world_release(&s.w);
}

/* ---- a second deploy ---- */

static void test_supersede_at_every_moment(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (int64_t at = 0; at < 2400; at += 11) {
            struct setup s;
            setup(&s, (enum strategy_kind)kind, 3);
            begin(&s.w, 2);
            world_run(&s.w, at);
            bool superseding = s.w.state.rollout.id != 0;
            begin(&s.w, 3);
            if (superseding)
                assert_int_equal(s.w.last_result, RESULT_SUPERSEDED);
            world_until_ended(&s.w, 20000);
            assert_int_equal(s.w.last_result, RESULT_PROMOTED);
            world_run(&s.w, 1000);
            assert_int_equal(world_count(&s.w, 3, INSTANCE_READY), 3);
            assert_int_equal(s.w.instances.len, 3);
            assert_int_equal(world_weight(&s.w, 3), 1000000);
            world_release(&s.w);
        }
}

static void test_supersede_canary_moves_traffic_at_once(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_CANARY, 4);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    assert_int_equal(world_weight(&s.w, 2), 250000);
    begin(&s.w, 3);
    world_settle(&s.w);
    assert_int_equal(world_weight(&s.w, 1), 1000000);
    assert_int_equal(world_weight(&s.w, 2), 0);
    world_release(&s.w);
}

/* Six in a row, faster than any gets anywhere: there are places for four pools. */
static void test_many_in_a_row(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct setup s;
        setup(&s, (enum strategy_kind)kind, 3);
        for (uint32_t r = 2; r <= 8; r++) {
            s.w.how[r].drain_ms = 5000;
            begin(&s.w, r);
            world_run(&s.w, r * 31);
        }
        if (s.w.state.rollout.id != 0)
            world_until_ended(&s.w, 60000);
        assert_int_equal(s.w.last_result, RESULT_PROMOTED);
        world_run(&s.w, 20000);
        assert_int_equal(world_count(&s.w, 8, INSTANCE_READY), 3);
        assert_int_equal(s.w.instances.len, 3);
        world_release(&s.w);
    }
}

/* The live release is broken in each way; a fix comes while the first try still runs. */
static void test_fix_gets_through(void **state)
{
    (void)state;
    static const struct behaviour broken[] = {
        {.never_ready = true}, {.crash_ms = 30}, {.start_fails = true}, {.flap_ms = 500}};
    for (int kind = 0; kind < 4; kind++)
        for (size_t b = 0; b < COUNT_OF(broken); b++)
            for (int twice = 0; twice < 2; twice++) {
                struct setup s;
                setup(&s, (enum strategy_kind)kind, 2);
                s.w.how[1] = broken[b];
                for (size_t i = 0; i < s.w.instances.len; i++)
                    s.w.instances.items[i].crash_at = s.w.now + 1;
                world_run(&s.w, 20000);
                if (twice) {
                    s.w.how[2].never_ready = true;
                    begin(&s.w, 2);
                    world_run(&s.w, 3000);
                }
                begin(&s.w, 3);
                int64_t took = world_until_ended(&s.w, 100000);
                assert_int_equal(s.w.last_result, RESULT_PROMOTED);
                /* Crashing ones are not waited for at all; only the silent ones cost time. */
                if (took > (twice && (b == 0 || b == 3) ? 70000 : 5000))
                    fail_msg("strategy %d, broken %zu: %" PRId64 " ms", kind, b, took);
                world_release(&s.w);
            }
}

static void test_first_deploy_fails(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct app_spec spec = world_spec((enum strategy_kind)kind, 2);
        struct world w;
        world_init(&w);
        w.spec[1] = w.spec[2] = &spec;
        w.how[1].crash_ms = 10;
        begin(&w, 1);
        world_until_ended(&w, 60000);
        assert_int_equal(w.last_result, RESULT_ROLLED_BACK);
        world_run(&w, 1000);
        assert_int_equal(w.instances.len, 0);
        for (size_t i = 0; i < CORE_MAX_POOLS; i++)
            assert_int_equal(w.state.pools[i].id, 0);
        begin(&w, 2); /* and the next one is a first one again */
        world_until_ended(&w, 60000);
        assert_int_equal(w.last_result, RESULT_PROMOTED);
        world_release(&w);
    }
}

/* ---- capacity first, then removal ---- */

static struct fake *of_release(struct world *w, uint32_t release)
{
    for (size_t i = 0; i < w->instances.len; i++)
        if (w->instances.items[i].release == release)
            return &w->instances.items[i];
    fail_msg("none of release %u", release);
    return NULL;
}

/* Ready when its share was decided, not any more when the gateway has it: the old one stays. */
static void test_unready_again_before_the_old_one_goes(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 1);
    s.w.applied_delay_ms = 1000;
    begin(&s.w, 2);
    world_run(&s.w, 100);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    of_release(&s.w, 2)->flap_at = s.w.now + 1;
    s.w.how[2].flap_ms = 9000;
    world_run(&s.w, 5000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 1);
    assert_int_equal(s.w.state.rollout.phase, PHASE_FORWARD);
    world_run(&s.w, 6000); /* ready again */
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 0);
    world_release(&s.w);
}

static void test_no_promotion_of_one_that_is_down(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_CANARY, 1);
    begin(&s.w, 2);
    world_run(&s.w, 1500);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    s.w.how[2].ready_ms = 5000;
    of_release(&s.w, 2)->crash_at = s.w.now + 1;
    world_run(&s.w, 4000);
    assert_int_equal(s.w.state.rollout.phase, PHASE_FORWARD);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 1);
    world_until_ended(&s.w, 5000);
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

/* Half rolled, and back: the traffic goes with what is ready, and only towards stable. */
static void test_traffic_follows_capacity_on_the_way_back(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 4);
    s.specs[1].strategy.max_unavailable.value = 0;
    s.w.how[2].stop_ms = 3000; /* so that it takes its time */
    begin(&s.w, 2);
    while (world_weight(&s.w, 2) < 750000)
        world_run(&s.w, 1);
    world_run(&s.w, 60);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 1);
    s.w.how[1].ready_ms = 400;
    world_abort(&s.w);
    world_run(&s.w, 1);
    assert_in_range(world_weight(&s.w, 2), 1, 800000); /* one alone could not carry it */
    uint32_t before = 1000000, changes = 0;
    while (s.w.state.rollout.id != 0) {
        world_run(&s.w, 1);
        uint32_t weight = world_weight(&s.w, 2);
        assert_true(weight <= before);
        if (weight == 0 && before > 0)
            assert_true(world_count(&s.w, 1, INSTANCE_READY) >= 4);
        changes += weight < before;
        before = weight;
    }
    assert_true(changes >= 3);
    assert_int_equal(s.w.last_result, RESULT_ABORTED);
    world_release(&s.w);
}

/* In the last part, where the workers are replaced. */
static void test_workers_come_back_first(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 1);
    struct error err = ERROR_INIT;
    world_release(&s.w);
    world_init(&s.w);
    for (size_t i = 0; i < 2; i++) {
        world_add_worker(&s.specs[i], 2);
        s.w.spec[i + 1] = &s.specs[i];
    }
    world_live(&s.w);
    s.w.how[1].drain_ms = 400;
    begin(&s.w, 2);
    world_run(&s.w, 700);
    assert_int_equal(s.w.state.rollout.phase, PHASE_FORWARD);
    uint32_t draining = world_count(&s.w, 1, INSTANCE_DRAINING);
    assert_int_equal(draining, 2); /* stable's workers, leaving */
    world_abort(&s.w);
    while (s.w.state.rollout.id != 0) {
        world_run(&s.w, 1);
        uint32_t workers = 0;
        for (size_t i = 0; i < s.w.instances.len; i++)
            workers += s.w.instances.items[i].process == 1 &&
                       s.w.instances.items[i].state == INSTANCE_READY;
        assert_true(workers >= 2);
    }
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 3);
    (void)err;
    world_release(&s.w);
}

/* ---- what is left over ---- */

static void test_new_deploy_lets_the_kept_one_go(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_BLUE_GREEN, 2);
    s.specs[1].strategy.keep_ms = 600000;
    s.specs[2].strategy.approve = true;
    begin(&s.w, 2);
    world_until_ended(&s.w, 10000);
    begin(&s.w, 3);
    world_run(&s.w, 1000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 0); /* two whole sets, never three */
    assert_int_equal(s.w.instances.len, 4);
    world_release(&s.w);
}

static void test_kept_one_that_crashed_long_ago(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_BLUE_GREEN, 1);
    s.specs[1].strategy.keep_ms = 600000;
    s.w.instances.items[0].fast_crashes = 5;
    s.w.instances.items[0].exited_ms = s.w.now - 4000;
    begin(&s.w, 2);
    world_until_ended(&s.w, 10000);
    world_run(&s.w, 1000);
    assert_int_equal(world_begin(&s.w, 1, ROLLOUT_ROLLBACK), 0);
    world_until_ended(&s.w, 10000);
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

/* What of the superseded one is not ready yet goes at once, and none of it is started any more. */
static void test_superseded_starts_nothing(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_BLUE_GREEN, 3);
    s.w.how[2].ready_ms = 5000;
    begin(&s.w, 2);
    world_run(&s.w, 100);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_STARTING), 3);
    begin(&s.w, 3);
    world_settle(&s.w);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_DRAINING), 3);
    buf_clear(&s.w.trace);
    world_until_ended(&s.w, 10000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_STARTING), 0);
    world_release(&s.w);
}

/* recreate has taken stable down; the deploy that comes then says rolling: still never two at once,
 * and stable is not started only to be replaced. */
static void test_recreate_taken_over_by_rolling(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_RECREATE, 1);
    s.specs[2] = world_spec(STRATEGY_ROLLING, 1);
    s.w.how[2].never_ready = true;
    s.w.how[2].stop_ms = 3000;
    begin(&s.w, 2);
    world_run(&s.w, 1000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_STARTING), 1);
    assert_true(s.w.state.hold);
    begin(&s.w, 3);
    while (s.w.state.rollout.id != 0) {
        world_run(&s.w, 1);
        uint32_t releases = 0;
        for (uint32_t r = 1; r <= 3; r++) {
            bool runs = false;
            for (size_t i = 0; i < s.w.instances.len; i++)
                runs =
                    runs || (s.w.instances.items[i].release == r && s.w.instances.items[i].running);
            releases += runs;
        }
        assert_true(releases <= 1);
        assert_int_equal(world_count(&s.w, 1, INSTANCE_STARTING), 0);
    }
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

/* Only the hold was on yet: it is let go before anything else is waited for. */
static void test_hold_is_let_go_by_a_rolling_deploy(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_RECREATE, 1);
    s.specs[2] = world_spec(STRATEGY_ROLLING, 1);
    s.specs[2].release_len = 1;
    s.w.how[3].hook_ms = 60000;
    s.w.applied_delay_ms = 1000;
    begin(&s.w, 2);
    world_run(&s.w, 10);
    assert_true(s.w.state.hold);
    begin(&s.w, 3);
    world_run(&s.w, 10);
    assert_false(s.w.state.hold);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 1);
    world_release(&s.w);
}

/* ---- after the promotion ---- */

/* Also where the kept one's own strategy would go by rounds. */
static void test_kept_blue_is_an_instant_way_back(void **state)
{
    (void)state;
    static const enum strategy_kind kinds[] = {STRATEGY_BLUE_GREEN, STRATEGY_ROLLING,
                                               STRATEGY_CANARY};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct setup s;
        setup(&s, STRATEGY_BLUE_GREEN, 3);
        s.specs[0] = world_spec(kinds[i], 3);
        s.specs[1].strategy.keep_ms = 600000;
        begin(&s.w, 2);
        world_until_ended(&s.w, 10000);
        world_run(&s.w, 300000);
        assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 3); /* blue stays, unrouted */
        assert_int_equal(world_weight(&s.w, 1), 0);
        buf_clear(&s.w.trace);
        assert_int_equal(world_begin(&s.w, 1, ROLLOUT_ROLLBACK), 0);
        int64_t took = world_until_ended(&s.w, 10000);
        assert_true(took <= 10);
        assert_null(strstr(buf_str(&s.w.trace), "create"));
        assert_int_equal(world_weight(&s.w, 1), 1000000);
        world_run(&s.w, 1000);
        assert_int_equal(s.w.instances.len, 3);
        world_release(&s.w);
    }
}

static void test_kept_blue_goes_when_its_time_is_over(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_BLUE_GREEN, 3);
    s.specs[1].strategy.keep_ms = 600000;
    begin(&s.w, 2);
    world_until_ended(&s.w, 10000);
    world_run(&s.w, 599000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 3);
    world_run(&s.w, 2000);
    assert_int_equal(s.w.instances.len, 3);
    assert_null(world_pool_of_release(&s.w, 1));
    world_release(&s.w);
}

static void test_roll_back_of_a_canary_app_is_quick(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_CANARY, 3);
    begin(&s.w, 2);
    world_until_ended(&s.w, 10000);
    world_run(&s.w, 10000);
    assert_int_equal(world_begin(&s.w, 1, ROLLOUT_ROLLBACK), 0);
    assert_true(world_until_ended(&s.w, 10000) < 100); /* one start, no holds */
    assert_int_equal(world_weight(&s.w, 1), 1000000);
    world_release(&s.w);
}

/* ---- stop, start, scale ---- */

static void test_stop_and_start(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_ROLLING, 2);
    assert_int_equal(core_stop(&s.w.state, &err), 0);
    world_run(&s.w, 1000);
    assert_string_equal(buf_str(&s.w.trace),
                        "  drain r1.0-002\n  drain r1.0-001\n  stop r1.0-001\n  stop r1.0-002\n"
                        "  remove r1.0-001\n  remove r1.0-002\n");
    assert_int_equal(world_weight(&s.w, 1), 0);
    assert_true(s.w.wake == INT64_MAX);
    assert_int_equal(core_start(&s.w.state, &err), 0);
    world_run(&s.w, 1000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 2);
    assert_int_equal(world_weight(&s.w, 1), 1000000);
    world_release(&s.w);
}

static void test_stop_in_a_rollout(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (int64_t at = 0; at < 400; at += 13) {
            struct setup s;
            struct error err = ERROR_INIT;
            setup(&s, (enum strategy_kind)kind, 2);
            begin(&s.w, 2);
            world_run(&s.w, at);
            bool rolling_out = s.w.state.rollout.id != 0;
            assert_int_equal(core_stop(&s.w.state, &err), 0);
            world_run(&s.w, 5000);
            if (rolling_out) {
                assert_int_equal(s.w.last_result, RESULT_ABORTED);
                assert_int_equal(s.w.last_reason.code, REASON_STOPPED);
            }
            assert_int_equal(s.w.instances.len, 0);
            begin(&s.w, 3); /* a deploy starts it */
            world_until_ended(&s.w, 10000);
            assert_int_equal(s.w.last_result, RESULT_PROMOTED);
            assert_false(s.w.state.stopped);
            world_release(&s.w);
        }
}

static void test_scale(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_ROLLING, 2);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[1], 0, 4, &err), 0);
    world_run(&s.w, 1000);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 4);
    begin(&s.w, 2); /* the same replicas in the file: scale holds */
    world_until_ended(&s.w, 10000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 4);
    s.specs[2].processes[0].replicas = 3;
    begin(&s.w, 3); /* others: they count */
    world_until_ended(&s.w, 10000);
    world_run(&s.w, 1000);
    assert_int_equal(world_count(&s.w, 3, INSTANCE_READY), 3);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[3], 0, 0, &err), 0);
    world_run(&s.w, 1000);
    assert_int_equal(s.w.instances.len, 0);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[3], 1, 1, &err), -1);
    assert_int_equal(err.class, ERROR_USAGE);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[3], 0, 1001, &err), -1);
    s.specs[2].port = 8000;
    assert_int_equal(core_scale(&s.w.state, s.w.spec[3], 0, 2, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    world_release(&s.w);
}

/* A small weight has its share of the instances, also where that is as many as stable had. */
static void test_scale_keeps_a_canary_small(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 1);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 1);
    assert_int_equal(world_weight(&s.w, 2), 250000);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[1], 0, 5, &err), 0);
    world_run(&s.w, 200);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 5);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 2); /* a quarter of 5 */
    world_until_ended(&s.w, 10000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 5);
    world_release(&s.w);
}

/* The load is there now: stable does not wait for the end of a long canary. */
static void test_scale_in_a_canary(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_CANARY, 2);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[1], 0, 5, &err), 0);
    world_run(&s.w, 200);
    assert_int_equal(world_count(&s.w, 1, INSTANCE_READY), 5);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 2); /* its share */
    world_run(&s.w, 1000);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 5); /* before it had all */
    assert_int_equal(core_scale(&s.w.state, s.w.spec[1], 0, 6, &err), 0);
    world_run(&s.w, 200);
    assert_int_equal(world_count(&s.w, 2, INSTANCE_READY), 6);
    world_until_ended(&s.w, 10000);
    world_run(&s.w, 1000);
    assert_int_equal(s.w.instances.len, 6);
    world_release(&s.w);
}

/* ---- steady ---- */

static void test_back_off_in_steady(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 1);
    s.w.how[1].crash_ms = 10;
    s.w.instances.items[0].crash_at = s.w.now + 1;
    static const int64_t pauses[] = {1000,  2000,   4000,   8000,   16000, 32000,
                                     64000, 128000, 256000, 300000, 300000};
    world_run(&s.w, 5);
    for (size_t i = 0; i < COUNT_OF(pauses); i++) {
        struct fake *f = &s.w.instances.items[0];
        assert_int_equal(f->state, INSTANCE_BACKING_OFF);
        assert_int_equal(s.w.wake, f->exited_ms + pauses[i]);
        world_run(&s.w, s.w.wake - s.w.now);
        assert_int_equal(s.w.instances.items[0].state, INSTANCE_STARTING);
        world_run(&s.w, 10);
    }
    world_release(&s.w);
}

/* A clock that was set back by a day holds nothing up. */
static void test_clock_set_back(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_CANARY, 2);
    begin(&s.w, 2);
    world_run(&s.w, 300);
    for (size_t i = 0; i < s.w.instances.len; i++)
        s.w.instances.items[i].crash_at = s.w.now + 1;
    world_run(&s.w, 10);
    s.w.now -= 500000;
    world_until_ended(&s.w, 10000);
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

/* Victims: not ready before ready, newest before oldest. */
static void test_who_goes_first(void **state)
{
    (void)state;
    struct setup s;
    struct error err = ERROR_INIT;
    setup(&s, STRATEGY_ROLLING, 4);
    struct fake *f = s.w.instances.items;
    f[0].state = INSTANCE_UNREADY;
    f[2].since_ms += 100;
    world_run(&s.w, 1);
    assert_int_equal(core_scale(&s.w.state, s.w.spec[1], 0, 2, &err), 0);
    world_run(&s.w, 1);
    assert_string_equal(buf_str(&s.w.trace), "  drain r1.0-001\n  drain r1.0-003\n");
    world_release(&s.w);
}

/* An instance killed for its liveness keeps its place: no second one, nothing is removed. */
static void test_liveness_restart_keeps_the_place(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_RECREATE, 1);
    s.w.instances.items[0].kill_at = s.w.now + 1;
    world_run(&s.w, 3000);
    assert_int_equal(s.w.instances.len, 1);
    assert_int_equal(s.w.instances.items[0].restarts, 1);
    assert_int_equal(s.w.instances.items[0].state, INSTANCE_READY);
    assert_string_equal(buf_str(&s.w.trace), "  start r1.0-001\n");
    world_release(&s.w);
}

/* ---- pins ---- */

static void test_match_and_preview(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_CANARY, 4);
    s.specs[1].strategy.match.len = 1;
    s.w.how[2].ready_ms = 100;
    begin(&s.w, 2);
    world_run(&s.w, 90);
    assert_false(s.w.state.matching);
    world_run(&s.w, 12);
    assert_true(s.w.state.matching); /* before it has any share */
    assert_int_equal(s.w.state.rollout.phase, PHASE_FORWARD);
    world_abort(&s.w);
    world_settle(&s.w);
    assert_false(s.w.state.matching);
    assert_true(s.w.traffic_first_seen);
    world_release(&s.w);

    setup(&s, STRATEGY_BLUE_GREEN, 2);
    s.specs[1].strategy.preview.len = 1;
    s.specs[1].strategy.approve = true;
    begin(&s.w, 2);
    world_run(&s.w, 40);
    assert_false(s.w.state.previewing);
    world_run(&s.w, 500);
    assert_true(s.w.state.previewing);
    assert_int_equal(world_weight(&s.w, 2), 0);
    assert_int_equal(core_promote(&s.w.state, s.w.now, NULL), 0);
    world_until_ended(&s.w, 1000);
    assert_false(s.w.state.previewing);
    world_release(&s.w);
}

/* ---- the deadline ---- */

/* It names the instance and the probe's own error. */
static void test_deadline_says_why(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 2);
    s.specs[1].deadline_ms = 3000;
    s.w.how[2].never_ready = true;
    begin(&s.w, 2);
    world_until_ended(&s.w, 4000);
    assert_int_equal(s.w.last_reason.code, REASON_NOT_READY);
    assert_string_equal(s.w.last_reason.text,
                        "r2.0-003 is not ready after 3s (starting): GET /ready: status 503");
    world_release(&s.w);
}

/* A deadline shorter than the drain: downloads may take as long as the file lets them. */
static void test_drains_may_take_their_time(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 2);
    for (int i = 0; i < 2; i++) {
        s.specs[i].deadline_ms = 3000;
        s.specs[i].stop.drain_ms = 30000;
    }
    s.w.how[1].drain_ms = 25000;
    begin(&s.w, 2);
    world_until_ended(&s.w, 120000);
    assert_int_equal(s.w.last_result, RESULT_PROMOTED);
    world_release(&s.w);
}

/* Nothing reports anything: no instance, no gateway. Forward by the deadline, back by its bounds.
 */
static void test_silence_ends_too(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct setup s;
        setup(&s, (enum strategy_kind)kind, 2);
        s.w.silent_gateway = true;
        s.w.how[2].never_ready = true;
        begin(&s.w, 2);
        world_until_ended(&s.w, 300000);
        assert_int_equal(s.w.last_result, RESULT_ROLLED_BACK);
        world_release(&s.w);
    }
}

/* min-ready is waited for to the millisecond, with no event to wake anyone. */
static void test_min_ready(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, STRATEGY_ROLLING, 1);
    s.specs[1].strategy.min_ready_ms = 4000;
    begin(&s.w, 2);
    world_run(&s.w, 4040);
    assert_int_equal(world_weight(&s.w, 2), 0);
    world_run(&s.w, 20);
    assert_int_equal(world_weight(&s.w, 2), 1000000);
    world_release(&s.w);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command_in_every_phase),
        cmocka_unit_test(test_promote_passes_one_approval),
        cmocka_unit_test(test_promote_skips_what_only_waits),
        cmocka_unit_test(test_promote_does_not_save_a_crashing_one),
        cmocka_unit_test(test_pause_keeps_the_time_waited),
        cmocka_unit_test(test_crashed_ones_come_back_in_a_pause),
        cmocka_unit_test(test_on_failure_pause),
        cmocka_unit_test(test_on_failure_pause_then_abort),
        cmocka_unit_test(test_inconclusive_pause),
        cmocka_unit_test(test_unreadable_measurement_pauses),
        cmocka_unit_test(test_abort_at_every_moment),
        cmocka_unit_test(test_host_restarted_is_a_roll_back),
        cmocka_unit_test(test_supersede_at_every_moment),
        cmocka_unit_test(test_supersede_canary_moves_traffic_at_once),
        cmocka_unit_test(test_many_in_a_row),
        cmocka_unit_test(test_fix_gets_through),
        cmocka_unit_test(test_first_deploy_fails),
        cmocka_unit_test(test_unready_again_before_the_old_one_goes),
        cmocka_unit_test(test_no_promotion_of_one_that_is_down),
        cmocka_unit_test(test_traffic_follows_capacity_on_the_way_back),
        cmocka_unit_test(test_workers_come_back_first),
        cmocka_unit_test(test_new_deploy_lets_the_kept_one_go),
        cmocka_unit_test(test_kept_one_that_crashed_long_ago),
        cmocka_unit_test(test_superseded_starts_nothing),
        cmocka_unit_test(test_recreate_taken_over_by_rolling),
        cmocka_unit_test(test_hold_is_let_go_by_a_rolling_deploy),
        cmocka_unit_test(test_kept_blue_is_an_instant_way_back),
        cmocka_unit_test(test_kept_blue_goes_when_its_time_is_over),
        cmocka_unit_test(test_roll_back_of_a_canary_app_is_quick),
        cmocka_unit_test(test_stop_and_start),
        cmocka_unit_test(test_stop_in_a_rollout),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_scale_in_a_canary),
        cmocka_unit_test(test_scale_keeps_a_canary_small),
        cmocka_unit_test(test_back_off_in_steady),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_who_goes_first),
        cmocka_unit_test(test_liveness_restart_keeps_the_place),
        cmocka_unit_test(test_match_and_preview),
        cmocka_unit_test(test_deadline_says_why),
        cmocka_unit_test(test_drains_may_take_their_time),
        cmocka_unit_test(test_silence_ends_too),
        cmocka_unit_test(test_min_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
