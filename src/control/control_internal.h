/* control, inside: the objects that its files share, and which file does what to them.
 *
 *   whole      control.c opens, ticks, leaves; restore.c what a starting controller finds;
 *              upgrade.c goes over to another binary; clock_jump.c the wall clock is set;
 *              unreadable.c apps whose row is damaged
 *   apps       app.c apps, specs, slots; pipeline.c decide -> store -> publish -> act;
 *              writes.c what an app owes the store; events.c record and tell;
 *              commands.c what people say; disk.c what apps take of the disk
 *   deploys    accept.c as they come in; deploy.c pack, build, seal;
 *              pack_watch.c pack's children; rollout_begin.c the first step;
 *              ended.c results, old releases; plan.c, detect.c what a deploy would do and find
 *   instances  instance.c start, stop, what the engine says; probe.c readiness, liveness;
 *              socket.c where an app listens that wants a Unix socket;
 *              probe_attempt.c one look at one, probe_tls.c where it speaks TLS;
 *              hook.c build, release, smoke, stop.before, run
 *   routes     orders.c maintenance, faults; pages.c what gateways answer with;
 *              routes.c app states -> snapshot; publish.c snapshot -> file and gateways;
 *              certificates.c DATA/certs -> gateways, certificate_order.c which of two;
 *              acme.c obtains some, acme_files.c keeps them;
 *              certificates_view.c, certificate_trouble.c what is said about them;
 *              authorities.c the CAs of clients and instances there;
 *              tcp_listeners.c the addresses of TCP routes -> guardian
 *   evidence   measure.c totals over generations; watch.c the judge of each rollout;
 *              marks.c its counts from one controller to the next;
 *              usage.c what instances use; metric.c and others what a spec measures;
 *              mirror.c copies of requests; evidence.c failed requests; bake.c after a promotion;
 *              outlier.c instances that gateways took out;
 *              traffic_log.c the last day; verdict_log.c how evidence grew
 *   answers    view.c and others
 *
 * Rule: callbacks only note what happened and mark the app (control_mark); the app's next step
 * (pipeline.c, from the loop's prepare phase) looks at everything and acts.
 */
#ifndef SLUICE_CONTROL_INTERNAL_H
#define SLUICE_CONTROL_INTERNAL_H

#include "base/alloc.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "control/control.h"
#include "control/gateway_link.h"
#include "control/guardian_link.h"
#include "core/core.h"
#include "engine/engine.h"
#include "judge/judge.h"
#include "pack/pack.h"
#include "store/store.h"
#include "wire/metrics.h"
#include "wire/runsocket.h"
#include "wire/samples.h"
#include "wire/snapshot.h"

enum {
    TICK_DRAIN_MS = 5,     /* while an instance drains: gauges are looked at so often */
    TICK_ROLLOUT_MS = 100, /* while a rollout runs: the judge's batches */
    TICK_IDLE_MS = 1000,
    RATE_WINDOW_MS = 5000, /* rates and quantiles for people are over 5 to 10 s */
    /* The slot + 1 is kept in the row's flags: gateways count in-flight requests by it, so the next
     * controller must use the same one. */
    INSTANCE_FLAG_SLOT_SHIFT = 8,
    INSTANCE_FLAG_LEAVING = 2, /* drained or being stopped: never routed or started again */
    INSTANCE_FLAG_DOWN = 4,    /* crashed, waits for its next start */
    INSTANCE_FLAG_CRASHES_SHIFT = 3,
    INSTANCE_FLAG_CRASHES_MAX = 31,
    INSTANCE_FLAG_SLOT_BITS = 23,
    STORE_RETRY_MS = 1000,
    HOOK_TEXT_LINES = 5,
    APP_LABEL_MAX = 72,
    LOG_TAIL_LINES = 10,
    SOCKET_PATH_MAX = 108, /* sun_path */
    WATCH_FELT_MS = 10,    /* shorter answers tell machines apart, not releases */
};

#define INSTANCE_FLAG_IPV6 (UINT32_C(1) << 31)
/* Of a row's flags: slot + 1, 0: none. */
#define INSTANCE_FLAGS_SLOT(flags)                                                                 \
    (((flags) >> INSTANCE_FLAG_SLOT_SHIFT) & ((UINT32_C(1) << INSTANCE_FLAG_SLOT_BITS) - 1))

/* ---- probes
 * --------------------------------------------------------------------------------------- */

enum probe_role { PROBE_STARTUP, PROBE_READINESS, PROBE_LIVENESS, PROBE_ROLES };

struct probe {
    struct instance *instance;
    enum probe_role role;
    const struct probe_spec
        *spec;        /* kind NONE: a readiness probe that waits for the port or min-ready */
    uv_timer_t timer; /* the next attempt, or the time limit of the present one */
    struct probe_attempt *attempt; /* under way, or NULL */
    int64_t due_ms;                /* clock_boot_ms(): its time is up */
    bool last_look;                /* it was up, and is waited for once more */
    uint32_t successes, failures;  /* in a row */
    int64_t fast_ms; /* pause before the next attempt while never ready: 20 ms, growing */
    bool passed;     /* startup: over; readiness: ready; liveness: alive */
    char error[200]; /* the last failure in words; "" none */
};

/* ---- instances
 * ------------------------------------------------------------------------------------ */

enum life {
    LIFE_PLANNED, /* in the store soon; the engine was not told yet */
    LIFE_RUNNING, /* the engine runs it */
    LIFE_EXITED   /* its last run is over */
};

/* What its run had used when it was last looked at (usage.c). */
struct instance_use {
    uint32_t round; /* of looks; 0: never */
    uint32_t run;
    bool known; /* the rest is; else it is not warm, or cannot be told */
    int64_t at_ms;
    uint64_t rss_bytes, cpu_us;
    uint64_t requests, warm_requests; /* answered; from so many on it is warm */
};

