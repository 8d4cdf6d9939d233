/* A connection that speaks HTTP/2: its socket, its time, its end. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/h2_limits.h"
#include "gateway/tls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* ---- which protocol
 * --------------------------------------------------------------------------------- */

enum h2_sign h2_sign(const struct client *c)
{
    if (c->endpoint.tls != NULL)
        return tls_speaks_h2(c->endpoint.tls) ? H2_YES : H2_NO;
    size_t n = chunk_len(c->in);
    if (n > NGHTTP2_CLIENT_MAGIC_LEN)
        n = NGHTTP2_CLIENT_MAGIC_LEN;
    if (memcmp(c->in->data + c->in->start, NGHTTP2_CLIENT_MAGIC, n) != 0)
        return H2_NO;
    return n == NGHTTP2_CLIENT_MAGIC_LEN ? H2_YES : H2_MAYBE;
}

/* ---- begin and end
 * -------------------------------------------------------------------------------------- */

static void set_timer(struct h2_session *s);

void h2_unsent(struct h2_session *s)
{
    if (link_alone(&s->unsent))
        link_before(&s->worker->h2_unsent, &s->unsent);
}

static void notice(struct h2_session *s)
{
    s->phase = H2_NOTICED;
    s->phase_until_ms = s->worker->now_ms + H2_DRAIN_NOTICE_MS;
    nghttp2_submit_shutdown_notice(s->ng);
    set_timer(s);
    h2_unsent(s);
}

void h2_drain(struct worker *w)
{
    for (struct link *l = w->h2_sessions.next; l != &w->h2_sessions; l = l->next) {
        struct h2_session *s = link_owner(l, struct h2_session, link);
        if (s->phase == H2_OPEN)
            notice(s);
    }
}

int h2_session_init(struct h2_session *s, struct worker *w)
{
    s->worker = w;
    s->ng = h2_frames_session(s);
    if (s->ng == NULL)
        return -1;
    s->credit = H2_CREDIT;
    s->credit_ms = s->idle_from_ms = w->now_ms;
    h2_block_init(&s->block, &w->chunks);
    link_init(&s->streams);
    link_init(&s->unsent);
    link_init(&s->link);
    if (s->client != NULL)
        link_before(&w->h2_sessions, &s->link);
    set_timer(s);
    h2_unsent(s);
    return 0;
}

void h2_begin(struct client *c)
{
    struct worker *w = c->worker;
    struct h2_session *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->client = c;
        s->endpoint = &c->endpoint;
        s->timer = &c->timer;
    }
    if (s == NULL || h2_session_init(s, w) < 0) {
        free(s);
        client_reset(c);
        return;
    }
    s->in = c->in;
    c->in = NULL;
    c->h2 = s;
    c->state = CLIENT_H2;
    if (c->number == 0) /* its streams are one client */
        c->number = ++w->clients_numbered;
    if (w->draining)
        notice(s);
}

/* To an instance: it can know of it. nghttp2 makes a stream when it writes its HEADERS. */
static bool was_sent(const struct h2_session *s, const struct h2_stream *stream)
{
    return s->client != NULL || nghttp2_session_find_stream(s->ng, stream->id) != NULL;
}

void h2_session_release(struct h2_session *s)
{
    struct chunk_pool *pool = &s->worker->chunks;
    while (!link_alone(&s->streams)) {
        struct h2_stream *stream = link_owner(s->streams.next, struct h2_stream, link);
        h2_stream_closed(stream, was_sent(s, stream) ? H2_LOST : NGHTTP2_REFUSED_STREAM);
    }
    nghttp2_session_del(s->ng);
    h2_block_release(&s->block);
    chunk_put_all(pool, s->in);
    chunk_put_all(pool, s->out);
    link_remove(&s->link);
    link_remove(&s->unsent);
}

/* The socket stays; gives its client. */
static struct client *end(struct h2_session *s)
{
    struct client *c = s->client;
    h2_session_release(s);
    c->h2 = NULL;
    free(s);
    return c;
}

static void broke_off(struct h2_session *s)
{
    if (s->client != NULL)
        client_close(end(s));
    else
        h2_origin_close(s);
}

