/* What a starting controller finds: apps in the store, runs in the engine, routes in a file. It
 * takes all of it up before it publishes anything, so that traffic does not notice. After a reboot
 * the instances are gone: stable releases start, and what was being rolled out is rolled back. */
#include "control/orders.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static void restore_start(struct app *a, const json_t *j)
{
    if (j == NULL)
        return;
#define NUMBER(name) json_integer_value(json_object_get(j, name))
    a->start = (struct rollout_start){
        .id = (uint64_t)NUMBER("id"),
        .kind = (enum rollout_kind)(NUMBER("kind") % ROLLOUT_KINDS_COUNT),
        .strategy = (enum strategy_kind)(NUMBER("strategy") % STRATEGY_KINDS),
        .began_ms = NUMBER("began"),
        .from_release = (uint32_t)NUMBER("from"),
        .release = (uint32_t)NUMBER("release"),
        .stable_pool = (uint32_t)NUMBER("stable_pool"),
        .candidate_pool = (uint32_t)NUMBER("candidate_pool"),
        .at_ms = NUMBER("at"),
        .failed_before = (uint64_t)NUMBER("failed"),
        .stable_before = (uint64_t)NUMBER("stable"),
        .candidate_before = (uint64_t)NUMBER("candidate"),
        .cut = (uint64_t)NUMBER("cut"),
    };
#undef NUMBER
}

/* What its state, its extras and its releases must have, so that something can be decided of it. */
static int check_app(struct app *a, const json_t *extras, struct error *err)
{
    if (!json_is_object(extras))
        return error_set(err, ERROR_FAILED, "what is stored beside its state is not valid");
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        const struct pool_state *p = &a->state.pools[i];
        struct release *r = p->id != 0 ? app_release(a, p->release) : NULL;
        if (p->id != 0 && r == NULL)
            return error_set(err, ERROR_FAILED, "the row of its release %u is gone", p->release);
        if (r != NULL && release_spec(a, r) == NULL)
            return error_set(err, ERROR_FAILED, "the spec of its release %u cannot be read",
                             p->release);
    }
    return 0;
}

static int restore_state(struct app *a, const struct store_app *row,
                         const struct store_releases *releases, json_t **extras_out,
                         struct error *err)
{
    a->next_release = row->next_release;
    app_state_release(&a->state);
    if (app_state_from_json(&a->state, row->state_json, err) < 0) {
        app_state_init(&a->state);
        return error_wrap(err, "its state");
    }
    for (size_t i = 0; i < releases->len; i++)
        app_add_release(a, &releases->items[i]);
    json_t *extras = json_loads(row->extras_json, 0, NULL);
    *extras_out = extras;
    if (check_app(a, extras, err) < 0)
        return -1;
    json_int_t next_run = json_integer_value(json_object_get(extras, "next_run"));
    a->next_run = next_run > 0 ? (uint32_t)next_run : 1;
    a->rollout_actor = xstrdup(json_string_value(json_object_get(extras, "actor")));
    a->deleting = json_is_true(json_object_get(extras, "deleting"));
    restore_start(a, json_object_get(extras, "start"));
    orders_restore(a, extras);
    return 0;
}

/* -1 only where the store itself fails: a row that makes no sense degrades its app alone. */
static int restore_app(struct control *c, const struct store_app *row, struct arena *memory,
                       json_t **extras, struct error *err)
{
    struct store_releases releases = {0};
    if (store_read_releases(c->store, row->app, memory, &releases, err) < 0)
        return -1;
    struct error why = ERROR_INIT;
    struct app *a = app_create(c, row->name, row->environment, row->created_ms);
    if (restore_state(a, row, &releases, extras, &why) < 0)
        unreadable_add(a, why.text);
    return 0;
}

/* Readiness is published before it is stored: who has traffic was ready, and where it says. */
static bool is_routed(const struct snapshot *s, struct instance *in)
{
    for (uint32_t i = 0; s != NULL && i < s->instances_len; i++) {
        const struct snapshot_instance *found = &s->instances[i];
        if (found->port == in->port && strcmp(found->id, in->id) == 0 &&
            strcmp(found->socket != NULL ? found->socket : "", in->socket) == 0) {
            in->ipv6 = found->ipv6;
            return true;
        }
    }
    return false;
}

