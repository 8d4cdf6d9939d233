#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, BACK_OFF_US = 10 * 1000 };

struct job { /* the request that a connection works on */
    bool active;
    uint64_t number;
    size_t kind;
    int64_t due_us, began_us;
    bool retried;
    char head[6144];
    size_t head_len, head_sent;
    uint64_t body_sent;
};

struct connection {
    int fd; /* -1: none */
    bool connecting, want_out;
    uint64_t served;
    int64_t rest_until_us; /* after a failed connect */
    struct job job;
    struct answer answer;
};

static struct load {
    struct options options;
    struct connection *connections;
    struct report *report;
    int epoll;
    uint64_t sent, busy;
    int64_t start_us, now_us;
    int64_t mix[KINDS_MAX]; /* smooth weighted round robin */
    unsigned next;          /* connection to try first */
} load;

static volatile sig_atomic_t stop_asked;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- bodies that are checked
 * ------------------------------------------------------------------------------- */

static bool check_echo(void *arg, uint64_t at, const char *data, size_t len)
{
    const struct connection *c = arg;
    if (at + len > load.options.kinds[c->job.kind].body_bytes)
        return false;
    for (size_t i = 0; i < len; i++)
        if (data[i] != body_byte(c->job.number, at + i))
            return false;
    return true;
}

static bool check_pattern(void *arg, uint64_t at, const char *data, size_t len)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        if (data[i] != (char)('a' + (at + i) % 26))
            return false;
    return true;
}

/* What can only be said once the answer is whole. */
static bool body_is_right(const struct connection *c)
{
    const struct kind *k = &load.options.kinds[c->job.kind];
    if (c->answer.wrong)
        return false;
    if (k->check == CHECK_ECHO)
        return c->answer.body_bytes == k->body_bytes;
    if (k->check != CHECK_CRC)
        return true;
    char wanted[80];
    snprintf(wanted, sizeof(wanted), "{\"bytes\":%zu,\"crc32\":\"%08x\"}", k->body_bytes,
             body_crc(c->job.number, k->body_bytes));
    return strncmp(c->answer.text, wanted, strlen(wanted)) == 0;
}

/* ---- a connection
 * ---------------------------------------------------------------------------------------------- */

static void watch(struct connection *c, bool out)
{
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = c};
    if (c->want_out != out)
        epoll_ctl(load.epoll, EPOLL_CTL_MOD, c->fd, &e);
    c->want_out = out;
}

static void disconnect(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->connecting = false;
    c->served = 0;
}

static void end_job(struct connection *c, enum failure failure, const char *what)
{
    struct answer *a = &c->answer;
    bool answered = a->phase == ANSWER_DONE || failure == FAILED_cut;
    struct outcome o = {.number = c->job.number,
                        .kind = &load.options.kinds[c->job.kind],
                        .kind_index = c->job.kind,
                        .failure = failure,
                        .due_us = c->job.due_us,
                        .end_us = load.now_us,
                        .version = answered ? a->version : NULL,
                        .instance = answered ? a->instance : NULL,
                        .what = what,
                        .request_of_connection = c->served + 1};
    report_add(load.report, &o);
    c->job.active = false;
    load.busy--;
}

static void advance(struct connection *c);

static void open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(load.options.port)};
    int one = 1;
    inet_pton(AF_INET, load.options.host, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        end_job(c, FAILED_connect, strerror(errno));
        c->rest_until_us = load.now_us + BACK_OFF_US;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    report_connection(load.report);
    c->connecting = true;
    c->want_out = true;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &e);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
        int failed = errno;
        disconnect(c);
        end_job(c, failed == ECONNREFUSED ? FAILED_refused : FAILED_connect, strerror(failed));
        c->rest_until_us = load.now_us + BACK_OFF_US;
    }
}

/* Sends the job from its beginning, over a new connection where there is none. */
static void send_job(struct connection *c)
{
    const struct kind *k = &load.options.kinds[c->job.kind];
    c->job.head_sent = 0;
    c->job.body_sent = 0;
    answer_begin(&c->answer, strcmp(k->method, "HEAD") == 0,
                 k->check == CHECK_ECHO      ? check_echo
                 : k->check == CHECK_PATTERN ? check_pattern
                                             : NULL,
                 c);
    if (c->fd < 0)
        open_connection(c);
    else
        advance(c);
}

