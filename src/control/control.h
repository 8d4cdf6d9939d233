/* control: the controller's heart. Joins spec, core, judge, store, engine and the gateway's link.
 *
 * One thread, one libuv loop; nothing here blocks (packing, builds, deletion, SQLite's writes are
 * in children or in the store's writer thread). It knows no HTTP: src/api translates.
 *
 *   commands ─▶ app_state ─┐                        ┌─▶ store (state first)
 *   probes, engine,        ├─▶ decide() ─▶ decision ┼─▶ gateway (snapshot, acknowledged)
 *   gateway's metrics ─────┘                        └─▶ engine (start, stop), hooks, events
 *
 * Per app, one decision at a time goes through that order (pipeline.c); others go on meanwhile.
 * Replies to commands come after their effect is in the store: acknowledged means stored.
 */
#ifndef SLUICE_CONTROL_CONTROL_H
#define SLUICE_CONTROL_CONTROL_H

#include "base/buf.h"
#include "base/error.h"
#include "os/boot.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct control;

struct control_config {
    const struct boot *boot; /* outlives the control */
    uv_loop_t *loop;
    /* The controller shall end (SIGTERM, LEAVE of a guardian): called once, after the store was
     * flushed; the caller stops the loop then. */
    void (*on_leave)(void *arg);
    void *arg;
    struct access_log *access_log; /* NULL: none; the caller's, outlives the control */
};

/* Opens store and engine, adopts runs and gateways, starts its timers. A store that cannot be
 * opened does not fail this: the control is degraded (traffic goes on), commands answer
 * ERROR_UNAVAILABLE with the reason. NULL only where the process cannot be what it should be
 * (locks, memory, descriptors). */
struct control *control_open(const struct control_config *config, struct error *err);
/* Begins to leave: apps go on unless stop_apps. on_leave comes when it is done. */
void control_leave(struct control *c, bool stop_apps);
void control_free(struct control *c); /* after on_leave, with the loop stopped */

/* The API answers now: once the gateway has its routes as well, `serve` is told that all is ready.
 */
void control_api_listens(struct control *c);
bool control_ready(const struct control *c); /* GET /ready: snapshot applied, runs adopted */

/* Who asks: from SO_PEERCRED, or of a token. */
struct caller {
    uid_t uid;
    gid_t gid;
    char name[64]; /* "alice" or "uid 1000", "system", "token ci" */
};

/* Names an app: environment NULL is "production". */
struct app_name {
    const char *app, *environment;
};

/* The answer of a command, exactly once, perhaps from within the call: err is NULL when it was done
 * (and is stored), then body is a JSON object (borrowed, may be NULL). */
typedef void command_done(void *arg, const struct error *err, json_t *body);

/* ---- commands (change something)
 * ----------------------------------------------------------------- */

struct deploy_request {
    const char *environment; /* NULL: production; the canonical spec does not name it */
    const char *spec_json;   /* canonical spec (spec_to_json); parsed and checked again */
    const char *source;      /* absolute folder to pack, read with the caller's uid; NULL: none */
    const char *version;     /* overrides the spec's; NULL: none */
    const char *idempotency_key; /* NULL: none; the same key gives the same answer, nothing twice */
};
/* body: {"app","environment","release","version","rollout","event"}: `event` is the id of the last
 * event before it, so that following /v1/events from there misses nothing. What happens then (pack,
 * build, rollout) is told by events and ends with one of kind "ended", whose data is the result
 * object of SPEC (`sluice deploy --json`). */
void control_deploy(struct control *c, const struct deploy_request *request,
                    const struct caller *caller, command_done *done, void *arg);

/* X(name, word): commands on one app. Their arguments are a JSON object. */
#define CONTROL_COMMANDS(X)                                                                        \
    X(COMMAND_PROMOTE, "promote")                                                                  \
    X(COMMAND_ABORT, "abort")                                                                      \
    X(COMMAND_PAUSE, "pause")                                                                      \
    X(COMMAND_RESUME, "resume")                                                                    \
    X(COMMAND_ROLLBACK, "rollback") /* {"to": N}? ; body as of deploy where a rollout begins */    \
    X(COMMAND_SCALE, "scale")       /* {"replicas": N, "process": "web"?} */                       \
    X(COMMAND_RESTART, "restart")   /* body as of deploy */                                        \
    X(COMMAND_STOP, "stop")                                                                        \
    X(COMMAND_START, "start")                                                                      \
    X(COMMAND_MAINTENANCE, "maintenance") /* orders.c */                                           \
    X(COMMAND_FAULT, "fault")                                                                      \
    X(COMMAND_DELETE, "delete") /* stops all, then forgets the app and its releases */

