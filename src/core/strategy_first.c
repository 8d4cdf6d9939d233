/* The first release: nothing to be compared with and nothing to lose, so everything starts at once
 * and gets all of the traffic when it is ready. Also for an app that was stopped or scaled to 0. */
#include "core/core_internal.h"

void strategy_first(struct planner *p)
{
    for (size_t i = 0; i < p->candidate->processes_len; i++)
        plan_scale(p, SIDE_CANDIDATE, i, p->candidate_count[i]);
    for (size_t i = 0; i < p->candidate->processes_len; i++)
        if (p->candidate_count[i] > 0)
            plan_wait(p, SIDE_CANDIDATE, i, false);
    if (routed_process(p->candidate) >= 0)
        plan_weight(p, WHOLE_PPM);
}
