/* Whether a worker has more to do than it can: it has not come to the end of its events for a
 * second, or its buffers are nearly used up. Requests are answered 503 then before any work is
 * spent on them; those that run go on. Pure. */
#ifndef SLUICE_GATEWAY_OVERLOAD_H
#define SLUICE_GATEWAY_OVERLOAD_H

#include "gateway/chunk.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    OVERLOAD_LATE_MS = 1000,
    /* So many turns in a row full of events: one that took long alone (the machine slept) is none.
     */
    OVERLOAD_TURNS = 8,
};

struct overload {
    uint32_t full_turns;
    uint64_t caught_up_ms; /* the last turn that saw all events */
};

/* At the start of a turn; full: there may be more events than it took. */
static inline void overload_turn(struct overload *o, bool full, uint64_t now_ms)
{
    o->full_turns = full ? o->full_turns + 1 : 0;
    if (!full)
        o->caught_up_ms = now_ms;
}

static inline bool overload_late(const struct overload *o, uint64_t now_ms)
{
    return o->full_turns >= OVERLOAD_TURNS && now_ms - o->caught_up_ms >= OVERLOAD_LATE_MS;
}

/* An eighth is kept for the requests that run. */
static inline bool overload_memory(const struct chunk_pool *p)
{
    return p->bytes > p->limit - p->limit / 8;
}

#endif
