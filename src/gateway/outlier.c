#include "gateway/outlier.h"

#include "base/log.h"
#include "gateway/ejection.h"

enum {
    WINDOW = 256,          /* answers that are remembered; then each counts half */
    LATENCY_LEAST = 64,    /* of the instance, and of the others together */
    SLOW_LEAST_US = 10000, /* differences below are nothing that users see */
    RETURN_MAX_MS = 30000,
};

static uint64_t to_mono(const struct worker *w, uint64_t boot_ms)
{
    return boot_ms > w->boot_minus_mono_ms ? boot_ms - w->boot_minus_mono_ms : 0;
}

static void set_ramp(struct instance *i, uint64_t from_ms, uint64_t length_ms)
{
    i->ramp_from_ms = from_ms;
    i->ramp_until_ms = from_ms + length_ms;
}

/* As long as it was out, or as new ones take. */
static void take_up(struct worker *w, struct instance *i)
{
    const struct ejection_slot *e = &w->gateway->ejections[i->slot];
    uint64_t until_ms = to_mono(w, atomic_load(&e->until_boot_ms));
    uint64_t length_ms = atomic_load(&e->length_ms);
    if (until_ms == 0 || until_ms == i->ejected_until_ms)
        return;
    if (length_ms > RETURN_MAX_MS)
        length_ms = RETURN_MAX_MS;
    i->ejected_until_ms = until_ms;
    set_ramp(i, until_ms, i->slow_start_ms > 0 ? i->slow_start_ms : length_ms);
    i->seen = (struct seen){.row = 0};
}

void outlier_begin(struct worker *w, struct instance *i, uint64_t ready_at_ms)
{
    i->slow_us = UINT64_MAX;
    if (i->slow_start_ms > 0 && ready_at_ms > 0)
        set_ramp(i, to_mono(w, ready_at_ms), i->slow_start_ms);
    take_up(w, i);
}

void outlier_sync(struct worker *w)
{
    w->ejections_seen = atomic_load(&w->gateway->ejections_made);
    for (struct link *l = w->instance_list.next; l != &w->instance_list; l = l->next) {
        struct instance *i = link_owner(l, struct instance, link);
        if (i->listed)
            take_up(w, i);
    }
}

void outlier_prepare(struct gateway *g, const struct table *t)
{
    const struct snapshot *s = t->snapshot;
    pthread_mutex_lock(&g->ejections_lock);
    for (uint32_t k = 0; k < s->instances_len; k++) {
        struct ejection_slot *e = &g->ejections[s->instances[k].slot];
        if (atomic_load(&e->identity) == t->identities[k])
            continue;
        atomic_store(&e->until_boot_ms, 0);
        atomic_store(&e->length_ms, 0);
        atomic_store(&e->times, 0);
        atomic_store(&e->count, 0);
        atomic_store(&e->identity, t->identities[k]);
    }
    pthread_mutex_unlock(&g->ejections_lock);
}

bool outlier_thinned(struct worker *w, const struct instance *i)
{
    return worker_random(w) % RAMP_WHOLE >=
           ramp_share(i->ramp_from_ms, i->ramp_until_ms, w->now_ms);
}

/* ---- evidence
 * ------------------------------------------------------------------------------------------- */

/* The pool that a share of a route gives i to; NULL: this route is not looked at now, or i is not
 * in it any more. */
static const struct snapshot_pool *pool_of(const struct worker *w, const struct instance *i,
                                           uint32_t share_slot,
                                           const struct snapshot_resilience **how)
{
    const struct table *t = w->table;
    const struct table_route *r = table_route_of_share(t, share_slot);
    uint32_t index = i->slot < t->by_slot_len ? t->by_slot[i->slot] : 0;
    if (r == NULL || r->split || index == 0 || t->identities[index - 1] != i->identity)
        return NULL;
    *how = &r->route->resilience;
    for (uint32_t k = 0; k < r->route->shares_len; k++) {
        const struct snapshot_pool *p = &t->snapshot->pools[r->route->shares[k].pool];
        if (r->route->shares[k].slot == share_slot && index - 1 - p->first_instance < p->instances)
            return p;
    }
    return NULL;
}

