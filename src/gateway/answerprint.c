#include "gateway/answerprint.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert((int)JSONPRINT_WHERE == (int)SAMPLE_WHERE_MAX, "what is told fits into a sample");
_Static_assert((int)JSONPRINT_IGNORED == (int)SNAPSHOT_MAX_IGNORED, "all pointers can be compiled");

/* ---- the head
 * ----------------------------------------------------------------------------------------- */

/* The values of all lines of that name in their order, without the white space around them. */
static uint64_t field_print(const struct http1_head *h, const char *p, const char *name)
{
    uint64_t print = 0;
    size_t from = 0;
    const struct http1_field *f;
    while ((f = http1_find(h, p, name, strlen(name), &from)) != NULL) {
        struct digest d = {0};
        from = (size_t)(f - h->fields) + 1;
        digest_add(&d, http1_at(p, f->value), f->value.len);
        print = digest_join(print, digest_of(&d));
    }
    return print;
}

static bool ends_in(const char *s, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && strncasecmp(s + len - n, end, n) == 0;
}

/* application/json, application/problem+json; charset=utf-8, ... without a content coding. */
static bool is_json(const struct http1_head *h, const char *p)
{
    size_t from = 0;
    if (http1_find(h, p, "content-encoding", 16, &from) != NULL)
        return false;
    from = 0;
    const struct http1_field *f = http1_find(h, p, "content-type", 12, &from);
    if (f == NULL)
        return false;
    const char *type = http1_at(p, f->value), *end = memchr(type, ';', f->value.len);
    size_t len = end != NULL ? (size_t)(end - type) : f->value.len;
    while (len > 0 && (type[len - 1] == ' ' || type[len - 1] == '\t'))
        len--;
    return ends_in(type, len, "/json") || ends_in(type, len, "+json");
}

void answerprint_lose(struct answerprint *a)
{
    free(a->json);
    a->json = NULL;
    a->lost = true;
}

void answerprint_head(struct answerprint *a, const struct answerprint_rules *r,
                      const struct http1_head *h, const char *p)
{
    free(a->json);
    memset(a, 0, sizeof *a);
    a->began = true;
    a->status = h->status;
    for (uint32_t i = 0; i < r->fields; i++)
        a->fields[i] = field_print(h, p, r->names[i]);
    if ((r->compare & SNAPSHOT_COMPARE_BODY) == 0)
        return;
    http1_body_start(&a->decoder, (enum http1_framing)h->framing, h->content_length);
    a->decoder.strip = true;
    if (a->decoder.announced > ANSWERPRINT_BODY) {
        answerprint_lose(a);
    } else if ((r->compare & SNAPSHOT_COMPARE_JSON) != 0 && !a->decoder.done && is_json(h, p)) {
        a->json = malloc(sizeof *a->json);
        if (a->json == NULL)
            answerprint_lose(a);
        else
            jsonprint_start(a->json, r->ignored, r->ignored_len);
    }
}

/* ---- the body
 * ------------------------------------------------------------------------------------------ */

static void take(struct answerprint *a, const char *data, size_t len)
{
    digest_add(&a->body, data, len);
    if (a->json != NULL)
        jsonprint_feed(a->json, data, len);
}

/* The decoder works in place, and these are the bytes that go on to the client. */
static bool take_chunked(struct answerprint *a, const char *data, size_t len)
{
    char piece[2048];
    while (len > 0 && !a->decoder.done) {
        size_t n = len < sizeof piece ? len : sizeof piece, keep;
        memcpy(piece, data, n);
        ssize_t taken = http1_body_feed(&a->decoder, piece, n, &keep);
        if (taken < 0)
            return false;
        take(a, piece, keep);
        data += n;
        len -= n;
    }
    return true;
}

bool answerprint_body(struct answerprint *a, const struct answerprint_rules *r, const char *data,
                      size_t len)
{
    if (a->lost || (r->compare & SNAPSHOT_COMPARE_BODY) == 0)
        return false;
    a->bytes += len;
    if (a->bytes > ANSWERPRINT_BODY) {
        answerprint_lose(a);
        return false;
    }
    if (a->decoder.framing == HTTP1_BODY_CHUNKED) {
        if (!take_chunked(a, data, len))
            answerprint_lose(a);
    } else if (a->decoder.framing == HTTP1_BODY_LENGTH) {
        size_t n = len < a->decoder.left ? len : a->decoder.left;
        take(a, data, n);
        a->decoder.left -= n;
    } else if (a->decoder.framing == HTTP1_BODY_CLOSE) {
        take(a, data, len);
    }
    return !a->lost;
}

/* ---- two of them
 * ---------------------------------------------------------------------------------------- */

static bool body_differs(struct answerprint *a, struct answerprint *b,
                         struct answerprint_difference *d)
{
    if (digest_of(&a->body) == digest_of(&b->body))
        return false;
    if (a->json == NULL || b->json == NULL || !jsonprint_end(a->json) || !jsonprint_end(b->json))
        return true;
    if (a->json->value == b->json->value)
        return false;
    if (d->part == SAMPLE_NOTHING)
        d->where_len = jsonprint_where(a->json, b->json, d->where);
    return true;
}

void answerprint_compare(struct answerprint *a, struct answerprint *b,
                         const struct answerprint_rules *r, struct answerprint_difference *d)
{
    ASSERT(a->began && b->began && !a->lost && !b->lost);
    *d = (struct answerprint_difference){.part = SAMPLE_NOTHING};
    if ((r->compare & SNAPSHOT_COMPARE_STATUS) != 0 && a->status != b->status) {
        d->status = true;
        d->part = SAMPLE_STATUS;
    }
    for (uint32_t i = 0; i < r->fields && !d->header; i++) {
        d->header = a->fields[i] != b->fields[i];
        if (!d->header || d->part != SAMPLE_NOTHING)
            continue;
        size_t len = strlen(r->names[i]);
        d->part = SAMPLE_HEADER;
        d->where_len = len < sizeof d->where ? len : sizeof d->where;
        memcpy(d->where, r->names[i], d->where_len);
    }
    if ((r->compare & SNAPSHOT_COMPARE_BODY) != 0 && body_differs(a, b, d)) {
        d->body = true;
        if (d->part == SAMPLE_NOTHING)
            d->part = SAMPLE_BODY;
    }
}
