#include "gateway/reach.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { AGAIN_MS = 5 };

void reach_init(struct reach *r, const struct snapshot_instance *s)
{
    *r = (struct reach){.port = s->port, .ipv6 = s->ipv6, .uid = s->socket_uid};
    if (s->socket != NULL)
        snprintf(r->socket, sizeof r->socket, "%s", s->socket);
}

uint64_t reach_hash(uint64_t h, const struct snapshot_instance *s)
{
    h = (h ^ s->port ^ (s->ipv6 ? UINT64_C(1) << 16 : 0)) * UINT64_C(1099511628211);
    for (const char *c = s->socket != NULL ? s->socket : ""; *c != '\0'; c++)
        h = (h ^ (unsigned char)*c) * UINT64_C(1099511628211);
    return h;
}

/* ---- a port
 * ----------------------------------------------------------------------------------------------
 */

static bool is_local(int why)
{
    return why != ECONNREFUSED && why != ECONNRESET && why != ETIMEDOUT;
}

static enum reached connect_port(const struct reach *r, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_port = htons(r->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(r->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int result = r->ipv6 ? connect(fd, (const struct sockaddr *)&v6, sizeof v6)
                         : connect(fd, (const struct sockaddr *)&v4, sizeof v4);
    if (result == 0)
        return REACHED;
    if (errno == EINPROGRESS || errno == EINTR)
        return REACH_BEGUN;
    return is_local(errno) ? REACH_LOCAL : REACH_REFUSED;
}

/* ---- a socket
 * --------------------------------------------------------------------------------------------
 */

/* The folder is the app's, which could have put something else in the socket's place: a link to
 * one of another app, say. The kernel knows who listens. */
static bool listener_is(int fd, uint32_t uid)
{
    struct ucred who;
    socklen_t len = sizeof who;
    return uid == SNAPSHOT_ANY_UID ||
           (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == uid);
}

/* REACH_BEGUN: its backlog is full. */
static enum reached connect_socket(const struct reach *r, int fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    _Static_assert(sizeof r->socket <= sizeof to.sun_path, "a place has room");
    memcpy(to.sun_path, r->socket, sizeof r->socket);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 || errno == EISCONN)
        return listener_is(fd, r->uid) ? REACHED : REACH_REFUSED;
    if (errno == EAGAIN || errno == EINTR)
        return REACH_BEGUN;
    return errno == ENOMEM || errno == ENOBUFS ? REACH_LOCAL : REACH_REFUSED;
}

static int watch(struct worker *w, struct endpoint *e)
{
    return worker_watch(w, e, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void wait_for_room(struct worker *w, struct reach_wait *wait)
{
    wait->reach->full_at_ms = w->now_ms;
    link_before(&w->reach_waits, &wait->link);
    if (w->reach_timer.due_ms == TIMER_NEVER)
        timer_set(&w->timers, &w->reach_timer, w->now_ms + AGAIN_MS);
}

/* What failed is watched too: a socket without a connection is one that hung up. */
static void try_again(struct worker *w, struct reach_wait *wait)
{
    int fd = wait->endpoint->fd;
    enum reached r = connect_socket(wait->reach, fd);
    if (r == REACH_BEGUN) {
        wait->reach->full_at_ms = w->now_ms;
        return;
    }
    if (r != REACHED)
        shutdown(fd, SHUT_RDWR);
    if (watch(w, wait->endpoint) == 0)
        link_remove(&wait->link);
}

void reach_tick(struct timer *t)
{
    struct worker *w = link_owner(t, struct worker, reach_timer);
    struct link *next;
    for (struct link *l = w->reach_waits.next; l != &w->reach_waits; l = next) {
        struct reach_wait *wait = link_owner(l, struct reach_wait, link);
        next = l->next;
        /* In the order in which they came: behind one that must wait on, all of its instance do. */
        if (wait->reach->full_at_ms != w->now_ms)
            try_again(w, wait);
    }
    if (!link_alone(&w->reach_waits))
        timer_set(&w->timers, t, w->now_ms + AGAIN_MS);
}

/* ---- both
 * ------------------------------------------------------------------------------------------------
 */

enum reached reach_connect(struct worker *w, struct reach *r, struct endpoint *e,
                           struct reach_wait *wait)
{
    *wait = (struct reach_wait){.endpoint = e, .reach = r};
    link_init(&wait->link);
    bool has_port = r->port != 0;
    int family = !has_port ? AF_UNIX : r->ipv6 ? AF_INET6 : AF_INET;
    e->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (e->fd < 0)
        return REACH_LOCAL;
    enum reached reached = has_port ? connect_port(r, e->fd) : connect_socket(r, e->fd);
    e->writable = reached == REACHED;
    if (!has_port && reached == REACH_BEGUN)
        wait_for_room(w, wait);
    else if (reached <= REACH_BEGUN && watch(w, e) < 0)
        reached = REACH_LOCAL;
    if (reached > REACH_BEGUN) {
        close(e->fd);
        e->fd = -1;
    }
    return reached;
}

void reach_abandon(struct reach_wait *wait)
{
    link_remove(&wait->link);
}

bool reach_stands(const struct endpoint *e)
{
    int why = 0;
    socklen_t len = sizeof why;
    return !e->broken && getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 && why == 0;
}
