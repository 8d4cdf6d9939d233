#include "gateway/mirror.h"

#include "base/assert.h"
#include "gateway/answerprint.h"
#include "gateway/kept.h"
#include "gateway/split.h"
#include "gateway/stats.h"

#include <stdlib.h>
#include <string.h>

enum mirror_side { MIRROR_USER, MIRROR_COPY, MIRROR_SIDES };

/* How an exchange ended. */
struct mirror_end {
    uint8_t outcome; /* enum outcome */
    bool over, final, rescued, slow;
    uint16_t status;
    uint64_t latency_us;
    uint32_t instance_slot;
};

/* What the route said is copied: a pair outlives tables. */
struct mirror {
    struct worker *worker;
    uint32_t slot, copied_slot; /* of the copies; of the requests that were copied */
    uint64_t body_bytes;
    uint64_t before_us; /* of the user's latency: until the copy was made */
    bool copied;        /* the copy had an instance */
    bool made;          /* there is one, or there will be none */
    uint8_t method, path_len;
    char path[SAMPLE_PATH_MAX + 1];
    struct mirror_end ends[MIRROR_SIDES];
    struct answerprint prints[MIRROR_SIDES];
    struct answerprint_rules rules;
    struct jsonprint_ignored ignored[]; /* then the names' pointers, then their bytes */
};

/* ---- whose turn it is
 * ------------------------------------------------------------------------------------- */

static struct mirror *mirror_new(struct worker *w, const struct snapshot_mirror *m)
{
    const struct snapshot *s = w->table->snapshot;
    size_t texts = 0;
    for (uint32_t i = 0; i < m->fields; i++)
        texts += strlen(s->fields[m->first_field + i].name) + 1;
    struct mirror *made = calloc(1, sizeof *made + m->ignored * sizeof made->ignored[0] +
                                        m->fields * sizeof(char *) + texts);
    if (made == NULL)
        return NULL;
    const char **names = (const char **)(made->ignored + m->ignored);
    char *at = (char *)(names + m->fields);
    for (uint32_t i = 0; i < m->fields; i++) {
        names[i] = at;
        at = stpcpy(at, s->fields[m->first_field + i].name) + 1;
    }
    for (uint32_t i = 0; i < m->ignored; i++)
        jsonprint_compile(&made->ignored[i], s->pointers[m->first_ignored + i].text);
    made->worker = w;
    made->slot = m->to.slot;
    made->copied_slot = m->copied_slot;
    made->body_bytes = m->body_bytes;
    made->rules =
        (struct answerprint_rules){m->compare, m->fields, m->ignored, names, made->ignored};
    w->pairs_len++;
    return made;
}

static void mirror_free(struct mirror *m)
{
    m->worker->pairs_len--;
    answerprint_lose(&m->prints[MIRROR_USER]);
    answerprint_lose(&m->prints[MIRROR_COPY]);
    free(m);
}

/* Of those that are copied at all. A pin's requests are somebody's tests; a copy of a copy, made by
 * a gateway in front, is none of a user's requests. */
static bool takes_part(const struct exchange *x, const struct snapshot_route *r,
                       const struct snapshot_share *s, const struct http1_head *h)
{
    bool pinned = s < r->shares || s >= r->shares + r->shares_len;
    if (pinned || s->pool == r->mirror.to.pool || (r->mirror.methods >> x->method & 1) == 0 ||
        h->upgrade || h->expect_continue || x->worker->draining)
        return false;
    for (size_t i = 0; i < h->fields_len && x->client->trusted; i++)
        if (h->fields[i].id == HTTP1_N_SLUICE_MIRROR && h->fields[i].value.len > 0)
            return false;
    return true;
}

static bool has_room(struct worker *w)
{
    return w->copies_len < MIRROR_COPIES && w->pairs_len < MIRROR_PAIRS &&
           w->overload.full_turns == 0 && w->chunks.bytes <= w->chunks.limit / 2 &&
           !accept_full(w->gateway);
}

static bool is_short(const struct http1_head *h, uint64_t most)
{
    return h->framing == HTTP1_BODY_NONE ||
           (h->framing == HTTP1_BODY_LENGTH && h->content_length <= most) ||
           (h->framing == HTTP1_BODY_CHUNKED && most > 0);
}

