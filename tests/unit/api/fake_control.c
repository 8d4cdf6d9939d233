/* A control with canned answers: the API and the command line can be tried end to end against it.
 *
 * It knows one app, shop (production). A deploy runs a rollout of a few steps by a timer; a version
 * that begins with "bad" is rolled back, one that begins with "slow" waits for promote or abort. */
#include "control/control.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

struct fake {
    struct control_config config;
    struct control_listener *listeners;
    struct {
        json_t **items;
        size_t len, cap;
    } events;
    uint64_t next_event;
    uv_timer_t timer;
    unsigned step; /* 0: steady */
    bool slow, bad, leaving, stopped;
    char version[64], stable_version[64];
    unsigned release, stable_release, wanted;
    char last_key[256];
    json_t *last_answer;
    unsigned deploys; /* that were really begun */
};

struct control {
    struct fake f;
};

/* What tests turn. */
struct control *fake_control;
bool fake_degraded;
unsigned fake_step_ms = 120;
char fake_logs_dir[200];

void fake_emit(struct control *c, const char *kind, const char *text, json_t *data);
void fake_emit(struct control *c, const char *kind, const char *text, json_t *data)
{
    struct fake *f = &c->f;
    char at[WALL_TEXT_SIZE];
    uint64_t id = ++f->next_event;
    json_t *event =
        json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:o}", "id", (json_int_t)id, "at",
                  clock_format_wall(clock_wall_ms(), at), "app", "shop", "environment",
                  "production", "kind", kind, "actor", "alice", "text", text, "release",
                  (int)f->release, "data", data != NULL ? data : json_null());
    *vec_push(&f->events) = event;
    char *json = json_dumps(event, JSON_COMPACT);
    struct control_event told = {id, "shop", "production", kind, json};
    for (struct control_listener *l = f->listeners; l != NULL; l = l->next)
        l->on_event(l->arg, &told);
    free(json);
}

static void finish(struct control *c, const char *result, const char *code, const char *text)
{
    struct fake *f = &c->f;
    bool promoted = strcmp(result, "promoted") == 0;
    json_t *data =
        json_pack("{s:s, s:s, s:i, s:s, s:s, s:{s:s, s:s}, s:i, s:{s:i, s:i}, s:i}", "app", "shop",
                  "environment", "production", "release", (int)f->release, "version", f->version,
                  "result", result, "reason", "code", code, "text", text, "duration_ms", 4200,
                  "requests", "stable", 1200, "candidate", 300, "failed", 0);
    if (!promoted) {
        json_object_set_new(data, "log_tail",
                            json_pack("[s, s]", "starting on port 4001", "panic: no such table"));
        json_object_set_new(data, "probe", json_string("GET /ready: status 503: \"warming up\""));
    }
    fake_emit(c, promoted ? "promoted" : "rolled-back", text, NULL);
    fake_emit(c, "ended", text, data);
    if (promoted) {
        f->stable_release = f->release;
        memcpy(f->stable_version, f->version, sizeof f->version);
    }
    f->step = 0;
    uv_timer_stop(&f->timer);
}

static void on_step(uv_timer_t *timer)
{
    static const char *const steps[] = {"scale candidate to 3", "wait until 3 are ready",
                                        "weight 25%",           "hold 10s",
                                        "weight 100%",          "finish"};
    struct control *c = timer->data;
    struct fake *f = &c->f;
    char text[200];
    if (f->step == 3 && f->slow)
        return;
    f->step++;
    if (f->step > 6) {
        finish(c, "promoted", "", "");
        return;
    }
    if (f->step == 5 && f->bad) {
        fake_emit(c, "rolling-back", "error rate 5.1% against 0.1%", NULL);
        finish(c, "rolled-back", "error-rate", "error rate 5.1% against 0.1% of stable");
        return;
    }
    snprintf(text, sizeof text, "step %u of 6: %s", f->step, steps[f->step - 1]);
    fake_emit(c, "step", text, NULL);
    if (f->step == 2)
        fake_emit(c, "instance-ready", "shop-2-1 is ready after 120 ms", NULL);
    if (f->step == 3)
        fake_emit(c, "weight", "25% of the traffic goes to release 2", NULL);
}

