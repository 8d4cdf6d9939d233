/* The street that every decision goes down, one at a time per app:
 *
 *   observe -> decide -> intent into the store -> actions (start, stop, hooks) and routes
 *
 * The one exception: traffic back to stable is published before the store knows, so that a full
 * disk cannot hold up a rollback. A write that fails is tried again each second, and what it should
 * have preceded waits; only crashed instances are started again all the same, and traffic still
 * goes back. */
#include "control/control_internal.h"

#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { PASSES = 4 };

int64_t control_now(void)
{
    return clock_wall_ms();
}

void control_mark(struct app *a)
{
    if (a->marked)
        return;
    a->marked = true;
    *vec_push(&a->control->marked) = a;
}

/* ---- observing
 * ------------------------------------------------------------------------------------ */

static void observe_instance(struct instance *in, int64_t now, struct arena *arena,
                             struct instance_obs *out)
{
    enum instance_state state = instance_state(in);
    if (state != in->last_state) {
        in->last_state = state;
        in->since_ms = now;
    }
    *out = (struct instance_obs){
        .id = arena_strdup(arena, in->id), /* actions point to it, and come after the store */
        .pool = in->pool,
        .process = in->process,
        .state = state,
        .drained = state == INSTANCE_DRAINING && instance_drained(in),
        .running = in->life == LIFE_RUNNING,
        .restarts = in->restarts,
        .fast_crashes = in->fast_crashes,
        .losses = in->losses,
        .since_ms = in->since_ms,
        .exited_ms = in->exited_ms,
        .start_failed = in->start_failed,
        .out_of_memory = in->out_of_memory,
        .port_taken = in->port_taken,
        .detail = in->detail[0] != '\0' ? in->detail : NULL,
    };
}

void app_observe(struct app *a, struct arena *arena, struct observations *out)
{
    int64_t now = control_now();
    struct instance_obs *items = arena_alloc(arena, (a->instances.len + 1) * sizeof *items);
    for (size_t i = 0; i < a->instances.len; i++)
        observe_instance(a->instances.items[i], now, arena, &items[i]);
    memset(out, 0, sizeof *out);
    out->instances = items;
    out->instances_len = a->instances.len;
    watch_verdict(a, out);
    metrics_verdict(a, out);
    const struct rollout_state *r = &a->state.rollout;
    if (r->id != 0 && a->step_hook.rollout == r->id && a->step_hook.cursor == r->cursor) {
        out->hook = a->step_hook.state;
        snprintf(out->hook_text, sizeof out->hook_text, "%s", a->step_hook.text);
    }
    out->traffic_applied =
        a->traffic_version != 0 && publish_applied(a->control, a->traffic_version);
}

/* ---- acting
 * --------------------------------------------------------------------------------------- */

static struct instance *find_instance(const struct app *a, const char *id)
{
    for (size_t i = 0; i < a->instances.len; i++)
        if (strcmp(a->instances.items[i]->id, id) == 0)
            return a->instances.items[i];
    return NULL;
}

static void on_step_hook(void *arg, struct hook *hook, bool ok, const char *text)
{
    struct app *a = arg;
    (void)hook;
    a->step_hook.hook = NULL;
    a->step_hook.state = ok ? HOOK_OK : HOOK_FAILED;
    snprintf(a->step_hook.text, sizeof a->step_hook.text, "%s", text);
    control_mark(a);
}

static void cancel_step_hook(struct app *a)
{
    hook_cancel(a->step_hook.hook);
    if (a->step_hook.id[0] != '\0')
        hook_spend(a, a->step_hook.id, a->step_hook.runs);
    memset(&a->step_hook, 0, sizeof a->step_hook);
}

void app_preview(const struct app *a, struct preview *out)
{
    out->url[0] = out->socket[0] = '\0';
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->pool != a->state.candidate || !instance_ready(in))
            continue;
        if (in->port != 0)
            snprintf(out->url, sizeof out->url, "http://%s:%u", in->ipv6 ? "[::1]" : "127.0.0.1",
                     in->port);
        if (in->socket[0] != '\0')
            instance_socket_path(in, out->socket);
        if (in->port != 0 || in->socket[0] != '\0')
            return;
    }
}

