/* Listening sockets of a worker. They stay level-triggered: what is not taken in this turn comes up
 * again in the next. */
#include "gateway/conn.h"

#include "base/log.h"
#include "gateway/stats.h"
#include "gateway/tls.h"
#include "os/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS = 64, PAUSE_MS = 100 };

/* Who comes for TLS waits in the queue until the controller has said which certificates there are,
 * and everybody does until a gateway that could not read the routes of another version knows some:
 * one that has just started loses nobody. */
static void watch_listener(struct worker *w, struct listener *l)
{
    if (l->watched || !w->accepting || !atomic_load(&w->gateway->routes_known) ||
        (l->tls != TLS_NONE && !atomic_load(&w->gateway->certificates_known)))
        return;
    if (worker_watch(w, &l->endpoint, EPOLLIN) < 0)
        log_error("worker %u: a listener cannot be watched: errno %d", w->index, errno);
    else
        l->watched = true;
}

static void listen_on(struct worker *w, int fd, uint32_t place)
{
    struct listener *l = calloc(1, sizeof *l);
    const char *address = w->gateway->listeners[place].address;
    if (l == NULL) {
        log_error("worker %u: no memory for a listener", w->index);
        return;
    }
    /* Both are inherited by the accepted sockets. */
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (listen_is_tcp(address))
        stream_keep_alive(fd);
    l->endpoint = (struct endpoint){.fd = fd, .kind = ENDPOINT_LISTENER};
    l->tls = listen_is_mtls(address) ? TLS_MUTUAL : listen_is_tls(address) ? TLS_SERVER : TLS_NONE;
    l->tcp = listen_is_tcp(address) ? address : NULL;
    l->place = place;
    link_before(&w->listeners, &l->link);
}

/* Of each group of 16, worker w polls the sockets j with j % W == w; new connections come to the
 * first W only, but what an earlier gateway with more workers left in a queue must be served. */
static void take_up(struct worker *w, uint32_t place)
{
    const struct gateway *g = w->gateway;
    w->listens[place] = true;
    for (uint32_t j = w->index; j < LISTENER_SOCKETS; j += g->workers_len)
        listen_on(w, g->listeners[place].fds[j], place);
}

/* The sockets of each worker are its own to close; the last one gives the place back. */
static void let_go(struct worker *w, uint32_t place)
{
    struct gateway *g = w->gateway;
    struct link *next;
    for (struct link *l = w->listeners.next; l != &w->listeners; l = next) {
        struct listener *listener = link_owner(l, struct listener, link);
        next = l->next;
        if (listener->place != place)
            continue;
        if (listener->watched) /* the guardian may hold the same description a moment longer */
            epoll_ctl(w->epoll, EPOLL_CTL_DEL, listener->endpoint.fd, NULL);
        link_remove(l);
        listener->endpoint.dead = true; /* this turn's events may still name it */
        listener->endpoint.next_dead = w->dead;
        w->dead = &listener->endpoint;
    }
    for (uint32_t j = w->index; j < LISTENER_SOCKETS; j += g->workers_len)
        close(g->listeners[place].fds[j]);
    w->listens[place] = false;
    g->listener_users[place] &= ~(1u << w->index);
    if (g->listener_users[place] == 0) {
        g->listeners[place].address[0] = 0;
        g->listener_closing[place] = false;
    }
}

void accept_sync(struct worker *w)
{
    struct gateway *g = w->gateway;
    pthread_mutex_lock(&g->listeners_lock);
    for (uint32_t k = 0; k < g->listeners_len; k++) {
        if (g->listener_closing[k] && (g->listener_users[k] & (1u << w->index)) != 0)
            let_go(w, k);
        else if (g->listeners[k].address[0] != 0 && !g->listener_closing[k] && !w->listens[k] &&
                 !w->draining)
            take_up(w, k);
    }
    pthread_mutex_unlock(&g->listeners_lock);
    for (struct link *l = w->listeners.next; l != &w->listeners && !w->draining; l = l->next)
        watch_listener(w, link_owner(l, struct listener, link));
}

static void set_accepting(struct worker *w, bool on)
{
    if (w->accepting == on)
        return;
    w->accepting = on;
    for (struct link *l = w->listeners.next; l != &w->listeners; l = l->next) {
        struct listener *listener = link_owner(l, struct listener, link);
        /* DEL, not close: other processes hold the same description, and epoll would go on. */
        if (on)
            watch_listener(w, listener);
        else if (listener->watched)
            epoll_ctl(w->epoll, EPOLL_CTL_DEL, listener->endpoint.fd, NULL);
        listener->watched = listener->watched && on;
    }
}

void accept_pause(struct worker *w)
{
    if (w->draining)
        return;
    set_accepting(w, false);
    timer_set(&w->timers, &w->accept_timer, w->now_ms + PAUSE_MS);
}

void accept_resume(struct timer *t)
{
    struct worker *w = link_owner(t, struct worker, accept_timer);
    if (!w->draining)
        set_accepting(w, true);
}

void accept_stop(struct worker *w)
{
    set_accepting(w, false);
    timer_cancel(&w->timers, &w->accept_timer);
}

bool accept_full(const struct gateway *g)
{
    if (atomic_load_explicit(&g->open_fds, memory_order_relaxed) >= g->limits.descriptors)
        return true;
    uint64_t clients = 0;
    for (uint32_t i = 0; g->max_connections > 0 && i < g->workers_len; i++)
        clients += atomic_load_explicit(&g->blocks[i].connections, memory_order_relaxed);
    return g->max_connections > 0 && clients >= g->max_connections;
}

/* true: there is room after all. Who idles here makes it; else new ones wait in the listeners'
 * queues, and the other workers look for idle ones of theirs. */
static bool make_room(struct worker *w)
{
    if (reclaim(w))
        return true;
    accept_pause(w);
    for (uint32_t i = 0; i < w->gateway->workers_len; i++)
        if (i != w->index)
            worker_wake(&w->gateway->workers[i]);
    return false;
}

static void take(struct worker *w, const struct listener *l, int fd,
                 const struct sockaddr_storage *peer)
{
    struct gateway *g = w->gateway;
    atomic_fetch_add_explicit(&g->open_fds, 1, memory_order_relaxed);
    struct client *c = l->tcp == NULL ? client_new(w, fd, peer, (enum tls_use)l->tls) : NULL;
    if (l->tcp != NULL ? stream_accept(w, fd, peer, l->tcp) < 0 : c == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&g->open_fds, 1, memory_order_relaxed);
        accept_pause(w);
    } else if (c != NULL && c->state != CLIENT_PROXY && !client_enter(c)) {
        stats_add(&w->metrics->connections_refused, 1);
        client_reset(c);
    }
}

void accept_event(struct worker *w, struct listener *l)
{
    for (int i = 0; i < ACCEPTS && w->accepting; i++) {
        if (accept_full(w->gateway) && !make_room(w))
            return;
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        int fd =
            accept4(l->endpoint.fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            /* For want of room: it would come up again at once, and spin. Others are of that one
             * connection (accept(2)). */
            bool room = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
            if (errno == EINTR || errno == ECONNABORTED || (room && make_room(w)))
                continue;
            return;
        }
        if (l->tls != TLS_NONE && !tls_possible(w->gateway, (enum tls_use)l->tls))
            close(fd); /* nothing could be said to it */
        else
            take(w, l, fd, &peer);
    }
}
