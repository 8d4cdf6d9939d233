#include "gateway/worker.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "gateway/access.h"
#include "gateway/capacity.h"
#include "gateway/h2.h"
#include "gateway/mirror.h"
#include "gateway/outlier.h"
#include "gateway/splice.h"
#include "gateway/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

uint64_t worker_now_us(struct worker *w)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* the vDSO: no system call */
    w->now_us = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
    return w->now_us;
}

/* xorshift64*: for choosing instances and buckets, nothing secret. */
uint32_t worker_random(struct worker *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return (uint32_t)((w->random * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

int worker_watch(struct worker *w, struct endpoint *e, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = e};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, e->fd, &event);
}

void worker_retire(struct worker *w, struct endpoint *e)
{
    ASSERT(!e->dead);
    tls_free(e->tls);
    e->tls = NULL;
    if (e->fd >= 0)
        close(e->fd); /* the last descriptor of it, so epoll forgets it too */
    e->fd = -1;
    e->dead = true;
    e->next_dead = w->dead;
    w->dead = e;
}

void worker_wake(struct worker *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->wake, &one, sizeof one);
    (void)n; /* EAGAIN: it is awake for sure */
}

int worker_init(struct worker *w, struct gateway *g, uint32_t index, struct error *err)
{
    w->gateway = g;
    w->index = index;
    w->metrics = &g->blocks[index];
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->epoll < 0 || w->wake < 0)
        return error_errno(err, errno, "worker %u", index);
    w->wake_endpoint = (struct endpoint){.fd = w->wake, .kind = ENDPOINT_WAKE};
    if (worker_watch(w, &w->wake_endpoint, EPOLLIN) < 0)
        return error_errno(err, errno, "worker %u: epoll", index);
    if (getrandom(&w->random, sizeof w->random, 0) != sizeof w->random || w->random == 0)
        w->random = 88172645463325252u + index;
    if (getrandom(&w->repeats.seed, sizeof w->repeats.seed, 0) != sizeof w->repeats.seed)
        w->repeats.seed = w->random;
    if (g->access != NULL && (w->access = access_writer_new(&g->access->ring[index])) == NULL)
        return error_set(err, ERROR_FAILED, "worker %u: out of memory", index);
    w->now_ms = w->started_ms = worker_now_us(w) / 1000;
    trace_seed(&w->trace);
    w->chunks.limit = g->limits.worker_memory;
    w->overload.caught_up_ms = w->now_ms;
    timers_init(&w->timers, w->now_ms);
    timer_init(&w->hold_timer, hold_tick);
    timer_init(&w->queue_timer, capacity_tick);
    timer_init(&w->sweep_timer, upstream_sweep);
    timer_init(&w->reach_timer, reach_tick);
    timer_init(&w->accept_timer, accept_resume);
    struct link *lists[] = {&w->clients,   &w->exchanges, &w->ready,         &w->listeners,
                            &w->pipes,     &w->holds,     &w->instance_list, &w->h2_sessions,
                            &w->h2_unsent, &w->queues,    &w->reach_waits,   &w->copies};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        link_init(lists[i]);
    w->accepting = true;
    atomic_store(&w->metrics->seen_version, METRICS_OFFLINE);
    return 0;
}

static void bury(struct worker *w)
{
    while (w->dead != NULL) {
        struct endpoint *e = w->dead;
        w->dead = e->next_dead;
        free(e);
    }
}

void worker_release(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->listeners.next; l != &w->listeners; l = next) {
        next = l->next;
        free(link_owner(l, struct listener, link));
    }
    capacity_free(w);
    balance_release(w);
    splice_release(w);
    bury(w);
    chunk_pool_release(&w->chunks);
    free(w->access);
    if (w->wake >= 0)
        close(w->wake);
    if (w->epoll >= 0)
        close(w->epoll);
}

/* Takes part in the acknowledgement of tables (metrics.h): online BEFORE the table pointer is read,
 * with the version seen last, which is never newer than what is then read. Were it the other way
 * round, the control thread could see "offline", free the table that was just read, and crash us.
 */
