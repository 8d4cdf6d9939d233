#include "gateway/timers.h"

#include "base/assert.h"

#include <stddef.h>
#include <string.h>

void timers_init(struct timers *w, uint64_t now_ms)
{
    memset(w, 0, sizeof *w);
    w->tick = now_ms / TIMERS_TICK_MS;
}

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
    memset(t, 0, sizeof *t);
    t->due_ms = TIMER_NEVER;
    t->fire = fire;
}

static void unlink_timer(struct timers *w, struct timer *t)
{
    size_t slot = t->place % TIMERS_SLOTS;
    *t->prev = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    t->prev = NULL;
    if (w->slots[slot] == NULL)
        w->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

static void link_timer(struct timers *w, struct timer *t)
{
    uint64_t place = t->due_ms / TIMERS_TICK_MS + 1; /* never before its time */
    if (place <= w->tick)
        place = w->tick + 1;
    if (place >= w->tick + TIMERS_SLOTS)
        place = w->tick + TIMERS_SLOTS - 1;
    size_t slot = place % TIMERS_SLOTS;
    t->place = place;
    t->next = w->slots[slot];
    t->prev = &w->slots[slot];
    if (t->next != NULL)
        t->next->prev = &t->next;
    w->slots[slot] = t;
    w->used[slot / 64] |= UINT64_C(1) << (slot % 64);
}

void timer_set(struct timers *w, struct timer *t, uint64_t due_ms)
{
    t->due_ms = due_ms;
    if (t->prev != NULL) {
        if (t->place <= due_ms / TIMERS_TICK_MS + 1)
            return; /* it is looked at in time, and moved on then */
        unlink_timer(w, t);
    }
    if (due_ms != TIMER_NEVER)
        link_timer(w, t);
}

void timer_cancel(struct timers *w, struct timer *t)
{
    t->due_ms = TIMER_NEVER;
    if (t->prev != NULL)
        unlink_timer(w, t);
}

void timers_run(struct timers *w, uint64_t now_ms)
{
    uint64_t now = now_ms / TIMERS_TICK_MS;
    if (now - w->tick > TIMERS_SLOTS && now > w->tick)
        w->tick = now - TIMERS_SLOTS; /* once around sees all of them */
    while (w->tick < now) {
        w->tick++;
        size_t slot = w->tick % TIMERS_SLOTS;
        /* One at a time from the head: what fires may take others out. Those that are put back go
         * to later places, so this ends. */
        while (w->slots[slot] != NULL) {
            struct timer *t = w->slots[slot];
            unlink_timer(w, t);
            if (t->due_ms > now_ms) {
                if (t->due_ms != TIMER_NEVER)
                    link_timer(w, t);
                continue;
            }
            t->due_ms = TIMER_NEVER;
            t->fire(t);
        }
    }
}

int timers_wait_ms(const struct timers *w, uint64_t now_ms)
{
    for (uint64_t k = 1; k <= TIMERS_SLOTS;) {
        size_t slot = (w->tick + k) % TIMERS_SLOTS;
        uint64_t bits = w->used[slot / 64] >> (slot % 64);
        if (bits == 0) {
            k += 64 - slot % 64;
            continue;
        }
        k += (uint64_t)__builtin_ctzll(bits);
        uint64_t at = (w->tick + k) * TIMERS_TICK_MS;
        return at > now_ms ? (int)(at - now_ms) : 0;
    }
    return -1;
}
