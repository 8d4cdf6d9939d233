/* Probes: when each is tried, and what its results mean. Kubernetes' meanings: unready = no
 * traffic, not live = restart, startup gates the other two. They never stop while the instance
 * runs. */
#include "control/control_internal.h"
#include "control/probe_attempt.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { FAST_FIRST_MS = 20, MIN_RUN_MS = 1000, LOOK_MS = 20 };

/* Without a readiness probe: the port must accept, where there is one that gets traffic. */
static const struct probe_spec port_probe = {
    .kind = PROBE_TCP, .period_ms = 1000, .timeout_ms = 1000, .successes = 1, .failures = 3};

static void on_timer(uv_timer_t *timer);
static void schedule(struct probe *p, int64_t in_ms);

/* A command says that it is ready: the gateway must reach it, too. */
static bool check_socket(struct instance *in)
{
    struct probe *p = &in->probes[PROBE_READINESS];
    struct error err = ERROR_INIT;
    cleanup_close int fd = socket_connect(in, &err);
    if (fd < 0)
        snprintf(p->error, sizeof p->error, "$SLUICE_SOCKET: %.180s", err.text);
    return fd >= 0;
}

/* Ready (again): the first time only when the listener on its port is its own. */
static bool check_owner(struct instance *in)
{
    struct engine *e = in->app->control->engine;
    pid_t stranger = 0;
    const struct app_spec *spec;
    const struct process_spec *process = instance_process(in, &spec);
    struct probe *p = &in->probes[PROBE_READINESS];
    /* A worker has a port to use, or not to. */
    bool asked = p->spec->kind == PROBE_HTTP || p->spec->kind == PROBE_TCP;
    if (!(asked || (process != NULL && process->routed)))
        return true;
    if (in->socket[0] != '\0')
        return asked || check_socket(in);
    if (in->port == 0)
        return true;
    int owner = e->ops->owns_port(e, in->run_id, in->port, in->ipv6, &stranger);
    if (owner == 0 && !asked) { /* nobody has tried which it is */
        in->ipv6 = !in->ipv6;
        owner = e->ops->owns_port(e, in->run_id, in->port, in->ipv6, &stranger);
    }
    if (owner >= 1)
        return true;
    if (owner == 0) {
        snprintf(p->error, sizeof p->error, "nothing of this instance listens on port %u",
                 in->port);
        return false;
    }
    snprintf(p->error, sizeof p->error,
             "port %u is held by another process (pid %d), not by this instance", in->port,
             (int)stranger);
    snprintf(in->detail, sizeof in->detail, "%s", p->error);
    if (spec != NULL && spec->port != 0)
        in->port_taken = true;
    else
        instance_kill_for_restart(in, p->error); /* the next start gets another port */
    return false;
}

static void became_ready(struct instance *in, bool ready)
{
    struct app *a = in->app;
    struct control *c = a->control;
    struct store_batch *batch = store_batch_new(c->store);
    cleanup_free char *text = NULL;
    if (ready && !in->ever_ready) {
        text = xasprintf("%s is ready", in->id);
        in->ever_ready = true;
        in->detail[0] = '\0';
    } else {
        text = xasprintf("%s is %s%s%s", in->id, ready ? "ready again" : "not ready any more",
                         ready ? "" : ": ", ready ? "" : in->probes[PROBE_READINESS].error);
    }
    event_add(c, batch, a, ready ? "instance-ready" : "instance-unready", NULL, in->release, text,
              NULL);
    instance_put_row(in, batch); /* the next controller begins with this readiness */
    app_write(a, batch, NULL, NULL);
    control_mark_routes(c);
    control_mark(a);
}

static void on_readiness(struct probe *p, bool ok)
{
    struct instance *in = p->instance;
    bool was = instance_ready(in);
    if (ok && !p->passed && p->successes >= p->spec->successes) {
        if (!check_owner(in)) {
            p->successes = 0;
            return;
        }
        p->passed = true;
    } else if (!ok && p->failures >= p->spec->failures) {
        p->passed = false;
        in->adopted_ready = false;
    }
    if (p->passed)
        in->adopted_ready = false;
    if (instance_ready(in) == was)
        return;
    in->ready_boot_ms = was ? 0 : (uint64_t)clock_boot_ms();
    became_ready(in, !was);
}

static void on_result(struct probe *p, bool ok, const char *error)
{
    struct instance *in = p->instance;
    p->attempt = NULL;
    if (ok) {
        p->successes++;
        p->failures = 0;
        p->error[0] = '\0';
    } else {
        p->failures++;
        p->successes = 0;
        snprintf(p->error, sizeof p->error, "%s", error);
        if (!in->stopping && p->role != PROBE_LIVENESS)
            snprintf(in->detail, sizeof in->detail, "%s", error);
    }
    schedule(p, p->spec->period_ms); /* before the meaning, which may stop the probes */
    switch (p->role) {
    case PROBE_READINESS: on_readiness(p, ok); break;
    case PROBE_LIVENESS:
        if (!ok && p->failures >= p->spec->failures) {
            cleanup_free char *why = xasprintf("not live: %s", error);
            instance_kill_for_restart(in, why);
        }
        break;
    case PROBE_STARTUP:
        if (ok && p->successes >= p->spec->successes && !p->passed) {
            p->passed = true;
            uv_timer_stop(&p->timer);
            probes_start(in);
        } else if (!ok && p->failures >= p->spec->failures) {
            cleanup_free char *why = xasprintf("startup probe failed: %s", error);
            instance_kill_for_restart(in, why);
        }
        break;
    case PROBE_ROLES: break;
    }
    if (!ok) /* what was said may be a rollout's reason; a probe that goes on passing is no news */
        control_mark(in->app);
}

