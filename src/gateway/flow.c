/* The bytes of an exchange, both ways, with a buffer each: nothing is read from one side while the
 * other does not take what was read before. Reads come before polling, writes are tried at once. */
#include "gateway/conn.h"

#include "base/assert.h"
#include "gateway/guard.h"
#include "gateway/mirror.h"
#include "gateway/splice.h"
#include "gateway/stats.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>

enum { JOIN_MAX = 2048, EARLIER_PERCENT = 75 };

/* ---- to the instance
 * ----------------------------------------------------------------------------------- */

/* Keeps a copy of what was sent of the body, for a replay; gives up on it when it gets too much. */
static void keep_body(struct exchange *x, const char *data, size_t n)
{
    struct worker *w = x->worker;
    bool room = x->kept_bytes + n <= REPLAY_MAX;
    while (room && n > 0) {
        struct chunk *last = x->kept;
        while (last->next != NULL)
            last = last->next;
        if (last == x->kept || last->end == last->cap) {
            last->next = chunk_get(&w->chunks, n <= 1024 ? 1024 : n < CHUNK_BIG ? n : CHUNK_BIG);
            last = last->next;
            room = last != NULL;
            continue;
        }
        size_t take = last->cap - last->end < n ? last->cap - last->end : n;
        chunk_add(last, data, take);
        x->kept_bytes += (uint32_t)take;
        data += take;
        n -= take;
    }
    if (!room) {
        x->keeping = false;
        exchange_forget_kept(x);
    }
}

/* n bytes went: first of kept, then of the body. */
static void sent_up(struct exchange *x, size_t n)
{
    struct client *c = x->client;
    x->sent_any = x->sent_any || n > 0;
    while (x->cursor != NULL && n > 0) {
        size_t rest = chunk_len(x->cursor) - x->cursor_at;
        size_t take = n < rest ? n : rest;
        x->cursor_at += (uint32_t)take;
        n -= take;
        if (x->cursor_at == chunk_len(x->cursor)) {
            x->cursor = x->cursor->next;
            x->cursor_at = 0;
        }
    }
    if (n == 0)
        return;
    if (x->keeping)
        keep_body(x, c->in->data + c->in->start, n);
    x->bytes_in += n;
    x->up_ready -= (uint32_t)n;
    chunk_consume(&x->worker->chunks, &c->in, n);
}

enum step { STEP_ON, STEP_WAIT, STEP_GONE };

static enum step send_up(struct exchange *x)
{
    struct client *c = x->client;
    struct upstream *u = x->upstream;
    struct iovec parts[2];
    int len = 0;
    if (!u->endpoint.writable)
        return STEP_WAIT;
    if (x->cursor != NULL)
        parts[len++] = (struct iovec){x->cursor->data + x->cursor->start + x->cursor_at,
                                      chunk_len(x->cursor) - x->cursor_at};
    if (x->up_ready > 0 && (x->cursor == NULL || x->cursor->next == NULL))
        parts[len++] = (struct iovec){c->in->data + c->in->start, x->up_ready};
    ssize_t n = endpoint_send(&u->endpoint, parts, len);
    if (n < 0) {
        if (!x->sent_any) {
            exchange_failed(x, FAILED_BROKEN);
            return STEP_GONE;
        }
        /* It may have answered before it closed: 413, say. Reading tells. */
        x->deaf = true;
        u->endpoint.readable = true;
        return STEP_WAIT;
    }
    if (n > 0) {
        sent_up(x, (size_t)n);
        exchange_progress(x);
    }
    return STEP_ON;
}

