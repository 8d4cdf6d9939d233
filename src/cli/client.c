#include "cli/client.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/clock.h"
#include "os/unixsock.h"
#include "wire/http1.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REFUSED_WAIT_MS = 3000, REFUSED_PAUSE_MS = 50, IMPATIENT_MS = 5000, ANSWER_MAX = 64 << 20 };

struct client {
    const struct place *place;
    int fd;
    int wait_ms;
    struct buf in; /* raw bytes behind the head that were not given yet */
    struct http1_body body;
    bool closed;
};

void put_encoded(struct buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain)
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* ---- connecting
 * ---------------------------------------------------------------------------------- */

/* 0: ready; -1: the deadline is over or it failed. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd p = {fd, events, 0};
    for (;;) {
        int64_t left = deadline_ms - clock_mono_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return 0;
        if (n == 0 || errno != EINTR)
            return -1;
    }
}

static int connect_tcp(const struct place *place, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int bad = getaddrinfo(place->host, place->port, &hints, &found);
    if (bad != 0)
        return error_set(err, ERROR_NOT_FOUND, "%s", gai_strerror(bad));
    int fd = -1, problem = 0;
    for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t size = sizeof problem;
        problem = 0;
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0 &&
            (errno != EINPROGRESS || wait_for(fd, POLLOUT, clock_mono_ms() + 5000) != 0 ||
             getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) != 0 || problem != 0)) {
            problem = problem != 0 ? problem : errno != EINPROGRESS ? errno : ETIMEDOUT;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0)
        return error_set(err, problem == ECONNREFUSED ? ERROR_UNAVAILABLE : ERROR_NOT_FOUND, "%s",
                         strerror(problem));
    return fd;
}

static int connect_once(const struct place *place, struct error *err)
{
    return place->path != NULL ? unixsock_connect_path(place->path, SOCK_STREAM, err)
                               : connect_tcp(place, err);
}

static int no_controller(const struct place *place, const char *why, struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE,
                     "no controller answers at %s (%s): is `sluice serve` running? (--data or "
                     "SLUICE_DATA names another data folder, --api or SLUICE_API another address)",
                     place->text, why);
}

static int connect_place(const struct place *place, bool impatient, struct error *err)
{
    int64_t deadline_ms = clock_mono_ms() + (impatient ? 0 : REFUSED_WAIT_MS);
    for (;;) {
        struct error why = ERROR_INIT;
        int fd = connect_once(place, &why);
        if (fd >= 0)
            return fd;
        if (why.class == ERROR_NOT_FOUND)
            return no_controller(place, place->path != NULL ? "no such socket" : why.text, err);
        if (why.class == ERROR_UNAVAILABLE && clock_mono_ms() < deadline_ms) {
            poll(NULL, 0, REFUSED_PAUSE_MS);
            continue;
        }
        if (why.class == ERROR_UNAVAILABLE)
            return no_controller(place, "nobody listens on it", err);
        if (strstr(why.text, strerror(EACCES)) != NULL)
            return error_set(err, ERROR_DENIED,
                             "%s: permission denied: the API is for root, the owner of the data "
                             "folder and the members of its group",
                             place->text);
        return no_controller(place, why.text, err);
    }
}

/* ---- one exchange
 * -------------------------------------------------------------------------------- */

static int append_text(const char *text, size_t len, void *arg)
{
    buf_append(arg, text, len);
    return 0;
}

static void put_request(const struct place *place, const struct client_request *r, struct buf *out)
{
    cleanup_buf struct buf body = BUF_INIT;
    if (r->body != NULL)
        json_dump_callback(r->body, append_text, &body, JSON_COMPACT);
    buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice/" SLUICE_VERSION "\r\n",
               r->method, r->path, place->host != NULL ? place->text : "sluice");
    buf_puts(out, "Connection: close\r\n");
    if (r->accept != NULL)
        buf_printf(out, "Accept: %s\r\n", r->accept);
    if (r->idempotency_key != NULL)
        buf_printf(out, "Idempotency-Key: %s\r\n", r->idempotency_key);
    if (place->token != NULL)
        buf_printf(out, "Authorization: Bearer %s\r\n", place->token);
    if (r->body != NULL)
        buf_puts(out, "Content-Type: application/json\r\n");
    if (r->body != NULL || strcmp(r->method, "POST") == 0)
        buf_printf(out, "Content-Length: %zu\r\n", body.len);
    buf_puts(out, "\r\n");
    buf_append(out, buf_str(&body), body.len);
}

