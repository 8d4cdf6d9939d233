#include "gateway/access.h"

#include "base/assert.h"
#include "gateway/h2.h"
#include "gateway/mirror.h"
#include "gateway/peers.h"
#include "gateway/stats.h"
#include "gateway/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LINGER_MAX = 64 << 20, BULK_BUDGET = 2 << 20 };

/* ---- reading and writing, for clients and instances
 * ---------------------------------------------- */

void endpoint_note(struct endpoint *e, uint32_t events)
{
    if (events & EPOLLIN)
        e->readable = true;
    if (events & EPOLLOUT)
        e->writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        e->readable = e->hangup = true;
    if (events & (EPOLLHUP | EPOLLERR))
        e->broken = true;
    if (e->tls != NULL) /* a read may wait for a write, and a write for a read */
        e->readable = e->writable = true;
}

int endpoint_end(struct endpoint *e)
{
    if (e->stream != NULL)
        return h2_stream_end(e->stream);
    if (e->tls != NULL)
        tls_end(e);
    return shutdown(e->fd, SHUT_WR);
}

void endpoint_reset(struct endpoint *e)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

static ssize_t plain_read(struct endpoint *e, void *data, size_t room)
{
    ssize_t n;
    do
        n = recv(e->fd, data, room, 0);
    while (n < 0 && errno == EINTR);
    /* Less than asked for: the socket is empty, and what comes later makes a new edge. Only the end
     * of file has no edge of its own once its event was seen. */
    if (n <= 0 || ((size_t)n < room && !e->hangup))
        e->readable = false;
    if (n > 0)
        return n;
    if (n == 0) {
        e->hangup = true;
        return READ_END;
    }
    return errno == EAGAIN ? 0 : READ_BROKEN;
}

ssize_t endpoint_read(struct worker *w, struct endpoint *e, struct chunk **in)
{
    if (e->stream != NULL)
        return h2_stream_read(e->stream, in);
    if (*in == NULL) {
        /* A stream that filled its buffer gets a larger one: fewer system calls. Not when many wait
         * for slow peers at once, since that is memory. */
        bool bulk = e->bulk && w->chunks.bytes < BULK_BUDGET;
        if ((*in = chunk_get(&w->chunks, bulk ? CHUNK_BULK : CHUNK_BIG)) == NULL)
            return READ_BROKEN;
    }
    struct chunk *c = *in;
    if (c->cap - c->end < 4096)
        chunk_compact(c);
    size_t room = c->cap - c->end;
    if (room == 0)
        return 0;
    ssize_t n = e->tls != NULL ? tls_read(e, c->data + c->end, room)
                               : plain_read(e, c->data + c->end, room);
    if (n > 0) {
        c->end += (uint32_t)n;
        e->bulk = (size_t)n == room || (e->bulk && (size_t)n > CHUNK_BIG / 2);
    } else if (c->start == c->end) {
        chunk_consume(&w->chunks, in, 0);
    }
    return n;
}

ssize_t endpoint_send(struct endpoint *e, const struct iovec *parts, int len)
{
    if (e->fd < 0)
        return e->stream != NULL ? h2_stream_send(e->stream, parts, len)
                                 : mirror_sink(e, parts, len);
    if (e->tls != NULL)
        return tls_send(e, parts, len);
    size_t total = parts[0].iov_len;
    ssize_t n;
    do {
        if (len == 1) {
            n = send(e->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)len};
            total = parts[0].iov_len + parts[1].iov_len;
            n = sendmsg(e->fd, &m, MSG_NOSIGNAL);
        }
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        n = 0;
    if (n >= 0 && (size_t)n < total)
        e->writable = false;
    return n;
}

/* ---- a client's life
 * ----------------------------------------------------------------------------------- */

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

