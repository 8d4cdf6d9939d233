/* The state's JSON: exact both ways, and an error for whatever else. The plans' arithmetic, the
 * words, the back-off. */
#include "core/world.h"

#include "base/units.h"

static void reads(const char *text)
{
    struct app_state s;
    struct error err = ERROR_INIT;
    if (app_state_from_json(&s, text, &err) < 0)
        fail_msg("%s: %s", err.text, text);
    app_state_release(&s);
}

static void refuses(const char *text, const char *with)
{
    struct app_state s;
    struct error err = ERROR_INIT;
    assert_int_equal(app_state_from_json(&s, text, &err), -1);
    if (strstr(err.text, with) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, with);
    assert_null(s.memory);
}

#define HEAD "{\"version\":1,\"next_pool\":3,\"stable\":1,\"candidate\":"
#define FLAGS                                                                                      \
    ",\"hold\":false,\"stopped\":false,\"previewing\":false,\"matching\":false,"                   \
    "\"override\":[0,0,0,0,0,0,0,0],"
#define POOL(place, id, weight)                                                                    \
    "{\"place\":" place ",\"id\":" id                                                              \
    ",\"release\":7,\"wanted\":[1,0,0,0,0,0,0,0],\"weight\":" weight                               \
    ",\"keep_until\":0,\"routed\":1}"
#define ROLLOUT(phase, cursor, plan)                                                               \
    ",\"rollout\":{\"id\":\"9\",\"kind\":\"deploy\",\"phase\":\"" phase                            \
    "\",\"resume\":\"none\",\"told\":\"forward\",\"exclusive\":false,\"ignored\":0,"               \
    "\"cursor\":" cursor                                                                           \
    ",\"started\":1,\"step_since\":1,\"progress\":1,\"step_done\":0,\"promote_all\":false,"        \
    "\"ending\":\"\",\"reason\":\"\",\"text\":\"\",\"ready_best\":0,\"drained_best\":0,\"plan\":"  \
    "[" plan "]}}"
#define FINISH "[\"finish\",\"stable\",0,0,0,0,false]"

static void test_hostile(void **state)
{
    (void)state;
    reads(HEAD "0" FLAGS "\"pools\":[" POOL("0", "1", "1000000") "]}");
    reads(HEAD "2" FLAGS "\"pools\":[" POOL("0", "1", "1000000") "," POOL(
        "1", "2", "0") "]" ROLLOUT("forward", "0", FINISH));
    refuses("", "broken");
    refuses("[]", "version");
    refuses("{}", "version");
    refuses("{\"version\":2}", "newer");
    refuses("{\"version\":1}", "next_pool");
    refuses("{\"version\":1,\"version\":1}", "broken");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("0", "1", "5") "]}", "weights");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("4", "1", "0") "]}", "place");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("0", "3", "0") "]}", "pools");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("0", "0", "0") "]}", "pools");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("0", "1", "0") "," POOL("0", "2", "0") "]}", "pools");
    refuses(HEAD "0" FLAGS "\"pools\":[" POOL("0", "1", "0") "," POOL("1", "1", "0") "]}", "pools");
    refuses(HEAD "0" FLAGS "\"pools\":[]}", "stable");
    refuses(HEAD "1" FLAGS "\"pools\":[" POOL("0", "1", "0") "]}", "candidate");
    refuses(HEAD "2" FLAGS "\"pools\":[" POOL("0", "1", "0") "," POOL("1", "2", "0") "]}",
            "the rollout");
    refuses(HEAD "0" FLAGS "\"pools\":{}}", "pools");
    refuses(HEAD "0" FLAGS "\"pools\":[1]}", "place");
    refuses(HEAD "-1" FLAGS "\"pools\":[]}", "candidate");
    refuses(HEAD "4294967296" FLAGS "\"pools\":[]}", "candidate");
