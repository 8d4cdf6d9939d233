/* blue-green: the new release complete beside the old one, tried out, then one switch.
 *
 * Once green is ready it gets the requests that match `preview`; then smoke commands, then the
 * approval. After the switch blue stays up for `keep` (see rollout_end), so that a roll back only
 * has to switch again. Its processes without routes are replaced before the finish as everywhere.
 */
#include "core/core_internal.h"

void strategy_blue_green(struct planner *p)
{
    const struct strategy_spec *s = &p->candidate->strategy;
    int routed = routed_process(p->candidate);
    if (routed >= 0) {
        plan_scale(p, SIDE_CANDIDATE, (size_t)routed, p->candidate_count[routed]);
        plan_wait(p, SIDE_CANDIDATE, (size_t)routed, false);
        if (s->smoke_len > 0 && planned_routed(p) > 0)
            plan_step(p, STEP_SMOKE)->side = SIDE_CANDIDATE;
    }
    if (s->approve)
        plan_step(p, STEP_APPROVE)->side = SIDE_CANDIDATE;
    if (routed >= 0)
        plan_weight(p, WHOLE_PPM);
    plan_workers(p);
}
