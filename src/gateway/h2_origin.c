/* Connections for HTTP/2 to instances: per worker and instance as few as their limits of concurrent
 * streams allow. A request's struct upstream has a stream of one of them for its endpoint. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/h2_limits.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct h2_origin {
    struct endpoint endpoint; /* first */
    struct h2_session session;
    struct instance *instance;
    struct link link; /* instance.h2 */
    struct timer timer;
    struct reach_wait wait; /* while it is connecting */
    bool connecting;
    bool used; /* it has had a stream before */
};

#define origin_of(s) link_owner(s, struct h2_origin, session)

/* ---- a connection
 * -------------------------------------------------------------------------------------- */

static void origin_timeout(struct timer *t)
{
    h2_look(&link_owner(t, struct h2_origin, timer)->session);
}

static struct h2_origin *connect_to(struct worker *w, struct instance *i, bool *local)
{
    *local = true;
    struct h2_origin *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    o->endpoint.kind = ENDPOINT_H2;
    o->instance = i;
    o->session.endpoint = &o->endpoint;
    o->session.timer = &o->timer;
    timer_init(&o->timer, origin_timeout);
    if (h2_session_init(&o->session, w) < 0) {
        free(o);
        return NULL;
    }
    enum reached reached = reach_connect(w, &i->reach, &o->endpoint, &o->wait);
    if (reached > REACH_BEGUN) {
        *local = reached == REACH_LOCAL;
        timer_cancel(&w->timers, &o->timer);
        h2_session_release(&o->session);
        free(o);
        return NULL;
    }
    o->connecting = reached == REACH_BEGUN;
    link_before(&i->h2, &o->link);
    i->connections++;
    atomic_fetch_add_explicit(&w->gateway->open_fds, 1, memory_order_relaxed);
    return o;
}

void h2_origin_close(struct h2_session *s)
{
    struct h2_origin *o = origin_of(s);
    struct worker *w = s->worker;
    h2_session_release(s);
    link_remove(&o->link);
    reach_abandon(&o->wait);
    timer_cancel(&w->timers, &o->timer);
    atomic_fetch_sub_explicit(&w->gateway->open_fds, 1, memory_order_relaxed);
    worker_retire(w, &o->endpoint);
    instance_unref(w, o->instance);
}

/* None at all: it rests, so that requests do not come back to it one after the other. */
void h2_origin_settled(struct h2_session *s)
{
    struct instance *i = origin_of(s)->instance;
    i->h2_streams =
        nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (i->h2_streams == 0)
        i->rest_until_ms = s->worker->now_ms + s->worker->gateway->limits.rest_ms;
}

bool h2_origin_wanted(const struct h2_session *s)
{
    return origin_of(s)->instance->listed;
}

/* The edge is gone, but there is more: epoll looks again. */
void h2_origin_later(struct h2_session *s)
{
    struct epoll_event event = {.events = EVENTS, .data.ptr = s->endpoint};
    epoll_ctl(s->worker->epoll, EPOLL_CTL_MOD, s->endpoint->fd, &event);
}

void h2_origin_event(struct endpoint *e, uint32_t events)
{
    struct h2_origin *o = (struct h2_origin *)e;
    endpoint_note(e, events);
    if (o->connecting) {
        if (!e->writable && !e->broken)
            return;
        if (!reach_stands(e)) {
            h2_origin_close(&o->session);
            return;
        }
        o->connecting = false;
        for (struct link *l = o->session.streams.next; l != &o->session.streams; l = l->next)
            h2_stream_connected(link_owner(l, struct h2_stream, link));
    }
    h2_session_read(&o->session);
}

void h2_origin_unlist(struct instance *i, bool all)
{
    struct link *next;
    for (struct link *l = i->h2.next; l != &i->h2; l = next) {
        struct h2_origin *o = link_owner(l, struct h2_origin, link);
        next = l->next;
        if (all || o->session.streams_len == 0)
            h2_origin_close(&o->session);
    }
}

void h2_origin_gave_up(struct h2_stream *stream)
{
    if (stream->session != NULL && origin_of(stream->session)->connecting)
        h2_origin_close(stream->session);
}

/* ---- a stream of one
 * ------------------------------------------------------------------------------------ */

static bool is_open(const struct h2_origin *o)
{
    return o->session.phase == H2_OPEN && !o->endpoint.hangup && !o->endpoint.broken;
}

static bool has_room(const struct h2_origin *o)
{
    const struct h2_session *s = &o->session;
    return is_open(o) && s->streams_len < H2_MAX_STREAMS &&
           s->streams_len < o->instance->h2_streams &&
           nghttp2_session_check_request_allowed(s->ng) != 0;
}

static struct h2_origin *find(struct worker *w, struct instance *i, bool *local)
{
    for (struct link *l = i->h2.next; l != &i->h2; l = l->next) {
        struct h2_origin *o = link_owner(l, struct h2_origin, link);
        if (has_room(o))
            return o;
        /* It takes no streams for now: not on another connection, either. */
        if (is_open(o) && i->h2_streams == 0)
            return NULL;
    }
    return connect_to(w, i, local);
}

struct upstream *h2_upstream_open(struct worker *w, struct instance *i, bool *local)
{
    *local = false;
    struct h2_origin *o = find(w, i, local);
    if (o == NULL)
        return NULL;
    *local = true;
    struct upstream *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->endpoint =
        (struct endpoint){.fd = -1, .kind = ENDPOINT_UPSTREAM, .writable = !o->connecting};
    u->worker = w;
    u->instance = i;
    u->connecting = o->connecting;
    u->reused = o->used;
    link_init(&u->link);
    if (h2_stream_open(&o->session, &u->endpoint) < 0) {
        free(u);
        return NULL;
    }
    o->used = true;
    i->connections++;
    return u;
}
