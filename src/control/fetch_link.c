#include "control/fetch_link.h"

#include "control/control_internal.h"
#include "os/clock.h"
#include "os/spawn.h"
#include "os/title.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    IDLE_MS = 30000,
    GRACE_MS = 2000, /* behind a request's own time: a helper that has not answered by then hangs */
    TICK_MS = 500,
    REAP_MS = 50,
    READ_BYTES = 64 << 10,
    HELPER_SOCKET_FD = 4, /* in the helper, beside the boot file */
};

struct fetch_call {
    struct fetch *fetch;
    uint64_t id;
    int64_t deadline_ms; /* monotonic */
    char why[256];       /* it has failed, and that is told by the next tick; "" not */
    fetch_done_fn *done;
    void *arg;
};

struct helper {
    struct control *control;
    pid_t pid;
    int fd;
    uv_poll_t poll;
    struct buf in, out;
    bool broken; /* to be ended by the next tick: somebody may be in the middle of its buffers */
};

struct fetch {
    struct control *control;
    struct helper *helper; /* NULL: none runs */
    uv_timer_t timer;
    uint64_t last_id;
    int64_t idle_since_ms;
    struct {
        struct fetch_call **items;
        size_t len, cap;
    } calls;
    struct {
        pid_t *items; /* killed, not waited for yet */
        size_t len, cap;
    } ended;
};

static void on_tick(uv_timer_t *timer);

