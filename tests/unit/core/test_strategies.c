/* For each strategy what is decided, in order, for releases that are good, worse, crash, flap, or
 * never are ready: the events (with a colon) and the actions (indented), to the end of the rollout
 * and 5 s beyond. Instances are rRELEASE.PROCESS-NUMBER. */
#include "core/world.h"

static void tweak_4(struct app_spec *spec)
{
    spec->strategy.min_ready_ms = 400;
}

static void tweak_7(struct app_spec *spec)
{
    spec->release_len = 1;
}

static void tweak_8(struct app_spec *spec)
{
    spec->release_len = 1;
}

static void tweak_13(struct app_spec *spec)
{
    world_add_worker(spec, 1);
}

static void tweak_14(struct app_spec *spec)
{
    spec->release_len = 1;
}

static void tweak_15(struct app_spec *spec)
{
    spec->strategy.smoke_len = 1;
    spec->strategy.keep_ms = 3000;
}

static void tweak_16(struct app_spec *spec)
{
    spec->strategy.smoke_len = 1;
}

static void tweak_18(struct app_spec *spec)
{
    world_add_worker(spec, 1);
}

static void tweak_23(struct app_spec *spec)
{
    spec->strategy.steps[0].smoke_len = 1;
}

static void tweak_24(struct app_spec *spec)
{
    world_add_worker(spec, 1);
}

static void tweak_shadow(struct app_spec *spec)
{
    spec->strategy.smoke_len = 1;
    spec->strategy.keep_ms = 3000;
}

#define VERDICT "verdict: not enough evidence to tell: 0.2% errors against 0.1%\n"

static void back_when_open(struct app_spec *spec)
{
    spec->strategy.judge.inconclusive = INCONCLUSIVE_ROLLBACK;
}

