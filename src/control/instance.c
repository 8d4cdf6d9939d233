/* One instance: how it is started, drained, stopped, and what becomes of it. */
#include "base/units.h"
#include "control/control_internal.h"

#include "observe/logs.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
    UP_LONG_MS = 600000, /* up so long: the next crash counts as the first */
    PORT_LOW = 20000,    /* below the kernel's ephemeral range, so that no client takes it */
    PORT_COUNT = 12000,
};

const struct process_spec *instance_process(const struct instance *in, const struct app_spec **spec)
{
    struct release *r = app_release(in->app, in->release);
    const struct app_spec *s = r != NULL ? release_spec(in->app, r) : NULL;
    if (spec != NULL)
        *spec = s;
    return s != NULL && in->process < s->processes_len ? &s->processes[in->process] : NULL;
}

static bool id_taken(const struct app *a, const char *id)
{
    for (size_t i = 0; i < a->instances.len; i++)
        if (strcmp(a->instances.items[i]->id, id) == 0)
            return true;
    return false;
}

/* "shop-7-1"; of another environment than production "shop.staging-7-1". The lowest free number. */
static void choose_id(const struct app *a, uint32_t release, char out[INSTANCE_ID_MAX])
{
    for (unsigned n = 1;; n++) {
        snprintf(out, INSTANCE_ID_MAX, "%s-%u-%u", a->label, release, n);
        if (!id_taken(a, out))
            return;
    }
}

struct instance *instance_new(struct app *a, uint32_t pool, uint32_t release, uint8_t process)
{
    struct control *c = a->control;
    struct instance *in = xcalloc(1, sizeof *in);
    in->app = a;
    in->control = c;
    in->pool = pool;
    in->release = release;
    in->process = process;
    in->slot = UINT32_MAX;
    in->created_ms = in->since_ms = control_now();
    in->last_state = INSTANCE_STARTING;
    choose_id(a, release, in->id);
    const struct process_spec *p = instance_process(in, NULL);
    for (uint32_t s = 0; p != NULL && p->routed && s < METRICS_INSTANCE_SLOTS; s++)
        if (!c->instance_slot_used[s]) {
            c->instance_slot_used[s] = 1;
            in->slot = s;
            for (int m = 0; m < INSTANCE_METRICS; m++)
                in->base[m] = measure_instance(c, s, (enum instance_metric)m);
            break;
        }
    for (int i = 0; i < PROBE_ROLES; i++) {
        struct probe *probe = &in->probes[i];
        probe->instance = in;
        probe->role = (enum probe_role)i;
        uv_timer_init(c->loop, &probe->timer);
        probe->timer.data = probe;
        in->probes_open++;
        control_handle_opened(c);
    }
    *vec_push(&a->instances) = in;
    return in;
}

/* ---- starting
 * ------------------------------------------------------------------------------------- */

static bool port_in_use_by_us(const struct control *c, uint16_t port)
{
    for (size_t i = 0; i < c->apps.len; i++)
        for (size_t k = 0; k < c->apps.items[i]->instances.len; k++)
            if (c->apps.items[i]->instances.items[k]->port == port)
                return true;
    return false;
}

/* A listener on any address of IPv6 would get in the way, too. Without IPv6 there is none. */
static bool port_free6(uint16_t port)
{
    cleanup_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int only = 1;
    return fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0 ||
           bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 || errno == EADDRNOTAVAIL;
}

static bool port_free(uint16_t port)
{
    cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_ANY); /* a listener on any address would get in the way */
    return fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && port_free6(port);
}

static uint16_t choose_port(const struct control *c)
{
    uint16_t start = 0;
    (void)!getrandom(&start, sizeof start, 0);
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        uint16_t port = (uint16_t)(PORT_LOW + (start + i) % PORT_COUNT);
        if (!port_in_use_by_us(c, port) && port_free(port))
            return port;
    }
    return 0; /* the app will fail to listen and say so */
}