void client_set_peer(struct client *c, const uint8_t address[ADDRESS_BYTES])
{
    const struct gateway *g = c->worker->gateway;
    bool ipv4 = memcmp(address, ipv4_prefix, sizeof ipv4_prefix) == 0;
    memcpy(c->peer, address, sizeof c->peer);
    inet_ntop(ipv4 ? AF_INET : AF_INET6, address + (ipv4 ? 12 : 0), c->address, sizeof c->address);
    c->address_len = (uint8_t)strlen(c->address);
    c->trusted = address_in(g->trusted, g->trusted_len, c->peer);
}

static void note_peer(struct client *c, const struct sockaddr_storage *peer)
{
    uint8_t address[ADDRESS_BYTES];
    if (peer->ss_family == AF_INET) {
        memcpy(address, ipv4_prefix, sizeof ipv4_prefix);
        memcpy(address + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
    } else {
        memcpy(address, &((const struct sockaddr_in6 *)peer)->sin6_addr, sizeof address);
    }
    client_set_peer(c, address);
}

bool client_enter(struct client *c)
{
    struct peers *peers = c->worker->gateway->peers;
    if (peers == NULL || c->trusted)
        return true;
    c->counted = peers_enter(peers, c->peer);
    return c->counted != NULL;
}

static void client_timeout(struct timer *t);

struct client *client_new(struct worker *w, int fd, const struct sockaddr_storage *peer,
                          enum tls_use tls)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->endpoint = (struct endpoint){.fd = fd, .kind = ENDPOINT_CLIENT, .writable = true};
    c->worker = w;
    c->fresh = true;
    c->secure = tls != TLS_NONE;
    c->certified = tls == TLS_MUTUAL; /* nothing is read of one that is not */
    timer_init(&c->timer, client_timeout);
    if (c->secure)
        c->endpoint.tls = tls_new(w->gateway, fd, tls);
    if ((c->secure && c->endpoint.tls == NULL) ||
        worker_watch(w, &c->endpoint, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0) {
        tls_free(c->endpoint.tls);
        free(c);
        return NULL;
    }
    note_peer(c, peer);
    c->state = w->gateway->proxy_protocol && c->trusted ? CLIENT_PROXY : CLIENT_HEAD;
    link_init(&c->ready);
    link_before(&w->clients, &c->link);
    stats_add(&w->metrics->connections, 1);
    stats_add(&w->metrics->connections_total, 1);
    /* From now on a head must come in time, also the first one's first byte. */
    timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.head_ms);
    return c;
}

struct client *client_of_stream(struct client *connection, struct h2_stream *s)
{
    struct worker *w = connection->worker;
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->endpoint = (struct endpoint){
        .fd = -1, .kind = ENDPOINT_CLIENT, .readable = true, .writable = true, .stream = s};
    c->worker = w;
    c->state = CLIENT_HEAD;
    c->secure = connection->secure;
    c->certified = connection->certified;
    c->trusted = connection->trusted;
    c->address_len = connection->address_len;
    memcpy(c->address, connection->address, sizeof c->address);
    memcpy(c->peer, connection->peer, sizeof c->peer);
    c->number = connection->number;
    timer_init(&c->timer, client_timeout);
    link_init(&c->ready);
    link_before(&w->clients, &c->link);
    return c;
}

struct client *client_of_copy(const struct client *of)
{
    struct worker *w = of->worker;
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->endpoint = (struct endpoint){.fd = -1, .kind = ENDPOINT_CLIENT, .writable = true};
    c->worker = w;
    c->state = CLIENT_COPY;
    c->secure = of->secure;
    timer_init(&c->timer, client_timeout);
    link_init(&c->ready);
    link_before(&w->copies, &c->link);
    return c;
}

static void drop_buffers(struct client *c)
{
    chunk_put_all(&c->worker->chunks, c->in);
    chunk_put_all(&c->worker->chunks, c->out);
    c->in = c->out = NULL;
}

