/* Plans: the parts that the strategies are made of, and who chooses among them. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <string.h>

void planner_init(struct planner *p, const struct app_spec *stable,
                  const struct app_spec *candidate, enum rollout_kind kind,
                  const uint32_t *override, struct arena *arena)
{
    memset(p, 0, sizeof *p);
    p->arena = arena;
    p->kind = kind;
    p->stable = stable;
    p->candidate = candidate;
    uint32_t carried[SPEC_MAX_PROCESSES];
    overrides_carry(stable, candidate, override, carried);
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++) {
        p->stable_count[i] = stable != NULL ? stable_replicas(stable, override, i) : 0;
        p->candidate_count[i] = stable_replicas(candidate, carried, i);
    }
}

struct step *plan_step(struct planner *p, enum step_kind kind)
{
    ASSERT(p->len < PLAN_STEPS_MAX);
    if (p->len == p->cap) {
        size_t bigger = p->cap != 0 ? p->cap * 2 : 32;
        struct step *items = arena_alloc(p->arena, bigger * sizeof *items);
        if (p->len > 0)
            memcpy(items, p->items, p->len * sizeof *items);
        p->items = items;
        p->cap = bigger;
    }
    struct step *step = &p->items[p->len++];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    return step;
}

/* The last step of that kind, side and process; NULL: none yet. What would only repeat it is left
 * out. */
static const struct step *last_like(const struct planner *p, enum step_kind kind, enum side side,
                                    size_t process)
{
    for (size_t i = p->len; i-- > 0;)
        if (p->items[i].kind == kind && p->items[i].side == side && p->items[i].process == process)
            return &p->items[i];
    return NULL;
}

void plan_scale(struct planner *p, enum side side, size_t process, uint32_t count)
{
    ASSERT(process < SPEC_MAX_PROCESSES);
    const struct step *last = last_like(p, STEP_SCALE, side, process);
    if (last != NULL && last->count == count)
        return;
    struct step *step = plan_step(p, STEP_SCALE);
    step->side = side;
    step->process = (uint8_t)process;
    step->count = count;
}

void plan_wait(struct planner *p, enum side side, size_t process, bool best_effort)
{
    ASSERT(process < SPEC_MAX_PROCESSES);
    struct step *step = plan_step(p, STEP_WAIT_READY);
    step->side = side;
    step->process = (uint8_t)process;
    step->best_effort = best_effort;
}

void plan_weight(struct planner *p, uint32_t weight_ppm)
{
    ASSERT(weight_ppm <= WHOLE_PPM);
    const struct step *last = last_like(p, STEP_WEIGHT, SIDE_CANDIDATE, 0);
    if (last != NULL && last->weight_ppm == weight_ppm)
        return;
    struct step *step = plan_step(p, STEP_WEIGHT);
    step->side = SIDE_CANDIDATE;
    step->weight_ppm = weight_ppm;
}

void plan_hold(struct planner *p, bool on)
{
    plan_step(p, STEP_HOLD)->count = on ? 1 : 0;
}

void plan_gone(struct planner *p, enum side side)
{
    plan_step(p, STEP_DRAIN)->side = side;
    plan_step(p, STEP_STOP)->side = side;
}

uint32_t planned_routed(const struct planner *p)
{
    int routed = routed_process(p->candidate);
    return routed >= 0 ? p->candidate_count[routed] : 0;
}

/* The new ones first; a moment of both is what all but `recreate` mean. Also takes away a routed
 * process of stable that the candidate no longer has. */
void plan_workers(struct planner *p)
{
    int routed = routed_process(p->candidate);
    for (size_t i = 0; i < p->candidate->processes_len; i++)
        if ((int)i != routed)
            plan_scale(p, SIDE_CANDIDATE, i, p->candidate_count[i]);
    for (size_t i = 0; i < p->candidate->processes_len; i++)
        if ((int)i != routed && p->candidate_count[i] > 0)
            plan_wait(p, SIDE_CANDIDATE, i, false);
    if (p->stable == NULL)
        return;
    bool any = false;
    for (size_t i = 0; i < p->stable->processes_len; i++) {
        bool replaced = p->stable->processes[i].routed && routed >= 0;
        if (replaced || p->stable_count[i] == 0)
            continue;
        plan_scale(p, SIDE_STABLE, i, 0);
        any = true;
    }
    if (any)
        plan_gone(p, SIDE_STABLE);
}

void plan_rounds(struct planner *p, const struct rounds *r)
{
    ASSERT(r->cap > r->floor);
    uint32_t up = r->up_now, down = r->down_now;
    while (up < r->up_target || down > 0) {
        uint32_t room = r->cap > down ? r->cap - down : 0;
        uint32_t next = room > up ? room : up;
        if (next > r->up_target)
            next = r->up_target;
        if (next > up) {
            plan_scale(p, r->up, r->up_process, next);
            plan_wait(p, r->up, r->up_process, !r->forward);
            up = next;
        }
        uint32_t left = up >= r->up_target ? 0 : r->floor > up ? r->floor - up : 0;
        if (left > down)
            left = down;
        if (r->forward && up > 0)
            plan_weight(p, (uint32_t)((uint64_t)WHOLE_PPM * up / (up + left)));
        if (!r->forward && left == 0 && down > 0)
            plan_weight(p, 0);
        if (left < down) {
            plan_scale(p, r->down, r->down_process, left);
            plan_gone(p, r->down);
            down = left;
        }
    }
}

void plan_strategy(struct planner *p, bool recreate)
{
    static strategy_fn *const of_kind[] = {[STRATEGY_ROLLING] = strategy_rolling,
                                           [STRATEGY_RECREATE] = strategy_recreate,
                                           [STRATEGY_BLUE_GREEN] = strategy_blue_green,
                                           [STRATEGY_CANARY] = strategy_canary,
                                           [STRATEGY_SHADOW] = strategy_shadow};
    ASSERT((size_t)p->candidate->strategy.kind < COUNT_OF(of_kind));
    if (p->kind == ROLLOUT_DEPLOY && p->candidate->release_len > 0)
        plan_step(p, STEP_HOOK)->side = SIDE_CANDIDATE;
    if (recreate)
        strategy_recreate(p);
    else if (p->stable == NULL)
        strategy_first(p);
    else if (p->kind != ROLLOUT_DEPLOY)
        strategy_again(p);
    else
        of_kind[p->candidate->strategy.kind](p);
    plan_step(p, STEP_FINISH);
}

struct plan plan_make(const struct app_spec *stable, const struct app_spec *candidate,
                      enum rollout_kind kind, const uint32_t *replicas_override,
                      struct arena *arena)
{
    struct planner p;
    planner_init(&p, stable, candidate, kind, replicas_override, arena);
    plan_strategy(&p, spec_is_exclusive(candidate) && stable != NULL);
    return (struct plan){p.items, p.len};
}

int64_t plan_least_ms(const struct plan *plan)
{
    int64_t sum = 0;
    for (size_t i = 0; i < plan->len; i++)
        if (plan->steps[i].kind == STEP_PAUSE_FOR)
            sum += plan->steps[i].duration_ms;
    return sum;
}