struct instance {
    struct app *app; /* gone before it, while its handles close: use control then */
    struct control *control;
    char id[INSTANCE_ID_MAX];
    uint32_t pool, release;
    uint8_t process;
    uint32_t run; /* number of its present or last start, unique in the app */
    char run_id[RUN_ID_MAX + 1];
    enum life life;
    bool stopping;  /* told to stop (or its stop.before runs) */
    bool signalled; /* the engine was told */
    bool draining;  /* in the row before anything else follows */
    bool routed;    /* was in a published snapshot since its start: must be drained before a stop */
    bool restart_wanted;        /* liveness failed: is being stopped in order to be started again */
    bool adopted_ready;         /* last known readiness, until a probe contradicts */
    uint64_t undrained_version; /* first snapshot version without it; 0: not published yet */
    int64_t drain_deadline_ms;  /* wall clock */
    uint64_t drain_deadline_boot_ms;
    bool drain_timed_out;
    uint64_t drain_left, drain_open; /* in flight when last looked at; of these, connections */
    uint16_t port;                   /* 0: none */
    bool ipv6;                       /* it listens on [::1] only; decided until it is ready */
    char socket[RUNSOCKET_MAX];      /* its place; "": none */
    uint32_t socket_uid;             /* who listens on it, or SNAPSHOT_ANY_UID */
    uint32_t slot; /* in the metrics; UINT32_MAX: none (its process has no routes) */
    uint32_t restarts, fast_crashes, losses; /* as in struct instance_obs */
    int64_t created_ms, since_ms, started_ms, exited_ms;
    enum instance_state last_state;
    uint64_t ready_boot_ms; /* since when it is ready, CLOCK_BOOTTIME; 0: not known */
    bool start_failed, port_taken, ever_ready;
    bool out_of_memory; /* that ended its last run */
    pid_t pid;
    struct probe probes[PROBE_ROLES];
    int probes_open; /* uv handles that are not closed yet */
    bool gone;       /* removed; freed when probes_open is 0 */
    struct hook *stop_hook;
    char detail[REASON_TEXT_MAX];
    uint64_t ejections; /* told so far, once they are known */
    int64_t ejection_told_ms;
    bool ejections_known;
    /* Totals when the slot was given to it. */
    uint64_t base[INSTANCE_METRICS];
    struct instance_use use;
};

/* ---- releases and apps
 * ---------------------------------------------------------------------------- */

struct release {
    uint32_t number;
    struct app_spec *spec; /* parsed; NULL while it was never needed */
    char *version, *spec_json, *digest, *commit, *author, *branch, *created_by, *dir;
    bool dirty;
    int64_t created_ms;
    int64_t bytes; /* of its folder on the disk, once it is sealed; -1: not known */
    enum release_status status;
    struct release_pages *pages; /* pages.c; NULL: it has none, or they were not read yet */
};

/* What the requests of a slot are. */
enum slot_role {
    ROLE_SHARE,  /* of users, by the pool's share; the app's own slot too */
    ROLE_PINNED, /* of users: preview or match; not for the judge */
    ROLE_COPIES, /* copies, at the candidate: no user waits for them */
    ROLE_COPIED, /* users' requests that were copied, counted once more */
};

/* A request slot in the metrics: app (route NULL), or route x pool x role. */
struct slot {
    uint32_t index;
    char *route; /* key of the route, "" for the app's own */
    uint32_t pool;
    enum slot_role role;
    uint64_t base[REQUEST_METRICS], base_us; /* totals when the slot became its own */
    uint64_t base_buckets[METRICS_BUCKETS];
    struct red base_red; /* not in the marks: after a restart these count from 0 */
    int64_t began_ms;
    json_t *mark; /* marks.c: it goes on where an earlier controller's was; NULL: it began anew */
    bool seen;    /* mark and sweep while a snapshot is built */
    /* What the judge has seen of it. Above what there is: it is owed the difference (marks.c). */
    uint64_t judged[REQUEST_METRICS];
    uint64_t judged_buckets[METRICS_BUCKETS];
    struct judge_gathering gathering; /* of the candidate's: taken, not compared yet */
    bool has_marks; /* stable's: what is slow for this route, chosen once it has history enough */
    uint32_t marks[JUDGE_MARKS];
    /* Of the rollout under way; errors with repeats. */
    uint64_t rollout_requests, rollout_errors;
};

/* Two samples of a pool's totals, for rates. */
struct pool_rate {
    uint32_t pool;
    struct rate_sample {
        int64_t at_ms;
        uint64_t requests, errors, buckets[METRICS_BUCKETS];
    } old, young;
};

/* What the report of the rollout under way can name (evidence.c). */
enum { EVIDENCE_REQUESTS = 10 };
struct failed_request {
    int64_t at_ms;
    char instance[INSTANCE_ID_MAX]; /* "": none, or not known any more */
    uint32_t release;               /* the instance's; 0: not known */
    struct sample sample;
};
struct evidence {
    struct failed_request requests[EVIDENCE_REQUESTS]; /* oldest first */
    size_t requests_len;
    struct failed_request copies[EVIDENCE_REQUESTS]; /* that failed, or whose answers differ */
    size_t copies_len;
    char probed[INSTANCE_ID_MAX]; /* whose probe failed last; "": none is failing */
    char probe[200];              /* in words */
};

struct bake; /* bake.c */
enum pipeline_phase { PIPE_IDLE, PIPE_STORING, PIPE_RETRYING };

struct pending_deploy;                                         /* deploy.c */
bool deploy_owns_run(const struct app *a, const char *run_id); /* of its build */