void client_close(struct client *c)
{
    struct worker *w = c->worker;
    ASSERT(c->exchange == NULL && !c->endpoint.dead);
    drop_buffers(c);
    timer_cancel(&w->timers, &c->timer);
    link_remove(&c->link);
    link_remove(&c->ready);
    if (c->endpoint.stream != NULL) {
        h2_stream_leave(c->endpoint.stream);
    } else if (c->endpoint.fd >= 0) {
        stats_add(&w->metrics->connections, -1);
        if (c->counted != NULL)
            peers_leave(w->gateway->peers, c->counted);
        atomic_fetch_sub_explicit(&w->gateway->open_fds, 1, memory_order_relaxed);
    }
    worker_retire(w, &c->endpoint);
}

void client_reset(struct client *c)
{
    if (c->endpoint.fd < 0) { /* a stream that ends too early is reset */
        client_close(c);
        return;
    }
    /* A close alone would look like the regular end of an answer that ends with the connection. */
    endpoint_reset(&c->endpoint);
    client_close(c);
}

void client_later(struct client *c)
{
    if (link_alone(&c->ready))
        link_before(&c->worker->ready, &c->ready);
}

/* Reads and drops, so that the kernel does not reset the connection for unread data while the peer
 * still reads our answer (RFC 9112 section 9.6). */
static void linger_on(struct client *c)
{
    char nothing[16384];
    for (int i = 0; i < TURN_STEPS; i++) {
        if (!c->endpoint.readable)
            return;
        ssize_t n = recv(c->endpoint.fd, nothing, sizeof nothing, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            c->endpoint.readable = false;
            return;
        }
        c->lingered += n > 0 ? (uint32_t)n : 0;
        if (n <= 0 || c->lingered > LINGER_MAX) {
            client_close(c);
            return;
        }
    }
    client_later(c);
}

void client_linger(struct client *c)
{
    drop_buffers(c);
    c->state = CLIENT_LINGER;
    c->endpoint.readable = true; /* what is there already makes no edge any more */
    if (endpoint_end(&c->endpoint) < 0) {
        client_close(c);
        return;
    }
    struct worker *w = c->worker;
    timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.linger_ms);
}

void client_next(struct client *c)
{
    ASSERT(c->exchange == NULL && c->out == NULL);
    struct worker *w = c->worker;
    if (c->endpoint.fd < 0) { /* one request each */
        if (c->endpoint.stream != NULL)
            h2_stream_end(c->endpoint.stream);
        client_close(c);
        return;
    }
    if (c->close_after) {
        /* A client that asked for the end sends nothing more: no need to wait for it. */
        if (!c->client_asked || c->in != NULL || c->endpoint.readable) {
            client_linger(c);
            return;
        }
        if (c->endpoint.tls != NULL) /* without close_notify the answer may have been cut */
            endpoint_end(&c->endpoint);
        client_close(c);
        return;
    }
    c->state = CLIENT_HEAD;
    c->in_head = false;
    timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.idle_ms);
}

/* ---- heads
 * ---------------------------------------------------------------------------------------------- */

void client_refuse(struct client *c, unsigned status, const char *why)
{
    if (c->worker->access != NULL)
        access_refused(c, status, why);
    answer_error(c, status, why, false, true);
}

/* true: a head was there, and the state is another one now. */
static bool parse_head(struct client *c)
{
    struct worker *w = c->worker;
    size_t empty = 0;
    if (c->scanned <= 1) /* also when its CR was all that had come */
        empty = http1_empty_lines(c->in->data + c->in->start, chunk_len(c->in));
    if (empty > 0)
        c->scanned = 0;
    chunk_consume(&w->chunks, &c->in, empty);
    if (c->in == NULL)
        return false;
    const char *p = c->in->data + c->in->start;
    ssize_t end = http1_head_end(p, chunk_len(c->in), &c->scanned);
    /* What cannot be a request (a TLS hello, say) is not waited for. */
    bool hopeless = (unsigned char)*p <= ' ' && *p != '\r';
    if (end == 0 && !hopeless)
        return false;
    c->scanned = 0;
    struct http1_head head;
    enum http1_error e = hopeless ? HTTP1_E_METHOD : (enum http1_error)(end < 0 ? -end : 0);
    if (e == HTTP1_OK)
        e = http1_parse_request(p, (size_t)end, &head);
    if (e != HTTP1_OK)
        client_refuse(c, http1_error_status(e), http1_error_text(e));
    else
        exchange_start(c, &head, p);
    return true;
}