void mirror_draw(struct exchange *x, const struct table_route *r, const struct snapshot_share *s,
                 const struct http1_head *h)
{
    struct worker *w = x->worker;
    const struct snapshot_mirror *m = &r->route->mirror;
    if (x->drawn || x->copy)
        return;
    x->drawn = true;
    if (!takes_part(x, r->route, s, h))
        return;
    /* One counter for all workers, as for split routes. */
    uint64_t n = 1 + atomic_fetch_add_explicit(&w->gateway->split_count[m->to.slot], 1,
                                               memory_order_relaxed);
    if (!split_takes(n, r->copies_below))
        return;
    if (has_room(w) && is_short(h, m->body_bytes))
        x->mirror = mirror_new(w, m);
    if (x->mirror == NULL) {
        stats_request(w, m->to.slot, REQUESTS_UNCOPIED, 1);
        return;
    }
    x->mirror->method = x->method;
    x->mirror->path_len = x->path_len;
    memcpy(x->mirror->path, x->path, x->path_len);
    x->keeping = true; /* the body too, until it is whole */
}

/* ---- the copy
 * ----------------------------------------------------------------------------------------------
 */

/* What was sent of the request: the head as it was before its share's rules, and the body with its
 * framing. */
static bool copy_kept(struct exchange *x, const struct exchange *of)
{
    struct chunk_pool *pool = &x->worker->chunks;
    const struct chunk *head = of->plain != NULL ? of->plain : of->kept;
    if (of->head_len > MIRROR_HEAD_MAX)
        return false;
    x->kept = x->cursor = chunk_get(pool, of->head_len + sizeof MIRROR_FIELD + 8);
    if (x->kept == NULL)
        return false;
    chunk_add(x->kept, head->data + head->start, of->head_len);
    kept_add(x, MIRROR_FIELD, sizeof MIRROR_FIELD - 1, "1", 1);
    struct chunk *last = x->kept;
    for (const struct chunk *c = of->kept->next; c != NULL; c = c->next) {
        last->next = chunk_get(pool, chunk_len(c));
        last = last->next;
        if (last == NULL)
            return false;
        chunk_add(last, c->data + c->start, chunk_len(c));
        x->kept_bytes += (uint32_t)chunk_len(c);
    }
    return true;
}

static void give_up(struct exchange *x)
{
    struct client *c = x->client;
    exchange_end(x, OUTCOME_REDIRECTED); /* nothing is counted */
    client_close(c);
}

/* false: no memory, or its head is too long. */
static bool make_copy(struct exchange *of)
{
    struct mirror *m = of->mirror;
    struct client *c = client_of_copy(of->client);
    struct exchange *x = c != NULL ? exchange_make(c) : NULL;
    if (x == NULL) {
        if (c != NULL)
            client_close(c);
        return false;
    }
    c->exchange = x;
    x->copy = x->drawn = true;
    x->method = of->method;
    x->head_only = of->head_only;
    x->idempotent = x->keeping = of->idempotent;
    x->replayable = of->replayable;
    x->secure = of->secure;
    x->path_len = of->path_len;
    memcpy(x->path, of->path, of->path_len);
    http1_body_start(&x->request, HTTP1_BODY_NONE, 0); /* all of it is in kept */
    if (!copy_kept(x, of)) {
        give_up(x);
        return false;
    }
    x->mirror = m;
    m->before_us = x->start_us - of->start_us;
    m->worker->copies_len++;
    client_later(c);
    return true;
}

void mirror_sent(struct exchange *x)
{
    struct mirror *m = x->mirror;
    if (m->made)
        return;
    m->made = true;
    bool whole = x->kept != NULL && x->keeping; /* an answer that came early ends the keeping */
    if (whole && x->request.announced <= m->body_bytes && make_copy(x))
        return;
    x->mirror = NULL;
    x->printed = false;
    stats_request(m->worker, m->slot, REQUESTS_UNCOPIED, 1);
    mirror_free(m);
}

/* By the present table; NULL: it has no such mirror any more. */
static const struct table_route *route_of_copy(const struct exchange *x)
{
    struct http1_head h;
    const char *p;
    bool bad;
    exchange_parse_kept(x, &h, &p);
    const struct table_route *r = table_route(x->worker->table, &h, p, &bad);
    return r != NULL && r->mirrored && r->route->mirror.to.slot == x->mirror->slot ? r : NULL;
}

