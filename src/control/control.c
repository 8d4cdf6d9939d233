/* The controller's heart: opening, the loop's phases, leaving. */
#include "control/orders.h"

#include "control/fetch_link.h"
#include "control/metric_ask.h"
#include "os/clock.h"
#include "os/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DELETED_PREFIX ".deleted-" /* no app's name begins with a dot */

enum { MAINTAIN_MS = 60000, STORE_AGAIN_MS = 10000, STOP_APPS_TICK_MS = 50 };

int control_available(const struct control *c, struct error *err)
{
    if (c->leaving)
        return error_set(err, ERROR_UNAVAILABLE, "the server is being stopped");
    if (c->store == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "the server is degraded: %s", c->degraded);
    return 0;
}

void control_handle_opened(struct control *c)
{
    c->open_handles++;
}

void control_handle_closed(struct control *c)
{
    ASSERT(c->open_handles > 0);
    c->open_handles--;
}

/* ---- the tick
 * ------------------------------------------------------------------------------------- */

static bool draining(struct app *a)
{
    if (!a->draining) /* most apps, at most times */
        return false;
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->draining && !in->stopping && in->life == LIFE_RUNNING)
            return true;
    }
    a->draining = false;
    return false;
}

/* Under another name first: an app of the same name may be deployed before all of it is deleted. */
static void remove_folder(struct control *c, const struct app *a)
{
    cleanup_free char *away =
        xasprintf("%s/apps/%s%s-%lld", c->data, DELETED_PREFIX, a->key, (long long)control_now());
    if (rename(a->dir, away) == 0)
        cleanup_folder(c, away);
    else if (errno != ENOENT)
        log_warn("%s cannot be deleted: %s", a->dir, strerror(errno));
}

/* What an earlier controller did not come to delete. */
static void remove_deleted(struct control *c)
{
    cleanup_free char *apps = xasprintf("%s/apps", c->data);
    DIR *d = opendir(apps);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, DELETED_PREFIX, strlen(DELETED_PREFIX)) == 0) {
            cleanup_free char *path = xasprintf("%s/%s", apps, e->d_name);
            cleanup_folder(c, path);
        }
    closedir(d);
}

static void on_deleted(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct app *a = app_ref_take(arg);
    (void)err;
    if (a == NULL)
        return;
    struct control *c = a->control;
    a->rows_going = false;
    if (outcome != STORE_OK) {
        a->retry_ms = control_now() + STORE_RETRY_MS;
        return;
    }
    remove_folder(c, a);
    app_forget(a);
    control_mark_routes(c);
}

/* An app whose delete has stopped everything goes, once nothing is owed of it: rows, then folders
 * and memory. */
static void finish_delete(struct app *a)
{
    struct control *c = a->control;
    if (!a->deleting || a->rows_going || a->instances.len > 0 || a->state.rollout.id != 0 ||
        a->phase != PIPE_IDLE || a->deploy != NULL || c->store == NULL)
        return;
    while (a->hooks.len > 0) /* a `run` */
        hook_cancel(a->hooks.items[a->hooks.len - 1]);
    if (app_owes(a) || a->gone.len > 0 || a->endings.len > 0 || control_now() < a->retry_ms)
        return;
    struct store_batch *batch = store_batch_new(c->store);
    cleanup_free char *text = xasprintf("app %s is deleted", a->key);
    batch_delete_app(batch, a->key);
    event_add(c, batch, a, "deleted", NULL, 0, text, NULL);
    a->rows_going = true;
    control_submit(c, batch, on_deleted, app_ref_new(a));
}

static void leave_when_stopped(struct control *c);
static void open_store(struct control *c);