struct control *control_open(const struct control_config *config, struct error *err)
{
    (void)err;
    struct control *c = xcalloc(1, sizeof *c);
    c->f.config = *config;
    c->f.stable_release = 1;
    c->f.wanted = 3;
    strcpy(c->f.stable_version, "1.0");
    uv_timer_init(config->loop, &c->f.timer);
    c->f.timer.data = c;
    fake_control = c;
    return c;
}

void control_leave(struct control *c, bool stop_apps)
{
    (void)stop_apps;
    uv_close((uv_handle_t *)&c->f.timer, NULL);
    c->f.config.on_leave(c->f.config.arg);
}

void control_free(struct control *c)
{
    for (size_t i = 0; i < c->f.events.len; i++)
        json_decref(c->f.events.items[i]);
    vec_release(&c->f.events);
    json_decref(c->f.last_answer);
    free(c);
}

bool control_ready(const struct control *c)
{
    (void)c;
    return !fake_degraded;
}

static int known(const struct app_name *name, struct error *err)
{
    if (fake_degraded)
        return error_set(err, ERROR_UNAVAILABLE, "the store cannot be read: disk I/O error");
    if (strcmp(name->app, "shop") == 0 &&
        (name->environment == NULL || strcmp(name->environment, "production") == 0))
        return 0;
    return error_set(err, ERROR_NOT_FOUND, "there is no app %s in environment %s", name->app,
                     name->environment != NULL ? name->environment : "production");
}

static json_t *accepted(struct control *c)
{
    struct fake *f = &c->f;
    return json_pack("{s:s, s:s, s:i, s:s, s:i, s:I}", "app", "shop", "environment", "production",
                     "release", (int)f->release, "version", f->version, "rollout", (int)f->release,
                     "event", (json_int_t)f->next_event);
}

void control_deploy(struct control *c, const struct deploy_request *request,
                    const struct caller *caller, command_done *done, void *arg)
{
    struct fake *f = &c->f;
    struct error err = ERROR_INIT;
    (void)caller;
    if (fake_degraded) {
        error_set(&err, ERROR_UNAVAILABLE, "the store cannot be written: disk full");
        done(arg, &err, NULL);
        return;
    }
    if (request->idempotency_key != NULL && strcmp(request->idempotency_key, f->last_key) == 0) {
        done(arg, NULL, f->last_answer);
        return;
    }
    f->deploys++;
    f->release = f->stable_release + 1;
    snprintf(f->version, sizeof f->version, "%.60s",
             request->version != NULL ? request->version : "2.0");
    f->bad = strncmp(f->version, "bad", 3) == 0;
    f->slow = strncmp(f->version, "slow", 4) == 0;
    f->step = 0;
    json_decref(f->last_answer);
    f->last_answer = accepted(c);
    snprintf(f->last_key, sizeof f->last_key, "%s",
             request->idempotency_key != NULL ? request->idempotency_key : "");
    uv_timer_start(&f->timer, on_step, fake_step_ms, fake_step_ms);
    done(arg, NULL, f->last_answer);
    fake_emit(c, "deploy-accepted", "release 2 (2.0) by alice", NULL);
}

void control_command(struct control *c, enum control_command command, const struct app_name *name,
                     const json_t *arguments, const struct caller *caller, command_done *done,
                     void *arg)
{
    struct fake *f = &c->f;
    struct error err = ERROR_INIT;
    (void)caller;
    if (known(name, &err) != 0) {
        done(arg, &err, NULL);
        return;
    }
    bool needs_rollout = command == COMMAND_PROMOTE || command == COMMAND_ABORT ||
                         command == COMMAND_PAUSE || command == COMMAND_RESUME;
    if (needs_rollout && f->step == 0) {
        error_set(&err, ERROR_CONFLICT, "shop has no rollout; it is steady at release 1");
        done(arg, &err, NULL);
        return;
    }
    if (command == COMMAND_SCALE)
        f->wanted = (unsigned)json_integer_value(json_object_get(arguments, "replicas"));
    if (command == COMMAND_STOP || command == COMMAND_START)
        f->stopped = command == COMMAND_STOP;
    if (command == COMMAND_ROLLBACK || command == COMMAND_RESTART) {
        f->release = f->stable_release;
        memcpy(f->version, f->stable_version, sizeof f->version);
        f->bad = f->slow = false;
        json_t *answer = accepted(c);
        uv_timer_start(&f->timer, on_step, fake_step_ms, fake_step_ms);
        done(arg, NULL, answer);
        json_decref(answer);
        return;
    }
    done(arg, NULL, NULL);
    if (command == COMMAND_SCALE) { /* so many events of 4 KiB at once */
        cleanup_buf struct buf text = BUF_INIT;
        for (int i = 0; i < 4096; i++)
            buf_putc(&text, 'x');
        for (unsigned i = 0; i < f->wanted; i++)
            fake_emit(c, "scaled", buf_str(&text), NULL);
    }
    if (command == COMMAND_PROMOTE) {
        f->slow = false;
    } else if (command == COMMAND_ABORT) {
        finish(c, "aborted", "aborted", "aborted by alice");
    }
}

