/* guardian: a small static process of its own. Owns the listening sockets, keeps one gateway and
 * one controller alive, goes over to a next generation of them, and ends them in order. It never
 * parses anything from outside: it reads its boot file and fixed-size messages of its own children
 * (and of those of the guardian before it).
 *
 *   main.c        the loop: signals, channels, timers; the phases of stopping
 *   gateways.c    what happens to a gateway: a table of state x event
 *   controller.c  the same for the controller
 *   start.c       fork and exec of a role, pid files
 *   notify.c      systemd's readiness protocol, by hand
 *
 * Events are noted by the loop and handed to gateway_event() and controller_event(); these look up
 * the table, change the state, then act. An action may raise further events of the other machine,
 * never of its own.
 */
#ifndef SLUICE_GUARDIAN_GUARDIAN_H
#define SLUICE_GUARDIAN_GUARDIAN_H

#include "os/boot.h"
#include "wire/guardianctl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MAX_GATEWAYS = 16,
    START_MS = 30000,     /* a gateway that says no hello for so long is killed */
    RETIRE_MS = 600000,   /* a retired gateway's requests and upgraded connections end within */
    STOP_MS = 30000,      /* the same where the server stops */
    LATE_MS = 5000,       /* how long beyond its deadline a process may live */
    LEAVE_MS = 30000,     /* the controller, with the apps left running */
    LEAVE_OLD_MS = 10000, /* the controller of the server before us */
    LEAVE_APPS_MS = 900000,
    HURRY_MS = 1000,
    CHECK_MS = 5000,  /* another main binary says so long whether it would start; all else waits */
    RAPID_MS = 10000, /* lived shorter: a rapid death */
    RAPID_DEATHS = 3, /* so many within RAPID_MS: the previous snapshot */
    STOP_TRIES = 3,   /* controllers that may die of stopping the apps */
    MESSAGES_A_TURN = 32, /* of one peer: nobody keeps us from the others */
    PING_MS = 2000,       /* how often a gateway is asked whether it moves */
    PINGS_MISSED = 5, /* in a row: it hangs. Counted, not timed: a suspended machine, or a guardian
                         that got no time itself, must not make it look so */
    CALM_MS = 60000, /* a gateway on the previous snapshot that lived longer was not killed by it */
};
#define NEVER INT64_MAX

/* X(name, word) */
#define GATEWAY_STATES(X)                                                                          \
    X(GATEWAY_FREE, "free")         /* no process */                                               \
    X(GATEWAY_STARTING, "starting") /* no hello yet */                                             \
    X(GATEWAY_SERVING, "serving")                                                                  \
    X(GATEWAY_DRAINING, "draining")                                                                \
    X(GATEWAY_KILLED, "killed") /* SIGKILL was sent */
enum gateway_state {
#define X(name, word) name,
    GATEWAY_STATES(X)
#undef X
        GATEWAY_STATES_COUNT
};

enum gateway_event {
    GATEWAY_SAYS_HELLO,
    GATEWAY_DIES,
    GATEWAY_RETIRE, /* a newer one serves, or the server stops */
    GATEWAY_LATE,   /* its due_ms is over */
    GATEWAY_EVENTS_COUNT
};

struct gateway {
    enum gateway_state state;
    uint64_t generation; /* 0: one of the guardian before us that has not said hello */
    pid_t pid;           /* 0: not known yet */
    bool child;          /* ours; else its death is the end of its connection */
    bool said_hello, previous;
    bool hung;              /* it is killed as soon as another serves */
    uint64_t pings, missed; /* sent; not answered, in a row */
    int link_fd;            /* connected gateway-G.sock; -1 none */
    int status;             /* of a child that died */
    int64_t started_ms, due_ms;
};

enum controller_state {
    CONTROLLER_OFF, /* no process; started at due_ms */
    CONTROLLER_STARTING,
    CONTROLLER_RUNNING,
    CONTROLLER_LEAVING,
    CONTROLLER_KILLED,
    CONTROLLER_STATES_COUNT
};