struct app {
    struct control *control;
    char *key, *name, *environment, *dir;
    uint64_t serial;           /* told from an earlier app of the same key by it */
    char label[APP_LABEL_MAX]; /* what the ids of its instances and runs begin with */
    struct app_state state;
    struct {
        struct release *items;
        size_t len, cap;
    } releases;
    uint32_t next_release;
    uint32_t next_run;
    int64_t created_ms;
    struct {
        struct instance **items;
        size_t len, cap;
    } instances;
    struct {
        struct slot **items;
        size_t len, cap;
    } slots;
    struct {
        struct pool_rate *items;
        size_t len, cap;
    } rates;

    struct {
        struct traffic_mark *items; /* traffic_log.c */
        size_t len, cap;
    } traffic_marks;

    /* pipeline.c */
    enum pipeline_phase phase;
    bool traffic_ahead;       /* traffic went back, and that is not stored yet */
    bool retrying;            /* the last try to store its state failed */
    bool marked;              /* a step is due */
    uint64_t traffic_version; /* the snapshot that has its present weights; 0: not published yet */
    struct arena decision_memory;
    struct decision decision; /* PIPE_STORING: its actions come when it is stored */
    uv_timer_t wake;
    struct {
        uint64_t rollout;
        uint32_t cursor;
        char id[RUN_ID_MAX];
        size_t runs; /* commands that it has */
        struct hook *hook;
        enum hook_state state;
        char text[REASON_TEXT_MAX];
    } step_hook; /* release commands or smoke of the present step */

    /* writes.c: what is owed to the store */
    bool unstored;    /* a batch failed: all of it is due again */
    int64_t retry_ms; /* not before that, unless there is something new to store */
    struct {
        struct ending **items;
        size_t len, cap;
    } endings;
    struct {
        struct gone **items;
        size_t len, cap;
    } gone;
    struct queued_event *owed_events; /* events.c: of batches that failed */

    /* rollouts */
    struct judge judge;
    bool judging;
    enum judgement judgement;
    struct buf judge_text;
    struct metrics *metrics; /* of the rollout under way; NULL: it has none */
    struct usage *usage;     /* usage.c; NULL: what instances use is not compared */
    char *rollout_actor;
    struct pending_deploy *deploy;
    struct {
        struct hook **items;
        size_t len, cap;
    } hooks;
    struct rollout_start {
        uint64_t id;
        enum rollout_kind kind;
        enum strategy_kind strategy;
        uint32_t from_release, release, stable_pool, candidate_pool;
        int64_t at_ms;                    /* the deploy was accepted */
        int64_t began_ms;                 /* the rollout began */
        uint64_t failed, stable_requests; /* totals then */
        /* Counted by controllers before this one. */
        uint64_t failed_before, stable_before, candidate_before;
        uint64_t cut; /* connections whose instance's drain time was over, by all controllers */
    } start;
    struct evidence evidence;
    json_t *maintenance, *fault; /* orders.c; NULL: none */
    struct bake *bake;           /* the watch after its promotion; NULL: none */
    int64_t judged_ms, judge_saved_ms;
    uint32_t judged_weight_ppm; /* then */
    bool judge_fed;             /* since it was saved */
    uint32_t verdicts;          /* rows that the rollout has had in the verdict log */
    uint64_t failed_before;     /* app_failed() of slots that were given back */
    bool difference_told;       /* the first one of the rollout */
    bool paused_told;           /* "ended" with "paused" was told for this rollout */
    bool collect_due;           /* old releases, behind the next write: it may name one of them */
    bool deleting;
    bool rows_going; /* the batch that deletes its rows is under way: nothing may put one */
    bool draining;   /* an instance may be */
    struct {
        int64_t logs_bytes, state_bytes; /* -1: not known yet */
        int64_t measured_ms;
    } disk; /* disk.c */
};

/* ---- gateways
 * ------------------------------------------------------------------------------------- */

struct gateway {
    struct control *control;
    uint64_t generation;
    struct gateway_link *link;
    uv_poll_t poll;
    bool dead;
    bool adopted;             /* it was there before this controller */
    uint64_t suspect_version; /* gateways died of this snapshot: only later ones are sent; 0 none */
    pid_t pid;
    uint64_t applied; /* version */
    uint64_t certificates_applied;
    uint64_t refused, certificates_refused; /* versions that it does not take */
    char refusal[300];                      /* why it took the last routes not; "": it has them */
    uint64_t samples_seen[METRICS_MAX_WORKERS], copies_seen[METRICS_MAX_WORKERS];
};

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

/* Who gets told what becomes of a run; none of both: it is being killed, to be forgotten. */
struct run_owner {
    struct instance *instance; /* or */
    struct hook *hook;
};

struct control {
    struct control_config config;
    const struct boot *boot;
    uv_loop_t *loop;
    char *data;
    char boot_id[64];
    struct store *store; /* NULL: degraded */
    char degraded[512];  /* why; "" not */
    bool store_failing;  /* the last write failed */
    struct engine *engine;
    struct guardian_link *guardian;
    uv_prepare_t prepare;
    uv_timer_t tick;
    uv_poll_t engine_poll, store_poll, guardian_poll;
    uv_idle_t idle; /* while leaving */
    int open_handles;
    int64_t last_maintain_ms, store_tried_ms;
    struct tcp_listeners *tcp;               /* tcp_listeners.c; NULL before the first look */
    struct certificate_folder *certificates; /* certificates.c; NULL before the first look */
    struct acme *acme;                       /* acme.h; NULL before the first look */
    bool clock_known;                        /* clock_jump.c */
    int64_t clock_offset_ms;                 /* wall clock - boot clock, when it was looked at */
    int64_t traffic_minute; /* the one that is under way, for traffic_log.c; 0: none yet */

    struct {
        struct app **items;
        size_t len, cap;
    } apps;
    struct {
        struct app **items; /* NULL: gone, or its step was made */
        size_t len, cap;
    } marked;
    struct map runs; /* run id -> struct run_owner */

