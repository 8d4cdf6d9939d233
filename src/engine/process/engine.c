#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "os/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEVER INT64_MAX
enum { EVENTS = 64, LINK_AGAIN_MS = 20 };

static struct process_engine *self(struct engine *engine)
{
    return (struct process_engine *)engine;
}

/* ---- runs ----------------------------------------------------------------------------------- */

struct run *run_new(struct process_engine *e, const char *id)
{
    struct run *r = xcalloc(1, sizeof *r);
    r->id = xstrdup(id);
    r->pidfd = r->control_fd = -1;
    r->status.state = RUN_STARTING;
    r->status.exit_code = -1;
    r->shim_watch = (struct watch){WATCH_SHIM, r};
    r->control_watch = (struct watch){WATCH_CONTROL, r};
    void *before = map_put(&e->runs, id, r);
    ASSERT(before == NULL);
    return r;
}

static void run_free(struct process_engine *e, struct run *r)
{
    link_drop(e, r);
    run_unwatch_shim(e, r);
    cgroup_release(&r->cgroup);
    free(r->id);
    free(r);
}

static void unlink_dirty(struct process_engine *e, struct run *r)
{
    for (struct run **at = &e->dirty; *at != NULL; at = &(*at)->next_dirty) {
        if (*at == r) {
            *at = r->next_dirty;
            break;
        }
    }
    r->dirty = false;
}

/* Not freed at once: an event of the batch that is being handled may still point at it. */
static void bury(struct process_engine *e, struct run *r)
{
    link_drop(e, r);
    run_unwatch_shim(e, r);
    r->next_dead = e->dead;
    e->dead = r;
}

static void free_dead(struct process_engine *e)
{
    while (e->dead != NULL) {
        struct run *r = e->dead;
        e->dead = r->next_dead;
        run_free(e, r);
    }
}

void run_delete(struct process_engine *e, struct run *r)
{
    if (r->dirty)
        unlink_dirty(e, r);
    map_remove(&e->runs, r->id);
    bury(e, r);
    engine_wake(e, 0);
}

void run_changed(struct process_engine *e, struct run *r)
{
    if (r->dirty || r->forgotten)
        return;
    r->dirty = true;
    r->next_dirty = e->dirty;
    e->dirty = r;
    engine_wake(e, 0);
}

int run_watch_shim(struct process_engine *e, struct run *r, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &r->shim_watch};
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, r->pidfd, &event) < 0)
        return error_errno(err, errno, "watch a shim");
    return 0;
}

void run_unwatch_shim(struct process_engine *e, struct run *r)
{
    if (r->pidfd < 0)
        return;
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, r->pidfd, NULL);
    close(take_fd(&r->pidfd));
}

/* The shim removes its run's cgroups; now and then the kernel still holds one at that moment. */
int run_remove_traces(struct process_engine *e, struct run *r, struct error *err)
{
    cgroup_remove(&r->cgroup);
    socket_folder_remove(e, r->id);
    return run_folder_remove(e, r->id, err);
}

static void leave(struct process_engine *e, struct run *r)
{
    for (struct run **at = &e->leaving; *at != NULL; at = &(*at)->next_dead) {
        if (*at == r) {
            *at = r->next_dead;
            break;
        }
    }
    run_remove_traces(e, r, NULL);
    bury(e, r);
}

void run_shim_gone(struct process_engine *e, struct run *r)
{
    if (r->pidfd >= 0)
        pidfd_reap(r->pidfd, NULL); /* ours to wait for only where we have started it */
    run_unwatch_shim(e, r);
    link_drop(e, r);
    r->shim_alive = false;
    r->stop.wanted = false;
    if (r->forgotten) {
        leave(e, r);
        return;
    }
    if (r->status.state == RUN_EXITED) /* it said so before it went */
        return;
    cleanup_close int folder = run_folder_open(e, r->id);
    struct error err = ERROR_INIT;
    if (folder >= 0 && run_exit_read(r, folder, &err) == 0) {
        r->status.state = RUN_EXITED;
        r->status.pid = 0;
    } else {
        if (err.class != ERROR_NOT_FOUND && err.class != ERROR_NONE)
            log_warn("run %s: %s", r->id, err.text);
        sweep_begin(e, r);
    }
    run_changed(e, r);
}

/* ---- the timer ------------------------------------------------------------------------------ */

