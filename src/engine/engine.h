/* engine: the port through which the controller runs instances. One folder per engine.
 *
 * In the controller only. Never blocks for longer than a fork: waiting, draining pipes, killing
 * after a grace and writing the exit record are the shim's. An engine decides nothing: no restarts,
 * no back-off; it starts what it is told, tells what happened, stops what it is told.
 *
 * A *run* is one start of an instance: its id is unique for ever within a data folder
 * ("shop-7-1.3": instance shop-7-1, start 3) and so is its run folder. Jobs (build, release, smoke
 * commands, `run`) are runs too: they end by themselves.
 */
#ifndef SLUICE_ENGINE_ENGINE_H
#define SLUICE_ENGINE_ENGINE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RUN_ID_MAX = 120 };

struct run_spec {
    const char *id;          /* [A-Za-z0-9._-]{1,RUN_ID_MAX}, no dot in front */
    const char *dir;         /* working folder, absolute (the release's folder) */
    const char *const *argv; /* NULL-terminated, expanded */
    const char *const *envp; /* NULL-terminated "NAME=value"; the whole environment */
    const char *state_dir;   /* made and given to the user when missing; NULL: none */
    const char *user;        /* NULL: stay as the controller's user */
    uint32_t cpu_milli;      /* 0: no limit */
    uint64_t memory_bytes;
    uint32_t pids_max;      /* 0: no limit */
    const char *log_path;   /* JSON lines; rotated to log_path.1 */
    uint64_t log_max_bytes; /* of both files together */
    const char *log_label;  /* process name: the "p" of each line */
    int64_t timeout_ms;     /* jobs: killed after that; 0: never */
    bool socket; /* gets a folder for a Unix socket (wire/runsocket.h), which goes with the run's */
};

enum run_state {
    RUN_STARTING, /* forked; the app was not exec'd yet */
    RUN_RUNNING,
    RUN_EXITED,  /* there is an exit record */
    RUN_LOST,    /* the shim was killed; what was left has been killed, the id is free */
    RUN_CLEANING /* the shim was killed; what was left is being killed */
};

struct run_status {
    enum run_state state;
    pid_t pid; /* the app; 0 before its exec and after its end */
    pid_t shim_pid;
    int exit_code; /* -1: ended by a signal, or never started */
    int exit_signal;
    bool oom_killed;
    bool start_failed; /* exec (or what goes before it) failed: reason says why */
    bool timed_out;    /* a job over its timeout_ms */
    char reason[256];  /* "exec ./shop: no such file or directory"; "" where there is nothing to say
                        */
    int64_t started_ms, ended_ms; /* wall clock; 0: not yet */
    uint64_t log_dropped_lines;   /* dropped because the disk was full */
};

struct engine;
struct engine_ops {
    const char *name; /* "process" */
    /* Asynchronous: gives 0 once the run is under way (or will be reported as RUN_EXITED with
     * start_failed). Calling it again with an id that runs or ran is an error: one run per id,
     * ever. */
    int (*start)(struct engine *e, const struct run_spec *spec, struct error *err);
    /* Signal to the whole process group, KILL after grace_ms: carried out by the shim, so it holds
     * also when the controller dies meanwhile. Repeating it with a shorter grace shortens it. Gives
     * 0 when the run is over already. A shim that is frozen then is killed some seconds after the
     * grace, with all that it holds: RUN_LOST. */
    int (*stop)(struct engine *e, const char *id, int signal, int64_t grace_ms, struct error *err);
    /* -1 with ERROR_NOT_FOUND where no such run is known. */
    int (*status)(struct engine *e, const char *id, struct run_status *out, struct error *err);
    /* Does a process of this run (its whole group or cgroup) hold the listening TCP socket on
     * 127.0.0.1:port (ipv6: [::1]:port), or on the wildcard? 1 yes, 0 no one listens there, -1 a
     * stranger does (then *stranger is its pid or 0). */
    int (*owns_port)(struct engine *e, const char *id, uint16_t port, bool ipv6, pid_t *stranger);
    /* A listening TCP port of this run other than `port` (0: any), 0 where there is none: for
     * "listens on 3000 instead of $PORT". */
    uint16_t (*other_port)(struct engine *e, const char *id, uint16_t port);
    /* Resident memory and CPU time used so far, of the whole run. */
    int (*usage)(struct engine *e, const char *id, uint64_t *rss_bytes, uint64_t *cpu_us);
    /* Removes the run folder of a run that is over. */
    int (*forget)(struct engine *e, const char *id, struct error *err);
    /* All runs found in the data folder at open (adopted or over), for the controller to compare
     * with its store. The callback may call stop and forget. */
    void (*each)(struct engine *e, void (*fn)(void *arg, const char *id, const struct run_status *),
                 void *arg);
    /* A descriptor (epoll) that is readable when poll() has something to tell. */
    int (*fd)(struct engine *e);
    /* Calls on_change (see open) for each run whose status changed. Never blocks. */
    void (*poll)(struct engine *e);
    /* Which limits of run_spec cannot be enforced on this machine, and why, as plain text to show
     * to the user; "" where all can. Valid until close. */
    const char *(*missing_limits)(struct engine *e);
    void (*close)(struct engine *e); /* runs go on */
};

struct engine {
    const struct engine_ops *ops;
};

struct engine_config {
    const char *run_dir;     /* DATA/run/instances, exists */
    const char *data_dir;    /* for the processes' titles */
    const char *sockets_dir; /* DATA/run/sockets, made when missing; NULL: no run gets a socket */
    int64_t sockets_gid;     /* who may reach a run's socket besides its user; -1: nobody */
    int shim_fd; /* the shim program, a memfd or file, stays the caller's; used with execveat */
    /* A run changed (started, exited, lost). Called from within poll() only. */
    void (*on_change)(void *arg, const char *id, const struct run_status *status);
    void *arg;
};

/* src/engine/process: instances as plain processes, one shim each. */
struct engine *process_engine_open(const struct engine_config *config, struct error *err);

#endif
