#include "gateway/trace.h"

#include "base/assert.h"
#include "gateway/kept.h"

#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* ---- random numbers
 * ------------------------------------------------------------------------------- */

void trace_seed(struct trace_random *r)
{
    if (getrandom(r->s, sizeof r->s, 0) != (ssize_t)sizeof r->s ||
        (r->s[0] | r->s[1] | r->s[2] | r->s[3]) == 0)
        r->s[0] = (uint64_t)(uintptr_t)r | 1;
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

uint64_t trace_next(struct trace_random *r)
{
    uint64_t *s = r->s, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* ---- fields of the head
 * --------------------------------------------------------------------------- */

#define NAME(literal) literal, sizeof(literal) - 1

/* The only field of this name that goes on to the instance; *many: there are more of them. */
static const struct http1_field *only(const struct http1_head *h, const char *p, const char *name,
                                      size_t len, bool *many)
{
    const struct http1_field *found = NULL, *f;
    size_t from = 0;
    *many = false;
    while ((f = http1_find(h, p, name, len, &from)) != NULL) {
        from = (size_t)(f - h->fields) + 1;
        *many = *many || found != NULL;
        if (!f->named)
            found = f;
    }
    return found;
}

/* Takes the field lines of this name out of the head that will be sent. */
static void take_out(struct chunk *head, const char *name, size_t len)
{
    char *line = memchr(head->data + head->start, '\n', chunk_len(head));
    ASSERT(line != NULL);
    line++;
    for (char *end; *line != '\r'; line = end) {
        char *last = head->data + head->end;
        end = (char *)memchr(line, '\n', (size_t)(last - line)) + 1;
        if ((size_t)(end - line) <= len || line[len] != ':' || strncasecmp(line, name, len) != 0)
            continue;
        memmove(line, end, (size_t)(last - end));
        head->end -= (uint32_t)(end - line);
        end = line;
    }
}

/* ---- what is wanted
 * ------------------------------------------------------------------------------- */

static bool drawn(struct exchange *x, uint32_t ppm)
{
    uint64_t number = trace_next(&x->worker->trace) >> 32;
    return number * 1000000 >> 32 < ppm;
}

static void trace(struct exchange *x, const struct http1_head *h, const char *p, uint32_t ppm)
{
    struct trace *t = &x->trace;
    bool many, more;
    const struct http1_field *f = only(h, p, NAME("traceparent"), &many);
    t->has_parent =
        f != NULL && !many && traceparent_parse(http1_at(p, f->value), f->value.len, &t->context);
    if (t->has_parent) {
        memcpy(t->parent, t->context.span, sizeof t->parent);
    } else {
        uint64_t id[2] = {trace_next(&x->worker->trace), trace_next(&x->worker->trace)};
        trace_hex(id, 2, t->context.trace);
        t->context.sampled = drawn(x, ppm);
    }
    uint64_t span = trace_next(&x->worker->trace);
    trace_hex(&span, 1, t->context.span);
    if (f != NULL || many)
        take_out(x->kept, NAME("traceparent"));
    if (!t->has_parent && only(h, p, NAME("tracestate"), &more) != NULL)
        take_out(x->kept, NAME("tracestate"));
    char value[TRACEPARENT_LEN];
    traceparent_write(&t->context, value);
    kept_add(x, NAME("traceparent"), value, sizeof value);
    x->traced = true;
}

/* Visible ASCII without what would need care in a log or a header: a client's word goes into other
 * people's systems. */
static bool is_clean(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] > '~' || strchr("\"'\\<>`,;", s[i]) != NULL)
            return false;
    return len > 0 && len <= REQUEST_ID_MAX;
}

static void identify(struct exchange *x, const struct http1_head *h, const char *p)
{
    struct trace *t = &x->trace;
    bool many;
    const struct http1_field *f = only(h, p, NAME("x-request-id"), &many);
    x->identified = true;
    if (f != NULL && !many && is_clean(http1_at(p, f->value), f->value.len)) {
        t->request_id_len = (uint8_t)f->value.len;
        memcpy(t->request_id, http1_at(p, f->value), f->value.len);
        return;
    }
    if (f != NULL || many)
        take_out(x->kept, NAME("x-request-id"));
    if (x->traced) { /* one id to look for */
        memcpy(t->request_id, t->context.trace, TRACE_ID_LEN);
    } else {
        uint64_t id[2] = {trace_next(&x->worker->trace), trace_next(&x->worker->trace)};
        trace_hex(id, 2, t->request_id);
    }
    t->request_id_len = TRACE_ID_LEN;
    kept_add(x, NAME("X-Request-Id"), t->request_id, t->request_id_len);
}

void trace_apply(struct exchange *x, const struct http1_head *h, const char *p,
                 const struct snapshot_observe *wanted)
{
    enum { MOST = TRACEPARENT_LEN + TRACE_ID_LEN + 64 }; /* values, names, separators */
    if (!kept_room(x, MOST))
        return;
    if (wanted->trace)
        trace(x, h, p, wanted->trace_ppm);
    if (wanted->request_id)
        identify(x, h, p);
}