static void send_copy(struct exchange *x, const struct instance *avoid)
{
    struct mirror *m = x->mirror;
    const struct table_route *r = route_of_copy(x);
    bool first = !x->taken;
    switch (r != NULL ? dispatch_copy(x, r, avoid) : DISPATCH_NOBODY) {
    case DISPATCHED:
    case DISPATCH_GONE: return;
    case DISPATCH_FAILED:
        x->fault = SAMPLE_CONNECT;
        mirror_refuse(x, OUTCOME_FAILED);
        return;
    case DISPATCH_NOBODY:
    case DISPATCH_LOCAL: break;
    }
    if (first)
        stats_request(x->worker, m->slot, REQUESTS_UNCOPIED, 1);
    mirror_refuse(x, first ? OUTCOME_REDIRECTED : OUTCOME_CLIENT_LEFT);
}

void mirror_begin(struct client *c)
{
    struct exchange *x = c->exchange;
    c->state = CLIENT_BUSY;
    x->start_us = worker_now_us(c->worker); /* so far it has waited for users, not for anybody */
    send_copy(x, NULL);
}

void mirror_again(struct exchange *x, const struct instance *avoid)
{
    send_copy(x, avoid);
}

void mirror_refuse(struct exchange *x, enum outcome outcome)
{
    struct client *c = x->client;
    exchange_end(x, outcome);
    client_close(c);
}

ssize_t mirror_sink(struct endpoint *e, const struct iovec *parts, int len)
{
    const struct exchange *x = ((struct client *)e)->exchange;
    ssize_t n = 0;
    for (int i = 0; i < len; i++)
        n += (ssize_t)parts[i].iov_len;
    return x->bytes_out <= MIRROR_ANSWER_MAX ? n : -1;
}

/* ---- the answers
 * --------------------------------------------------------------------------------------- */

void mirror_head(struct exchange *x, const struct http1_head *h, const char *p)
{
    struct mirror *m = x->mirror;
    struct answerprint *print = &m->prints[x->copy ? MIRROR_COPY : MIRROR_USER];
    const struct mirror_end *other = &m->ends[x->copy ? MIRROR_USER : MIRROR_COPY];
    if (other->over && other->outcome != OUTCOME_WHOLE)
        return; /* there is nothing to compare it with */
    answerprint_head(print, &m->rules, h, p);
    x->printed = !print->lost && (m->rules.compare & SNAPSHOT_COMPARE_BODY) != 0;
}

void mirror_body(struct exchange *x, const char *data, size_t len)
{
    struct mirror *m = x->mirror;
    struct answerprint *print = &m->prints[x->copy ? MIRROR_COPY : MIRROR_USER];
    x->printed = answerprint_body(print, &m->rules, data, len);
}

static void leave_sample(struct mirror *m, const struct answerprint_difference *d)
{
    struct worker *w = m->worker;
    const struct mirror_end *copy = &m->ends[MIRROR_COPY];
    struct sample s = {
        .at_boot_ms = w->now_ms + w->boot_minus_mono_ms,
        .took_us = copy->latency_us,
        .request_slot = m->slot,
        .instance_slot = copy->instance_slot,
        .status = m->ends[MIRROR_USER].status,
        .copy_status = copy->status,
        .fault = SAMPLE_DIFFERS,
        .method = m->method,
        .part = (uint8_t)d->part,
    };
    sample_set_path(&s, m->path, m->path_len);
    sample_set_where(&s, d->where, d->where_len);
    samples_add(&w->metrics->copies, &s);
}