void engine_wake(struct process_engine *e, int64_t in_ms)
{
    int64_t at = clock_mono_ms() + in_ms;
    if (at >= e->timer_at_ms)
        return;
    e->timer_at_ms = at;
    struct itimerspec when = {.it_value = {in_ms / 1000, (in_ms % 1000) * 1000000 + 1}};
    int rc = timerfd_settime(e->timer_fd, 0, &when, NULL);
    ASSERT(rc == 0);
}

/* Shims that are alive but not linked, and words that could not be said yet. */
static void mend(struct process_engine *e, struct run *r)
{
    if (!r->shim_alive)
        return;
    if (r->control_fd < 0) {
        int linked = link_adopt(e, r);
        if (linked < 0 && r->pidfd < 0) /* with a pidfd, that one tells */
            run_shim_gone(e, r);
        else if (linked == 0)
            engine_wake(e, LINK_AGAIN_MS);
    }
    link_send_stop(e, r);
    late_check(e, r);
}

static void on_timer(struct process_engine *e)
{
    uint64_t expirations;
    (void)!read(e->timer_fd, &expirations, sizeof expirations);
    e->timer_at_ms = NEVER;
    const char *id;
    void *value;
    for (size_t i = 0; map_next(&e->runs, &i, &id, &value);)
        mend(e, value);
    for (struct run *r = e->leaving, *next; r != NULL; r = next) {
        next = r->next_dead;
        mend(e, r);
    }
    sweep_pass(e);
}

/* ---- the surface ---------------------------------------------------------------------------- */

static int process_stop(struct engine *engine, const char *id, int signal, int64_t grace_ms,
                        struct error *err)
{
    struct process_engine *e = self(engine);
    struct run *r = map_get(&e->runs, id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "run %s: there is none", id);
    if (signal < 1 || signal > 64)
        return error_set(err, ERROR_USAGE, "run %s: signal %d: there is no such signal", id,
                         signal);
    if (!r->shim_alive || r->status.state == RUN_EXITED)
        return 0;
    int64_t now = clock_boot_ms(), end = grace_ms > NEVER - now ? NEVER : now + grace_ms;
    if (!r->stop.wanted || end < r->stop.kill_at_ms)
        r->stop.kill_at_ms = end;
    r->stop.wanted = true;
    r->stop.signal = signal;
    link_send_stop(e, r);
    late_expect(e, r, grace_ms);
    return 0;
}

static int process_status(struct engine *engine, const char *id, struct run_status *out,
                          struct error *err)
{
    struct run *r = map_get(&self(engine)->runs, id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "run %s: there is none", id);
    *out = r->status;
    return 0;
}

static int process_forget(struct engine *engine, const char *id, struct error *err)
{
    struct process_engine *e = self(engine);
    struct run *r = map_get(&e->runs, id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "run %s: there is none", id);
    if (r->status.state != RUN_EXITED && r->status.state != RUN_LOST)
        return error_set(err, ERROR_CONFLICT, "run %s: it is not over", id);
    if (!r->shim_alive) {
        if (run_remove_traces(e, r, err) < 0)
            return -1;
        run_delete(e, r);
        return 0;
    }
    /* All is over, but its shim still writes the exit record (or cannot, the disk is full): nobody
     * wants that any more. The folder goes when the shim has gone. */
    if (r->dirty)
        unlink_dirty(e, r);
    map_remove(&e->runs, r->id);
    r->forgotten = true;
    r->next_dead = e->leaving;
    e->leaving = r;
    link_send_release(r);
    r->late.look_ms = 0;
    late_expect(e, r, 0);
    return 0;
}

static void process_each(struct engine *engine,
                         void (*fn)(void *arg, const char *id, const struct run_status *),
                         void *arg)
{
    struct process_engine *e = self(engine);
    char **ids = xcalloc(e->runs.len, sizeof *ids);
    size_t n = 0;
    const char *id;
    void *value;
    for (size_t i = 0; map_next(&e->runs, &i, &id, &value);)
        ids[n++] = xstrdup(id);
    for (size_t i = 0; i < n; i++) {
        struct run *r = map_get(&e->runs, ids[i]); /* the callback may have forgotten it */
        if (r != NULL) {
            struct run_status status = r->status;
            fn(arg, ids[i], &status);
        }
        free(ids[i]);
    }
    free(ids);
}

static int process_fd(struct engine *engine)
{
    return self(engine)->epoll_fd;
}

