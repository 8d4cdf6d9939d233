#include "guardian/guardian.h"

#include "base/assert.h"
#include "base/log.h"
#include "os/listen.h"
#include "os/title.h"
#include "os/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const STATE_WORDS[GATEWAY_STATES_COUNT] = {
#define X(name, word) word,
    GATEWAY_STATES(X)
#undef X
};

static struct gateway *free_place(struct guardian *g)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state == GATEWAY_FREE)
            return &g->gateways[i];
    return NULL;
}

bool gateway_any(const struct guardian *g)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state != GATEWAY_FREE)
            return true;
    return false;
}

const struct gateway *gateway_newest(const struct guardian *g)
{
    const struct gateway *newest = NULL;
    for (size_t i = 0; i < MAX_GATEWAYS; i++) {
        const struct gateway *w = &g->gateways[i];
        if (w->state == GATEWAY_SERVING && w->child &&
            (newest == NULL || w->generation > newest->generation))
            newest = w;
    }
    return newest;
}

/* One of ours is in that state. */
static bool has_own(const struct guardian *g, enum gateway_state state)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].child && g->gateways[i].state == state)
            return true;
    return false;
}

/* ---- actions
 * -------------------------------------------------------------------------------------- */

static void say(struct gateway *w, uint32_t type, uint64_t a, const char *text, const int *fds,
                size_t fds_len)
{
    struct gatewayctl_message m = gatewayctl_make(type, a, 0, text);
    struct error err = ERROR_INIT;
    if (w->link_fd < 0 ||
        unixsock_send(w->link_fd, &m, sizeof m, fds, fds_len, &err) != UNIXSOCK_OK)
        log_warn("gateway %llu does not hear us %s", (unsigned long long)w->generation, err.text);
}

static void drain(struct guardian *g, struct gateway *w)
{
    int64_t deadline = g->hurry ? HURRY_MS : g->phase == PHASE_RUNNING ? RETIRE_MS : STOP_MS;
    w->due_ms = w->hung ? g->now_ms : g->now_ms + deadline + LATE_MS;
    say(w, GATEWAYCTL_DRAIN, (uint64_t)deadline, "", NULL, 0);
}

static void forget(struct gateway *w)
{
    unixsock_close_all(&w->link_fd, 1);
    *w = (struct gateway){.state = GATEWAY_FREE, .link_fd = -1, .due_ms = NEVER};
}

/* The end of a process, whatever came before. */
/* how: it died of itself; "" where it was to go. */
static void bury(struct guardian *g, struct gateway *w, const char *how)
{
    char name[48];
    if (w->generation != 0) {
        snprintf(name, sizeof name, "gateway-%llu.sock", (unsigned long long)w->generation);
        unlinkat(g->run_dir_fd, name, 0);
        controller_tell(g, GUARDIANCTL_GATEWAY_DOWN, w->generation, (uint64_t)w->pid, how, NULL, 0);
    }
    forget(w);
}

static void ended(struct guardian *g, struct gateway *w)
{
    log_info("gateway %llu has ended", (unsigned long long)w->generation);
    bury(g, w, "");
}

static void kill_it(struct guardian *g, struct gateway *w)
{
    log_warn("gateway %llu (pid %d) is late and is killed", (unsigned long long)w->generation,
             (int)w->pid);
    /* Of one that is not our child the pid is its own while the connection stands. */
    if (w->pid > 0)
        kill(w->pid, SIGKILL);
    else
        bury(g, w, "");
}

static void ready(struct guardian *g, struct gateway *w)
{
    log_info("gateway %llu (pid %d) serves", (unsigned long long)w->generation, (int)w->pid);
    w->due_ms = NEVER;
    g->ping_ms = g->now_ms + PING_MS;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < g->boot.listeners_len; i++)
        if (listen_steer(&g->boot.listeners[i], (uint32_t)g->boot.workers, &err) < 0)
            log_error("%s", err.text);
    controller_tell_gateway(g, GUARDIANCTL_GATEWAY_READY, w);
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (&g->gateways[i] != w && g->gateways[i].state == GATEWAY_SERVING)
            gateway_event(g, &g->gateways[i], GATEWAY_RETIRE);
    /* The old server's controller leaves only now: until here it could have gone on. */
    if (!g->controller.child && g->controller.state == CONTROLLER_RUNNING)
        controller_event(g, CONTROLLER_LEAVE);
    guardian_announce(g);
}

/* An old one: only now is its generation known. */
static void known(struct guardian *g, struct gateway *w)
{
    if (w->child)
        return;
    controller_tell_gateway(g, GUARDIANCTL_GATEWAY_UP, w);
    controller_tell_gateway(g, GUARDIANCTL_GATEWAY_READY, w);
}

