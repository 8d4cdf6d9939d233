/* The simulator of the controller: the real core, control, store, judge, spec, wire and observe,
 * linked with a world that is made up. One seed decides everything that happens in it.
 *
 *   main.c      seeds, children, results       scenario.c  what people and fate do, and when
 *   world.c     time, events, trace, faults    check.c     what must hold at each step
 *   loop.c      libuv's place                  expect.c    what was promised to people
 *   probe.c     the connections of probes      engine.c    the engine: runs outlive controllers
 *   disk.c      SQLite's files                 gateway.c   guardian, gateways, their clients
 *   writer.c    the store's thread             system.c    clocks, ports, pack, ballast
 *   life.c      controllers come and go
 *
 * What stands in for something of the product takes its name when the program is linked; the
 * product knows nothing of it. A controller that is killed is abandoned in the middle of what it
 * does (longjmp), with all its memory; each seed runs in a process of its own.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include "control/control_internal.h"

#include <setjmp.h>

enum {
    SIM_APPS = 2,
    SIM_RELEASES = 24, /* that one seed deploys at most, in all */
    SIM_WORKERS = 2,   /* of a gateway */
    SIM_SECOND = 1000000,
    SIM_MS = 1000,
};

/* ---- time and events: microseconds since the world began ---- */

typedef void sim_event_fn(void *arg, uint64_t number);

int64_t sim_now(void);
/* Once, in so many microseconds. The event of a thing that may be gone by then finds it by number.
 */
void sim_at(int64_t in_us, sim_event_fn *fn, void *arg, uint64_t number);
/* Lets time pass, with all that happens in it. */
void sim_run(int64_t us);
_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint32_t sim_pick(uint32_t below);
bool sim_chance(uint32_t percent);
int64_t sim_between(int64_t least, int64_t most);

/* ---- the world ---- */

/* What the releases of one deploy are like. Found by the variable SIM of their runs. */
struct behaviour {
    bool never_ready, start_fails, build_fails, hook_fails, bad, differs, ignores_term;
    int64_t start_us, ready_us, stop_us, job_us;
    int64_t crash_us; /* this long after its start; 0: does not */
    int64_t flap_us;  /* its readiness comes and goes with this period; 0: does not */
    uint32_t replicas;
    uint32_t unavailable; /* the most that its strategy lets be away */
    bool recreate;
    uint32_t failures; /* of its readiness probe in a row that make it unready */
    int64_t drain_ms;
};

struct sim_options {
    uint64_t seed;
    bool trace;
};

/* What may go wrong in this seed. */
struct faults {
    bool instances; /* crash, flap, are slow */
    bool gateways;  /* die, answer late */
    bool kills;     /* of controllers, anywhere */
    bool disk;      /* full, broken for a while */
    bool clock;     /* jumps */
    bool reboots;
    bool stalls; /* of the controller's loop */
};

struct sim {
    struct sim_options options;
    char data[64];
    struct control *control; /* NULL: none runs */
    uint64_t life;           /* how many controllers there were */
    struct faults faults;
    bool calm; /* the faults are over */
    struct behaviour behaviours[SIM_RELEASES];
    uint32_t behaviours_len;
    uint32_t reboots;
    int64_t wall_offset_ms; /* the wall clock's, as against the world's */
    int64_t rebooted_us;
    int64_t fault_until_us; /* the last time that the disk refused something */
    uint64_t hash;          /* of all that was noted: equal runs have equal ones */
};
extern struct sim sim;

/* ---- world.c: the controller is killed at a boundary that the seed chose ---- */

/* To be called wherever the controller reaches out of itself. Does not return when this is the
 * moment. */
void sim_boundary(const char *what);
void sim_kill_after(uint32_t boundaries); /* 0: not */

/* ---- loop.c ---- */

bool loop_turn(void);      /* one turn; true: something was called */
int64_t loop_due_us(void); /* when its next timer is due; INT64_MAX: none */
bool loop_is_readable(void);
void loop_abandon(void); /* the controller was killed */
struct uv_loop_s *loop_get(void);
/* Calls fn from the loop's next turn, unless the handle is closed by then. */
void loop_post(uv_handle_t *handle, void (*fn)(uv_handle_t *handle));
bool loop_is_open(const uv_handle_t *handle);
void probe_closing(uv_handle_t *handle); /* probe.c */
void probe_abandon(void);

/* ---- disk.c, writer.c ---- */