static void start_step_hook(struct app *a)
{
    const struct rollout_state *r = &a->state.rollout;
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    const struct pool_state *pool = app_pool(&a->state, a->state.candidate);
    if (spec == NULL || r->cursor >= r->plan.len)
        return;
    if (a->step_hook.rollout == r->id && a->step_hook.cursor == r->cursor)
        return; /* under way, or over */
    cancel_step_hook(a);
    const struct step *step = &r->plan.steps[r->cursor];
    bool smoke = step->kind == STEP_SMOKE;
    struct preview preview;
    app_preview(a, &preview);
    snprintf(a->step_hook.id, sizeof a->step_hook.id, "%s-%u-%s-%llu.%u", a->label, pool->release,
             smoke ? "smoke" : "release", (unsigned long long)r->id, r->cursor);
    struct hook_config config = {
        .kind = smoke ? HOOK_SMOKE : HOOK_RELEASE,
        .commands = spec->release,
        .commands_len = spec->release_len,
        .id = a->step_hook.id,
        .release = pool->release,
        .event = smoke ? "smoke-output" : "release-output",
        .timeout_ms = spec->deadline_ms,
        .done = on_step_hook,
        .arg = a,
    };
    if (smoke) {
        const struct canary_step *cs =
            step->count > 0 ? &spec->strategy.steps[step->count - 1] : NULL;
        config.commands = cs != NULL ? cs->smoke : spec->strategy.smoke;
        config.commands_len = cs != NULL ? cs->smoke_len : spec->strategy.smoke_len;
        config.extra[0] = (struct env_var){.name = "SLUICE_PREVIEW_URL", .value = preview.url};
        config.extra[1] =
            (struct env_var){.name = "SLUICE_PREVIEW_SOCKET", .value = preview.socket};
    }
    a->step_hook.rollout = r->id;
    a->step_hook.cursor = r->cursor;
    a->step_hook.runs = config.commands_len;
    a->step_hook.state = HOOK_RUNNING;
    a->step_hook.hook = hook_start(a, &config);
}

/* What does not wait for the store: it only prepares, or can be taken back. */
static void prepare_action(struct app *a, const struct action *act, struct store_batch *batch)
{
    struct instance *in = act->instance != NULL ? find_instance(a, act->instance) : NULL;
    switch (act->kind) {
    case ACTION_CREATE: {
        const struct pool_state *p = app_pool(&a->state, act->pool);
        if (p == NULL)
            return;
        in = instance_new(a, act->pool, p->release, act->process);
        instance_plan_run(in);
        instance_put_row(in, batch);
        return;
    }
    case ACTION_START:
        if (in == NULL || in->life != LIFE_EXITED)
            return;
        instance_plan_run(in);
        in->restarts++;
        instance_put_row(in, batch);
        return;
    case ACTION_DRAIN:
        if (in == NULL)
            return;
        instance_drain(in);
        instance_put_row(in, batch);
        return;
    case ACTION_REMOVE:
        if (in == NULL || in->life == LIFE_RUNNING)
            return;
        app_delete_instance_row(a, in->id);
        instance_remove(in);
        return;
    case ACTION_EVENT:
        event_add(a->control, batch, a, act->event, a->rollout_actor, a->start.release, act->text,
                  NULL);
        return;
    case ACTION_STOP:
    case ACTION_HOOK:
    case ACTION_CANCEL_HOOK: return;
    }
}

static void act(struct app *a, const struct decision *d)
{
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i]->life == LIFE_PLANNED) {
            log_debug("%s is starting", a->instances.items[i]->id);
            instance_start(a->instances.items[i]);
        }
    for (size_t i = 0; i < d->len; i++) {
        const struct action *act = &d->items[i];
        struct instance *in = NULL;
        if (act->kind == ACTION_STOP)
            in = find_instance(a, act->instance);
        if (in != NULL)
            instance_stop(in);
        if (act->kind == ACTION_CANCEL_HOOK)
            cancel_step_hook(a);
        if (act->kind == ACTION_HOOK)
            start_step_hook(a);
    }
}

/* ---- storing
 * -------------------------------------------------------------------------------------- */

static void on_stored(void *arg, enum store_outcome outcome, const struct error *err);

static void submit(struct app *a, struct store_batch *batch)
{
    a->phase = PIPE_STORING;
    app_write(a, batch, on_stored, app_ref_new(a));
}

/* While nothing can be stored: what crashed comes back all the same. Its run is found again by the
 * next controller as nobody's, and is stopped then: that is the price. */
static void start_crashed(struct app *a)
{
    int64_t now = control_now();
    for (size_t i = 0; i < a->instances.len; i++) {
        struct instance *in = a->instances.items[i];
        if (instance_state(in) != INSTANCE_BACKING_OFF || app_pool(&a->state, in->pool) == NULL ||
            (now < in->exited_ms + back_off_ms(in->fast_crashes + in->losses) &&
             now >= in->exited_ms))
            continue;
        instance_plan_run(in);
        in->restarts++;
        instance_start(in);
    }
}

static void on_retry(uv_timer_t *timer)
{
    struct app *a = timer->data;
    start_crashed(a);
    submit(a, store_batch_new(a->control->store)); /* all of it is owed */
}

static void on_wake(uv_timer_t *timer)
{
    control_mark(timer->data);
}

static void on_stored(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct app *a = app_ref_take(arg);
    if (a == NULL || a->phase != PIPE_STORING)
        return;
    if (outcome != STORE_OK && (a->decision.state_changed || a->retrying)) {
        if (!a->retrying)
            log_warn("app %s: its state is not stored yet: %s", a->key, err->text);
        a->retrying = true;
        a->phase = PIPE_RETRYING;
        uv_timer_start(&a->wake, on_retry, STORE_RETRY_MS, 0);
        return;
    }
    a->retrying = false;
    if (outcome == STORE_OK)
        a->traffic_ahead = false;
    a->phase = PIPE_IDLE;
    act(a, &a->decision);
    a->decision = (struct decision){0};
    control_mark(a);
}