static void crashed(struct guardian *g, struct gateway *w)
{
    int64_t lived = g->now_ms - w->started_ms;
    char how[96];
    snprintf(how, sizeof how, "died while %s", w->said_hello ? "serving" : "starting");
    if (w->child) {
        size_t len = strlen(how);
        snprintf(how + len, sizeof how - len, ": %s %d",
                 WIFSIGNALED(w->status) ? "signal" : "exit status",
                 WIFSIGNALED(w->status) ? WTERMSIG(w->status) : WEXITSTATUS(w->status));
        log_error("gateway %llu (pid %d) %s", (unsigned long long)w->generation, (int)w->pid, how);
    }
    bool hopeless = w->child && !w->said_hello && WIFEXITED(w->status) &&
                    WEXITSTATUS(w->status) == EXIT_CANNOT_START;
    /* Killed by somebody (or for want of memory): no fault of its routes. */
    bool killed = w->child && WIFSIGNALED(w->status) &&
                  (WTERMSIG(w->status) == SIGKILL || WTERMSIG(w->status) == SIGTERM);
    bool child = w->child, previous = w->previous;
    bury(g, w, g->phase == PHASE_RUNNING ? how : "");
    if (g->phase != PHASE_RUNNING || !child)
        return;
    if (hopeless && !g->announced && !g->taken_over) {
        guardian_stop(g, 1);
        return;
    }
    int64_t delay = deaths_note(&g->gateway_deaths, g->now_ms, lived);
    if (!killed)
        deaths_note(&g->gateway_faults, g->now_ms, lived);
    g->previous_snapshot = !killed && (deaths_in_a_row(&g->gateway_faults, g->now_ms) ||
                                       (previous && lived < CALM_MS));
    if (!has_own(g, GATEWAY_STARTING) && !has_own(g, GATEWAY_SERVING))
        g->start_gateway_ms = g->now_ms + delay;
}

/* ---- the table
 * ------------------------------------------------------------------------------------ */

struct cell {
    enum gateway_state next;
    void (*act)(struct guardian *g, struct gateway *w); /* may end in GATEWAY_FREE; NULL: nothing */
    bool cannot_happen;
};
#define CANNOT_HAPPEN                                                                              \
    {                                                                                              \
        .cannot_happen = true                                                                      \
    }

static const struct cell TABLE[GATEWAY_STATES_COUNT][GATEWAY_EVENTS_COUNT] = {
    [GATEWAY_FREE] = {[GATEWAY_SAYS_HELLO] = CANNOT_HAPPEN,
                      [GATEWAY_DIES] = CANNOT_HAPPEN,
                      [GATEWAY_RETIRE] = CANNOT_HAPPEN,
                      [GATEWAY_LATE] = CANNOT_HAPPEN},
    [GATEWAY_STARTING] = {[GATEWAY_SAYS_HELLO] = {GATEWAY_SERVING, ready, false},
                          [GATEWAY_DIES] = {GATEWAY_FREE, crashed, false},
                          [GATEWAY_RETIRE] = {GATEWAY_DRAINING, drain, false},
                          [GATEWAY_LATE] = {GATEWAY_KILLED, kill_it, false}},
    /* Adopted ones begin here, before their hello. */
    [GATEWAY_SERVING] = {[GATEWAY_SAYS_HELLO] = {GATEWAY_SERVING, known, false},
                         [GATEWAY_DIES] = {GATEWAY_FREE, crashed, false},
                         [GATEWAY_RETIRE] = {GATEWAY_DRAINING, drain, false},
                         /* Its link is gone, and it lives. */
                         [GATEWAY_LATE] = {GATEWAY_KILLED, kill_it, false}},
    [GATEWAY_DRAINING] = {[GATEWAY_SAYS_HELLO] = {GATEWAY_DRAINING, known, false},
                          [GATEWAY_DIES] = {GATEWAY_FREE, ended, false},
                          [GATEWAY_RETIRE] = {GATEWAY_DRAINING, drain, false}, /* a new deadline */
                          [GATEWAY_LATE] = {GATEWAY_KILLED, kill_it, false}},
    [GATEWAY_KILLED] = {[GATEWAY_SAYS_HELLO] = {GATEWAY_KILLED, NULL, false}, /* too late */
                        [GATEWAY_DIES] = {GATEWAY_FREE, crashed, false},
                        [GATEWAY_RETIRE] = {GATEWAY_KILLED, NULL, false}, /* it is about to die */
                        [GATEWAY_LATE] = {GATEWAY_KILLED, kill_it, false}},
};

