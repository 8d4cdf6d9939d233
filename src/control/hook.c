/* Hooks: a list of commands run one after the other as jobs of the engine: build, release, smoke,
 * stop.before, `run`. A job outlives the controller like any run; since the ids of its runs follow
 * from what it is for, the next controller finds it and goes on. For the same reason the record of
 * a command that is over stays until what came of it is stored (hook_spend): a migration runs once.
 */
#include "control/control_internal.h"

#include "observe/logs.h"
#include "os/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct hook {
    struct app *app;
    struct control *control; /* also when the app is gone, while the timer closes */
    struct hook_config config;
    char *id, *event;
    size_t extra_len; /* of config.extra, whose texts are the hook's own */
    char *log_id, *log_path;
    size_t at; /* command that runs */
    char run_id[RUN_ID_MAX + 1];
    struct logs_reader *output; /* follows the log for the output events */
    uv_timer_t timer;           /* reads the output; also starts, so that done comes later */
    struct run_status last;     /* how its last command ended */
    int64_t late_ms;            /* clock_boot_ms(): its shim should have ended it long before */
    bool closing;
};

enum { OUTPUT_MS = 200, OUTPUT_LINES_PER_TURN = 50, LATE_MS = 10000 };

static void hook_free(struct hook *h)
{
    free(h->id);
    free(h->event);
    for (size_t i = 0; i < h->extra_len; i++) {
        free((char *)(uintptr_t)h->config.extra[i].name);
        free((char *)(uintptr_t)h->config.extra[i].value);
    }
    free(h->log_id);
    free(h->log_path);
    logs_reader_free(h->output);
    free(h);
}

static void on_closed(uv_handle_t *handle)
{
    struct hook *h = handle->data;
    control_handle_closed(h->control);
    hook_free(h);
}

/* Out of the app's list; freed when its timer is closed. */
static void hook_end(struct hook *h)
{
    struct app *a = h->app;
    for (size_t i = 0; i < a->hooks.len; i++)
        if (a->hooks.items[i] == h) {
            vec_remove(&a->hooks, i);
            break;
        }
    h->closing = true;
    uv_close((uv_handle_t *)&h->timer, on_closed);
}

static void disown(struct hook *h)
{
    if (h->run_id[0] == '\0')
        return;
    free(map_remove(&h->control->runs, h->run_id));
    h->run_id[0] = '\0';
}

void hook_spend(struct app *a, const char *id, size_t runs)
{
    for (size_t i = 0; i < runs; i++) {
        char run_id[RUN_ID_MAX + 1];
        snprintf(run_id, sizeof run_id, "%s.%zu", id, i);
        if (map_get(&a->control->runs, run_id) == NULL) /* else it is on its way out already */
            app_spend_run(a, run_id);
    }
}

struct left {
    struct app *app;
    const char *prefix;
};

static void drop_left(void *arg, const char *id, const struct run_status *st)
{
    const struct left *left = arg;
    struct control *c = left->app->control;
    if (strncmp(id, left->prefix, strlen(left->prefix)) != 0 || map_get(&c->runs, id) != NULL)
        return;
    if (st->state == RUN_EXITED || st->state == RUN_LOST)
        app_spend_run(left->app, id);
    else
        control_doom_run(c, id);
}

void hook_drop_left(struct app *a, const char *prefix)
{
    struct left left = {a, prefix};
    struct engine *engine = a->control->engine;
    engine->ops->each(engine, drop_left, &left);
}

