/* The control connection to a run's shim: a socketpair for the one that started it, the socket in
 * the run folder for every later engine. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/pidfd.h"
#include "os/unixsock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int link_take(struct process_engine *e, struct run *r, int control_fd, struct error *err)
{
    ASSERT(r->control_fd < 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &r->control_watch};
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, control_fd, &event) < 0)
        return error_errno(err, errno, "watch a shim's connection");
    r->control_fd = control_fd;
    return 0;
}

/* Out of the epoll before the close: a child between its fork and its exec may have a duplicate,
 * and events would come for a run that is freed. */
void link_drop(struct process_engine *e, struct run *r)
{
    if (r->control_fd < 0)
        return;
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, r->control_fd, NULL);
    close(take_fd(&r->control_fd));
}

/* The peer's pid is the shim's; the pidfd is sure to be of it when the lock is still held behind
 * the opening, for then it lived all the time. */
static int hold_shim(struct process_engine *e, struct run *r, int control_fd, int folder_fd)
{
    struct unixsock_peer peer;
    if (r->pidfd >= 0)
        return 1;
    if (unixsock_peer(control_fd, &peer, NULL) < 0)
        return 0;
    r->pidfd = pidfd_open_pid(peer.pid);
    if (run_lock_held(folder_fd) != 1) {
        run_unwatch_shim(e, r);
        return -1;
    }
    if (r->pidfd < 0 || run_watch_shim(e, r, NULL) < 0)
        return 0;
    r->status.shim_pid = peer.pid;
    return 1;
}

int link_adopt(struct process_engine *e, struct run *r)
{
    cleanup_close int folder_fd = run_folder_open(e, r->id);
    if (folder_fd < 0 || run_lock_held(folder_fd) != 1)
        return -1;
    cleanup_close int fd = unixsock_connect(folder_fd, RUN_CONTROL_SOCKET, SOCK_SEQPACKET, NULL);
    if (fd < 0)
        return 0; /* it has not made its socket yet */
    int held = hold_shim(e, r, fd, folder_fd);
    if (held <= 0)
        return held;
    if (link_take(e, r, fd, NULL) < 0)
        return 0;
    take_fd(&fd);
    link_ask(r);
    link_send_stop(e, r);
    if (r->forgotten)
        link_send_release(r);
    return 1;
}

static enum unixsock_result send_request(struct run *r, const struct shimctl_request *request)
{
    unsigned char data[SHIMCTL_REQUEST_SIZE];
    if (r->control_fd < 0)
        return UNIXSOCK_AGAIN;
    shimctl_encode_request(request, data);
    return unixsock_send(r->control_fd, data, sizeof data, NULL, 0, NULL);
}

void link_ask(struct run *r)
{
    const struct shimctl_request status = {.verb = SHIMCTL_STATUS};
    send_request(r, &status);
}

void link_send_release(struct run *r)
{
    const struct shimctl_request release = {.verb = SHIMCTL_RELEASE};
    send_request(r, &release);
}

void link_send_stop(struct process_engine *e, struct run *r)
{
    enum { RETRY_MS = 20 };
    if (!r->stop.wanted)
        return;
    int64_t left = r->stop.kill_at_ms - clock_boot_ms();
    const struct shimctl_request stop = {
        .verb = left > 0 ? SHIMCTL_STOP : SHIMCTL_KILL,
        .signal = r->stop.signal,
        .grace_ms = left,
    };
    if (send_request(r, &stop) == UNIXSOCK_AGAIN)
        engine_wake(e, RETRY_MS);
    else
        r->stop.wanted = false; /* a connection that broke off means a dead shim: the pidfd tells */
}

static void apply(struct process_engine *e, struct run *r, const struct shimctl_report *report)
{
    struct run_status before = r->status;
    r->late.heard = true;
    if (before.state == RUN_EXITED) /* only the record's own progress is told any more */
        return;
    r->status.pid = report->pid;
    r->status.started_ms = report->end.started_ms;
    r->status.log_dropped_lines = report->end.dropped_lines;
    switch (report->state) {
    case SHIMCTL_STARTING: r->status.state = RUN_STARTING; break;
    case SHIMCTL_RUNNING:
    case SHIMCTL_STOPPING: r->status.state = RUN_RUNNING; break;
    case SHIMCTL_ENDED:
        r->status.state = RUN_EXITED;
        r->status.pid = 0;
        run_status_from_end(&r->status, &report->end);
        break;
    }
    if (r->status.state != before.state || r->status.pid != before.pid)
        run_changed(e, r);
}

void link_read(struct process_engine *e, struct run *r)
{
    unsigned char data[SHIMCTL_REPORT_SIZE];
    while (r->control_fd >= 0) {
        size_t fds_len = 0;
        struct shimctl_report report;
        enum unixsock_result got =
            unixsock_recv(r->control_fd, data, sizeof data, NULL, 0, &fds_len, NULL);
        if (got == UNIXSOCK_AGAIN)
            return;
        if (got == UNIXSOCK_OK && shimctl_decode_report(data, &report, NULL) == 0) {
            apply(e, r, &report);
            continue;
        }
        link_drop(e, r); /* its end, or not a shim's words; the timer links again while it lives */
        engine_wake(e, 20);
    }
}
