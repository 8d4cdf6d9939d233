/* The gateway's own answers: short text, `Server: sluice`, so that they can be told from the app's.
 */
#include "gateway/conn.h"

#include "base/assert.h"
#include "base/vec.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    uint16_t status;
    const char *reason;
} reasons[] = {
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {307, "Temporary Redirect"},
    {200, "OK"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(unsigned status)
{
    for (size_t i = 0; i < COUNT_OF(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

/* As RFC 9110 section 5.6.7 wants it, in English: the gateway knows no locale. */
static const char *date(struct worker *w)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* the vDSO: no system call */
    if (now.tv_sec != w->date_s) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        strftime(w->date, sizeof w->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        w->date_s = now.tv_sec;
    }
    return w->date;
}

void answer_with(struct client *c, const struct answer *a, bool head_only, bool close)
{
    struct worker *w = c->worker;
    size_t head = 512 + strlen(a->extra) + strlen(a->type), len = head_only ? 0 : a->len;
    /* A long body has a chunk of its own. */
    bool apart = head + len > CHUNK_BIG;
    struct chunk *out = chunk_get(&w->chunks, apart ? head : head + len);
    struct chunk *body = apart && out != NULL ? chunk_get(&w->chunks, len) : out;
    if (body == NULL) {
        chunk_put(&w->chunks, out);
        client_reset(c);
        return;
    }
    c->close_after = c->close_after || close || w->draining;
    if (close)
        c->client_asked = false; /* there may be unread bytes: wait for the client's end */
    int n = snprintf(out->data, out->cap,
                     "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: sluice\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\nCache-Control: no-store\r\n%s%s\r\n",
                     a->status, reason_of(a->status), date(w), a->type, a->len, a->extra,
                     c->close_after ? "Connection: close\r\n" : "");
    ASSERT(n > 0 && (uint32_t)n < out->cap);
    out->end = (uint32_t)n;
    chunk_add(body, a->body, len);
    if (apart)
        out->next = body;
    /* Before it there may be 1xx heads of an instance that then failed. */
    struct chunk **last = &c->out;
    while (*last != NULL)
        last = &(*last)->next;
    *last = out;
    c->state = CLIENT_ANSWER;
    timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.head_ms);
}

void answer_error(struct client *c, unsigned status, const char *text, bool head_only, bool close)
{
    char body[160];
    snprintf(body, sizeof body, "sluice: %s\n", text);
    struct answer a = {.status = status,
                       .type = "text/plain",
                       .extra = status == 503 ? "Retry-After: 1\r\n" : "",
                       .body = body,
                       .len = strlen(body)};
    answer_with(c, &a, head_only, close);
}

void answer_retry(struct client *c, unsigned status, const char *text, uint32_t after_s,
                  bool head_only, bool close)
{
    char body[160], extra[48];
    snprintf(body, sizeof body, "sluice: %s\n", text);
    snprintf(extra, sizeof extra, "Retry-After: %u\r\n", after_s);
    struct answer a = {
        .status = status, .type = "text/plain", .extra = extra, .body = body, .len = strlen(body)};
    answer_with(c, &a, head_only, close);
}

void answer_redirect(struct client *c, unsigned status, const char *location, bool close)
{
    char extra[REDIRECT_MAX + sizeof "Location: \r\n"];
    snprintf(extra, sizeof extra, "Location: %s\r\n", location);
    struct answer a = {.status = status, .type = "text/plain", .extra = extra, .body = ""};
    answer_with(c, &a, false, close);
}

void answer_text(struct client *c, unsigned status, const char *text, bool head_only, bool close)
{
    struct answer a = {.status = status, .type = "text/plain", .extra = "", .body = text};
    a.len = strlen(text);
    answer_with(c, &a, head_only, close);
}
