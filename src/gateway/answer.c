/* The gateway's own answers: short text, `Server: sluice`, so that they can be told from the app's.
 */
#include "gateway/conn.h"

#include "base/vec.h"

#include <stdio.h>

static const struct {
    uint16_t status;
    const char *reason;
} reasons[] = {
    {400, "Bad Request"},
    {404, "Not Found"},
    {408, "Request Timeout"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
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

void answer_error(struct client *c, unsigned status, const char *text, bool head_only, bool close)
{
    struct worker *w = c->worker;
    struct chunk *out = chunk_get(&w->chunks, 512);
    if (out == NULL) {
        client_reset(c);
        return;
    }
    c->close_after = c->close_after || close || w->draining;
    if (close)
        c->client_asked = false; /* there may be unread bytes: wait for the client's end */
    char body[160];
    int len = snprintf(body, sizeof body, "sluice: %s\n", text);
    int n = snprintf(out->data, out->cap,
                     "HTTP/1.1 %u %s\r\nServer: sluice\r\nContent-Type: text/plain\r\n"
                     "Content-Length: %d\r\nCache-Control: no-store\r\n%s%s\r\n%s",
                     status, reason_of(status), len, status == 503 ? "Retry-After: 1\r\n" : "",
                     c->close_after ? "Connection: close\r\n" : "", head_only ? "" : body);
    out->end = (uint32_t)n;
    /* Before it there may be 1xx heads of an instance that then failed. */
    struct chunk **last = &c->out;
    while (*last != NULL)
        last = &(*last)->next;
    *last = out;
    c->state = CLIENT_ANSWER;
    timer_set(&w->timers, &c->timer, w->now_ms + w->gateway->limits.head_ms);
}
