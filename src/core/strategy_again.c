/* Releases that are known: a roll back to an earlier one, a restart of the present one. Neither
 * runs release commands, smoke tests or waits for anyone.
 *
 * A roll back is in a hurry: where the earlier release was kept after a blue-green deploy it gets
 * the traffic in one switch, whatever its own strategy is; where that is not rolling, all of it
 * starts beside the present one first. A restart is not: it goes by small rounds, with a quarter of
 * surge where the file has no max-surge. */
#include "core/core_internal.h"

void strategy_again(struct planner *p)
{
    int routed = routed_process(p->candidate);
    if (p->kind == ROLLOUT_RESTART ||
        (p->candidate->strategy.kind == STRATEGY_ROLLING && !p->kept)) {
        strategy_rolling(p);
        return;
    }
    if (routed >= 0) {
        plan_scale(p, SIDE_CANDIDATE, (size_t)routed, p->candidate_count[routed]);
        plan_wait(p, SIDE_CANDIDATE, (size_t)routed, false);
        plan_weight(p, WHOLE_PPM);
    }
    plan_workers(p);
}
