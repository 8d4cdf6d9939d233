/* A whole control in a folder of its own: real store, real loop, an engine that is made up. A run
 * of the made-up engine listens on its $PORT, since the probes are real. Including programs are
 * linked without the process engine: this one takes its name. */
#ifndef TESTS_UNIT_CONTROL_RIG_H
#define TESTS_UNIT_CONTROL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define RIG __attribute__((unused)) static /* not every program uses all of it */

#include "base/alloc.h"
#include "control/control_internal.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RIG_WAIT_MS = 20000, RIG_RUNS = 400, RIG_RULES = 16 };

/* ---- the engine ---- */

/* What becomes of a run whose id contains `part`. */
enum rig_fate {
    FATE_RUNS,
    FATE_DEAF /* runs, listens to nothing */,
    FATE_EXITS,
    FATE_STAYS,
    FATE_OOM /* killed by the kernel */
};

struct rig_run {
    char id[RUN_ID_MAX + 1];
    struct run_status status;
    int listener, port;
    unsigned started, stopped, asked; /* how often: told to, for its usage */
    bool changed, forgotten;
    uint64_t rss_bytes, cpu_us; /* that it uses */
    char env[4096];             /* NAME=value lines */
    char argv[512];
};

struct rig {
    char data[64];
    uv_loop_t *loop;
    struct boot boot;
    struct control *c;
    struct rig_engine *engine;
    bool left;
    struct rig_run runs[RIG_RUNS];
    size_t runs_len;
    struct {
        const char *part;
        enum rig_fate fate;
        int code;
    } rules[RIG_RULES];
    size_t rules_len;
    struct control_listener listener;
    char events[65536]; /* kinds: "deploy-accepted packed ... " */
    uint64_t last_event;
    bool ids_rise; /* of all events so far */
    json_t *ended; /* data of the last event "ended" */
    unsigned ends;
    struct error answer_error; /* of the last command */
    json_t *answer;
    unsigned answers;
};

struct rig_engine {
    struct engine base; /* first */
    struct rig *rig;    /* NULL: its controller was killed */
    struct engine_config config;
    int event_fd;
};

static struct rig *rig_now; /* process_engine_open() has no other way to it */

RIG struct rig_run *rig_run(struct rig *r, const char *id)
{
    for (size_t i = 0; i < r->runs_len; i++)
        if (!r->runs[i].forgotten && strcmp(r->runs[i].id, id) == 0)
            return &r->runs[i];
    return NULL;
}

RIG struct rig_run *rig_find(struct rig *r, const char *part)
{
    for (size_t i = r->runs_len; i-- > 0;)
        if (strstr(r->runs[i].id, part) != NULL)
            return &r->runs[i];
    return NULL;
}

/* How many runs with that in their id are alive. */
RIG unsigned rig_alive(struct rig *r, const char *part)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->runs_len; i++)
        n += strstr(r->runs[i].id, part) != NULL && r->runs[i].status.state == RUN_RUNNING;
    return n;
}

RIG unsigned rig_started(struct rig *r, const char *part)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->runs_len; i++)
        if (strstr(r->runs[i].id, part) != NULL)
            n += r->runs[i].started;
    return n;
}

RIG void rig_wake(struct rig *r)
{
    uint64_t one = 1;
    if (r->engine != NULL)
        (void)!write(r->engine->event_fd, &one, sizeof one);
}

RIG void rig_end_run(struct rig *r, struct rig_run *run, int code, int signal)
{
    if (run->status.state == RUN_EXITED || run->status.state == RUN_LOST)
        return;
    if (run->listener >= 0)
        close(run->listener);
    run->listener = -1;
    run->status.state = RUN_EXITED;
    run->status.pid = 0;
    run->status.exit_code = signal != 0 ? -1 : code;
    run->status.exit_signal = signal;
    run->status.ended_ms = clock_wall_ms();
    run->changed = true;
    rig_wake(r);
}

/* Its shim was killed. */
RIG void rig_lose_run(struct rig *r, struct rig_run *run)
{
    rig_end_run(r, run, 0, SIGKILL);
    run->status.state = RUN_LOST;
}

RIG void rig_rule(struct rig *r, const char *part, enum rig_fate fate, int code)
{
    assert_true(r->rules_len < RIG_RULES);
    r->rules[r->rules_len].part = part;
    r->rules[r->rules_len].fate = fate;
    r->rules[r->rules_len++].code = code;
}

RIG int rig_listen(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1024), 0);
    return fd;
}

RIG struct rig *of(struct engine *e)
{
    return ((struct rig_engine *)e)->rig;
}