    struct {
        struct gateway **items;
        size_t len, cap;
    } gateways;
    uint64_t snapshot_version; /* the last one made */
    uint64_t found_version;    /* the last one of an earlier controller, as far as files tell */
    uint64_t least_version;    /* the next one is above it */
    uint32_t snapshot_file;    /* which of the two is written next */
    bool routes_marked;        /* a new snapshot is due */
    struct buf snapshot;       /* the last one, encoded */
    int snapshot_fd;           /* it as a memfd; -1: not made yet */
    int run_dir_fd;
    char *sockets; /* DATA/run/sockets as apps see it: itself, or a link to it */
    bool sockets_linked;
    bool snapshot_file_failing;
    uint32_t snapshot_apps_found; /* in the last routes of an earlier controller */
    struct snapshot *found; /* those routes; until the first publishing, or for `unreadable` */
    const struct snapshot
        *rollback_ahead; /* `found`, where it has that mark and it is not heeded */
    struct {
        struct unreadable **items;
        size_t len, cap;
    } unreadable;
    command_done *upgrade_done; /* upgrade.c; NULL: none is under way */
    void *upgrade_arg;
    struct fetch *fetch; /* fetch_link.c; NULL: nothing was ever asked */
    uint32_t request_slots_used,
        request_slot_next;   /* given out in a ring, so that none is reused soon */
    bool publishing_allowed; /* false until all was adopted */

    /* Metrics of generations that ended, by slot; pages are made when needed. */
    struct slot_totals **ended_requests; /* [METRICS_REQUEST_SLOTS] */
    uint64_t (*ended_instances)[INSTANCE_METRICS];
    uint8_t *request_slot_used; /* enum slot_use */
    uint32_t request_slots_left;
    uint8_t *instance_slot_used;

    struct control_listener *listeners;
    struct queued_event *queued_events, **queued_events_end; /* in batches not submitted yet */
    uint64_t writes, apps_made, events_recorded, store_errors;
    char store_error[256];
    int64_t started_ms;
    uint64_t rollouts_ended[RESULT_PAUSED + 1];
    bool api_listens, told_ready, leaving, stop_apps, left;
    struct {
        struct cleanup **items;
        size_t len, cap;
    } cleanups;                  /* folders being deleted */
    struct measuring *measuring; /* disk.c: one folder at a time */
    int64_t disk_looked_ms;
    bool disk_low;
    struct {
        struct acceptance **items;
        size_t len, cap;
    } acceptances; /* deploys that are being stored */
};

/* Where requests of an earlier controller's routes are still counted when they end, only who finds
 * nothing else may count. */
enum slot_use { SLOT_FREE, SLOT_USED, SLOT_LEFT };

struct slot_totals {
    uint64_t counters[REQUEST_METRICS], latency_us, buckets[METRICS_BUCKETS];
    struct red red;
};

int64_t control_now(void); /* wall clock, ms */

/* control.c */
void control_tick_soon(struct control *c);
void control_tick_within(struct control *c, uint64_t ms);
void control_handle_opened(struct control *c);
void control_handle_closed(struct control *c);
int control_available(const struct control *c, struct error *err); /* for commands */
void control_doom_run(struct control *c, const char *id); /* kills it; forgotten when it is over */

/* app.c */
struct app *app_find(struct control *c, const struct app_name *name, struct error *err);
struct app *app_by_key(struct control *c, const char *key);
struct app *app_create(struct control *c, const char *name, const char *environment,
                       int64_t now_ms);
void app_forget(struct app *a); /* out of the list, freed; its folders stay */
struct release *app_release(struct app *a, uint32_t number); /* NULL: none */
struct release *app_add_release(struct app *a, const struct store_release *row);
void app_drop_release(struct app *a, uint32_t number);
const struct app_spec *release_spec(struct app *a,
                                    struct release *r); /* NULL only for a broken row */
const struct app_spec *pool_spec(struct app *a, uint32_t pool);
void app_specs(struct app *a, struct specs *out);
char *app_path(const struct app *a, const char *below); /* DIR/below, malloc'ed */
void app_put_row(struct app *a, struct store_batch *batch);
void app_put_release(struct app *a, const struct release *r, struct store_batch *batch);
struct slot *app_slot(struct app *a, const char *route, uint32_t pool, enum slot_role role);
/* A new one with this number, which is nobody's. It counts from 0. */
struct slot *app_slot_at(struct app *a, uint32_t index, const char *route, uint32_t pool,
                         enum slot_role role);
bool slot_is_of_users(const struct slot *s); /* each of their requests once */
void app_free_slot(struct app *a, size_t index);
uint32_t app_stable_release(const struct app *a); /* 0: none */

/* An app that may be gone when the answer comes. */
struct app_ref;
struct app_ref *app_ref_new(const struct app *a);
struct app *app_ref_take(struct app_ref *ref); /* frees it; NULL: the app is gone */

/* pipeline.c */
void control_mark(struct app *a);
void pipeline_run_marked(struct control *c);
void pipeline_release(struct app *a);
void app_observe(struct app *a, struct arena *arena, struct observations *out);
/* A ready candidate instance for commands, as SLUICE_PREVIEW_URL and SLUICE_PREVIEW_SOCKET: a URL
 * of its port, or the path of its socket; "" where there is none. */
struct preview {
    char url[40], socket[SOCKET_PATH_MAX];
};
void app_preview(const struct app *a, struct preview *out);

/* instance.c */
struct instance *instance_new(struct app *a, uint32_t pool, uint32_t release, uint8_t process);
void instance_plan_run(struct instance *in); /* gives it a new run number, port */
void instance_put_row(const struct instance *in, struct store_batch *batch);
void instance_start(struct instance *in); /* the engine is told */
void instance_adopt(struct instance *in); /* the engine runs it already */
void instance_stop(struct instance *in);
void instance_drain(struct instance *in);
void instance_remove(struct instance *in);
void instance_on_run(struct instance *in, const struct run_status *status);
void instance_kill_for_restart(struct instance *in, const char *why);
enum instance_state instance_state(const struct instance *in);
bool instance_ready(const struct instance *in);
bool instance_drained(struct instance *in);
const struct process_spec *instance_process(const struct instance *in,
                                            const struct app_spec **spec);