void instance_plan_run(struct instance *in)
{
    struct app *a = in->app;
    const struct app_spec *spec;
    const struct process_spec *p = instance_process(in, &spec);
    in->run = a->next_run++;
    snprintf(in->run_id, sizeof in->run_id, "%s.%u", in->id, in->run);
    socket_plan(in);
    in->port = 0;
    in->ipv6 = false;
    if (p != NULL && in->socket[0] == '\0' && (p->routed || spec->processes_len == 1))
        in->port = spec->port != 0 ? spec->port : choose_port(a->control);
    in->life = LIFE_PLANNED;
    in->stopping = in->signalled = in->draining = in->restart_wanted = false;
    in->start_failed = in->port_taken = in->ever_ready = in->adopted_ready = false;
    in->drain_timed_out = in->routed = false;
    in->ejections = outlier_of(a->control, in).times; /* of those before it in its slot */
    in->ejections_known = true;
    in->ready_boot_ms = 0;
    in->undrained_version = 0;
    in->pid = 0;
}

static uint32_t row_flags(const struct instance *in)
{
    uint32_t crashes =
        in->fast_crashes < INSTANCE_FLAG_CRASHES_MAX ? in->fast_crashes : INSTANCE_FLAG_CRASHES_MAX;
    uint32_t flags = crashes << INSTANCE_FLAG_CRASHES_SHIFT;
    if (instance_ready(in))
        flags |= STORE_INSTANCE_ADOPTED_READY;
    if (in->draining)
        flags |= INSTANCE_FLAG_LEAVING;
    if (instance_state(in) == INSTANCE_BACKING_OFF)
        flags |= INSTANCE_FLAG_DOWN;
    if (in->ipv6)
        flags |= INSTANCE_FLAG_IPV6;
    if (in->slot != UINT32_MAX)
        flags |= (in->slot + 1) << INSTANCE_FLAG_SLOT_SHIFT;
    return flags;
}

void instance_put_row(const struct instance *in, struct store_batch *batch)
{
    struct store_instance row = {
        .app = in->app->key,
        .id = in->id,
        .pool = in->pool,
        .process = in->process,
        .run = in->run,
        .port = in->port,
        .boot_id = in->app->control->boot_id,
        .created_ms = in->created_ms,
        .restarts = in->restarts,
        .flags = row_flags(in),
    };
    batch_put_instance(batch, &row);
}

static void own_run(struct instance *in)
{
    struct run_owner *owner = xcalloc(1, sizeof *owner);
    owner->instance = in;
    free(map_put(&in->app->control->runs, in->run_id, owner));
}

/* Its record stays until the store knows that it is over: a controller that finds neither would
 * take it for one that was never started. */
static void disown_run(struct instance *in)
{
    const struct app_spec *spec;
    instance_process(in, &spec);
    free(map_remove(&in->app->control->runs, in->run_id));
    app_spend_run(in->app, in->run_id);
    if (spec != NULL && spec->stop.before_len > 0) { /* also those of an earlier controller */
        cleanup_free char *before = xasprintf("%s-before.", in->run_id);
        hook_drop_left(in->app, before);
    }
}

static void start_failed(struct instance *in, const char *why)
{
    struct run_status status = {.state = RUN_EXITED, .exit_code = -1, .start_failed = true};
    snprintf(status.reason, sizeof status.reason, "%.255s", why);
    instance_on_run(in, &status);
}

void instance_start(struct instance *in)
{
    struct app *a = in->app;
    struct control *c = a->control;
    struct release *r = app_release(a, in->release);
    const struct app_spec *spec;
    const struct process_spec *p = instance_process(in, &spec);
    in->started_ms = control_now();
    if (p == NULL) {
        start_failed(in, "its release is gone");
        return;
    }
    struct error err = ERROR_INIT;
    if (in->socket[0] != '\0' && sockets_prepare(c, &err) < 0) {
        start_failed(in, err.text);
        return;
    }
    struct run_env env;
    run_env_make(&env, a, r, spec, in, NULL, 0);
    struct run_spec run;
    run_spec_fill(&run, a, r, spec);
    run.id = in->run_id;
    run.socket = in->socket[0] != '\0';
    run.argv = run_env_expand(&env, &p->run);
    run.envp = (const char *const *)env.envp;
    run.state_dir = env.state_dir;
    run.log_label = p->name;
    cleanup_free char *log = xasprintf("%s/logs/%s.log", a->dir, in->id);
    run.log_path = log;
    in->life = LIFE_RUNNING;
    own_run(in);
    if (c->engine->ops->start(c->engine, &run, &err) < 0)
        start_failed(in, err.text);
    run_env_release(&env);
}

