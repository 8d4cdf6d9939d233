/* canary: a rising share of the traffic, judged all the while.
 *
 * Before a share is raised the candidate has the instances for it (ceil(N x share), at least 1, or
 * the number that the file says), ready. Stable stays whole until the finish, so that a roll back
 * is one change of weights. */
#include "core/core_internal.h"

uint32_t canary_share(uint32_t replicas, uint32_t weight_ppm)
{
    uint32_t share = (uint32_t)(((uint64_t)replicas * weight_ppm + WHOLE_PPM - 1) / WHOLE_PPM);
    return share > 0 || replicas == 0 ? share : 1;
}

static uint32_t instances_for(const struct planner *p, uint32_t weight_ppm)
{
    uint32_t n = planned_routed(p);
    uint32_t fixed = p->candidate->strategy.instances;
    if (weight_ppm >= WHOLE_PPM || n == 0)
        return n;
    if (fixed != 0)
        return fixed;
    return canary_share(n, weight_ppm);
}

static void add_step(struct planner *p, size_t index, size_t routed)
{
    const struct canary_step *c = &p->candidate->strategy.steps[index];
    plan_scale(p, SIDE_CANDIDATE, routed, instances_for(p, c->weight_ppm));
    plan_wait(p, SIDE_CANDIDATE, routed, false);
    plan_weight(p, c->weight_ppm);
    if (c->smoke_len > 0 && planned_routed(p) > 0) {
        struct step *smoke = plan_step(p, STEP_SMOKE);
        smoke->side = SIDE_CANDIDATE;
        smoke->count = (uint32_t)index + 1;
    }
    if (c->approve)
        plan_step(p, STEP_APPROVE)->side = SIDE_CANDIDATE;
    if (c->hold_ms > 0) {
        struct step *hold = plan_step(p, STEP_PAUSE_FOR);
        hold->side = SIDE_CANDIDATE;
        hold->duration_ms = c->hold_ms;
        if (c->weight_ppm < WHOLE_PPM)
            plan_step(p, STEP_JUDGE)->side = SIDE_CANDIDATE;
    }
}

/* The last moment at which there is something to compare with. */
static void mark_last_verdict(struct planner *p)
{
    for (size_t i = p->len; i > 0; i--)
        if (p->items[i - 1].kind == STEP_JUDGE) {
            p->items[i - 1].count = 1;
            return;
        }
}

void strategy_canary(struct planner *p)
{
    int to = routed_process(p->candidate), from = routed_process(p->stable);
    if (to >= 0 && from >= 0 && p->stable_count[from] > 0) {
        for (size_t i = 0; i < p->candidate->strategy.steps_len; i++)
            add_step(p, i, (size_t)to);
        mark_last_verdict(p);
    } else if (to >= 0) { /* nothing has the traffic now: nothing to split */
        plan_scale(p, SIDE_CANDIDATE, (size_t)to, p->candidate_count[to]);
        plan_wait(p, SIDE_CANDIDATE, (size_t)to, false);
        plan_weight(p, WHOLE_PPM);
    }
    plan_workers(p);
}
