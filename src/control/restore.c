/* What a starting controller finds: apps in the store, runs in the engine, routes in a file. It
 * takes all of it up before it publishes anything, so that traffic does not notice. After a reboot
 * the instances are gone: stable releases start, and what was being rolled out is rolled back. */
#include "control/control_internal.h"

#include <stdio.h>
#include <string.h>

static void restore_start(struct app *a, const json_t *j)
{
    if (j == NULL)
        return;
#define NUMBER(name) json_integer_value(json_object_get(j, name))
    a->start = (struct rollout_start){
        .id = (uint64_t)NUMBER("id"),
        .from_release = (uint32_t)NUMBER("from"),
        .release = (uint32_t)NUMBER("release"),
        .stable_pool = (uint32_t)NUMBER("stable_pool"),
        .candidate_pool = (uint32_t)NUMBER("candidate_pool"),
        .at_ms = NUMBER("at"),
        .failed_before = (uint64_t)NUMBER("failed"),
        .stable_before = (uint64_t)NUMBER("stable"),
        .candidate_before = (uint64_t)NUMBER("candidate"),
    };
#undef NUMBER
}

static int restore_app(struct control *c, const struct store_app *row, struct arena *memory,
                       json_t **pending, struct error *err)
{
    struct app *a = app_create(c, row->name, row->environment, row->created_ms);
    a->next_release = row->next_release;
    app_state_release(&a->state);
    if (app_state_from_json(&a->state, row->state_json, err) < 0) {
        app_state_init(&a->state);
        return error_wrap(err, "app %s", row->app);
    }
    json_t *extras = json_loads(row->extras_json, 0, NULL);
    json_int_t next_run = json_integer_value(json_object_get(extras, "next_run"));
    a->next_run = next_run > 0 ? (uint32_t)next_run : 1;
    a->rollout_actor = xstrdup(json_string_value(json_object_get(extras, "actor")));
    a->deleting = json_is_true(json_object_get(extras, "deleting"));
    restore_start(a, json_object_get(extras, "start"));
    *pending = json_incref(json_object_get(extras, "pending"));
    json_decref(extras);
    struct store_releases releases = {0};
    if (store_read_releases(c->store, row->app, memory, &releases, err) < 0)
        return -1;
    for (size_t i = 0; i < releases.len; i++)
        app_add_release(a, &releases.items[i]);
    return 0;
}

static void restore_instance(struct app *a, const struct store_instance *row)
{
    struct control *c = a->control;
    const struct pool_state *p = app_pool(&a->state, row->pool);
    uint32_t release = p != NULL ? p->release : 0;
    struct instance *in = instance_new(a, row->pool, release, (uint8_t)row->process);
    snprintf(in->id, sizeof in->id, "%s", row->id);
    uint32_t slot = row->flags >> INSTANCE_FLAG_SLOT_SHIFT;
    if (slot > 0 && slot <= METRICS_INSTANCE_SLOTS && in->slot != slot - 1) {
        if (in->slot != UINT32_MAX)
            c->instance_slot_used[in->slot] = 0;
        in->slot = slot - 1;
        c->instance_slot_used[in->slot] = 1;
    }
    in->run = row->run;
    in->port = (uint16_t)row->port;
    in->restarts = row->restarts;
    in->created_ms = row->created_ms;
    snprintf(in->run_id, sizeof in->run_id, "%s.%u", in->id, in->run);
    if (row->run >= a->next_run)
        a->next_run = row->run + 1;
    struct run_status status;
    struct engine *e = c->engine;
    bool same_boot = strcmp(row->boot_id, c->boot_id) == 0;
    if (!same_boot || e->ops->status(e, in->run_id, &status, NULL) < 0) {
        in->life = LIFE_PLANNED; /* stored, but never started (or of another boot): start it now */
        return;
    }
    in->routed = true; /* perhaps: a drain does no harm */
    in->adopted_ready =
        (row->flags & STORE_INSTANCE_ADOPTED_READY) != 0 && status.state == RUN_RUNNING;
    in->ever_ready = in->adopted_ready;
    instance_adopt(in);
}

