/* The life of an exchange: from a request's head to the end of its answer, with all the ways in
 * which it can end. The bytes in between are flow.c's. */
#include "gateway/access.h"
#include "gateway/capacity.h"
#include "gateway/h2.h"

#include "base/assert.h"
#include "gateway/guard.h"
#include "gateway/mirror.h"
#include "gateway/orders.h"
#include "gateway/outlier.h"
#include "gateway/pages.h"
#include "gateway/splice.h"
#include "gateway/split.h"
#include "gateway/stats.h"
#include "gateway/upstream_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define NO_SLOT UINT32_MAX

/* ---- start
 * ------------------------------------------------------------------------------------------- */

/* A trusted proxy in front ended TLS. Of several words the first is the client's. */
static bool says_https(const struct http1_head *h, const char *p)
{
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (f->id == HTTP1_N_X_FORWARDED_PROTO)
            return f->value.len >= 5 && strncasecmp(p + f->value.at, "https", 5) == 0 &&
                   (f->value.len == 5 || strchr(", \t", p[f->value.at + 5]) != NULL);
    }
    return false;
}

struct exchange *exchange_make(struct client *c)
{
    struct exchange *x = malloc(sizeof *x);
    if (x == NULL)
        return NULL;
    memset(x, 0, offsetof(struct exchange, path));
    x->worker = c->worker;
    x->client = c;
    link_init(&x->hold_link);
    link_before(&c->worker->exchanges, &x->link);
    x->sticky = STICKY_NONE;
    x->app_slot = x->share_slot = x->instance_slot = NO_SLOT;
    x->start_us = worker_now_us(c->worker);
    x->start_ms = c->worker->now_ms;
    return x;
}

static struct exchange *exchange_new(struct client *c, const struct http1_head *h, const char *p)
{
    struct exchange *x = exchange_make(c);
    if (x == NULL)
        return NULL;
    x->path_len = (uint8_t)(h->path.len < sizeof x->path ? h->path.len : sizeof x->path);
    memcpy(x->path, http1_at(p, h->path), x->path_len);
    if (c->trusted) {
        const struct gateway *g = c->worker->gateway;
        x->forwarded = address_forwarded(h, p, g->trusted, g->trusted_len, x->for_whom);
    }
    x->method = h->method;
    x->head_only = h->method == HTTP1_M_HEAD;
    x->idempotent = x->keeping = http1_idempotent((enum http1_method)h->method);
    x->replayable =
        x->idempotent && (h->framing == HTTP1_BODY_NONE ||
                          (h->framing == HTTP1_BODY_LENGTH && h->content_length <= REPLAY_MAX / 2));
    x->upgrade = h->upgrade;
    x->secure = c->secure || (c->trusted && says_https(h, p));
    x->certified = c->certified;
    x->http10 = h->minor == 0;
    http1_body_start(&x->request, (enum http1_framing)h->framing, h->content_length);
    return x;
}

static void exchange_free(struct exchange *x)
{
    exchange_forget_kept(x);
    splice_forget(x);
    chunk_put(&x->worker->chunks, x->access);
    chunk_put(&x->worker->chunks, x->answer_edits);
    link_remove(&x->link);
    free(x);
}

void exchange_forget_kept(struct exchange *x)
{
    chunk_put_all(&x->worker->chunks, x->kept);
    chunk_put(&x->worker->chunks, x->plain);
    x->kept = x->plain = x->cursor = NULL;
}

void exchange_parse_kept(const struct exchange *x, struct http1_head *h, const char **p)
{
    const struct chunk *head = x->plain != NULL ? x->plain : x->kept;
    if (x->stream) {
        *h = (struct http1_head){0};
        *p = "";
        return;
    }
    *p = head->data + head->start;
    enum http1_error e = http1_parse_own_request(*p, x->head_len, h);
    ASSERT(e == HTTP1_OK);
}

/* Before any work is spent on it. Its connection ends too, which is work that does not come back.
 */
static void shed(struct client *c)
{
    struct worker *w = c->worker;
    stats_add(&w->metrics->shed, 1);
    if (overload_memory(&w->chunks))
        reclaim(w); /* who takes nothing of an answer holds a buffer */
    if (!c->endpoint.dead)
        client_refuse(c, 503, "the gateway has too much to do");
}