static void on_tick(uv_timer_t *timer)
{
    struct control *c = timer->data;
    int64_t now = control_now();
    uint64_t next = TICK_IDLE_MS;
    uv_timer_stop(timer);
    if (c->leaving) {
        leave_when_stopped(c);
        return;
    }
    for (size_t i = c->apps.len; i-- > 0;) {
        struct app *a = c->apps.items[i];
        rates_sample(a, now);
        outlier_tick(a, now);
        watch_tick(a);
        metrics_tick(a);
        bake_tick(a, now);
        orders_tick(a);
        if (draining(a)) {
            next = TICK_DRAIN_MS;
            control_mark(a);
        } else if (a->state.rollout.id != 0 || a->deleting) {
            next = next < TICK_ROLLOUT_MS ? next : TICK_ROLLOUT_MS;
            control_mark(a);
        }
        finish_delete(a);
    }
    traffic_log_tick(c, now);
    evidence_look(c);
    for (size_t i = 0; i < c->apps.len; i++)
        mirror_tick(c->apps.items[i]);
    if (c->store != NULL && now - c->last_maintain_ms > MAINTAIN_MS) {
        c->last_maintain_ms = now;
        store_maintain(c->store);
    }
    disk_tick(c);
    certificates_tick(c);
    acme_tick(c);
    tcp_listeners_tick(c, now);
    if (c->store == NULL && now - c->store_tried_ms > STORE_AGAIN_MS)
        open_store(c); /* perhaps someone has mended it */
    control_tick_within(c, next);
}

void control_tick_within(struct control *c, uint64_t ms)
{
    if (c->leaving || uv_is_closing((uv_handle_t *)&c->tick))
        return;
    if (!uv_is_active((uv_handle_t *)&c->tick) || uv_timer_get_due_in(&c->tick) > ms)
        uv_timer_start(&c->tick, on_tick, ms, 0);
}

void control_tick_soon(struct control *c)
{
    control_tick_within(c, 0);
}

static void tell_ready(struct control *c);

static void on_prepare(uv_prepare_t *prepare)
{
    struct control *c = prepare->data;
    if (c->leaving)
        return;
    clock_jump_watch(c);
    pipeline_run_marked(c);
    tell_ready(c);
}

/* ---- descriptors
 * ---------------------------------------------------------------------------------- */

static void on_engine(uv_poll_t *poll, int status, int events)
{
    struct control *c = poll->data;
    (void)status, (void)events;
    c->engine->ops->poll(c->engine);
}

static void on_store(uv_poll_t *poll, int status, int events)
{
    struct control *c = poll->data;
    (void)status, (void)events;
    store_dispatch(c->store);
}

static void on_guardian(uv_poll_t *poll, int status, int events)
{
    struct control *c = poll->data;
    (void)status, (void)events;
    guardian_link_poll(c->guardian);
}

static void watch_fd(struct control *c, uv_poll_t *poll, int fd, uv_poll_cb cb)
{
    uv_poll_init(c->loop, poll, fd);
    poll->data = c;
    control_handle_opened(c);
    uv_poll_start(poll, UV_READABLE, cb);
}

static bool run_over(const struct run_status *status)
{
    return status->state == RUN_EXITED || status->state == RUN_LOST;
}

static void forget_doomed(struct control *c, const char *id)
{
    free(map_remove(&c->runs, id));
    c->engine->ops->forget(c->engine, id, NULL);
    metric_run_gone(c, id);
}

static void on_run_change(void *arg, const char *id, const struct run_status *status)
{
    struct control *c = arg;
    struct run_owner *owner = map_get(&c->runs, id);
    if (owner == NULL) {
        if (unreadable_owns_run(c, id))
            control_mark_routes(c);
        return;
    }
    if (owner->instance != NULL) {
        instance_on_run(owner->instance, status);
    } else if (owner->hook != NULL) {
        hook_on_run(owner->hook, status);
    } else if (run_over(status)) {
        forget_doomed(c, id);
    }
}

void control_doom_run(struct control *c, const char *id)
{
    struct run_status status;
    const struct engine_ops *ops = c->engine->ops;
    free(map_put(&c->runs, id, xcalloc(1, sizeof(struct run_owner))));
    ops->stop(c->engine, id, SIGKILL, 0, NULL);
    if (ops->status(c->engine, id, &status, NULL) == 0 && !run_over(&status))
        return; /* told when it is */
    forget_doomed(c, id);
}

