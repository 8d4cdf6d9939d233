#include "api/connection.h"

#include "api/server.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <string.h>

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct connection *c = handle->data;
    (void)suggested;
    buf_reserve(&c->in, 16 << 10);
    *out = uv_buf_init(c->in.data + c->in.len, 16 << 10);
}

static void enter(struct connection *c, enum connection_state state)
{
    c->state = state;
    c->since_ms = uv_now(c->server->loop);
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    struct server *s = c->server;
    if (c->ops != NULL)
        c->ops->closed(c->stream_state);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    request_release(&c->request);
    buf_release(&c->in);
    buf_release(&c->body_data);
    free(c);
    server_count(s, -1);
}

void connection_close(struct connection *c)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    if (c->pending != NULL)
        pending_forget(c->pending);
    c->pending = NULL;
    uv_close(&c->uv.handle, on_closed);
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

struct write {
    uv_write_t request;
    struct connection *c;
    struct buf data;
};

static void on_written(uv_write_t *request, int status)
{
    struct write *w = request->data;
    struct connection *c = w->c;
    buf_release(&w->data);
    free(w);
    if (c->state == CLOSED)
        return;
    if (status < 0) {
        connection_close(c);
        return;
    }
    if (c->state == STREAMING && stream_backlog(c) == 0)
        c->ops->drained(c->stream_state);
    else
        connection_advance(c);
}

void connection_write(struct connection *c, struct buf *b)
{
    if (c->state == CLOSED || b->len == 0) {
        buf_release(b);
        return;
    }
    struct write *w = xcalloc(1, sizeof *w);
    w->c = c;
    w->data = *b;
    w->request.data = w;
    *b = (struct buf)BUF_INIT;
    uv_buf_t bytes = uv_buf_init(w->data.data, (unsigned)w->data.len);
    if (uv_write(&w->request, &c->uv.stream, &bytes, 1, on_written) != 0) {
        buf_release(&w->data);
        free(w);
        connection_close(c);
    }
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct connection *c = request->data;
    free(request);
    if (status < 0 || c->ended)
        connection_close(c);
}

/* All has been said: our side is closed first and what still comes is thrown away, since a close
 * with unread bytes would make TCP throw away the answer. */
static void linger(struct connection *c)
{
    uv_shutdown_t *request = xcalloc(1, sizeof *request);
    request->data = c;
    enter(c, LINGERING);
    buf_release(&c->in);
    if (uv_shutdown(request, &c->uv.stream, on_shutdown) != 0) {
        free(request);
        connection_close(c);
    }
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct connection *c = stream->data;
    (void)bytes;
    if (n == 0 || c->state == CLOSED)
        return;
    if (n == UV_EOF) {
        c->ended = true;
        c->keep_alive = false;
        if (c->state == AWAIT_HEAD && stream_backlog(c) > 0)
            linger(c);
        else if (c->state != HANDLING && (c->state != STREAMING || c->endless))
            connection_close(c);
        return;
    }
    if (n < 0) {
        connection_close(c);
        return;
    }
    if (c->state == LINGERING) {
        buf_clear(&c->in);
        return;
    }
    if (c->state == AWAIT_HEAD && c->in.len == 0)
        c->since_ms = uv_now(c->server->loop);
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    if ((c->state == HANDLING || c->state == STREAMING) && c->in.len > API_MAX_WAITING) {
        uv_read_stop(stream);
        c->reading = false;
        return;
    }
    connection_advance(c);
}

/* The bytes stay; the answer is the last one of the connection. */
static void refuse(struct connection *c, unsigned status, const char *header, const char *detail)
{
    c->keep_alive = false;
    enter(c, HANDLING);
    reply_problem(c, status, header, detail);
}

static char *field(const struct http1_head *h, const char *head, const char *name)
{
    size_t from = 0;
    const struct http1_field *f = http1_find(h, head, name, strlen(name), &from);
    return f != NULL ? xstrndup(http1_at(head, f->value), f->value.len) : NULL;
}

