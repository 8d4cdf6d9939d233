/* The engine's place: runs that outlive controllers, as their shims do. What it tells may come late
 * or twice; what a controller that was killed did not hear, the next one finds. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct sim_engine {
    struct engine base; /* first */
    struct engine_config config;
    int event_fd;
    bool *changed; /* by place in sim_runs */
    size_t changed_len;
};

struct sim_runs sim_runs;
static struct sim_engine *engine; /* of the present controller */
static uint64_t serials;

/* ---- runs ---- */

struct sim_run *engine_run(const char *id)
{
    for (size_t i = sim_runs.len; i-- > 0;)
        if (!sim_runs.items[i]->forgotten && strcmp(sim_runs.items[i]->id, id) == 0)
            return sim_runs.items[i];
    return NULL;
}

bool run_alive(const struct sim_run *r)
{
    return r->status.state == RUN_STARTING || r->status.state == RUN_RUNNING ||
           r->status.state == RUN_CLEANING;
}

struct sim_run *engine_by_port(uint16_t port)
{
    for (size_t i = sim_runs.len; i-- > 0;)
        if (sim_runs.items[i]->port == port && run_alive(sim_runs.items[i]))
            return sim_runs.items[i];
    return NULL;
}

bool port_is_taken(uint16_t port)
{
    const struct sim_run *r = engine_by_port(port);
    return r != NULL && r->listening;
}

static struct sim_run *of_serial(uint64_t serial)
{
    for (size_t i = sim_runs.len; i-- > 0;)
        if (sim_runs.items[i]->serial == serial)
            return sim_runs.items[i];
    return NULL;
}

static void on_tell(void *arg, uint64_t life)
{
    uint64_t one = 1;
    (void)arg;
    if (engine != NULL && sim.life == life)
        (void)!write(engine->event_fd, &one, sizeof one);
}

/* The controller hears of it soon, sometimes late, sometimes twice. */
static void changed(struct sim_run *r)
{
    if (engine == NULL)
        return;
    size_t place = 0;
    while (sim_runs.items[place] != r)
        place++;
    if (place >= engine->changed_len) {
        size_t len = place + 64;
        engine->changed = xrealloc(engine->changed, len, sizeof(bool));
        memset(engine->changed + engine->changed_len, 0,
               (len - engine->changed_len) * sizeof(bool));
        engine->changed_len = len;
    }
    engine->changed[place] = true;
    bool late = sim.faults.instances && !sim.calm && sim_chance(5);
    sim_at(sim_between(20, 500) + (late ? sim_between(0, SIM_SECOND) : 0), on_tell, NULL, sim.life);
    if (late)
        sim_at(sim_between(0, 2 * SIM_SECOND), on_tell, NULL, sim.life);
}

static void end_run(struct sim_run *r, int code, int signal)
{
    if (!run_alive(r))
        return;
    r->status.state = RUN_EXITED;
    r->status.pid = 0;
    r->status.exit_code = signal != 0 ? -1 : code;
    r->status.exit_signal = signal;
    r->status.ended_ms = sim_now() / SIM_MS + sim.wall_offset_ms;
    r->listening = r->ready = false;
    sim_note("%s ends: code %d, signal %d", r->id, r->status.exit_code, signal);
    changed(r);
}

void engine_crash(struct sim_run *r, int signal)
{
    end_run(r, 0, signal);
}

static void on_cleaned(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r == NULL || r->status.state != RUN_CLEANING)
        return;
    r->status.state = RUN_LOST;
    r->status.ended_ms = 0;
    changed(r);
}

void engine_lose(struct sim_run *r)
{
    if (r->status.state != RUN_RUNNING)
        return;
    sim_note("%s loses its shim", r->id);
    r->status.state = RUN_CLEANING;
    r->status.pid = 0;
    r->listening = r->ready = false;
    changed(r);
    sim_at(sim_between(1, 200) * SIM_MS, on_cleaned, NULL, r->serial);
}

static void on_crash(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r != NULL && !sim.calm)
        end_run(r, 3, 0);
}

static void on_flap(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r == NULL || !run_alive(r) || !r->listening)
        return;
    r->ready = sim.calm || !r->ready;
    sim_note("%s is %sready by itself", r->id, r->ready ? "" : "not ");
    if (!sim.calm)
        sim_at(sim_between(100, 3000) * SIM_MS, on_flap, NULL, serial);
}

