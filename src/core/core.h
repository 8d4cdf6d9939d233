/* core: what a rollout is and what happens next. Pure: no clock, no descriptor, no I/O.
 *
 * In the controller, the command line's `plan` (through the API) and the simulator.
 *
 *   spec --strategy--> plan (steps)      struct app_state + struct observations + now
 *                                          --decide()--> next state + actions
 *
 * decide() is level-triggered: it is called on every tick and event, says what to do NOW given what
 * is observed, and may be called again with the same observations (actions are idempotent: an
 * instance that is already stopping is not told again; the caller creates instances synchronously
 * in its observations before the next call).
 *
 * Pools: an app has up to CORE_MAX_POOLS pools: the stable one, the candidate of a rollout, and
 * left over ones (a superseded candidate, the one kept after blue-green) that go away. A pool
 * belongs to a release; `restart` makes a new pool of the same release. All logic speaks of pools.
 *
 * Invariants (property-tested): traffic weights sum to 1,000,000 or there are none; an instance is
 * told to stop only after it was drained, or was never routed, or the drain timeout is over; ready
 * instances of routed pools never fall under what the strategy allows by an action of ours;
 * instances never more than replicas + surge (canary, blue-green and shadow: + the candidate's);
 * copies only while there is a candidate that goes forward; recreate
 * never has two releases running; a decided rollback always ends on stable; every rollout ends.
 */
#ifndef SLUICE_CORE_CORE_H
#define SLUICE_CORE_CORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "spec/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CORE_MAX_POOLS = 4, INSTANCE_ID_MAX = 100, REASON_TEXT_MAX = 512 };

/* ---- plans ---- */

/* X(name, word): whom a step is about. Left over: what a superseded rollout left behind. */
#define SIDES(X)                                                                                   \
    X(SIDE_STABLE, "stable")                                                                       \
    X(SIDE_CANDIDATE, "candidate")                                                                 \
    X(SIDE_LEFT_OVER, "left-over")

enum side {
#define X(name, word) name,
    SIDES(X)
#undef X
        SIDES_COUNT
};
const char *side_word(enum side side);

/* X(name, word): the closed set of steps. */
#define STEP_KINDS(X)                                                                              \
    X(STEP_HOOK, "release")          /* run the spec's `release` commands of the candidate */      \
    X(STEP_SCALE, "scale")           /* wanted count of one process of one side */                 \
    X(STEP_WAIT_READY, "wait-ready") /* wanted instances of that process and side are ready */     \
    X(STEP_HOLD, "hold")             /* requests wait at the gateway: count 1 on, 0 off */         \
    X(STEP_WEIGHT, "weight")         /* the candidate's share */                                   \
    X(STEP_MIRROR, "mirror")         /* the share of the requests that it gets copies of */        \
    X(STEP_PAUSE_FOR, "pause-for")   /* time at a weight, judged all the while */                  \
    X(STEP_JUDGE, "judge") /* what the judge says at the end of a hold; count 1: the last one */   \
    X(STEP_SMOKE, "smoke") /* commands against a ready candidate instance; must exit 0 */          \
    X(STEP_APPROVE, "approve") /* wait for promote */                                              \
    X(STEP_DRAIN, "drain")     /* excess instances of that side are drained */                     \
    X(STEP_STOP, "stop")       /* excess instances of that side (all processes) are gone */        \
    X(STEP_FINISH, "finish")   /* the candidate becomes stable */

enum step_kind {
#define X(name, word) name,
    STEP_KINDS(X)
#undef X
        STEP_KINDS_COUNT
};
const char *step_kind_word(enum step_kind kind);

struct step {
    enum step_kind kind;
    enum side side;
    uint8_t process; /* index in spec.processes */
    /* scale: wanted; hold: 1 on, 0 off; smoke: canary step index + 1, 0 blue-green's; judge: 1 the
     * last one, where the policy for the inconclusive holds. */
    uint32_t count;
    uint32_t weight_ppm; /* weight, mirror */
    int64_t duration_ms; /* pause-for */
    bool best_effort;    /* wait-ready: passes too when that side cannot become ready (crashing,
                            backing off, or BEST_EFFORT_MS over) */
};

struct plan {
    const struct step *steps;
    size_t len;
};

/* What a person reads: "scale candidate to 3", "weight 25%". */
void step_describe(const struct step *step, const struct app_spec *candidate, struct buf *out);

/* ---- state (persistent, small, all of it in state_to_json) ---- */

