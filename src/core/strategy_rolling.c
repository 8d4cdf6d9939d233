/* rolling: a few instances at a time.
 *
 * With N the new replicas: surge = ceil(max-surge x N), unavailable = floor(max-unavailable x N), 1
 * and 0 when both are 0 (Kubernetes' rounding). Each round starts what surge allows, waits until it
 * is ready for min-ready, moves the share of the traffic that the new instances can carry, then
 * takes old ones away, and waits until they are gone: those that drain count against the surge.
 * The first round only uses the surge, so that no capacity is given up for a release of which
 * nothing is known yet; without any surge it has to.
 *
 * Where the replicas change, the bounds are those of both: running at most max(old, new) + surge,
 * ready at least min(old, new) - unavailable. */
#include "core/core_internal.h"

void strategy_rolling(struct planner *p)
{
    int to = routed_process(p->candidate), from = routed_process(p->stable);
    if (to >= 0) {
        uint32_t new = p->candidate_count[to];
        uint32_t old = from >= 0 ? p->stable_count[from] : 0;
        struct limits l = rolling_limits(p->candidate, new);
        uint32_t least = new < old ? new : old;
        struct rounds r = {
            .up = SIDE_CANDIDATE,
            .down = SIDE_STABLE,
            .up_process = (size_t)to,
            .down_process = from >= 0 ? (size_t)from : 0,
            .up_target = new,
            .down_now = old,
            .cap = (new > old ? new : old) + l.surge,
            .floor = least > l.unavailable ? least - l.unavailable : 0,
            .forward = true,
        };
        plan_rounds(p, &r);
    }
    plan_workers(p);
}
