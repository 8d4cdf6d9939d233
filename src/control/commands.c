/* What people tell an app. Each command changes the app's state, and is answered once that is
 * stored; the next step of the pipeline acts. */
#include "control/orders.h"

#include <stdio.h>
#include <string.h>

struct answer {
    command_done *done;
    void *arg;
    json_t *body;
};

static void on_stored(void *context, enum store_outcome outcome, const struct error *err)
{
    struct answer *x = context;
    if (outcome == STORE_OK) {
        x->done(x->arg, NULL, x->body);
    } else {
        struct error failed = *err;
        error_wrap(&failed, "done, but it cannot be stored yet");
        failed.class = ERROR_UNAVAILABLE;
        x->done(x->arg, &failed, NULL);
    }
    json_decref(x->body);
    free(x);
}

static void answer_when_stored(struct app *a, struct store_batch *batch, json_t *body,
                               command_done *done, void *arg)
{
    struct answer *x = xcalloc(1, sizeof *x);
    x->done = done;
    x->arg = arg;
    x->body = body != NULL ? body : json_object();
    app_write(a, batch, on_stored, x);
}

/* ---- the commands: each gives 0, or -1 with *err
 * ---------------------------------------------------- */

struct order {
    struct control *control;
    struct app *app;
    const json_t *arguments;
    const struct caller *caller;
    struct store_batch *batch;
    json_t *body;      /* of the answer; NULL: {} */
    const char *event; /* NULL: told by the core, or already */
    char text[512];
};

/* Between a deploy's acceptance and its rollout there is nothing but it that could be ended. */
static int rollout_awaited(const struct order *o, struct error *err)
{
    if (o->app->deploy == NULL || o->app->state.rollout.id != 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "release %u is still being packed and built: there is no rollout yet "
                     "(`abort` ends it)",
                     o->app->next_release - 1);
}

static int do_promote(struct order *o, struct error *err)
{
    if (rollout_awaited(o, err) < 0)
        return -1;
    return core_promote(&o->app->state, control_now(), err);
}

static int do_abort(struct order *o, struct error *err)
{
    struct app *a = o->app;
    if (a->deploy != NULL) {
        cleanup_free char *why = xasprintf("aborted by %s while it was built", o->caller->name);
        deploy_cancel(a, why);
        return 0;
    }
    struct specs specs;
    char text[160];
    snprintf(text, sizeof text, "aborted by %s", o->caller->name);
    app_specs(a, &specs);
    return core_abort(&a->state, &specs, REASON_ABORTED, text, control_now(), err);
}

static int do_pause(struct order *o, struct error *err)
{
    if (rollout_awaited(o, err) < 0)
        return -1;
    return core_pause(&o->app->state, control_now(), err);
}

static int do_resume(struct order *o, struct error *err)
{
    if (rollout_awaited(o, err) < 0)
        return -1;
    return core_resume(&o->app->state, control_now(), err);
}

/* The last promoted release before the stable one, never a rejected one. */
static struct release *previous_release(struct app *a)
{
    uint32_t stable = app_stable_release(a);
    struct release *best = NULL;
    for (size_t i = 0; i < a->releases.len; i++) {
        struct release *r = &a->releases.items[i];
        if (r->status == RELEASE_PROMOTED && r->number < stable &&
            (best == NULL || r->number > best->number))
            best = r;
    }
    return best;
}

static int begin(struct order *o, enum rollout_kind kind, struct release *r, struct error *err)
{
    uint64_t event = store_last_event_id(o->control->store);
    const struct app_spec *spec = release_spec(o->app, r);
    /* Its routes may have gone to another app since. */
    if (spec != NULL && routes_check(o->control, o->app, spec, err) < 0)
        return -1;
    if (rollout_begin(o->app, kind, r, o->caller->name, o->batch, err) < 0)
        return -1;
    o->body = accepted_json(o->app, r, o->app->state.rollout.id, event);
    return 0;
}