void exchange_start(struct client *c, const struct http1_head *h, const char *p)
{
    struct worker *w = c->worker;
    if (overload_late(&w->overload, w->now_ms) || overload_memory(&w->chunks)) {
        shed(c);
        return;
    }
    struct exchange *x = exchange_new(c, h, p);
    struct chunk *head = x != NULL ? forward_request(c, h, p) : NULL;
    if (head == NULL) { /* out of memory: this connection pays */
        if (x != NULL)
            exchange_free(x);
        client_reset(c);
        return;
    }
    if (w->access != NULL)
        access_begin(x, h, p);
    x->kept = x->cursor = head;
    x->head_len = x->kept_bytes = (uint32_t)chunk_len(head);
    x->bytes_in = h->len;
    c->client_asked = h->minor == 1 ? h->close : !h->keep_alive;
    c->close_after = c->client_asked;
    c->in_head = false;
    c->state = CLIENT_BUSY;
    c->exchange = x;
    /* What came behind the head: body, or the next request. */
    size_t body = 0;
    ssize_t n = http1_body_feed(&x->request, c->in->data + c->in->start + h->len,
                                chunk_len(c->in) - h->len, &body);
    x->up_ready = (uint32_t)body;
    if (n < 0)
        exchange_refuse(x, OUTCOME_UNSERVED, 400, http1_error_text(HTTP1_E_CHUNK));
    else
        dispatch(x, h, p, NULL);
    if (c->endpoint.dead)
        return;
    /* Only now, since the route was looked up in these bytes. */
    bool ended = c->exchange != x;
    chunk_consume(&w->chunks, &c->in, h->len + (ended ? body : 0));
    if (!ended)
        x->head_taken = true;
}

/* ---- time
 * ---------------------------------------------------------------------------------------------- */

void exchange_set_timer(struct exchange *x)
{
    uint64_t due = x->deadline_ms;
    if (x->drain_deadline_ms != 0 && x->drain_deadline_ms < due)
        due = x->drain_deadline_ms;
    if (x->total_deadline_ms != 0 && x->total_deadline_ms < due)
        due = x->total_deadline_ms;
    if (x->slow_at_ms != 0 && x->slow_at_ms < due)
        due = x->slow_at_ms;
    timer_set(&x->worker->timers, &x->client->timer, due);
}

void exchange_progress(struct exchange *x)
{
    x->deadline_ms = x->worker->now_ms + x->timeout_ms;
    exchange_set_timer(x);
}

void exchange_drain_deadlines(struct worker *w)
{
    if (w->table->snapshot->draining_len == 0)
        return;
    for (struct link *l = w->exchanges.next; l != &w->exchanges; l = l->next) {
        struct exchange *x = link_owner(l, struct exchange, link);
        if (x->upstream == NULL || x->upstream->instance->drain_deadline_ms == 0)
            continue;
        x->drain_deadline_ms = x->upstream->instance->drain_deadline_ms;
        exchange_set_timer(x);
    }
}

/* ---- end
 * -----------------------------------------------------------------------------------------------
 */

static void release_upstream(struct exchange *x, bool keep)
{
    struct upstream *u = x->upstream;
    if (u == NULL)
        return;
    x->upstream = NULL;
    u->exchange = NULL;
    x->slow_at_ms = x->up_pace.since_ms = 0; /* nothing is read from the client now */
    struct worker *w = x->worker;
    stats_instance(w, x->instance_slot, INSTANCE_IN_FLIGHT, -1);
    stats_request(w, x->share_slot, REQUESTS_IN_FLIGHT, -1);
    if (x->state == EXCHANGE_TUNNEL)
        stats_instance(w, x->instance_slot, INSTANCE_UPGRADED, -1);
    if (keep && u->in == NULL)
        upstream_keep(u);
    else
        upstream_close(u);
    w->holds_changed = w->holds_changed || !link_alone(&w->holds);
}

static void count_instance(struct exchange *x, bool error)
{
    stats_instance(x->worker, x->instance_slot, INSTANCE_REQUESTS, 1);
    if (error)
        stats_instance(x->worker, x->instance_slot, INSTANCE_ERRORS, 1);
}

void exchange_drop_attempt(struct exchange *x)
{
    count_instance(x, true);
    outlier_note(x, true);
    release_upstream(x, false);
}

static struct client_identity identify(const struct exchange *x)
{
    struct client *c = x->client;
    const uint8_t *address =
        address_of_client(x->forwarded ? x->for_whom : NULL, c->peer, c->trusted);
    if (address != NULL)
        return client_by_address(address);
    if (c->number == 0)
        c->number = ++c->worker->clients_numbered;
    return client_by_connection(c->number);
}