void instance_free_if_closed(struct instance *in);

/* socket.c */
void socket_plan(struct instance *in); /* for its present run: socket, socket_uid */
void sockets_open(struct control *c);
int sockets_prepare(const struct control *c, struct error *err); /* before a run gets a socket */
const char *instance_socket_path(const struct instance *in, char out[SOCKET_PATH_MAX]);
/* A connection, nonblocking; lets the gateway in, too. *err is one about "the socket";
 * ERROR_UNAVAILABLE: its backlog is full. */
int socket_connect(const struct instance *in, struct error *err);

/* environment.c */
struct run_env {
    struct arena memory;
    const char **envp;
    const char *state_dir;
};
/* For an instance (in not NULL) or a job of a release. */
void run_env_make(struct run_env *env, struct app *a, const struct release *r,
                  const struct app_spec *spec, const struct instance *in,
                  const struct env_var *extra, size_t extra_len);
const char *const *run_env_expand(struct run_env *env, const struct command *command);
void run_env_release(struct run_env *env);
const char *app_user(const struct app *a, const struct app_spec *spec); /* NULL: stay */
/* Fills what is the same for instances and jobs. */
void run_spec_fill(struct run_spec *spec, struct app *a, const struct release *r,
                   const struct app_spec *as);

/* probe.c */
void probes_start(struct instance *in);
void probes_stop(struct instance *in);
void probes_close(struct instance *in);

/* hook.c */
enum hook_kind { HOOK_BUILD, HOOK_RELEASE, HOOK_SMOKE, HOOK_STOP_BEFORE, HOOK_RUN, HOOK_METRIC };
enum { HOOK_EXTRA = 4 };
typedef void hook_done_fn(void *arg, struct hook *hook, bool ok, const char *text);
struct hook_config {
    enum hook_kind kind;
    const struct command *commands;
    size_t commands_len;
    const char *id; /* of its runs: ID.0, ID.1, ... */
    uint32_t release;
    const char *event;                /* kind of the output events; NULL: none are told */
    struct env_var extra[HOOK_EXTRA]; /* more variables; name NULL: none. Copied */
    const struct instance *instance;  /* env of this one; may be NULL */
    int64_t timeout_ms;
    hook_done_fn *done; /* exactly once, unless the hook is cancelled or the controller leaves */
    void (*drop)(void *arg); /* instead of done; NULL: nothing to do */
    void *arg;
};
/* Starts, or goes on with what an earlier controller began under the same id. */
struct hook *hook_start(struct app *a, const struct hook_config *config);
/* commands.c */
void run_resume(struct app *a, uint32_t release,
                const char *id); /* `run` of an earlier controller */

void hook_cancel(struct hook *h); /* kills and forgets; NULL is fine */
/* The first `runs` runs of the hook with that id are not needed again once what the app writes next
 * is stored. To be called when the outcome of the hook is part of the app's state. */
void hook_spend(struct app *a, const char *id, size_t runs);
/* Runs whose id begins so, of an earlier controller, that no hook of this one took up: not needed
 * either. */
void hook_drop_left(struct app *a, const char *prefix);
const struct run_status *hook_last(const struct hook *h); /* in done: how its last command ended */
void hook_on_run(struct hook *h, const struct run_status *status);
const char *hook_log_path(const struct hook *h);
void hooks_release(struct app *a);

/* routes.c, publish.c */
void control_mark_routes(struct control *c);
void routes_build(struct control *c, struct snapshot *s, struct arena *arena);
void publish_if_due(struct control *c);
void publish_now(struct control *c, bool rollback_ahead);
bool gateway_is_outdated(const struct gateway *g); /* a newer one is there: it drains */
/* By every live gateway, but for outdated ones that refuse it: they are of another version. */
bool publish_applied(const struct control *c, uint64_t version);
bool publish_seen(const struct control *c, uint64_t version); /* by every worker of each */
void publish_restore(struct control *c);
void gateway_connect(struct control *c, uint64_t generation, pid_t pid, bool adopted,
                     bool previous_snapshot);
void gateway_gone(struct control *c, uint64_t generation);
void gateways_release(struct control *c);

/* measure.c */
uint64_t measure_request(const struct control *c, uint32_t slot, enum request_metric m);
uint64_t measure_latency_us(const struct control *c, uint32_t slot);
void measure_buckets(const struct control *c, uint32_t slot, uint64_t out[METRICS_BUCKETS]);
uint64_t measure_instance(const struct control *c, uint32_t slot, enum instance_metric m);
uint64_t measure_in_flight(const struct control *c, uint32_t slot); /* live generations only */
/* false: there is a gateway of another version, whose requests nobody can count. */
bool measure_is_whole(const struct control *c);
void measure_keep_ended(struct control *c, const struct metrics_view *view);
/* Totals since the slot is this owner's. */
uint64_t slot_value(const struct control *c, const struct slot *s, enum request_metric m);
/* What a counter brought since; 0 rather than less, for a gateway that was killed takes numbers
 * along. before may be less than 0, as two's complement. */
uint64_t counted_since(uint64_t now, uint64_t before);
void slot_buckets(const struct control *c, const struct slot *s, uint64_t out[METRICS_BUCKETS]);
void measure_red(const struct control *c, uint32_t slot, struct red *out);
void slot_red(const struct control *c, const struct slot *s, struct red *out);
/* Of users' requests. */
uint64_t pool_value(const struct app *a, uint32_t pool, enum request_metric m);
void pool_buckets(const struct app *a, uint32_t pool, uint64_t out[METRICS_BUCKETS]);
uint64_t app_failed(const struct app *a); /* SPEC's "failed" so far */
void rates_sample(struct app *a, int64_t now_ms);
/* Of the last 5 to 10 s, copies included; negative: not known. */
struct pool_figures {
    double requests_per_s, error_rate, p95_ms;
};
struct pool_figures rates_of(struct app *a, uint32_t pool);
double buckets_quantile_ms(const uint64_t *buckets, double q); /* negative: none */