#define ROLLOUT_KINDS(X)                                                                           \
    X(ROLLOUT_DEPLOY, "deploy")                                                                    \
    X(ROLLOUT_ROLLBACK, "rollback")                                                                \
    X(ROLLOUT_RESTART, "restart")

enum rollout_kind {
#define X(name, word) name,
    ROLLOUT_KINDS(X)
#undef X
        ROLLOUT_KINDS_COUNT
};
const char *rollout_kind_word(enum rollout_kind kind);

#define ROLLOUT_PHASES(X)                                                                          \
    X(PHASE_NONE, "none")       /* no rollout: steady */                                           \
    X(PHASE_FORWARD, "forward") /* the plan runs */                                                \
    X(PHASE_BACK, "back")       /* going back to stable */                                         \
    X(PHASE_PAUSED, "paused")   /* by a person or on-failure: pause; nothing moves, but crashed    \
                                   instances still come back */

enum rollout_phase {
#define X(name, word) name,
    ROLLOUT_PHASES(X)
#undef X
        ROLLOUT_PHASES_COUNT
};
const char *rollout_phase_word(enum rollout_phase phase);

#define ROLLOUT_RESULTS(X)                                                                         \
    X(RESULT_NONE, "")                                                                             \
    X(RESULT_PROMOTED, "promoted")                                                                 \
    X(RESULT_ROLLED_BACK, "rolled-back")                                                           \
    X(RESULT_ABORTED, "aborted")                                                                   \
    X(RESULT_SUPERSEDED, "superseded")                                                             \
    X(RESULT_PAUSED, "paused")

enum rollout_result {
#define X(name, word) name,
    ROLLOUT_RESULTS(X)
#undef X
        ROLLOUT_RESULTS_COUNT
};
const char *rollout_result_word(enum rollout_result result); /* "rolled-back" */

/* X(name, code): why a rollout went back or stopped. The codes are part of the API. */
#define REASONS(X)                                                                                 \
    X(REASON_NONE, "")                                                                             \
    X(REASON_ERRORS, "error-rate")                                                                 \
    X(REASON_LATENCY, "latency")                                                                   \
    X(REASON_SLO, "slo")                                                                           \
    X(REASON_CRASH_LOOP, "crash-loop")                                                             \
    X(REASON_OUT_OF_MEMORY, "out-of-memory") /* crashes, for want of memory */                     \
    X(REASON_START_FAILED, "start-failed")                                                         \
    X(REASON_NOT_READY, "not-ready")                                                               \
    X(REASON_DEADLINE, "deadline")                                                                 \
    X(REASON_SMOKE, "smoke-failed")                                                                \
    X(REASON_RELEASE_COMMAND, "release-command-failed")                                            \
    X(REASON_BUILD, "build-failed")                                                                \
    X(REASON_ABORTED, "aborted")                                                                   \
    X(REASON_SUPERSEDED, "superseded")                                                             \
    X(REASON_HOST_RESTARTED, "host-restarted")                                                     \
    X(REASON_STOPPED, "stopped")                                                                   \
    X(REASON_PORT_TAKEN, "port-taken")                                                             \
    X(REASON_INCONCLUSIVE, "inconclusive")                                                         \
    X(REASON_METRIC, "metric")                                                                     \
    X(REASON_METRIC_ERROR, "metric-error")                                                         \
    X(REASON_DIFFERENCES, "differences")

enum reason_code {
#define X(name, code) name,
    REASONS(X)
#undef X
        REASONS_COUNT
};
const char *reason_code_word(enum reason_code code);

struct reason {
    enum reason_code code;
    char text[REASON_TEXT_MAX];
};

struct pool_state {
    uint32_t id;      /* 0: this place is free; rises within an app, never repeats */
    uint32_t release; /* release number */
    uint32_t wanted[SPEC_MAX_PROCESSES];
    uint32_t weight_ppm;
    int64_t keep_until_ms; /* a pool kept after promotion; 0: not kept */
    uint8_t routed;        /* index of the process that gets the routes, + 1; 0: none */
};

struct rollout_state {
    uint64_t id; /* 0: none */
    enum rollout_kind kind;
    enum rollout_phase phase, resume_phase; /* resume_phase: what a pause interrupted */
    enum rollout_phase told_phase;          /* the phase that decide() last spoke of */
    bool exclusive;           /* recreate: never two releases at once, in this rollout */
    uint32_t ignored_reasons; /* bit per reason_code that a person said to go on in spite of */
    struct plan plan;         /* of the present direction */
    uint32_t cursor;
    int64_t started_ms, step_since_ms, progress_ms; /* wall clock milliseconds */
    int64_t step_done_ms;       /* pause-for: time already waited before a pause */
    bool promote_all;           /* skip what only waits */
    enum rollout_result ending; /* PHASE_BACK: what it will be called when it is done */
    struct reason reason;
    uint32_t ready_best;   /* progress is measured by these rising within a step */
    uint32_t drained_best; /* UINT32_MAX: nothing left to drain or stop */
};

