#include "guardian/guardian.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "os/listen.h"
#include "os/title.h"
#include "os/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Static_assert((int)BOOT_LISTENER_SOCKETS == (int)LISTENER_SOCKETS, "one number, two rooms");

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void guardian_announce(struct guardian *g)
{
    if (g->announced || g->controller.state != CONTROLLER_RUNNING || !g->controller.child ||
        gateway_newest(g) == NULL)
        return;
    g->announced = true;
    cleanup_buf struct buf line = BUF_INIT;
    buf_printf(&line, "sluice %s ready: listening on ", SLUICE_VERSION);
    for (size_t i = 0; i < g->boot.listeners_len; i++)
        buf_printf(&line, "%s%s://%s", i == 0 ? "" : ", ",
                   listen_is_tls(g->boot.listeners[i].address)    ? "https"
                   : listen_is_mtls(g->boot.listeners[i].address) ? "https+mtls"
                   : listen_is_tcp(g->boot.listeners[i].address)  ? "tcp"
                                                                  : "http",
                   listen_bare(g->boot.listeners[i].address));
    buf_printf(&line, ", api %s, data %s (pid %d)\n", g->boot.api, g->boot.data_dir, (int)getpid());
    /* Standard output may be the access log, which is JSON. */
    bool logs = strcmp(g->boot.access_log, "-") == 0;
    (void)!write(logs ? STDERR_FILENO : STDOUT_FILENO, line.data, line.len);
    char state[64];
    snprintf(state, sizeof state, "READY=1\nMAINPID=%d", (int)getpid());
    notify_systemd(state);
}

/* ---- stopping: gateways drain, then the controller leaves (with the apps, where that is asked)
 * ---- */

static void retire_all(struct guardian *g)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state != GATEWAY_FREE)
            gateway_event(g, &g->gateways[i], GATEWAY_RETIRE);
}

void guardian_stop(struct guardian *g, int exit_status)
{
    if (g->phase != PHASE_RUNNING)
        return;
    g->phase = PHASE_STOP_GATEWAYS;
    g->exit_status = exit_status;
    g->start_gateway_ms = NEVER;
    /* A moment for the gateway to take what is queued already; then new ones are refused, not left
     * waiting for nobody. */
    g->close_listeners_ms = g->now_ms + 100;
    notify_systemd("STOPPING=1");
    retire_all(g);
}

static void asked_to_stop(struct guardian *g)
{
    if (g->phase == PHASE_RUNNING) {
        log_info("stopping: requests under way are finished first (again: hurry)");
        guardian_stop(g, 0);
        return;
    }
    log_warn("stopping in a hurry");
    g->hurry = true;
    if (g->phase == PHASE_STOP_GATEWAYS)
        retire_all(g);
    else if (g->phase == PHASE_STOP_CONTROLLER)
        controller_event(g, CONTROLLER_LEAVE);
}

static void advance_phase(struct guardian *g)
{
    if (g->phase == PHASE_STOP_GATEWAYS && !gateway_any(g)) {
        g->phase = PHASE_STOP_CONTROLLER;
        controller_event(g, CONTROLLER_LEAVE);
    }
    if (g->phase != PHASE_STOP_CONTROLLER)
        return;
    /* One that was started only to stop the apps. */
    if (g->controller.state == CONTROLLER_STARTING || g->controller.state == CONTROLLER_RUNNING)
        controller_event(g, CONTROLLER_LEAVE);
    if (g->controller.state == CONTROLLER_OFF && g->controller.due_ms == NEVER)
        g->phase = PHASE_OVER;
}

/* ---- the loop
 * ------------------------------------------------------------------------------------- */

static void reap(struct guardian *g)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (g->controller.child && pid == g->controller.pid) {
            controller_read(g); /* its last words */
            g->controller.status = status;
            controller_event(g, CONTROLLER_DIES);
        }
        for (size_t i = 0; i < MAX_GATEWAYS; i++) {
            struct gateway *w = &g->gateways[i];
            if (w->child && w->pid == pid && w->state != GATEWAY_FREE) {
                w->status = status;
                gateway_event(g, w, GATEWAY_DIES);
                break;
            }
        }
    }
}

static void read_signals(struct guardian *g, int signal_fd)
{
    struct signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(g);
        else
            asked_to_stop(g);
    }
}

static void run_timers(struct guardian *g)
{
    if (g->start_gateway_ms <= g->now_ms)
        gateway_start(g);
    if (g->controller.due_ms <= g->now_ms)
        controller_event(g, CONTROLLER_DUE);
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state != GATEWAY_FREE && g->gateways[i].due_ms <= g->now_ms)
            gateway_event(g, &g->gateways[i], GATEWAY_LATE);
    if (g->ping_ms <= g->now_ms)
        gateways_ping(g);
    if (g->close_listeners_ms <= g->now_ms) {
        g->close_listeners_ms = NEVER;
        for (size_t i = 0; i < g->boot.listeners_len; i++)
            listen_shutdown(&g->boot.listeners[i]);
    }
}

