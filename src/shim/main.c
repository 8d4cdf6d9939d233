/* The shim: holds one run of an app, its log and its exit status. One per run, in a session of its
 * own, started by the engine (src/engine/process) and outliving it, the controller and the
 * guardian.
 *
 * A static program without libraries. It trusts its run folder (0700) and who is its own user or
 * root; the app's output is bytes to it. Nobody can stop it with a signal but KILL; that counts as
 * killing its instance: the app asked for its parent's death signal, and the engine kills the rest.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "os/title.h"
#include "shim/lifecycle.h"
#include "shim/record.h"
#include "wire/shimparams.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_BAD_START = 64, EXIT_NOT_ALONE = 65, READ_PER_TURN = 256 << 10 };

static int read_params(struct shim_params *params, struct error *err)
{
    struct stat st;
    if (fstat(SHIM_PARAMS_FD, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        st.st_size > SHIMPARAMS_MAX_BYTES)
        return error_set(err, ERROR_USAGE,
                         "this is a part of sluice, which starts it itself (no parameters)");
    size_t len = (size_t)st.st_size;
    char *data = xmalloc(len);
    bool whole = pread(SHIM_PARAMS_FD, data, len, 0) == (ssize_t)len;
    int rc = whole ? shimparams_decode(data, len, params, err)
                   : error_set(err, ERROR_IO, "shim parameters: cannot be read");
    explicit_bzero(data, len);
    free(data);
    close(SHIM_PARAMS_FD);
    return rc;
}

/* The first act. The lock came with us, so it was never free in between; taking it again is for the
 * case that someone starts a shim for a folder that has one. */
static int take_run_folder(const struct shim_params *params)
{
    if (fcntl(SHIM_LOCK_FD, F_SETFD, FD_CLOEXEC) < 0 || flock(SHIM_LOCK_FD, LOCK_EX | LOCK_NB) < 0)
        return -1;
    return open(params->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Every signal that can be ignored is, but SIGCHLD, which comes through the descriptor returned.
 * The app gets all of them at their defaults again (os/spawn.h). */
static int become_unkillable(void)
{
    for (int n = 1; n < NSIG; n++)
        if (n != SIGCHLD && n != SIGSEGV && n != SIGBUS && n != SIGFPE && n != SIGILL &&
            n != SIGABRT)
            signal(n, SIG_IGN);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    (void)!chdir("/");
    title_short("shim");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -1;
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void start_app(struct life *l, const struct shim_params *params)
{
    struct error err = ERROR_INIT;
    applog_init(&l->log, params->log_path, params->log_max_bytes, params->log_label, NULL);
    record_reserve(l->run_dir_fd);
    app_init(&l->app);
    if (record_pids(l->run_dir_fd, 0, NULL) == 0 ||
        errno == ENOSPC) { /* the sweep has other ways */
        if (app_start(&l->app, params, &err) == 0) {
            record_pids(l->run_dir_fd, l->app.pid, NULL);
            return;
        }
    } else {
        error_errno(&err, errno, "run folder");
    }
    l->end.start_failed = true;
    snprintf(l->end.reason, sizeof l->end.reason, "%.255s", err.text);
    char line[sizeof err.text + 32];
    snprintf(line, sizeof line, "sluice: not started: %s", err.text);
    applog_say(&l->log, line);
}

static void on_request(void *arg, const struct shimctl_request *request)
{
    life_request(arg, request);
}

static void on_report(void *arg, struct shimctl_report *out)
{
    life_report(arg, out);
}

static void read_output(struct life *l, enum applog_stream stream, int *fd)
{
    if (*fd >= 0 && applog_read(&l->log, stream, *fd, READ_PER_TURN) < 0) {
        close(*fd);
        *fd = -1;
    }
}

static void drain_signals(int signal_fd)
{
    struct signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof info) > 0)
        continue;
}

static void turn(struct life *l, int signal_fd)
{
    enum { SIGNALS, OUT, ERR, CONTROL };
    const struct control_handler handler = {on_request, on_report, l};
    struct pollfd fds[CONTROL + CONTROL_POLL_FDS] = {
        [SIGNALS] = {.fd = signal_fd, .events = POLLIN},
        [OUT] = {.fd = l->app.out_fd, .events = POLLIN},
        [ERR] = {.fd = l->app.err_fd, .events = POLLIN},
    };
    control_poll_fds(&l->control, fds + CONTROL);
    int64_t wait_ms = life_next_ms(l);
    if (poll(fds, CONTROL + CONTROL_POLL_FDS, wait_ms > 3600000 ? 3600000 : (int)wait_ms) > 0) {
        if (fds[OUT].revents != 0)
            read_output(l, APPLOG_OUT, &l->app.out_fd);
        if (fds[ERR].revents != 0)
            read_output(l, APPLOG_ERR, &l->app.err_fd);
        control_serve(&l->control, fds + CONTROL, &handler);
        if (fds[SIGNALS].revents != 0) {
            drain_signals(signal_fd);
            life_reap(l);
        }
    }
    life_timers(l);
}

static int run(struct shim_params *params, int run_dir_fd)
{
    struct error err = ERROR_INIT;
    struct life l = {.run_dir_fd = run_dir_fd};
    int signal_fd = become_unkillable();
    if (signal_fd < 0)
        return EXIT_BAD_START;
    bool connected = fcntl(SHIM_CONTROL_FD, F_SETFD, FD_CLOEXEC) == 0;
    int first = connected ? SHIM_CONTROL_FD : -1;
    /* Without the socket (a full disk) the run would be deaf to a later controller. */
    bool reachable = control_init(&l.control, run_dir_fd, first, &err) == 0;
    if (reachable) {
        start_app(&l, params);
    } else {
        app_init(&l.app);
        applog_init(&l.log, params->log_path, params->log_max_bytes, params->log_label, NULL);
        l.end.start_failed = true;
        snprintf(l.end.reason, sizeof l.end.reason, "%.255s", err.text);
    }
    int64_t timeout_ms = (int64_t)params->timeout_ms;
    shimparams_release(params); /* the environment is nobody's business any more */
    life_begin(&l, timeout_ms);
    while (l.state != LIFE_DONE)
        turn(&l, signal_fd);
    return 0;
}

int main(void)
{
    mallopt(M_MMAP_THRESHOLD, 16 << 10); /* the log's buffers go back to the system when freed */
    mallopt(M_TRIM_THRESHOLD, 16 << 10);
    struct error err = ERROR_INIT;
    struct shim_params params;
    if (read_params(&params, &err) < 0) {
        fprintf(stderr, "sluice shim: %s\n", err.text);
        return EXIT_BAD_START;
    }
    int run_dir_fd = take_run_folder(&params);
    return run_dir_fd < 0 ? EXIT_NOT_ALONE : run(&params, run_dir_fd);
}