/* What this worker saw of the pool's other instances, and how many of them can be used. */
static struct seen others(const struct worker *w, const struct snapshot_pool *p,
                          const struct instance *i, uint32_t *usable)
{
    struct seen sum = {.row = 0};
    *usable = 0;
    for (uint32_t k = p->first_instance; k < p->first_instance + p->instances; k++) {
        const struct instance *o = w->instances[w->table->snapshot->instances[k].slot];
        if (o == i)
            continue;
        if (o == NULL || o->identity != w->table->identities[k]) {
            ++*usable; /* not needed by this worker yet */
            continue;
        }
        *usable += o->rest_until_ms <= w->now_ms && o->ejected_until_ms <= w->now_ms;
        sum.answers += o->seen.answers;
        sum.failed += o->seen.failed;
        sum.timed += o->seen.timed;
        sum.latency_us += o->seen.latency_us;
    }
    return sum;
}

static uint32_t count_ejected(const struct worker *w, const struct snapshot_pool *p,
                              uint64_t now_boot_ms)
{
    uint32_t n = 0;
    for (uint32_t k = p->first_instance; k < p->first_instance + p->instances; k++) {
        uint32_t slot = w->table->snapshot->instances[k].slot;
        n += atomic_load(&w->gateway->ejections[slot].until_boot_ms) > now_boot_ms;
    }
    return n;
}

/* Several workers may find the same one at once, or each another one: one at a time. */
static void eject(struct worker *w, struct instance *i, const struct snapshot_pool *p,
                  const struct snapshot_resilience *how, enum ejection_reason why)
{
    struct gateway *g = w->gateway;
    struct ejection_slot *e = &g->ejections[i->slot];
    uint64_t now = w->now_ms + w->boot_minus_mono_ms;
    pthread_mutex_lock(&g->ejections_lock);
    uint64_t until = atomic_load(&e->until_boot_ms);
    bool mine = atomic_load(&e->identity) == i->identity && until <= now &&
                count_ejected(w, p, now) < ejection_most(p->instances, how->eject_share_ppm);
    if (mine) {
        uint32_t times = (uint32_t)atomic_load(&e->times);
        until = ejection_until(&times, until, now, how->eject_base_ms, how->eject_max_ms);
        atomic_store(&e->times, times);
        atomic_store(&e->why, why);
        atomic_store(&e->length_ms, until - now);
        atomic_store(&e->until_boot_ms, until);
        atomic_fetch_add(&e->count, 1);
        atomic_fetch_add(&g->ejections_made, 1);
    }
    pthread_mutex_unlock(&g->ejections_lock);
    if (!mine)
        return;
    const char *id = w->table->snapshot->instances[w->table->by_slot[i->slot] - 1].id;
    log_warn("%s gets no requests for %llu ms: %s", id, (unsigned long long)(until - now),
             why == EJECTED_LATENCY ? "it is much slower than the others"
                                    : "it fails while the others do not");
    take_up(w, i);
}

static void remember(struct seen *s)
{
    if (s->answers < WINDOW)
        return;
    s->answers /= 2;
    s->failed /= 2;
    s->timed /= 2;
    s->slow /= 2;
    s->latency_us /= 2;
}

void outlier_failed(struct worker *w, struct instance *i, uint32_t share_slot)
{
    const struct snapshot_resilience *how;
    uint32_t usable;
    i->seen.answers++;
    i->seen.failed++;
    i->seen.row++;
    remember(&i->seen);
    const struct snapshot_pool *p = pool_of(w, i, share_slot, &how);
    if (p == NULL || how->eject_errors == 0 || i->seen.row < how->eject_errors)
        return;
    struct seen o = others(w, p, i, &usable);
    if (usable > 0 && !ejection_by_chance(i->seen.row, o.failed, o.answers))
        eject(w, i, p, how, EJECTED_ERRORS);
}

/* Most of its answers, and their mean, are later than what is said of the others' mean: one answer
 * that takes a minute is no evidence, and neither is a moment in which all are slow. */
void outlier_look(struct worker *w, struct instance *i, uint32_t share_slot)
{
    const struct snapshot_resilience *how;
    uint32_t usable;
    struct seen *s = &i->seen;
    remember(s);
    const struct snapshot_pool *p = pool_of(w, i, share_slot, &how);
    i->slow_us = UINT64_MAX;
    if (p == NULL || how->eject_latency_ppm == 0)
        return;
    struct seen o = others(w, p, i, &usable);
    if (usable == 0 || o.timed < LATENCY_LEAST)
        return;
    uint64_t slow_us = o.latency_us / o.timed * how->eject_latency_ppm / 1000000;
    if (slow_us < SLOW_LEAST_US)
        slow_us = SLOW_LEAST_US;
    if (s->timed >= LATENCY_LEAST && s->slow > s->timed / 2 && s->latency_us / s->timed > slow_us)
        eject(w, i, p, how, EJECTED_LATENCY);
    i->slow_us = slow_us;
}
