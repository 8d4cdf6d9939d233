/* Instances as one worker sees them, and the choice among them. */
#include "gateway/h2.h"

#include "base/assert.h"
#include "gateway/outlier.h"
#include "gateway/stats.h"

#include <stdlib.h>

enum { OTHERS_MS = 1 }; /* how old the sum over the other workers may be */

static void forget(struct worker *w, struct instance *i)
{
    link_remove(&i->link);
    if (w->instances[i->slot] == i)
        w->instances[i->slot] = NULL;
    free(i);
}

/* all: those that finish something, too. */
static void close_idle(struct instance *i, bool all)
{
    /* The last close may free the instance, when nothing else holds it. */
    i->connections++;
    while (!link_alone(&i->idle))
        upstream_close(link_owner(i->idle.next, struct upstream, link));
    h2_origin_unlist(i, all);
    i->connections--;
}

void instance_unref(struct worker *w, struct instance *i)
{
    ASSERT(i->connections > 0);
    if (--i->connections == 0 && !i->listed)
        forget(w, i);
}

/* Made when it is first chosen. NULL: no memory. */
static struct instance *instance_get(struct worker *w, const struct snapshot_pool *p,
                                     uint32_t index)
{
    uint32_t pool = (uint32_t)(p - w->table->snapshot->pools);
    const struct snapshot_instance *s = &w->table->snapshot->instances[index];
    uint64_t identity = w->table->identities[index];
    struct instance *i = w->instances[s->slot];
    if (i != NULL && i->identity == identity)
        return i;
    i = calloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    i->slot = s->slot;
    reach_init(&i->reach, s);
    i->identity = identity;
    i->keepalive_ms = s->keepalive_ms;
    i->listed = true;
    i->slow_start_ms = w->table->slow_start_ms[pool];
    outlier_begin(w, i, s->ready_at_ms);
    link_init(&i->idle);
    link_init(&i->h2);
    i->h2_streams = UINT32_MAX;
    link_before(&w->instance_list, &i->link);
    w->instances[s->slot] = i;
    return i;
}

static void sync_instance(struct worker *w, struct instance *i)
{
    const struct table *t = w->table;
    uint32_t index = i->slot < t->by_slot_len ? t->by_slot[i->slot] : 0;
    bool was_listed = i->listed;
    i->listed = index != 0 && t->identities[index - 1] == i->identity;
    if (i->listed) {
        i->keepalive_ms = t->snapshot->instances[index - 1].keepalive_ms;
        if (!was_listed)
            outlier_begin(w, i, t->snapshot->instances[index - 1].ready_at_ms);
        i->drain_deadline_ms = 0;
        return;
    }
    close_idle(i, false);
    /* The slot may be given to another one now; those that still run here hold `i` themselves. */
    if (index != 0 && w->instances[i->slot] == i)
        w->instances[i->slot] = NULL;
    if (i->connections == 0)
        forget(w, i);
}

void balance_sync(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->instance_list.next; l != &w->instance_list; l = next) {
        next = l->next;
        sync_instance(w, link_owner(l, struct instance, link));
    }
    const struct snapshot *s = w->table->snapshot;
    for (uint32_t k = 0; k < s->draining_len; k++) {
        struct instance *i = w->instances[s->draining[k].slot];
        if (i == NULL || i->listed)
            continue;
        uint64_t at = s->draining[k].deadline_ms;
        i->drain_deadline_ms = at > w->boot_minus_mono_ms ? at - w->boot_minus_mono_ms : 1;
    }
}

void balance_release(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->instance_list.next; l != &w->instance_list; l = next) {
        struct instance *i = link_owner(l, struct instance, link);
        next = l->next;
        i->listed = false;
        close_idle(i, true);
        forget(w, i);
    }
}

/* In flight over all workers. The own part is exact. The other workers' is read from their metrics,
 * at most once a millisecond per instance: a few cache lines then, none on the usual way. */
static int64_t load_of(struct worker *w, struct instance *i, bool exact)
{
    const struct gateway *g = w->gateway;
    if (g->workers_len > 1 && (exact || w->now_ms - i->others_at_ms >= OTHERS_MS)) {
        i->others = 0;
        i->others_at_ms = w->now_ms;
        for (uint32_t k = 0; k < g->workers_len; k++)
            if (k != w->index)
                i->others += stats_in_flight(&g->blocks[k], i->slot);
    }
    return stats_in_flight(w->metrics, i->slot) + i->others;
}

/* Whom a request may go to. */
struct wanted {
    const struct snapshot_pool *pool;
    const struct instance *avoid; /* NULL: nobody */
    uint32_t limit;               /* in flight; 0: none */
    bool ejected_too;
};

static struct instance *usable(struct worker *w, const struct wanted *want, uint32_t nth)
{
    struct instance *i = instance_get(w, want->pool, want->pool->first_instance + nth);
    if (i == NULL || i == want->avoid || i->rest_until_ms > w->now_ms ||
        (i->ejected_until_ms > w->now_ms && !want->ejected_too) ||
        (want->limit > 0 && load_of(w, i, true) >= (int64_t)want->limit))
        return NULL;
    return i;
}

/* Of two that can be used. One whose share rises is left out more or less often; where both are,
 * none is: instances that are all new are equal. */
static struct instance *better(struct worker *w, struct instance *x, struct instance *y)
{
    bool rises = x->ramp_until_ms > w->now_ms || y->ramp_until_ms > w->now_ms;
    if (rises) {
        bool thin_x = outlier_thinned(w, x), thin_y = outlier_thinned(w, y);
        if (thin_x != thin_y)
            return thin_x ? y : x;
    }
    return load_of(w, x, false) <= load_of(w, y, false) ? x : y;
}

static struct instance *choose(struct worker *w, const struct wanted *want)
{
    uint32_t n = want->pool->instances;
    if (n == 1)
        return usable(w, want, 0);
    uint32_t r = worker_random(w);
    uint32_t a = (r & 0xffff) % n, b = (r >> 16) % (n - 1);
    b += b >= a;
    struct instance *x = usable(w, want, a), *y = usable(w, want, b);
    if (x != NULL && y != NULL)
        return better(w, x, y);
    if (x != NULL || y != NULL)
        return x != NULL ? x : y;
    for (uint32_t k = 1; k < n && x == NULL; k++)
        x = usable(w, want, (a + k) % n);
    return x;
}

struct instance *balance_choose(struct worker *w, const struct snapshot_pool *pool,
                                const struct instance *avoid, uint32_t limit)
{
    struct wanted want = {pool, avoid, limit, false};
    if (pool->instances == 0)
        return NULL;
    struct instance *i = choose(w, &want);
    if (i == NULL && avoid != NULL) {
        want.avoid = NULL;
        i = choose(w, &want);
    }
    if (i == NULL && limit > 0) {
        want.limit = 0;
        if (choose(w, &want) != NULL)
            return NULL; /* the good ones are only busy */
        want.limit = limit;
    }
    if (i == NULL) { /* a bad one is better than none */
        want.ejected_too = true;
        i = choose(w, &want);
    }
    return i;
}