RIG int fake_start(struct engine *e, const struct run_spec *spec, struct error *err)
{
    struct rig *r = of(e);
    if (r == NULL)
        return 0;
    if (rig_run(r, spec->id) != NULL)
        return error_set(err, ERROR_CONFLICT, "%s ran already", spec->id);
    assert_true(r->runs_len < RIG_RUNS);
    struct rig_run *run = &r->runs[r->runs_len++];
    memset(run, 0, sizeof *run);
    snprintf(run->id, sizeof run->id, "%s", spec->id);
    run->listener = -1;
    run->started++;
    for (size_t i = 0; spec->envp[i] != NULL; i++) {
        snprintf(run->env + strlen(run->env), sizeof run->env - strlen(run->env), "%s\n",
                 spec->envp[i]);
        if (strncmp(spec->envp[i], "PORT=", 5) == 0)
            run->port = atoi(spec->envp[i] + 5);
    }
    for (size_t i = 0; spec->argv[i] != NULL; i++)
        snprintf(run->argv + strlen(run->argv), sizeof run->argv - strlen(run->argv), "%s%s",
                 i > 0 ? " " : "", spec->argv[i]);
    static const char *const labels[] = {"build", "release", "smoke", "stop.before", "run"};
    bool job = false;
    for (size_t i = 0; i < COUNT_OF(labels); i++)
        job = job || strcmp(spec->log_label, labels[i]) == 0;
    enum rig_fate fate = job ? FATE_EXITS : FATE_RUNS;
    int code = 0;
    for (size_t i = 0; i < r->rules_len; i++)
        if (strstr(spec->id, r->rules[i].part) != NULL) {
            fate = r->rules[i].fate;
            code = r->rules[i].code;
        }
    run->status = (struct run_status){
        .state = RUN_RUNNING, .pid = 100000 + (pid_t)r->runs_len, .started_ms = clock_wall_ms()};
    run->changed = true;
    if (fate == FATE_RUNS && run->port != 0)
        run->listener = rig_listen(run->port);
    if (fate == FATE_EXITS)
        rig_end_run(r, run, code, 0);
    run->status.oom_killed = fate == FATE_OOM;
    if (fate == FATE_OOM)
        rig_end_run(r, run, 0, SIGKILL);
    rig_wake(r);
    return 0;
}