static void wait_for_answer(struct probe *p, int64_t ms)
{
    p->due_ms = clock_boot_ms() + ms;
    uv_timer_start(&p->timer, on_timer, (uint64_t)ms, 0);
}

/* The answer's time is up. But this may have been late (the process was stopped, the machine
 * slept): then an answer lies there that nobody has looked at, or was never asked for. So there is
 * always one more look, and for so long as we were away. */
static void on_time_up(struct probe *p)
{
    int64_t late = clock_boot_ms() - p->due_ms;
    if (p->last_look && late < LOOK_MS) {
        probe_attempt_timeout(p->attempt);
        return;
    }
    p->last_look = true;
    wait_for_answer(p, LOOK_MS + (late < p->spec->timeout_ms ? late : p->spec->timeout_ms));
}

static void on_timer(uv_timer_t *timer)
{
    struct probe *p = timer->data;
    if (p->attempt != NULL) {
        on_time_up(p);
        return;
    }
    if (p->spec->kind == PROBE_NONE) { /* it has run for long enough */
        on_result(p, true, "");
        return;
    }
    p->last_look = false;
    wait_for_answer(p, p->spec->timeout_ms);
    p->attempt = probe_attempt_start(p, on_result);
}

/* A new instance is asked often, so that ready is seen when it is: 20 ms growing to the period. A
 * probe that gates or kills keeps to its period, since its failures count. */
static void schedule(struct probe *p, int64_t in_ms)
{
    struct instance *in = p->instance;
    if (p->role == PROBE_READINESS && !in->ever_ready && p->fast_ms < in_ms) {
        in_ms = p->fast_ms;
        p->fast_ms += p->fast_ms / 4 + 1;
    }
    if (p->spec->kind == PROBE_NONE && p->passed)
        return;
    uv_timer_start(&p->timer, on_timer, (uint64_t)in_ms, 0);
}

static void begin(struct probe *p, const struct probe_spec *spec, int64_t delay_ms)
{
    p->spec = spec;
    p->successes = p->failures = 0;
    p->fast_ms = FAST_FIRST_MS;
    p->error[0] = '\0';
    uv_timer_start(&p->timer, on_timer, (uint64_t)delay_ms, 0);
}

/* Called when the app runs, and again when its startup probe has passed. */
void probes_start(struct instance *in)
{
    const struct app_spec *spec;
    const struct process_spec *process = instance_process(in, &spec);
    if (process == NULL)
        return;
    /* The probes are the routed process's; of an app without routes, every process's. */
    bool probed = process->routed || spec->routes_len == 0;
    struct probe *startup = &in->probes[PROBE_STARTUP];
    if (in->adopted_ready)
        startup->passed = in->ever_ready = true;
    if (probed && spec->startup.kind != PROBE_NONE && !startup->passed) {
        begin(startup, &spec->startup, spec->startup.delay_ms);
        return;
    }
    struct probe *readiness = &in->probes[PROBE_READINESS];
    if (probed && spec->readiness.kind != PROBE_NONE) {
        begin(readiness, &spec->readiness, spec->readiness.delay_ms);
    } else if (process->routed) {
        begin(readiness, &port_probe, 0);
    } else {
        static const struct probe_spec run_probe = {
            .kind = PROBE_NONE, .period_ms = 1000, .successes = 1, .failures = 1};
        int64_t min =
            spec->strategy.min_ready_ms > MIN_RUN_MS ? spec->strategy.min_ready_ms : MIN_RUN_MS;
        begin(readiness, &run_probe, min);
    }
    if (probed && spec->liveness.kind != PROBE_NONE)
        begin(&in->probes[PROBE_LIVENESS], &spec->liveness, spec->liveness.delay_ms);
}

void probes_stop(struct instance *in)
{
    for (int i = 0; i < PROBE_ROLES; i++) {
        struct probe *p = &in->probes[i];
        if (p->attempt != NULL)
            probe_attempt_abandon(p->attempt);
        p->attempt = NULL;
        p->passed = false;
        uv_timer_stop(&p->timer);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct probe *p = handle->data;
    struct instance *in = p->instance;
    in->probes_open--;
    control_handle_closed(in->control);
    instance_free_if_closed(in);
}

void probes_close(struct instance *in)
{
    probes_stop(in);
    for (int i = 0; i < PROBE_ROLES; i++)
        uv_close((uv_handle_t *)&in->probes[i].timer, on_closed);
}
