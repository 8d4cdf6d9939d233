/* core, inside: what its files share. Not for other rooms.
 *
 *   words.c     words of enums, steps in words        state.c      pools, copies; who is what
 *   state_write.c, state_read.c   app_state <-> JSON  counts.c     replicas, surge, overrides
 *   plan.c      plan_make, the parts plans share      strategy_*.c one strategy each
 *   restore.c   the way back to a full stable         tally.c      observations, counted
 *   decide.c    decide(): the order of things         steps.c      the table of steps
 *   traffic.c   weights, hold, pins                   guard.c      what makes a rollout fail
 *   reconcile.c wanted against observed               begin.c, commands.c  what people say
 */
#ifndef SLUICE_CORE_INTERNAL_H
#define SLUICE_CORE_INTERNAL_H

#include "base/vec.h"
#include "core/core.h"

enum {
    WHOLE_PPM = 1000000,
    BEST_EFFORT_MS = 60000, /* a stable that is not ready after so long cannot become ready */
    CRASH_LIMIT = 3,        /* fast crashes of the candidate's instances, in sum */
    START_FAILED_LIMIT = 2,
    HOPELESS_CRASHES = 2, /* an instance that is not ready after so many is not waited for */
    PLAN_STEPS_MAX = 100000,
    REPLICAS_MAX = 1000,
};

/* ---- state.c ---- */

struct pool_state *pool_of(struct app_state *s, uint32_t id); /* NULL: none */
size_t pool_index(const struct app_state *s, uint32_t id);    /* CORE_MAX_POOLS: none */
bool pool_is_left_over(const struct app_state *s, const struct pool_state *p);
/* Of several left over pools the one with most of the traffic. NULL: none. */
struct pool_state *pool_left_over(struct app_state *s);
/* Gives all of the traffic to one pool; NULL: none for anyone. true: that is a change. */
bool pools_give_all(struct app_state *s, const struct pool_state *to);
void reason_set(struct reason *r, enum reason_code code, const char *text);
/* The plan goes into memory of the state's own; what it had is freed. */
void plan_store(struct app_state *s, const struct plan *plan);

/* ---- counts.c ---- */

int routed_process(const struct app_spec *spec); /* -1: none */
/* What stable should have, with `scale` taken into account. */
uint32_t stable_replicas(const struct app_spec *spec, const uint32_t *override, size_t process);
/* The overrides as they are after `candidate` replaced `stable` (NULL: none): one holds until a
 * spec comes whose replicas changed. By process name, since the order may differ. */
void overrides_carry(const struct app_spec *stable, const struct app_spec *candidate,
                     const uint32_t *old, uint32_t *new);
struct limits {
    uint32_t surge, unavailable;
};
/* Of a rolling replacement towards n instances; surge + unavailable >= 1. */
struct limits rolling_limits(const struct app_spec *spec, uint32_t n);
bool spec_is_exclusive(const struct app_spec *spec);

/* ---- tally.c: observations, counted ---- */

struct count {
    uint32_t alive; /* has a place: starting, ready, unready, backing off, coming back */
    uint32_t ready;
    uint32_t settled;  /* ready, and for min-ready */
    uint32_t hopeless; /* not ready, and not worth waiting for */
    uint32_t leaving;  /* draining or stopping */
    uint32_t undrained;
    uint32_t stopping;
    uint32_t running; /* a process exists, or is about to */
};
struct tally {
    struct count of[CORE_MAX_POOLS + 1][SPEC_MAX_PROCESSES]; /* the last: of pools that are gone */
    uint32_t running[CORE_MAX_POOLS + 1], total[CORE_MAX_POOLS + 1];
    int64_t settles_ms;  /* when the next ready one is settled; INT64_MAX: none */
    int64_t hopeless_ms; /* when the next one becomes hopeless by time */
};
bool has_a_place(const struct instance_obs *in); /* counts as one of the wanted */
struct tally_rules {
    int64_t now_ms, best_effort_ms;
    int64_t min_ready_ms[CORE_MAX_POOLS]; /* of the routed process */
};
void tally_count(struct tally *t, const struct app_state *s, const struct observations *obs,
                 const struct tally_rules *rules);

/* ---- plan.c: what plans are built with ---- */

struct planner {
    struct arena *arena;
    struct step *items;
    size_t len, cap;
    enum rollout_kind kind;
    const struct app_spec *stable, *candidate; /* stable NULL: none, or it has no instances */
    uint32_t stable_count[SPEC_MAX_PROCESSES], candidate_count[SPEC_MAX_PROCESSES];
    bool left_over; /* a superseded rollout's instances have to go as well */
    bool kept;      /* the candidate was kept up beside stable: nothing of it has to start */
};
void planner_init(struct planner *p, const struct app_spec *stable,
                  const struct app_spec *candidate, enum rollout_kind kind,
                  const uint32_t *override, struct arena *arena);
