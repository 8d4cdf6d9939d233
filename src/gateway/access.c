#include "gateway/access.h"

#include "base/assert.h"
#include "base/vec.h"
#include "gateway/h2.h"
#include "gateway/tls.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is kept of a request until its line is made. The texts stand one behind the other, those
 * that a later attempt replaces last. */
struct entry {
    uint16_t method, host, target, path, agent; /* lengths; the path is the target's beginning */
    uint16_t app, environment, version, instance;
    bool cut;           /* the target was longer */
    bool routed;        /* what follows is the route's wish: */
    bool drawn;         /* it gets a line in any case, else only */
    bool errors;        /* ... where it fails, */
    uint32_t slower_ms; /* ... or takes longer; 0: not for that */
    bool query;         /* the query is written too */
    uint32_t release;   /* 0: none was chosen */
    char text[];
};

enum { NAMES_ROOM = 200 };

static struct entry *entry_of(struct chunk *c)
{
    return (struct entry *)(((uintptr_t)c->data + 7) & ~(uintptr_t)7);
}

struct access_writer *access_writer_new(struct access_ring *ring)
{
    struct access_writer *a = calloc(1, sizeof *a);
    if (a != NULL)
        a->ring = ring;
    return a;
}

/* ---- keeping
 * -------------------------------------------------------------------------------------- */

/* Room for so many bytes more, in another chunk if need be. false: there is none. */
static bool reserve(struct exchange *x, size_t more)
{
    struct chunk *old = x->access;
    if (old->cap - old->end >= more)
        return true;
    struct chunk *c = chunk_get(&x->worker->chunks, old->end + more + 8);
    if (c == NULL)
        return false;
    size_t used = (size_t)(old->data + old->end - (char *)entry_of(old));
    memcpy(entry_of(c), entry_of(old), used);
    c->end = (uint32_t)((char *)entry_of(c) + used - c->data);
    chunk_put(&x->worker->chunks, old);
    x->access = c;
    return true;
}

/* Gives the length: of what there was room for. */
static uint16_t keep(struct exchange *x, const char *text, size_t len)
{
    if (len == 0 || !reserve(x, len))
        return 0;
    chunk_add(x->access, text, len);
    return (uint16_t)len;
}

/* The end of what is kept: behind so many bytes of text. */
static void cut_at(struct exchange *x, size_t text)
{
    x->access->end = (uint32_t)(entry_of(x->access)->text + text - x->access->data);
}

void access_begin(struct exchange *x, const struct http1_head *h, const char *p)
{
    static const char name[] = "user-agent";
    size_t from = 0, agent = 0;
    const struct http1_field *f = http1_find(h, p, name, sizeof name - 1, &from);
    if (f != NULL)
        agent = f->value.len < ACCESS_AGENT_MAX ? f->value.len : ACCESS_AGENT_MAX;
    size_t target = h->path.len < ACCESS_TARGET_MAX ? h->path.len : ACCESS_TARGET_MAX;
    size_t host = h->authority.len < HTTP1_MAX_HOST + 6u ? h->authority.len : HTTP1_MAX_HOST + 6u;
    size_t method = h->method_text.len < 32 ? h->method_text.len : 32;
    x->access = chunk_get(&x->worker->chunks,
                          sizeof(struct entry) + 8 + method + host + target + agent + NAMES_ROOM);
    if (x->access == NULL) {
        access_ring_drop(x->worker->access->ring);
        return;
    }
    struct entry *e = entry_of(x->access);
    memset(e, 0, sizeof *e);
    cut_at(x, 0);
    e->method = keep(x, http1_at(p, h->method_text), method);
    e->host = keep(x, http1_at(p, h->authority), host);
    e->target = keep(x, http1_at(p, h->path), target);
    e->agent = f != NULL ? keep(x, http1_at(p, f->value), agent) : 0;
    e->cut = target < h->path.len;
    const char *query = memchr(e->text + e->method + e->host, '?', target);
    e->path = query != NULL ? (uint16_t)(query - e->text - e->method - e->host) : e->target;
    e->drawn = true; /* as long as there is no route */
}

static size_t kept_of_request(const struct entry *e)
{
    return (size_t)e->method + e->host + e->target + e->agent;
}

static void let_go(struct exchange *x)
{
    chunk_put(&x->worker->chunks, x->access);
    x->access = NULL;
}

void access_routed(struct exchange *x, const struct table_route *r)
{
    struct entry *e = entry_of(x->access);
    const struct snapshot_observe *wish = &r->route->observe;
    if (!e->routed) {
        uint64_t number = worker_random(x->worker);
        e->routed = true;
        e->drawn = number * 1000000 >> 32 < wish->log_ppm;
        e->errors = wish->log_errors;
        e->slower_ms = wish->log_slower_ms;
        e->query = wish->log_query;
        if (!e->drawn && !e->errors && e->slower_ms == 0) {
            let_go(x);
            return;
        }
    }
    e->version = e->instance = 0;
    e->release = 0;
    cut_at(x, kept_of_request(e));
    uint16_t app = keep(x, r->app->name, strlen(r->app->name));
    uint16_t environment = keep(x, r->app->environment, strlen(r->app->environment));
    e = entry_of(x->access);
    e->app = app;
    e->environment = environment;
}

