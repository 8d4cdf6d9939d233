/* Making stable full again: the way back of a rolling rollout, and what comes before a plan that
 * supersedes a rollout half done.
 *
 * Capacity first, then removal, within the bounds that the rollout had: never more than cap
 * running, and what was ready is taken away only when as much is ready in its place. Every wait is
 * best effort, since a stable release that cannot become ready must not keep a rollout from ending,
 * nor a fix from getting through. The traffic is not in here: it follows the ready capacity by
 * itself (traffic_follow). */
#include "base/assert.h"
#include "core/core_internal.h"

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void standing_bounds(struct standing *at, const struct app_spec *candidate,
                     uint32_t candidate_count, enum rollout_kind kind)
{
    uint32_t n = at->stable_pool->routed > 0 ? at->full[at->stable_pool->routed - 1] : 0;
    struct limits l = rolling_limits(candidate, candidate_count);
    bool rounds = kind == ROLLOUT_RESTART || candidate->strategy.kind == STRATEGY_ROLLING;
    uint32_t least = smaller(n, candidate_count);
    at->cap = rounds ? larger(n, candidate_count) + l.surge : n + candidate_count + 1;
    at->floor = least > l.unavailable ? least - l.unavailable : 0;
}

static void restore_workers(struct planner *p, const struct standing *at)
{
    bool back[SPEC_MAX_PROCESSES] = {false};
    for (size_t i = 0; i < at->stable->processes_len; i++)
        if (i + 1 != at->stable_pool->routed && at->stable_pool->wanted[i] < at->full[i]) {
            plan_scale(p, SIDE_STABLE, i, at->full[i]);
            back[i] = true;
        }
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (back[i])
            plan_wait(p, SIDE_STABLE, i, true);
}

static void restore_routed(struct planner *p, const struct standing *at, size_t process)
{
    uint32_t up = at->stable_pool->wanted[process], full = at->full[process];
    if (up >= full) {
        if (full > 0)
            plan_wait(p, SIDE_STABLE, process, true);
        return;
    }
    const struct count *stable = &at->stable_count[process];
    uint32_t running = up + stable->leaving, ready = 0;
    size_t down_process = 0;
    bool down = at->down_pool != NULL && at->down_pool->routed > 0;
    if (down) {
        down_process = at->down_pool->routed - 1u;
        const struct count *c = &at->down_count[down_process];
        running += larger(at->down_pool->wanted[down_process], c->alive) + c->leaving;
        ready = smaller(c->ready, at->down_pool->wanted[down_process]);
    }
    if (at->cap > running) {
        up = smaller(full, up + (at->cap - running));
        plan_scale(p, SIDE_STABLE, process, up);
    }
    /* Those that are not ready carry nothing: they make room. */
    if (down && at->down_pool->wanted[down_process] > ready)
        plan_scale(p, at->down, down_process, ready);
    plan_wait(p, SIDE_STABLE, process, true);
    if (down)
        plan_gone(p, at->down);
    if (stable->leaving > 0)
        plan_gone(p, SIDE_STABLE);
    struct rounds r = {.up = SIDE_STABLE,
                       .down = at->down,
                       .up_process = process,
                       .down_process = down_process,
                       .up_now = up,
                       .up_target = full,
                       .down_now = ready,
                       .cap = at->cap,
                       .floor = at->floor};
    plan_rounds(p, &r);
}

void plan_restore(struct planner *p, const struct standing *at)
{
    ASSERT(at->cap > at->floor);
    restore_workers(p, at);
    if (at->stable_pool->routed > 0)
        restore_routed(p, at, at->stable_pool->routed - 1u);
}