/* The connection broke (error 0: it was closed). */
static void broken(struct connection *c, int error)
{
    struct job *j = &c->job;
    answer_eof(&c->answer);
    bool reused = c->served > 0, begun = c->answer.begun;
    if (!j->active || c->answer.phase == ANSWER_DONE)
        return disconnect(c);
    const char *method = load.options.kinds[j->kind].method;
    bool safe = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    uint64_t of_connection = c->served;
    disconnect(c);
    if (reused && !begun && safe && !j->retried) {
        report_stale_retry(load.report);
        j->retried = true;
        return send_job(c);
    }
    c->served = of_connection;
    end_job(c,
            begun   ? FAILED_cut
            : error ? FAILED_reset
                    : FAILED_closed,
            error ? strerror(error) : "closed by the server");
    c->served = 0;
}

static void finish_answer(struct connection *c)
{
    struct answer *a = &c->answer;
    const struct kind *k = &load.options.kinds[c->job.kind];
    char what[ANSWER_TEXT_MAX + 32];
    snprintf(what, sizeof(what), "status %d: %s", a->status, a->text);
    bool sent_all = c->job.head_sent == c->job.head_len && c->job.body_sent == k->body_bytes;
    if (a->status >= 500)
        end_job(c, a->by_gateway ? FAILED_gateway_5xx : FAILED_app_5xx, what);
    else if (a->status >= 400)
        end_job(c, a->by_gateway ? FAILED_gateway_4xx : FAILED_app_4xx, what);
    else
        end_job(c, body_is_right(c) ? NOT_FAILED : FAILED_wrong_body, what);
    c->served++;
    if (a->close || a->until_close || !sent_all || !load.options.keepalive ||
        (load.options.reuse && c->served >= load.options.reuse))
        disconnect(c);
}

static void receive(struct connection *c)
{
    char data[PIECE];
    while (c->fd >= 0) {
        ssize_t n = recv(c->fd, data, sizeof(data), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            return broken(c, n < 0 ? errno : 0);
        if (!c->job.active) { /* nobody asked */
            disconnect(c);
            return;
        }
        size_t used = answer_take(&c->answer, data, (size_t)n);
        if (c->answer.phase == ANSWER_MALFORMED || used < (size_t)n) {
            disconnect(c);
            return end_job(c, FAILED_malformed, "not HTTP, or more than the answer");
        }
        if (c->answer.phase == ANSWER_DONE)
            return finish_answer(c);
    }
}

static uint64_t body_due(const struct connection *c)
{
    const struct kind *k = &load.options.kinds[c->job.kind];
    int64_t spent = (load.now_us - c->job.began_us) / 1000;
    if (!k->pace_ms || spent >= k->pace_ms)
        return k->body_bytes;
    return (uint64_t)((double)k->body_bytes * (double)spent / (double)k->pace_ms);
}

/* Sends what may be sent now. */
static void advance(struct connection *c)
{
    struct job *j = &c->job;
    const struct kind *k = &load.options.kinds[j->kind];
    while (c->fd >= 0 && !c->connecting && j->active) {
        char piece[PIECE];
        const char *data = j->head + j->head_sent;
        size_t len = j->head_len - j->head_sent;
        uint64_t due = len ? 0 : body_due(c);
        if (!len && due > j->body_sent) {
            len = due - j->body_sent < sizeof(piece) ? (size_t)(due - j->body_sent) : sizeof(piece);
            body_fill(j->number, j->body_sent, piece, len);
            data = piece;
        }
        if (!len)
            return watch(c, false);
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | (k->body_bytes ? MSG_MORE : 0));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return watch(c, true);
        if (n < 0) { /* an answer may have come before the break */
            int error = errno;
            receive(c);
            if (c->fd >= 0 && j->active)
                broken(c, error);
            return;
        }
        if (j->head_sent < j->head_len)
            j->head_sent += (size_t)n;
        else
            j->body_sent += (uint64_t)n;
        if (k->body_bytes && j->body_sent == due) { /* no more for now: let it leave */
            int off = 0;
            setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
        }
    }
}

static void connected(struct connection *c)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        disconnect(c);
        c->rest_until_us = load.now_us + BACK_OFF_US;
        end_job(c, error == ECONNREFUSED ? FAILED_refused : FAILED_connect, strerror(error));
        return;
    }
    c->connecting = false;
    advance(c);
}

/* ---- which request is next, and when
 * ------------------------------------------------------------------------- */

static size_t next_kind(void)
{
    size_t best = 0;
    for (size_t i = 0; i < load.options.kinds_len; i++) {
        load.mix[i] += load.options.kinds[i].weight;
        if (load.mix[i] > load.mix[best])
            best = i;
    }
    load.mix[best] -= load.options.weights;
    return best;
}