static void restore_instance(struct app *a, const struct store_instance *row)
{
    struct control *c = a->control;
    const struct pool_state *p = app_pool(&a->state, row->pool);
    uint32_t release = p != NULL ? p->release : 0;
    struct instance *in = instance_new(a, row->pool, release, (uint8_t)row->process);
    snprintf(in->id, sizeof in->id, "%s", row->id);
    uint32_t slot = INSTANCE_FLAGS_SLOT(row->flags);
    if (slot > 0 && slot <= METRICS_INSTANCE_SLOTS && in->slot != slot - 1) {
        if (in->slot != UINT32_MAX)
            c->instance_slot_used[in->slot] = 0;
        in->slot = slot - 1;
        c->instance_slot_used[in->slot] = 1;
    }
    in->ejections_known = false; /* the ejections until now were told */
    in->run = row->run;
    in->port = (uint16_t)row->port;
    in->ipv6 = (row->flags & INSTANCE_FLAG_IPV6) != 0;
    in->restarts = row->restarts;
    in->fast_crashes = (row->flags >> INSTANCE_FLAG_CRASHES_SHIFT) & INSTANCE_FLAG_CRASHES_MAX;
    in->created_ms = row->created_ms;
    snprintf(in->run_id, sizeof in->run_id, "%s.%u", in->id, in->run);
    socket_plan(in);
    if (row->run >= a->next_run)
        a->next_run = row->run + 1;
    bool leaving = (row->flags & INSTANCE_FLAG_LEAVING) != 0;
    struct run_status status;
    struct engine *e = c->engine;
    if (e->ops->status(e, in->run_id, &status, NULL) < 0) {
        /* Over and forgotten, or stored and never started: that one is started now. */
        bool over = leaving || (row->flags & INSTANCE_FLAG_DOWN) != 0;
        in->life = over ? LIFE_EXITED : LIFE_PLANNED;
        in->draining = leaving;
        in->exited_ms = control_now();
        return;
    }
    if (!leaving && (row->flags & INSTANCE_FLAG_DOWN) != 0) {
        /* Its end was counted and stored; only its record was not forgotten yet. */
        in->life = LIFE_EXITED;
        in->exited_ms = status.ended_ms != 0 ? status.ended_ms : control_now();
        control_doom_run(c, in->run_id);
        return;
    }
    in->routed = true; /* perhaps: a drain does no harm */
    if (leaving)
        instance_drain(in);
    /* "Starting" is also what has not answered yet: who was ready is past that. */
    in->adopted_ready =
        !leaving && ((row->flags & STORE_INSTANCE_ADOPTED_READY) != 0 || is_routed(c->found, in)) &&
        (status.state == RUN_RUNNING || status.state == RUN_STARTING);
    in->ever_ready = in->adopted_ready;
    instance_adopt(in);
}

/* ---- runs that nobody knows
 * ----------------------------------------------------------------------- */

struct orphans {
    struct control *control;
    struct {
        char **items;
        size_t len, cap;
    } ids;
};

/* The run of one of its instances, perhaps over by now (its record stays until that is stored), or
 * ID and "-before." after it. */
static bool is_of_instance(const struct app *a, const char *run_id)
{
    for (size_t i = 0; i < a->instances.len; i++) {
        const char *id = a->instances.items[i]->run_id;
        size_t n = strlen(id);
        if (strncmp(run_id, id, n) == 0 &&
            (run_id[n] == '\0' || strncmp(run_id + n, "-before.", 8) == 0))
            return true;
    }
    return false;
}

/* A `run`, of a release that is there: LABEL-RELEASE-run-N.0. It is taken up at once. */
static bool take_up_run(struct app *a, const char *run_id)
{
    unsigned release, number;
    int used = 0;
    size_t n = strlen(a->label);
    if (strncmp(run_id, a->label, n) != 0 ||
        sscanf(run_id + n, "-%u-run-%u.0%n", &release, &number, &used) != 2 || used == 0 ||
        run_id[n + (size_t)used] != '\0' || app_release(a, release) == NULL)
        return false;
    if (number >= a->next_run)
        a->next_run = number + 1;
    cleanup_free char *id = xstrdup(run_id);
    id[strlen(id) - 2] = '\0';
    run_resume(a, release, id);
    return true;
}

/* A job that the app's rollout, deploy or one of its instances will ask for again, by its id. */
static bool is_awaited(const struct app *a, const char *run_id)
{
    char id[RUN_ID_MAX];
    const struct rollout_state *r = &a->state.rollout;
    const struct pool_state *p =
        a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
    static const char *const kinds[] = {"smoke", "release"};
    bool forward = r->id != 0 && r->phase != PHASE_BACK; /* no way back runs a hook */
    for (size_t i = 0; forward && p != NULL && i < COUNT_OF(kinds); i++) {
        int n = snprintf(id, sizeof id, "%s-%u-%s-%llu.%u.", a->label, p->release, kinds[i],
                         (unsigned long long)r->id, r->cursor);
        if (strncmp(run_id, id, (size_t)n) == 0)
            return true;
    }
    return deploy_owns_run(a, run_id) || is_of_instance(a, run_id);
}