struct step *plan_step(struct planner *p, enum step_kind kind);
void plan_scale(struct planner *p, enum side side, size_t process, uint32_t count);
void plan_wait(struct planner *p, enum side side, size_t process, bool best_effort);
void plan_weight(struct planner *p, uint32_t weight_ppm);
void plan_hold(struct planner *p, bool on);
void plan_gone(struct planner *p, enum side side); /* drain, stop */
void plan_workers(struct planner *p); /* processes without routes, replaced at the end */
uint32_t planned_routed(const struct planner *p); /* the candidate's routed instances */

/* One side up, the other down, within bounds; rolling in either direction. cap > floor. */
struct rounds {
    enum side up, down;
    size_t up_process, down_process;
    uint32_t up_now, up_target, down_now;
    uint32_t cap, floor; /* running at most, ready at least */
    bool forward;        /* with weights; else best effort, and the traffic follows by itself */
};
void plan_rounds(struct planner *p, const struct rounds *r);

/* A strategy: appends its steps, the finish included; strategy_*.c. */
typedef void strategy_fn(struct planner *p);
strategy_fn strategy_first, strategy_rolling, strategy_recreate, strategy_blue_green,
    strategy_canary, strategy_shadow, strategy_again;
/* Chooses, and adds the release commands. */
void plan_strategy(struct planner *p, bool recreate);

/* ---- restore.c ---- */

/* Where the pools stand when stable is to be made full again at the cost of another. */
struct standing {
    const struct app_spec *stable;
    const struct pool_state *stable_pool;
    const struct pool_state *down_pool;            /* NULL: nothing to take away */
    const struct count *stable_count, *down_count; /* by process; down NULL with its pool */
    uint32_t full[SPEC_MAX_PROCESSES];             /* stable's */
    uint32_t cap, floor;                           /* of the routed process */
    enum side down;
};
/* Bounds of the routed process between stable (full there already) and a candidate. */
void standing_bounds(struct standing *at, const struct app_spec *candidate,
                     uint32_t candidate_count, enum rollout_kind kind);
void plan_restore(struct planner *p, const struct standing *at);

/* ---- decide.c: one call of decide() ---- */

struct turn {
    struct app_state *s;
    const struct specs *specs;
    const struct observations *obs;
    int64_t now;
    struct arena *arena;
    struct decision *out;
    struct tally tally;
    bool traffic_stale; /* obs.traffic_applied is about an older state */
    bool hook_stale;    /* obs.hook is about an earlier step */
};

void turn_changed(struct turn *t);
void turn_wake(struct turn *t, int64_t at_ms);
struct action *turn_act(struct turn *t, enum action_kind kind);
void turn_event(struct turn *t, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const struct app_spec *turn_spec(const struct turn *t, uint32_t pool); /* never NULL */
const struct app_spec *rollout_spec(const struct turn *t);             /* the candidate's */
const struct count *turn_counts(const struct turn *t, uint32_t pool);  /* by process */
struct pool_state *turn_pool(struct turn *t, enum side side);          /* NULL: none */
void set_wanted(struct turn *t, struct pool_state *p, size_t process, uint32_t count);
int64_t turn_best_effort_ms(const struct turn *t);
void rollout_end(struct turn *t, enum rollout_result result);
/* The rollout goes back, or pauses where the spec says so on failure. false: a person said before
 * to go on in spite of that reason. */
bool rollout_fail(struct turn *t, enum reason_code code, const char *text);

/* steps.c */
void steps_run(struct turn *t);
bool step_only_waits(const struct step *step);
const struct step *present_step(const struct app_state *s); /* NULL: none */

/* back.c */
void back_plan(struct turn *t);
void back_finish(struct turn *t);

/* traffic.c */
void traffic_set_hold(struct turn *t, bool on);
void traffic_to(struct turn *t, struct pool_state *p); /* all of it; NULL: none for anyone */
void traffic_split(struct turn *t, uint32_t candidate_ppm);
void traffic_mirror(struct turn *t, uint32_t share_ppm);
void traffic_follow(struct turn *t); /* to stable, as far as it can carry it */
void traffic_pins(struct turn *t);
bool traffic_applied(const struct turn *t);

/* guard.c */
void guard_check(struct turn *t);
void guard_deadline(struct turn *t);
void guard_progress(struct turn *t);
void guard_progress_reset(struct turn *t);

/* reconcile.c */
void reconcile(struct turn *t);

/* strategy_canary.c: the instances for a weight, at least 1 (0 of 0). */
uint32_t canary_share(uint32_t replicas, uint32_t weight_ppm);

#endif