/* Fills c->request from the head. False: it was refused. */
static bool take_head(struct connection *c, const struct http1_head *h, const char *head)
{
    struct request *r = &c->request;
    cleanup_free char *token = field(h, head, "authorization");
    if (c->needs_token &&
        (token == NULL || !server_token_matches(c->server, token, strlen(token)))) {
        refuse(c, 401, "WWW-Authenticate: Bearer realm=\"sluice\"\r\n",
               "a bearer token is needed: the one in the file api-token of the data folder");
        return false;
    }
    const char *path = http1_at(head, h->path);
    const char *question = memchr(path, '?', h->path.len);
    size_t path_len = question != NULL ? (size_t)(question - path) : h->path.len;
    cleanup_free char *method = xstrndup(http1_at(head, h->method_text), h->method_text.len);
    cleanup_buf struct buf allowed = BUF_INIT;
    r->route = route_find(method, path, path_len, &r->app, &allowed);
    if (r->route == NULL && allowed.len == 0) {
        refuse(c, 404, NULL, "there is nothing at this path (see /v1/openapi.json)");
        return false;
    }
    if (r->route == NULL) {
        cleanup_free char *header = xasprintf("Allow: %s\r\n", buf_str(&allowed));
        refuse(c, 405, header, "this path does not have that method");
        return false;
    }
    struct error err = ERROR_INIT;
    if (query_parse(&r->query, question != NULL ? question + 1 : "",
                    question != NULL ? h->path.len - path_len - 1 : 0, r->route->parameters,
                    &err) != 0) {
        refuse(c, 400, NULL, err.text);
        return false;
    }
    cleanup_free char *type = field(h, head, "content-type");
    bool has_body = h->framing == HTTP1_BODY_CHUNKED || h->content_length > 0;
    if (has_body && (type == NULL || strncasecmp(type, "application/json", 16) != 0 ||
                     (type[16] != '\0' && type[16] != ';' && type[16] != ' '))) {
        refuse(c, 415, "Accept: application/json\r\n", "the body must be application/json");
        return false;
    }
    if (h->framing == HTTP1_BODY_LENGTH && h->content_length > API_MAX_BODY) {
        refuse(c, 413, NULL, "the body is longer than 4 MiB");
        return false;
    }
    r->control = c->server->control;
    r->caller = c->caller;
    r->idempotency_key = field(h, head, "idempotency-key");
    r->last_event_id = field(h, head, "last-event-id");
    r->accept = field(h, head, "accept");
    return true;
}

