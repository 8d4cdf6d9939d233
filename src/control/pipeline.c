/* The street that every decision goes down, one at a time per app:
 *
 *   observe -> decide -> intent into the store -> actions (start, stop, hooks) and routes
 *
 * The one exception: traffic back to stable is published before the store knows, so that a full
 * disk cannot hold up a rollback. A write that fails is tried again each second, and what it should
 * have preceded waits; only crashed instances are started again all the same. */
#include "control/control_internal.h"

#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { RETRY_MS = 1000, PASSES = 4 };

struct stored_app {
    struct control *control;
    char *key;
};

int64_t control_now(void)
{
    return clock_wall_ms();
}

void control_mark(struct app *a)
{
    a->marked = true;
}

/* ---- observing
 * ------------------------------------------------------------------------------------ */

static void observe_instance(struct instance *in, int64_t now, struct instance_obs *out)
{
    enum instance_state state = instance_state(in);
    if (state != in->last_state) {
        in->last_state = state;
        in->since_ms = now;
    }
    *out = (struct instance_obs){
        .id = in->id,
        .pool = in->pool,
        .process = in->process,
        .state = state,
        .drained = state == INSTANCE_DRAINING && instance_drained(in),
        .running = in->life == LIFE_RUNNING,
        .restarts = in->restarts,
        .fast_crashes = in->fast_crashes,
        .since_ms = in->since_ms,
        .exited_ms = in->exited_ms,
        .start_failed = in->start_failed,
        .port_taken = in->port_taken,
        .detail = in->detail[0] != '\0' ? in->detail : NULL,
    };
}

void app_observe(struct app *a, struct arena *arena, struct observations *out)
{
    int64_t now = control_now();
    struct instance_obs *items = arena_alloc(arena, (a->instances.len + 1) * sizeof *items);
    for (size_t i = 0; i < a->instances.len; i++)
        observe_instance(a->instances.items[i], now, &items[i]);
    memset(out, 0, sizeof *out);
    out->instances = items;
    out->instances_len = a->instances.len;
    watch_verdict(a, out);
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
    memset(&a->step_hook, 0, sizeof a->step_hook);
}

/* http://127.0.0.1:PORT of a ready candidate instance, for smoke commands. */
static void preview_url(const struct app *a, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->pool == a->state.candidate && in->port != 0 && instance_ready(in)) {
            snprintf(out, size, "http://127.0.0.1:%u", in->port);
            return;
        }
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
    char id[RUN_ID_MAX], url[64];
    preview_url(a, url, sizeof url);
    snprintf(id, sizeof id, "%.60s-%u-%s-%llu-%u", a->name, pool->release,
             smoke ? "smoke" : "release", (unsigned long long)r->id, r->cursor);
    struct hook_config config = {
        .kind = smoke ? HOOK_SMOKE : HOOK_RELEASE,
        .commands = spec->release,
        .commands_len = spec->release_len,
        .id = id,
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
        config.extra_name = "SLUICE_PREVIEW_URL";
        config.extra_value = url;
    }
    a->step_hook.rollout = r->id;
    a->step_hook.cursor = r->cursor;
    a->step_hook.state = HOOK_RUNNING;
    a->step_hook.hook = hook_start(a, &config);
}