/* true: it speaks HTTP/2, or may do so: there is nothing yet for HTTP/1. */
static bool other_protocol(struct client *c)
{
    if (!c->fresh || c->in == NULL)
        return false;
    enum h2_sign sign = h2_sign(c);
    c->fresh = sign == H2_MAYBE;
    if (sign == H2_YES)
        h2_begin(c);
    return sign != H2_NO;
}

/* false: nothing more can be done now. */
static bool read_head(struct client *c)
{
    struct worker *w = c->worker;
    for (;;) {
        bool other = other_protocol(c);
        if (c->endpoint.dead || c->state != CLIENT_HEAD ||
            (!other && c->in != NULL && parse_head(c)))
            return true;
        if (c->in != NULL && !c->in_head) {
            c->in_head = true;
            timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.head_ms);
        }
        if (!c->endpoint.readable)
            return false;
        ssize_t n = endpoint_read(w, &c->endpoint, &c->in);
        if (n == 0)
            return false;
        if (n < 0) {
            client_close(c);
            return false;
        }
    }
}

/* true: the gateway's own answer is out. */
static bool flush_answer(struct client *c)
{
    while (c->out != NULL) {
        if (!c->endpoint.writable)
            return false;
        struct iovec part = {c->out->data + c->out->start, chunk_len(c->out)};
        ssize_t n = endpoint_send(&c->endpoint, &part, 1);
        if (n < 0) {
            client_close(c);
            return false;
        }
        chunk_consume(&c->worker->chunks, &c->out, (size_t)n);
    }
    return true;
}

void client_run(struct client *c)
{
    for (int i = 0; i < TURN_STEPS; i++) {
        if (c->endpoint.dead)
            return;
        switch ((enum client_state)c->state) {
        case CLIENT_PROXY:
            if (!proxied_read(c))
                return;
            break;
        case CLIENT_HEAD:
            if (!read_head(c))
                return;
            break;
        case CLIENT_BUSY:
            exchange_run(c->exchange);
            if (!c->endpoint.dead && c->state == CLIENT_BUSY)
                return;
            break;
        case CLIENT_ANSWER:
            if (!flush_answer(c))
                return;
            client_next(c);
            break;
        case CLIENT_COPY: mirror_begin(c); break;
        case CLIENT_LINGER: linger_on(c); return;
        case CLIENT_H2: h2_run(c); return;
        }
    }
    if (!c->endpoint.dead)
        client_later(c);
}

void client_event(struct client *c, uint32_t events)
{
    endpoint_note(&c->endpoint, events);
    client_run(c);
}

static void client_timeout(struct timer *t)
{
    struct client *c = link_owner(t, struct client, timer);
    switch ((enum client_state)c->state) {
    case CLIENT_HEAD:
        if (c->in != NULL) {
            client_refuse(c, 408, "the request's head did not come in time");
            if (!c->endpoint.dead)
                client_later(c);
        } else {
            client_linger(c);
            if (!c->endpoint.dead)
                client_later(c);
        }
        break;
    case CLIENT_BUSY:
        exchange_timeout(c->exchange);
        if (!c->endpoint.dead)
            client_later(c);
        break;
    case CLIENT_COPY: break; /* it goes on in this turn */
    case CLIENT_PROXY:
    case CLIENT_ANSWER:
    case CLIENT_LINGER: client_close(c); break;
    case CLIENT_H2: h2_timeout(c); break;
    }
}