/* bake.c, bake_record.c */
void bake_begin(struct app *a, uint32_t release, uint32_t previous); /* if its spec wants that */
void bake_end(struct app *a);
void bake_tick(struct app *a, int64_t now_ms);
json_t *bake_record(const struct app *a); /* for the store; NULL: none */
void bake_restore(struct app *a, const json_t *record);
json_t *bake_json(const struct app *a); /* for people */

/* traffic_log.c */
/* Requests that users made, those of them that failed, and how long the answers took. */
struct traffic_sum {
    uint64_t requests, errors, above_slo, buckets[METRICS_BUCKETS];
};
void pool_traffic(const struct app *a, uint32_t pool, struct traffic_sum *out); /* since ever */
/* *out: what came since *seen, which becomes *now. */
void traffic_since(const struct traffic_sum *now, struct traffic_sum *seen,
                   struct traffic_sum *out);
void traffic_log_tick(struct control *c, int64_t now_ms);
/* Of the last 24 h, of releases that were stable then, but that one. */
int traffic_history(struct app *a, uint32_t without_release, struct traffic_sum *out,
                    struct error *err);

/* certificates.c */
void certificates_tick(struct control *c);
void certificates_send(const struct gateway *g); /* what there is */
void certificates_changed(struct control *c);    /* reads and sends them now */
void certificates_reorder(struct control *c);    /* with the next look: who is wanted has changed */
uint64_t certificates_version(const struct control *c); /* of what was sent, or is yet to be */
bool certificates_served(const struct control *c, uint64_t version); /* by every live gateway */
struct tls_pair_info;
/* Of the host's certificate by ACME; NULL: there is none that can be used. */
const struct tls_pair_info *certificates_automatic(const struct control *c, const char *host);
bool certificates_for(struct control *c, const char *host); /* there is one that names it */
/* certificates_view.c */
struct exposition;
json_t *certificates_json(const struct control *c);
/* authorities.c */
json_t *authorities_json(const struct control *c);
/* Are the CA and the certificate there that a route's TLS names? ERROR_USAGE says what to do. */
int upstream_tls_there(const struct control *c, const struct upstream_tls_spec *tls,
                       struct error *err);
/* The same of all routes, after a look at the folder. */
int upstream_tls_check(struct control *c, const struct app_spec *spec, struct error *err);
void certificates_expose(const struct control *c, struct exposition *e);
void certificates_release(struct control *c);

/* certificate_trouble.c */
struct certificate_state {
    bool there; /* it is served */
    bool automatic, wanted;
    bool needed; /* of an automatic one that is not wanted: a route's host has no other */
    int64_t not_before_ms, not_after_ms, retry_ms, renewal_ms; /* wall clock; the last two: or 0 */
    const char *error;                                         /* of its files; "" none */
    const char *failure, *advice, *doing; /* where it is automatic and wanted; "" none */
};
/* What people should do something about; nothing where all is well. */
void certificate_trouble(const struct certificate_state *s, int64_t now_ms, struct buf *out);

/* acme.c: certificates for routes with `tls: auto` */
struct cert;
void acme_collect(struct control *c); /* which hosts; what an earlier controller offered CAs */
void acme_tick(struct control *c);
void acme_release(struct control *c); /* before fetch_release() */
/* What gateways show CAs that look at hosts: by TLS (gives how many), by HTTP. They point into the
 * hosts. */
size_t acme_proofs(const struct control *c, struct cert *out, size_t room);
void acme_answers(struct control *c, struct snapshot *s, struct arena *memory);
/* Fills in what it knows of this host; false: no route wants it. */
bool acme_wants(const struct control *c, const char *host); /* true also while nobody knows */
bool acme_state(const struct control *c, const char *host, struct certificate_state *out);
const char *acme_host_at(const struct control *c, size_t i); /* NULL: there are no more */

/* clock_jump.c */
void clock_jump_watch(struct control *c);                     /* before anything is decided */
json_t *clock_jump_record(const struct control *c);           /* for an app's row */
void clock_jump_restore(struct app *a, const json_t *record); /* behind all else of its row */
void bake_clock_moved(struct app *a, int64_t by_ms);
void metrics_clock_moved(struct app *a, int64_t by_ms);
void usage_clock_moved(struct app *a, int64_t by_ms);
void acme_clock_moved(struct control *c, int64_t by_ms);

/* marks.c */
struct rollout_counts;
/* For the row, with what rollout_counts() said in the same moment; NULL: no rollout. */
json_t *marks_json(const struct app *a, struct rollout_counts *counts);
void marks_restore(struct app *a, const json_t *marks); /* behind watch_begin() */
void mark_rebase(struct slot *s, uint64_t generation);  /* a gateway of before is connected */

/* view_routes.c */
struct exposition;
/* Of one pool; labels: those of the pool. */
void expose_routes(struct exposition *e, const struct app *a, uint32_t pool, const char *labels);

/* mirror.c */
/* What is copied now, but for what is a route's own (`to`, copied_slot); share_ppm 0: nothing. */
struct snapshot_mirror mirror_build(struct app *a, struct snapshot *s, struct arena *memory);
/* Of the copies in the rollout under way: one has ended; some were made, and none has. */
bool mirror_came(const struct app *a);
bool mirror_unanswered(const struct app *a);
bool mirror_compares(const struct app_spec *spec); /* its answers, if it copies */
struct judge_compared mirror_compared(const struct slot *s, const uint64_t now[REQUEST_METRICS]);
/* "; for example body at /total: GET /cart"; nothing where none is known */
void mirror_name_differences(const struct app *a, size_t most, struct buf *out);
void mirror_tick(struct app *a);          /* behind evidence_look() */
json_t *mirror_json(const struct app *a); /* for people; null: nothing is copied */
void mirror_expose(struct exposition *e, const struct app *a, uint32_t pool, const char *labels);