RIG int fake_stop(struct engine *e, const char *id, int signal, int64_t grace_ms, struct error *err)
{
    struct rig *r = of(e);
    struct rig_run *run = r != NULL ? rig_run(r, id) : NULL;
    (void)grace_ms;
    if (r != NULL && run == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    if (r == NULL)
        return 0;
    run->stopped++;
    bool stays = false;
    for (size_t i = 0; i < r->rules_len; i++)
        stays = stays || (r->rules[i].fate == FATE_STAYS && strstr(id, r->rules[i].part) != NULL &&
                          signal != SIGKILL);
    if (!stays)
        rig_end_run(r, run, 0, signal);
    return 0;
}

RIG int fake_status(struct engine *e, const char *id, struct run_status *out, struct error *err)
{
    struct rig *r = of(e);
    struct rig_run *run = r != NULL ? rig_run(r, id) : NULL;
    if (run == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    *out = run->status;
    return 0;
}

RIG int fake_owns_port(struct engine *e, const char *id, uint16_t port, bool ipv6, pid_t *stranger)
{
    (void)e, (void)id, (void)port, (void)ipv6, (void)stranger;
    return 1;
}

RIG uint16_t fake_other_port(struct engine *e, const char *id, uint16_t port)
{
    (void)e, (void)id, (void)port;
    return 0;
}

RIG int fake_usage(struct engine *e, const char *id, uint64_t *rss_bytes, uint64_t *cpu_us)
{
    struct rig *r = of(e);
    struct rig_run *run = r != NULL ? rig_run(r, id) : NULL;
    if (run == NULL || run->status.state != RUN_RUNNING)
        return -1;
    run->asked++;
    *rss_bytes = run->rss_bytes;
    *cpu_us = run->cpu_us;
    return 0;
}

RIG int fake_forget(struct engine *e, const char *id, struct error *err)
{
    struct rig *r = of(e);
    struct rig_run *run = r != NULL ? rig_run(r, id) : NULL;
    if (run == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    if (run->status.state != RUN_EXITED && run->status.state != RUN_LOST)
        return error_set(err, ERROR_CONFLICT, "run %s is not over", id);
    run->forgotten = true;
    return 0;
}

RIG void fake_each(struct engine *e,
                   void (*fn)(void *arg, const char *id, const struct run_status *), void *arg)
{
    struct rig *r = of(e);
    for (size_t i = 0; r != NULL && i < r->runs_len; i++)
        if (!r->runs[i].forgotten)
            fn(arg, r->runs[i].id, &r->runs[i].status);
}

RIG int fake_fd(struct engine *e)
{
    return ((struct rig_engine *)e)->event_fd;
}

RIG void fake_poll(struct engine *e)
{
    struct rig_engine *engine = (struct rig_engine *)e;
    uint64_t n;
    (void)!read(engine->event_fd, &n, sizeof n);
    for (size_t i = 0; engine->rig != NULL && i < engine->rig->runs_len; i++) {
        struct rig_run *run = &engine->rig->runs[i];
        if (!run->changed || run->forgotten)
            continue;
        run->changed = false;
        struct run_status status = run->status;
        engine->config.on_change(engine->config.arg, run->id, &status);
    }
}

RIG const char *fake_missing(struct engine *e)
{
    (void)e;
    return "";
}

RIG void fake_close(struct engine *e)
{
    struct rig_engine *engine = (struct rig_engine *)e;
    if (engine->rig != NULL)
        engine->rig->engine = NULL;
    close(engine->event_fd);
    free(engine);
}

struct engine *process_engine_open(const struct engine_config *config, struct error *err)
{
    static const struct engine_ops ops = {
        .name = "made up",
        .start = fake_start,
        .stop = fake_stop,
        .status = fake_status,
        .owns_port = fake_owns_port,
        .other_port = fake_other_port,
        .usage = fake_usage,
        .forget = fake_forget,
        .each = fake_each,
        .fd = fake_fd,
        .poll = fake_poll,
        .missing_limits = fake_missing,
        .close = fake_close,
    };
    (void)err;
    struct rig_engine *e = xcalloc(1, sizeof *e);
    e->base.ops = &ops;
    e->rig = rig_now;
    e->config = *config;
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rig_now->engine = e;
    return &e->base;
}

/* ---- its life ---- */

RIG void rig_on_leave(void *arg)
{
    struct rig *r = arg;
    r->left = true;
}

RIG void rig_on_event(void *arg, const struct control_event *event)
{
    struct rig *r = arg;
    size_t n = strlen(r->events);
    snprintf(r->events + n, sizeof r->events - n, "%s ", event->kind);
    r->ids_rise = r->ids_rise && event->id > r->last_event;
    r->last_event = event->id;
    if (strcmp(event->kind, "ended") != 0)
        return;
    json_t *whole = json_loads(event->json, 0, NULL);
    json_decref(r->ended);
    r->ended = json_incref(json_object_get(whole, "data"));
    r->ends++;
    json_decref(whole);
}

/* The next controller of the same folder. */
RIG void rig_open(struct rig *r)
{
    struct error err = ERROR_INIT;
    rig_now = r;
    r->left = false;
    r->loop = xcalloc(1, sizeof *r->loop);
    assert_int_equal(uv_loop_init(r->loop), 0);
    struct control_config config = {
        .boot = &r->boot, .loop = r->loop, .on_leave = rig_on_leave, .arg = r};
    r->c = control_open(&config, &err);
    if (r->c == NULL)
        fail_msg("%s", err.text);
    r->listener = (struct control_listener){.on_event = rig_on_event, .arg = r};
    control_listen(r->c, &r->listener);
}

RIG void rig_begin(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->ids_rise = true;
    snprintf(r->data, sizeof r->data, "/tmp/sluice-control-XXXXXX");
    assert_non_null(mkdtemp(r->data));
    char path[96];
    snprintf(path, sizeof path, "%s/run", r->data);
    assert_int_equal(mkdir(path, 0755), 0);
    boot_init(&r->boot);
    boot_set(&r->boot.data_dir, r->data);
    rig_open(r);
}

RIG void rig_leave(struct rig *r)
{
    control_leave(r->c, false);
    while (!r->left)
        uv_run(r->loop, UV_RUN_ONCE);
    uv_run(r->loop, UV_RUN_NOWAIT);
    control_free(r->c);
    assert_int_equal(uv_loop_close(r->loop), 0); /* no handle was forgotten */
    free(r->loop);
    r->c = NULL;
}

/* SIGKILL: nothing more reaches store or engine. What it held stays reachable, as it would not
 * matter to a process that is gone. */
RIG void rig_kill(struct rig *r)
{
    static struct {
        struct control *c;
        uv_loop_t *loop;
    } graves[32];
    static size_t n;
    r->engine->rig = NULL;
    r->engine = NULL;
    r->c->listeners = NULL;
    r->c->leaving = true;
    store_close(r->c->store); /* what was submitted was on its way to the disk */
    r->c->store = NULL;
    assert_true(n < COUNT_OF(graves));
    graves[n].c = r->c;
    graves[n++].loop = r->loop;
    r->c = NULL;
}

RIG void rig_remove(const char *path)
{
    if (fork() == 0) {
        execlp("sh", "sh", "-c", "chmod -R u+w \"$0\"; rm -rf \"$0\"", path, (char *)NULL);
        _exit(1);
    }
    wait(NULL);
}

RIG void rig_end(struct rig *r)
{
    if (r->c != NULL)
        rig_leave(r);
    for (size_t i = 0; i < r->runs_len; i++)
        if (r->runs[i].listener >= 0)
            close(r->runs[i].listener);
    boot_release(&r->boot);
    json_decref(r->ended);
    json_decref(r->answer);
    rig_remove(r->data);
}

/* Turns the loop until `condition`, at most RIG_WAIT_MS. */
#define RIG_UNTIL(r, condition)                                                                    \
    do {                                                                                           \
        int64_t until_ = clock_boot_ms() + RIG_WAIT_MS;                                            \
        while (!(condition)) {                                                                     \
            if (clock_boot_ms() > until_)                                                          \
                fail_msg("waited in vain for %s; events: %s", #condition, (r)->events);            \
            uv_run((r)->loop, UV_RUN_ONCE);                                                        \
        }                                                                                          \
    } while (0)

RIG void rig_spin(struct rig *r, int64_t ms)
{
    for (int64_t until = clock_boot_ms() + ms; clock_boot_ms() < until;) {
        uv_run(r->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

/* ---- what people do ---- */

RIG void rig_answer(void *arg, const struct error *err, json_t *body)
{
    struct rig *r = arg;
    r->answers++;
    r->answer_error = err != NULL ? *err : (struct error)ERROR_INIT;
    json_decref(r->answer);
    r->answer = json_incref(body);
}

static const struct caller rig_caller = {.uid = 0, .gid = 0, .name = "tester"};

RIG void rig_send(struct rig *r, const char *spec, const char *environment, const char *key)
{
    struct deploy_request q = {
        .environment = environment, .spec_json = spec, .idempotency_key = key};
    struct caller caller = rig_caller;
    caller.uid = geteuid();
    control_deploy(r->c, &q, &caller, rig_answer, r);
}

RIG void rig_deploy(struct rig *r, const char *spec)
{
    unsigned before = r->answers;
    rig_send(r, spec, NULL, NULL);
    RIG_UNTIL(r, r->answers > before);
    if (r->answer_error.class != ERROR_NONE)
        fail_msg("%s", r->answer_error.text);
}

/* Deploys, and waits for the end; gives its result's word. */
RIG const char *rig_deploy_whole(struct rig *r, const char *spec)
{
    unsigned before = r->ends;
    rig_deploy(r, spec);
    RIG_UNTIL(r, r->ends > before);
    return json_string_value(json_object_get(r->ended, "result"));
}

RIG void rig_order(struct rig *r, enum control_command command, const char *app)
{
    unsigned before = r->answers;
    struct app_name name = {app, NULL};
    control_command(r->c, command, &name, NULL, &rig_caller, rig_answer, r);
    RIG_UNTIL(r, r->answers > before);
}

RIG struct app *rig_app(struct rig *r, const char *key)
{
    return app_by_key(r->c, key);
}

RIG bool rig_quiet(struct rig *r)
{
    for (size_t i = 0; i < r->c->apps.len; i++) {
        const struct app *a = r->c->apps.items[i];
        if (a->phase != PIPE_IDLE || a->marked || a->state.rollout.id != 0 || a->deploy != NULL ||
            app_owes(a) || a->endings.len > 0 || a->gone.len > 0)
            return false;
    }
    return store_pending(r->c->store) == 0;
}

RIG json_t *rig_status(struct rig *r, const char *app)
{
    struct error err = ERROR_INIT;
    struct app_name name = {app, NULL};
    json_t *status = control_status(r->c, &name, &err);
    if (status == NULL)
        fail_msg("%s", err.text);
    return status;
}

/* ---- the store, from outside ---- */

RIG void rig_sql(struct rig *r, const char *sql)
{
    char path[96], *why = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/state.db", r->data);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(db);
}

RIG long long rig_count(struct rig *r, const char *sql)
{
    char path[96];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof path, "%s/state.db", r->data);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    long long n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

/* From now on no batch with a row of these can be stored, as on a full disk. */
RIG void rig_break_store(struct rig *r)
{
    static const char *const tables[] = {"app", "release", "rollout", "instance", "event"};
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        char sql[256];
        snprintf(sql, sizeof sql,
                 "CREATE TRIGGER full_%s BEFORE INSERT ON \"%s\" BEGIN SELECT RAISE(ABORT, 'disk "
                 "full'); END",
                 tables[i], tables[i]);
        rig_sql(r, sql);
    }
}

RIG void rig_mend_store(struct rig *r)
{
    rig_sql(r, "DROP TRIGGER full_app; DROP TRIGGER full_release; DROP TRIGGER full_rollout;"
               "DROP TRIGGER full_instance; DROP TRIGGER full_event");
}

#endif
