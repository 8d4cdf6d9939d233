/* Shims that do not carry out a stop. One that answers has its reasons (a process that cannot die);
 * one that does not is frozen, and killing it is the only way to what it holds: its death lets the
 * sweep begin. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/pidfd.h"

#include <signal.h>
#include <unistd.h>

enum {
    LATE_MS = 3000,   /* beyond the grace, before it is asked how it is */
    ANSWER_MS = 5000, /* for that answer: long, since a busy machine is no frozen shim */
};

static bool expects(const struct run *r)
{
    return r->late.look_ms != 0 && r->shim_alive && (r->forgotten || r->status.state != RUN_EXITED);
}

void late_expect(struct process_engine *e, struct run *r, int64_t in_ms)
{
    int64_t now = clock_mono_ms();
    int64_t at = in_ms > INT64_MAX - LATE_MS - now ? INT64_MAX : now + in_ms + LATE_MS;
    if (at == INT64_MAX || (r->late.look_ms != 0 && r->late.look_ms <= at))
        return;
    r->late.look_ms = at;
    r->late.asked = false;
    engine_wake(e, at - now);
}

/* Without a pidfd it was never reached: its folder says which process it is. */
static void kill_frozen(const struct process_engine *e, struct run *r)
{
    cleanup_close int found = -1;
    int fd = r->pidfd;
    if (fd < 0) {
        cleanup_close int folder = run_folder_open(e, r->id);
        if (folder >= 0)
            run_pids_read(r, folder);
        found = pidfd_open_checked(r->sweep.shim_pid, r->sweep.shim_start);
        fd = found;
    }
    log_error(
        "run %s: its shim (pid %d) was told to end it and does not answer: it is killed, with "
        "all that it holds",
        r->id, (int)(r->status.shim_pid > 0 ? r->status.shim_pid : r->sweep.shim_pid));
    if (fd >= 0)
        pidfd_signal(fd, SIGKILL);
}

void late_check(struct process_engine *e, struct run *r)
{
    int64_t now = clock_mono_ms();
    if (!expects(r))
        return;
    if (now < r->late.look_ms) {
        engine_wake(e, r->late.look_ms - now);
        return;
    }
    if (r->late.asked && !r->late.heard)
        kill_frozen(e, r);
    r->late.asked = true;
    r->late.heard = false;
    r->late.look_ms = now + ANSWER_MS;
    link_ask(r);
    engine_wake(e, ANSWER_MS);
}
