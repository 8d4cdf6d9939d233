#include "guardian/guardian.h"

#include "base/assert.h"
#include "base/log.h"
#include "os/listen.h"
#include "os/title.h"
#include "os/unixsock.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- saying
 * --------------------------------------------------------------------------------------- */

static void say(struct controller *c, uint32_t type, uint64_t a, uint64_t b, const char *text,
                const int *fds, size_t fds_len)
{
    struct gatewayctl_message m = gatewayctl_make(type, a, b, text);
    struct error err = ERROR_INIT;
    if (c->fd >= 0 && unixsock_send(c->fd, &m, sizeof m, fds, fds_len, &err) != UNIXSOCK_OK)
        log_warn("the controller does not hear us %s", err.text);
}

void controller_tell(struct guardian *g, uint32_t type, uint64_t a, uint64_t b, const char *text,
                     const int *fds, size_t fds_len)
{
    /* An old server's controller hears nothing but LEAVE. */
    if (g->controller.child)
        say(&g->controller, type, a, b, text, fds, fds_len);
}

void controller_tell_gateway(struct guardian *g, uint32_t type, const struct gateway *w)
{
    if (w->generation != 0)
        controller_tell(g, type, w->generation, (uint64_t)w->pid,
                        type == GUARDIANCTL_GATEWAY_UP && w->previous ? "previous" : "", NULL, 0);
}

/* ---- actions
 * -------------------------------------------------------------------------------------- */

static void forget(struct controller *c)
{
    unixsock_close_all(&c->fd, 1);
    c->pid = 0;
    c->child = c->apps_left = false;
    c->due_ms = NEVER;
}

static void start(struct guardian *g)
{
    struct controller *c = &g->controller;
    struct error err = ERROR_INIT;
    int pair[2] = {-1, -1};
    struct boot b = g->boot;
    b.role = BOOT_CONTROLLER;
    b.control_fd = g->controller_sock_fd;
    b.lock_fd = b.old_controller_fd = -1;
    b.old_gateways_len = 0;
    c->started_ms = g->now_ms;
    c->due_ms = NEVER;
    if (unixsock_pair(pair, &err) == 0) {
        b.guardian_fd = pair[1];
        c->pid = start_role(&b, "controller", -1, &err);
        close(pair[1]);
    }
    if (pair[0] < 0 || c->pid < 0) {
        log_error("controller: %s", err.text);
        unixsock_close_all(pair, 1);
        c->pid = 0;
        c->state = CONTROLLER_OFF;
        c->due_ms = g->now_ms + deaths_note(&g->controller_deaths, g->now_ms, 0);
        return;
    }
    c->fd = pair[0];
    c->child = true;
    log_info("controller started (pid %d)", (int)c->pid);
    write_pid_file(g, "controller.pid", c->pid);
    for (size_t i = 0; i < MAX_GATEWAYS; i++) {
        const struct gateway *w = &g->gateways[i];
        if (w->state == GATEWAY_FREE)
            continue;
        controller_tell_gateway(g, GUARDIANCTL_GATEWAY_UP, w);
        if (w->said_hello)
            controller_tell_gateway(g, GUARDIANCTL_GATEWAY_READY, w);
    }
}

static void ready(struct guardian *g)
{
    g->controller.ever_ready = true;
    guardian_announce(g);
}

static void leave(struct guardian *g)
{
    struct controller *c = &g->controller;
    /* While we run, it is an old server's controller that leaves: the apps are for its successor.
     */
    bool stop_apps = g->phase != PHASE_RUNNING && g->boot.stop_apps != 0;
    int64_t time_ms = stop_apps                   ? LEAVE_APPS_MS
                      : g->hurry                  ? LATE_MS
                      : g->phase == PHASE_RUNNING ? LEAVE_OLD_MS
                                                  : LEAVE_MS;
    c->due_ms = g->now_ms + time_ms;
    c->apps_left = c->apps_left || !stop_apps;
    say(c, GUARDIANCTL_LEAVE, stop_apps ? 1 : 0, g->hurry ? 1 : 0, "", NULL, 0);
}

static void log_death(const struct controller *c, const char *what)
{
    bool signalled = WIFSIGNALED(c->status);
    log_error("controller (pid %d) %s: %s %d", (int)c->pid, what,
              signalled ? "signal" : "exit status",
              signalled ? WTERMSIG(c->status) : WEXITSTATUS(c->status));
}

/* While the server stops a controller is needed only for stopping the apps: one that died of it, or
 * was on its way out before that was asked, has a successor, a few times. */
static void start_again_to_stop(struct guardian *g)
{
    struct controller *c = &g->controller;
    if (g->boot.stop_apps != 0 && !g->hurry && c->stop_tries++ < STOP_TRIES)
        c->due_ms = g->now_ms;
}