void disk_init(void);
void disk_begin(void); /* the files of the template, for this seed */
void disk_keep_as_template(void);
void disk_abandon(void);   /* a process died: its locks and shared memory are gone */
void disk_power_cut(void); /* what was not synced is lost, or half there */
void disk_full(bool full);
void disk_broken(bool broken);
bool disk_failing(void);
bool disk_has_room(void);
void disk_free(uint64_t bytes);
bool writer_due(void); /* something is queued */
void writer_abandon(void);

/* ---- engine.c ---- */

struct sim_run {
    char id[RUN_ID_MAX + 1];
    char instance[INSTANCE_ID_MAX]; /* "" of a job */
    char app[32];
    uint32_t release;
    const struct behaviour *how;
    struct run_status status;
    bool job, forgotten, listening, ready;
    bool told_stop, killed; /* killed: with SIGKILL at once */
    bool unstored;          /* started while the disk refused writes */
    uint16_t port;
    int64_t began_us, stop_told_us;
    uint64_t serial;
    enum run_state told; /* the last state that the present controller was told */
    /* Results of readiness probes that reached a controller. */
    uint32_t good, bad;
    bool was_ready;
    uint32_t in_flight;
};

extern struct sim_runs {
    struct sim_run **items;
    size_t len, cap;
} sim_runs;

struct sim_run *engine_run(const char *id);
struct sim_run *engine_by_port(uint16_t port); /* that listens, or would */
bool run_alive(const struct sim_run *r);
void engine_crash(struct sim_run *r, int signal);
void engine_lose(struct sim_run *r); /* its shim is killed */
void engine_reboot(void);
void engine_abandon(void);
bool port_is_taken(uint16_t port);

/* ---- gateway.c ---- */

void guardian_begin(void);
int guardian_channel(void);  /* the controller's end, for its boot */
void guardian_abandon(void); /* the controller is gone */
void gateway_kill(void);     /* one of them, chosen by fate */
void gateway_replace(void);  /* as in a take-over: a new one, then the old one drains */
void gateways_reboot(void);
bool gateways_settled(void);              /* all of them serve the newest routes */
int gateway_connection(const char *name); /* the controller connects; -1: no such socket */
void gateway_sent(int fd);                /* the controller sent something on it */
void gateway_closed(int fd);
/* The table that the newest gateway serves. NULL: none. */
const struct snapshot *gateway_table(void);

/* ---- life.c ---- */

void life_start(void); /* a controller, now */
void life_kill(const char *why);
void life_leave(void); /* it is asked to go, as for an upgrade */
void life_reboot(void);
bool life_runs(void); /* one runs, with its store */

/* ---- scenario.c ---- */

void scenario_begin(void);
void scenario_calm(void);  /* faults and people stop */
void scenario_nudge(void); /* people answer what waits for them */
void scenario_store_pause(bool on);

/* ---- check.c ---- */

void check_step(void);
void check_start(const struct sim_run *run);              /* the engine is told to start it */
void check_stop(const struct sim_run *run, bool at_once); /* or to stop it */
void check_published(const struct snapshot *s);
void check_served(const struct snapshot *s);
void check_request(const struct sim_run *run, const char *id, uint16_t port);
void check_event(const struct control_event *event); /* told to people */
bool check_is_steady(char *why, size_t size);
void check_end(void);
void check_rebooted(void);

/* ---- expect.c ---- */

enum promise { PROMISE_NONE, PROMISE_STOPPED, PROMISE_STARTED, PROMISE_GONE };

/* What people were told of one app. */
struct expectation {
    char app[32];
    bool exists;                     /* a deploy of it was accepted, or may have been */
    uint32_t accepted[SIM_RELEASES]; /* numbers of releases whose deploy was acknowledged */
    size_t accepted_len;
    enum promise run, run_asked;
    int scaled, scaled_asked;               /* -1: nothing is known of it */
    uint64_t aborted, paused, paused_asked; /* rollouts */
    struct {
        uint64_t rollout; /* 0: none */
        uint32_t cursor;  /* it was there at least */
        bool all;         /* and waits for nothing any more */
    } promoted;
    uint64_t begun; /* the last rollout that a roll back or restart was answered with */
    bool disturbed; /* capacity is not held to the floor: stopped, scaled, deleted */
    bool available; /* it reached its floor once */
    uint32_t least, unavailable, floor; /* over all of its releases */
    bool recreate;
    uint64_t deletions;
};
extern struct expectation expectations[SIM_APPS];

struct expectation *expect_of(const char *app);
void expect_restored(void); /* a controller has read the store: what was promised is there */
void expect_ended(const char *app, const char *json);

#endif
