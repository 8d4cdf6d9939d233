/* A stream as an endpoint: HTTP/1.1 towards the gateway, nghttp2 towards the peer. Buffers both
 * ways; bounded by the window that the peer is given, and by H2_ANSWER_KEPT. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/h2_fields.h"
#include "gateway/h2_limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Room around a piece of a body, for its framing: "4400\r\n" and "\r\n". */
enum { ROOM_BEFORE = 8, ROOM_BEHIND = 2 };

/* ---- life
 * --------------------------------------------------------------------------------------------- */

static void wake(struct h2_stream *s)
{
    if (s->client != NULL)
        client_later(s->client);
}

static void free_if_over(struct h2_stream *s)
{
    if (s->session == NULL && s->client == NULL)
        free(s);
}

static void drop_in(struct h2_stream *s, struct chunk_pool *pool)
{
    chunk_put_all(pool, s->head);
    chunk_put_all(pool, s->in);
    chunk_put_all(pool, s->trailers);
    s->head = s->in = s->trailers = NULL;
    if (s->session != NULL && s->owed > 0) {
        nghttp2_session_consume_connection(s->session->ng, s->owed);
        h2_unsent(s->session);
    }
    s->owed = 0;
}

static void drop_out(struct h2_stream *s, struct chunk_pool *pool)
{
    chunk_put_all(pool, s->out);
    chunk_put_all(pool, s->out_trailer);
    s->out = s->out_trailer = NULL;
    s->out_bytes = 0;
}

static void reset(struct h2_stream *s, uint32_t code)
{
    if (s->session == NULL)
        return;
    nghttp2_submit_rst_stream(s->session->ng, NGHTTP2_FLAG_NONE, s->id, code);
    h2_unsent(s->session);
}

const struct client *h2_stream_connection(const struct h2_stream *s)
{
    return s->session != NULL ? s->session->client : NULL;
}

void h2_stream_give_up(struct h2_stream *s)
{
    reset(s, NGHTTP2_CANCEL);
}

int h2_stream_new(struct h2_session *session, int32_t id, struct chunk *head, bool ended)
{
    struct h2_stream *s = calloc(1, sizeof *s);
    struct client *c = s != NULL ? client_of_stream(session->client, s) : NULL;
    if (c == NULL) {
        free(s);
        return -1;
    }
    const struct h2_block *b = &session->block;
    s->session = session;
    s->client = c;
    s->id = id;
    s->head = head;
    s->ended = ended;
    s->head_only = h2_block_is_head(b);
    s->connect = b->protocol.len > 0;
    s->chunked = !ended && !s->connect && !b->has_length;
    link_before(&session->streams, &s->link);
    session->streams_len++;
    nghttp2_session_set_stream_user_data(session->ng, id, s);
    if (head == NULL)
        client_refuse(c, b->status, b->why);
    if (!c->endpoint.dead)
        client_later(c);
    return 0;
}

void h2_stream_leave(struct h2_stream *s)
{
    struct chunk_pool *pool = &s->client->worker->chunks;
    uint64_t now_ms = s->client->worker->now_ms;
    s->client = NULL;
    drop_in(s, pool);
    if (s->sent != H2_SENT_ALL) {
        drop_out(s, pool);
        reset(s, NGHTTP2_INTERNAL_ERROR);
    }
    s->moved_ms = now_ms;
    free_if_over(s);
}

void h2_stream_closed(struct h2_stream *s, bool broken)
{
    struct h2_session *session = s->session;
    struct chunk_pool *pool = &session->worker->chunks;
    drop_out(s, pool);
    if (broken || !s->ended || s->sent != H2_SENT_ALL)
        s->broken = true;
    if (s->broken)
        drop_in(s, pool);
    link_remove(&s->link);
    session->streams_len--;
    session->idle_from_ms = session->worker->now_ms;
    s->session = NULL;
    if (s->client != NULL && s->broken) {
        struct endpoint *e = &s->client->endpoint;
        e->readable = e->writable = e->hangup = e->broken = true;
        wake(s);
    }
    free_if_over(s);
}