static int do_rollback(struct order *o, struct error *err)
{
    struct app *a = o->app;
    const json_t *to = json_object_get(o->arguments, "to");
    if ((a->state.rollout.id != 0 || a->deploy != NULL) && !json_is_integer(to))
        return do_abort(o, err);
    struct release *r;
    if (json_is_integer(to)) {
        json_int_t number = json_integer_value(to);
        r = number > 0 && number <= UINT32_MAX ? app_release(a, (uint32_t)number) : NULL;
        if (r == NULL)
            return error_set(
                err, ERROR_NOT_FOUND,
                "app %s has no release %lld (`sluice releases %s` lists those that are kept)",
                a->name, (long long)number, a->name);
        if (r->status == RELEASE_FAILED || r->status == RELEASE_BUILDING)
            return error_set(err, ERROR_CONFLICT, "release %u was never built: it cannot run",
                             r->number);
        if (r->number == app_stable_release(a) && a->state.rollout.id == 0)
            return error_set(err, ERROR_CONFLICT,
                             "release %u is live already (`sluice restart %s` starts it anew)",
                             r->number, a->name);
    } else {
        r = previous_release(a);
        if (r == NULL)
            return error_set(err, ERROR_CONFLICT,
                             "app %s has no earlier promoted release to go back to", a->name);
    }
    o->event = "rollback";
    snprintf(o->text, sizeof o->text, "going back to release %u", r->number);
    return begin(o, ROLLOUT_ROLLBACK, r, err);
}

static int do_restart(struct order *o, struct error *err)
{
    struct app *a = o->app;
    struct release *r = app_release(a, app_stable_release(a));
    if (r == NULL)
        return error_set(err, ERROR_CONFLICT, "app %s has no live release to restart", a->name);
    if (a->state.rollout.id != 0 || a->deploy != NULL)
        return error_set(err, ERROR_CONFLICT,
                         "a rollout of app %s is under way: `sluice abort %s` first", a->name,
                         a->name);
    o->event = "restarted";
    snprintf(o->text, sizeof o->text, "restarting release %u", r->number);
    return begin(o, ROLLOUT_RESTART, r, err);
}

static int do_scale(struct order *o, struct error *err)
{
    struct app *a = o->app;
    const char *process = json_string_value(json_object_get(o->arguments, "process"));
    const json_t *replicas = json_object_get(o->arguments, "replicas");
    const struct app_spec *spec = pool_spec(a, a->state.stable);
    if (!json_is_integer(replicas) || json_integer_value(replicas) < 0 ||
        json_integer_value(replicas) > 1000)
        return error_set(err, ERROR_USAGE, "replicas: a number from 0 to 1000 is expected");
    if (spec == NULL)
        return error_set(err, ERROR_CONFLICT, "app %s has no live release to scale", a->name);
    size_t at = spec->processes_len;
    for (size_t i = 0; i < spec->processes_len; i++)
        if (process != NULL ? strcmp(spec->processes[i].name, process) == 0
                            : spec->processes[i].routed || spec->processes_len == 1) {
            at = i;
            break;
        }
    if (at == spec->processes_len)
        return error_set(err, ERROR_NOT_FOUND, "app %s has no process %s", a->name,
                         process != NULL ? process : "that gets the routes: name one");
    uint32_t count = (uint32_t)json_integer_value(replicas);
    if (spec->port != 0 && count > 1)
        return error_set(err, ERROR_CONFLICT, "app %s has a fixed port: one replica at most",
                         a->name);
    o->event = "scaled";
    snprintf(o->text, sizeof o->text, "%s scaled to %u", spec->processes[at].name, count);
    return core_scale(&a->state, spec, (uint8_t)at, count, err);
}

static int do_stop(struct order *o, struct error *err)
{
    if (o->app->deploy != NULL)
        deploy_cancel(o->app, "aborted by a stop");
    o->event = "stopped";
    snprintf(o->text, sizeof o->text, "stopping");
    return core_stop(&o->app->state, err);
}

