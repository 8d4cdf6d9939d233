#include "control/probe_attempt.h"

#include "base/units.h"
#include "control/control_internal.h"
#include "control/probe_tls.h"
#include "engine/user.h"
#include "os/pidfd.h"
#include "os/spawn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { KEEP_BYTES = 2048, BACKLOG_MS = 20 };

struct probe_attempt {
    struct probe *probe; /* NULL: abandoned or answered */
    probe_result_fn *result;
    struct control *control;
    int handles; /* open uv handles; freed at 0 */
    bool timed_out;
    char got[KEEP_BYTES + 1]; /* what was answered, or printed */
    size_t got_len;
    /* http, tcp */
    uv_stream_t *stream; /* one of these; the second is for the other family */
    uv_tcp_t tcp, second;
    uv_pipe_t pipe;
    bool ipv6;
    uv_connect_t connect;
    uv_write_t write;
    char *request;
    struct probe_tls *tls; /* NULL: clear text */
    struct buf to_send;    /* of it */
    /* exec */
    uv_poll_t process, output;
    pid_t pid;
    int pidfd, output_fd;
    /* something that failed at once: told from the loop */
    uv_timer_t later;
    char failed[200];
};

static void free_if_done(struct probe_attempt *t)
{
    if (t->handles > 0 || t->pid > 0)
        return;
    free(t->request);
    probe_tls_free(t->tls);
    buf_release(&t->to_send);
    free(t);
}

static void on_closed(uv_handle_t *handle)
{
    struct probe_attempt *t = handle->data;
    t->handles--;
    control_handle_closed(t->control);
    free_if_done(t);
}

static void opened(struct probe_attempt *t, uv_handle_t *handle)
{
    handle->data = t;
    t->handles++;
    control_handle_opened(t->control);
}

static void on_output_closed(uv_handle_t *handle)
{
    struct probe_attempt *t = handle->data;
    close(t->output_fd);
    t->output_fd = -1;
    on_closed(handle);
}

static void close_handle(struct probe_attempt *t, uv_handle_t *handle)
{
    if (handle->data != NULL && !uv_is_closing(handle))
        uv_close(handle, handle == (uv_handle_t *)&t->output ? on_output_closed : on_closed);
}

static void close_all(struct probe_attempt *t)
{
    close_handle(t, (uv_handle_t *)&t->tcp);
    close_handle(t, (uv_handle_t *)&t->second);
    close_handle(t, (uv_handle_t *)&t->pipe);
    close_handle(t, (uv_handle_t *)&t->output);
    close_handle(t, (uv_handle_t *)&t->later);
    if (t->output.data == NULL && t->output_fd >= 0) { /* else on_output_closed() does it */
        close(t->output_fd);
        t->output_fd = -1;
    }
}

/* Tells the result, once. The attempt may be freed soon after. */
static void finish(struct probe_attempt *t, bool ok, const char *error)
{
    struct probe *p = t->probe;
    char text[200];
    snprintf(text, sizeof text, "%s", error);
    t->probe = NULL;
    close_all(t);
    if (p != NULL)
        t->result(p, ok, text);
}

/* ---- http and tcp
 * --------------------------------------------------------------------------------- */

static const char *target(const struct probe_attempt *t, char *out, size_t size)
{
    const struct probe *p = t->probe;
    char place[24] = "$SLUICE_SOCKET";
    if (p->instance->socket[0] == '\0')
        snprintf(place, sizeof place, "port %u", p->instance->port);
    if (p->spec->kind == PROBE_HTTP)
        snprintf(out, size, "GET %.80s on %s", p->spec->http_path, place);
    else
        snprintf(out, size, "%s", place);
    return out;
}

static void fail_connection(struct probe_attempt *t, const char *what)
{
    struct instance *in = t->probe->instance;
    struct engine *e = in->app->control->engine;
    char name[120], text[200];
    uint16_t other = e->ops->other_port(e, in->run_id, in->port);
    if (other != 0)
        snprintf(text, sizeof text, "%s: %s; it listens on port %u instead of $%s",
                 target(t, name, sizeof name), what, other,
                 in->socket[0] != '\0' ? "SLUICE_SOCKET" : "PORT");
    else
        snprintf(text, sizeof text, "%s: %s", target(t, name, sizeof name), what);
    finish(t, false, text);
}

/* The status of an answer that begins in got; 0: not known yet, -1: no HTTP. */
static int status_of(const struct probe_attempt *t)
{
    if (t->got_len < 12)
        return strncmp(t->got, "HTTP/1.", t->got_len < 7 ? t->got_len : 7) == 0 ? 0 : -1;
    int status;
    if (strncmp(t->got, "HTTP/1.", 7) != 0 || sscanf(t->got + 8, " %3d", &status) != 1 ||
        status < 100)
        return -1;
    return status;
}