/* ---- the step
 * ------------------------------------------------------------------------------------- */

static void sleep_until(struct app *a, int64_t next_ms)
{
    if (a->unstored && a->retry_ms < next_ms)
        next_ms = a->retry_ms;
    int64_t in = next_ms - control_now();
    if (next_ms == INT64_MAX)
        uv_timer_stop(&a->wake);
    else
        uv_timer_start(&a->wake, on_wake, in > 0 ? (uint64_t)in : 1, 0);
}

static void leave_step_hook(struct app *a)
{
    const struct rollout_state *r = &a->state.rollout;
    if (a->step_hook.rollout != 0 &&
        (r->id != a->step_hook.rollout || r->cursor != a->step_hook.cursor))
        cancel_step_hook(a);
}

/* Routes, rows and preparations of a decision. */
static void carry(struct app *a, const struct decision *d, struct store_batch *batch)
{
    struct control *c = a->control;
    if (d->traffic_changed) {
        a->traffic_version = 0;
        control_mark_routes(c);
    }
    if (d->traffic_first && d->traffic_changed) {
        a->traffic_ahead = true;
        publish_now(c, true);
    }
    leave_step_hook(a);
    for (size_t i = 0; i < d->len; i++)
        prepare_action(a, &d->items[i], batch);
    if (d->rollout_ended)
        rollout_ended(a, &d->ended, d->result, batch);
    else if (d->result == RESULT_PAUSED)
        rollout_paused(a);
    if (d->state_changed || d->rollout_ended)
        app_put_row(a, batch);
}

static void step(struct app *a)
{
    struct control *c = a->control;
    struct observations obs;
    struct specs specs;
    arena_release(&a->decision_memory);
    app_observe(a, &a->decision_memory, &obs);
    app_specs(a, &specs);
    a->decision = (struct decision){0};
    struct decision *d = &a->decision;
    decide(&a->state, &specs, &obs, control_now(), &a->decision_memory, d);
    struct store_batch *batch = store_batch_new(c->store);
    carry(a, d, batch);
    bool retry = a->unstored && control_now() >= a->retry_ms;
    sleep_until(a, retry ? INT64_MAX : d->next_ms);
    if (a->state.rollout.id != 0)
        control_tick_within(c, TICK_ROLLOUT_MS);
    if (!store_batch_empty(batch) || retry || (app_owes(a) && !a->unstored)) {
        submit(a, batch);
        return;
    }
    store_batch_free(batch);
    act(a, d);
    a->decision = (struct decision){0};
}

/* The present state is not stored yet, so nothing goes forward. But when what is seen says that
 * traffic must go back to stable, it does. */
static void step_back(struct app *a)
{
    struct control *c = a->control;
    struct arena memory = ARENA_INIT;
    struct observations obs;
    struct specs specs;
    struct app_state next;
    struct decision d = {0};
    app_observe(a, &memory, &obs);
    app_specs(a, &specs);
    app_state_copy(&next, &a->state);
    decide(&next, &specs, &obs, control_now(), &memory, &d);
    if (!d.traffic_first || !d.traffic_changed) {
        app_state_release(&next);
        arena_release(&memory);
        return;
    }
    log_warn("app %s: its traffic goes back before that is stored", a->key);
    app_state_release(&a->state);
    a->state = next;
    arena_release(&a->decision_memory);
    a->decision_memory = memory;
    a->decision = d; /* in place of the one that waits: what that wanted is decided again */
    struct store_batch *batch = store_batch_new(c->store);
    carry(a, &a->decision, batch);
    store_put_off(a, batch); /* the next try has all of it */
}

void pipeline_run_marked(struct control *c)
{
    for (int pass = 0; pass < PASSES; pass++) {
        bool any = false;
        size_t n = c->marked.len;
        for (size_t i = 0; i < n && !c->leaving; i++) {
            struct app *a = c->marked.items[i];
            if (a == NULL || a->phase == PIPE_STORING)
                continue;
            a->marked = false;
            c->marked.items[i] = NULL;
            if (a->phase == PIPE_RETRYING) {
                step_back(a);
                continue;
            }
            any = true;
            step(a);
        }
        size_t kept = 0;
        for (size_t i = 0; i < c->marked.len; i++)
            if (c->marked.items[i] != NULL)
                c->marked.items[kept++] = c->marked.items[i];
        c->marked.len = kept;
        publish_if_due(c);
        if (!any)
            return;
    }
    control_tick_soon(c); /* more is due: let the loop look at its descriptors first */
}

void pipeline_release(struct app *a)
{
    memset(&a->step_hook, 0, sizeof a->step_hook); /* the hook itself goes on */
    arena_release(&a->decision_memory);
    for (size_t i = 0; i < a->control->marked.len; i++)
        if (a->control->marked.items[i] == a)
            a->control->marked.items[i] = NULL;
}