static void note_orphan(void *arg, const char *id, const struct run_status *status)
{
    struct orphans *o = arg;
    struct control *c = o->control;
    (void)status;
    if (map_get(&c->runs, id) != NULL)
        return;
    for (size_t i = 0; i < c->apps.len; i++)
        if (is_awaited(c->apps.items[i], id) || take_up_run(c->apps.items[i], id))
            return;
    if (!unreadable_owns_run(c, id))
        *vec_push(&o->ids) = xstrdup(id);
}

/* A later run of an instance than its row knows of: started while nothing could be stored. Until it
 * is away the instance does not start, and never again with a number that was used. */
static void make_way(struct control *c, const char *run_id)
{
    const char *dot = strrchr(run_id, '.');
    size_t n = dot != NULL ? (size_t)(dot - run_id) : 0;
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *a = c->apps.items[i];
        for (size_t k = 0; n > 0 && k < a->instances.len; k++) {
            struct instance *in = a->instances.items[k];
            if (strncmp(in->id, run_id, n) != 0 || in->id[n] != '\0')
                continue;
            unsigned long number = strtoul(dot + 1, NULL, 10);
            if (number >= a->next_run && number < UINT32_MAX)
                a->next_run = (uint32_t)number + 1;
            if (in->life == LIFE_RUNNING || number == in->run)
                continue;
            in->life = LIFE_EXITED;
            in->exited_ms = control_now();
        }
    }
}

/* Left by a controller that died between the engine and the store. */
static void stop_orphans(struct control *c)
{
    struct orphans o = {.control = c};
    c->engine->ops->each(c->engine, note_orphan, &o);
    for (size_t i = 0; i < o.ids.len; i++) {
        log_warn("run %s is nobody's: it is stopped", o.ids.items[i]);
        make_way(c, o.ids.items[i]);
        control_doom_run(c, o.ids.items[i]);
        free(o.ids.items[i]);
    }
    vec_release(&o.ids);
}

/* Folders of releases that the store does not know: of a deploy that was never stored, or deleted
 * from it when the controller was killed. A later release of that number must not find them. */
static void sweep_releases(struct app *a)
{
    cleanup_free char *dir = app_path(a, "releases");
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char *end;
        unsigned long number = strtoul(e->d_name, &end, 10);
        if (end == e->d_name || (*end != '\0' && strcmp(end, ".tmp") != 0) || number > UINT32_MAX ||
            app_release(a, (uint32_t)number) != NULL)
            continue;
        cleanup_free char *path = xasprintf("%s/%lu", dir, number);
        cleanup_folder(a->control, path);
    }
    closedir(d);
}

/* ---- rollouts
 * ------------------------------------------------------------------------------------- */

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
    a->unstored = true;
}

/* Does a route of the app still send something to that release? */
static bool sends_to(const struct snapshot *s, const struct app *a, uint32_t release)
{
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *r = &s->routes[i];
        const struct snapshot_app *app = &s->apps[r->app];
        if (strcmp(app->name, a->name) != 0 || strcmp(app->environment, a->environment) != 0)
            continue;
        for (uint32_t k = 0; k < r->shares_len; k++)
            if (r->shares[k].weight_ppm > 0 && s->pools[r->shares[k].pool].release == release)
                return true;
    }
    return false;
}

/* The last routes were marked: traffic of some app went back to stable before the store knew, and
 * the controller died before it did. Publishing what is stored would undo that. */
static void finish_rollback(struct app *a, const struct snapshot *s)
{
    struct error err = ERROR_INIT;
    struct specs specs;
    const struct rollout_state *r = &a->state.rollout;
    const struct pool_state *stable =
        a->state.stable != 0 ? app_pool(&a->state, a->state.stable) : NULL;
    const struct pool_state *candidate =
        a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
    if (r->id == 0 || r->phase == PHASE_BACK || stable == NULL || candidate == NULL ||
        candidate->weight_ppm == 0 || candidate->release == stable->release ||
        sends_to(s, a, candidate->release))
        return;
    app_specs(a, &specs);
    cleanup_buf struct buf text = BUF_INIT;
    enum reason_code code = REASON_ERRORS;
    switch (judge_look(&a->judge, &text)) {
    case JUDGEMENT_LATENCY: code = REASON_LATENCY; break;
    case JUDGEMENT_SLO: code = REASON_SLO; break;
    case JUDGEMENT_ERRORS: break;
    default:
        buf_clear(&text);
        buf_puts(&text, "its traffic had gone back to stable when the controller was killed");
    }
    if (core_abort(&a->state, &specs, code, buf_str(&text), control_now(), &err) < 0)
        log_warn("app %s: %s", a->key, err.text);
    a->unstored = true;
}

