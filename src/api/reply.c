#include "api/reply.h"

#include "api/connection.h"
#include "api/server.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"

#include <string.h>
#include <time.h>

/* X(status, title) */
#define STATUSES(X)                                                                                \
    X(200, "OK")                                                                                   \
    X(202, "Accepted")                                                                             \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(403, "Forbidden")                                                                            \
    X(404, "Not Found")                                                                            \
    X(405, "Method Not Allowed")                                                                   \
    X(409, "Conflict")                                                                             \
    X(413, "Content Too Large")                                                                    \
    X(415, "Unsupported Media Type")                                                               \
    X(417, "Expectation Failed")                                                                   \
    X(431, "Request Header Fields Too Large")                                                      \
    X(500, "Internal Server Error")                                                                \
    X(501, "Not Implemented")                                                                      \
    X(503, "Service Unavailable")                                                                  \
    X(505, "HTTP Version Not Supported")

const char *status_title(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {
#define X(status, title) {status, title},
        STATUSES(X)
#undef X
    };
    for (size_t i = 0; i < COUNT_OF(titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

unsigned status_of(enum error_class class)
{
    switch (class) {
    case ERROR_USAGE: return 400;
    case ERROR_NOT_FOUND: return 404;
    case ERROR_CONFLICT: return 409;
    case ERROR_DENIED: return 403;
    case ERROR_UNAVAILABLE: return 503;
    case ERROR_NONE:
    case ERROR_IO:
    case ERROR_FAILED: break;
    }
    return 500;
}

void problem_json(struct buf *out, unsigned status, const char *title, const char *detail)
{
    buf_printf(out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"", title,
               status);
    buf_json_escape(out, detail, strlen(detail));
    buf_puts(out, "\"}\n");
}

static void put_head(struct connection *c, struct buf *out, unsigned status, const char *type,
                     const char *header)
{
    time_t now = time(NULL);
    struct tm tm;
    char date[64];
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_printf(out,
               "HTTP/1.1 %u %s\r\nServer: sluice\r\nDate: %s\r\nContent-Type: %s\r\n"
               "Cache-Control: no-store\r\n%s%s",
               status, status_title(status), date, type, header != NULL ? header : "",
               c->keep_alive ? "" : "Connection: close\r\n");
}

static void send_whole(struct connection *c, unsigned status, const char *type, const char *header,
                       struct buf *body)
{
    struct buf out = BUF_INIT;
    put_head(c, &out, status, type, header);
    buf_printf(&out, "Content-Length: %zu\r\n\r\n", body->len);
    if (!c->head_only && body->len > 0)
        buf_append(&out, body->data, body->len);
    buf_release(body);
    connection_write(c, &out);
    connection_finish(c);
}

void reply_text(struct connection *c, unsigned status, const char *type, struct buf *body)
{
    send_whole(c, status, type, NULL, body);
}

static int append_text(const char *text, size_t len, void *arg)
{
    buf_append(arg, text, len);
    return 0;
}

void reply_json(struct connection *c, unsigned status, json_t *body)
{
    struct buf out = BUF_INIT;
    json_dump_callback(body, append_text, &out, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(body);
    buf_putc(&out, '\n');
    send_whole(c, status, "application/json", NULL, &out);
}

void reply_problem(struct connection *c, unsigned status, const char *header, const char *detail)
{
    struct buf body = BUF_INIT;
    problem_json(&body, status, status_title(status), detail);
    send_whole(c, status, "application/problem+json", header, &body);
}

void reply_error(struct connection *c, const struct error *err)
{
    unsigned status = status_of(err->class);
    reply_problem(c, status, status == 503 ? "Retry-After: 1\r\n" : NULL, err->text);
}

/* ---- later
 * --------------------------------------------------------------------------------------- */

struct pending {
    struct connection *c; /* NULL: it has left */
    unsigned status;
};

void pending_forget(struct pending *p)
{
    p->c = NULL;
}

struct pending *reply_later(struct connection *c, unsigned status)
{
    ASSERT(c->state == HANDLING && c->pending == NULL);
    struct pending *p = xcalloc(1, sizeof *p);
    p->c = c;
    p->status = status;
    c->pending = p;
    return p;
}

void reply_done(void *pending, const struct error *err, json_t *body)
{
    struct pending *p = pending;
    struct connection *c = p->c;
    unsigned status = p->status;
    free(p);
    if (c == NULL)
        return;
    c->pending = NULL;
    if (err != NULL)
        reply_error(c, err);
    else
        reply_json(c, status, body != NULL ? json_incref(body) : json_object());
}

/* ---- streams
 * ------------------------------------------------------------------------------------- */

void stream_begin(struct connection *c, const char *type, bool endless,
                  const struct stream_ops *ops, void *state)
{
    ASSERT(c->state == HANDLING);
    struct buf head = BUF_INIT;
    c->chunked = c->chunked && !c->head_only;
    c->keep_alive = c->keep_alive && c->chunked;
    put_head(c, &head, 200, type,
             c->chunked ? "Transfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n" : NULL);
    buf_puts(&head, "\r\n");
    c->ops = ops;
    c->stream_state = state;
    c->endless = endless;
    c->state = STREAMING;
    connection_write(c, &head);
}

size_t stream_backlog(const struct connection *c)
{
    return c->state == CLOSED ? 0 : uv_stream_get_write_queue_size(&c->uv.stream);
}

void stream_write(struct connection *c, struct buf *b)
{
    if (b->len == 0 || c->state != STREAMING) {
        buf_clear(b);
        return;
    }
    if (stream_backlog(c) + b->len > STREAM_LOST && stream_backlog(c) > 0) {
        buf_clear(b);
        connection_close(c);
        return;
    }
    struct buf out = BUF_INIT;
    if (c->chunked)
        buf_printf(&out, "%zx\r\n", b->len);
    buf_append(&out, b->data, b->len);
    if (c->chunked)
        buf_puts(&out, "\r\n");
    buf_clear(b);
    connection_write(c, &out);
}

void stream_end(struct connection *c)
{
    if (c->state != STREAMING)
        return;
    const struct stream_ops *ops = c->ops;
    c->ops = NULL;
    ops->closed(c->stream_state);
    if (c->chunked) {
        struct buf last = BUF_INIT;
        buf_puts(&last, "0\r\n\r\n");
        connection_write(c, &last);
    }
    connection_finish(c);
}