static int broke_off(const struct client *c, const char *why, struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "the controller at %s broke off: %s", c->place->text,
                     why);
}

static int send_all(struct client *c, const struct buf *out, struct error *err)
{
    int64_t deadline_ms = clock_mono_ms() + c->wait_ms;
    for (size_t at = 0; at < out->len;) {
        ssize_t n = send(c->fd, out->data + at, out->len - at, MSG_NOSIGNAL);
        if (n >= 0)
            at += (size_t)n;
        else if (errno == EPIPE || errno == ECONNRESET)
            return 0; /* it may have refused the rest: its answer says why */
        else if (errno != EAGAIN && errno != EINTR)
            return broke_off(c, strerror(errno), err);
        else if (wait_for(c->fd, POLLOUT, deadline_ms) != 0)
            return broke_off(c, "it takes no bytes", err);
    }
    return 0;
}

/* 1: bytes came; 0: none in that time; -1: the connection is at its end. */
static int receive(struct client *c, int wait_ms)
{
    struct pollfd p = {c->fd, POLLIN, 0};
    if (c->closed)
        return -1;
    buf_reserve(&c->in, 64 << 10);
    ssize_t n = recv(c->fd, c->in.data + c->in.len, 64 << 10, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && wait_ms != 0) {
        if (poll(&p, 1, wait_ms) <= 0)
            return 0;
        n = recv(c->fd, c->in.data + c->in.len, 64 << 10, 0);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        c->closed = true;
        return -1;
    }
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    return 1;
}

/* Gives the status. */
static int read_head(struct client *c, const char *method, struct error *err)
{
    int64_t deadline_ms = clock_mono_ms() + c->wait_ms;
    size_t scanned = 0;
    for (;;) {
        ssize_t len = c->in.len > 0 ? http1_head_end(c->in.data, c->in.len, &scanned) : 0;
        struct http1_head h;
        enum http1_error bad = HTTP1_OK;
        if (len < 0)
            bad = (enum http1_error) - len;
        else if (len > 0)
            bad = http1_parse_response(c->in.data, (size_t)len,
                                       *method == 'G' ? HTTP1_M_GET : HTTP1_M_POST, &h);
        if (bad != HTTP1_OK)
            return error_set(err, ERROR_FAILED, "what answers at %s is not sluice: %s",
                             c->place->text, http1_error_text(bad));
        if (len > 0) {
            buf_consume(&c->in, (size_t)len);
            scanned = 0;
            if (h.status < 200)
                continue;
            http1_body_start(&c->body, (enum http1_framing)h.framing, h.content_length);
            c->body.strip = true;
            return h.status;
        }
        int64_t left = deadline_ms - clock_mono_ms();
        int got = left > 0 ? receive(c, (int)left) : 0;
        if (got < 0)
            return broke_off(c, "it closed the connection before it answered", err);
        if (got == 0 && clock_mono_ms() >= deadline_ms)
            return broke_off(c, "no answer in time", err);
    }
}