static const struct {
    const char *name;
    enum strategy_kind strategy;
    uint32_t replicas;
    struct behaviour how;
    void (*tweak)(struct app_spec *spec);
    enum rollout_result result;
    enum reason_code reason;
    const char *expected;
} cases[] = {
    {.name = "rolling: good",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {0},
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 50% (1/1 ready)\n"
                 "step: scale stable to 1\n"
                 "step: drain stable\n"
                 "  drain r1.0-002\n"
                 "step: stop stable\n"
                 "  stop r1.0-002\n"
                 "step: scale candidate to 2\n"
                 "step: wait until candidate is ready\n"
                 "  remove r1.0-002\n"
                 "  create \n"
                 "weight: weight 100% (2/2 ready)\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "promoted: release 2 is live\n"
                 "  remove r1.0-001\n"},
    {.name = "rolling: worse",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.bad_ms = 60},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_ERRORS,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 50% (1/1 ready)\n"
         "step: scale stable to 1\n"
         "step: drain stable\n"
         "  drain r1.0-002\n"
         "step: stop stable\n"
         "  stop r1.0-002\n"
         "step: scale candidate to 2\n"
         "step: wait until candidate is ready\n"
         "  remove r1.0-002\n"
         "  create \n"
         "rolling-back: going back: 5% errors against 0.1%\n"
         "  cancel-hook \n"
         "step: scale candidate to 1\n"
         "step: drain candidate\n"
         "  drain r2.0-004\n"
         "step: stop candidate\n"
         "  stop r2.0-004\n"
         "step: scale stable to 2\n"
         "step: wait until stable is ready\n"
         "  remove r2.0-004\n"
         "  create \n"
         "weight: all traffic is on release 1 (2/2 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-003\n"
         "step: stop candidate\n"
         "  stop r2.0-003\n"
         "rolled-back: release 2 is rolled back: 5% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-003\n"},
    {.name = "rolling: crashes",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.crash_ms = 20},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_CRASH_LOOP,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  start r2.0-003\n"
                 "  start r2.0-003\n"
                 "rolling-back: going back: r2.0-003 crashed (3 crashes of the new release in "
                 "all): GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-003\n"
                 "rolled-back: release 2 is rolled back: r2.0-003 crashed (3 crashes of the new "
                 "release in all): GET /ready: status 503; release 1 is live\n"},
    {.name = "rolling: crashes for want of memory",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.crash_ms = 20, .out_of_memory = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_OUT_OF_MEMORY,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  start r2.0-003\n"
                 "  start r2.0-003\n"
                 "rolling-back: going back: r2.0-003 crashed (3 crashes of the new release in "
                 "all): GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-003\n"
                 "rolled-back: release 2 is rolled back: r2.0-003 crashed (3 crashes of the new "
                 "release in all): GET /ready: status 503; release 1 is live\n"},
    {.name = "rolling: never ready",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.never_ready = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_NOT_READY,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "rolling-back: going back: r2.0-003 is not ready after 1m (starting): GET /ready: "
                 "status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  drain r2.0-003\n"
                 "step: stop candidate\n"
                 "  stop r2.0-003\n"
                 "rolled-back: release 2 is rolled back: r2.0-003 is not ready after 1m "
                 "(starting): GET /ready: status 503; release 1 is live\n"
                 "  remove r2.0-003\n"},
    {.name = "rolling: flaps",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.flap_ms = 300},
     .tweak = tweak_4,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_DEADLINE,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "rolling-back: going back: no progress for 1m in the step \"wait until candidate "
                 "is ready\"\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  drain r2.0-003\n"
                 "step: stop candidate\n"
                 "  stop r2.0-003\n"
                 "rolled-back: release 2 is rolled back: no progress for 1m in the step \"wait "
                 "until candidate is ready\"; release 1 is live\n"
                 "  remove r2.0-003\n"},
    {.name = "rolling: cannot start",
     .strategy = STRATEGY_ROLLING,
     .replicas = 2,
     .how = {.start_fails = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_START_FAILED,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  start r2.0-003\n"
                 "rolling-back: going back: r2.0-003 cannot be started: GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-003\n"
                 "rolled-back: release 2 is rolled back: r2.0-003 cannot be started: GET /ready: "
                 "status 503; release 1 is live\n"},
    {.name = "rolling: one replica",
     .strategy = STRATEGY_ROLLING,
     .replicas = 1,
     .how = {0},
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 100% (1/1 ready)\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "promoted: release 2 is live\n"
                 "  remove r1.0-001\n"},
    {.name = "rolling: release command",
     .strategy = STRATEGY_ROLLING,
     .replicas = 1,
     .how = {0},
     .tweak = tweak_7,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: run the release commands\n"
                 "  hook \n"
                 "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 100% (1/1 ready)\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "promoted: release 2 is live\n"
                 "  remove r1.0-001\n"},
    {.name = "rolling: release command fails",
     .strategy = STRATEGY_ROLLING,
     .replicas = 1,
     .how = {.hook_fails = true},
     .tweak = tweak_8,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_RELEASE_COMMAND,
     .expected =
         "step: run the release commands\n"
         "  hook \n"
         "rolling-back: going back: ./smoke exited with 3: no\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (1/1 ready)\n"
         "rolled-back: release 2 is rolled back: ./smoke exited with 3: no; release 1 is live\n"},
    {.name = "rolling: port taken",
     .strategy = STRATEGY_ROLLING,
     .replicas = 1,
     .how = {.port_taken = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_PORT_TAKEN,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "rolling-back: going back: r2.0-002 cannot have its port: GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (1/1 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  drain r2.0-002\n"
                 "step: stop candidate\n"
                 "  stop r2.0-002\n"
                 "rolled-back: release 2 is rolled back: r2.0-002 cannot have its port: GET "
                 "/ready: status 503; release 1 is live\n"
                 "  remove r2.0-002\n"},
    {.name = "recreate: good",
     .strategy = STRATEGY_RECREATE,
     .replicas = 2,
     .how = {0},
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: hold requests\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-002\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "  stop r1.0-002\n"
                 "step: scale candidate to 2\n"
                 "step: wait until candidate is ready\n"
                 "  remove r1.0-001\n"
                 "  remove r1.0-002\n"
                 "  create \n"
                 "  create \n"
                 "weight: weight 100% (2/2 ready)\n"
                 "step: let requests go\n"
                 "promoted: release 2 is live\n"},
    {.name = "recreate: crashes",
     .strategy = STRATEGY_RECREATE,
     .replicas = 1,
     .how = {.crash_ms = 20},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_CRASH_LOOP,
     .expected = "step: hold requests\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  remove r1.0-001\n"
                 "  create \n"
                 "  start r2.0-002\n"
                 "  start r2.0-002\n"
                 "rolling-back: going back: r2.0-002 crashed (3 crashes of the new release in "
                 "all): GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "step: hold requests\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-002\n"
                 "step: scale stable to 1\n"
                 "step: wait until stable is ready\n"
                 "  create \n"
                 "weight: all traffic is on release 1 (1/1 ready)\n"
                 "step: let requests go\n"
                 "rolled-back: release 2 is rolled back: r2.0-002 crashed (3 crashes of the new "
                 "release in all): GET /ready: status 503; release 1 is live\n"},
    {.name = "recreate: never ready",
     .strategy = STRATEGY_RECREATE,
     .replicas = 1,
     .how = {.never_ready = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_NOT_READY,
     .expected = "step: hold requests\n"
                 "step: scale stable to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  remove r1.0-001\n"
                 "  create \n"
                 "rolling-back: going back: r2.0-002 is not ready after 1m (starting): GET /ready: "
                 "status 503\n"
                 "  cancel-hook \n"
                 "step: hold requests\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  drain r2.0-002\n"
                 "step: stop candidate\n"
                 "  stop r2.0-002\n"
                 "step: scale stable to 1\n"
                 "step: wait until stable is ready\n"
                 "  remove r2.0-002\n"
                 "  create \n"
                 "weight: all traffic is on release 1 (1/1 ready)\n"
                 "step: let requests go\n"
                 "rolled-back: release 2 is rolled back: r2.0-002 is not ready after 1m "
                 "(starting): GET /ready: status 503; release 1 is live\n"},
    {.name = "recreate: worker",
     .strategy = STRATEGY_RECREATE,
     .replicas = 1,
     .how = {0},
     .tweak = tweak_13,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: hold requests\n"
                 "step: scale stable's web to 0\n"
                 "step: scale stable's worker to 0\n"
                 "step: drain stable\n"
                 "  drain r1.0-001\n"
                 "  drain r1.1-002\n"
                 "step: stop stable\n"
                 "  stop r1.0-001\n"
                 "  stop r1.1-002\n"
                 "step: scale candidate's web to 1\n"
                 "step: scale candidate's worker to 1\n"
                 "step: wait until candidate's web is ready\n"
                 "  remove r1.0-001\n"
                 "  remove r1.1-002\n"
                 "  create \n"
                 "  create \n"
                 "weight: weight 100% (1/1 ready)\n"
                 "step: let requests go\n"
                 "promoted: release 2 is live\n"},
    {.name = "recreate: release command fails",
     .strategy = STRATEGY_RECREATE,
     .replicas = 1,
     .how = {.hook_fails = true},
     .tweak = tweak_14,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_RELEASE_COMMAND,
     .expected =
         "step: run the release commands\n"
         "  hook \n"
         "rolling-back: going back: ./smoke exited with 3: no\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (1/1 ready)\n"
         "rolled-back: release 2 is rolled back: ./smoke exited with 3: no; release 1 is live\n"},
    {.name = "blue-green: good",
     .strategy = STRATEGY_BLUE_GREEN,
     .replicas = 2,
     .how = {0},
     .tweak = tweak_15,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 2\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "step: smoke test\n"
                 "  hook \n"
                 "weight: weight 100% (2/2 ready)\n"
                 "promoted: release 2 is live\n"
                 "  drain r1.0-002\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  stop r1.0-002\n"
                 "  remove r1.0-001\n"
                 "  remove r1.0-002\n"},
    {.name = "blue-green: smoke fails",
     .strategy = STRATEGY_BLUE_GREEN,
     .replicas = 2,
     .how = {.smoke_fails = true},
     .tweak = tweak_16,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_SMOKE,
     .expected =
         "step: scale candidate to 2\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "  create \n"
         "step: smoke test\n"
         "  hook \n"
         "rolling-back: going back: ./smoke exited with 3: no\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (2/2 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-004\n"
         "  drain r2.0-003\n"
         "step: stop candidate\n"
         "  stop r2.0-003\n"
         "  stop r2.0-004\n"
         "rolled-back: release 2 is rolled back: ./smoke exited with 3: no; release 1 is live\n"
         "  remove r2.0-003\n"
         "  remove r2.0-004\n"},
    {.name = "blue-green: never ready",
     .strategy = STRATEGY_BLUE_GREEN,
     .replicas = 2,
     .how = {.never_ready = true},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_NOT_READY,
     .expected = "step: scale candidate to 2\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "rolling-back: going back: r2.0-003 is not ready after 1m (starting): GET /ready: "
                 "status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (2/2 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  drain r2.0-004\n"
                 "  drain r2.0-003\n"
                 "step: stop candidate\n"
                 "  stop r2.0-003\n"
                 "  stop r2.0-004\n"
                 "rolled-back: release 2 is rolled back: r2.0-003 is not ready after 1m "
                 "(starting): GET /ready: status 503; release 1 is live\n"
                 "  remove r2.0-003\n"
                 "  remove r2.0-004\n"},
    {.name = "blue-green: worker",
     .strategy = STRATEGY_BLUE_GREEN,
     .replicas = 1,
     .how = {0},
     .tweak = tweak_18,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate's web to 1\n"
                 "step: wait until candidate's web is ready\n"
                 "  create \n"
                 "weight: weight 100% (1/1 ready)\n"
                 "step: scale candidate's worker to 1\n"
                 "step: wait until candidate's worker is ready\n"
                 "  create \n"
                 "step: scale stable's worker to 0\n"
                 "step: drain stable\n"
                 "  drain r1.1-002\n"
                 "step: stop stable\n"
                 "  stop r1.1-002\n"
                 "promoted: release 2 is live\n"
                 "  remove r1.1-002\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  remove r1.0-001\n"},
    {.name = "canary: good",
     .strategy = STRATEGY_CANARY,
     .replicas = 4,
     .how = {0},
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 25% (1/1 ready)\n"
                 "step: watch for 1s\n" VERDICT "step: scale candidate to 4\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "  create \n"
                 "weight: weight 100% (4/4 ready)\n"
                 "step: watch for 1s\n"
                 "promoted: release 2 is live\n"
                 "  drain r1.0-004\n"
                 "  drain r1.0-003\n"
                 "  drain r1.0-002\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  stop r1.0-002\n"
                 "  stop r1.0-003\n"
                 "  stop r1.0-004\n"
                 "  remove r1.0-001\n"
                 "  remove r1.0-002\n"
                 "  remove r1.0-003\n"
                 "  remove r1.0-004\n"},
    {.name = "canary: worse",
     .strategy = STRATEGY_CANARY,
     .replicas = 4,
     .how = {.bad_ms = 500},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_ERRORS,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 25% (1/1 ready)\n"
         "step: watch for 1s\n"
         "rolling-back: going back: 5% errors against 0.1%\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (4/4 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-005\n"
         "step: stop candidate\n"
         "  stop r2.0-005\n"
         "rolled-back: release 2 is rolled back: 5% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-005\n"},
    {.name = "canary: worse at the last step",
     .strategy = STRATEGY_CANARY,
     .replicas = 2,
     .how = {.bad_ms = 1600},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_ERRORS,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 25% (1/1 ready)\n"
         "step: watch for 1s\n" VERDICT "step: scale candidate to 2\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 100% (2/2 ready)\n"
         "step: watch for 1s\n"
         "rolling-back: going back: 5% errors against 0.1%\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (2/2 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-004\n"
         "  drain r2.0-003\n"
         "step: stop candidate\n"
         "  stop r2.0-003\n"
         "  stop r2.0-004\n"
         "rolled-back: release 2 is rolled back: 5% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-003\n"
         "  remove r2.0-004\n"},
    {.name = "canary: cleared",
     .strategy = STRATEGY_CANARY,
     .replicas = 1,
     .how = {.verdict = VERDICT_PASS},
     .tweak = back_when_open,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 25% (1/1 ready)\n"
                 "step: watch for 1s\n"
                 "verdict: no worse: 0.2% errors against 0.1%\n"
                 "weight: weight 100% (1/1 ready)\n"
                 "step: watch for 1s\n"
                 "promoted: release 2 is live\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  remove r1.0-001\n"},
    {.name = "canary: still open at the end, to be rolled back then",
     .strategy = STRATEGY_CANARY,
     .replicas = 1,
     .how = {.verdict = VERDICT_NO_DATA},
     .tweak = back_when_open,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_INCONCLUSIVE,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 25% (1/1 ready)\n"
         "step: watch for 1s\n"
         "rolling-back: going back: 0.2% errors against 0.1%\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (1/1 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-002\n"
         "step: stop candidate\n"
         "  stop r2.0-002\n"
         "rolled-back: release 2 is rolled back: 0.2% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-002\n"},
    {.name = "canary: crashes",
     .strategy = STRATEGY_CANARY,
     .replicas = 4,
     .how = {.crash_ms = 80},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_CRASH_LOOP,
     .expected = "step: scale candidate to 1\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "weight: weight 25% (1/1 ready)\n"
                 "step: watch for 1s\n" VERDICT "step: scale candidate to 4\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "  create \n"
                 "  start r2.0-005\n"
                 "rolling-back: going back: r2.0-006 crashed (4 crashes of the new release in "
                 "all): GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (4/4 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-008\n"
                 "  remove r2.0-007\n"
                 "  remove r2.0-006\n"
                 "  drain r2.0-005\n"
                 "rolled-back: release 2 is rolled back: r2.0-006 crashed (4 crashes of the new "
                 "release in all): GET /ready: status 503; release 1 is live\n"
                 "  remove r2.0-005\n"},
    {.name = "canary: smoke fails",
     .strategy = STRATEGY_CANARY,
     .replicas = 2,
     .how = {.smoke_fails = true},
     .tweak = tweak_23,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_SMOKE,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "weight: weight 25% (1/1 ready)\n"
         "step: smoke test\n"
         "  hook \n"
         "rolling-back: going back: ./smoke exited with 3: no\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (2/2 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-003\n"
         "step: stop candidate\n"
         "  stop r2.0-003\n"
         "rolled-back: release 2 is rolled back: ./smoke exited with 3: no; release 1 is live\n"
         "  remove r2.0-003\n"},
    {.name = "canary: worker",
     .strategy = STRATEGY_CANARY,
     .replicas = 1,
     .how = {0},
     .tweak = tweak_24,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate's web to 1\n"
                 "step: wait until candidate's web is ready\n"
                 "  create \n"
                 "weight: weight 25% (1/1 ready)\n"
                 "step: watch for 1s\n" VERDICT "weight: weight 100% (1/1 ready)\n"
                 "step: watch for 1s\n"
                 "step: scale candidate's worker to 1\n"
                 "step: wait until candidate's worker is ready\n"
                 "  create \n"
                 "step: scale stable's worker to 0\n"
                 "step: drain stable\n"
                 "  drain r1.1-002\n"
                 "step: stop stable\n"
                 "  stop r1.1-002\n"
                 "promoted: release 2 is live\n"
                 "  remove r1.1-002\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  remove r1.0-001\n"},
    {.name = "shadow: good",
     .strategy = STRATEGY_SHADOW,
     .replicas = 2,
     .how = {.verdict = VERDICT_PASS},
     .tweak = tweak_shadow,
     .result = RESULT_PROMOTED,
     .reason = REASON_NONE,
     .expected = "step: scale candidate to 2\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "step: smoke test\n"
                 "  hook \n"
                 "mirror: mirror 20% of the requests to the candidate\n"
                 "step: watch for 1s\n"
                 "verdict: no worse: 0.2% errors against 0.1%\n"
                 "mirror: mirror nothing more\n"
                 "weight: weight 100% (2/2 ready)\n"
                 "promoted: release 2 is live\n"
                 "  drain r1.0-002\n"
                 "  drain r1.0-001\n"
                 "  stop r1.0-001\n"
                 "  stop r1.0-002\n"
                 "  remove r1.0-001\n"
                 "  remove r1.0-002\n"},
    {.name = "shadow: worse",
     .strategy = STRATEGY_SHADOW,
     .replicas = 1,
     .how = {.bad_ms = 500},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_ERRORS,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "mirror: mirror 20% of the requests to the candidate\n"
         "step: watch for 1s\n"
         "rolling-back: going back: 5% errors against 0.1%\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (1/1 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-002\n"
         "step: stop candidate\n"
         "  stop r2.0-002\n"
         "rolled-back: release 2 is rolled back: 5% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-002\n"},
    {.name = "shadow: still open at the end, to be rolled back then",
     .strategy = STRATEGY_SHADOW,
     .replicas = 1,
     .how = {.verdict = VERDICT_NO_DATA},
     .tweak = back_when_open,
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_INCONCLUSIVE,
     .expected =
         "step: scale candidate to 1\n"
         "step: wait until candidate is ready\n"
         "  create \n"
         "mirror: mirror 20% of the requests to the candidate\n"
         "step: watch for 1s\n"
         "rolling-back: going back: 0.2% errors against 0.1%\n"
         "  cancel-hook \n"
         "weight: all traffic is on release 1 (1/1 ready)\n"
         "step: scale candidate to 0\n"
         "step: drain candidate\n"
         "  drain r2.0-002\n"
         "step: stop candidate\n"
         "  stop r2.0-002\n"
         "rolled-back: release 2 is rolled back: 0.2% errors against 0.1%; release 1 is live\n"
         "  remove r2.0-002\n"},
    {.name = "shadow: crashes",
     .strategy = STRATEGY_SHADOW,
     .replicas = 3,
     .how = {.crash_ms = 80},
     .result = RESULT_ROLLED_BACK,
     .reason = REASON_CRASH_LOOP,
     .expected = "step: scale candidate to 3\n"
                 "step: wait until candidate is ready\n"
                 "  create \n"
                 "  create \n"
                 "  create \n"
                 "mirror: mirror 20% of the requests to the candidate\n"
                 "step: watch for 1s\n"
                 "rolling-back: going back: r2.0-004 crashed (3 crashes of the new release in "
                 "all): GET /ready: status 503\n"
                 "  cancel-hook \n"
                 "weight: all traffic is on release 1 (3/3 ready)\n"
                 "step: scale candidate to 0\n"
                 "step: drain candidate\n"
                 "  remove r2.0-006\n"
                 "  remove r2.0-005\n"
                 "  remove r2.0-004\n"
                 "rolled-back: release 2 is rolled back: r2.0-004 crashed (3 crashes of the new "
                 "release in all): GET /ready: status 503; release 1 is live\n"},
};

static void run_case(size_t i, struct buf *out, enum rollout_result *result,
                     enum reason_code *reason)
{
    struct app_spec specs[2];
    struct world w;
    world_init(&w);
    for (size_t k = 0; k < 2; k++) {
        specs[k] = world_spec(cases[i].strategy, cases[i].replicas);
        if (cases[i].tweak != NULL)
            cases[i].tweak(&specs[k]);
        w.spec[k + 1] = &specs[k];
    }
    world_live(&w);
    w.trace_actions = true;
    w.how[2] = cases[i].how;
    assert_int_equal(world_begin(&w, 2, ROLLOUT_DEPLOY), 0);
    world_until_ended(&w, 200000);
    *result = w.last_result;
    *reason = w.last_reason.code;
    world_run(&w, 5000);
    assert_int_equal(world_weight(&w, *result == RESULT_PROMOTED ? 2 : 1), 1000000);
    buf_append(out, buf_str(&w.trace), w.trace.len);
    world_release(&w);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_buf struct buf got = BUF_INIT;
        enum rollout_result result;
        enum reason_code reason;
        run_case(i, &got, &result, &reason);
        if (strcmp(buf_str(&got), cases[i].expected) != 0)
            printf("@@ %s|%d|%d\n%s", cases[i].name, result, reason, buf_str(&got));
        assert_string_equal(buf_str(&got), cases[i].expected);
        assert_int_equal(result, cases[i].result);
        assert_int_equal(reason, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
