/* A stream as an endpoint: HTTP/1.1 towards the gateway, nghttp2 towards the peer. Buffers both
 * ways; bounded by the window that the peer is given, and by H2_ANSWER_KEPT. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/grpc.h"
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

/* Its exchange goes on at the end of this turn, or in the next one. */
static void wake(struct h2_stream *s)
{
    if (s->owner == NULL)
        return;
    const struct exchange *x =
        s->owner->kind == ENDPOINT_UPSTREAM ? ((struct upstream *)s->owner)->exchange : NULL;
    if (x != NULL)
        client_later(x->client);
    else if (s->owner->kind == ENDPOINT_CLIENT)
        client_later((struct client *)s->owner);
}

static bool to_instance(const struct h2_stream *s)
{
    return s->owner != NULL ? s->owner->kind == ENDPOINT_UPSTREAM
                            : s->session != NULL && s->session->client == NULL;
}

static void free_if_over(struct h2_stream *s)
{
    if (s->session == NULL && s->owner == NULL)
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
    if (s->session == NULL || s->id == 0)
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

static void attach(struct h2_stream *s, struct h2_session *session, struct endpoint *owner)
{
    s->session = session;
    s->worker = session->worker;
    s->owner = owner;
    link_before(&session->streams, &s->link);
    session->streams_len++;
}

static void detach(struct h2_stream *s)
{
    struct h2_session *session = s->session;
    link_remove(&s->link);
    session->streams_len--;
    session->idle_from_ms = session->worker->now_ms;
    s->session = NULL;
}

int h2_stream_open(struct h2_session *session, struct endpoint *owner)
{
    struct h2_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -1;
    attach(s, session, owner);
    owner->stream = s;
    return 0;
}

void h2_stream_connected(struct h2_stream *s)
{
    if (s->owner != NULL)
        s->owner->writable = true;
    wake(s);
}

bool h2_stream_refused(const struct h2_stream *s)
{
    return s->refused;
}

bool h2_stream_lost(const struct h2_stream *s)
{
    return s->lost;
}

uint16_t h2_stream_counts_as(const struct h2_stream *s, uint16_t status)
{
    return s->grpc && s->ended && status == 200 ? (uint16_t)grpc_counts_as(s->grpc_status) : status;
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
    attach(s, session, &c->endpoint);
    s->id = id;
    s->head = head;
    s->ended = ended;
    s->head_only = h2_block_is_head(b);
    s->connect = b->protocol.len > 0;
    s->grpc = b->grpc;
    s->chunked = !ended && !s->connect && !b->has_length;
    nghttp2_session_set_stream_user_data(session->ng, id, s);
    if (head == NULL)
        client_refuse(c, b->status, b->why);
    if (!c->endpoint.dead)
        client_later(c);
    return 0;
}

void h2_stream_leave(struct h2_stream *s)
{
    struct chunk_pool *pool = &s->worker->chunks;
    bool up = to_instance(s);
    s->owner = NULL;
    s->moved_ms = s->worker->now_ms;
    drop_in(s, pool);
    if (s->sent != H2_SENT_ALL || (up && !s->ended)) {
        drop_out(s, pool);
        reset(s, up ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
    }
    if (s->session != NULL && s->id == 0)
        detach(s); /* nobody has heard of it */
    free_if_over(s);
}

/* Whether the peer is through with it as it should be: it has said all, and heard all; an instance
 * need not hear all. */
static bool is_whole(const struct h2_stream *s, uint32_t code)
{
    if (to_instance(s))
        return s->ended;
    return code == NGHTTP2_NO_ERROR && s->ended && s->sent == H2_SENT_ALL;
}

void h2_stream_closed(struct h2_stream *s, uint32_t code)
{
    struct chunk_pool *pool = &s->worker->chunks;
    drop_out(s, pool);
    s->broken = s->broken || !is_whole(s, code);
    s->refused = code == NGHTTP2_REFUSED_STREAM;
    s->lost = code == H2_LOST;
    if (s->broken)
        drop_in(s, pool);
    detach(s);
    if (s->owner != NULL && s->broken) {
        struct endpoint *e = s->owner;
        e->readable = e->writable = e->hangup = e->broken = true;
    }
    wake(s);
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
    struct chunk *c = chunk_get(&s->worker->chunks, size < CHUNK_BIG ? size : CHUNK_BIG);
    if (c == NULL)
        return NULL;
    c->start = c->end = ROOM_BEFORE;
    *(*last != NULL ? &(*last)->next : last) = c;
    return c;
}

int h2_stream_data(struct h2_stream *s, const uint8_t *data, size_t len)
{
    if (s->owner == NULL) {
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
    s->owner->readable = true;
    wake(s);
    return 0;
}

void h2_stream_answer(struct h2_stream *s, struct chunk *head, bool ended)
{
    const struct h2_block *b = &s->session->block;
    if (s->owner == NULL) {
        chunk_put(&s->worker->chunks, head);
        return;
    }
    struct chunk **last = &s->head;
    while (*last != NULL)
        last = &(*last)->next;
    *last = head;
    s->ended = ended;
    s->chunked = !ended && !b->has_length && !s->head_only;
    s->grpc = b->grpc;
    s->grpc_status = b->grpc_status;
    s->owner->readable = true;
    wake(s);
}

void h2_stream_ended(struct h2_stream *s, struct chunk *trailers)
{
    s->ended = true;
    if (s->session->block.grpc_status != GRPC_NONE)
        s->grpc_status = s->session->block.grpc_status;
    if (s->owner == NULL || s->trailers != NULL || !s->chunked) {
        chunk_put(&s->worker->chunks, trailers);
    } else {
        s->trailers = trailers;
    }
    if (s->owner != NULL)
        s->owner->readable = true;
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
    struct endpoint *e = s->owner;
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
    s->moved_ms = s->worker->now_ms;
    while (len > 0) {
        size_t n = chunk_len(s->out) < len ? chunk_len(s->out) : len;
        chunk_add(to, s->out->data + s->out->start, n);
        chunk_consume(&s->worker->chunks, &s->out, n);
        len -= n;
    }
    if (s->owner != NULL && !s->owner->writable && s->out_bytes <= H2_ANSWER_KEPT / 2) {
        s->owner->writable = true;
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

/* The gateway's own, to a client of gRPC: as one of gRPC without messages (RFC 9113 has no say in
 * it: the gRPC project's PROTOCOL-HTTP2.md, "Trailers-Only"). */
static bool is_own_to_grpc(const struct h2_stream *s, const struct http1_head *h)
{
    return s->grpc && s->owner->kind == ENDPOINT_CLIENT && h->status >= 400 &&
           ((struct client *)s->owner)->state == CLIENT_ANSWER;
}

/* A page for browsers is none for people who read what a call has failed with. */
static bool is_text(const struct http1_head *h, const char *p)
{
    static const char type[] = "text/plain";
    size_t from = 0;
    const struct http1_field *f = http1_find(h, p, "content-type", 12, &from);
    return f != NULL && f->value.len >= sizeof type - 1 &&
           memcmp(p + f->value.at, type, sizeof type - 1) == 0;
}

static int submit_answer(struct h2_stream *s, const struct http1_head *h, struct h2_fields *f)
{
    nghttp2_session *ng = s->session->ng;
    if (h->status < 200 && h->status != 101)
        return nghttp2_submit_headers(ng, NGHTTP2_FLAG_NONE, s->id, NULL, f->items, f->len, NULL);
    nghttp2_data_provider data = {.source.ptr = s, .read_callback = read_data};
    s->sent = h->status == 101 ? H2_SENT_SWITCH : s->body.done ? H2_SENT_ALL : H2_SENT_HEAD;
    return nghttp2_submit_response(ng, s->id, f->items, f->len,
                                   s->sent == H2_SENT_ALL ? NULL : &data);
}

static int submit_request(struct h2_stream *s, const struct http1_head *h, struct h2_fields *f)
{
    nghttp2_data_provider data = {.source.ptr = s, .read_callback = read_data};
    s->head_only = h->method == HTTP1_M_HEAD;
    s->sent = s->body.done ? H2_SENT_ALL : H2_SENT_HEAD;
    s->id = nghttp2_submit_request(s->session->ng, NULL, f->items, f->len,
                                   s->sent == H2_SENT_ALL ? NULL : &data, s);
    if (s->id < 0)
        s->id = 0;
    return s->id > 0 ? 0 : -1;
}

/* Heads come whole. Gives the head's length, or -1. */
static ssize_t send_head(struct h2_stream *s, char *p, size_t len)
{
    struct http1_head h;
    struct h2_fields f;
    const char *empty = memmem(p, len, "\r\n\r\n", 4);
    size_t end = empty != NULL ? (size_t)(empty - p) + 4 : 0;
    bool up = to_instance(s);
    enum http1_method to = s->head_only ? HTTP1_M_HEAD : HTTP1_M_GET;
    if (end == 0 || (up ? http1_parse_own_request(p, end, &h)
                        : http1_parse_own_response(p, end, to, &h)) != HTTP1_OK)
        return -1;
    if (up)
        h2_fields_request(&f, &h, p);
    else
        h2_fields_answer(&f, &h, p, status_of(s, &h));
    http1_body_start(&s->body, (enum http1_framing)h.framing, h.content_length);
    if (!up && is_own_to_grpc(s, &h)) {
        h2_fields_grpc(&f, grpc_of_http(h.status), p + end, is_text(&h, p) ? len - end : 0);
        s->body.done = true; /* the text is a field now */
    }
    s->body.strip = s->body.pause = true;
    h2_unsent(s->session);
    return (up ? submit_request(s, &h, &f) : submit_answer(s, &h, &f)) == 0 ? (ssize_t)end : -1;
}

static struct chunk *room_out(struct h2_stream *s, size_t len)
{
    struct chunk **last = &s->out;
    while (*last != NULL && (*last)->next != NULL)
        last = &(*last)->next;
    if (*last != NULL && (*last)->end < (*last)->cap)
        return *last;
    struct chunk *c = chunk_get(&s->worker->chunks, len < CHUNK_BIG ? len : CHUNK_BIG);
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
        s->out_trailer = chunk_get(&s->worker->chunks, HTTP1_MAX_TRAILERS + 2);
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
                s->owner->writable = false;
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