#define WITH(rollout)                                                                              \
    HEAD "2" FLAGS "\"pools\":[" POOL("0", "1", "1000000") "," POOL("1", "2", "0") "]" rollout
    refuses(WITH(ROLLOUT("forward", "1", FINISH)), "cursor");
    refuses(WITH(ROLLOUT("forward", "0", "")), "plan");
    reads(WITH(ROLLOUT("back", "0", "")));
    refuses(WITH(ROLLOUT("paused", "0", FINISH)), "resume");
    refuses(WITH(ROLLOUT("sideways", "0", FINISH)), "phase");
    refuses(WITH(ROLLOUT("forward", "0", "[\"hold\",\"stable\",0,0,0,0,false]")), "finish");
    refuses(WITH(ROLLOUT("forward", "0", "[\"scale\",\"stable\",8,0,0,0,false]," FINISH)),
            "process");
    refuses(WITH(ROLLOUT("forward", "0", "[\"scale\",\"stable\",0,1001,0,0,false]," FINISH)),
            "count");
    refuses(WITH(ROLLOUT("forward", "0", "[\"weight\",\"stable\",0,0,1000001,0,false]," FINISH)),
            "weight");
    refuses(WITH(ROLLOUT("forward", "0", "[\"jump\",\"stable\",0,0,0,0,false]," FINISH)), "step");
    refuses(WITH(ROLLOUT("forward", "0", "[\"scale\",\"stable\",0,0,0,0]," FINISH)), "plan");
    refuses(WITH(ROLLOUT("forward", "0", "7")), "plan");
}

/* Every single byte of a good text broken, one after the other: an error or another good state, and
 * what can be read can be decided on. */
static void test_each_byte_broken(void **state)
{
    (void)state;
    struct app_spec spec = world_spec(STRATEGY_ROLLING, 2);
    struct world w;
    world_init(&w);
    w.spec[1] = w.spec[2] = &spec;
    world_live(&w);
    world_begin(&w, 2, ROLLOUT_DEPLOY);
    world_run(&w, 70);
    cleanup_buf struct buf text = BUF_INIT;
    app_state_to_json(&w.state, &text);
    for (size_t i = 0; i < text.len; i++)
        for (const char *c = "0\"x,}9"; *c != 0; c++) {
            char was = text.data[i];
            text.data[i] = *c;
            struct app_state s;
            struct error err = ERROR_INIT;
            struct arena arena = ARENA_INIT;
            if (app_state_from_json(&s, buf_str(&text), &err) == 0) {
                struct specs specs = {{&spec, &spec, &spec, &spec}};
                struct observations obs = {0};
                struct decision d = {0};
                decide(&s, &specs, &obs, w.now, &arena, &d);
                app_state_release(&s);
            } else {
                assert_int_equal(err.class, ERROR_FAILED);
            }
            arena_release(&arena);
            text.data[i] = was;
        }
    world_release(&w);
}

static void test_long_texts(void **state)
{
    (void)state;
    struct app_spec spec = world_spec(STRATEGY_CANARY, 1);
    struct world w;
    world_init(&w);
    w.spec[1] = w.spec[2] = &spec;
    world_live(&w);
    world_begin(&w, 2, ROLLOUT_DEPLOY);
    char text[2000];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 3);
    struct specs specs;
    struct error err = ERROR_INIT;
    world_specs(&w, &specs);
    assert_int_equal(core_abort(&w.state, &specs, REASON_ABORTED, text, w.now, &err), 0);
    assert_int_equal(strlen(w.state.rollout.reason.text) % 2, 0);
    world_reload(&w);
    struct app_state copy;
    app_state_copy(&copy, &w.state);
    assert_string_equal(copy.rollout.reason.text, w.state.rollout.reason.text);
    app_state_release(&copy);
    w.reload = true;
    world_until_ended(&w, 10000);
    assert_int_equal(w.last_result, RESULT_ABORTED);
    world_release(&w);
}

/* ---- plans ---- */

static void check_plan(const struct app_spec *stable, const struct app_spec *candidate,
                       enum rollout_kind kind, const char *expected)
{
    struct arena arena = ARENA_INIT;
    uint32_t none[SPEC_MAX_PROCESSES] = {0};
    struct plan plan = plan_make(stable, candidate, kind, none, &arena);
    cleanup_buf struct buf text = BUF_INIT;
    for (size_t i = 0; i < plan.len; i++) {
        const struct step *s = &plan.steps[i];
        char percent[32];
        char side = side_word(s->side)[0];
        if (s->kind == STEP_SCALE)
            buf_printf(&text, "%c%u=%u ", side, s->process, s->count);
        else if (s->kind == STEP_WEIGHT)
            buf_printf(&text, "%s ", format_percent_ppm(s->weight_ppm, percent, sizeof percent));
        else if (s->kind == STEP_MIRROR)
            buf_printf(&text, "mirror%s ",
                       format_percent_ppm(s->weight_ppm, percent, sizeof percent));
        else if (s->kind == STEP_STOP)
            buf_printf(&text, "-%c ", side);
        else if (s->kind == STEP_HOLD)
            buf_printf(&text, "hold%u ", s->count);
        else if (s->kind == STEP_SMOKE)
            buf_printf(&text, "smoke%u ", s->count);
        else if (s->kind != STEP_WAIT_READY && s->kind != STEP_DRAIN)
            buf_printf(&text, "%s ", step_kind_word(s->kind));
    }
    assert_string_equal(buf_str(&text), expected);
    arena_release(&arena);
}