/* Tells new lines of output as events. */
static void tell_output(struct hook *h, bool all)
{
    if (h->event == NULL || h->output == NULL)
        return;
    struct control *c = h->app->control;
    cleanup_buf struct buf lines = BUF_INIT;
    logs_touched(h->output, NULL);
    while (logs_read(h->output, &lines) && all)
        ;
    if (lines.len == 0 || c->store == NULL)
        return;
    struct store_batch *batch = store_batch_new(c->store);
    char *save = NULL;
    unsigned n = 0;
    for (char *line = strtok_r(lines.data, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *entry = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(entry, "m"));
        if (text != NULL && n++ < OUTPUT_LINES_PER_TURN)
            event_add(c, batch, h->app, h->event, NULL, h->config.release, text, NULL);
        json_decref(entry);
    }
    if (n > OUTPUT_LINES_PER_TURN) {
        char text[80];
        snprintf(text, sizeof text, "(%u more lines are in the log)", n - OUTPUT_LINES_PER_TURN);
        event_add(c, batch, h->app, h->event, NULL, h->config.release, text, NULL);
    }
    if (n > 0)
        control_submit(c, batch, NULL, NULL);
    else
        store_batch_free(batch);
}

static void finish(struct hook *h, bool ok, const char *text)
{
    tell_output(h, true);
    disown(h);
    h->config.done(h->config.arg, h, ok, text);
    hook_end(h);
}

static int start_command(struct hook *h, struct error *err)
{
    struct app *a = h->app;
    struct control *c = a->control;
    struct release *r = app_release(a, h->config.release);
    const struct app_spec *spec = r != NULL ? release_spec(a, r) : NULL;
    if (spec == NULL)
        return error_set(err, ERROR_FAILED, "release %u is gone", h->config.release);
    snprintf(h->run_id, sizeof h->run_id, "%s.%zu", h->id, h->at);
    struct run_owner *owner = xcalloc(1, sizeof *owner);
    owner->hook = h;
    free(map_put(&c->runs, h->run_id, owner));

    h->late_ms = h->config.timeout_ms > 0 && h->config.timeout_ms < INT32_MAX
                     ? clock_boot_ms() + h->config.timeout_ms + LATE_MS
                     : INT64_MAX;
    struct run_status status;
    if (c->engine->ops->status(c->engine, h->run_id, &status, NULL) == 0) {
        hook_on_run(h, &status); /* an earlier controller began it */
        return 0;
    }
    struct run_env env;
    run_env_make(&env, a, r, spec, h->config.instance, h->config.extra, h->extra_len);
    struct run_spec run;
    run_spec_fill(&run, a, r, spec);
    if (h->config.kind == HOOK_BUILD) { /* a compiler needs more than the app does */
        run.cpu_milli = 0;
        run.memory_bytes = 0;
    }
    run.id = h->run_id;
    run.argv = run_env_expand(&env, &h->config.commands[h->at]);
    run.envp = (const char *const *)env.envp;
    run.state_dir = env.state_dir;
    run.log_path = h->log_path;
    static const char *const labels[] = {[HOOK_BUILD] = "build", [HOOK_RELEASE] = "release",
                                         [HOOK_SMOKE] = "smoke", [HOOK_STOP_BEFORE] = "stop.before",
                                         [HOOK_RUN] = "run",     [HOOK_METRIC] = "metric"};
    run.log_label = labels[h->config.kind];
    run.timeout_ms = h->config.timeout_ms;
    int result = c->engine->ops->start(c->engine, &run, err);
    run_env_release(&env);
    return result;
}

static void on_timer(uv_timer_t *timer)
{
    struct hook *h = timer->data;
    if (h->run_id[0] != '\0') {
        tell_output(h, false);
        if (clock_boot_ms() >= h->late_ms) { /* the engine sees to a shim that is frozen */
            h->late_ms = INT64_MAX;
            h->control->engine->ops->stop(h->control->engine, h->run_id, SIGKILL, 0, NULL);
        }
        return;
    }
    if (h->at >= h->config.commands_len) {
        finish(h, true, "");
        return;
    }
    struct error err = ERROR_INIT;
    if (start_command(h, &err) < 0)
        finish(h, false, err.text);
}