/* More of the request's body from the client. */
static enum step read_up(struct exchange *x)
{
    struct client *c = x->client;
    ASSERT(x->up_ready == 0);
    ssize_t n = c->endpoint.readable ? endpoint_read(x->worker, &c->endpoint, &c->in) : 0;
    if (x->min_rate > 0 && n == 0)
        guard_waits(x, true);
    if (n == 0)
        return STEP_WAIT;
    if (n < 0) { /* also: half-closed in the middle of its request */
        exchange_client_left(x);
        return STEP_GONE;
    }
    size_t body;
    if (http1_body_feed(&x->request, c->in->data + c->in->end - n, (size_t)n, &body) < 0) {
        stats_request(x->worker, x->app_slot, REQUESTS_BAD, 1);
        if (x->final)
            exchange_client_left(x);
        else
            exchange_refuse(x, OUTCOME_CLIENT_LEFT, 400, http1_error_text(HTTP1_E_CHUNK));
        return STEP_GONE;
    }
    x->up_ready = (uint32_t)body;
    if (x->min_rate > 0)
        guard_moved(x, true);
    if (x->body_limit > 0 && x->request.announced > x->body_limit) {
        guard_body_too_large(x);
        return STEP_GONE;
    }
    return STEP_ON;
}

bool flow_up(struct exchange *x)
{
    for (int i = 0; i < TURN_STEPS; i++) {
        if (x->deaf || x->sent_all)
            return true;
        enum step s;
        if (x->cursor != NULL || x->up_ready > 0) {
            s = send_up(x);
        } else if (x->request.done) {
            x->sent_all = true;
            if (x->mirror != NULL)
                mirror_sent(x);
            if (!x->keeping)
                exchange_forget_kept(x);
            return true;
        } else {
            s = read_up(x);
        }
        if (s != STEP_ON)
            return s == STEP_WAIT;
    }
    client_later(x->client);
    return true;
}

/* ---- to the client
 * ----------------------------------------------------------------------------------------- */

static void sent_down(struct exchange *x, size_t n)
{
    struct client *c = x->client;
    struct chunk_pool *pool = &x->worker->chunks;
    x->bytes_out += n;
    while (c->out != NULL && n > 0) {
        size_t take = n < chunk_len(c->out) ? n : chunk_len(c->out);
        chunk_consume(pool, &c->out, take);
        n -= take;
    }
    x->down_ready -= (uint32_t)n;
    chunk_consume(pool, &x->upstream->in, n);
}

/* Small bodies travel in the head's buffer: one plain send, which is cheaper than a gathering one.
 */
static void join_small(struct exchange *x)
{
    struct client *c = x->client;
    struct chunk *in = x->upstream->in, *out = c->out;
    if (out == NULL || out->next != NULL || x->down_ready == 0 || x->down_ready > JOIN_MAX ||
        out->cap - out->end < x->down_ready)
        return;
    chunk_add(out, in->data + in->start, x->down_ready);
    chunk_consume(&x->worker->chunks, &x->upstream->in, x->down_ready);
    x->down_ready = 0;
}

/* STEP_ON: all that was there is out. */
static enum step send_down(struct exchange *x)
{
    struct client *c = x->client;
    while (c->out != NULL || x->down_ready > 0) {
        if (x->min_rate > 0 && !c->endpoint.writable)
            guard_waits(x, false);
        if (!c->endpoint.writable)
            return STEP_WAIT;
        join_small(x);
        struct iovec parts[2];
        int len = 0;
        if (c->out != NULL)
            parts[len++] = (struct iovec){c->out->data + c->out->start, chunk_len(c->out)};
        if (x->down_ready > 0 && (c->out == NULL || c->out->next == NULL))
            parts[len++] =
                (struct iovec){x->upstream->in->data + x->upstream->in->start, x->down_ready};
        ssize_t n = endpoint_send(&c->endpoint, parts, len);
        if (n < 0) {
            exchange_client_left(x);
            return STEP_GONE;
        }
        if (n > 0) {
            sent_down(x, (size_t)n);
            if (x->min_rate > 0)
                guard_moved(x, false);
            exchange_progress(x);
        }
    }
    return STEP_ON;
}