/* The first line of the body, or "". */
static const char *body_line(struct probe_attempt *t)
{
    char *body = strstr(t->got, "\r\n\r\n");
    if (body == NULL)
        return "";
    body += 4;
    body[strcspn(body, "\r\n")] = '\0';
    for (char *p = body; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F)
            *p = '?';
    return body;
}

static void finish_http(struct probe_attempt *t, int status)
{
    char name[120], text[200];
    if (status >= 200 && status < 400) {
        finish(t, true, "");
        return;
    }
    target(t, name, sizeof name);
    const char *line = body_line(t);
    if (status < 0)
        snprintf(text, sizeof text, "%s: the answer is not HTTP", name);
    else
        snprintf(text, sizeof text, "%s: status %d%s%.80s", name, status, line[0] ? ": " : "",
                 line);
    finish(t, false, text);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct probe_attempt *t = handle->data;
    (void)suggested;
    *out = uv_buf_init(t->got + t->got_len, (unsigned)(KEEP_BYTES - t->got_len));
}

/* n more bytes are in got; negative: there are no more. */
static void take_answer(struct probe_attempt *t, ssize_t n)
{
    if (n > 0)
        t->got_len += (size_t)n;
    t->got[t->got_len] = '\0';
    int status = status_of(t);
    const char *body = strstr(t->got, "\r\n\r\n");
    bool ended = n < 0 || t->got_len == KEEP_BYTES;
    if (status < 0 || (status >= 200 && status < 400))
        finish_http(t, status);
    else if (status > 0 && (ended || (body != NULL && strchr(body + 4, '\n') != NULL)))
        finish_http(t, status);
    else if (n < 0)
        fail_connection(t, "the connection was closed without an answer");
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct probe_attempt *t = stream->data;
    (void)buf;
    if (t->probe != NULL)
        take_answer(t, n);
}

static void on_written(uv_write_t *write, int status)
{
    struct probe_attempt *t = write->handle->data;
    if (status < 0 && t->probe != NULL)
        fail_connection(t, uv_strerror(status));
}

static void make_request(struct probe_attempt *t)
{
    char host[24] = "localhost";
    const struct probe *p = t->probe;
    if (p->instance->socket[0] == '\0')
        snprintf(host, sizeof host, "%s:%u", t->ipv6 ? "[::1]" : "127.0.0.1", p->instance->port);
    t->request = xasprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-probe\r\n"
                           "Accept: */*\r\nConnection: close\r\n\r\n",
                           p->spec->http_path, host);
}

/* ---- the same over TLS: what comes is looked at when there is something of the answer
 * ------------------------------------------------------------------------------ */

static void send_tls(struct probe_attempt *t)
{
    buf_clear(&t->to_send);
    probe_tls_give(t->tls, &t->to_send);
    uv_buf_t out = uv_buf_init(t->to_send.data, (unsigned)t->to_send.len);
    /* A few records on a connection of this machine: they fit, or it is no well instance. */
    if (t->to_send.len > 0 && uv_try_write(t->stream, &out, 1) != (int)out.len)
        fail_connection(t, "the connection was closed without an answer");
}

static void go_on_tls(struct probe_attempt *t)
{
    char text[120];
    const char *why = NULL;
    int shaken = probe_tls_shake(t->tls, &why);
    if (shaken > 0 && t->probe->spec->kind == PROBE_HTTP && t->request == NULL) {
        make_request(t);
        probe_tls_write(t->tls, t->request, strlen(t->request));
    }
    send_tls(t);
    if (t->probe == NULL || shaken == 0)
        return;
    if (shaken < 0) {
        snprintf(text, sizeof text, "TLS: %.100s", why);
        fail_connection(t, text);
    } else if (t->probe->spec->kind == PROBE_TCP) {
        finish(t, true, "");
    } else {
        ssize_t n = 1;
        while (t->probe != NULL && n > 0 && t->got_len < KEEP_BYTES) {
            n = probe_tls_read(t->tls, t->got + t->got_len, KEEP_BYTES - t->got_len);
            if (n != 0)
                take_answer(t, n);
        }
    }
}

static void on_alloc_tls(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    *out = uv_buf_init(xmalloc(suggested), (unsigned)suggested);
}

static void on_read_tls(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct probe_attempt *t = stream->data;
    if (t->probe != NULL && n > 0) {
        probe_tls_take(t->tls, buf->base, (size_t)n);
        go_on_tls(t);
    } else if (t->probe != NULL && n < 0) {
        take_answer(t, n);
    }
    free(buf->base);
}