struct app_state {
    uint32_t next_pool;
    uint32_t stable, candidate; /* pool ids; 0: none */
    struct pool_state pools[CORE_MAX_POOLS];
    bool hold;                 /* the gateway holds the app's requests */
    bool stopped;              /* by `stop` */
    bool previewing, matching; /* the candidate gets its preview / match traffic */
    uint32_t mirror_ppm;       /* of the requests the candidate gets copies; 0: of none */
    uint32_t replicas_override[SPEC_MAX_PROCESSES]; /* `scale`: count + 1; 0: none */
    struct rollout_state rollout;
    struct arena_block *memory; /* owns rollout.plan.steps; core's own business */
};

void app_state_init(struct app_state *s);
void app_state_release(struct app_state *s);
void app_state_copy(struct app_state *to, const struct app_state *from); /* `to` is uninitialised */
void app_state_to_json(const struct app_state *s, struct buf *out);
int app_state_from_json(struct app_state *s, const char *text, struct error *err);
const struct pool_state *app_pool(const struct app_state *s, uint32_t id); /* NULL: none */

/* ---- what is observed ---- */

/* X(name, word): states of an instance as users see them. */
#define INSTANCE_STATES(X)                                                                         \
    X(INSTANCE_STARTING, "starting") /* no successful readiness yet */                             \
    X(INSTANCE_READY, "ready")                                                                     \
    X(INSTANCE_UNREADY, "unready")         /* was ready, readiness fails now */                    \
    X(INSTANCE_DRAINING, "draining")       /* unrouted, in-flight not yet zero */                  \
    X(INSTANCE_STOPPING, "stopping")       /* told to stop */                                      \
    X(INSTANCE_BACKING_OFF, "backing-off") /* exited, will be started again */                     \
    X(INSTANCE_EXITED, "exited")

enum instance_state {
#define X(name, word) name,
    INSTANCE_STATES(X)
#undef X
        INSTANCE_STATES_COUNT
};
const char *instance_state_word(enum instance_state state);

struct instance_obs {
    const char *id;
    uint32_t pool;
    uint8_t process;
    enum instance_state state;
    bool drained; /* DRAINING: acknowledged by every gateway and counted to zero, or timed out */
    bool running; /* a process (or container) exists */
    bool coming_back;  /* STOPPING only in order to be started again (liveness): keeps its place */
    uint32_t restarts; /* starts after the first */
    uint32_t fast_crashes; /* exits in a row without 10 min up between them */
    uint32_t losses;       /* ends in a row by the death of its shim: they delay the next start, but
                            * are no fault of its release */
    int64_t since_ms;      /* when it came into this state */
    int64_t exited_ms;     /* BACKING_OFF, EXITED: when */
    bool start_failed;     /* its last start could not exec: no point in many tries */
    bool out_of_memory;    /* the kernel killed its last run for want of memory */
    bool port_taken;       /* a stranger holds its port */
    const char *detail;    /* the probe's last error or exit status in words, or NULL */
};

enum verdict {
    VERDICT_CONTINUE,     /* the evidence neither clears nor condemns it so far */
    VERDICT_PASS,         /* it clears it */
    VERDICT_NO_DATA,      /* there is none */
    VERDICT_ROLL_BACK,    /* it condemns it */
    VERDICT_INCONCLUSIVE, /* a measurement could not be told good or bad too often: stop here */
};

enum hook_state { HOOK_NOT_RUN, HOOK_RUNNING, HOOK_OK, HOOK_FAILED };

struct observations {
    const struct instance_obs *instances; /* all of the app, any order */
    size_t instances_len;
    enum verdict verdict;
    bool unanswered; /* NO_DATA: for the candidate was given requests, and has not ended one */
    /* ROLL_BACK: why. Else what there is to say: the text alone counts. */
    struct reason verdict_reason;
    /* Of the hook (release commands, or smoke) that the present step asks for: of rollout.id and
     * rollout.cursor, NOT_RUN where those are others than the hook was run for. */
    enum hook_state hook;
    char hook_text[REASON_TEXT_MAX]; /* failed: "./smoke exited with 3: last line" */
    bool traffic_applied; /* every gateway uses the weights, hold, pins of the present app_state */
};