/* Runs that no instance and no hook of ours owns: left by a controller that died between the engine
 * and the store. Jobs are taken up by their hooks later, by their ids. */
struct orphans {
    struct control *control;
    struct {
        char **items;
        size_t len, cap;
    } ids;
};

static void note_orphan(void *arg, const char *id, const struct run_status *status)
{
    struct orphans *o = arg;
    (void)status;
    if (map_get(&o->control->runs, id) != NULL)
        return;
    static const char *const jobs[] = {"-build.", "-release-", "-smoke-", "-before.", "-run-"};
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        if (strstr(id, jobs[i]) != NULL)
            return;
    *vec_push(&o->ids) = xstrdup(id);
}

static void stop_orphans(struct control *c)
{
    struct orphans o = {.control = c};
    c->engine->ops->each(c->engine, note_orphan, &o);
    for (size_t i = 0; i < o.ids.len; i++) {
        log_warn("run %s is nobody's: it is stopped", o.ids.items[i]);
        c->engine->ops->stop(c->engine, o.ids.items[i], 9, 0, NULL);
        c->engine->ops->forget(c->engine, o.ids.items[i], NULL);
        free(o.ids.items[i]);
    }
    vec_release(&o.ids);
}

/* A reboot ends what was under way: going on with half a rollout nobody watched is no kindness. */
static void end_for_reboot(struct app *a)
{
    struct specs specs;
    struct error err = ERROR_INIT;
    app_specs(a, &specs);
    if (a->state.rollout.id == 0 || a->state.rollout.phase == PHASE_BACK)
        return;
    if (core_abort(&a->state, &specs, REASON_HOST_RESTARTED, "the host restarted", control_now(),
                   &err) < 0)
        log_warn("app %s: %s", a->key, err.text);
}

static void resume_watch(struct app *a)
{
    const struct rollout_state *s = &a->state.rollout;
    if (s->id != 0 && s->kind == ROLLOUT_DEPLOY && s->phase != PHASE_BACK)
        watch_begin(a);
}

int control_restore(struct control *c, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_apps apps = {0};
    struct store_instances instances = {0};
    if (store_read_apps(c->store, &memory, &apps, err) < 0 ||
        store_read_instances(c->store, NULL, &memory, &instances, err) < 0)
        return -1;
    json_t **pending = xcalloc(apps.len + 1, sizeof(json_t *));
    for (size_t i = 0; i < apps.len; i++)
        if (restore_app(c, &apps.items[i], &memory, &pending[i], err) < 0) {
            free(pending);
            return -1;
        }
    bool rebooted = false;
    for (size_t i = 0; i < instances.len; i++) {
        struct app *a = app_by_key(c, instances.items[i].app);
        if (a == NULL)
            continue;
        if (strcmp(instances.items[i].boot_id, c->boot_id) != 0) {
            rebooted = true;
            continue;
        }
        restore_instance(a, &instances.items[i]);
    }
    stop_orphans(c);
    struct store_batch *batch = store_batch_new(c->store);
    for (size_t i = 0; rebooted && i < instances.len; i++)
        if (strcmp(instances.items[i].boot_id, c->boot_id) != 0)
            batch_delete_instance(batch, instances.items[i].id);
    for (size_t i = 0; i < apps.len; i++) {
        struct app *a = app_by_key(c, apps.items[i].app);
        if (rebooted)
            end_for_reboot(a);
        resume_watch(a);
        if (pending[i] != NULL)
            deploy_resume(a, pending[i]);
        json_decref(pending[i]);
        for (size_t k = 0; k < a->instances.len; k++)
            if (a->instances.items[k]->life == LIFE_PLANNED)
                instance_start(a->instances.items[k]);
        control_mark(a);
    }
    event_add(c, batch, NULL, "server", NULL, 0,
              rebooted ? "controller started after a reboot" : "controller started", NULL);
    control_submit(c, batch, NULL, NULL);
    free(pending);
    return 0;
}