static void count_error_of(struct exchange *x, uint32_t slot, enum request_metric m)
{
    struct worker *w = x->worker;
    stats_request(w, slot, m, 1);
    if (x->copy) /* no client has asked for it */
        return;
    struct client_identity client = identify(x);
    if (repeats_add(&w->repeats, &client, x->app_slot, w->now_ms))
        stats_request(w, slot, REQUESTS_REPEATS, 1);
}

static void count_error(struct exchange *x, enum request_metric m)
{
    count_error_of(x, x->share_slot, m);
}

/* Where another release's instance helped out, the first one has failed a request, too. */
static void count_rescued(struct exchange *x)
{
    if (x->rescued_slot != x->share_slot)
        stats_request(x->worker, x->rescued_slot, REQUESTS, 1);
    count_error_of(x, x->rescued_slot, REQUESTS_RESCUED);
}

static void count_status(struct exchange *x)
{
    struct worker *w = x->worker;
    if (x->status >= 500)
        count_error(x, REQUESTS_5XX);
    else if (x->status >= 400)
        stats_request(w, x->share_slot, REQUESTS_4XX, 1);
}

static void count(struct exchange *x, enum outcome outcome)
{
    struct worker *w = x->worker;
    if (outcome == OUTCOME_REDIRECTED || outcome == OUTCOME_FAULT)
        return;
    if (outcome == OUTCOME_MAINTENANCE) {
        stats_request(w, x->app_slot, REQUESTS_MAINTENANCE, 1);
        return;
    }
    if (outcome == OUTCOME_UNSERVED) {
        if (x->app_slot != NO_SLOT)
            stats_request(w, x->app_slot, REQUESTS_UNSERVED, 1);
        sample_take(x, outcome);
        return;
    }
    if (!x->taken) { /* no instance was chosen yet */
        if (outcome == OUTCOME_CLIENT_LEFT && x->app_slot != NO_SLOT)
            stats_request(w, x->app_slot, REQUESTS_CLIENT_LEFT, 1);
        return;
    }
    stats_request(w, x->share_slot, REQUESTS, 1);
    stats_request(w, x->share_slot, REQUESTS_BYTES_IN, (int64_t)x->bytes_in);
    stats_request(w, x->share_slot, REQUESTS_BYTES_OUT, (int64_t)x->bytes_out);
    red_count(x, outcome);
    if (x->spilled)
        stats_request(w, x->share_slot, REQUESTS_SPILLED, 1);
    if (x->final)
        count_status(x);
    if (x->rescued && x->final && x->status < 500 && outcome != OUTCOME_CUT)
        count_rescued(x);
    switch (outcome) {
    case OUTCOME_WHOLE:
        count_instance(x, x->status >= 500);
        outlier_note(x, x->status >= 500);
        break;
    case OUTCOME_FAILED: count_error(x, REQUESTS_FAILED); break;
    case OUTCOME_CUT: count_error(x, REQUESTS_CUT); break;
    case OUTCOME_REFUSED:
    case OUTCOME_CLIENT_LEFT:
        stats_request(w, x->share_slot, REQUESTS_CLIENT_LEFT, 1);
        if (x->upstream != NULL)
            count_instance(x, false);
        break;
    case OUTCOME_UNSERVED:
    case OUTCOME_REDIRECTED:
    case OUTCOME_MAINTENANCE:
    case OUTCOME_FAULT: break;
    }
    sample_take(x, outcome);
}

void exchange_end(struct exchange *x, enum outcome outcome)
{
    struct client *c = x->client;
    ASSERT(c->exchange == x);
    if (x->access != NULL)
        access_end(x, outcome);
    if (x->upstream != NULL && x->upstream->endpoint.stream != NULL)
        x->status = h2_stream_counts_as(x->upstream->endpoint.stream, x->status);
    count(x, outcome);
    if (x->mirror != NULL)
        mirror_ended(x, outcome);
    hold_remove(x);
    capacity_end(x);
    /* What is left of the request must never be read as the next one. (Before head_taken it is
     * exchange_start that takes both out.) */
    if (x->head_taken && x->up_ready > 0)
        chunk_consume(&x->worker->chunks, &c->in, x->up_ready);
    release_upstream(x, outcome == OUTCOME_WHOLE && x->reusable && x->sent_all);
    c->exchange = NULL;
    exchange_free(x);
}

void exchange_refuse(struct exchange *x, enum outcome outcome, unsigned status, const char *text)
{
    if (x->stream) { /* there are no words for it */
        stream_refuse(x, outcome);
        return;
    }
    if (x->copy) {
        mirror_refuse(x, outcome);
        return;
    }
    struct client *c = x->client;
    bool head_only = x->head_only, unread = !x->request.done;
    char json[PAGES_JSON_MAX];
    struct answer page = {.status = status, .extra = status == 503 ? "Retry-After: 1\r\n" : ""};
    bool has_page = pages_for(x, status, text, json, &page);
    x->own_status = (uint16_t)status;
    x->own_text = text;
    exchange_end(x, outcome);
    if (has_page)
        answer_with(c, &page, head_only, unread);
    else
        answer_error(c, status, text, head_only, unread);
}

