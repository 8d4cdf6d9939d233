/* A timer wheel. Made for deadlines that are nearly always moved on before they come: moving one to
 * later is a store, the timer is looked at again when its old place comes up. */
#ifndef SLUICE_GATEWAY_TIMERS_H
#define SLUICE_GATEWAY_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

enum { TIMERS_SLOTS = 1024, TIMERS_TICK_MS = 16 };
#define TIMER_NEVER UINT64_MAX

struct timer {
    struct timer *next, **prev; /* prev NULL: not queued */
    uint64_t due_ms, place;     /* place: the tick that it is queued at */
    void (*fire)(struct timer *t);
};

struct timers {
    struct timer *slots[TIMERS_SLOTS];
    uint64_t used[TIMERS_SLOTS / 64]; /* a bit per slot that is not empty */
    uint64_t tick;                    /* done up to here */
};

void timers_init(struct timers *w, uint64_t now_ms);
void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* Fires once, not before due_ms and up to a tick later; TIMER_NEVER: not. Replaces what was set. */
void timer_set(struct timers *w, struct timer *t, uint64_t due_ms);
void timer_cancel(struct timers *w, struct timer *t);
/* Fires what is due. A timer may set or cancel itself and others meanwhile. */
void timers_run(struct timers *w, uint64_t now_ms);
/* Milliseconds until there is something to look at, -1: nothing queued. */
int timers_wait_ms(const struct timers *w, uint64_t now_ms);

#endif