static void go_online(struct worker *w)
{
    atomic_store(&w->metrics->seen_version, w->table_version);
    struct table *t = atomic_load(&w->gateway->table);
    if (atomic_load_explicit(&w->gateway->ejections_made, memory_order_relaxed) !=
        w->ejections_seen)
        outlier_sync(w);
    if (t == w->table && t->version == w->table_version)
        return;
    w->table = t;
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    w->boot_minus_mono_ms =
        (uint64_t)boot.tv_sec * 1000 + (uint64_t)boot.tv_nsec / 1000000 - w->now_ms;
    balance_sync(w);
    exchange_drain_deadlines(w);
    mirror_sync(w);
    w->holds_changed = true;
    w->table_version = t->version;
    atomic_store(&w->metrics->seen_version, t->version);
}

static void go_offline(struct worker *w)
{
    atomic_store(&w->metrics->seen_version, METRICS_OFFLINE);
}

static void woken(struct worker *w)
{
    uint64_t n;
    while (read(w->wake, &n, sizeof n) > 0)
        ;
    w->queues_changed = !link_alone(&w->queues);
    accept_sync(w);
    if (accept_full(w->gateway)) /* another worker found no room for a client */
        reclaim(w);
    if (!w->draining && atomic_load(&w->gateway->draining)) {
        w->draining = true;
        accept_stop(w);
        h2_drain(w);
    }
}

/* Closes of idle connections first: a request earlier in the same batch must not choose one whose
 * end is known already. */
static void idle_first(struct epoll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        struct endpoint *e = events[i].data.ptr;
        if (e->kind != ENDPOINT_UPSTREAM || e->dead)
            continue;
        struct upstream *u = (struct upstream *)e;
        if (u->exchange == NULL &&
            (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
            upstream_idle_event(u);
            events[i].data.ptr = NULL;
        }
    }
}

static void handle(struct worker *w, struct endpoint *e, uint32_t events)
{
    if (e->dead)
        return;
    switch ((enum endpoint_kind)e->kind) {
    case ENDPOINT_CLIENT: client_event((struct client *)e, events); break;
    case ENDPOINT_UPSTREAM: upstream_event((struct upstream *)e, events); break;
    case ENDPOINT_LISTENER: accept_event(w, (struct listener *)e); break;
    case ENDPOINT_H2: h2_origin_event(e, events); break;
    case ENDPOINT_WAKE: woken(w); break;
    }
}

/* Those that had more to do than a turn allows, and held ones that were let go. */
static void run_ready(struct worker *w)
{
    struct link now;
    link_init(&now);
    while (!link_alone(&w->ready)) {
        struct link *l = w->ready.next;
        link_remove(l);
        link_before(&now, l);
    }
    while (!link_alone(&now)) {
        struct client *c = link_owner(now.next, struct client, ready);
        link_remove(&c->ready);
        client_run(c);
    }
}

static void turn(struct worker *w, struct epoll_event *events)
{
    bool more = !link_alone(&w->ready) || w->queues_changed || w->holds_changed;
    int wait = more ? 0 : timers_wait_ms(&w->timers, w->now_ms);
    go_offline(w);
    int n = epoll_wait(w->epoll, events, EVENTS, wait);
    w->now_ms = worker_now_us(w) / 1000;
    atomic_store_explicit(&w->turns, w->turns + 1, memory_order_relaxed);
    go_online(w);
    ASSERT(n >= 0 || errno == EINTR);
    if (n >= 0) /* a signal says nothing of how much there is to do */
        overload_turn(&w->overload, n == EVENTS, w->now_ms);
    if (n > 1)
        idle_first(events, n);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr != NULL)
            handle(w, events[i].data.ptr, events[i].events);
    timers_run(&w->timers, w->now_ms);
    if (w->queues_changed) {
        w->queues_changed = false;
        capacity_release(w);
    }
    if (w->holds_changed) {
        w->holds_changed = false;
        hold_release(w);
    }
    if (!link_alone(&w->ready))
        run_ready(w);
    if (!link_alone(&w->h2_unsent))
        h2_send_all(w);
    bury(w);
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    char name[16] = "gw-worker-";
    name[10] = (char)('a' + w->index);
    prctl(PR_SET_NAME, name, 0, 0, 0);
    struct epoll_event events[EVENTS];
    accept_sync(w);
    atomic_fetch_add(&w->gateway->ready, 1);
    while (!w->draining || !link_alone(&w->clients))
        turn(w, events);
    mirror_release(w); /* other workers may drain for long, and the gauges count meanwhile */
    go_offline(w);
    atomic_fetch_sub(&w->gateway->running, 1);
    return NULL;
}