void exchange_refuse_for(struct exchange *x, enum outcome outcome, unsigned status,
                         const char *text, uint32_t after_s)
{
    struct client *c = x->client;
    bool head_only = x->head_only, unread = !x->request.done;
    char json[PAGES_JSON_MAX], extra[48];
    struct answer page = {.status = status, .extra = extra};
    bool has_page = pages_for(x, status, text, json, &page);
    snprintf(extra, sizeof extra, "Retry-After: %u\r\n", after_s);
    x->own_status = (uint16_t)status;
    x->own_text = text;
    exchange_end(x, outcome);
    if (has_page)
        answer_with(c, &page, head_only, unread);
    else
        answer_retry(c, status, text, after_s, head_only, unread);
}

void exchange_answer_with(struct exchange *x, enum outcome outcome, const struct answer *a,
                          const char *why)
{
    if (x->stream) {
        stream_refuse(x, outcome);
        return;
    }
    struct client *c = x->client;
    bool head_only = x->head_only, unread = !x->request.done;
    x->own_status = (uint16_t)a->status;
    x->own_text = why;
    exchange_end(x, outcome);
    answer_with(c, a, head_only, unread);
}

void exchange_redirect(struct exchange *x, unsigned status, const char *location)
{
    struct client *c = x->client;
    bool unread = !x->request.done;
    x->own_status = (uint16_t)status;
    exchange_end(x, OUTCOME_REDIRECTED);
    answer_redirect(c, status, location, unread);
}

void exchange_answer(struct exchange *x, unsigned status, const char *text)
{
    struct client *c = x->client;
    bool head_only = x->head_only, unread = !x->request.done;
    exchange_end(x, OUTCOME_REDIRECTED);
    answer_text(c, status, text, head_only, unread);
}

void exchange_client_left(struct exchange *x)
{
    struct client *c = x->client;
    exchange_end(x, OUTCOME_CLIENT_LEFT);
    client_close(c);
}

/* ---- failures
 * ------------------------------------------------------------------------------------------- */

static void cut(struct exchange *x)
{
    struct client *c = x->client;
    exchange_end(x, OUTCOME_CUT);
    client_reset(c);
}

/* A kept connection that the instance closed just when this was sent on it is nobody's fault (RFC
 * 9112 section 9.3.1). A connection of HTTP/2 is kept nearly always, and ends with a GOAWAY where
 * all is well: it is excused once, and only for what can be sent again. */
static bool was_stale(const struct exchange *x)
{
    const struct upstream *u = x->upstream;
    if (u->endpoint.stream == NULL || !u->reused)
        return u->reused;
    return h2_stream_lost(u->endpoint.stream) && x->attempts <= 1 &&
           (x->idempotent || !x->sent_all);
}

void exchange_failed(struct exchange *x, enum failure why)
{
    static const uint8_t faults[] = {
        [FAILED_CONNECT] = SAMPLE_CONNECT,
        [FAILED_BROKEN] = SAMPLE_BROKE_OFF,
        [FAILED_BAD_ANSWER] = SAMPLE_BAD_ANSWER,
        [FAILED_TIMEOUT] = SAMPLE_TIMEOUT,
    };
    struct worker *w = x->worker;
    struct upstream *u = x->upstream;
    struct instance *i = u->instance;
    /* The instance says that it has not looked at it (RFC 9113 section 8.7). */
    bool unseen = u->endpoint.stream != NULL && h2_stream_refused(u->endpoint.stream);
    bool reused = was_stale(x) || unseen, listed = i->listed;
    if (unseen && x->keeping)
        x->sent_any = false;
    x->fault = faults[why];
    if (why == FAILED_CONNECT) {
        stats_instance(w, i->slot, INSTANCE_CONNECT_ERRORS, 1);
        i->rest_until_ms = w->now_ms + w->gateway->limits.rest_ms;
        outlier_note(x, true);
    } else if (!(why == FAILED_BROKEN && reused && !x->began)) {
        count_instance(x, true);
        outlier_note(x, true);
    }
    release_upstream(x, false);
    if (x->final)
        cut(x);
    else if (retry_failure(x, why, reused, listed ? i : NULL)) /* not listed: freed, maybe */
        return;
    else if (why == FAILED_TIMEOUT)
        exchange_refuse(x, OUTCOME_FAILED, 504, "the instance did not answer in time");
    else if (why == FAILED_BAD_ANSWER)
        exchange_refuse(x, OUTCOME_FAILED, 502, "the instance's answer is not HTTP");
    else
        exchange_refuse(x, OUTCOME_FAILED, 502, "the instance broke off");
}