/* view.c */
const char *app_state_word(const struct app *a);

/* watch.c */
void watch_begin(struct app *a);
/* What the file asks of the judge. extras: filled, and named by *out. */
void watch_config(const struct app_spec *spec, bool has_stable,
                  struct judge_extra extras[JUDGE_EXTRAS], struct judge_config *out);
void watch_tick(struct app *a);
void watch_verdict(struct app *a, struct observations *obs);
/* The slot whose numbers this one's are compared with; NULL: none. */
struct slot *watch_counterpart(const struct app *a, const struct slot *of);
void watch_end(struct app *a);
void watch_restore(struct app *a, const char *json); /* the judge of an earlier controller */

/* metric.c: what the rollout's spec measures outside of the gateway */
uint32_t metrics_compared(const struct app_spec *spec, struct judge_extra extras[JUDGE_EXTRAS]);
void metrics_begin(struct app *a); /* of the rollout to the present candidate */
void metrics_restore(struct app *a,
                     const json_t *saved); /* metrics_state_json() of an earlier one */
void metrics_tick(struct app *a);
void metrics_verdict(const struct app *a, struct observations *obs); /* over the judge's */
void metrics_end(struct app *a);
json_t *metrics_json(const struct app *a);       /* for people; an empty list: none */
json_t *metrics_state_json(const struct app *a); /* a->metrics is not NULL */

/* usage.c: what instances use, as extras of the judge */
/* Adds to the `len` that there are; gives how many are. */
uint32_t usage_compared(const struct app_spec *spec, struct judge_extra extras[JUDGE_EXTRAS],
                        uint32_t len);
void usage_begin(struct app *a); /* as far as a->judge compares it */
void usage_tick(struct app *a, int64_t now);
void usage_end(struct app *a);
void usage_add_json(const struct app *a, json_t *metrics); /* for people, as metrics_json() */

/* verdict_log.c */
void verdict_log_begin(struct app *a);
void verdict_log_resume(struct app *a); /* of an earlier controller's rollout */
void verdict_log_add(struct app *a, struct store_batch *batch);
void verdict_log_end(struct app *a,
                     struct store_batch *batch); /* the last one; batch may be NULL */

/* accept.c */
json_t *accepted_json(struct app *a, const struct release *r, uint64_t rollout, uint64_t event);
/* ERROR_CONFLICT where another app has one of these routes. */
int routes_check(struct control *c, const struct app *self, const struct app_spec *spec,
                 struct error *err);

/* tcp_listeners.c */
/* ERROR_DENIED, ERROR_CONFLICT: the spec's TCP routes are at an address that apps cannot have. */
int tcp_listeners_check(const struct control *c, const struct app_spec *spec, struct error *err);
/* false: all of its addresses are open. true: the deploy is begun anew when they are, or answered.
 */
bool tcp_listeners_wait(struct control *c, const struct deploy_request *q,
                        const struct app_spec *spec, const struct caller *caller,
                        command_done *done, void *arg);
void tcp_listeners_sync(struct control *c); /* opens what is missing, closes what nobody wants */
void tcp_listeners_tick(struct control *c, int64_t now);
void tcp_listeners_opened(struct control *c, const char *name);
void tcp_listeners_refused(struct control *c, const struct error *why);
void tcp_listeners_alone(struct control *c); /* the guardian is gone */
void tcp_listeners_release(struct control *c);

/* deploy.c: an app has one deploy under way at most */
/* Notes it; nothing runs before deploy_go(), which is due once the store has it. */
void deploy_pend(struct app *a, const struct release *r, const char *source,
                 const struct caller *caller, bool version_given);
bool deploy_awaits_store(const struct app *a, uint32_t release);
void deploy_go(struct app *a);
void deploy_withdraw(struct app *a); /* it was never stored: as if nobody had asked */
void deploy_resume(struct app *a, const json_t *pending);
json_t *deploy_pending_json(const struct app *a); /* NULL: none */
void deploy_cancel(struct app *a, const char *why);
bool deploy_active(const struct app *a);
uint32_t deploy_release(const struct app *a); /* 0: none under way */

/* rollout_begin.c */
/* Begins a rollout to a release that is there. On an error nothing has changed. */
int rollout_begin(struct app *a, enum rollout_kind kind, struct release *r, const char *actor,
                  struct store_batch *batch, struct error *err);

/* pack_watch.c: tells once how a job ended (result NULL: *err says why), not from within start, and
 * not at all after a cancel. */
struct pack_watch;
typedef void pack_watch_done(void *arg, const struct pack_result *result, const struct error *err);
struct pack_watch *pack_watch_start(struct control *c, struct pack_job *job, pack_watch_done *done,
                                    void *arg);
void pack_watch_cancel(struct pack_watch *w); /* NULL is fine */

/* plan.c */
/* Parses and checks what a client sent; *err names the first error of it. */
struct app_spec *spec_from_client(const char *json, const char *environment, struct error *err);
bool route_same(const struct route_spec *a, const struct route_spec *b);

/* detect.c: what the judge could find at the app's traffic (a may be NULL) */
void detect_add(json_t *plan, struct app *a, const struct app_spec *spec);  /* "detects" */
void suggest_add(json_t *plan, struct app *a, const struct app_spec *spec); /* "suggestion" */

