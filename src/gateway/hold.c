/* The hold: requests of an app wait, in the order in which they came, while no instance can answer
 * (DESIGN, mechanism 10). Only their heads are kept; nothing is read from these clients meanwhile.
 * Each worker has its own queue per app; the number is counted over all workers. */
#include "gateway/conn.h"

#include "base/assert.h"
#include "gateway/stats.h"

#include <stdlib.h>

enum { RELEASE_IN_FLIGHT = 64, LOOK_MS = 20 };

struct hold_queue {
    struct link link; /* worker.holds */
    struct link waiting;
    uint32_t app_slot;
};

static struct hold_queue *queue_of(struct worker *w, uint32_t app_slot)
{
    for (struct link *l = w->holds.next; l != &w->holds; l = l->next) {
        struct hold_queue *q = link_owner(l, struct hold_queue, link);
        if (q->app_slot == app_slot)
            return q;
    }
    return NULL;
}

bool hold_waiting(struct worker *w, uint32_t app_slot)
{
    if (link_alone(&w->holds))
        return false; /* the usual case */
    struct hold_queue *q = queue_of(w, app_slot);
    return q != NULL && !link_alone(&q->waiting);
}

static struct hold_queue *queue_make(struct worker *w, uint32_t app_slot)
{
    struct hold_queue *q = queue_of(w, app_slot);
    if (q != NULL)
        return q;
    q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->app_slot = app_slot;
    link_init(&q->waiting);
    link_before(&w->holds, &q->link);
    return q;
}

bool hold_put(struct exchange *x, const struct snapshot_app *app)
{
    return !app->stopped && hold_put_for(x, app, app->hold_ms);
}

bool hold_put_for(struct exchange *x, const struct snapshot_app *app, uint32_t ms)
{
    struct worker *w = x->worker;
    ASSERT(x->upstream == NULL && x->hold == NULL);
    if (!x->was_held)
        x->held_since_ms = w->now_ms;
    uint64_t deadline = x->held_since_ms + ms;
    if (deadline <= w->now_ms)
        return false;
    _Atomic uint32_t *held = &w->gateway->held[app->slot];
    if (atomic_fetch_add(held, 1) >= app->hold_limit) {
        atomic_fetch_sub(held, 1);
        return false;
    }
    struct hold_queue *q = queue_make(w, app->slot);
    if (q == NULL) {
        atomic_fetch_sub(held, 1);
        return false;
    }
    if (x->was_held) /* it was let go before, and its instance refused it: first again */
        link_after(&q->waiting, &x->hold_link);
    else
        link_before(&q->waiting, &x->hold_link);
    if (!x->was_held)
        stats_request(w, app->slot, REQUESTS_HELD, 1);
    stats_request(w, app->slot, REQUESTS_WAITING, 1);
    x->was_held = true;
    x->waits_since_us = worker_now_us(w);
    x->hold = q;
    x->state = EXCHANGE_HELD;
    x->deadline_ms = deadline;
    exchange_set_timer(x);
    if (w->hold_timer.due_ms == TIMER_NEVER)
        timer_set(&w->timers, &w->hold_timer, w->now_ms + LOOK_MS);
    return true;
}

void hold_set_time(struct exchange *x, uint32_t ms)
{
    uint64_t deadline = x->held_since_ms + ms;
    if (deadline == x->deadline_ms)
        return;
    x->deadline_ms = deadline;
    exchange_set_timer(x);
}

void hold_remove(struct exchange *x)
{
    if (x->hold == NULL)
        return;
    struct worker *w = x->worker;
    uint32_t slot = x->hold->app_slot;
    link_remove(&x->hold_link);
    x->waited_us += worker_now_us(w) - x->waits_since_us;
    x->hold = NULL; /* an empty queue is freed by hold_release() */
    stats_request(w, slot, REQUESTS_WAITING, -1);
    atomic_fetch_sub(&w->gateway->held[slot], 1);
}

static void release_queue(struct hold_queue *q)
{
    /* One that cannot go stops those behind it: first come, first served. */
    while (!link_alone(&q->waiting)) {
        struct exchange *x = link_owner(q->waiting.next, struct exchange, hold_link);
        if (!dispatch_held(x, RELEASE_IN_FLIGHT))
            return;
    }
}

void hold_release(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->holds.next; l != &w->holds; l = next) {
        struct hold_queue *q = link_owner(l, struct hold_queue, link);
        release_queue(q);
        next = l->next;
        if (link_alone(&q->waiting)) {
            link_remove(&q->link);
            free(q);
        }
    }
    /* Tables and ended answers of this worker come here by themselves. The timer is for what makes
     * no event: the end of an instance's rest, other workers' requests in flight. */
    if (link_alone(&w->holds))
        timer_cancel(&w->timers, &w->hold_timer);
    else
        timer_set(&w->timers, &w->hold_timer, w->now_ms + LOOK_MS);
}

void hold_tick(struct timer *t)
{
    hold_release(link_owner(t, struct worker, hold_timer));
}
