/* The way back: from wherever a rollout stands to stable, and nothing left of the candidate.
 *
 * Capacity first, then removal. The traffic moves at once where stable can carry it; else it
 * follows as stable comes back (traffic_follow, at every turn of this phase). Under recreate the
 * order is the other one, since there two releases may never run at once: requests wait at the
 * gateway, the candidate goes and is gone, stable starts.
 *
 * It ends: nothing here waits for ever for a stable that cannot become ready or for an answer. The
 * one exception is recreate's, which waits for the candidate to be gone however long that takes. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <string.h>

static void scale_all(struct planner *p, enum side side, const struct pool_state *pool,
                      const uint32_t *counts)
{
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (pool->wanted[i] != counts[i])
            plan_scale(p, side, i, counts[i]);
}

static const uint32_t none[SPEC_MAX_PROCESSES];

/* All that is not stable goes. */
static void remove_others(struct planner *p, struct turn *t)
{
    scale_all(p, SIDE_CANDIDATE, turn_pool(t, SIDE_CANDIDATE), none);
    bool left_over = pool_left_over(t->s) != NULL;
    if (left_over)
        plan_scale(p, SIDE_LEFT_OVER, 0, 0);
    plan_gone(p, SIDE_CANDIDATE);
    if (left_over)
        plan_gone(p, SIDE_LEFT_OVER);
}

/* `stop`: all goes, stable as well. */
static void plan_to_nothing(struct planner *p, struct turn *t)
{
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        for (size_t k = 0; k < SPEC_MAX_PROCESSES && t->s->stopped; k++)
            set_wanted(t, &t->s->pools[i], k, 0);
    traffic_set_hold(t, false);
    traffic_to(t, NULL);
    remove_others(p, t);
}

static bool intact(const struct pool_state *stable, const uint32_t *full)
{
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (stable->wanted[i] < full[i])
            return false;
    return true;
}

static void plan_exclusive(struct planner *p, struct turn *t, const struct pool_state *stable,
                           const uint32_t *full)
{
    bool whole = intact(stable, full), routed = stable->routed > 0;
    if (whole) {
        if (t->s->hold)
            plan_hold(p, false);
        plan_weight(p, 0);
        remove_others(p, t);
        return;
    }
    if (routed)
        plan_hold(p, true);
    remove_others(p, t);
    scale_all(p, SIDE_STABLE, stable, full);
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (full[i] > 0)
            plan_wait(p, SIDE_STABLE, i, true);
    plan_weight(p, 0);
    if (t->s->hold || routed)
        plan_hold(p, false);
}

static bool has_instances(const struct turn *t, const struct pool_state *p)
{
    return p != NULL && t->tally.total[pool_index(t->s, p->id)] > 0;
}

static void plan_beside(struct planner *p, struct turn *t, const struct pool_state *stable,
                        const uint32_t *full)
{
    const struct pool_state *candidate = turn_pool(t, SIDE_CANDIDATE);
    const struct pool_state *left = pool_left_over(t->s);
    struct standing at = {.stable = turn_spec(t, stable->id), .stable_pool = stable};
    at.stable_count = turn_counts(t, stable->id);
    /* Both have instances only while stable is whole: there is one to trade with. */
    bool of_left = has_instances(t, left) && !has_instances(t, candidate);
    at.down_pool = of_left ? left : candidate;
    at.down = of_left ? SIDE_LEFT_OVER : SIDE_CANDIDATE;
    at.down_count = turn_counts(t, at.down_pool->id);
    memcpy(at.full, full, sizeof at.full);
    uint32_t carried[SPEC_MAX_PROCESSES];
    const struct app_spec *spec = rollout_spec(t);
    overrides_carry(at.stable, spec, t->s->replicas_override, carried);
    int routed = routed_process(spec);
    uint32_t planned = routed >= 0 ? stable_replicas(spec, carried, (size_t)routed) : 0;
    standing_bounds(&at, spec, planned, t->s->rollout.kind);
    if (t->s->hold)
        plan_hold(p, false);
    plan_restore(p, &at);
    plan_weight(p, 0);
    remove_others(p, t);
}

void back_plan(struct turn *t)
{
    struct app_state *s = t->s;
    struct rollout_state *r = &s->rollout;
    ASSERT(r->phase == PHASE_BACK && s->candidate != 0);
    struct planner p = {.arena = t->arena};
    traffic_mirror(t, 0);
    const struct pool_state *stable = turn_pool(t, SIDE_STABLE);
    if (s->stopped || stable == NULL) {
        plan_to_nothing(&p, t);
    } else {
        const struct app_spec *spec = turn_spec(t, stable->id);
        uint32_t full[SPEC_MAX_PROCESSES];
        for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
            full[i] = stable_replicas(spec, s->replicas_override, i);
        traffic_follow(t);
        if (r->exclusive)
            plan_exclusive(&p, t, stable, full);
        else
            plan_beside(&p, t, stable, full);
    }
    plan_step(&p, STEP_FINISH);
    struct plan plan = {p.items, p.len};
    plan_store(s, &plan);
    r->cursor = 0;
    r->step_since_ms = r->step_done_ms = 0;
    r->progress_ms = t->now;
    r->promote_all = false;
    t->hook_stale = true;
    turn_act(t, ACTION_CANCEL_HOOK)->pool = s->candidate;
    turn_changed(t);
}

void back_finish(struct turn *t)
{
    enum rollout_result result = t->s->rollout.ending;
    ASSERT(result == RESULT_ROLLED_BACK || result == RESULT_ABORTED);
    rollout_end(t, result);
}