static void tick_in(struct fetch *f, uint64_t ms)
{
    if (!uv_is_active((uv_handle_t *)&f->timer) || uv_timer_get_due_in(&f->timer) > ms)
        uv_timer_start(&f->timer, on_tick, ms, 0);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static size_t place_of(const struct fetch *f, uint64_t id)
{
    size_t i = 0;
    while (i < f->calls.len && f->calls.items[i]->id != id)
        i++;
    return i;
}

static void finish(struct fetch *f, size_t place, const struct fetch_answer *answer)
{
    struct fetch_call *call = f->calls.items[place];
    vec_remove(&f->calls, place);
    f->idle_since_ms = clock_mono_ms();
    call->done(call->arg, answer);
    free(call);
}

static void fail_all(struct fetch *f, const char *why)
{
    for (size_t i = 0; i < f->calls.len; i++)
        if (f->calls.items[i]->why[0] == '\0')
            snprintf(f->calls.items[i]->why, sizeof f->calls.items[i]->why, "%s", why);
    tick_in(f, 0);
}

/* ---- the helper ------------------------------------------------------------------------------ */

static void on_helper_closed(uv_handle_t *handle)
{
    struct helper *h = handle->data;
    control_handle_closed(h->control);
    buf_release(&h->in);
    buf_release(&h->out);
    free(h);
}

static void end_helper(struct fetch *f)
{
    struct helper *h = f->helper;
    if (h == NULL)
        return;
    f->helper = NULL;
    kill(h->pid, SIGKILL); /* it keeps nothing */
    *vec_push(&f->ended) = h->pid;
    uv_poll_stop(&h->poll);
    close(h->fd);
    uv_close((uv_handle_t *)&h->poll, on_helper_closed);
    tick_in(f, REAP_MS);
}

static void break_helper(struct fetch *f)
{
    f->helper->broken = true;
    fail_all(f, "the helper that asks was killed, or crashed");
}

static void take_message(struct fetch *f, const struct fetchctl_message *m)
{
    size_t i = place_of(f, m->id);
    if ((m->kind != FETCHCTL_ANSWER && m->kind != FETCHCTL_FAILED) || i == f->calls.len)
        return; /* cancelled, and answered before it knew that */
    finish(f, i,
           &(struct fetch_answer){.status = m->kind == FETCHCTL_ANSWER ? m->number : 0,
                                  .body = m->body,
                                  .body_len = m->body_len,
                                  .fields = m->fields});
}

static void take_input(struct fetch *f, struct helper *h)
{
    struct error err = ERROR_INIT;
    buf_reserve(&h->in, READ_BYTES);
    ssize_t n = recv(h->fd, h->in.data + h->in.len, READ_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    int got = n > 0 ? 1 : -1;
    h->in.len += n > 0 ? (size_t)n : 0;
    while (got == 1 && !h->broken) {
        struct fetchctl_message m;
        size_t used;
        got = fetchctl_read(h->in.data, h->in.len, &m, &used, &err);
        if (got != 1)
            break;
        take_message(f, &m);
        buf_consume(&h->in, used);
    }
    if (got < 0)
        break_helper(f);
}

static void on_socket(uv_poll_t *poll, int status, int events);

static void give_output(struct fetch *f)
{
    struct helper *h = f->helper;
    while (h->out.len > 0) {
        ssize_t n = send(h->fd, h->out.data, h->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            break_helper(f);
            return;
        }
        if (n < 0)
            break;
        buf_consume(&h->out, (size_t)n);
    }
    uv_poll_start(&h->poll, UV_READABLE | (h->out.len > 0 ? UV_WRITABLE : 0), on_socket);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct helper *h = poll->data;
    struct fetch *f = h->control->fetch;
    if (h->broken)
        return;
    if (status < 0 || (events & UV_READABLE) != 0)
        take_input(f, h);
    if (!h->broken && (events & UV_WRITABLE) != 0)
        give_output(f);
}

static pid_t spawn_helper(const struct boot *own, int socket, struct error *err)
{
    struct boot boot;
    boot_init(&boot);
    boot.role = BOOT_FETCH;
    boot_set(&boot.data_dir, own->data_dir);
    boot_set(&boot.acme_ca, own->acme_ca);
    boot.log_level = own->log_level;
    boot.gateway_uid = own->gateway_uid;
    boot.gateway_gid = own->gateway_gid;
    boot.control_fd = HELPER_SOCKET_FD;
    int boot_fd = boot_write(&boot, err);
    boot_release(&boot);
    if (boot_fd < 0)
        return -1;
    cleanup_free char *title = title_make("fetch", own->data_dir);
    const char *const argv[] = {title, NULL};
    const struct spawn_fd fds[] = {{.from = boot_fd, .to = BOOT_FD},
                                   {.from = socket, .to = HELPER_SOCKET_FD},
                                   {.from = STDERR_FILENO, .to = STDERR_FILENO}};
    pid_t pid = spawn(&(struct spawn){.argv = argv,
                                      .envp = (const char *const *)environ,
                                      .program_fd = (int)own->binary_fd,
                                      .fds = fds,
                                      .fd_count = COUNT_OF(fds),
                                      .new_session = true},
                      err);
    close(boot_fd);
    return pid;
}

static int start_helper(struct fetch *f, struct error *err)
{
    int pair[2];
    if (f->control->boot->binary_fd <= 0)
        return error_set(err, ERROR_UNAVAILABLE, "this server cannot start itself as a helper");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "a socket pair");
    pid_t pid = spawn_helper(f->control->boot, pair[1], err);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return error_wrap(err, "the helper that asks does not start");
    }
    struct helper *h = xcalloc(1, sizeof *h);
    h->control = f->control;
    h->pid = pid;
    h->fd = pair[0];
    uv_poll_init(f->control->loop, &h->poll, h->fd);
    h->poll.data = h;
    control_handle_opened(f->control);
    f->helper = h;
    return 0;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void reap(struct fetch *f)
{
    for (size_t i = f->ended.len; i-- > 0;)
        if (waitpid(f->ended.items[i], NULL, WNOHANG) != 0)
            vec_remove(&f->ended, i);
    if (f->ended.len > 0)
        tick_in(f, REAP_MS);
}

/* One by one: what done() does may add calls and take some away. */
static void tell_failed(struct fetch *f)
{
    for (size_t i = 0; i < f->calls.len;) {
        struct fetch_call *call = f->calls.items[i];
        char why[sizeof call->why];
        if (call->why[0] == '\0') {
            i++;
            continue;
        }
        snprintf(why, sizeof why, "%s", call->why);
        finish(f, i, &(struct fetch_answer){.body = why, .body_len = strlen(why), .fields = ""});
        i = 0;
    }
}

static bool hangs(const struct fetch *f, int64_t now)
{
    for (size_t i = 0; f->helper != NULL && i < f->calls.len; i++)
        if (f->calls.items[i]->why[0] == '\0' && now >= f->calls.items[i]->deadline_ms + GRACE_MS)
            return true;
    return false;
}

static void on_tick(uv_timer_t *timer)
{
    struct fetch *f = timer->data;
    int64_t now = clock_mono_ms();
    if (hangs(f, now)) {
        log_warn("the fetch helper (pid %d) hangs: it is killed", (int)f->helper->pid);
        fail_all(f, "the helper that asks did not answer, and was killed");
        end_helper(f);
    }
    if (f->helper != NULL && f->helper->broken)
        end_helper(f);
    tell_failed(f);
    if (f->helper != NULL && f->calls.len == 0 && now - f->idle_since_ms >= IDLE_MS)
        end_helper(f);
    reap(f);
    if (f->helper != NULL)
        tick_in(f, TICK_MS);
}

/* ---- what others call ------------------------------------------------------------------------ */

static struct fetch *fetch_of(struct control *c)
{
    if (c->fetch == NULL) {
        c->fetch = xcalloc(1, sizeof *c->fetch);
        c->fetch->control = c;
        uv_timer_init(c->loop, &c->fetch->timer);
        c->fetch->timer.data = c->fetch;
        control_handle_opened(c);
    }
    return c->fetch;
}

struct fetch_call *fetch_start(struct control *c, const struct fetch_request *request,
                               fetch_done_fn *done, void *arg)
{
    struct fetch *f = fetch_of(c);
    struct error err = ERROR_INIT;
    struct fetch_call *call = xcalloc(1, sizeof *call);
    *call = (struct fetch_call){.fetch = f,
                                .id = ++f->last_id,
                                .deadline_ms = clock_mono_ms() + request->timeout_ms,
                                .done = done,
                                .arg = arg};
    *vec_push(&f->calls) = call;
    if (f->helper != NULL && f->helper->broken)
        end_helper(f);
    if (f->helper == NULL && start_helper(f, &err) < 0) {
        snprintf(call->why, sizeof call->why, "%.*s", (int)sizeof call->why - 1, err.text);
        tick_in(f, 0);
        return call;
    }
    fetchctl_write(&(struct fetchctl_message){.kind = request->kind,
                                              .id = call->id,
                                              .number = (uint32_t)request->timeout_ms,
                                              .url = request->url,
                                              .body = request->body,
                                              .body_len = request->body_len},
                   &f->helper->out);
    give_output(f);
    tick_in(f, TICK_MS);
    return call;
}

void fetch_cancel(struct fetch_call *call)
{
    if (call == NULL)
        return;
    struct fetch *f = call->fetch;
    if (f->helper != NULL && !f->helper->broken && call->why[0] == '\0') {
        fetchctl_write(&(struct fetchctl_message){.kind = FETCHCTL_CANCEL, .id = call->id},
                       &f->helper->out);
        give_output(f);
    }
    vec_remove(&f->calls, place_of(f, call->id));
    free(call);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct fetch *f = handle->data;
    control_handle_closed(f->control);
    free(f);
}

void fetch_release(struct control *c)
{
    struct fetch *f = c->fetch;
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->calls.len; i++)
        free(f->calls.items[i]);
    vec_release(&f->calls);
    end_helper(f);
    vec_release(&f->ended); /* they are the next parent's */
    c->fetch = NULL;
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}