/* ---- from the peer
 * ------------------------------------------------------------------------------------ */

/* Under pressure the connection's window is given back with the bytes, not when they come: memory
 * is bounded by it then, and a stream that is not taken may hold up the others. */
static void give_back_early(struct h2_stream *s, size_t len)
{
    struct h2_session *session = s->session;
    struct chunk_pool *pool = &session->worker->chunks;
    if (pool->bytes < pool->limit / 4)
        nghttp2_session_consume_connection(session->ng, len);
    else
        s->owed += (uint32_t)len;
}

static struct chunk *room_in(struct h2_stream *s, size_t len)
{
    struct chunk **last = &s->in;
    while (*last != NULL && (*last)->next != NULL)
        last = &(*last)->next;
    if (*last != NULL && (*last)->cap - (*last)->end > ROOM_BEHIND)
        return *last;
    size_t size = len + ROOM_BEFORE + ROOM_BEHIND;
    struct chunk *c = chunk_get(&s->session->worker->chunks, size < CHUNK_BIG ? size : CHUNK_BIG);
    if (c == NULL)
        return NULL;
    c->start = c->end = ROOM_BEFORE;
    *(*last != NULL ? &(*last)->next : last) = c;
    return c;
}

int h2_stream_data(struct h2_stream *s, const uint8_t *data, size_t len)
{
    if (s->client == NULL) {
        nghttp2_session_consume_connection(s->session->ng, len);
        return 0;
    }
    give_back_early(s, len);
    while (len > 0) {
        struct chunk *c = room_in(s, len);
        if (c == NULL)
            return -1;
        size_t room = c->cap - c->end - ROOM_BEHIND, n = len < room ? len : room;
        chunk_add(c, data, n);
        data += n;
        len -= n;
    }
    s->client->endpoint.readable = true;
    wake(s);
    return 0;
}

void h2_stream_ended(struct h2_stream *s, struct chunk *trailers)
{
    s->ended = true;
    if (s->client == NULL || s->trailers != NULL || !s->chunked) {
        chunk_put(&s->session->worker->chunks, trailers);
    } else {
        s->trailers = trailers;
    }
    if (s->client != NULL)
        s->client->endpoint.readable = true;
    wake(s);
}

/* RFC 9112 section 7.1 */
static void frame(struct chunk *c)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = chunk_len(c);
    ASSERT(c->start >= ROOM_BEFORE && c->cap - c->end >= ROOM_BEHIND && n > 0 && n < 1 << 16);
    chunk_add(c, "\r\n", 2);
    memcpy(c->data + c->start - 2, "\r\n", 2);
    c->start -= 2;
    for (; n > 0; n >>= 4)
        c->data[--c->start] = digits[n & 15];
}

static struct chunk *next_in(struct h2_stream *s)
{
    struct chunk **from = s->head != NULL ? &s->head : s->in != NULL ? &s->in : &s->trailers;
    struct chunk *c = *from;
    if (c == NULL)
        return NULL;
    *from = c->next;
    c->next = NULL;
    if (from != &s->in)
        return c;
    size_t n = chunk_len(c), owed = s->owed < n ? s->owed : n;
    if (s->session != NULL) {
        nghttp2_session_consume_stream(s->session->ng, s->id, n);
        nghttp2_session_consume_connection(s->session->ng, owed);
        h2_unsent(s->session);
    }
    s->owed -= (uint32_t)owed;
    if (s->chunked)
        frame(c);
    return c;
}

ssize_t h2_stream_read(struct h2_stream *s, struct chunk **in)
{
    struct endpoint *e = &s->client->endpoint;
    if (s->broken)
        return READ_BROKEN;
    if (*in != NULL)
        return 0; /* what was read before goes first */
    *in = next_in(s);
    if (*in != NULL)
        return (ssize_t)chunk_len(*in);
    e->readable = false;
    if (!s->ended)
        return 0;
    e->hangup = true;
    return READ_END;
}