static void crashed(struct guardian *g)
{
    struct controller *c = &g->controller;
    if (c->child)
        log_death(c, "died");
    bool hopeless = c->child && !c->ever_ready && WIFEXITED(c->status) &&
                    WEXITSTATUS(c->status) == EXIT_CANNOT_START;
    bool child = c->child;
    forget(c);
    if (g->phase != PHASE_RUNNING) {
        start_again_to_stop(g);
        return;
    }
    if (hopeless && !g->taken_over) {
        guardian_stop(g, 1);
        return;
    }
    c->due_ms =
        g->now_ms +
        (child ? deaths_note(&g->controller_deaths, g->now_ms, g->now_ms - c->started_ms) : 0);
}

static void left(struct guardian *g)
{
    struct controller *c = &g->controller;
    bool in_order = !c->child || (WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0);
    if (in_order)
        log_info("controller %shas left", c->child ? "" : "of the server before us ");
    else
        log_death(c, "died while leaving");
    bool apps_left = c->apps_left;
    forget(c);
    if (g->phase == PHASE_RUNNING)
        c->due_ms = g->now_ms;
    else if (!in_order || apps_left)
        start_again_to_stop(g);
}

static void kill_it(struct guardian *g)
{
    struct controller *c = &g->controller;
    log_warn("the controller (pid %d) does not leave and is killed", (int)c->pid);
    c->due_ms = g->now_ms + LATE_MS;
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        return;
    }
    /* Not our child and it never said who it is: the next one waits for its lock. */
    c->state = CONTROLLER_OFF;
    left(g);
}

/* It is down while the server stops. */
static void stay_down(struct guardian *g)
{
    g->controller.due_ms = NEVER;
    start_again_to_stop(g);
}

/* ---- the table
 * ------------------------------------------------------------------------------------ */

struct cell {
    enum controller_state next;
    void (*act)(struct guardian *g);
    bool cannot_happen;
};
#define CANNOT_HAPPEN                                                                              \
    {                                                                                              \
        .cannot_happen = true                                                                      \
    }

static const struct cell TABLE[CONTROLLER_STATES_COUNT][CONTROLLER_EVENTS_COUNT] = {
    [CONTROLLER_OFF] = {[CONTROLLER_SAYS_READY] = CANNOT_HAPPEN,
                        [CONTROLLER_DIES] = CANNOT_HAPPEN,
                        [CONTROLLER_LEAVE] = {CONTROLLER_OFF, stay_down, false},
                        [CONTROLLER_DUE] = {CONTROLLER_STARTING, start, false}},
    [CONTROLLER_STARTING] = {[CONTROLLER_SAYS_READY] = {CONTROLLER_RUNNING, ready, false},
                             [CONTROLLER_DIES] = {CONTROLLER_OFF, crashed, false},
                             [CONTROLLER_LEAVE] = {CONTROLLER_LEAVING, leave, false},
                             [CONTROLLER_DUE] = CANNOT_HAPPEN},
    /* An old server's begins here. */
    [CONTROLLER_RUNNING] = {[CONTROLLER_SAYS_READY] = {CONTROLLER_RUNNING, NULL, false}, /* twice */
                            [CONTROLLER_DIES] = {CONTROLLER_OFF, crashed, false},
                            [CONTROLLER_LEAVE] = {CONTROLLER_LEAVING, leave, false},
                            [CONTROLLER_DUE] = CANNOT_HAPPEN},
    [CONTROLLER_LEAVING] = {[CONTROLLER_SAYS_READY] = {CONTROLLER_LEAVING, NULL, false},
                            [CONTROLLER_DIES] = {CONTROLLER_OFF, left, false},
                            [CONTROLLER_LEAVE] = {CONTROLLER_LEAVING, leave, false}, /* hurry */
                            [CONTROLLER_DUE] = {CONTROLLER_KILLED, kill_it, false}},
    [CONTROLLER_KILLED] = {[CONTROLLER_SAYS_READY] = {CONTROLLER_KILLED, NULL, false},
                           [CONTROLLER_DIES] = {CONTROLLER_OFF, left, false},
                           [CONTROLLER_LEAVE] = {CONTROLLER_KILLED, NULL, false},
                           [CONTROLLER_DUE] = {CONTROLLER_KILLED, kill_it, false}},
};

void controller_event(struct guardian *g, enum controller_event event)
{
    struct controller *c = &g->controller;
    const struct cell *cell = &TABLE[c->state][event];
    ASSERT(!cell->cannot_happen);
    c->state = cell->next;
    if (cell->act != NULL)
        cell->act(g);
    ASSERT(c->state != CONTROLLER_OFF || c->fd < 0);
}

void controller_adopt(struct guardian *g, int link_fd, pid_t pid)
{
    g->controller = (struct controller){.state = CONTROLLER_RUNNING,
                                        .pid = pid,
                                        .fd = link_fd,
                                        .started_ms = g->now_ms,
                                        .due_ms = NEVER};
}

