/* recreate: never two releases at once, in any process. Requests wait at the gateway meanwhile.
 *
 * Everything that is not the candidate is gone (not only told to go) before the first instance of
 * the candidate starts; STEP_STOP sees to that, since rollout.exclusive is set, and so does
 * reconcile. */
#include "core/core_internal.h"

void strategy_recreate(struct planner *p)
{
    bool hold = routed_process(p->candidate) >= 0;
    if (hold)
        plan_hold(p, true);
    for (size_t i = 0; p->stable != NULL && i < p->stable->processes_len; i++)
        plan_scale(p, SIDE_STABLE, i, 0);
    if (p->left_over)
        plan_scale(p, SIDE_LEFT_OVER, 0, 0);
    if (p->stable != NULL || p->left_over)
        plan_gone(p, SIDE_STABLE);
    strategy_first(p);
    if (hold)
        plan_hold(p, false);
}