static bool read_head(struct connection *c)
{
    buf_consume(&c->in, c->scanned == 0 ? http1_empty_lines(buf_str(&c->in), c->in.len) : 0);
    if (c->in.len == 0)
        return false;
    ssize_t len = http1_head_end(c->in.data, c->in.len, &c->scanned);
    if (len == 0)
        return false;
    struct http1_head h;
    c->head_only = false;
    c->chunked = false;
    enum http1_error bad =
        len < 0 ? (enum http1_error) - len : http1_parse_request(c->in.data, (size_t)len, &h);
    if (bad != HTTP1_OK) {
        refuse(c, http1_error_status(bad), NULL, http1_error_text(bad));
        return false;
    }
    c->head_only = h.method == HTTP1_M_HEAD;
    c->chunked = h.minor == 1;
    c->keep_alive = !c->ended && !h.close && (h.minor == 1 || h.keep_alive);
    if (!take_head(c, &h, c->in.data))
        return false;
    buf_consume(&c->in, (size_t)len);
    c->scanned = 0;
    http1_body_start(&c->body, (enum http1_framing)h.framing, h.content_length);
    c->body.strip = true;
    enter(c, READ_BODY);
    if (h.expect_continue && h.framing != HTTP1_BODY_NONE) {
        struct buf go_on = BUF_INIT;
        buf_puts(&go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        connection_write(c, &go_on);
    }
    return c->state == READ_BODY;
}

static bool read_body(struct connection *c)
{
    while (!c->body.done && c->in.len > 0) {
        size_t keep = 0;
        ssize_t n = http1_body_feed(&c->body, c->in.data, c->in.len, &keep);
        if (n < 0) {
            refuse(c, 400, NULL, "the body's framing is malformed");
            return false;
        }
        buf_append(&c->body_data, c->in.data, keep);
        buf_consume(&c->in, (size_t)n);
        if (c->body_data.len > API_MAX_BODY) {
            refuse(c, 413, NULL, "the body is longer than 4 MiB");
            return false;
        }
        if (n == 0)
            break;
    }
    return c->body.done;
}

static json_t *read_json(struct connection *c, struct error *err)
{
    json_error_t bad;
    json_t *body = json_loadb(c->body_data.data, c->body_data.len, JSON_REJECT_DUPLICATES, &bad);
    if (json_is_object(body))
        return body;
    error_set(err, ERROR_USAGE, "the body is no JSON object%s%s", body != NULL ? "" : ": ",
              body != NULL ? "" : bad.text);
    json_decref(body);
    return NULL;
}

/* The request lives until the handler returns, also when the reply is complete before that. */
static void handle(struct connection *c)
{
    struct request r = c->request;
    struct error err = ERROR_INIT;
    memset(&c->request, 0, sizeof c->request);
    enter(c, HANDLING);
    if (c->body_data.len > 0)
        r.body = read_json(c, &err);
    buf_release(&c->body_data);
    bool streams = r.route->handle == handle_events || r.route->handle == handle_logs;
    if (err.class != ERROR_NONE) {
        reply_error(c, &err);
    } else if (streams && c->head_only) {
        reply_problem(c, 405, "Allow: GET\r\n", "a stream has no HEAD");
    } else {
        if (strcmp(r.route->method, "GET") != 0)
            log_info("%s: %s %s%s%s", c->caller.name, r.route->method, r.route->pattern,
                     r.app != NULL ? ", app " : "", r.app != NULL ? r.app : "");
        r.route->handle(c, &r);
    }
    request_release(&r);
}

void connection_advance(struct connection *c)
{
    if (c->advancing)
        return;
    c->advancing = true;
    /* A client that sends requests and takes no answers is not served further. */
    while (stream_backlog(c) <= STREAM_FULL) {
        if (c->state == AWAIT_HEAD && !read_head(c))
            break;
        if (c->state != READ_BODY || !read_body(c))
            break;
        handle(c);
    }
    c->advancing = false;
    if (!c->reading && !c->ended && c->state != CLOSED && c->in.len <= API_MAX_WAITING)
        c->reading = uv_read_start(&c->uv.stream, on_alloc, on_read) == 0;
}

void connection_finish(struct connection *c)
{
    ASSERT(c->state == HANDLING || c->state == STREAMING || c->state == CLOSED);
    if (c->state == CLOSED)
        return;
    request_release(&c->request);
    buf_release(&c->body_data);
    c->ops = NULL;
    if (!c->keep_alive) {
        linger(c);
        return;
    }
    enter(c, AWAIT_HEAD);
    c->scanned = 0;
    connection_advance(c);
}

void connection_start(struct connection *c)
{
    c->uv.handle.data = c;
    c->keep_alive = true;
    enter(c, AWAIT_HEAD);
    c->reading = uv_read_start(&c->uv.stream, on_alloc, on_read) == 0;
    if (!c->reading)
        connection_close(c);
}

void connection_sweep(struct connection *c, uint64_t now_ms)
{
    if (c->state == CLOSED)
        return;
    size_t queue = stream_backlog(c);
    if (queue == 0 || queue != c->queue_seen) {
        c->queue_seen = queue;
        c->queue_since_ms = now_ms;
    }
    static const uint64_t limit_ms[] = {
        [AWAIT_HEAD] = IDLE_MS, [READ_BODY] = BODY_MS, [LINGERING] = LINGER_MS, [CLOSED] = 0};
    uint64_t limit = limit_ms[c->state];
    if (c->state == AWAIT_HEAD && c->in.len > 0)
        limit = HEAD_MS;
    if ((limit > 0 && now_ms - c->since_ms > limit) || now_ms - c->queue_since_ms > STALL_MS)
        connection_close(c);
    else if (c->state == STREAMING && c->ops->tick != NULL)
        c->ops->tick(c->stream_state);
}