static void deliver(struct process_engine *e)
{
    while (e->dirty != NULL) {
        struct run *r = e->dirty;
        e->dirty = r->next_dirty;
        r->dirty = false;
        struct run_status status = r->status;
        cleanup_free char *id = xstrdup(r->id);
        if (e->config.on_change != NULL)
            e->config.on_change(e->config.arg, id, &status);
    }
}

static void process_poll(struct engine *engine)
{
    struct process_engine *e = self(engine);
    struct epoll_event events[EVENTS];
    int n;
    do {
        n = epoll_wait(e->epoll_fd, events, EVENTS, 0);
        for (int i = 0; i < n; i++) {
            struct watch *w = events[i].data.ptr;
            if (w->kind == WATCH_TIMER)
                on_timer(e);
            else if (w->kind == WATCH_CONTROL)
                link_read(e, w->run);
            else if (w->run->pidfd >= 0 && pidfd_ended(w->run->pidfd)) {
                link_read(e, w->run); /* its last words first */
                run_shim_gone(e, w->run);
            }
        }
    } while (n == EVENTS);
    deliver(e);
    free_dead(e);
}

static const char *process_missing_limits(struct engine *engine)
{
    return self(engine)->missing_limits.text;
}

static void process_close(struct engine *engine)
{
    struct process_engine *e = self(engine);
    const char *id;
    void *value;
    for (size_t i = 0; map_next(&e->runs, &i, &id, &value);)
        run_free(e, value);
    map_release(&e->runs);
    for (struct run *r = e->leaving, *next; r != NULL; r = next) {
        next = r->next_dead;
        run_free(e, r);
    }
    free_dead(e);
    cgroup_release(&e->cgroup);
    if (e->run_dir_fd >= 0)
        close(e->run_dir_fd);
    if (e->sockets_fd >= 0)
        close(e->sockets_fd);
    if (e->timer_fd >= 0)
        close(e->timer_fd);
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
    free(e->run_dir);
    free(e->data_dir);
    free(e->sockets_dir);
    free(e);
}

static const struct engine_ops process_ops = {
    .name = "process",
    .start = process_start,
    .stop = process_stop,
    .status = process_status,
    .owns_port = process_owns_port,
    .other_port = process_other_port,
    .usage = process_usage,
    .forget = process_forget,
    .each = process_each,
    .fd = process_fd,
    .poll = process_poll,
    .missing_limits = process_missing_limits,
    .close = process_close,
};

static int open_descriptors(struct process_engine *e, struct error *err)
{
    e->run_dir_fd = open(e->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->run_dir_fd < 0)
        return error_errno(err, errno, "open %s", e->run_dir);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &e->timer_watch};
    if (e->epoll_fd < 0 || e->timer_fd < 0 ||
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->timer_fd, &event) < 0)
        return error_errno(err, errno, "epoll of the process engine");
    return boot_id_read(e->boot_id, err);
}

/* Runs of two data folders may have the same id, their cgroups may not. */
static int find_cgroup(struct process_engine *e, struct error *err)
{
    struct stat st;
    if (fstat(e->run_dir_fd, &st) < 0)
        return error_errno(err, errno, "stat %s", e->run_dir);
    snprintf(e->cgroup_prefix, sizeof e->cgroup_prefix, "%08x-",
             (unsigned)(st.st_ino * 2654435761U ^ st.st_dev));
    cgroup_find("sluice", &e->cgroup, &e->missing_limits);
    if (e->missing_limits.text[0] != '\0')
        log_warn("resource limits that cannot be enforced here: %s", e->missing_limits.text);
    return 0;
}

struct engine *process_engine_open(const struct engine_config *config, struct error *err)
{
    struct process_engine *e = xcalloc(1, sizeof *e);
    e->base.ops = &process_ops;
    e->config = *config;
    e->run_dir = xstrdup(config->run_dir);
    e->data_dir = xstrdup(config->data_dir);
    e->sockets_dir = config->sockets_dir != NULL ? xstrdup(config->sockets_dir) : NULL;
    e->run_dir_fd = e->sockets_fd = e->epoll_fd = e->timer_fd = -1;
    e->timer_watch = (struct watch){WATCH_TIMER, NULL};
    e->timer_at_ms = NEVER;
    if (open_descriptors(e, err) < 0 || socket_folders_open(e, err) < 0 ||
        find_cgroup(e, err) < 0 || adopt_all(e, err) < 0) {
        process_close(&e->base);
        return NULL;
    }
    return &e->base;
}