/* n new bytes of the answer's body at the end of upstream.in. */
static enum step feed_down(struct exchange *x, size_t n)
{
    struct upstream *u = x->upstream;
    size_t keep;
    if (x->printed)
        mirror_body(x, u->in->data + u->in->end - n, n);
    ssize_t taken = http1_body_feed(&x->body, u->in->data + u->in->end - n, n, &keep);
    if (taken < 0) {
        exchange_failed(x, FAILED_BAD_ANSWER);
        return STEP_GONE;
    }
    x->down_ready += (uint32_t)keep;
    if ((size_t)taken < n)
        x->reusable = false; /* bytes behind the answer: nobody asked for them */
    u->in->end -= (uint32_t)(n - keep);
    if (chunk_len(u->in) == 0)
        chunk_consume(&x->worker->chunks, &u->in, 0);
    if (x->body.done)
        x->answer = ANSWER_DONE;
    return STEP_ON;
}

/* RFC 9112 section 9.3: whether the connection may carry another request; and for how long. */
static void note_keep_alive(struct exchange *x, const struct http1_head *h)
{
    x->reusable = (h->minor == 1 ? !h->close : h->keep_alive) && h->framing != HTTP1_BODY_CLOSE;
    if (h->keep_alive_s > 0)
        x->upstream->keepalive_ms = h->keep_alive_s * (1000 * EARLIER_PERCENT / 100);
}

uint64_t exchange_latency(const struct exchange *x)
{
    return worker_now_us(x->worker) - x->start_us - x->waited_us;
}

void exchange_count_latency(struct exchange *x)
{
    struct worker *w = x->worker;
    x->latency_us = exchange_latency(x);
    stats_latency(w, x->share_slot, x->latency_us);
    stats_instance(w, x->instance_slot, INSTANCE_LATENCY_US, (int64_t)x->latency_us);
    if (x->latency_us > x->slo_us) {
        stats_request(w, x->share_slot, REQUESTS_ABOVE_SLO, 1);
        stats_instance(w, x->instance_slot, INSTANCE_ABOVE_SLO, 1);
    }
}

/* The final head: what the client is told about its connection is decided here. */
static void final_head(struct exchange *x, const struct http1_head *h, const char *p)
{
    struct client *c = x->client;
    struct worker *w = x->worker;
    x->status = h->status;
    exchange_count_latency(x);
    note_keep_alive(x, h);
    http1_body_start(&x->body, (enum http1_framing)h->framing, h->content_length);
    x->body.strip = x->http10 && h->framing == HTTP1_BODY_CHUNKED;
    /* An answer that came before the request's end: what is left of the request must not be taken
     * for the next one, and it need not come at all (Expect). */
    if (w->draining || h->framing == HTTP1_BODY_CLOSE || x->body.strip || !x->request.done)
        c->close_after = true;
    if (!x->request.done)
        c->client_asked = false;
    if (x->mirror != NULL)
        mirror_head(x, h, p);
    x->final = true;
    x->keeping = false;
    if (x->cursor == NULL)
        exchange_forget_kept(x);
    x->answer = x->body.done ? ANSWER_DONE : ANSWER_BODY;
}

static enum step switch_protocols(struct exchange *x, struct chunk *head)
{
    struct client *c = x->client;
    x->status = 101;
    x->began = x->final = true;
    exchange_count_latency(x);
    c->out = head;
    exchange_forget_kept(x);
    tunnel_start(x);
    client_later(c);
    return STEP_GONE; /* tunnel_run() goes on from here */
}