static int do_start(struct order *o, struct error *err)
{
    o->event = "started";
    snprintf(o->text, sizeof o->text, "starting");
    return core_start(&o->app->state, err);
}

static int do_maintenance(struct order *o, struct error *err)
{
    o->event = "maintenance";
    return maintenance_order(o->app, o->arguments, o->caller->name, o->text, sizeof o->text, err);
}

static int do_fault(struct order *o, struct error *err)
{
    o->event = "fault";
    return fault_order(o->app, o->arguments, o->caller->name, o->text, sizeof o->text, err);
}

static int do_delete(struct order *o, struct error *err)
{
    struct app *a = o->app;
    (void)err;
    if (a->deploy != NULL)
        deploy_cancel(a, "aborted by a delete");
    core_stop(&a->state, NULL);
    a->deleting = true;
    o->event = "deleting";
    snprintf(o->text, sizeof o->text, "app %s is being deleted", a->key);
    return 0;
}

void control_command(struct control *c, enum control_command command, const struct app_name *name,
                     const json_t *arguments, const struct caller *caller, command_done *done,
                     void *arg)
{
    static int (*const orders[])(struct order *, struct error *) = {
        [COMMAND_PROMOTE] = do_promote,
        [COMMAND_ABORT] = do_abort,
        [COMMAND_PAUSE] = do_pause,
        [COMMAND_RESUME] = do_resume,
        [COMMAND_ROLLBACK] = do_rollback,
        [COMMAND_SCALE] = do_scale,
        [COMMAND_RESTART] = do_restart,
        [COMMAND_STOP] = do_stop,
        [COMMAND_START] = do_start,
        [COMMAND_DELETE] = do_delete,
        [COMMAND_MAINTENANCE] = do_maintenance,
        [COMMAND_FAULT] = do_fault,
    };
    _Static_assert(COUNT_OF(orders) == CONTROL_COMMANDS_COUNT, "a command without its function");
    struct error err = ERROR_INIT;
    struct app *a = control_available(c, &err) == 0 ? app_find(c, name, &err) : NULL;
    if (a != NULL && a->deleting && (command != COMMAND_DELETE || a->rows_going)) {
        error_set(&err, ERROR_CONFLICT, "app %s is being deleted", a->name);
        a = NULL;
    }
    if (a == NULL) {
        done(arg, &err, NULL);
        return;
    }
    struct order o = {.control = c,
                      .app = a,
                      .arguments = arguments,
                      .caller = caller,
                      .batch = store_batch_new(c->store)};
    uint64_t event = store_last_event_id(c->store);
    if (orders[command](&o, &err) < 0) {
        store_drop(c, o.batch);
        json_decref(o.body);
        done(arg, &err, NULL);
        return;
    }
    if (o.event == NULL) {
        static const char *const words[] = {
#define X(command_name, word) word,
            CONTROL_COMMANDS(X)
#undef X
        };
        o.event = "command";
        snprintf(o.text, sizeof o.text, "%s by %s", words[command], caller->name);
    }
    if (o.body == NULL)
        o.body = json_pack("{s:s,s:s,s:I}", "app", a->name, "environment", a->environment, "event",
                           (json_int_t)event);
    if (command == COMMAND_PROMOTE && !a->state.rollout.promote_all)
        json_object_set_new(o.body, "text", json_string("approved; the rollout goes on"));
    if (command == COMMAND_MAINTENANCE || command == COMMAND_FAULT)
        json_object_set_new(o.body, "text", json_string(o.text));
    event_add(c, o.batch, a, o.event, caller->name, app_stable_release(a), o.text, NULL);
    app_put_row(a, o.batch);
    a->traffic_version = 0;
    control_mark_routes(c);
    control_mark(a);
    control_tick_soon(c);
    answer_when_stored(a, o.batch, o.body, done, arg);
}

/* ---- run
 * ------------------------------------------------------------------------------------------ */