/* ---- the guardian
 * --------------------------------------------------------------------------------- */

static void on_gateway_up(void *arg, uint64_t generation, pid_t pid, bool previous_snapshot)
{
    struct control *c = arg;
    if (previous_snapshot)
        log_warn("gateway %llu serves the routes before the newest: gateways died of those",
                 (unsigned long long)generation);
    gateway_connect(c, generation, pid, false, previous_snapshot);
}

static void on_gateway_ready(void *arg, uint64_t generation, pid_t pid)
{
    gateway_connect(arg, generation, pid, false, false);
}

static void on_gateway_down(void *arg, uint64_t generation, pid_t pid, const char *how)
{
    gateway_gone(arg, generation);
    if (how[0] == '\0')
        return;
    cleanup_free char *text =
        xasprintf("gateway %llu (pid %d) %s; what ran over it was cut, another one starts",
                  (unsigned long long)generation, (int)pid, how);
    event_now(arg, NULL, "gateway-crashed", NULL, 0, text, NULL);
}

static void on_refused(void *arg, const char *why)
{
    upgrade_refused(arg, why);
}

static void on_leave(void *arg, bool stop_apps, bool hurry)
{
    (void)hurry;
    upgrade_leaving(arg);
    control_leave(arg, stop_apps);
}

static void on_listener_opened(void *arg, const char *address)
{
    tcp_listeners_opened(arg, address);
}

static void on_listener_refused(void *arg, const struct error *why)
{
    tcp_listeners_refused(arg, why);
}

static void on_guardian_gone(void *arg)
{
    tcp_listeners_alone(arg);
}

static const struct guardian_link_events guardian_events = {
    .gateway_up = on_gateway_up,
    .gateway_ready = on_gateway_ready,
    .gateway_down = on_gateway_down,
    .leave = on_leave,
    .refused = on_refused,
    .listener_opened = on_listener_opened,
    .listener_refused = on_listener_refused,
    .guardian_gone = on_guardian_gone,
};

/* ---- opening
 * -------------------------------------------------------------------------------------- */

static void open_store(struct control *c)
{
    struct error err = ERROR_INIT;
    cleanup_free char *path = xasprintf("%s/state.db", c->data);
    cleanup_free char *ballast = xasprintf("%s/ballast", c->data);
    struct store_options options = {.path = path, .ballast_path = ballast};
    c->store_tried_ms = control_now();
    c->store = store_open(&options, &err);
    if (c->store != NULL && control_restore(c, &err) < 0) {
        while (c->apps.len > 0)
            app_forget(c->apps.items[c->apps.len - 1]);
        unreadable_release(c);
        store_close(c->store);
        c->store = NULL;
    }
    if (c->store == NULL) {
        if (strncmp(c->degraded, err.text, sizeof c->degraded - 12) != 0)
            log_error("degraded, the traffic goes on as it was: %s", err.text);
        snprintf(c->degraded, sizeof c->degraded, "%.500s", err.text);
        return;
    }
    c->degraded[0] = '\0';
    remove_deleted(c);
    watch_fd(c, &c->store_poll, store_fd(c->store), on_store);
    c->publishing_allowed = true;
    control_mark_routes(c);
}

static int open_engine(struct control *c, struct error *err)
{
    cleanup_free char *run_dir = xasprintf("%s/run/instances", c->data);
    if (make_folders(AT_FDCWD, run_dir, 0700, err) < 0)
        return -1;
    cleanup_free char *sockets = xasprintf("%s/run/sockets", c->data);
    struct engine_config config = {
        .run_dir = run_dir,
        .sockets_dir = sockets,
        .sockets_gid = c->boot->gateway_uid > 0 ? c->boot->gateway_gid : -1,
        .data_dir = c->data,
        .shim_fd = c->boot->shim_fd,
        .on_change = on_run_change,
        .arg = c,
    };
    c->engine = process_engine_open(&config, err);
    return c->engine != NULL ? 0 : -1;
}