/* STEP_ON: a head was taken out and is in client.out. */
static enum step take_head(struct exchange *x)
{
    struct client *c = x->client;
    struct upstream *u = x->upstream;
    const char *p = u->in->data + u->in->start;
    ssize_t end = http1_head_end(p, chunk_len(u->in), &x->scanned);
    if (end == 0)
        return STEP_WAIT;
    struct http1_head h;
    enum http1_error e = end < 0 ? (enum http1_error) - end : HTTP1_OK;
    if (e == HTTP1_OK)
        e = http1_parse_response(p, (size_t)end, (enum http1_method)x->method, &h);
    if (e != HTTP1_OK || (h.status == 101 && !(x->upgrade && x->sent_all && h.upgrade))) {
        exchange_failed(x, FAILED_BAD_ANSWER);
        return STEP_GONE;
    }
    x->scanned = 0;
    if (h.status >= 502 && retry_answer(x, h.status))
        return STEP_GONE;
    if (h.status >= 200)
        final_head(x, &h, p);
    bool pass = h.status >= 200 || !x->http10; /* RFC 9110 section 15.2: none to HTTP/1.0 */
    struct chunk *head = pass ? forward_answer(x, &h, p) : NULL;
    if (pass && head == NULL) {
        struct client *gone = c;
        exchange_end(x, OUTCOME_CUT);
        client_reset(gone);
        return STEP_GONE;
    }
    chunk_consume(&x->worker->chunks, &u->in, (size_t)end);
    x->began = x->began || pass;
    if (h.status == 101)
        return switch_protocols(x, head);
    ASSERT(c->out == NULL);
    c->out = head;
    if (h.status < 200)
        return STEP_ON;
    /* What came with it is the start of the body, or nothing of ours. */
    if (u->in != NULL)
        return feed_down(x, chunk_len(u->in));
    return STEP_ON;
}

static enum step end_of_answer(struct exchange *x)
{
    x->reusable = false;
    if (x->answer != ANSWER_BODY || !http1_body_whole_at_eof(&x->body)) {
        exchange_failed(x, FAILED_BROKEN);
        return STEP_GONE;
    }
    x->answer = ANSWER_DONE;
    return STEP_ON;
}

/* An instance that writes head and body apart sends the body once the head is acknowledged (RFC
 * 896), and on a connection that is used in turns the kernel leaves that for 40 ms. */
static enum step wait_for_more(struct exchange *x)
{
    const struct endpoint *e = &x->upstream->endpoint;
    int on = 1;
    if (x->unthanked && e->stream == NULL)
        setsockopt(e->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    x->unthanked = false;
    return STEP_WAIT;
}

static enum step read_down(struct exchange *x)
{
    struct upstream *u = x->upstream;
    if (!u->endpoint.readable)
        return wait_for_more(x);
    ssize_t n = endpoint_read(x->worker, &u->endpoint, &u->in);
    if (n == 0)
        return wait_for_more(x);
    if (n == READ_END)
        return end_of_answer(x);
    if (n < 0) {
        exchange_failed(x, FAILED_BROKEN);
        return STEP_GONE;
    }
    x->unthanked = true;
    if (x->answer != ANSWER_HEAD)
        return feed_down(x, (size_t)n);
    enum step s = take_head(x);
    return s == STEP_WAIT ? STEP_ON : s; /* unfinished: there may be more to read */
}

static enum step pass_down(struct exchange *x)
{
    switch (splice_down(x)) {
    case SPLICE_NONE: return read_down(x);
    case SPLICE_WAITS: return wait_for_more(x);
    case SPLICE_MOVED: return STEP_ON;
    case SPLICE_WHOLE:
        x->body.done = true;
        x->answer = ANSWER_DONE;
        return STEP_ON;
    case SPLICE_ENDED: return end_of_answer(x);
    case SPLICE_BROKEN: exchange_failed(x, FAILED_BROKEN); return STEP_GONE;
    case SPLICE_CLIENT_GONE: exchange_client_left(x); return STEP_GONE;
    }
    return STEP_WAIT;
}

bool flow_down(struct exchange *x)
{
    struct client *c = x->client;
    for (int i = 0; i < TURN_STEPS; i++) {
        enum step s = send_down(x);
        if (s == STEP_ON && x->answer == ANSWER_DONE) {
            exchange_end(x, OUTCOME_WHOLE);
            client_next(c);
            return false;
        }
        if (s != STEP_ON)
            return s == STEP_WAIT;
        /* Behind a 1xx the next head may be there already, or a part of it. */
        bool unseen = x->answer == ANSWER_HEAD && x->scanned == 0 && x->upstream->in != NULL;
        s = unseen ? take_head(x) : splice_pays(x) ? pass_down(x) : read_down(x);
        if (unseen && s == STEP_WAIT)
            s = read_down(x);
        if (s != STEP_ON)
            return s == STEP_WAIT;
    }
    client_later(c);
    return true;
}