/* What does not wait for the store: it only prepares, or can be taken back. */
static void prepare_actions(struct app *a, const struct decision *d, struct store_batch *batch)
{
    for (size_t i = 0; i < d->len; i++) {
        const struct action *act = &d->items[i];
        struct instance *in = act->instance != NULL ? find_instance(a, act->instance) : NULL;
        switch (act->kind) {
        case ACTION_CREATE: {
            const struct pool_state *p = app_pool(&a->state, act->pool);
            if (p == NULL)
                break;
            in = instance_new(a, act->pool, p->release, act->process);
            instance_plan_run(in);
            if (batch != NULL)
                instance_put_row(in, batch);
            break;
        }
        case ACTION_START:
            if (in == NULL || in->life != LIFE_EXITED)
                break;
            instance_plan_run(in);
            in->restarts++;
            if (batch != NULL)
                instance_put_row(in, batch);
            break;
        case ACTION_DRAIN:
            if (in != NULL)
                instance_drain(in);
            break;
        case ACTION_REMOVE:
            if (in == NULL || in->life == LIFE_RUNNING)
                break;
            if (batch != NULL)
                batch_delete_instance(batch, in->id);
            instance_remove(in);
            break;
        case ACTION_EVENT:
            event_add(a->control, batch, a, act->event, a->rollout_actor, a->start.release,
                      act->text, NULL);
            break;
        case ACTION_STOP:
        case ACTION_HOOK:
        case ACTION_CANCEL_HOOK: break;
        }
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

static void submit(struct app *a, struct store_batch *batch);

static void on_retry(uv_timer_t *timer)
{
    struct app *a = timer->data;
    struct store_batch *batch = store_batch_new(a->control->store);
    app_put_row(a, batch);
    for (size_t i = 0; i < a->instances.len; i++)
        instance_put_row(a->instances.items[i], batch);
    rollout_put_end(a, batch);
    submit(a, batch);
}

static void on_wake(uv_timer_t *timer)
{
    control_mark(timer->data);
}

static void on_stored(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct stored_app *context = arg;
    struct app *a = app_by_key(context->control, context->key);
    free(context->key);
    free(context);
    if (a == NULL || a->phase != PIPE_STORING)
        return;
    if (outcome != STORE_OK && a->decision.state_changed) {
        log_warn("app %s: its state is not stored yet: %s", a->key, err->text);
        a->phase = PIPE_RETRYING;
        uv_timer_start(&a->wake, on_retry, RETRY_MS, 0);
        return;
    }
    a->phase = PIPE_IDLE;
    if (outcome == STORE_OK && a->end != NULL) {
        json_decref(a->end);
        a->end = NULL;
    }
    act(a, &a->decision);
    a->decision = (struct decision){0};
    control_mark(a);
}

static void submit(struct app *a, struct store_batch *batch)
{
    struct stored_app *context = xcalloc(1, sizeof *context);
    context->control = a->control;
    context->key = xstrdup(a->key); /* the app may be gone by then */
    a->phase = PIPE_STORING;
    control_submit(a->control, batch, on_stored, context);
}

/* ---- the step
 * ------------------------------------------------------------------------------------- */

static void sleep_until(struct app *a, int64_t next_ms)
{
    int64_t in = next_ms - control_now();
    if (next_ms == INT64_MAX)
        uv_timer_stop(&a->wake);
    else
        uv_timer_start(&a->wake, on_wake, in > 0 ? (uint64_t)in : 1, 0);
}

static void step(struct app *a)
{
    struct control *c = a->control;
    a->marked = false;
    arena_release(&a->decision_memory);
    struct observations obs;
    struct specs specs;
    app_observe(a, &a->decision_memory, &obs);
    app_specs(a, &specs);
    a->decision = (struct decision){0};
    struct decision *d = &a->decision;
    decide(&a->state, &specs, &obs, control_now(), &a->decision_memory, d);
    if (d->traffic_changed) {
        a->traffic_version = 0;
        control_mark_routes(c);
    }
    if (d->traffic_first && d->traffic_changed)
        publish_now(c, true);
    if (a->step_hook.rollout != 0 && (a->state.rollout.id != a->step_hook.rollout ||
                                      a->state.rollout.cursor != a->step_hook.cursor))
        cancel_step_hook(a);
    sleep_until(a, d->next_ms);
    struct store_batch *batch = c->store != NULL ? store_batch_new(c->store) : NULL;
    prepare_actions(a, d, batch);
    if (d->rollout_ended)
        rollout_ended(a, &d->ended, d->result, batch);
    else if (d->result == RESULT_PAUSED)
        rollout_paused(a, batch);
    if (batch != NULL && (d->state_changed || d->rollout_ended))
        app_put_row(a, batch);
    if (batch != NULL && !store_batch_empty(batch)) {
        submit(a, batch);
        return;
    }
    store_batch_free(batch);
    act(a, d);
    a->decision = (struct decision){0};
}

void pipeline_run_marked(struct control *c)
{
    for (int pass = 0; pass < PASSES; pass++) {
        bool any = false;
        for (size_t i = 0; i < c->apps.len; i++) {
            struct app *a = c->apps.items[i];
            if (!a->marked || a->phase != PIPE_IDLE || c->leaving)
                continue;
            any = true;
            step(a);
        }
        publish_if_due(c);
        if (!any)
            return;
    }
    control_tick_soon(c); /* more is due: let the loop look at its descriptors first */
}

void pipeline_release(struct app *a)
{
    cancel_step_hook(a);
    arena_release(&a->decision_memory);
    json_decref(a->end);
    a->end = NULL;
}
