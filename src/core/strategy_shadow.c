/* shadow: the new release complete beside the old one, and copies of the users' requests for it.
 * Nobody gets what it answers; the judge does, next to what stable answered to the very same
 * requests. Then one switch, as in blue-green.
 *
 * All of its instances, also where a small share is copied: they are needed for the switch anyway,
 * and what takes the load with all of them tells of the release as it will be. */
#include "core/core_internal.h"

static void plan_mirror(struct planner *p, uint32_t share_ppm)
{
    struct step *step = plan_step(p, STEP_MIRROR);
    step->side = SIDE_CANDIDATE;
    step->weight_ppm = share_ppm;
}

static void plan_copies(struct planner *p)
{
    const struct shadow_spec *s = &p->candidate->strategy.shadow;
    plan_mirror(p, s->share_ppm);
    struct step *watch = plan_step(p, STEP_PAUSE_FOR);
    watch->side = SIDE_CANDIDATE;
    watch->duration_ms = s->for_ms;
    struct step *verdict = plan_step(p, STEP_JUDGE);
    verdict->side = SIDE_CANDIDATE;
    verdict->count = 1;
    plan_mirror(p, 0);
}

void strategy_shadow(struct planner *p)
{
    const struct strategy_spec *s = &p->candidate->strategy;
    int to = routed_process(p->candidate), from = routed_process(p->stable);
    if (to >= 0) {
        plan_scale(p, SIDE_CANDIDATE, (size_t)to, p->candidate_count[to]);
        plan_wait(p, SIDE_CANDIDATE, (size_t)to, false);
        if (s->smoke_len > 0 && planned_routed(p) > 0)
            plan_step(p, STEP_SMOKE)->side = SIDE_CANDIDATE;
    }
    /* Else nothing has requests that could be copied, or nothing could take the copies. */
    if (to >= 0 && from >= 0 && p->stable_count[from] > 0 && planned_routed(p) > 0)
        plan_copies(p);
    if (s->approve)
        plan_step(p, STEP_APPROVE)->side = SIDE_CANDIDATE;
    if (to >= 0)
        plan_weight(p, WHOLE_PPM);
    plan_workers(p);
}