static bool more_wanted(void)
{
    const struct options *o = &load.options;
    return !stop_asked && (!o->requests || load.sent < o->requests) &&
           (!o->duration_ms || load.now_us - load.start_us < o->duration_ms * 1000);
}

static int64_t due_at(uint64_t number)
{
    return load.start_us + (int64_t)((double)number * 1e6 / load.options.rate);
}

static void begin_job(struct connection *c)
{
    const struct options *o = &load.options;
    struct job *j = &c->job;
    *j = (struct job){.active = true, .number = load.sent, .kind = next_kind()};
    j->due_us = o->rate > 0 ? due_at(load.sent) : load.now_us;
    j->began_us = load.now_us;
    const struct kind *k = &o->kinds[j->kind];
    char length[64] = "";
    if (k->body_bytes || strcmp(k->method, "POST") == 0 || strcmp(k->method, "PUT") == 0)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", k->body_bytes);
    j->head_len = (size_t)snprintf(
        j->head, sizeof(j->head), "%s %s HTTP/1.1\r\nHost: %s\r\nX-Request: %llu\r\n%s%s%s\r\n",
        k->method, k->path, o->host_header, (unsigned long long)load.sent, o->headers, length,
        o->keepalive ? "" : "Connection: close\r\n");
    load.sent++;
    load.busy++;
    send_job(c);
}

static void begin_jobs(void)
{
    for (unsigned i = 0; i < load.options.connections; i++) {
        if (!more_wanted() || (load.options.rate > 0 && due_at(load.sent) > load.now_us))
            return;
        struct connection *c = &load.connections[load.next];
        load.next = (load.next + 1) % load.options.connections;
        if (!c->job.active && c->rest_until_us <= load.now_us)
            begin_job(c);
    }
}

/* Timeouts, and bodies that are sent slowly. */
static void look_at_clocks(void)
{
    for (unsigned i = 0; i < load.options.connections; i++) {
        struct connection *c = &load.connections[i];
        if (!c->job.active)
            continue;
        if (load.now_us - c->job.began_us > load.options.timeout_ms * 1000) {
            bool begun = c->answer.begun;
            disconnect(c);
            end_job(c, FAILED_timeout, begun ? "the answer had begun" : "no byte of an answer");
        } else if (load.options.kinds[c->job.kind].pace_ms && !c->connecting) {
            advance(c);
        }
    }
}

static void loop_once(int64_t timeout_us)
{
    struct epoll_event events[256];
    struct timespec wait = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    int n = epoll_pwait2(load.epoll, events, 256, &wait, NULL);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
        n = epoll_wait(load.epoll, events, 256, (int)(timeout_us / 1000) + 1);
    load.now_us = now_us();
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && c->connecting)
            connected(c);
        else if (c->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
            receive(c);
        if (c->fd >= 0 && !c->connecting && (events[i].events & EPOLLOUT))
            advance(c);
    }
}

static int64_t wait_us(void)
{
    int64_t left = load.options.rate > 0 ? due_at(load.sent) - load.now_us : 10000;
    return left < 50 ? 50 : left > 10000 ? 10000 : left;
}

int main(int argc, char **argv)
{
    options_parse(&load.options, argc, argv);
    struct sigaction stop = {.sa_handler = on_stop};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.connections = calloc(load.options.connections, sizeof(*load.connections));
    if (load.epoll < 0 || !load.connections) {
        perror("load");
        return 1;
    }
    for (unsigned i = 0; i < load.options.connections; i++)
        load.connections[i].fd = -1;
    load.start_us = load.now_us = now_us();
    load.report = report_new(&load.options, load.start_us);
    int64_t clocks_us = load.start_us, second_us = load.start_us;
    while (more_wanted() || load.busy) {
        begin_jobs();
        loop_once(wait_us());
        if (load.now_us - clocks_us >= 10000) {
            clocks_us = load.now_us;
            look_at_clocks();
        }
        if (load.now_us - second_us >= 1000000) {
            second_us += 1000000;
            if (load.options.live)
                report_second(load.report, load.now_us);
        }
    }
    report_print(load.report, stdout, load.sent, now_us());
    report_free(load.report);
    for (unsigned i = 0; i < load.options.connections; i++)
        disconnect(&load.connections[i]);
    free(load.connections);
    close(load.epoll);
    return 0;
}