static void later(struct h2_session *s)
{
    if (s->client != NULL)
        client_later(s->client);
    else
        h2_origin_later(s);
}

/* With a last GOAWAY, which has limits->linger_ms to get out. */
static void good_bye(struct h2_session *s, uint32_t code)
{
    if (s->phase == H2_ENDING)
        return;
    s->phase = H2_ENDING;
    s->phase_until_ms = s->worker->now_ms + s->worker->gateway->limits.linger_ms;
    nghttp2_session_terminate_session(s->ng, code);
    set_timer(s);
    h2_unsent(s);
}

/* ---- manners and time
 * ------------------------------------------------------------------------------------ */

void h2_pay(struct h2_session *s)
{
    uint64_t now_ms = s->worker->now_ms;
    uint64_t earned = (now_ms - s->credit_ms) * H2_CREDIT_PER_S / 1000;
    if (earned > 0) {
        s->credit = earned < H2_CREDIT - s->credit ? s->credit + (uint32_t)earned : H2_CREDIT;
        s->credit_ms = now_ms;
    }
    if (s->credit > 0)
        s->credit--;
    else
        good_bye(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

void h2_earn(struct h2_session *s)
{
    if (s->credit < H2_CREDIT)
        s->credit++;
}

/* Each request has its own time. This is for what is between them, and for answers whose request is
 * over while the peer does not take them. */
static uint64_t next_look_ms(const struct h2_session *s)
{
    const struct gateway_limits *limits = &s->worker->gateway->limits;
    if (s->phase == H2_ENDING)
        return s->phase_until_ms; /* all other times have no more to say */
    uint64_t due = s->worker->now_ms + limits->idle_ms;
    if (s->streams_len == 0)
        due =
            s->idle_from_ms + (s->greeted || s->client == NULL ? limits->idle_ms : limits->head_ms);
    if (s->head_open && s->head_from_ms + limits->head_ms < due)
        due = s->head_from_ms + limits->head_ms;
    if (s->out != NULL && s->sent_ms + limits->idle_ms < due)
        due = s->sent_ms + limits->idle_ms;
    if (s->phase == H2_NOTICED && s->phase_until_ms < due)
        due = s->phase_until_ms;
    return due;
}

static void set_timer(struct h2_session *s)
{
    timer_set(&s->worker->timers, s->timer, next_look_ms(s));
}

static void give_up_stalled(struct h2_session *s, uint64_t before_ms)
{
    struct link *next;
    for (struct link *l = s->streams.next; l != &s->streams; l = next) {
        struct h2_stream *stream = link_owner(l, struct h2_stream, link);
        next = l->next;
        if (stream->owner == NULL && stream->moved_ms <= before_ms)
            h2_stream_give_up(stream);
    }
}

void h2_timeout(struct client *c)
{
    h2_look(c->h2);
}

void h2_look(struct h2_session *s)
{
    const struct gateway_limits *limits = &s->worker->gateway->limits;
    uint64_t now_ms = s->worker->now_ms;
    bool takes_nothing = s->out != NULL && now_ms >= s->sent_ms + limits->idle_ms;
    if (takes_nothing || (s->phase == H2_ENDING && now_ms >= s->phase_until_ms)) {
        broke_off(s);
        return;
    }
    if (s->phase == H2_NOTICED && now_ms >= s->phase_until_ms) {
        s->phase = H2_LEAVING;
        nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(s->ng), NGHTTP2_NO_ERROR,
                              NULL, 0);
    }
    if (s->head_open && now_ms >= s->head_from_ms + limits->head_ms)
        good_bye(s, NGHTTP2_ENHANCE_YOUR_CALM);
    else if (s->streams_len == 0 && now_ms >= next_look_ms(s))
        good_bye(s, NGHTTP2_NO_ERROR);
    if (now_ms > limits->idle_ms)
        give_up_stalled(s, now_ms - limits->idle_ms);
    set_timer(s);
    h2_unsent(s);
}

bool h2_leave_if_idle(struct client *c, uint32_t idle_ms)
{
    struct h2_session *s = c->h2;
    if (s->phase == H2_ENDING || s->streams_len > 0 ||
        s->worker->now_ms < s->idle_from_ms + idle_ms)
        return false;
    good_bye(s, NGHTTP2_NO_ERROR);
    return true;
}

/* ---- bytes
 * -----------------------------------------------------------------------------------------------
 */

/* It sends what we must answer, and takes no answers. */
static bool is_full(const struct h2_session *s)
{
    return s->out != NULL && nghttp2_session_get_outbound_queue_size(s->ng) > H2_MAX_QUEUED;
}

/* false: it broke off. */
static bool receive(struct h2_session *s)
{
    size_t len = chunk_len(s->in);
    ssize_t n = nghttp2_session_mem_recv(s->ng, (uint8_t *)s->in->data + s->in->start, len);
    chunk_consume(&s->worker->chunks, &s->in, len);
    switch (n) {
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS: good_bye(s, NGHTTP2_ENHANCE_YOUR_CALM); return true;
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC: good_bye(s, NGHTTP2_PROTOCOL_ERROR); return true;
    default: break;
    }
    if (n < 0)
        broke_off(s);
    return n >= 0;
}

void h2_run(struct client *c)
{
    h2_session_read(c->h2);
}

void h2_session_read(struct h2_session *s)
{
    int i = 0;
    for (; i < TURN_STEPS; i++) {
        if (s->in == NULL) {
            if (!s->endpoint->readable || is_full(s))
                break;
            ssize_t n = endpoint_read(s->worker, s->endpoint, &s->in);
            if (n < 0) {
                broke_off(s);
                return;
            }
            if (n == 0)
                break;
        }
        if (!receive(s))
            return;
    }
    if (i == TURN_STEPS)
        later(s);
    set_timer(s);
    h2_unsent(s);
}

static bool is_over(const struct h2_session *s)
{
    if (s->out != NULL || nghttp2_session_want_write(s->ng) != 0)
        return false;
    bool last = s->phase == H2_LEAVING || (s->client == NULL && !h2_origin_wanted(s));
    return nghttp2_session_want_read(s->ng) == 0 || (last && s->streams_len == 0);
}

enum sent { SENT_MORE, SENT_ENOUGH, SENT_GONE };

static enum sent gone(struct h2_session *s)
{
    broke_off(s);
    return SENT_GONE;
}

/* As much as fits into one buffer. */
static enum sent send_once(struct h2_session *s)
{
    struct chunk_pool *pool = &s->worker->chunks;
    if (!s->endpoint->writable)
        return SENT_ENOUGH;
    if (s->out == NULL) {
        if ((s->out = chunk_get(pool, CHUNK_BIG)) == NULL)
            return gone(s);
        s->sent_ms = s->worker->now_ms;
    }
    if (nghttp2_session_send(s->ng) != 0)
        return gone(s);
    struct iovec part = {s->out->data + s->out->start, chunk_len(s->out)};
    ssize_t n = part.iov_len > 0 ? endpoint_send(s->endpoint, &part, 1) : 0;
    if (n < 0)
        return gone(s);
    enum sent sent = n > 0 && (size_t)n == part.iov_len ? SENT_MORE : SENT_ENOUGH;
    if (n > 0)
        s->sent_ms = s->worker->now_ms;
    if (n > 0 || part.iov_len == 0)
        chunk_consume(pool, &s->out, (size_t)n);
    if (!is_over(s))
        return sent;
    if (s->client == NULL)
        return gone(s);
    client_linger(end(s));
    return SENT_GONE;
}

static void send_all(struct h2_session *s)
{
    bool full = is_full(s);
    for (int i = 0; i < TURN_STEPS; i++) {
        enum sent sent = send_once(s);
        if (sent == SENT_GONE)
            return;
        if (sent == SENT_ENOUGH) {
            if (full && !is_full(s) && s->endpoint->readable)
                later(s);
            return;
        }
    }
    later(s);
}

void h2_send_all(struct worker *w)
{
    while (!link_alone(&w->h2_unsent))
        send_all(link_owner(link_take(&w->h2_unsent), struct h2_session, unsent));
}
