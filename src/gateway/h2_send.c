/* A stream as an endpoint, towards the peer: what is sent to it is HTTP/1.1, a head and then a
 * body; nghttp2 takes HEADERS and DATA out of that. What the peer does not take yet is kept here,
 * up to H2_ANSWER_KEPT. */
#include "gateway/h2_session.h"

#include "base/assert.h"
#include "gateway/grpc.h"
#include "gateway/h2_fields.h"
#include "gateway/h2_limits.h"

#include <string.h>
#include <sys/uio.h>

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
        h2_stream_wake(s);
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
    bool interim = h->status < 200 && h->status != 101;
    if (interim && nghttp2_session_get_outbound_queue_size(ng) > H2_MAX_QUEUED)
        return 0; /* left out: nobody takes it, and no window bounds it */
    if (interim)
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
    bool up = h2_stream_to_instance(s);
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