static void on_ready(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r == NULL || r->status.state != RUN_RUNNING)
        return;
    r->listening = true;
    r->ready = !r->how->never_ready;
    if (r->how->flap_us != 0 && sim.faults.instances && !sim.calm)
        sim_at(r->how->flap_us, on_flap, NULL, serial);
}

static void on_job_end(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r == NULL || r->status.state != RUN_RUNNING)
        return;
    bool build = strstr(r->id, "-build.") != NULL;
    end_run(r, (build ? r->how->build_fails : r->how->hook_fails) ? 1 : 0, 0);
}

static void on_running(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r == NULL || r->status.state != RUN_STARTING)
        return;
    if (r->how->start_fails && !r->job) {
        r->status.start_failed = true;
        snprintf(r->status.reason, sizeof r->status.reason, "exec ./shop: no such file");
        end_run(r, -1, 0);
        return;
    }
    r->status.state = RUN_RUNNING;
    r->status.pid = (pid_t)(1000 + r->serial);
    r->status.started_ms = sim_now() / SIM_MS + sim.wall_offset_ms;
    changed(r);
    if (r->job) {
        sim_at(r->how->job_us, on_job_end, NULL, serial);
        return;
    }
    bool slow = sim.faults.instances && !sim.calm && sim_chance(10);
    sim_at(r->how->ready_us + (slow ? sim_between(0, 4 * SIM_SECOND) : 0), on_ready, NULL, serial);
    if (r->how->crash_us != 0 && sim.faults.instances)
        sim_at(r->how->crash_us + sim_between(0, r->how->crash_us), on_crash, NULL, serial);
}

static void on_killed(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r != NULL)
        end_run(r, 0, SIGKILL);
}

static void on_stopped(void *arg, uint64_t serial)
{
    struct sim_run *r = of_serial(serial);
    (void)arg;
    if (r != NULL)
        end_run(r, 0, 0);
}

/* ---- what the controller calls ---- */

static const char *env_of(const struct run_spec *spec, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; spec->envp[i] != NULL; i++)
        if (strncmp(spec->envp[i], name, n) == 0 && spec->envp[i][n] == '=')
            return spec->envp[i] + n + 1;
    return NULL;
}

static bool is_job(const char *label)
{
    static const char *const labels[] = {"build", "release", "smoke", "stop.before", "run"};
    for (size_t i = 0; i < COUNT_OF(labels); i++)
        if (strcmp(label, labels[i]) == 0)
            return true;
    return false;
}

static int start(struct engine *e, const struct run_spec *spec, struct error *err)
{
    (void)e;
    sim_boundary("an engine's start");
    if (engine_run(spec->id) != NULL)
        return error_set(err, ERROR_CONFLICT, "%s ran already", spec->id);
    const char *how = env_of(spec, "SIM"), *port = env_of(spec, "PORT");
    struct sim_run *r = xcalloc(1, sizeof *r);
    snprintf(r->id, sizeof r->id, "%s", spec->id);
    snprintf(r->app, sizeof r->app, "%s", env_of(spec, "SLUICE_APP"));
    r->release = (uint32_t)atoi(env_of(spec, "SLUICE_RELEASE"));
    r->how = &sim.behaviours[atoi(how)];
    r->job = is_job(spec->log_label);
    if (!r->job)
        snprintf(r->instance, sizeof r->instance, "%.*s", (int)(strrchr(spec->id, '.') - spec->id),
                 spec->id);
    r->port = port != NULL && !r->job ? (uint16_t)atoi(port) : 0;
    r->status.state = RUN_STARTING;
    r->status.shim_pid = 1;
    r->serial = ++serials;
    r->began_us = sim_now();
    r->told = RUN_STARTING;
    bool lately = sim.fault_until_us != 0 && sim_now() - sim.fault_until_us < 3 * SIM_SECOND;
    r->unstored = lately || disk_failing();
    sim_note("start %s port %u", r->id, r->port);
    check_start(r);
    *vec_push(&sim_runs) = r;
    sim_at(r->how->start_us, on_running, NULL, r->serial);
    sim_boundary("an engine's start that was made");
    return 0;
}