void access_chosen(struct exchange *x, const struct snapshot_pool *pool, uint32_t instance_slot)
{
    const struct table *t = x->worker->table;
    uint32_t index = instance_slot < t->by_slot_len ? t->by_slot[instance_slot] : 0;
    const char *id = index != 0 ? t->snapshot->instances[index - 1].id : "";
    struct entry *e = entry_of(x->access);
    cut_at(x, kept_of_request(e) + e->app + e->environment);
    uint16_t version = keep(x, pool->version, strlen(pool->version));
    uint16_t instance = keep(x, id, strlen(id));
    e = entry_of(x->access);
    e->release = pool->release;
    e->version = version;
    e->instance = instance;
}

/* ---- the line
 * ------------------------------------------------------------------------------------- */

/* The length of the valid UTF-8 character at s (RFC 3629), 1 to 4; 0: it is none. */
static size_t utf8_len(const unsigned char *s, size_t len)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (n > len || (n == 4 && (s[0] < 0xf0 || s[0] > 0xf4)))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* Too long a form, a surrogate, above U+10FFFF. */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static char *escape_byte(char *to, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    memcpy(to, "\\u00", 4);
    to[4] = hex[c >> 4];
    to[5] = hex[c & 15];
    return to + 6;
}

char *access_escape(char *to, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + len;
    while (s < end) {
        if (*s >= 0x20 && *s < 0x7f && *s != '"' && *s != '\\') {
            *to++ = (char)*s++;
            continue;
        }
        size_t n = utf8_len(s, (size_t)(end - s));
        if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) { /* U+0080 to U+009F */
            to = escape_byte(to, s[1]);
        } else if (n > 1) {
            memcpy(to, s, n);
            to += n;
        } else if (*s == '"' || *s == '\\') {
            *to++ = '\\';
            *to++ = (char)*s;
        } else {
            to = escape_byte(to, *s);
        }
        s += n > 0 ? n : 1;
    }
    return to;
}

static char *put(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}
#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put_number(char *to, uint64_t n)
{
    char digits[20];
    size_t len = 0;
    do
        digits[sizeof digits - ++len] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return put(to, digits + sizeof digits - len, len);
}
#define NUMBER(to, name, n) put_number(PUT(to, ",\"" name "\":"), n)

/* ,"name":"text"; nothing where there is no text. */
static char *put_text(char *to, const char *before, size_t before_len, const char *text, size_t len)
{
    if (len == 0)
        return to;
    to = put(to, before, before_len);
    to = access_escape(to, text, len);
    *to++ = '"';
    return to;
}
#define TEXT(to, name, text, len)                                                                  \
    put_text(to, ",\"" name "\":\"", sizeof(",\"" name "\":\"") - 1, text, len)
/* For our own words, which need no escape. */
#define WORD(to, name, word) TEXT(to, name, word, strlen(word))

/* {"time":"2026-11-21T08:00:00.123Z" */
static char *put_time(char *to, struct access_writer *a)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* the vDSO */
    if (t.tv_sec != a->second) {
        struct tm tm;
        gmtime_r(&t.tv_sec, &tm);
        strftime(a->text, sizeof a->text, "%Y-%m-%dT%H:%M:%S", &tm);
        a->second = t.tv_sec;
    }
    unsigned ms = (unsigned)(t.tv_nsec / 1000000);
    to = PUT(to, "{\"time\":\"");
    to = put(to, a->text, sizeof a->text - 1);
    *to++ = '.';
    *to++ = (char)('0' + ms / 100);
    *to++ = (char)('0' + ms / 10 % 10);
    *to++ = (char)('0' + ms % 10);
    return PUT(to, "Z\"");
}

/* Whom the request is of; and by whom it came, where that is a proxy that is believed. */
static char *put_client(char *to, const struct client *c, const uint8_t *for_whom)
{
    char text[INET6_ADDRSTRLEN];
    static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (for_whom == NULL)
        return TEXT(to, "client", c->address, c->address_len);
    bool ipv4 = memcmp(for_whom, ipv4_prefix, sizeof ipv4_prefix) == 0;
    inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? for_whom + 12 : for_whom, text, sizeof text);
    to = WORD(to, "client", text);
    return TEXT(to, "peer", c->address, c->address_len);
}

static char *put_connection(char *to, const struct client *c)
{
    if (c->endpoint.stream != NULL)
        c = h2_stream_connection(c->endpoint.stream);
    return c != NULL && c->endpoint.tls != NULL ? WORD(to, "tls", tls_version(c->endpoint.tls))
                                                : to;
}

static const char *protocol_of(const struct exchange *x)
{
    if (x->client->endpoint.stream != NULL)
        return "HTTP/2";
    return x->http10 ? "HTTP/1.0" : "HTTP/1.1";
}