enum client_result client_read(struct client *c, struct buf *out, int wait_ms, struct error *err)
{
    int got = c->in.len > 0 || c->body.done ? 1 : receive(c, wait_ms);
    if (got == 0)
        return CLIENT_AGAIN;
    size_t before = out->len;
    while (c->in.len > 0 && !c->body.done) {
        size_t keep = 0;
        ssize_t n = http1_body_feed(&c->body, c->in.data, c->in.len, &keep);
        if (n < 0) {
            broke_off(c, "a malformed answer", err);
            return CLIENT_FAILED;
        }
        buf_append(out, c->in.data, keep);
        buf_consume(&c->in, (size_t)n);
        if (n == 0)
            break;
    }
    if (out->len > before)
        return CLIENT_DATA;
    if (c->body.done || (c->closed && http1_body_whole_at_eof(&c->body)))
        return CLIENT_END;
    if (c->closed) {
        broke_off(c, "the answer is not whole", err);
        return CLIENT_FAILED;
    }
    return CLIENT_AGAIN;
}

int client_fd(const struct client *c)
{
    return c->fd;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    if (c->fd >= 0)
        close(c->fd);
    buf_release(&c->in);
    free(c);
}

static int read_whole(struct client *c, struct buf *out, struct error *err)
{
    int64_t deadline_ms = clock_mono_ms() + c->wait_ms;
    for (;;) {
        enum client_result r = client_read(c, out, c->wait_ms, err);
        if (r == CLIENT_END)
            return 0;
        if (r == CLIENT_FAILED)
            return -1;
        if (clock_mono_ms() >= deadline_ms)
            return broke_off(c, "the answer does not end", err);
        if (out->len > ANSWER_MAX)
            return broke_off(c, "the answer is longer than 64 MiB", err);
    }
}

static enum error_class class_of(int status)
{
    switch (status) {
    case 400:
    case 413:
    case 415: return ERROR_USAGE;
    case 404: return ERROR_NOT_FOUND;
    case 409: return ERROR_CONFLICT;
    case 401:
    case 403: return ERROR_DENIED;
    default: return ERROR_FAILED; /* 503 too: a controller answers, and says why it cannot */
    }
}

/* The text of the problem that the server described. */
static void read_problem(struct client *c, int status, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    struct error ignored = ERROR_INIT;
    read_whole(c, &text, &ignored);
    json_t *problem = json_loadb(buf_str(&text), text.len, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    if (detail != NULL && *detail != '\0')
        error_set(err, class_of(status), "%s", detail);
    else
        error_set(err, class_of(status), "%s answered with status %d", c->place->text, status);
    if (status == 401)
        error_wrap(err, "SLUICE_TOKEN or a readable DATA/api-token is needed for %s",
                   c->place->text);
    json_decref(problem);
}

struct client *client_open(const struct place *place, const struct client_request *request,
                           struct error *err)
{
    enum client_stage ignored, *stage = request->stage != NULL ? request->stage : &ignored;
    *stage = CLIENT_NOT_REACHED;
    int fd = connect_place(place, request->impatient, err);
    if (fd < 0)
        return NULL;
    *stage = CLIENT_REACHED;
    struct client *c = xcalloc(1, sizeof *c);
    c->place = place;
    c->fd = fd;
    c->wait_ms = request->impatient ? IMPATIENT_MS : CLIENT_WAIT_MS;
    cleanup_buf struct buf out = BUF_INIT;
    put_request(place, request, &out);
    int status = send_all(c, &out, err) == 0 ? read_head(c, request->method, err) : -1;
    if (status > 0)
        *stage = CLIENT_ANSWERED;
    if (status >= 200 && status < 300)
        return c;
    if (status > 0)
        read_problem(c, status, err);
    client_free(c);
    return NULL;
}

json_t *client_call(const struct place *place, const struct client_request *request,
                    struct error *err)
{
    struct client *c = client_open(place, request, err);
    if (c == NULL)
        return NULL;
    cleanup_buf struct buf text = BUF_INIT;
    json_t *answer = NULL;
    json_error_t bad;
    if (read_whole(c, &text, err) == 0) {
        answer = json_loadb(buf_str(&text), text.len, JSON_DECODE_ANY, &bad);
        if (answer == NULL)
            error_set(err, ERROR_FAILED, "what answers at %s is not sluice: %s", place->text,
                      bad.text);
    }
    client_free(c);
    return answer;
}