static struct app_spec rolling(uint32_t n, uint32_t surge, uint32_t unavailable, bool percent)
{
    struct app_spec s = world_spec(STRATEGY_ROLLING, n);
    s.strategy.max_surge = (struct amount){percent, surge};
    s.strategy.max_unavailable = (struct amount){percent, unavailable};
    return s;
}

static void test_rolling_rounds(void **state)
{
    (void)state;
    static const struct {
        uint32_t from, to, surge, unavailable;
        bool percent;
        const char *expected;
    } rows[] = {
        {1, 1, 25, 25, true, "c0=1 100% s0=0 -s finish "},
        {2, 2, 25, 25, true, "c0=1 50% s0=1 -s c0=2 100% s0=0 -s finish "},
        {4, 4, 25, 25, true, "c0=1 33.3333% s0=2 -s c0=3 100% s0=0 -s c0=4 finish "},
        {4, 4, 100, 0, true, "c0=4 100% s0=0 -s finish "},
        {3, 3, 0, 1, false, "s0=2 -s c0=1 50% s0=1 -s c0=2 100% s0=0 -s c0=3 finish "},
        {1, 1, 0, 1, false, "s0=0 -s c0=1 100% finish "},
        {2, 2, 0, 25, true, "c0=1 50% s0=1 -s c0=2 100% s0=0 -s finish "}, /* both 0: surge 1 */
        {1, 3, 1, 0, false, "c0=3 100% s0=0 -s finish "},
        {3, 1, 1, 0, false, "c0=1 100% s0=0 -s finish "},
        {0, 2, 25, 25, true, "c0=2 100% finish "},
        {2, 0, 25, 25, true, "s0=0 -s finish "},
        {0, 0, 25, 25, true, "finish "},
        {2, 2, 0, 100, true, "s0=0 -s c0=2 100% finish "},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct app_spec a =
            rolling(rows[i].from, rows[i].surge, rows[i].unavailable, rows[i].percent);
        struct app_spec b =
            rolling(rows[i].to, rows[i].surge, rows[i].unavailable, rows[i].percent);
        check_plan(&a, &b, ROLLOUT_DEPLOY, rows[i].expected);
    }
}