/* The connection stands. */
static void begin_request(struct probe_attempt *t)
{
    struct error err = ERROR_INIT;
    if (probe_tls_new(t->probe->instance, &t->tls, &err) < 0) {
        fail_connection(t, err.text);
        return;
    }
    if (t->tls != NULL) {
        uv_read_start(t->stream, on_alloc_tls, on_read_tls);
        go_on_tls(t);
        return;
    }
    if (t->probe->spec->kind == PROBE_TCP) {
        finish(t, true, "");
        return;
    }
    make_request(t);
    uv_buf_t out = uv_buf_init(t->request, (unsigned)strlen(t->request));
    uv_read_start(t->stream, on_alloc, on_read);
    uv_write(&t->write, t->stream, &out, 1, on_written);
}

static void on_connected(uv_connect_t *connect, int status);

static void connect_port(struct probe_attempt *t, uv_tcp_t *tcp, bool ipv6)
{
    uint16_t port = htons(t->probe->instance->port);
    const struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    t->ipv6 = ipv6;
    t->stream = (uv_stream_t *)tcp;
    uv_tcp_init(t->control->loop, tcp);
    opened(t, (uv_handle_t *)tcp);
    int error = uv_tcp_connect(&t->connect, tcp,
                               ipv6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4,
                               on_connected);
    if (error < 0)
        snprintf(t->failed, sizeof t->failed, "connect: %s", uv_strerror(error));
}

/* Some listen on what `localhost` comes to, which may be ::1 alone. Which of both it is does not
 * change once it was ready: then another's listener would get its requests. */
static void on_connected(uv_connect_t *connect, int status)
{
    struct probe_attempt *t = connect->handle->data;
    if (t->probe == NULL)
        return;
    struct instance *in = t->probe->instance;
    bool open = !in->ever_ready;
    if (status == UV_ECONNREFUSED && open && t->stream == (uv_stream_t *)&t->tcp) {
        connect_port(t, &t->second, !t->ipv6);
        if (t->failed[0] == '\0')
            return;
    }
    if (status < 0) {
        bool refused = status == UV_ECONNREFUSED || t->stream == (uv_stream_t *)&t->second;
        fail_connection(t, refused ? "connection refused" : uv_strerror(status));
        return;
    }
    if (open)
        in->ipv6 = t->ipv6;
    begin_request(t);
}

static void start_port(struct probe_attempt *t)
{
    connect_port(t, &t->tcp, t->probe->instance->ipv6);
}

static void on_socket_turn(uv_timer_t *timer)
{
    struct probe_attempt *t = timer->data;
    struct error err = ERROR_INIT;
    if (t->probe == NULL)
        return;
    int fd = socket_connect(t->probe->instance, &err);
    if (fd < 0 && err.class == ERROR_UNAVAILABLE) { /* as TCP, which has the kernel wait */
        uv_timer_start(timer, on_socket_turn, BACKLOG_MS, 0);
        return;
    }
    if (fd < 0) {
        fail_connection(t, err.text);
        return;
    }
    t->stream = (uv_stream_t *)&t->pipe;
    uv_pipe_init(t->control->loop, &t->pipe, 0);
    opened(t, (uv_handle_t *)&t->pipe);
    if (uv_pipe_open(&t->pipe, fd) < 0) {
        close(fd);
        fail_connection(t, "it cannot be read");
        return;
    }
    begin_request(t);
}

static void start_socket(struct probe_attempt *t)
{
    uv_timer_init(t->control->loop, &t->later);
    opened(t, (uv_handle_t *)&t->later);
    uv_timer_start(&t->later, on_socket_turn, 0, 0);
}

/* ---- exec
 * ----------------------------------------------------------------------------------------- */

static void read_output(struct probe_attempt *t)
{
    while (t->output_fd >= 0) {
        char drop[512];
        size_t room = KEEP_BYTES - t->got_len;
        ssize_t n = room > 0 ? read(t->output_fd, t->got + t->got_len, room)
                             : read(t->output_fd, drop, sizeof drop);
        if (n > 0 && room > 0)
            t->got_len += (size_t)n;
        if (n > 0)
            continue;
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            close_handle(t, (uv_handle_t *)&t->output);
        break;
    }
    t->got[t->got_len] = '\0';
}

static void on_output(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    read_output(poll->data);
}

static void on_process_closed(uv_handle_t *handle)
{
    struct probe_attempt *t = handle->data;
    close(t->pidfd);
    on_closed(handle);
}

static void on_process(uv_poll_t *poll, int status, int events)
{
    struct probe_attempt *t = poll->data;
    (void)status, (void)events;
    int ws = 0;
    if (waitpid(t->pid, &ws, WNOHANG) != t->pid)
        return;
    t->pid = 0;
    uv_close((uv_handle_t *)&t->process, on_process_closed);
    if (t->probe == NULL) {
        close_all(t);
        return;
    }
    read_output(t);
    bool ok = WIFEXITED(ws) && WEXITSTATUS(ws) == 0;
    char line[100], text[200];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(t->got, "\r\n"), t->got);
    for (char *p = line; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F)
            *p = '?';
    if (WIFEXITED(ws))
        snprintf(text, sizeof text, "%.60s exited with %d%s%s", t->probe->spec->exec.argv[0],
                 WEXITSTATUS(ws), line[0] ? ": " : "", line);
    else
        snprintf(text, sizeof text, "%.60s was killed by signal %d", t->probe->spec->exec.argv[0],
                 WTERMSIG(ws));
    finish(t, ok, ok ? "" : text);
}