void instance_adopt(struct instance *in)
{
    in->life = LIFE_RUNNING;
    own_run(in);
    struct run_status status;
    struct error err = ERROR_INIT;
    struct engine *e = in->app->control->engine;
    if (e->ops->status(e, in->run_id, &status, &err) < 0)
        start_failed(in, err.text);
    else
        instance_on_run(in, &status);
}

/* ---- what the engine says
 * ------------------------------------------------------------------------- */

static void describe_end(struct instance *in, const struct run_status *st)
{
    char memory[32];
    const struct app_spec *spec;
    instance_process(in, &spec);
    uint64_t limit = spec != NULL ? spec->memory_bytes : 0;
    if (st->start_failed)
        snprintf(in->detail, sizeof in->detail, "did not start: %s", st->reason);
    else if (st->oom_killed && limit == 0)
        snprintf(in->detail, sizeof in->detail,
                 "killed: out of memory (of the machine: it has no limit of its own)");
    else if (st->oom_killed)
        snprintf(in->detail, sizeof in->detail, "killed: out of memory (limit %s)",
                 format_size_bytes(limit, memory, sizeof memory));
    else if (st->state == RUN_LOST)
        snprintf(in->detail, sizeof in->detail, "its shim was killed, so it was killed too");
    else if (st->exit_signal != 0)
        snprintf(in->detail, sizeof in->detail, "killed by signal %d (%s)", st->exit_signal,
                 strsignal(st->exit_signal));
    else
        snprintf(in->detail, sizeof in->detail, "exited with status %d", st->exit_code);
}

/* The reason and, where there is one, the app's last line. */
static void add_last_line(struct instance *in)
{
    cleanup_free char *dir = app_path(in->app, "logs");
    cleanup_buf struct buf line = BUF_INIT;
    if (logs_last_lines(dir, in->id, 1, &line) <= 0 || line.len < 2)
        return;
    size_t used = strlen(in->detail);
    snprintf(in->detail + used, sizeof in->detail - used, "; its last line: %.*s",
             (int)(line.len - 1 < 200 ? line.len - 1 : 200), line.data);
}

/* That somebody killed its shim says nothing about the release. */
static void count_end(struct instance *in, const struct run_status *st)
{
    bool long_up = in->exited_ms - in->started_ms >= UP_LONG_MS;
    if (st->state == RUN_LOST) {
        in->losses = long_up ? 1 : in->losses + 1;
        return;
    }
    in->losses = 0;
    in->fast_crashes = long_up ? 1 : in->fast_crashes + 1;
}

static void on_end(struct instance *in, const struct run_status *st)
{
    struct app *a = in->app;
    int64_t now = control_now();
    bool wanted = (!in->stopping && !in->draining) || in->restart_wanted;
    probes_stop(in);
    in->life = LIFE_EXITED;
    /* It may have ended while there was no controller. */
    in->exited_ms = st->ended_ms > 0 && st->ended_ms < now ? st->ended_ms : now;
    if (st->started_ms != 0)
        in->started_ms = st->started_ms;
    in->pid = 0;
    in->start_failed = st->start_failed;
    in->out_of_memory = st->oom_killed;
    in->adopted_ready = false;
    if (!in->restart_wanted || st->start_failed)
        describe_end(in, st);
    if (wanted) {
        count_end(in, st);
        if (!st->start_failed)
            add_last_line(in);
    }
    if (!in->restart_wanted && in->stopping)
        in->draining = true;
    in->stopping = in->stopping && !in->restart_wanted;
    in->restart_wanted = false;
    hook_cancel(in->stop_hook);
    in->stop_hook = NULL;
    disown_run(in);
    if (wanted && !a->control->leaving) {
        struct store_batch *batch = store_batch_new(a->control->store);
        cleanup_free char *text = xasprintf("%s %s", in->id, in->detail);
        event_add(a->control, batch, a, "instance-crashed", NULL, in->release, text, NULL);
        instance_put_row(in, batch);
        app_write(a, batch, NULL, NULL);
    }
    control_mark_routes(a->control);
    control_mark(a);
}