/* ---- to the peer
 * -------------------------------------------------------------------------------------- */

ssize_t h2_stream_ready(struct h2_stream *s, size_t most, uint32_t *flags)
{
    size_t n = s->out_bytes < most ? s->out_bytes : most;
    bool last = s->sent == H2_SENT_ALL && n == s->out_bytes;
    if (n == 0 && !last) {
        s->waits = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!last)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->out_trailer != NULL) {
        struct h2_fields f;
        h2_fields_trailers(&f, s->out_trailer->data, chunk_len(s->out_trailer));
        if (f.len > 0 && nghttp2_submit_trailer(s->session->ng, s->id, f.items, f.len) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)n;
}

void h2_stream_take(struct h2_stream *s, struct chunk *to, size_t len)
{
    ASSERT(len <= s->out_bytes);
    s->out_bytes -= (uint32_t)len;
    s->moved_ms = s->session->worker->now_ms;
    while (len > 0) {
        size_t n = chunk_len(s->out) < len ? chunk_len(s->out) : len;
        chunk_add(to, s->out->data + s->out->start, n);
        chunk_consume(&s->session->worker->chunks, &s->out, n);
        len -= n;
    }
    if (s->client != NULL && !s->client->endpoint.writable && s->out_bytes <= H2_ANSWER_KEPT / 2) {
        s->client->endpoint.writable = true;
        wake(s);
    }
}

static ssize_t read_data(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t most,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)ng, (void)id, (void)buf, (void)user;
    return h2_stream_ready(source->ptr, most, flags);
}

/* Data that nghttp2 has been told to wait for. */
static void resume(struct h2_stream *s)
{
    if (s->waits)
        nghttp2_session_resume_data(s->session->ng, s->id);
    s->waits = false;
    h2_unsent(s->session);
}

/* A successful answer that switches nothing would open a tunnel (RFC 8441 section 4). */
static unsigned status_of(const struct h2_stream *s, const struct http1_head *h)
{
    if (h->status == 101)
        return 200;
    return s->connect && h->status >= 200 && h->status < 300 ? 502 : h->status;
}

/* Heads come whole. Gives the head's length, or -1. */
static ssize_t send_head(struct h2_stream *s, char *p, size_t len)
{
    nghttp2_session *ng = s->session->ng;
    struct http1_head h;
    struct h2_fields f;
    enum http1_method to = s->head_only ? HTTP1_M_HEAD : HTTP1_M_GET;
    const char *empty = memmem(p, len, "\r\n\r\n", 4);
    size_t end = empty != NULL ? (size_t)(empty - p) + 4 : 0;
    if (end == 0 || http1_parse_own_response(p, end, to, &h) != HTTP1_OK)
        return -1;
    h2_fields_answer(&f, &h, p, status_of(s, &h));
    int e;
    if (h.status < 200 && h.status != 101) {
        e = nghttp2_submit_headers(ng, NGHTTP2_FLAG_NONE, s->id, NULL, f.items, f.len, NULL);
    } else {
        nghttp2_data_provider data = {.source.ptr = s, .read_callback = read_data};
        http1_body_start(&s->body, (enum http1_framing)h.framing, h.content_length);
        s->body.strip = s->body.pause = true;
        s->sent = h.status == 101 ? H2_SENT_SWITCH : s->body.done ? H2_SENT_ALL : H2_SENT_HEAD;
        e = nghttp2_submit_response(ng, s->id, f.items, f.len,
                                    s->sent == H2_SENT_ALL ? NULL : &data);
    }
    h2_unsent(s->session);
    return e == 0 ? (ssize_t)end : -1;
}