struct hook *hook_start(struct app *a, const struct hook_config *config)
{
    struct hook *h = xcalloc(1, sizeof *h);
    h->app = a;
    h->control = a->control;
    h->config = *config;
    h->id = xstrdup(config->id);
    h->event = xstrdup(config->event);
    for (; h->extra_len < HOOK_EXTRA && config->extra[h->extra_len].name != NULL; h->extra_len++)
        h->config.extra[h->extra_len] =
            (struct env_var){.name = xstrdup(config->extra[h->extra_len].name),
                             .value = xstrdup(config->extra[h->extra_len].value)};
    h->log_id = xstrdup(config->instance != NULL ? config->instance->id : config->id);
    h->log_path = xasprintf("%s/logs/%s.log", a->dir, h->log_id);
    if (h->event != NULL) {
        cleanup_free char *dir = app_path(a, "logs");
        struct logs_filter filter = {.instance = h->log_id};
        h->output = logs_reader_new(dir, &filter);
    }
    uv_timer_init(a->control->loop, &h->timer);
    h->timer.data = h;
    control_handle_opened(a->control);
    *vec_push(&a->hooks) = h;
    uv_timer_start(&h->timer, on_timer, 0, OUTPUT_MS);
    return h;
}

/* "./migrate exited with status 3: last line" */
static void describe(struct hook *h, const struct run_status *st, struct buf *out)
{
    const struct command *command = &h->config.commands[h->at];
    const char *name = command->shell ? command->argv[command->argc - 1] : command->argv[0];
    buf_printf(out, "%.100s ", name);
    if (st->start_failed)
        buf_printf(out, "did not start: %s", st->reason);
    else if (st->timed_out)
        buf_puts(out, "took too long and was killed");
    else if (st->oom_killed)
        buf_puts(out, "was killed: out of memory");
    else if (st->state == RUN_LOST)
        buf_puts(out, "was killed together with its shim");
    else if (st->exit_signal != 0)
        buf_printf(out, "was killed by signal %d", st->exit_signal);
    else
        buf_printf(out, "exited with status %d", st->exit_code);
    cleanup_free char *dir = app_path(h->app, "logs");
    cleanup_buf struct buf lines = BUF_INIT;
    if (!st->start_failed && logs_last_lines(dir, h->log_id, HOOK_TEXT_LINES, &lines) > 0) {
        while (lines.len > 0 && lines.data[lines.len - 1] == '\n')
            lines.data[--lines.len] = '\0';
        buf_printf(out, "; its last lines: %.300s", lines.data);
    }
}

void hook_on_run(struct hook *h, const struct run_status *st)
{
    if (h->closing || (st->state != RUN_EXITED && st->state != RUN_LOST))
        return;
    if (st->state == RUN_EXITED && st->exit_code == 0 && !st->start_failed) {
        h->last = *st;
        disown(h);
        if (++h->at >= h->config.commands_len)
            finish(h, true, "");
        else
            uv_timer_start(&h->timer, on_timer, 0, OUTPUT_MS);
        return;
    }
    cleanup_buf struct buf text = BUF_INIT;
    h->last = *st;
    describe(h, st, &text);
    finish(h, false, buf_str(&text));
}

void hook_cancel(struct hook *h)
{
    if (h == NULL || h->closing)
        return;
    hook_spend(h->app, h->id, h->at);
    if (h->run_id[0] != '\0')
        control_doom_run(h->control, h->run_id);
    if (h->config.drop != NULL)
        h->config.drop(h->config.arg);
    hook_end(h);
}

const struct run_status *hook_last(const struct hook *h)
{
    return &h->last;
}

const char *hook_log_path(const struct hook *h)
{
    return h->log_path;
}

/* The controller leaves: jobs go on, the next controller takes them up. */
void hooks_release(struct app *a)
{
    while (a->hooks.len > 0) {
        struct hook *h = a->hooks.items[a->hooks.len - 1];
        disown(h);
        if (h->config.drop != NULL)
            h->config.drop(h->config.arg);
        hook_end(h);
    }
}
