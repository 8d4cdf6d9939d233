/* Connections to instances. Idle ones stay in epoll and are closed when the instance closes them
 * (DESIGN, mechanism 8). */
#include "gateway/h2.h"
#include "gateway/tls.h"
#include "gateway/upstream_tls.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { SWEEP_MS = 500, LEARN_FROM_MS = 250, LOOKED_AT = 8 };

/* How long a connection may have been idle and still be used. */
static uint64_t idle_limit(const struct upstream *u)
{
    uint32_t limit = u->instance->keepalive_ms;
    if (u->instance->learned_ms > 0 && u->instance->learned_ms < limit)
        limit = u->instance->learned_ms;
    if (u->keepalive_ms > 0 && u->keepalive_ms < limit)
        limit = u->keepalive_ms;
    return limit;
}

/* Nothing to read and not closed. */
bool upstream_quiet(const struct upstream *u)
{
    char byte;
    if (u->endpoint.tls != NULL && !tls_quiet(u->endpoint.tls))
        return false;
    return recv(u->endpoint.fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

static struct upstream *take_idle(struct worker *w, struct instance *i, uint64_t tls,
                                  bool replayable)
{
    unsigned others = 0;
    struct link *next;
    for (struct link *l = i->idle.next; l != &i->idle && others < LOOKED_AT; l = next) {
        struct upstream *u = link_owner(l, struct upstream, link);
        next = l->next;
        uint64_t age = w->now_ms - u->idle_since_ms;
        if (age >= idle_limit(u)) {
            upstream_close(u); /* and those behind it are older still */
            continue;
        }
        if (u->tls != tls) { /* of another route, and of no use for this one */
            others++;
            continue;
        }
        if (!replayable) {
            /* It could not be sent again, so it gets a connection that is young and was open a
             * moment ago. The others are sent again if need be: no system call for them. */
            if (age >= w->gateway->limits.fresh_ms)
                return NULL;
            if (!upstream_quiet(u)) {
                upstream_close(u);
                continue;
            }
        }
        link_remove(&u->link);
        u->reused = true;
        return u;
    }
    return NULL;
}

struct upstream *upstream_open(struct worker *w, struct instance *i, uint64_t tls, bool replayable,
                               bool fresh, bool *local)
{
    *local = false;
    struct upstream *u = fresh ? NULL : take_idle(w, i, tls, replayable);
    if (u != NULL)
        return u;
    u = calloc(1, sizeof *u);
    if (u == NULL) {
        *local = true;
        return NULL;
    }
    u->endpoint.kind = ENDPOINT_UPSTREAM;
    enum reached reached = reach_connect(w, &i->reach, &u->endpoint, &u->wait);
    if (reached > REACH_BEGUN) {
        *local = reached == REACH_LOCAL;
        free(u);
        return NULL;
    }
    u->worker = w;
    u->tls = tls;
    u->instance = i;
    u->connecting = reached == REACH_BEGUN;
    link_init(&u->link);
    i->connections++;
    atomic_fetch_add_explicit(&w->gateway->open_fds, 1, memory_order_relaxed);
    return u;
}

void upstream_close(struct upstream *u)
{
    struct worker *w = u->worker;
    ASSERT(u->exchange == NULL);
    if (u->endpoint.tls != NULL)
        upstream_tls_closing(u);
    link_remove(&u->link);
    chunk_put(&w->chunks, u->in);
    u->in = NULL;
    if (u->endpoint.stream != NULL) {
        h2_stream_leave(u->endpoint.stream);
    } else {
        reach_abandon(&u->wait);
        atomic_fetch_sub_explicit(&w->gateway->open_fds, 1, memory_order_relaxed);
    }
    worker_retire(w, &u->endpoint);
    instance_unref(w, u->instance);
}

void upstream_keep(struct upstream *u)
{
    struct worker *w = u->worker;
    ASSERT(u->exchange == NULL && u->in == NULL);
    /* A read that filled its buffer has not seen what lies behind the answer: it would be taken for
     * the next one, perhaps of another client. */
    bool unseen = u->endpoint.readable && !upstream_quiet(u);
    if (u->endpoint.stream != NULL || !u->instance->listed || u->endpoint.hangup ||
        idle_limit(u) == 0 || unseen) {
        upstream_close(u);
        return;
    }
    u->idle_since_ms = w->now_ms;
    link_after(&u->instance->idle, &u->link);
    if (w->sweep_timer.due_ms == TIMER_NEVER)
        timer_set(&w->timers, &w->sweep_timer, w->now_ms + SWEEP_MS);
}

void upstream_idle_event(struct upstream *u)
{
    if (upstream_quiet(u))
        return; /* an edge of bytes that were read since */
    /* It closed at this age: stay below it from now on. Very young ones say nothing about a limit
     * in time (a limit in number of requests, the instance's own end). */
    uint64_t age = u->worker->now_ms - u->idle_since_ms;
    struct instance *i = u->instance;
    if (age >= LEARN_FROM_MS && age < i->keepalive_ms) {
        uint32_t limit = (uint32_t)(age - age / 4);
        if (i->learned_ms == 0 || limit < i->learned_ms)
            i->learned_ms = limit;
    }
    upstream_close(u);
}

void upstream_event(struct upstream *u, uint32_t events)
{
    if (u->exchange == NULL) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            upstream_idle_event(u);
        return;
    }
    endpoint_note(&u->endpoint, events);
    client_run(u->exchange->client);
}

void upstream_sweep(struct timer *t)
{
    struct worker *w = link_owner(t, struct worker, sweep_timer);
    bool any = false;
    struct link *next;
    for (struct link *l = w->instance_list.next; l != &w->instance_list; l = next) {
        struct instance *i = link_owner(l, struct instance, link);
        next = l->next;
        while (!link_alone(&i->idle)) {
            struct upstream *oldest = link_owner(i->idle.prev, struct upstream, link);
            if (w->now_ms - oldest->idle_since_ms < idle_limit(oldest)) {
                any = true;
                break;
            }
            bool last = i->connections == 1 && !i->listed;
            upstream_close(oldest);
            if (last)
                break; /* i is gone */
        }
    }
    if (any)
        timer_set(&w->timers, &w->sweep_timer, w->now_ms + SWEEP_MS);
}