static void test_plans(void **state)
{
    (void)state;
    static const struct command command;
    struct app_spec c = world_spec(STRATEGY_CANARY, 10);
    c.strategy.steps_len = 4;
    c.strategy.steps[0] = (struct canary_step){.weight_ppm = 10000, .hold_ms = 5000};
    c.strategy.steps[1] = (struct canary_step){.weight_ppm = 50000, .approve = true, .hold_ms = 0};
    c.strategy.steps[2] =
        (struct canary_step){.weight_ppm = 500000, .smoke = &command, .smoke_len = 1, .hold_ms = 7};
    c.strategy.steps[3] = (struct canary_step){.weight_ppm = 1000000, .hold_ms = 9};
    check_plan(&c, &c, ROLLOUT_DEPLOY,
               "c0=1 1% pause-for judge 5% approve c0=5 50% smoke3 pause-for judge c0=10 100% "
               "pause-for finish ");
    struct arena arena = ARENA_INIT;
    struct plan plan = plan_make(&c, &c, ROLLOUT_DEPLOY, NULL, &arena);
    assert_int_equal(plan_least_ms(&plan), 5016);
    arena_release(&arena);
    check_plan(NULL, &c, ROLLOUT_DEPLOY, "c0=10 100% finish ");
    check_plan(&c, &c, ROLLOUT_ROLLBACK, "c0=10 100% finish ");
    c.strategy.instances = 2;
    check_plan(&c, &c, ROLLOUT_DEPLOY,
               "c0=2 1% pause-for judge 5% approve 50% smoke3 pause-for judge c0=10 100% pause-for "
               "finish ");
    c.processes[0].replicas = 3;
    check_plan(&c, &c, ROLLOUT_RESTART,
               "c0=1 33.3333% s0=2 -s c0=2 66.6666% s0=1 -s c0=3 100% s0=0 -s finish ");

    struct app_spec g = world_spec(STRATEGY_BLUE_GREEN, 2);
    g.strategy.smoke_len = 1;
    g.strategy.approve = true;
    g.release_len = 1;
    check_plan(&g, &g, ROLLOUT_DEPLOY, "release c0=2 smoke0 approve 100% finish ");
    check_plan(NULL, &g, ROLLOUT_DEPLOY, "release c0=2 100% finish ");
    check_plan(&g, &g, ROLLOUT_ROLLBACK, "c0=2 100% finish ");

    struct app_spec s = world_spec(STRATEGY_SHADOW, 3);
    check_plan(&s, &s, ROLLOUT_DEPLOY, "c0=3 mirror20% pause-for judge mirror0% 100% finish ");
    s.strategy.smoke_len = 1;
    s.strategy.approve = true;
    s.release_len = 1;
    check_plan(&s, &s, ROLLOUT_DEPLOY,
               "release c0=3 smoke0 mirror20% pause-for judge mirror0% approve 100% finish ");
    check_plan(NULL, &s, ROLLOUT_DEPLOY, "release c0=3 100% finish ");
    check_plan(&s, &s, ROLLOUT_ROLLBACK, "c0=3 100% finish ");
    check_plan(&s, &s, ROLLOUT_RESTART,
               "c0=1 33.3333% s0=2 -s c0=2 66.6666% s0=1 -s c0=3 100% s0=0 -s finish ");
    struct app_spec asleep = world_spec(STRATEGY_ROLLING, 0); /* nobody gets requests to copy */
    check_plan(&asleep, &s, ROLLOUT_DEPLOY, "release c0=3 smoke0 approve 100% finish ");

    struct app_spec r = world_spec(STRATEGY_RECREATE, 1);
    check_plan(&r, &r, ROLLOUT_DEPLOY, "hold1 s0=0 -s c0=1 100% hold0 finish ");
    check_plan(&r, &r, ROLLOUT_RESTART, "hold1 s0=0 -s c0=1 100% hold0 finish ");
    r.processes[0].routed = false;
    check_plan(&r, &r, ROLLOUT_DEPLOY, "s0=0 -s c0=1 finish ");

    /* Processes change between releases: by side, by index. */
    struct app_spec one = rolling(1, 25, 25, true), two = rolling(1, 25, 25, true);
    world_add_worker(&two, 2);
    check_plan(&one, &two, ROLLOUT_DEPLOY, "c0=1 100% s0=0 -s c1=2 finish ");
    check_plan(&two, &one, ROLLOUT_DEPLOY, "c0=1 100% s0=0 -s s1=0 -s finish ");
    struct app_spec workers = rolling(1, 25, 25, true);
    workers.processes[0] = (struct process_spec){.name = "worker", .replicas = 3};
    check_plan(&one, &workers, ROLLOUT_DEPLOY, "c0=3 s0=0 -s finish ");
    check_plan(&workers, &one, ROLLOUT_DEPLOY, "c0=1 100% s0=0 -s finish ");
}

static void test_back_off(void **state)
{
    (void)state;
    static const int64_t expected[] = {1000,  1000,  2000,   4000,   8000,   16000,
                                       32000, 64000, 128000, 256000, 300000, 300000};
    for (uint32_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(back_off_ms(i), expected[i]);
    assert_int_equal(back_off_ms(UINT32_MAX), 300000);
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(rollout_result_word(RESULT_ROLLED_BACK), "rolled-back");
    assert_string_equal(reason_code_word(REASON_CRASH_LOOP), "crash-loop");
    assert_string_equal(reason_code_word(REASON_OUT_OF_MEMORY), "out-of-memory");
    assert_string_equal(instance_state_word(INSTANCE_BACKING_OFF), "backing-off");
    assert_string_equal(step_kind_word(STEP_WAIT_READY), "wait-ready");
    cleanup_buf struct buf text = BUF_INIT;
    step_describe(&(struct step){.kind = STEP_PAUSE_FOR, .duration_ms = 90000}, NULL, &text);
    assert_string_equal(buf_str(&text), "watch for 90s");
    buf_clear(&text);
    step_describe(&(struct step){.kind = STEP_MIRROR, .weight_ppm = 200000}, NULL, &text);
    assert_string_equal(buf_str(&text), "mirror 20% of the requests to the candidate");
    buf_clear(&text);
    step_describe(&(struct step){.kind = STEP_MIRROR}, NULL, &text);
    assert_string_equal(buf_str(&text), "mirror nothing more");
    assert_string_equal(reason_code_word(REASON_DIFFERENCES), "differences");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_each_byte_broken),
        cmocka_unit_test(test_long_texts), cmocka_unit_test(test_rolling_rounds),
        cmocka_unit_test(test_plans),      cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
