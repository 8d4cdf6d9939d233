/* What a release takes of a route at once, over all workers, and the queue of those above it: first
 * come, first served, bounded in number and time. A request has its place from before its instance
 * is asked until it ends, also while it backs off from a retry.
 *
 * Each worker has its own queue per share; a place that gets free goes to the worker whose first
 * one waits longest.
 */
#ifndef SLUICE_GATEWAY_CAPACITY_H
#define SLUICE_GATEWAY_CAPACITY_H

#include "gateway/conn.h"

/* x gets a place in the share, or has it; false: all are taken, or others wait before it. In turn:
 * it is the one that waited longest. */
bool capacity_take(struct exchange *x, const struct table_route *r,
                   const struct snapshot_share *share, bool in_turn);
void capacity_give_back(struct exchange *x);
/* x waits for a place in its share_slot, or is refused (then it is gone). */
void capacity_wait(struct exchange *x, const struct table_route *r);
void capacity_leave_queue(struct exchange *x);
/* Its time is up. */
void capacity_expired(struct exchange *x);
void capacity_release(struct worker *w); /* lets go whom it can */
void capacity_tick(struct timer *t);
void capacity_free(struct worker *w); /* nobody waits any more */

static inline void capacity_end(struct exchange *x)
{
    if (x->place != 0)
        capacity_give_back(x);
    if (x->queue != NULL)
        capacity_leave_queue(x);
}

#endif