static struct chunk *room_out(struct h2_stream *s, size_t len)
{
    struct chunk **last = &s->out;
    while (*last != NULL && (*last)->next != NULL)
        last = &(*last)->next;
    if (*last != NULL && (*last)->end < (*last)->cap)
        return *last;
    struct chunk *c = chunk_get(&s->session->worker->chunks, len < CHUNK_BIG ? len : CHUNK_BIG);
    if (c != NULL)
        *(*last != NULL ? &(*last)->next : last) = c;
    return c;
}

/* A piece of the body: into out, and there without its framing. */
static ssize_t send_body(struct h2_stream *s, const char *p, size_t len)
{
    size_t most = H2_ANSWER_KEPT > s->out_bytes ? H2_ANSWER_KEPT - s->out_bytes : 0;
    if (len > most)
        len = most;
    if (len == 0)
        return 0;
    struct chunk *c = room_out(s, len);
    if (c == NULL)
        return -1;
    size_t n = len < c->cap - c->end ? len : c->cap - c->end, keep = n;
    ssize_t taken = (ssize_t)n;
    char *to = c->data + c->end;
    memcpy(to, p, n);
    if (s->sent == H2_SENT_HEAD)
        taken = http1_body_feed(&s->body, to, n, &keep);
    if (taken < 0)
        return -1;
    c->end += (uint32_t)keep;
    s->out_bytes += (uint32_t)keep;
    if (s->body.done && s->sent == H2_SENT_HEAD)
        s->sent = H2_SENT_ALL;
    else if (s->body.framing == HTTP1_BODY_CHUNKED && s->sent == H2_SENT_HEAD && !s->body.pause)
        s->sent = H2_SENT_BODY;
    resume(s);
    return taken;
}

/* The trailer section's lines, as they are. Its size was checked by whoever read it. */
static ssize_t send_trailers(struct h2_stream *s, char *p, size_t len)
{
    size_t keep;
    s->body.strip = false;
    ssize_t n = http1_body_feed(&s->body, p, len, &keep);
    if (n < 0)
        return -1;
    if (s->out_trailer == NULL)
        s->out_trailer = chunk_get(&s->session->worker->chunks, HTTP1_MAX_TRAILERS + 2);
    if (s->out_trailer == NULL || s->out_trailer->cap - s->out_trailer->end < (size_t)n)
        return -1;
    chunk_add(s->out_trailer, p, (size_t)n);
    if (s->body.done) {
        s->sent = H2_SENT_ALL;
        resume(s);
    }
    return n;
}

/* One piece, as far as it goes at once. */
static ssize_t send_some(struct h2_stream *s, char *p, size_t len)
{
    switch ((enum h2_sent)s->sent) {
    case H2_SENT_NOTHING: return send_head(s, p, len);
    case H2_SENT_HEAD:
    case H2_SENT_SWITCH: return send_body(s, p, len);
    case H2_SENT_BODY: return send_trailers(s, p, len);
    case H2_SENT_ALL: return (ssize_t)len; /* a body behind a head that has none */
    }
    return -1;
}

ssize_t h2_stream_send(struct h2_stream *s, const struct iovec *parts, int len)
{
    ssize_t sent = 0;
    for (int i = 0; i < len; i++) {
        char *p = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        while (left > 0) {
            if (s->session == NULL)
                return -1;
            ssize_t n = send_some(s, p, left);
            if (n < 0)
                return -1;
            if (n == 0 && s->out_bytes >= H2_ANSWER_KEPT) {
                s->client->endpoint.writable = false;
                return sent;
            }
            p += n;
            left -= (size_t)n;
            sent += n;
        }
    }
    return sent;
}

int h2_stream_end(struct h2_stream *s)
{
    if (s->session == NULL || s->sent == H2_SENT_NOTHING)
        return -1;
    if (s->sent == H2_SENT_ALL)
        return 0;
    s->sent = H2_SENT_ALL;
    resume(s);
    return 0;
}