/* ended.c */
/* Counts of the rollout under way, over all controllers that had it. */
struct rollout_counts {
    uint64_t stable, candidate, failed;
    uint64_t cut; /* connections */
};
struct rollout_counts rollout_counts(const struct app *a);
/* These owe the store an end (app_end); the batch that the app writes next has it. */
void rollout_ended(struct app *a, const struct rollout_state *ended, enum rollout_result result,
                   struct store_batch *batch);
void rollout_paused(struct app *a);
void rollout_put_row(struct app *a, struct store_batch *batch); /* of the one under way */
void deploy_failed(struct app *a, struct release *r, enum reason_code code, const char *text,
                   enum rollout_result result, int64_t started_ms);
void releases_collect(struct app *a);
void cleanup_folder(struct control *c, const char *dir);
void cleanups_release(struct control *c);

/* unreadable.c */
struct unreadable {
    struct control *control;
    char *key, *name, *environment, *label, *why;
    uint32_t found_app; /* index in found->apps; UINT32_MAX: it was not routed */
    struct {
        struct unreadable_run {
            char instance[INSTANCE_ID_MAX], id[RUN_ID_MAX + 1];
            uint32_t slot; /* UINT32_MAX: none */
        } * items;
        size_t len, cap;
    } runs;
};
void unreadable_add(struct app *a, const char *why); /* takes the app, which is empty but named */
/* An instance of one of them, since this boot. Others' are left alone. */
void unreadable_add_run(struct control *c, const struct store_instance *row);
void unreadable_tell(struct control *c, struct store_batch *batch); /* one event each */
void unreadable_release(struct control *c);
bool unreadable_check(const struct control *c, const char *key, struct error *err); /* true: is */
bool unreadable_owns_run(const struct control *c, const char *run_id);
bool unreadable_instance_runs(const struct unreadable *u, const char *instance);
bool unreadable_has_slot(const struct unreadable *u, uint32_t slot);
const struct unreadable *unreadable_with_route(const struct control *c, const char *host,
                                               const char *path);    /* NULL: none */
json_t *unreadable_status(const struct control *c, const char *key); /* NULL: is none of them */
void unreadable_list(const struct control *c, json_t *apps);         /* appends them */

/* disk.c */
struct disk_space {
    uint64_t free_bytes, total_bytes;
    bool low; /* people should make room before something fails */
};
bool disk_is_low(uint64_t free_bytes, uint64_t total_bytes);
int disk_look(const struct control *c, struct disk_space *out, struct error *err);
void disk_tick(struct control *c); /* warns when it becomes low; measures the next app */
void disk_release(struct control *c);

/* evidence.c */
void evidence_look(struct control *c); /* while rollouts run, and before one is reported */
void evidence_read(struct gateway *g); /* what it has that is new; before its metrics go away */
void evidence_add(struct control *c, const struct sample *s); /* a gateway's, to whom it concerns */
void evidence_forget(struct app *a);                          /* its rollout is over */
json_t *evidence_requests(const struct app *a); /* as in docs/commands.md, oldest first */
json_t *evidence_copies(const struct app *a);
/* The candidate's instance that the report is about, as far as it is about one; NULL: none. */
const char *evidence_instance(const struct app *a);

/* outlier.c */
struct ejected {
    uint64_t times, left_ms; /* by live gateways; left_ms 0: it gets requests */
    enum ejection_reason why;
};
struct ejected outlier_of(const struct control *c, const struct instance *in);
void outlier_tick(struct app *a, int64_t now_ms); /* records what is new, as events */
void outlier_json(const struct app *a, const struct instance *in, json_t *out); /* adds to it */

/* events.c */
/* Records into the batch; told to listeners when the batch is stored (events_flush by id order).
 * data is borrowed; NULL: none. */
void event_add(struct control *c, struct store_batch *batch, struct app *a, const char *kind,
               const char *actor, uint32_t release, const char *text, const json_t *data);
/* One event alone. */
void event_now(struct control *c, struct app *a, const char *kind, const char *actor,
               uint32_t release, const char *text, const json_t *data);
void event_json(const struct store_event *row, struct buf *out);
void events_release(struct control *c);

/* Frees a batch that is not submitted after all, and its events. */
void store_drop(struct control *c, struct store_batch *batch);
/* Frees it too; what it told is owed, as the rest of it is. */
void store_put_off(struct app *a, struct store_batch *batch);

typedef void submitted_fn(void *arg, enum store_outcome outcome, const struct error *err);
/* Submits; tells the batch's events to the listeners once it is stored. */
void control_submit(struct control *c, struct store_batch *batch, submitted_fn *done, void *arg);
/* The same; when it fails the events are owed, for the batch that the app writes next. */
void control_submit_of(struct app *a, struct store_batch *batch, submitted_fn *done, void *arg);
void events_put_owed(struct app *a, struct store_batch *batch);
void events_forget_owed(struct app *a);
/* Owed events of that kind tell of what was taken back. */
void event_withdraw(struct app *a, const char *kind);

/* writes.c: batches with a part of an app's state */

/* How a deploy ended: the result for the "ended" event and, where there was a rollout, its row. */
struct app_end {
    json_t *data; /* borrowed */
    const char *actor, *text;
    uint32_t release;
    const char *note;                /* literal: kind of one more event; NULL: none */
    const struct store_rollout *row; /* borrowed; its words are literals. NULL: it goes on */
};
void app_end(struct app *a, const struct app_end *end);
void app_spend_run(struct app *a, const char *run_id); /* forgotten once the next write is stored */
void app_delete_instance_row(struct app *a, const char *id);
bool app_owes(const struct app *a); /* something of the above is in no batch */
/* Adds what is owed, submits. */
void app_write(struct app *a, struct store_batch *batch, submitted_fn *done, void *arg);
void writes_release(struct app *a);

/* upgrade.c: what the guardian says to it */
void upgrade_refused(struct control *c, const char *why);
void upgrade_leaving(struct control *c);

/* restore.c */
int control_restore(struct control *c, struct error *err);

#endif
