#include "gateway/capacity.h"

#include "base/assert.h"
#include "gateway/stats.h"

#include <stdlib.h>

enum { LOOK_MS = 20 };

struct capacity_queue {
    struct link link; /* worker.queues */
    struct link waiting;
    uint32_t slot; /* of the share */
};

/* ---- places
 * ---------------------------------------------------------------------------------------------- */

bool capacity_take(struct exchange *x, const struct table_route *r,
                   const struct snapshot_share *share, bool in_turn)
{
    struct gateway *g = x->worker->gateway;
    uint32_t most = r->route->resilience.in_flight;
    if (x->place == share->slot + 1)
        return true;
    if (x->place != 0) /* it goes to another release now */
        capacity_give_back(x);
    if (most == 0)
        return true;
    if (!in_turn && atomic_load(&g->queued[share->slot]) > 0)
        return false;
    if (atomic_fetch_add(&g->places_taken[share->slot], 1) >= most) {
        atomic_fetch_sub(&g->places_taken[share->slot], 1);
        return false;
    }
    x->place = share->slot + 1;
    return true;
}

/* The worker whose first one waits longest; UINT32_MAX: nobody waits. */
static uint32_t next_worker(struct gateway *g, uint32_t slot)
{
    uint32_t found = UINT32_MAX;
    uint64_t oldest = UINT64_MAX;
    for (uint32_t k = 0; k < g->workers_len; k++) {
        uint64_t since = atomic_load(&g->workers[k].queue_heads[slot]);
        if (since != 0 && since < oldest) {
            oldest = since;
            found = k;
        }
    }
    return found;
}

static void pass_on(struct worker *w, uint32_t slot)
{
    struct gateway *g = w->gateway;
    uint32_t next = next_worker(g, slot);
    if (next == w->index)
        w->queues_changed = true;
    else if (next != UINT32_MAX)
        worker_wake(&g->workers[next]);
}

void capacity_give_back(struct exchange *x)
{
    struct gateway *g = x->worker->gateway;
    uint32_t slot = x->place - 1;
    x->place = 0;
    atomic_fetch_sub(&g->places_taken[slot], 1);
    if (atomic_load(&g->queued[slot]) > 0)
        pass_on(x->worker, slot);
}

/* ---- the queue
 * ------------------------------------------------------------------------------------------- */

static struct capacity_queue *queue_make(struct worker *w, uint32_t slot)
{
    for (struct link *l = w->queues.next; l != &w->queues; l = l->next) {
        struct capacity_queue *q = link_owner(l, struct capacity_queue, link);
        if (q->slot == slot)
            return q;
    }
    struct capacity_queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->slot = slot;
    link_init(&q->waiting);
    link_before(&w->queues, &q->link);
    return q;
}

static struct exchange *first_of(const struct capacity_queue *q)
{
    return link_alone(&q->waiting) ? NULL : link_owner(q->waiting.next, struct exchange, hold_link);
}

static void note_head(struct worker *w, const struct capacity_queue *q)
{
    const struct exchange *x = first_of(q);
    atomic_store(&w->queue_heads[q->slot], x != NULL ? x->queued_us : 0);
}

static void refuse(struct exchange *x, bool split, const char *text)
{
    stats_request(x->worker, x->share_slot, REQUESTS_REFUSED, 1);
    if (!split || x->spilled) { /* where it was meant to go, somebody else failed */
        exchange_refuse(x, OUTCOME_UNSERVED, 503, text);
        return;
    }
    /* While releases are compared, one that takes too little is one that fails. */
    x->taken = true;
    x->fault = SAMPLE_UNSERVED;
    exchange_refuse(x, OUTCOME_FAILED, 503, text);
}

void capacity_wait(struct exchange *x, const struct table_route *r)
{
    const struct snapshot_resilience *s = &r->route->resilience;
    struct worker *w = x->worker;
    struct gateway *g = w->gateway;
    uint32_t slot = x->share_slot;
    ASSERT(x->upstream == NULL && x->queue == NULL && x->hold == NULL);
    bool room = s->queue_ms > 0 && atomic_fetch_add(&g->queued[slot], 1) < s->pending;
    struct capacity_queue *q = room ? queue_make(w, slot) : NULL;
    if (q == NULL) {
        if (s->queue_ms > 0)
            atomic_fetch_sub(&g->queued[slot], 1);
        refuse(x, r->split, "too many requests at once");
        return;
    }
    x->queued_us = worker_now_us(w);
    x->queue = q;
    link_before(&q->waiting, &x->hold_link);
    note_head(w, q);
    stats_request(w, slot, REQUESTS_QUEUED, 1);
    stats_request(w, slot, REQUESTS_QUEUE, 1);
    x->state = EXCHANGE_QUEUED;
    x->deadline_ms = w->now_ms + s->queue_ms;
    exchange_set_timer(x);
    if (w->queue_timer.due_ms == TIMER_NEVER)
        timer_set(&w->timers, &w->queue_timer, w->now_ms + LOOK_MS);
    /* The last place may have been given back before this one was seen to wait. */
    w->queues_changed = true;
}

void capacity_leave_queue(struct exchange *x)
{
    struct worker *w = x->worker;
    struct capacity_queue *q = x->queue;
    x->queue = NULL;
    link_remove(&x->hold_link);
    note_head(w, q); /* an empty one is freed by capacity_release() */
    stats_request(w, q->slot, REQUESTS_QUEUE, -1);
    atomic_fetch_sub(&w->gateway->queued[q->slot], 1);
}

void capacity_expired(struct exchange *x)
{
    const struct table_route *r = table_route_of_share(x->worker->table, x->share_slot);
    refuse(x, r != NULL && r->split, "no place got free in time");
}

static void release_queue(struct worker *w, struct capacity_queue *q)
{
    struct exchange *x;
    while ((x = first_of(q)) != NULL) {
        uint32_t next = next_worker(w->gateway, q->slot);
        if (next != w->index) { /* another worker's waits longer */
            pass_on(w, q->slot);
            return;
        }
        if (!dispatch_queued(x))
            return;
    }
    /* There may be places left for those who came later, elsewhere. */
    if (atomic_load(&w->gateway->queued[q->slot]) > 0)
        pass_on(w, q->slot);
}

void capacity_release(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->queues.next; l != &w->queues; l = next) {
        struct capacity_queue *q = link_owner(l, struct capacity_queue, link);
        release_queue(w, q);
        next = l->next;
        if (link_alone(&q->waiting)) {
            link_remove(&q->link);
            free(q);
        }
    }
    if (link_alone(&w->queues))
        timer_cancel(&w->timers, &w->queue_timer);
    else
        timer_set(&w->timers, &w->queue_timer, w->now_ms + LOOK_MS);
}

void capacity_free(struct worker *w)
{
    while (!link_alone(&w->queues))
        free(link_owner(link_take(&w->queues), struct capacity_queue, link));
}

void capacity_tick(struct timer *t)
{
    capacity_release(link_owner(t, struct worker, queue_timer));
}