void instance_on_run(struct instance *in, const struct run_status *st)
{
    switch (st->state) {
    case RUN_STARTING: break;
    case RUN_RUNNING:
        if (in->pid == st->pid)
            break;
        in->pid = st->pid;
        if (st->started_ms != 0)
            in->started_ms = st->started_ms;
        if (!in->stopping)
            probes_start(in);
        break;
    case RUN_CLEANING: /* its processes may still answer, but nobody holds them */
        probes_stop(in);
        in->adopted_ready = false;
        control_mark_routes(in->app->control);
        break;
    case RUN_EXITED:
    case RUN_LOST:
        if (in->life == LIFE_RUNNING)
            on_end(in, st);
        break;
    }
    control_mark(in->app);
}

/* ---- leaving
 * -------------------------------------------------------------------------------------- */

void instance_drain(struct instance *in)
{
    if (in->draining)
        return;
    const struct app_spec *spec;
    instance_process(in, &spec);
    int64_t drain = spec != NULL ? spec->stop.drain_ms : 0;
    in->draining = true;
    in->undrained_version = 0;
    in->drain_left = in->drain_open = 0;
    in->app->draining = true;
    in->drain_deadline_ms = control_now() + drain;
    in->drain_deadline_boot_ms = (uint64_t)(clock_boot_ms() + drain);
    control_mark_routes(in->app->control);
    control_tick_within(in->app->control, TICK_DRAIN_MS);
}

static void look_at_flight(struct instance *in)
{
    const struct control *c = in->app->control;
    uint64_t left = measure_in_flight(c, in->slot);
    uint64_t open = measure_instance(c, in->slot, INSTANCE_UPGRADED);
    if (left == 0)
        return;
    in->drain_left = left;
    in->drain_open = open < left ? open : left;
}

/* Requests that are cut count as failed by themselves; connections (of TCP routes, and such as were
 * upgraded) are over in any case. */
static void tell_cut(struct instance *in)
{
    char time[32];
    const struct app_spec *spec;
    cleanup_buf struct buf text = BUF_INIT;
    uint64_t open = in->drain_open, requests = in->drain_left - open;
    instance_process(in, &spec);
    buf_printf(&text, "%s: ", in->id);
    if (requests > 0)
        buf_printf(&text, "%" PRIu64 " request%s", requests, requests == 1 ? "" : "s");
    if (open > 0)
        buf_printf(&text, "%s%" PRIu64 " connection%s", requests > 0 ? " and " : "", open,
                   open == 1 ? "" : "s");
    buf_printf(&text, " %s cut when its drain time%s%s%s was over",
               in->drain_left == 1 ? "was" : "were", spec != NULL ? " (" : "",
               spec != NULL ? format_duration_ms(spec->stop.drain_ms, time, sizeof time) : "",
               spec != NULL ? ")" : "");
    in->app->start.cut += open;
    event_now(in->app->control, in->app, "drain-timeout", NULL, in->release, buf_str(&text), NULL);
}

bool instance_drained(struct instance *in)
{
    struct control *c = in->app->control;
    if (!in->draining)
        return false;
    if (!in->routed || in->slot == UINT32_MAX || in->life != LIFE_RUNNING)
        return true;
    bool empty = in->undrained_version != 0 && publish_seen(c, in->undrained_version) &&
                 measure_is_whole(c) && /* else nobody knows until it is gone */
                 measure_in_flight(c, in->slot) == 0;
    look_at_flight(in);
    if (control_now() < in->drain_deadline_ms) {
        if (empty)
            in->drain_left = 0;
        return empty;
    }
    /* Gateways cut what is left at the same moment, and may have been first. */
    if (in->drain_left > 0 && !in->drain_timed_out) {
        in->drain_timed_out = true;
        tell_cut(in);
    }
    return true;
}