/* The time of the exchange, or of its instance, is up. */
void exchange_timeout(struct exchange *x)
{
    struct client *c = x->client;
    uint64_t now = x->worker->now_ms;
    bool drained = x->drain_deadline_ms != 0 && now >= x->drain_deadline_ms;
    bool overdue = x->total_deadline_ms != 0 && now >= x->total_deadline_ms;
    bool slow = x->slow_at_ms != 0 && now >= x->slow_at_ms;
    if (slow && (guard_too_slow(x) || (!drained && !overdue && now < x->deadline_ms)))
        return;
    if (x->copy && x->final && overdue) {
        exchange_client_left(x); /* it may go on for as long as it likes, but not with us */
    } else if (x->state == EXCHANGE_DELAYED) {
        orders_delay_ended(x);
    } else if (x->state == EXCHANGE_HELD && orders_hold_ended(x)) {
        return;
    } else if (x->state == EXCHANGE_BACKOFF && overdue) {
        x->fault = SAMPLE_TIMEOUT;
        exchange_refuse(x, OUTCOME_FAILED, 504, "no instance answered in time");
    } else if (x->state == EXCHANGE_BACKOFF) {
        retry_now(x, x->worker->instances[x->instance_slot]);
    } else if (x->state == EXCHANGE_QUEUED) {
        capacity_expired(x);
    } else if (x->state == EXCHANGE_HELD) {
        exchange_refuse(x, OUTCOME_UNSERVED, 503, "no instance became ready in time");
    } else if (x->state == EXCHANGE_TUNNEL && x->stream) {
        stream_timeout(x);
    } else if (x->state == EXCHANGE_TUNNEL) {
        exchange_end(x, OUTCOME_WHOLE);
        client_close(c);
    } else if (x->state == EXCHANGE_CONNECTING && !overdue) {
        if (x->upstream->endpoint.stream != NULL)
            h2_origin_gave_up(x->upstream->endpoint.stream);
        exchange_failed(x, FAILED_CONNECT);
    } else if (drained && !overdue) {
        exchange_failed(x, FAILED_BROKEN);
    } else if (x->final && !c->endpoint.writable) {
        exchange_client_left(x); /* it stopped reading */
    } else if (!x->final && !x->request.done && c->in == NULL) {
        /* It stopped sending. */
        exchange_refuse(x, OUTCOME_CLIENT_LEFT, 408, "the request's body did not come in time");
    } else {
        exchange_failed(x, FAILED_TIMEOUT);
    }
}

/* ---- going on
 * ------------------------------------------------------------------------------------------- */

/* The connection to the instance stands, or does not. */
static bool connected(struct exchange *x)
{
    struct upstream *u = x->upstream;
    if (!u->endpoint.broken && !u->endpoint.writable)
        return false;
    if (u->endpoint.stream != NULL ? u->endpoint.broken : !reach_stands(&u->endpoint)) {
        exchange_failed(x, FAILED_CONNECT);
        return false;
    }
    if (u->endpoint.tls != NULL) {
        enum shake shake = upstream_tls_shake(u);
        if (shake == SHAKE_FAILED)
            exchange_failed(x, FAILED_CONNECT);
        if (shake != SHAKE_DONE)
            return false;
    }
    u->connecting = false;
    x->state = EXCHANGE_ACTIVE;
    exchange_progress(x);
    return true;
}

void exchange_run(struct exchange *x)
{
    struct client *c = x->client;
    if (x->state == EXCHANGE_TUNNEL) {
        x->stream ? stream_run(x) : tunnel_run(x);
        return;
    }
    /* Reset by the client. One that only half-closed still waits for its answer, but nobody waits
     * in the hold for one that may be gone. */
    bool waits = x->state <= EXCHANGE_DELAYED;
    if (c->endpoint.broken || (waits && c->endpoint.hangup && !x->stream)) {
        exchange_client_left(x);
        return;
    }
    if (x->state <= EXCHANGE_BACKOFF || (x->state == EXCHANGE_CONNECTING && !connected(x)))
        return;
    if (x->stream)
        stream_run(x);
    else if (flow_up(x))
        flow_down(x);
}