enum controller_event {
    CONTROLLER_SAYS_READY,
    CONTROLLER_DIES,
    CONTROLLER_LEAVE,
    CONTROLLER_DUE,
    CONTROLLER_EVENTS_COUNT
};

struct controller {
    enum controller_state state;
    pid_t pid;
    bool child;
    int fd; /* the channel; of one that is not our child: connected controller.sock */
    int status;
    bool ever_ready;
    bool apps_left; /* it was told to leave, and not to stop the apps */
    int stop_tries;
    int64_t started_ms, due_ms;
};

/* When to start again what died: at once, then 100 ms doubling to 5 s while it dies rapidly. */
struct deaths {
    int64_t last_ms[RAPID_DEATHS];
    uint32_t rapid;
};

enum phase { PHASE_RUNNING, PHASE_STOP_GATEWAYS, PHASE_STOP_CONTROLLER, PHASE_OVER };

struct guardian {
    struct boot boot;
    int run_dir_fd, controller_sock_fd;
    enum phase phase;
    bool taken_over; /* there was a server before us: its traffic goes on whatever happens */
    bool announced;  /* the ready line was printed */
    bool hurry;
    int exit_status;
    int64_t now_ms;
    struct gateway gateways[MAX_GATEWAYS];
    int64_t start_gateway_ms; /* NEVER: no new one is due */
    int64_t ping_ms;          /* the next PING; NEVER: there is none to ask */
    bool previous_snapshot;   /* for the next one */
    struct deaths gateway_deaths, controller_deaths;
    struct deaths gateway_faults; /* those that were not killed from outside */
    struct controller controller;
    int64_t close_listeners_ms; /* while stopping */
};

/* gateways.c */
void gateway_event(struct guardian *g, struct gateway *w, enum gateway_event event);
void gateway_start(struct guardian *g); /* the next generation */
void gateway_adopt(struct guardian *g, int link_fd, pid_t pid);
void gateway_read(struct guardian *g, struct gateway *w);       /* its link is readable */
void gateways_ping(struct guardian *g);                         /* ping_ms is over */
bool gateway_any(const struct guardian *g);                     /* a process is left */
const struct gateway *gateway_newest(const struct guardian *g); /* that serves; NULL: none */
void gateway_share_listener(struct guardian *g, const struct boot_listener *l);
void gateway_drop_listener(struct guardian *g, const char *address);

/* controller.c */
void controller_event(struct guardian *g, enum controller_event event);
void controller_adopt(struct guardian *g, int link_fd, pid_t pid);
void controller_read(struct guardian *g); /* its channel or link is readable */
void controller_tell(struct guardian *g, uint32_t type, uint64_t a, uint64_t b, const char *text,
                     const int *fds, size_t fds_len);
void controller_tell_gateway(struct guardian *g, uint32_t type, const struct gateway *w);

/* start.c */
/* Forks and executes the main binary with that boot; gives the pid, or -1. */
/* dir: its working folder; -1: ours. */
pid_t start_role(const struct boot *b, const char *role, int dir, struct error *err);
/* What it says, where that is a process of that role; 0 else. */
pid_t read_pid_file(const struct guardian *g, const char *name, const char *role);
void write_pid_file(const struct guardian *g, const char *name, pid_t pid);
/* Becomes `serve` of another main binary, once that has said that it would start. Returns only
 * when that failed. */
int become(const struct guardian *g, int binary_fd, struct error *err);
int64_t deaths_note(struct deaths *d, int64_t now_ms, int64_t lived_ms); /* delay until the next */
bool deaths_in_a_row(const struct deaths *d, int64_t now_ms);

/* main.c */
void guardian_announce(struct guardian *g); /* prints the ready line once both are ready */
void guardian_stop(struct guardian *g, int exit_status);

/* notify.c */
void notify_systemd(const char *state); /* "READY=1"; nothing where systemd did not start us */

#endif