static void tell_engine(struct instance *in)
{
    const struct app_spec *spec;
    instance_process(in, &spec);
    struct engine *e = in->app->control->engine;
    struct error err = ERROR_INIT;
    in->signalled = true;
    if (e->ops->stop(e, in->run_id, spec != NULL ? spec->stop.signal : 15,
                     spec != NULL ? spec->stop.grace_ms : 0, &err) < 0)
        log_warn("%s: %s", in->run_id, err.text);
}

static void on_before_done(void *arg, struct hook *hook, bool ok, const char *text)
{
    struct instance *in = arg;
    (void)hook;
    in->stop_hook = NULL;
    if (!ok)
        event_now(in->app->control, in->app, "stop-command-failed", NULL, in->release, text, NULL);
    if (in->life == LIFE_RUNNING && !in->signalled)
        tell_engine(in);
}

void instance_stop(struct instance *in)
{
    if (in->life != LIFE_RUNNING || (in->stopping && !in->restart_wanted))
        return;
    bool being_restarted = in->restart_wanted; /* the engine was told already */
    in->restart_wanted = false;
    if (being_restarted)
        return;
    const struct app_spec *spec;
    instance_process(in, &spec);
    in->stopping = true;
    probes_stop(in);
    if (spec == NULL || spec->stop.before_len == 0) {
        tell_engine(in);
        return;
    }
    cleanup_free char *id = xasprintf("%s-before", in->run_id);
    struct hook_config config = {
        .kind = HOOK_STOP_BEFORE,
        .commands = spec->stop.before,
        .commands_len = spec->stop.before_len,
        .id = id,
        .release = in->release,
        .instance = in,
        .timeout_ms = spec->stop.grace_ms > 0 ? spec->stop.grace_ms : 1000,
        .done = on_before_done,
        .arg = in,
    };
    in->stop_hook = hook_start(in->app, &config);
}

void instance_kill_for_restart(struct instance *in, const char *why)
{
    if (in->stopping || in->life != LIFE_RUNNING)
        return;
    snprintf(in->detail, sizeof in->detail, "%s", why);
    in->stopping = true;
    in->restart_wanted = true;
    probes_stop(in);
    control_mark_routes(in->app->control);
    tell_engine(in);
    control_mark(in->app);
}

void instance_free_if_closed(struct instance *in)
{
    if (in->gone && in->probes_open == 0)
        free(in);
}

void instance_remove(struct instance *in)
{
    struct app *a = in->app;
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i] == in) {
            vec_remove(&a->instances, i);
            break;
        }
    if (in->life == LIFE_RUNNING) /* the controller leaves; the run goes on */
        free(map_remove(&a->control->runs, in->run_id));
    hook_cancel(in->stop_hook);
    if (in->slot != UINT32_MAX)
        a->control->instance_slot_used[in->slot] = 0;
    in->gone = true;
    probes_close(in);
}

/* ---- how it looks
 * --------------------------------------------------------------------------------- */

bool instance_ready(const struct instance *in)
{
    if (in->life != LIFE_RUNNING || in->stopping || in->draining)
        return false;
    return in->adopted_ready || in->probes[PROBE_READINESS].passed;
}

enum instance_state instance_state(const struct instance *in)
{
    if (in->life == LIFE_EXITED)
        return in->stopping || in->draining ? INSTANCE_EXITED : INSTANCE_BACKING_OFF;
    if (in->stopping && !in->restart_wanted)
        return INSTANCE_STOPPING;
    if (in->draining)
        return INSTANCE_DRAINING;
    if (instance_ready(in))
        return INSTANCE_READY;
    return in->ever_ready ? INSTANCE_UNREADY : INSTANCE_STARTING;
}