static int stop(struct engine *e, const char *id, int signal, int64_t grace_ms, struct error *err)
{
    (void)e;
    sim_boundary("an engine's stop");
    struct sim_run *r = engine_run(id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    sim_note("stop %s signal %d grace %lld", id, signal, (long long)grace_ms);
    bool at_once = signal == SIGKILL;
    check_stop(r, at_once);
    if (!r->told_stop)
        r->stop_told_us = sim_now();
    r->told_stop = true;
    r->killed = r->killed || at_once;
    if (!run_alive(r))
        return 0;
    if (at_once)
        sim_at(sim_between(100, 5000), on_killed, NULL, r->serial);
    else if (!r->how->ignores_term)
        sim_at(r->how->stop_us, on_stopped, NULL, r->serial);
    if (!at_once)
        sim_at(grace_ms * SIM_MS, on_killed, NULL, r->serial);
    sim_boundary("an engine's stop that was made");
    return 0;
}

static int status(struct engine *e, const char *id, struct run_status *out, struct error *err)
{
    (void)e;
    struct sim_run *r = engine_run(id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    *out = r->status;
    r->told = r->status.state;
    return 0;
}

static int owns_port(struct engine *e, const char *id, uint16_t port, bool ipv6, pid_t *stranger)
{
    (void)e;
    if (ipv6) /* simulated apps listen on 127.0.0.1 */
        return 0;
    const struct sim_run *r = engine_run(id), *owner = engine_by_port(port);
    if (owner == NULL || !owner->listening)
        return 0;
    *stranger = 0;
    return owner == r ? 1 : -1;
}

static uint16_t other_port(struct engine *e, const char *id, uint16_t port)
{
    (void)e, (void)id, (void)port;
    return 0;
}

static int usage(struct engine *e, const char *id, uint64_t *rss_bytes, uint64_t *cpu_us)
{
    (void)e, (void)id;
    *rss_bytes = *cpu_us = 0;
    return 0;
}

static int forget(struct engine *e, const char *id, struct error *err)
{
    (void)e;
    sim_boundary("an engine's forgetting");
    struct sim_run *r = engine_run(id);
    if (r == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no run %s", id);
    if (run_alive(r))
        return error_set(err, ERROR_CONFLICT, "run %s is not over", id);
    r->forgotten = true;
    return 0;
}

static void each(struct engine *e, void (*fn)(void *arg, const char *id, const struct run_status *),
                 void *arg)
{
    (void)e;
    size_t n = sim_runs.len;
    for (size_t i = 0; i < n; i++)
        if (!sim_runs.items[i]->forgotten)
            fn(arg, sim_runs.items[i]->id, &sim_runs.items[i]->status);
}

static int engine_fd(struct engine *e)
{
    return ((struct sim_engine *)e)->event_fd;
}

static void engine_poll(struct engine *e)
{
    struct sim_engine *self = (struct sim_engine *)e;
    uint64_t n;
    (void)!read(self->event_fd, &n, sizeof n);
    for (size_t i = 0; i < self->changed_len && i < sim_runs.len; i++) {
        struct sim_run *r = sim_runs.items[i];
        if (!self->changed[i] || r->forgotten)
            continue;
        self->changed[i] = sim.faults.instances && !sim.calm && sim_chance(3); /* told again */
        struct run_status copy = r->status;
        r->told = copy.state;
        self->config.on_change(self->config.arg, r->id, &copy);
    }
}

static const char *missing_limits(struct engine *e)
{
    (void)e;
    return "";
}

static void close_engine(struct engine *e)
{
    struct sim_engine *self = (struct sim_engine *)e;
    if (engine == self)
        engine = NULL;
    close(self->event_fd);
    free(self->changed);
    free(self);
}

struct engine *process_engine_open(const struct engine_config *config, struct error *err)
{
    static const struct engine_ops ops = {
        .name = "simulated",
        .start = start,
        .stop = stop,
        .status = status,
        .owns_port = owns_port,
        .other_port = other_port,
        .usage = usage,
        .forget = forget,
        .each = each,
        .fd = engine_fd,
        .poll = engine_poll,
        .missing_limits = missing_limits,
        .close = close_engine,
    };
    (void)err;
    sim.control = config->arg; /* it may be killed before control_open() is done */
    engine = xcalloc(1, sizeof *engine);
    engine->base.ops = &ops;
    engine->config = *config;
    engine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return &engine->base;
}

void engine_abandon(void)
{
    if (engine != NULL)
        close(engine->event_fd);
    engine = NULL;
    for (size_t i = 0; i < sim_runs.len; i++)
        sim_runs.items[i]->bad = 0; /* the next controller counts anew */
}

/* Nothing is left of them, and nothing says how they ended. */
void engine_reboot(void)
{
    for (size_t i = 0; i < sim_runs.len; i++) {
        struct sim_run *r = sim_runs.items[i];
        if (!run_alive(r))
            continue;
        r->status.state = RUN_LOST;
        r->status.pid = 0;
        r->listening = r->ready = false;
    }
}