void control_run(struct control *c, const struct app_name *name, const char *const *argv,
                 const struct caller *caller, command_done *done, void *arg)
{
    struct error err = ERROR_INIT;
    (void)caller;
    if (known(name, &err) != 0) {
        done(arg, &err, NULL);
        return;
    }
    json_t *answer =
        json_pack("{s:s, s:s+}", "run", "shop-1-run.1", "log", fake_logs_dir, "/shop-1-run.log");
    done(arg, NULL, answer);
    json_decref(answer);
    int code = strcmp(argv[0], "false") == 0 ? 1 : 0;
    fake_emit(c, "run-ended", "run ended",
              json_pack("{s:s, s:i, s:n}", "run", "shop-1-run.1", "code", code, "signal"));
}

json_t *control_server(struct control *c)
{
    (void)c;
    return json_pack("{s:s, s:{s:i, s:i, s:i}, s:[s], s:s, s:b, s:n}", "version", SLUICE_VERSION,
                     "pids", "guardian", 10, "controller", 11, "gateway", 12, "listeners",
                     "127.0.0.1:8080", "data", "/tmp/data", "ready", 1, "degraded");
}

static json_t *pool(unsigned release, const char *version, int weight, int ready, int wanted,
                    double rate, double errors, double p95)
{
    return json_pack("{s:i, s:s, s:f, s:i, s:i, s:f, s:f, s:f}", "release", (int)release, "version",
                     version, "weight", (double)weight, "ready", ready, "wanted", wanted,
                     "requests_per_s", rate, "error_rate", errors, "p95_ms", p95);
}

