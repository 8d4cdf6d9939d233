/* A stream as an endpoint: its life, and what comes from the peer, which is read as HTTP/1.1. What
 * is not read yet is kept here; the window that the peer is given bounds it. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/grpc.h"
#include "gateway/h2_limits.h"

#include <stdlib.h>
#include <string.h>

/* Room around a piece of a body, for its framing: "4400\r\n" and "\r\n". */
enum { ROOM_BEFORE = 8, ROOM_BEHIND = 2 };

/* ---- life
 * --------------------------------------------------------------------------------------------- */

/* Its exchange goes on at the end of this turn, or in the next one. */
void h2_stream_wake(struct h2_stream *s)
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

bool h2_stream_to_instance(const struct h2_stream *s)
{
    return s->owner != NULL ? s->owner->kind == ENDPOINT_UPSTREAM
                            : s->session != NULL && s->session->client == NULL;
}

static void free_if_over(struct h2_stream *s)
{
    if (s->session == NULL && s->owner == NULL)
        free(s);
}

static void give_back_owed(struct h2_stream *s)
{
    if (s->owed == 0)
        return;
    nghttp2_session_consume_connection(s->session->ng, s->owed);
    h2_unsent(s->session);
    s->owed = 0;
}

static void drop_in(struct h2_stream *s, struct chunk_pool *pool)
{
    chunk_put_all(pool, s->head);
    chunk_put_all(pool, s->in);
    chunk_put_all(pool, s->trailers);
    s->head = s->in = s->trailers = NULL;
    give_back_owed(s);
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
    h2_stream_wake(s);
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
    bool up = h2_stream_to_instance(s);
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
    if (h2_stream_to_instance(s))
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
    give_back_owed(s); /* what is read later goes past the session */
    detach(s);
    if (s->owner != NULL && s->broken) {
        struct endpoint *e = s->owner;
        e->readable = e->writable = e->hangup = e->broken = true;
    }
    h2_stream_wake(s);
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
    h2_stream_wake(s);
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
    unsigned before = 0;
    for (; *last != NULL; before++)
        last = &(*last)->next;
    if (before == H2_MAX_INTERIM) {
        chunk_put(&s->worker->chunks, head);
        nghttp2_submit_rst_stream(s->session->ng, NGHTTP2_FLAG_NONE, s->id,
                                  NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    *last = head;
    s->ended = ended;
    s->chunked = !ended && !b->has_length && !s->head_only;
    s->grpc = b->grpc;
    s->grpc_status = b->grpc_status;
    s->owner->readable = true;
    h2_stream_wake(s);
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
    h2_stream_wake(s);
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
