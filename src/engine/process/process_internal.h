/* The process engine's inside. engine.c: the surface and its one epoll; launch.c: starting a run;
 * link.c: the control connection to a shim; late.c: shims that do not do what they are told;
 * adopt.c: runs found at open; sweep.c: what is left when a shim was killed; inspect.c: ports and
 * usage; runfile.c: a run's folder; socket.c: that of its socket; user.c: names to numbers.
 */
#ifndef SLUICE_ENGINE_PROCESS_INTERNAL_H
#define SLUICE_ENGINE_PROCESS_INTERNAL_H

#include "base/map.h"
#include "engine/engine.h"
#include "os/cgroup.h"
#include "os/clock.h"
#include "wire/exitrecord.h"
#include "wire/shimctl.h"
#include "wire/shimparams.h"

enum { RUN_KEY_SIZE = 33 };

enum watch_kind { WATCH_TIMER, WATCH_SHIM, WATCH_CONTROL };
struct run;
struct watch { /* what epoll gives back */
    enum watch_kind kind;
    struct run *run;
};

/* What the engine knows of one run. The shim is held from its start (or adoption) until its pidfd
 * says that it is gone; only then it is known whether there is an exit record. */
struct run {
    char *id;
    struct run_status status;
    char key[RUN_KEY_SIZE]; /* random: the run's mark in its processes' environment */
    struct cgroup cgroup;
    bool shim_alive;
    int pidfd;      /* of the shim; -1: not known yet (adopted, not linked) */
    int control_fd; /* -1: not linked */
    struct watch shim_watch, control_watch;
    struct {
        bool wanted;
        int signal;
        int64_t kill_at_ms; /* clock_boot_ms() */
    } stop;                 /* said to the shim as soon as it can be reached */
    struct {
        int64_t look_ms; /* clock_mono_ms(): what was asked of the shim should be done by then */
        bool asked, heard;
    } late;
    bool forgotten; /* out of the map; its folder goes when the shim has gone */
    struct {        /* for the sweep; from the run folder */
        pid_t shim_pid, app_pid;
        uint64_t shim_start, app_start;
        int64_t since_ms; /* clock_mono_ms() */
        bool warned;
    } sweep;
    bool dirty; /* on_change is owed */
    struct run *next_dirty;
    struct run *next_dead;
};

struct process_engine {
    struct engine base;
    struct engine_config config;
    char *run_dir, *data_dir, *sockets_dir; /* sockets_dir NULL: none */
    int run_dir_fd;
    int sockets_fd; /* -1: none */
    int epoll_fd, timer_fd;
    struct watch timer_watch;
    int64_t timer_at_ms; /* clock_mono_ms(); INT64_MAX: not armed */
    int64_t sweep_every_ms;
    char boot_id[BOOT_ID_SIZE];
    struct cgroup cgroup;   /* the parent of the runs' */
    char cgroup_prefix[16]; /* tells data folders on one machine apart */
    struct error missing_limits;
    struct map runs;     /* id → struct run; not the forgotten ones */
    struct run *dirty;   /* owed an on_change, the last one first */
    struct run *leaving; /* forgotten, the shim not gone yet */
    struct run *dead;    /* to be freed when no epoll event can point at them any more */
};

/* engine.c */
struct run *run_new(struct process_engine *e, const char *id); /* put into the map */
void run_delete(struct process_engine *e, struct run *r);      /* out of the map; freed by and by */
void run_changed(struct process_engine *e, struct run *r);
void engine_wake(struct process_engine *e, int64_t in_ms); /* a timer turn in at most in_ms */
int run_watch_shim(struct process_engine *e, struct run *r, struct error *err);
void run_unwatch_shim(struct process_engine *e, struct run *r); /* closes the pidfd */
/* The shim is known to be gone: reads the exit record, or lets the sweep begin. */
void run_shim_gone(struct process_engine *e, struct run *r);
/* Of a run without a shim, all that is outside of memory; -1: its folder is left. */
int run_remove_traces(struct process_engine *e, struct run *r, struct error *err);

/* launch.c */
int process_start(struct engine *engine, const struct run_spec *spec, struct error *err);

/* link.c: nothing here waits. */
int link_adopt(struct process_engine *e,
               struct run *r); /* 1 linked, 0 try again later, -1 no shim */
int link_take(struct process_engine *e, struct run *r, int control_fd, struct error *err);
void link_drop(struct process_engine *e, struct run *r);
void link_read(struct process_engine *e, struct run *r);
void link_send_stop(struct process_engine *e, struct run *r);
void link_send_release(struct run *r);
void link_ask(struct run *r);

/* late.c: a shim that neither does what it was told nor answers (it is stopped, or hangs) is
 * killed, with all that it holds. */
void late_expect(struct process_engine *e, struct run *r, int64_t in_ms);
void late_check(struct process_engine *e, struct run *r); /* at each turn of the timer */

/* adopt.c */
int adopt_all(struct process_engine *e, struct error *err);

/* sweep.c */
void sweep_begin(struct process_engine *e, struct run *r);
bool sweep_pass(struct process_engine *e); /* true: some are left, another pass is needed */

/* runfile.c */
bool run_id_valid(const char *id);
int run_folder_open(const struct process_engine *e, const char *id); /* -1 with errno */
int run_folder_remove(const struct process_engine *e, const char *id, struct error *err);
/* 1 held by a shim, 0 free, -1 no lock file or another error. */
int run_lock_held(int folder_fd);
int run_info_write(const struct process_engine *e, const struct run *r, int folder_fd,
                   struct error *err);
/* Fills key and cgroup. *same_boot: was it written in this boot? -1: not a whole one. */
int run_info_read(const struct process_engine *e, struct run *r, int folder_fd, bool *same_boot);
void run_pids_read(struct run *r, int folder_fd); /* fills sweep.*; zeros where not known */
int run_exit_read(struct run *r, int folder_fd, struct error *err); /* fills status */
void run_status_from_end(struct run_status *status, const struct exit_record *end);

/* socket.c */
int socket_folders_open(struct process_engine *e, struct error *err);
int socket_folder_make(const struct process_engine *e, const struct run_spec *spec,
                       struct error *err);
void socket_folder_remove(const struct process_engine *e, const char *id);

/* inspect.c */
int process_owns_port(struct engine *engine, const char *id, uint16_t port, bool ipv6,
                      pid_t *stranger);
uint16_t process_other_port(struct engine *engine, const char *id, uint16_t port);
int process_usage(struct engine *engine, const char *id, uint64_t *rss_bytes, uint64_t *cpu_us);

/* user.c: fills uid, gid and groups of params. */
int user_look_up(const char *name, struct shim_params *params, struct error *err);

#endif