enum control_command {
#define X(name, word) name,
    CONTROL_COMMANDS(X)
#undef X
        CONTROL_COMMANDS_COUNT
};
void control_command(struct control *c, enum control_command command, const struct app_name *name,
                     const json_t *arguments, const struct caller *caller, command_done *done,
                     void *arg);

/* `sluice run APP -- CMD`: a job with the stable release's folder and env. body: {"run": id, "log":
 * path of its JSON lines}. When it is over an event of kind "run-ended" comes: data {"run", "code",
 * "signal"}. */
void control_run(struct control *c, const struct app_name *name, const char *const *argv,
                 const struct caller *caller, command_done *done, void *arg);

/* The guardian goes over to this main binary (an absolute path on the server's machine). Done when
 * the new one serves and this controller leaves. ERROR_DENIED: not by who runs the server. */
void control_upgrade(struct control *c, const char *binary, const struct caller *caller,
                     command_done *done, void *arg);

/* ---- questions: a new reference, or NULL with *err
 * ------------------------------------------------- */

json_t *control_server(
    struct control *
        c); /* {"version","pids":{..},"listeners":[..],"data","ready","degraded":null|text,"generations":[..]}
             */
json_t *control_apps(struct control *c); /* [status, ...] */
json_t *control_status(struct control *c, const struct app_name *name,
                       struct error *err); /* SPEC's status */
json_t *control_releases(struct control *c, const struct app_name *name, struct error *err);
json_t *control_history(struct control *c, const struct app_name *name, uint32_t limit,
                        struct error *err); /* finished and running rollouts, newest first */
/* {"app","environment","minutes":[{"at","release","candidate","requests","errors","p50_ms","p90_ms",
 * "p95_ms","p99_ms"}, ...]}: the last so many minutes, oldest first; a day is kept. */
json_t *control_traffic(struct control *c, const struct app_name *name, uint32_t minutes,
                        struct error *err);
/* What the judge knows of the rollout under way, or knew of the last one that it judged; see
 * docs/api.md. ERROR_NOT_FOUND: there was none. history: with the rows of the verdict log. */
json_t *control_verdict(struct control *c, const struct app_name *name, bool history,
                        struct error *err);
/* {"steps":[{"kind","text"},..],"changes":["replicas: 2 -> 3"],"least_ms","strategy","from",
 * "warnings":[..],"detects","suggestion"}: the last two are of docs/api.md; suggestion only where
 * it is asked for. */
json_t *control_plan(struct control *c, const char *environment, const char *spec_json,
                     bool suggest, struct error *err);
/* Events after `after`, oldest first, at most limit; app NULL: of all. Each as in `event_json`. */
json_t *control_events(struct control *c, const struct app_name *name, uint64_t after,
                       uint32_t limit, struct error *err);
/* Folder with the log files of the app (INSTANCE.log, INSTANCE.log.1), malloc'ed; NULL: no such
 * app. */
char *control_logs_dir(struct control *c, const struct app_name *name, struct error *err);
/* All numbers in Prometheus' text format, or in OpenMetrics', with exemplars (GET /metrics). */
void control_metrics(struct control *c, bool openmetrics, struct buf *out);

/* ---- events, as they become durable
 * ------------------------------------------------------------------ */

/* {"id","at","app","environment","kind","actor","text","release","data"} as one JSON text. */
struct control_event {
    uint64_t id;
    const char *app, *environment; /* "" where it is the server's own */
    const char *kind;
    const char *json;
};
struct control_listener {
    void (*on_event)(void *arg, const struct control_event *event); /* may not remove listeners */
    void *arg;
    struct control_listener *next; /* control's own */
};
void control_listen(struct control *c, struct control_listener *listener);
void control_unlisten(struct control *c, struct control_listener *listener);

#endif