json_t *control_status(struct control *c, const struct app_name *name, struct error *err)
{
    struct fake *f = &c->f;
    if (known(name, err) != 0)
        return NULL;
    int weight = f->step >= 5 ? 100 : f->step >= 3 ? 25 : 0;
    json_t *rollout = json_null(), *candidate = json_null();
    if (f->step > 0) {
        candidate = pool(f->release, f->version, weight, f->step > 1 ? 3 : 1, 3, 3.5,
                         f->bad ? 0.051 : 0.001, 14.2);
        rollout =
            json_pack("{s:s, s:i, s:i, s:s, s:i, s:s, s:s, s:[s, s, s, s, s, s]}", "strategy",
                      "canary", "step", (int)f->step, "steps", 6, "name", "weight 25%", "weight",
                      weight, "verdict", "no worse than stable so far", "since",
                      "2026-11-21T08:00:00.000Z", "steps_text", "scale candidate to 3",
                      "wait until 3 are ready", "weight 25%", "hold 10s", "weight 100%", "finish");
    }
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:[{s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:s}, {s:s, "
        "s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:n}]}",
        "app", "shop", "environment", "production", "state",
        f->stopped    ? "stopped"
        : f->step > 0 ? "rolling-out"
                      : "steady",
        "stable",
        pool(f->stable_release, f->stable_version, 100 - weight, 3, (int)f->wanted, 12.5, 0.001,
             12.0),
        "candidate", candidate, "rollout", rollout, "instances", "id", "shop-1-1", "release", 1,
        "version", "1.0", "state", "unready", "pid", 4242, "port", 40001, "restarts", 2,
        "in_flight", 3, "detail", "GET /ready: status 503", "id", "shop-1-2", "release", 1,
        "version", "1.0", "state", "ready", "pid", 4243, "port", 40002, "restarts", 0, "in_flight",
        1, "detail");
}

json_t *control_apps(struct control *c)
{
    struct app_name name = {"shop", NULL};
    json_t *list = json_array(), *status = control_status(c, &name, NULL);
    if (status != NULL)
        json_array_append_new(list, status);
    return list;
}

json_t *control_releases(struct control *c, const struct app_name *name, struct error *err)
{
    (void)c;
    if (known(name, err) != 0)
        return NULL;
    return json_pack("[{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}]", "release", 1, "version",
                     "1.0", "status", "promoted", "use", "stable", "created",
                     "2026-11-21T08:00:00.000Z", "created_by", "alice", "commit",
                     "0123456789abcdef0123", "author", "Alice", "dirty", 1);
}

json_t *control_traffic(struct control *c, const struct app_name *name, uint32_t minutes,
                        struct error *err)
{
    (void)c;
    if (known(name, err) != 0)
        return NULL;
    return json_pack("{s:s, s:s, s:[{s:i, s:i}]}", "app", "shop", "environment", "production",
                     "minutes", "requests", 100, "of", (int)minutes);
}

json_t *control_verdict(struct control *c, const struct app_name *name, bool history,
                        struct error *err)
{
    (void)c;
    if (known(name, err) != 0)
        return NULL;
    return json_pack("{s:s, s:b}", "app", "shop", "asked_for_history", history);
}

json_t *control_history(struct control *c, const struct app_name *name, uint32_t limit,
                        struct error *err)
{
    (void)c;
    (void)limit;
    if (known(name, err) != 0)
        return NULL;
    return json_pack("[{s:i, s:i, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:i, s:s}]", "rollout", 1,
                     "release", 1, "version", "1.0", "kind", "deploy", "result", "promoted",
                     "reason", "code", "", "text", "", "started", "2026-11-21T08:00:00.000Z",
                     "duration_ms", 4200, "actor", "alice");
}

json_t *control_plan(struct control *c, const char *environment, const char *spec_json,
                     bool suggest, struct error *err)
{
    (void)c;
    (void)environment;
    (void)spec_json;
    (void)err;
    return json_pack("{s:b, s:[{s:s, s:s}, {s:s, s:s}], s:[s], s:i, s:s, s:i, s:[s]}",
                     "asked_to_suggest", suggest, "steps", "kind", "scale", "text",
                     "scale candidate to 3", "kind", "weight", "text", "weight 25%", "changes",
                     "replicas: 2 -> 3", "least_ms", 70000, "strategy", "canary", "from", 1,
                     "warnings", "drain and start-up do not fit into the hold");
}

json_t *control_events(struct control *c, const struct app_name *name, uint64_t after,
                       uint32_t limit, struct error *err)
{
    if (name != NULL && known(name, err) != 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < c->f.events.len && json_array_size(list) < limit; i++) {
        json_t *event = c->f.events.items[i];
        if ((uint64_t)json_integer_value(json_object_get(event, "id")) > after)
            json_array_append(list, event);
    }
    return list;
}

char *control_logs_dir(struct control *c, const struct app_name *name, struct error *err)
{
    (void)c;
    return known(name, err) == 0 ? xstrdup(fake_logs_dir) : NULL;
}

void control_metrics(struct control *c, bool openmetrics, struct buf *out)
{
    (void)c;
    buf_puts(out, "# HELP sluice_apps Apps that the server knows.\n# TYPE sluice_apps gauge\n"
                  "sluice_apps 1\n");
    if (openmetrics)
        buf_puts(out, "# EOF\n");
}

void control_listen(struct control *c, struct control_listener *listener)
{
    listener->next = c->f.listeners;
    c->f.listeners = listener;
}

void control_unlisten(struct control *c, struct control_listener *listener)
{
    for (struct control_listener **at = &c->f.listeners; *at != NULL; at = &(*at)->next) {
        if (*at == listener) {
            *at = listener->next;
            return;
        }
    }
}

void control_api_listens(struct control *c)
{
    (void)c;
}