static char *put_request(char *to, const struct entry *e)
{
    const char *text = e->text;
    to = TEXT(to, "method", text, e->method);
    to = TEXT(to, "host", text + e->method, e->host);
    text += e->method + e->host;
    to = TEXT(to, "path", text, e->path);
    if (e->query && e->path < e->target)
        to = TEXT(to, "query", text + e->path + 1, e->target - e->path - 1u);
    if (e->cut)
        to = PUT(to, ",\"path_cut\":true");
    return TEXT(to, "user_agent", text + e->target, e->agent);
}

static char *put_place(char *to, const struct entry *e)
{
    const char *text = e->text + kept_of_request(e);
    to = TEXT(to, "app", text, e->app);
    to = TEXT(to, "environment", text + e->app, e->environment);
    text += e->app + e->environment;
    if (e->release != 0)
        to = NUMBER(to, "release", e->release);
    to = TEXT(to, "version", text, e->version);
    return TEXT(to, "instance", text + e->version, e->instance);
}

static char *put_trace(char *to, const struct exchange *x)
{
    const struct trace *t = &x->trace;
    if (x->identified)
        to = TEXT(to, "request_id", t->request_id, t->request_id_len);
    if (!x->traced)
        return to;
    to = TEXT(to, "trace_id", t->context.trace, sizeof t->context.trace);
    to = TEXT(to, "span_id", t->context.span, sizeof t->context.span);
    if (t->has_parent)
        to = TEXT(to, "parent_id", t->parent, sizeof t->parent);
    return t->context.sampled ? PUT(to, ",\"sampled\":true") : to;
}

static const char *outcome_word(enum outcome outcome)
{
    static const char *const words[] = {
        [OUTCOME_WHOLE] = "whole",
        [OUTCOME_FAILED] = "failed",
        [OUTCOME_CUT] = "cut",
        [OUTCOME_CLIENT_LEFT] = "client-left",
        [OUTCOME_UNSERVED] = "unserved",
        [OUTCOME_REDIRECTED] = "redirected",
        [OUTCOME_MAINTENANCE] = "maintenance",
        [OUTCOME_FAULT] = "fault",
        [OUTCOME_REFUSED] = "limited",
    };
    return outcome < COUNT_OF(words) && words[outcome] != NULL ? words[outcome] : "answered";
}

static char *put_end(char *to, const struct exchange *x, enum outcome outcome, uint64_t took_us)
{
    unsigned status = x->final ? x->status : x->own_status;
    if (status != 0)
        to = NUMBER(to, "status", status);
    to = NUMBER(to, "bytes_in", x->bytes_in);
    to = NUMBER(to, "bytes_out", x->bytes_out);
    to = NUMBER(to, "duration_us", took_us);
    if (x->final)
        to = NUMBER(to, "first_byte_us", x->latency_us + x->waited_us);
    if (x->attempts > 0)
        to = NUMBER(to, "attempts", x->attempts);
    to = WORD(to, "outcome", outcome_word(outcome));
    if (outcome == OUTCOME_CUT)
        return WORD(to, "reason", "the instance broke off");
    return x->own_text != NULL ? WORD(to, "reason", x->own_text) : to;
}

static void finish(struct access_writer *a, char *end)
{
    end = PUT(end, "}\n");
    ASSERT(end <= a->line + sizeof a->line);
    access_ring_put(a->ring, a->line, (size_t)(end - a->line));
}

static bool wanted(const struct exchange *x, const struct entry *e, enum outcome outcome,
                   uint64_t took_us)
{
    unsigned status = x->final ? x->status : x->own_status;
    return e->drawn ||
           (e->errors && (status >= 500 || outcome == OUTCOME_CUT || outcome == OUTCOME_FAILED)) ||
           (e->slower_ms > 0 && took_us >= (uint64_t)e->slower_ms * 1000);
}

void access_end(struct exchange *x, enum outcome outcome)
{
    struct worker *w = x->worker;
    const struct entry *e = entry_of(x->access);
    uint64_t took_us = worker_now_us(w) - x->start_us;
    if (wanted(x, e, outcome, took_us)) {
        char *to = put_time(w->access->line, w->access);
        to = put_client(to, x->client, x->forwarded ? x->for_whom : NULL);
        to = WORD(to, "protocol", protocol_of(x));
        to = put_connection(to, x->client);
        to = x->secure ? WORD(to, "scheme", "https") : WORD(to, "scheme", "http");
        to = put_request(to, e);
        to = put_place(to, e);
        to = put_trace(to, x);
        to = put_end(to, x, outcome, took_us);
        finish(w->access, to);
    }
    let_go(x);
}

void access_refused(struct client *c, unsigned status, const char *why)
{
    struct access_writer *a = c->worker->access;
    char *to = put_time(a->line, a);
    to = put_client(to, c, NULL);
    to = put_connection(to, c);
    to = NUMBER(to, "status", status);
    to = WORD(to, "outcome", "refused");
    to = WORD(to, "reason", why);
    finish(a, to);
}