struct one_off {
    struct app *app;
    char *run;
    const char **argv;
    struct command command;
};

static void one_off_free(void *arg)
{
    struct one_off *x = arg;
    for (size_t i = 0; i < x->command.argc; i++)
        free((char *)(uintptr_t)x->argv[i]);
    free(x->argv);
    free(x->run);
    free(x);
}

static void on_one_off(void *arg, struct hook *hook, bool ok, const char *text)
{
    struct one_off *x = arg;
    struct app *a = x->app;
    const struct run_status *last = hook_last(hook);
    int code = ok ? 0 : last->exit_code > 0 ? last->exit_code : 1;
    json_t *data = json_pack("{s:s,s:i,s:i,s:s}", "run", x->run, "code", code, "signal",
                             last->exit_signal, "text", text);
    if (data == NULL) /* a line that is not UTF-8 */
        data = json_pack("{s:s,s:i,s:i}", "run", x->run, "code", code, "signal", last->exit_signal);
    hook_spend(a, x->run, 1);
    struct store_batch *batch = store_batch_new(a->control->store);
    cleanup_free char *well = ok ? xasprintf("%s ended well", x->run) : NULL;
    event_add(a->control, batch, a, "run-ended", NULL, 0, ok ? well : text, data);
    app_write(a, batch, NULL, NULL);
    json_decref(data);
    one_off_free(x);
}

/* Takes up the job of an earlier controller: its words are the job's own, only its id is needed. */
void run_resume(struct app *a, uint32_t release, const char *id)
{
    struct one_off *x = xcalloc(1, sizeof *x);
    x->app = a;
    x->run = xstrdup(id);
    x->argv = xcalloc(2, sizeof *x->argv);
    x->argv[0] = xstrdup("the command");
    x->command = (struct command){.argv = x->argv, .argc = 1, .shell = true};
    struct hook_config config = {
        .kind = HOOK_RUN,
        .commands = &x->command,
        .commands_len = 1,
        .id = x->run,
        .release = release,
        .done = on_one_off,
        .drop = one_off_free,
        .arg = x,
    };
    hook_start(a, &config);
}

void control_run(struct control *c, const struct app_name *name, const char *const *argv,
                 const struct caller *caller, command_done *done, void *arg)
{
    struct error err = ERROR_INIT;
    struct app *a = control_available(c, &err) == 0 ? app_find(c, name, &err) : NULL;
    uint32_t release = a != NULL ? app_stable_release(a) : 0;
    if (a != NULL && release == 0)
        error_set(&err, ERROR_CONFLICT, "app %s has no live release to run a command in", a->name);
    if (release == 0) {
        done(arg, &err, NULL);
        return;
    }
    struct one_off *x = xcalloc(1, sizeof *x);
    x->app = a;
    x->run = xasprintf("%s-%u-run-%u", a->label, release, a->next_run++);
    while (argv[x->command.argc] != NULL)
        x->command.argc++;
    x->argv = xcalloc(x->command.argc + 1, sizeof *x->argv);
    for (size_t i = 0; i < x->command.argc; i++)
        x->argv[i] = xstrdup(argv[i]);
    x->command.argv = x->argv;
    x->command.shell = true; /* the caller's words, as they are */
    struct hook_config config = {
        .kind = HOOK_RUN,
        .commands = &x->command,
        .commands_len = 1,
        .id = x->run,
        .release = release,
        .done = on_one_off,
        .drop = one_off_free,
        .arg = x,
    };
    struct store_batch *batch = store_batch_new(c->store);
    uint64_t event = store_last_event_id(c->store);
    struct hook *h = hook_start(a, &config);
    json_t *body = json_pack("{s:s,s:s,s:I}", "run", x->run, "log", hook_log_path(h), "event",
                             (json_int_t)event);
    app_put_row(a, batch);
    event_add(c, batch, a, "run", caller->name, release, x->run, NULL);
    answer_when_stored(a, batch, body, done, arg);
}