void gateway_event(struct guardian *g, struct gateway *w, enum gateway_event event)
{
    const struct cell *cell = &TABLE[w->state][event];
    ASSERT(!cell->cannot_happen);
    log_debug("gateway %llu: %s, event %d, %s", (unsigned long long)w->generation,
              STATE_WORDS[w->state], event, STATE_WORDS[cell->next]);
    w->due_ms = event == GATEWAY_LATE ? g->now_ms + LATE_MS : w->due_ms;
    w->state = cell->next;
    if (cell->act != NULL)
        cell->act(g, w);
    ASSERT(w->state != GATEWAY_FREE || w->link_fd < 0);
}

/* ---- the next generation
 * --------------------------------------------------------------------------- */

/* A number that no gateway of this data folder had before, also after a restart of everything. */
static uint64_t next_generation(struct guardian *g)
{
    char text[24];
    g->boot.generation++;
    int n = snprintf(text, sizeof text, "%lld\n", (long long)g->boot.generation);
    int fd = openat(g->run_dir_fd, "generation.tmp",
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || write(fd, text, (size_t)n) != n ||
        renameat(g->run_dir_fd, "generation.tmp", g->run_dir_fd, "generation") < 0)
        log_warn("run/generation could not be written: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return (uint64_t)g->boot.generation;
}

static int open_snapshot(const struct guardian *g, const char *name)
{
    return openat(g->run_dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* Its own view of the boot file: nothing that a gateway does not need. */
static struct boot gateway_boot(const struct guardian *g, const struct gateway *w, int control_fd)
{
    struct boot b = g->boot;
    b.role = BOOT_GATEWAY;
    b.generation = (int64_t)w->generation;
    b.use_previous_snapshot = w->previous ? 1 : 0;
    b.control_fd = control_fd;
    b.snapshot0_fd = open_snapshot(g, "snapshot-0");
    b.snapshot1_fd = open_snapshot(g, "snapshot-1");
    b.guardian_fd = b.shim_fd = b.guardian_program_fd = b.lock_fd = b.old_controller_fd = -1;
    b.old_gateways_len = 0;
    return b;
}

/* The gateway's working folder: the instances' sockets are named from there. -1: without one, none
 * of those is reached, but all that listen on a port are. */
static int open_sockets(const struct guardian *g)
{
    if (mkdirat(g->run_dir_fd, "sockets", 0711) == 0)
        fchmodat(g->run_dir_fd, "sockets", 0711, 0); /* the umask */
    int fd = openat(g->run_dir_fd, "sockets", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        log_warn("run/sockets: %s: instances on Unix sockets are out of reach", strerror(errno));
    return fd;
}

/* The socket is connected before the fork, so that it is there whatever the gateway does. */
static int start_in(struct guardian *g, struct gateway *w, struct error *err)
{
    char name[48];
    snprintf(name, sizeof name, "gateway-%llu.sock", (unsigned long long)w->generation);
    int control_fd = unixsock_listen(g->run_dir_fd, name, SOCK_SEQPACKET, 0600, err);
    if (control_fd < 0)
        return -1;
    w->link_fd = unixsock_connect(g->run_dir_fd, name, SOCK_SEQPACKET, err);
    if (w->link_fd >= 0) {
        int sockets_fd = open_sockets(g);
        struct boot b = gateway_boot(g, w, control_fd);
        w->pid = start_role(&b, "gateway", sockets_fd, err);
        unixsock_close_all(&b.snapshot0_fd, 1);
        unixsock_close_all(&b.snapshot1_fd, 1);
        unixsock_close_all(&sockets_fd, 1);
    }
    /* Ours is closed: when the gateway is gone, so is the listening end. */
    close(control_fd);
    return w->link_fd < 0 || w->pid < 0 ? -1 : 0;
}

void gateway_start(struct guardian *g)
{
    struct gateway *w = free_place(g);
    struct error err = ERROR_INIT;
    g->start_gateway_ms = NEVER;
    if (has_own(g, GATEWAY_STARTING))
        return; /* it is what was asked for */
    if (w == NULL) {
        log_error("too many gateways drain: the next one starts when one of them has ended");
        g->start_gateway_ms = g->now_ms + LATE_MS;
        return;
    }
    *w = (struct gateway){.state = GATEWAY_STARTING,
                          .generation = next_generation(g),
                          .child = true,
                          .previous = g->previous_snapshot,
                          .link_fd = -1,
                          .started_ms = g->now_ms,
                          .due_ms = g->now_ms + START_MS};
    if (start_in(g, w, &err) < 0) {
        log_error("gateway %llu: %s", (unsigned long long)w->generation, err.text);
        bury(g, w, "");
        g->start_gateway_ms = g->now_ms + deaths_note(&g->gateway_deaths, g->now_ms, 0);
        return;
    }
    log_info("gateway %llu started (pid %d)%s", (unsigned long long)w->generation, (int)w->pid,
             w->previous ? ", with the previous snapshot" : "");
    write_pid_file(g, "gateway.pid", w->pid);
    controller_tell_gateway(g, GUARDIANCTL_GATEWAY_UP, w);
}

void gateway_adopt(struct guardian *g, int link_fd, pid_t pid)
{
    struct gateway *w = free_place(g);
    ASSERT(w != NULL);
    *w = (struct gateway){.state = GATEWAY_SERVING,
                          .pid = pid,
                          .link_fd = link_fd,
                          .started_ms = g->now_ms,
                          .due_ms = NEVER};
}

void gateway_share_listener(struct guardian *g, const struct boot_listener *l)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state == GATEWAY_STARTING || g->gateways[i].state == GATEWAY_SERVING)
            say(&g->gateways[i], GATEWAYCTL_LISTENER, 0, l->address, l->fds, LISTENER_SOCKETS);
}

void gateway_drop_listener(struct guardian *g, const char *address)
{
    for (size_t i = 0; i < MAX_GATEWAYS; i++)
        if (g->gateways[i].state != GATEWAY_FREE)
            say(&g->gateways[i], GATEWAYCTL_CLOSE_LISTENER, 0, address, NULL, 0);
}

/* ---- does it move
 * ---------------------------------------------------------------------------------- */

/* What it has accepted is lost with it; but first another one serves, and should it move again
 * until then, it drains as any other. */
static void take_for_hung(struct guardian *g, struct gateway *w)
{
    log_error("gateway %llu (pid %d) lives, but has not moved for %d s: another takes its place",
              (unsigned long long)w->generation, (int)w->pid, PINGS_MISSED * PING_MS / 1000);
    w->hung = true;
    w->missed = 0;
    g->start_gateway_ms = g->now_ms;
}

void gateways_ping(struct guardian *g)
{
    g->ping_ms = NEVER;
    for (size_t i = 0; i < MAX_GATEWAYS && g->phase == PHASE_RUNNING; i++) {
        struct gateway *w = &g->gateways[i];
        /* One of the guardian before us may be of an older version, and is about to drain. */
        if (!w->child || w->state != GATEWAY_SERVING || w->link_fd < 0)
            continue;
        g->ping_ms = g->now_ms + PING_MS;
        if (w->missed >= PINGS_MISSED)
            take_for_hung(g, w);
        say(w, GATEWAYCTL_PING, ++w->pings, "", NULL, 0);
        w->missed++;
    }
}

static void pong(struct gateway *w, const struct gatewayctl_message *m)
{
    if (m->b > 0 || m->a > w->pings)
        return;
    if (w->hung)
        log_info("gateway %llu moves again", (unsigned long long)w->generation);
    w->hung = false;
    w->missed = 0;
}

/* ---- what gateways say
 * ----------------------------------------------------------------------------- */

static void hello(struct guardian *g, struct gateway *w, const struct gatewayctl_message *m)
{
    if (w->said_hello || m->b > INT32_MAX ||
        (w->child && (m->a != w->generation || m->b != (uint64_t)w->pid))) {
        log_error("gateway %llu: an unexpected hello", (unsigned long long)w->generation);
        return;
    }
    w->said_hello = true;
    w->generation = m->a;
    /* It drops its privileges, we do not: what it says must not make us kill another process. */
    w->pid = w->child || title_is((pid_t)m->b, "gateway", g->boot.data_dir) ? (pid_t)m->b : 0;
    gateway_event(g, w, GATEWAY_SAYS_HELLO);
}

void gateway_read(struct guardian *g, struct gateway *w)
{
    for (int i = 0; i < MESSAGES_A_TURN && w->link_fd >= 0; i++) {
        struct gatewayctl_message m;
        struct error err = ERROR_INIT;
        int fd = -1; /* the metrics, which are for the controller */
        size_t fds_len;
        enum unixsock_result got = unixsock_recv(w->link_fd, &m, sizeof m, &fd, 1, &fds_len, &err);
        unixsock_close_all(&fd, 1);
        if (got == UNIXSOCK_AGAIN)
            return;
        if (got == UNIXSOCK_OK && gatewayctl_valid(&m)) {
            if (m.type == GATEWAYCTL_HELLO)
                hello(g, w, &m);
            else if (m.type == GATEWAYCTL_PONG)
                pong(w, &m);
            continue;
        }
        unixsock_close_all(&w->link_fd, 1);
        /* A child's death comes by SIGCHLD; a child that closed its link and lives cannot be
         * drained, so it has the usual time and is killed then. */
        if (w->child)
            w->due_ms = g->now_ms + LATE_MS;
        else
            gateway_event(g, w, GATEWAY_DIES);
    }
}