static int wait_ms(const struct guardian *g)
{
    int64_t due = g->start_gateway_ms;
    if (g->controller.due_ms < due)
        due = g->controller.due_ms;
    if (g->ping_ms < due)
        due = g->ping_ms;
    if (g->close_listeners_ms < due)
        due = g->close_listeners_ms;
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state != GATEWAY_FREE && g->gateways[i].due_ms < due)
            due = g->gateways[i].due_ms;
    if (due == NEVER)
        return -1;
    return due <= g->now_ms ? 0 : (int)(due - g->now_ms);
}

static void loop(struct guardian *g, int signal_fd)
{
    while (g->phase != PHASE_OVER) {
        /* [0] signals, [1] the controller, then the gateways; a negative fd is passed over. */
        struct pollfd fds[2 + MAX_GATEWAYS] = {{.fd = signal_fd, .events = POLLIN},
                                               {.fd = g->controller.fd, .events = POLLIN}};
        for (size_t i = 0; i < MAX_GATEWAYS; i++)
            fds[2 + i] = (struct pollfd){.fd = g->gateways[i].link_fd, .events = POLLIN};
        int n = poll(fds, 2 + MAX_GATEWAYS, wait_ms(g));
        ASSERT(n >= 0 || errno == EINTR);
        g->now_ms = now_ms();
        /* Messages before deaths: a hello that is still there must not come after its funeral. */
        for (size_t i = 0; n > 0 && i < MAX_GATEWAYS; i++)
            if (fds[2 + i].revents != 0 && g->gateways[i].link_fd == fds[2 + i].fd)
                gateway_read(g, &g->gateways[i]);
        if (n > 0 && fds[1].revents != 0 && g->controller.fd == fds[1].fd)
            controller_read(g);
        if (n > 0 && fds[0].revents != 0)
            read_signals(g, signal_fd);
        run_timers(g);
        advance_phase(g);
    }
}

/* ---- start and end
 * -------------------------------------------------------------------------------- */

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* A closed terminal does not stop the server; a peer that is gone is seen by its send. */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_run_folder(struct guardian *g, struct error *err)
{
    cleanup_free char *path = xasprintf("%s/run", g->boot.data_dir);
    g->run_dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->run_dir_fd < 0)
        return error_errno(err, errno, "folder %s", path);
    g->controller_sock_fd =
        unixsock_listen(g->run_dir_fd, "controller.sock", SOCK_SEQPACKET, 0600, err);
    return g->controller_sock_fd < 0 ? -1 : 0;
}

static void begin(struct guardian *g)
{
    g->now_ms = now_ms();
    g->start_gateway_ms = g->now_ms;
    g->close_listeners_ms = g->ping_ms = NEVER;
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        g->gateways[i] = (struct gateway){.link_fd = -1, .due_ms = NEVER};
    g->controller = (struct controller){.fd = -1, .due_ms = g->now_ms};
    g->taken_over = g->boot.old_gateways_len > 0 || g->boot.old_controller_fd >= 0;
    /* Who hangs says no hello, and has to be killed all the same. serve named the newest first. */
    for (size_t i = 0; i < g->boot.old_gateways_len; i++)
        gateway_adopt(g, g->boot.old_gateway_fds[i],
                      i == 0 ? read_pid_file(g, "gateway.pid", "gateway") : 0);
    if (g->boot.old_controller_fd >= 0)
        controller_adopt(g, g->boot.old_controller_fd,
                         read_pid_file(g, "controller.pid", "controller"));
    write_pid_file(g, "guardian.pid", getpid());
}

static void clean_run_folder(const struct guardian *g)
{
    static const char *const NAMES[] = {"guardian.pid", "controller.pid", "gateway.pid",
                                        "controller.sock"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        unlinkat(g->run_dir_fd, NAMES[i], 0);
}

int main(int argc, char **argv)
{
    struct guardian g = {.phase = PHASE_RUNNING};
    struct error err = ERROR_INIT;
    log_init("guardian", LOG_INFO);
    if (argc != 1 || title_match(argv[0], "guardian") == NULL) {
        fputs("sluice: the guardian is started by `sluice serve`\n", stderr);
        return 2;
    }
    title_short("guardian");
    int signal_fd = open_signals();
    if (boot_read(&g.boot, BOOT_FD, &err) < 0 || open_run_folder(&g, &err) < 0) {
        log_error("%s", err.text);
        return 1;
    }
    log_init("guardian", (enum log_level)g.boot.log_level);
    begin(&g);
    loop(&g, signal_fd);
    clean_run_folder(&g);
    log_info("stopped");
    return g.exit_status;
}
