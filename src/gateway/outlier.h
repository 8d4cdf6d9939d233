/* Instances that are worse than the others of their pool get no requests for a while, then a rising
 * share. Each worker looks at what it sees itself, without any shared state, and tells all when it
 * has found one (metrics.h, struct ejection_slot).
 *
 * Only where one release has all of a route: while it is split the judge compares the releases, and
 * what it is to see must not be hidden. Ejections that are there go on until their time is over.
 */
#ifndef SLUICE_GATEWAY_OUTLIER_H
#define SLUICE_GATEWAY_OUTLIER_H

#include "gateway/conn.h"

enum { OUTLIER_LOOK = 32 }; /* latency is looked at after so many answers */

/* An instance that is new to this worker: since when it is ready, whether it is ejected. */
void outlier_begin(struct worker *w, struct instance *i, uint64_t ready_at_ms);
/* At the top of a turn: what other workers ejected. */
void outlier_sync(struct worker *w);
/* Control thread, before a table is made current: slots that have another owner begin anew. */
void outlier_prepare(struct gateway *g, const struct table *t);

/* An instance failed a request of this share. */
void outlier_failed(struct worker *w, struct instance *i, uint32_t share_slot);
void outlier_look(struct worker *w, struct instance *i, uint32_t share_slot);

/* How an attempt of x at its instance ended. */
static inline void outlier_note(struct exchange *x, bool failed)
{
    if (!x->watched)
        return;
    struct instance *i = x->upstream->instance;
    if (failed) {
        outlier_failed(x->worker, i, x->share_slot);
        return;
    }
    i->seen.row = 0;
    i->seen.answers++;
    /* Of a request that waited, the time says nothing about the instance. */
    if (x->attempts > 1 || x->was_held)
        return;
    i->seen.latency_us += x->latency_us;
    i->seen.slow += x->latency_us > i->slow_us;
    if (++i->seen.timed % OUTLIER_LOOK == 0)
        outlier_look(x->worker, i, x->share_slot);
}

/* Whether an instance whose share rises is left out this time. */
bool outlier_thinned(struct worker *w, const struct instance *i);

#endif