static void compare(struct mirror *m)
{
    struct worker *w = m->worker;
    struct answerprint *user = &m->prints[MIRROR_USER], *copy = &m->prints[MIRROR_COPY];
    bool whole = m->ends[MIRROR_USER].outcome == OUTCOME_WHOLE &&
                 m->ends[MIRROR_COPY].outcome == OUTCOME_WHOLE;
    if (!whole || !user->began || !copy->began || user->lost || copy->lost) {
        stats_request(w, m->slot, REQUESTS_UNCOMPARED, 1);
        return;
    }
    struct answerprint_difference d;
    user->status = m->ends[MIRROR_USER].status; /* of gRPC, what it counts as */
    copy->status = m->ends[MIRROR_COPY].status;
    answerprint_compare(user, copy, &m->rules, &d);
    stats_request(w, m->slot, REQUESTS_COMPARED, 1);
    if (d.part == SAMPLE_NOTHING)
        return;
    stats_request(w, m->slot, REQUESTS_DIFFERED, 1);
    stats_request(w, m->slot, REQUESTS_DIFFERED_STATUS, d.status);
    stats_request(w, m->slot, REQUESTS_DIFFERED_HEADERS, d.header);
    stats_request(w, m->slot, REQUESTS_DIFFERED_BODY, d.body);
    leave_sample(m, &d);
}

/* The user's request once more, among those that were copied. */
static void count_copied(struct mirror *m)
{
    struct worker *w = m->worker;
    const struct mirror_end *e = &m->ends[MIRROR_USER];
    uint32_t slot = m->copied_slot;
    bool left = e->outcome == OUTCOME_CLIENT_LEFT || e->outcome == OUTCOME_REFUSED;
    if (!left && e->outcome > OUTCOME_CUT)
        return; /* answered by the gateway after all: it does not count for its share, either */
    stats_request(w, slot, REQUESTS, 1);
    if (e->final) {
        stats_latency(w, slot, e->latency_us);
        stats_request(w, slot, REQUESTS_ABOVE_SLO, e->slow);
        stats_request(w, slot, REQUESTS_5XX, e->status >= 500);
        stats_request(w, slot, REQUESTS_4XX, e->status >= 400 && e->status < 500);
    }
    stats_request(w, slot, REQUESTS_RESCUED,
                  e->rescued && e->final && e->status < 500 && e->outcome != OUTCOME_CUT);
    stats_request(w, slot, REQUESTS_FAILED, e->outcome == OUTCOME_FAILED);
    stats_request(w, slot, REQUESTS_CUT, e->outcome == OUTCOME_CUT);
    stats_request(w, slot, REQUESTS_CLIENT_LEFT, left);
}

/* The user's latency without what passed before there was a copy. */
static struct mirror_end end_of(const struct exchange *x, enum outcome outcome)
{
    uint64_t before_us = x->copy ? 0 : x->mirror->before_us;
    uint64_t latency_us = x->latency_us > before_us ? x->latency_us - before_us : 0;
    return (struct mirror_end){
        .outcome = (uint8_t)outcome,
        .over = true,
        .final = x->final,
        .rescued = x->rescued,
        .slow = x->final && latency_us > x->slo_us,
        .status = x->status,
        .latency_us = latency_us,
        .instance_slot = x->instance_slot,
    };
}

void mirror_ended(struct exchange *x, enum outcome outcome)
{
    struct mirror *m = x->mirror;
    m->ends[x->copy ? MIRROR_COPY : MIRROR_USER] = end_of(x, outcome);
    x->mirror = NULL;
    if (x->copy) {
        m->worker->copies_len--;
        m->copied = x->taken;
    }
    if (!m->made) { /* before all of it was sent */
        stats_request(m->worker, m->slot, REQUESTS_UNCOPIED, 1);
    } else if (!m->ends[MIRROR_USER].over || !m->ends[MIRROR_COPY].over) {
        if (outcome != OUTCOME_WHOLE) { /* what is remembered is not needed */
            answerprint_lose(&m->prints[MIRROR_USER]);
            answerprint_lose(&m->prints[MIRROR_COPY]);
        }
        return;
    } else if (m->copied) {
        count_copied(m);
        compare(m);
    }
    mirror_free(m);
}

/* ---- tables and the end
 * ---------------------------------------------------------------------------------- */

void mirror_sync(struct worker *w)
{
    struct link *next;
    for (struct link *l = w->copies.next; l != &w->copies; l = next) {
        struct client *c = link_owner(l, struct client, link);
        next = l->next;
        if (c->exchange->upstream != NULL && !c->exchange->upstream->instance->listed)
            mirror_refuse(c->exchange, OUTCOME_CLIENT_LEFT);
    }
}

void mirror_release(struct worker *w)
{
    while (!link_alone(&w->copies))
        mirror_refuse(link_owner(w->copies.next, struct client, link)->exchange,
                      OUTCOME_CLIENT_LEFT);
}