/* ---- deciding ---- */

enum action_kind {
    ACTION_CREATE, /* a new instance of pool, process: start it */
    ACTION_START,  /* instance: start again (after back-off) */
    ACTION_DRAIN,  /* instance: take it out of the traffic; it becomes DRAINING */
    ACTION_STOP,   /* instance: `stop.before`, signal, grace */
    ACTION_REMOVE, /* instance: it is over and not wanted: forget it */
    ACTION_HOOK,   /* run the hook of the present step (release commands / smoke) */
    ACTION_CANCEL_HOOK,
    ACTION_EVENT, /* tell and record: event, text */
};

struct action {
    enum action_kind kind;
    const char *instance; /* points into the observations */
    uint32_t pool;
    uint8_t process;
    const char *event; /* machine word: "step", "promoted", "rolled-back", "paused", ... */
    const char *text;  /* for people; in the arena */
};

struct decision {
    struct action *items; /* in the arena given */
    size_t len, cap;
    bool state_changed;   /* the state must be stored before the actions are carried out */
    bool traffic_changed; /* weights, hold, pins, pools: a new snapshot is due */
    bool traffic_first;   /* traffic goes back to stable: publish before the store knows */
    bool rollout_ended;   /* state.rollout is now NONE; `ended` has the last one (result, reason) */
    /* result: of the rollout that ended; RESULT_PAUSED, with rollout_ended false, in the turn in
     * which on-failure paused it (state.rollout.reason says why). */
    struct rollout_state ended;
    enum rollout_result result;
    int64_t next_ms; /* call again at this time at the latest; INT64_MAX: only on events */
};

/* The specs of the pools' releases. */
struct specs {
    const struct app_spec *of_pool[CORE_MAX_POOLS]; /* parallel to state.pools; NULL where free */
};

/* Moves *s on and fills *out (zeroed by the caller; memory from arena). */
void decide(struct app_state *s, const struct specs *specs, const struct observations *obs,
            int64_t now_ms, struct arena *arena, struct decision *out);

/* Exponential back-off of a crashed instance: 1 s doubling to 5 min. fast_crashes >= 1. */
int64_t back_off_ms(uint32_t fast_crashes);

/* ---- what people do ----
 *
 * Each changes the state only; the next decide() acts. They answer in every state: 0, or -1 with
 * ERROR_CONFLICT and a sentence that says what the state is and what can be done. */

struct rollout_request {
    uint64_t id;
    enum rollout_kind kind;
    uint32_t release;
    const struct app_spec *spec;   /* of that release */
    const struct app_spec *stable; /* of the present stable pool; NULL: none */
    int64_t now_ms;
};
/* Begins a rollout; one under way is superseded: *superseded gets it (id 0: none was). */
int core_begin(struct app_state *s, const struct rollout_request *request,
               const struct observations *obs, struct rollout_state *superseded, struct error *err);
/* The wall clock was set, so many ms ahead or (negative) back: all moments move with it. */
void core_clock_moved(struct app_state *s, int64_t by_ms);
/* At an approval: passes that one. Else all that only waits is skipped from here on (holds,
 * approvals; readiness and smoke tests are not), and the judge is not asked any more. */
int core_promote(struct app_state *s, int64_t now_ms, struct error *err);
/* Goes back; the plan for that is made by the next decide(), until then it is empty. On its way
 * back already: done. REASON_ABORTED and REASON_STOPPED end as aborted, other codes as rolled back.
 */
int core_abort(struct app_state *s, const struct specs *specs, enum reason_code code,
               const char *text, int64_t now_ms, struct error *err);
/* A way back cannot be paused: a decided roll back ends on stable. */
int core_pause(struct app_state *s, int64_t now_ms, struct error *err);
/* After an on-failure pause: the reason that had stopped it is not acted on again. */
int core_resume(struct app_state *s, int64_t now_ms, struct error *err);
int core_scale(struct app_state *s, const struct app_spec *stable, uint8_t process, uint32_t count,
               struct error *err);
int core_stop(struct app_state *s,
              struct error *err); /* ends a rollout as aborted, then all to 0 */
int core_start(struct app_state *s, struct error *err);

/* The plan that a deploy would have (also for `sluice plan`). stable NULL: the first deploy. Counts
 * replicas from the specs and the overrides. */
struct plan plan_make(const struct app_spec *stable, const struct app_spec *candidate,
                      enum rollout_kind kind, const uint32_t *replicas_override,
                      struct arena *arena);
/* The least time that the plan takes by its own waits. */
int64_t plan_least_ms(const struct plan *plan);

#endif