/* What may fail, before there is any handle in the loop. */
static int open_parts(struct control *c, struct error *err)
{
    cleanup_free char *run = xasprintf("%s/run", c->data);
    c->run_dir_fd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->run_dir_fd < 0)
        return error_errno(err, errno, "open %s", run);
    if (boot_id_read(c->boot_id, err) < 0 || open_engine(c, err) < 0)
        return -1;
    c->guardian = guardian_link_open(c->boot, &guardian_events, c, err);
    return c->guardian != NULL ? 0 : -1;
}

/* Gateways that live already: their sockets are in DATA/run. */
static void find_gateways(struct control *c)
{
    cleanup_free char *run = xasprintf("%s/run", c->data);
    DIR *d = opendir(run);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        unsigned long long generation;
        int used = 0;
        if (sscanf(e->d_name, "gateway-%llu.sock%n", &generation, &used) == 1 &&
            e->d_name[used] == '\0' && used > 0)
            gateway_connect(c, generation, 0, true, false);
    }
    closedir(d);
}

struct control *control_open(const struct control_config *config, struct error *err)
{
    struct control *c = xcalloc(1, sizeof *c);
    c->config = *config;
    c->boot = config->boot;
    c->loop = config->loop;
    c->data = xstrdup(c->boot->data_dir);
    sockets_open(c);
    c->snapshot_fd = -1;
    c->started_ms = control_now();
    c->ended_requests = xcalloc(METRICS_REQUEST_SLOTS, sizeof *c->ended_requests);
    c->ended_instances = xcalloc(METRICS_INSTANCE_SLOTS, sizeof *c->ended_instances);
    c->request_slot_used = xcalloc(METRICS_REQUEST_SLOTS, 1);
    c->instance_slot_used = xcalloc(METRICS_INSTANCE_SLOTS, 1);
    c->run_dir_fd = -1;
    if (open_parts(c, err) < 0) {
        control_free(c);
        return NULL;
    }
    uv_timer_init(c->loop, &c->tick);
    uv_prepare_init(c->loop, &c->prepare);
    c->tick.data = c->prepare.data = c;
    c->open_handles += 2;
    watch_fd(c, &c->engine_poll, c->engine->ops->fd(c->engine), on_engine);
    watch_fd(c, &c->guardian_poll, guardian_link_fd(c->guardian), on_guardian);
    publish_restore(c);
    find_gateways(c);
    guardian_link_poll(c->guardian); /* one that shall only stop the apps starts none before */
    open_store(c);
    uv_prepare_start(&c->prepare, on_prepare);
    uv_timer_start(&c->tick, on_tick, 0, 0);
    return c;
}

void control_api_listens(struct control *c)
{
    c->api_listens = true;
}

/* A degraded server is as ready as it can be: its gateway serves, its API says what is wrong. */
static void tell_ready(struct control *c)
{
    if (c->told_ready || !c->api_listens || (!control_ready(c) && c->store != NULL))
        return;
    c->told_ready = true;
    guardian_link_ready(c->guardian);
}

bool control_ready(const struct control *c)
{
    if (c->store == NULL || c->gateways.len == 0 || c->snapshot_version == 0)
        return false;
    for (size_t i = 0; i < c->gateways.len; i++)
        if (!c->gateways.items[i]->dead && c->gateways.items[i]->applied > 0)
            return true;
    return false;
}

/* ---- leaving
 * -------------------------------------------------------------------------------------- */

static void closed(uv_handle_t *handle)
{
    struct control *c = handle->data;
    control_handle_closed(c);
}

static void on_idle_closed(uv_handle_t *handle)
{
    struct control *c = handle->data;
    c->config.on_leave(c->config.arg);
}