/* Rows that say "open" of rollouts that are over: a superseded one whose end was never stored. */
static void close_rollouts(struct control *c, struct store_batch *batch)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_rollouts open = {0};
    struct error err = ERROR_INIT;
    if (store_read_open_rollouts(c->store, &memory, &open, &err) < 0) {
        log_warn("%s", err.text);
        return;
    }
    for (size_t i = 0; i < open.len; i++) {
        struct store_rollout *row = &open.items[i];
        const struct app *a = app_by_key(c, row->app);
        if (a == NULL || a->state.rollout.id == row->id) /* NULL: nobody can tell */
            continue;
        row->ended_ms = control_now();
        row->result = rollout_result_word(RESULT_SUPERSEDED);
        row->reason_code = reason_code_word(REASON_SUPERSEDED);
        row->reason_text = "it was over when the controller started";
        batch_end_rollout(batch, row);
    }
}

/* The judge goes on with what its predecessor knew; what came after the last write comes to it by
 * the marks, as one batch. */
static void resume_watch(struct app *a, const json_t *judge, const json_t *metrics)
{
    const struct rollout_state *s = &a->state.rollout;
    if (s->id == 0 || s->kind != ROLLOUT_DEPLOY || s->phase == PHASE_BACK)
        return;
    watch_begin(a);
    if (judge != NULL)
        watch_restore(a, json_string_value(judge));
    metrics_restore(a, metrics);
}

static void free_extras(json_t **extras, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_decref(extras[i]);
    free(extras);
}

/* True: some are of before a reboot, and not there any more. */
static bool restore_instances(struct control *c, const struct store_instances *rows)
{
    bool rebooted = false;
    for (size_t i = 0; i < rows->len; i++) {
        struct app *a = app_by_key(c, rows->items[i].app);
        if (strcmp(rows->items[i].boot_id, c->boot_id) != 0)
            rebooted = true;
        else if (a != NULL)
            restore_instance(a, &rows->items[i]);
        else
            unreadable_add_run(c, &rows->items[i]);
    }
    return rebooted;
}

int control_restore(struct control *c, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_apps apps = {0};
    struct store_instances instances = {0};
    if (store_read_apps(c->store, &memory, &apps, err) < 0 ||
        store_read_instances(c->store, NULL, &memory, &instances, err) < 0)
        return -1;
    /* An empty store where apps are routed is a lost one: to believe it would take the traffic off
     * what runs, and stop it. */
    if (apps.len == 0 && c->snapshot_apps_found > 0 && store_last_event_id(c->store) == 0)
        return error_set(
            err, ERROR_FAILED,
            "%s/state.db is new, but %u apps are routed here: put the old one back, or "
            "delete %s/run/snapshot-* to begin anew (what runs is stopped then)",
            c->data, c->snapshot_apps_found, c->data);
    json_t **extras = xcalloc(apps.len + 1, sizeof(json_t *));
    for (size_t i = 0; i < apps.len; i++)
        if (restore_app(c, &apps.items[i], &memory, &extras[i], err) < 0) {
            free_extras(extras, apps.len);
            return -1;
        }
    bool rebooted = restore_instances(c, &instances);
    struct store_batch *batch = store_batch_new(c->store);
    for (size_t i = 0; rebooted && i < instances.len; i++)
        if (strcmp(instances.items[i].boot_id, c->boot_id) != 0)
            batch_delete_instance(batch, instances.items[i].id);
    close_rollouts(c, batch);
    event_add(c, batch, NULL, "server", NULL, 0,
              rebooted ? "controller started after a reboot" : "controller started", NULL);
    unreadable_tell(c, batch);
    control_submit(c, batch, NULL, NULL);
    for (size_t i = 0; i < apps.len; i++) {
        struct app *a = app_by_key(c, apps.items[i].app);
        if (a == NULL)
            continue;
        resume_watch(a, json_object_get(extras[i], "judge"), json_object_get(extras[i], "metrics"));
        marks_restore(a, json_object_get(extras[i], "marks"));
        bake_restore(a, json_object_get(extras[i], "bake"));
        clock_jump_restore(a, json_object_get(extras[i], "clock"));
        if (rebooted)
            end_for_reboot(a);
        else if (c->rollback_ahead != NULL)
            finish_rollback(a, c->rollback_ahead);
        sweep_releases(a);
        if (json_object_get(extras[i], "pending") != NULL)
            deploy_resume(a, json_object_get(extras[i], "pending"));
    }
    stop_orphans(c);
    for (size_t i = 0; i < apps.len; i++) {
        struct app *a = app_by_key(c, apps.items[i].app);
        if (a == NULL)
            continue;
        for (size_t k = 0; k < a->instances.len && !c->leaving; k++)
            if (a->instances.items[k]->life == LIFE_PLANNED)
                instance_start(a->instances.items[k]);
        control_mark(a);
    }
    free_extras(extras, apps.len);
    return 0;
}