/* ---- what the controller says
 * ---------------------------------------------------------------------- */

/* Some TCP route listens on that port of another host: an app goes over from 127.0.0.1 to all
 * addresses, or back, and has both for a while. */
static bool has_neighbour(const struct guardian *g, const char *address)
{
    const char *port = strrchr(address, ':');
    for (size_t i = 0; port != NULL && i < g->boot.listeners_len; i++) {
        const char *own = g->boot.listeners[i].address;
        if (listen_is_tcp(own) && strcmp(own, address) != 0 && strcmp(strrchr(own, ':'), port) == 0)
            return true;
    }
    return false;
}

static void open_listener(struct guardian *g, const char *address)
{
    struct error err = ERROR_INIT;
    struct boot_listener *l = &g->boot.listeners[g->boot.listeners_len];
    if (g->boot.listeners_len == BOOT_MAX_LISTENERS)
        error_set(&err, ERROR_FAILED, "there are %d listen addresses already", BOOT_MAX_LISTENERS);
    else if (listen_is_tcp(address) && has_neighbour(g, address))
        listen_open_beside(l, address, (uint32_t)g->boot.workers, &err);
    else
        listen_open(l, address, (uint32_t)g->boot.workers, &err);
    if (err.text[0] != '\0') {
        controller_tell(g, GUARDIANCTL_REFUSED, 1, err.class, err.text, NULL, 0);
        return;
    }
    g->boot.listeners_len++;
    log_info("listening on %s too", l->address);
    gateway_share_listener(g, l);
    controller_tell(g, GUARDIANCTL_LISTENER, 0, 0, l->address, l->fds, LISTENER_SOCKETS);
}

/* Shut down too, for gateways that take a while to let go of it: nobody waits there for nobody. */
static void close_listener(struct guardian *g, const char *address)
{
    for (size_t i = 0; i < g->boot.listeners_len; i++) {
        struct boot_listener *l = &g->boot.listeners[i];
        if (!listen_is_tcp(address) || strcmp(l->address, address) != 0)
            continue;
        gateway_drop_listener(g, address);
        listen_shutdown(l);
        listen_close(l);
        log_info("no longer listening on %s", address);
        *l = g->boot.listeners[--g->boot.listeners_len];
        return;
    }
    log_warn("controller: there is no listener %s to close", address);
}

static void upgrade(struct guardian *g, int fd)
{
    struct error err = ERROR_INIT;
    if (fd < 0)
        error_set(&err, ERROR_USAGE, "upgrade: no binary came with it");
    else
        become(g, fd, &err);
    log_error("%s", err.text);
    controller_tell(g, GUARDIANCTL_REFUSED, 0, 0, err.text, NULL, 0);
}

static void handle(struct guardian *g, const struct gatewayctl_message *m, int fd)
{
    if (m->type == GUARDIANCTL_HELLO && !g->controller.child) {
        pid_t pid = m->b <= INT32_MAX ? (pid_t)m->b : 0;
        g->controller.pid = title_is(pid, "controller", g->boot.data_dir) ? pid : 0;
        return;
    }
    if (!g->controller.child || g->phase != PHASE_RUNNING)
        return;
    switch (m->type) {
    case GUARDIANCTL_READY: controller_event(g, CONTROLLER_SAYS_READY); break;
    case GUARDIANCTL_OPEN_LISTENER: open_listener(g, m->text); break;
    case GUARDIANCTL_CLOSE_LISTENER: close_listener(g, m->text); break;
    case GUARDIANCTL_RESTART_GATEWAY:
        log_info("the gateway is to be restarted");
        g->start_gateway_ms = g->now_ms;
        break;
    case GUARDIANCTL_UPGRADE: upgrade(g, fd); break;
    default: log_warn("controller: unexpected message %u", m->type);
    }
}

void controller_read(struct guardian *g)
{
    struct controller *c = &g->controller;
    for (int i = 0; i < MESSAGES_A_TURN && c->fd >= 0; i++) {
        struct gatewayctl_message m;
        struct error err = ERROR_INIT;
        int fd = -1;
        size_t fds_len;
        enum unixsock_result got = unixsock_recv(c->fd, &m, sizeof m, &fd, 1, &fds_len, &err);
        if (got == UNIXSOCK_AGAIN)
            return;
        if (got == UNIXSOCK_OK && gatewayctl_valid(&m)) {
            handle(g, &m, fd);
            unixsock_close_all(&fd, 1);
            continue;
        }
        unixsock_close_all(&fd, 1);
        unixsock_close_all(&c->fd, 1);
        /* A child's end comes by SIGCHLD; while it leaves it closes what it has, one after the
         * other. One that lives on without its channel would never leave. */
        if (!c->child)
            controller_event(g, CONTROLLER_DIES);
        else if (c->state == CONTROLLER_STARTING || c->state == CONTROLLER_RUNNING)
            kill(c->pid, SIGTERM);
    }
}