/* When every other handle is closed the loop has nothing more of ours. */
static void on_idle(uv_idle_t *idle)
{
    struct control *c = idle->data;
    if (c->open_handles > 0 || c->left)
        return;
    c->left = true;
    uv_close((uv_handle_t *)idle, on_idle_closed);
}

/* With what the judge and the rollout have counted since the last time. */
static void write_last(struct app *a)
{
    bool counts = a->judging && a->judge_fed;
    if (!app_owes(a) && !counts)
        return;
    struct store_batch *batch = store_batch_new(a->control->store);
    if (counts)
        app_put_row(a, batch);
    app_write(a, batch, NULL, NULL);
}

static void let_go(struct control *c)
{
    for (size_t i = 0; c->store != NULL && i < c->apps.len; i++)
        write_last(c->apps.items[i]);
    if (c->store != NULL) {
        store_flush(c->store);
        uv_close((uv_handle_t *)&c->store_poll, closed);
    }
    for (size_t i = 0; i < c->apps.len; i++)
        if (app_owes(c->apps.items[i]))
            log_error("app %s: its last state could not be stored", c->apps.items[i]->key);
    while (c->apps.len > 0)
        app_forget(c->apps.items[c->apps.len - 1]);
    acme_release(c);
    fetch_release(c);
    cleanups_release(c);
    disk_release(c);
    certificates_release(c);
    tcp_listeners_release(c);
    gateways_release(c);
    uv_close((uv_handle_t *)&c->engine_poll, closed);
    uv_close((uv_handle_t *)&c->guardian_poll, closed);
    uv_close((uv_handle_t *)&c->prepare, closed);
    uv_close((uv_handle_t *)&c->tick, closed);
    uv_idle_init(c->loop, &c->idle); /* keeps the loop turning until all is closed */
    c->idle.data = c;
    uv_idle_start(&c->idle, on_idle);
}

/* --stop-apps: every instance is told to stop; the next serve starts them again. */
static bool all_stopped(struct control *c)
{
    bool all = true;
    for (size_t i = 0; i < c->apps.len; i++)
        for (size_t k = 0; k < c->apps.items[i]->instances.len; k++) {
            struct instance *in = c->apps.items[i]->instances.items[k];
            if (in->life != LIFE_RUNNING)
                continue;
            instance_stop(in);
            all = false;
        }
    return all;
}

static void leave_when_stopped(struct control *c)
{
    if (!c->stop_apps || all_stopped(c))
        let_go(c);
    else
        uv_timer_start(&c->tick, on_tick, STOP_APPS_TICK_MS, 0);
}

void control_leave(struct control *c, bool stop_apps)
{
    c->stop_apps = c->stop_apps || stop_apps;
    if (c->leaving)
        return;
    c->leaving = true;
    log_info("leaving%s", stop_apps ? ", the apps are stopped" : ", the apps go on");
    uv_timer_start(&c->tick, on_tick, 0, 0);
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    guardian_link_free(c->guardian);
    if (c->engine != NULL)
        c->engine->ops->close(c->engine);
    store_close(c->store);
    events_release(c);
    unreadable_release(c);
    for (uint32_t i = 0; i < METRICS_REQUEST_SLOTS; i++)
        free(c->ended_requests[i]);
    free(c->ended_requests);
    free(c->ended_instances);
    free(c->request_slot_used);
    free(c->instance_slot_used);
    const char *id;
    void *owner;
    for (size_t i = 0; map_next(&c->runs, &i, &id, &owner);)
        free(owner);
    map_release(&c->runs);
    buf_release(&c->snapshot);
    vec_release(&c->apps);
    vec_release(&c->marked);
    vec_release(&c->acceptances);
    snapshot_free(c->found);
    if (c->snapshot_fd >= 0)
        close(c->snapshot_fd);
    if (c->run_dir_fd >= 0)
        close(c->run_dir_fd);
    free(c->sockets);
    free(c->data);
    free(c);
}