static void start_exec(struct probe_attempt *t)
{
    struct instance *in = t->probe->instance;
    const struct app_spec *spec;
    instance_process(in, &spec);
    struct release *r = app_release(in->app, in->release);
    struct error err = ERROR_INIT;
    int pipefd[2];
    if (pipe2(pipefd, O_CLOEXEC | O_NONBLOCK) < 0) {
        snprintf(t->failed, sizeof t->failed, "pipe: %s", strerror(errno));
        return;
    }
    struct run_env env;
    run_env_make(&env, in->app, r, spec, in, NULL, 0);
    const struct spawn_fd fds[] = {{pipefd[1], 1}, {pipefd[1], 2}};
    struct os_user user;
    const char *name = app_user(in->app, spec);
    struct spawn s = {
        .argv = run_env_expand(&env, &t->probe->spec->exec),
        .envp = (const char *const *)env.envp,
        .dir = r->dir,
        .fds = fds,
        .fd_count = 2,
        .new_session = true,
        .no_new_privs = true,
        .parent_death_signal = SIGKILL,
    };
    if (name == NULL || geteuid() != 0) {
        t->pid = spawn(&s, &err);
    } else if (os_user_find(&user, name, &err) == 0) {
        s.user = &(struct spawn_user){user.uid, user.gid, user.groups, user.groups_len};
        t->pid = spawn(&s, &err);
        os_user_release(&user);
    } else {
        t->pid = -1;
    }
    run_env_release(&env);
    close(pipefd[1]);
    t->output_fd = pipefd[0];
    if (t->pid < 0) {
        t->pid = 0;
        snprintf(t->failed, sizeof t->failed, "%.190s", err.text);
        return;
    }
    t->pidfd = pidfd_open_pid(t->pid);
    if (t->pidfd < 0) {
        kill(-t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
        t->pid = 0;
        snprintf(t->failed, sizeof t->failed, "pidfd: %s", strerror(errno));
        return;
    }
    uv_poll_init(t->control->loop, &t->process, t->pidfd);
    opened(t, (uv_handle_t *)&t->process);
    uv_poll_start(&t->process, UV_READABLE, on_process);
    uv_poll_init(t->control->loop, &t->output, t->output_fd);
    opened(t, (uv_handle_t *)&t->output);
    uv_poll_start(&t->output, UV_READABLE, on_output);
}

/* ---- all
 * ------------------------------------------------------------------------------------------ */

static void on_later(uv_timer_t *timer)
{
    struct probe_attempt *t = timer->data;
    if (t->probe != NULL)
        finish(t, false, t->failed);
}

struct probe_attempt *probe_attempt_start(struct probe *probe, probe_result_fn *result)
{
    struct probe_attempt *t = xcalloc(1, sizeof *t);
    t->probe = probe;
    t->result = result;
    t->control = probe->instance->app->control;
    t->output_fd = t->pidfd = -1;
    if (probe->spec->kind == PROBE_EXEC)
        start_exec(t);
    else if (probe->instance->socket[0] != '\0')
        start_socket(t);
    else
        start_port(t);
    if (t->failed[0] != '\0') {
        uv_timer_init(t->control->loop, &t->later);
        opened(t, (uv_handle_t *)&t->later);
        uv_timer_start(&t->later, on_later, 0, 0);
    }
    return t;
}

static void kill_process(struct probe_attempt *t)
{
    if (t->pid > 0)
        kill(-t->pid, SIGKILL); /* its own session, so its own group */
}

void probe_attempt_timeout(struct probe_attempt *t)
{
    char name[120], text[200], time[32];
    int status = status_of(t);
    const struct probe_spec *spec = t->probe->spec;
    if (spec->kind == PROBE_HTTP && status >= 400) { /* answered, only its body is slow */
        finish_http(t, status);
        return;
    }
    format_duration_ms(spec->timeout_ms, time, sizeof time);
    if (spec->kind == PROBE_EXEC) {
        kill_process(t);
        snprintf(text, sizeof text, "%.60s did not end within %s", spec->exec.argv[0], time);
    } else {
        snprintf(text, sizeof text, "%s: no answer within %s", target(t, name, sizeof name), time);
    }
    finish(t, false, text);
}

void probe_attempt_abandon(struct probe_attempt *t)
{
    t->probe = NULL;
    kill_process(t);
    close_all(t);
}
