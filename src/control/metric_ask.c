#include "control/metric_ask.h"

#include "control/control_internal.h"
#include "control/fetch_link.h"
#include "observe/logs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct metric_ask {
    struct app *app;
    const struct metric_spec *spec;
    struct fetch_call *fetch; /* or */
    struct hook *hook;
    char id[RUN_ID_MAX]; /* of the hook */
    metric_asked_fn *done;
    void *arg;
};

static void finish(struct metric_ask *ask, struct metric_answer *answer)
{
    ask->done(ask->arg, answer);
    free(ask);
}

/* ---- over HTTP ------------------------------------------------------------------------------- */

static void on_fetched(void *arg, const struct fetch_answer *got)
{
    struct metric_ask *ask = arg;
    struct metric_answer answer;
    cleanup_buf struct buf url = BUF_INIT;
    metric_url_masked(ask->spec->url, &url);
    if (got->status == 0)
        metric_error(&answer, "%s: %.*s", buf_str(&url), (int)got->body_len, got->body);
    else if (ask->spec->source == METRIC_PROMETHEUS)
        metric_of_prometheus(got->status, got->body, got->body_len, &answer);
    else
        metric_of_webhook(got->status, got->body, got->body_len, &answer);
    finish(ask, &answer);
}

static void ask_prometheus(struct metric_ask *ask, const struct metric_about *about)
{
    struct app *a = ask->app;
    const struct release *r = app_release(a, about->release);
    char release[16], window[32];
    snprintf(release, sizeof release, "%u", about->release);
    snprintf(window, sizeof window, "%" PRId64 "s", about->window_ms / 1000);
    struct metric_place place = {.app = a->name,
                                 .environment = a->environment,
                                 .release = release,
                                 .version = r->version,
                                 .window = window};
    cleanup_buf struct buf query = BUF_INIT, body = BUF_INIT, url = BUF_INIT;
    metric_query_fill(ask->spec->query, &place, &query);
    metric_query_body(buf_str(&query), &body);
    metric_query_url(ask->spec->url, &url);
    ask->fetch = fetch_start(a->control,
                             &(struct fetch_request){.kind = FETCHCTL_POST_FORM,
                                                     .url = buf_str(&url),
                                                     .body = buf_str(&body),
                                                     .body_len = body.len,
                                                     .timeout_ms = ask->spec->timeout_ms},
                             on_fetched, ask);
}

static void ask_webhook(struct metric_ask *ask, const struct metric_about *about)
{
    struct app *a = ask->app;
    const struct release *r = app_release(a, about->release);
    json_t *body =
        json_pack("{s:s,s:s,s:i,s:s,s:s,s:I}", "app", a->name, "environment", a->environment,
                  "release", (int)about->release, "version", r->version, "metric", ask->spec->name,
                  "window_s", (json_int_t)(about->window_ms / 1000));
    json_object_set_new(body, "stable_release",
                        about->stable_release != 0 ? json_integer(about->stable_release)
                                                   : json_null());
    cleanup_free char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    ask->fetch = fetch_start(a->control,
                             &(struct fetch_request){.kind = FETCHCTL_POST_JSON,
                                                     .url = ask->spec->url,
                                                     .body = text,
                                                     .body_len = strlen(text),
                                                     .timeout_ms = ask->spec->timeout_ms},
                             on_fetched, ask);
}

/* ---- a command ------------------------------------------------------------------------------- */

/* Each measurement has a log of its own, which goes with its run: what matters of it is told. */
static void delete_log(const struct app *a, const char *id)
{
    cleanup_free char *dir = app_path(a, "logs");
    cleanup_free char *path = xasprintf("%s/%s.log", dir, id);
    cleanup_free char *older = xasprintf("%s.1", path);
    unlink(path);
    unlink(older);
}

void metric_run_gone(struct control *c, const char *run_id)
{
    for (size_t i = 0; i < c->apps.len; i++) {
        const struct app *a = c->apps.items[i];
        size_t n = strlen(a->label);
        unsigned release, number;
        int used = 0;
        if (strncmp(run_id, a->label, n) != 0 ||
            sscanf(run_id + n, "-%u-metric-%u%n.0", &release, &number, &used) != 2)
            continue;
        cleanup_free char *id = xasprintf("%.*s", (int)n + used, run_id);
        delete_log(a, id);
    }
}

static void on_ran(void *arg, struct hook *hook, bool ok, const char *text)
{
    struct metric_ask *ask = arg;
    const struct run_status *st = hook_last(hook);
    struct metric_answer answer;
    cleanup_buf struct buf line = BUF_INIT;
    cleanup_free char *dir = app_path(ask->app, "logs");
    logs_last_lines(dir, ask->id, 1, &line);
    delete_log(ask->app, ask->id);
    bool ended = st->state == RUN_EXITED && !st->start_failed && !st->timed_out &&
                 !st->oom_killed && st->exit_signal == 0;
    if (ok || ended)
        metric_of_command(ok ? 0 : st->exit_code, buf_str(&line), &answer);
    else
        metric_error(&answer, "%s", text);
    hook_spend(ask->app, ask->id, 1);
    finish(ask, &answer);
}

static void ask_command(struct metric_ask *ask, const struct metric_about *about)
{
    struct app *a = ask->app;
    char window[32];
    struct preview preview;
    app_preview(a, &preview);
    snprintf(window, sizeof window, "%" PRId64, about->window_ms / 1000);
    snprintf(ask->id, sizeof ask->id, "%s-%u-metric-%u", a->label, about->release, a->next_run++);
    struct hook_config config = {
        .kind = HOOK_METRIC,
        .commands = &ask->spec->command,
        .commands_len = 1,
        .id = ask->id,
        .release = about->release,
        .extra = {{"SLUICE_PREVIEW_URL", preview.url},
                  {"SLUICE_PREVIEW_SOCKET", preview.socket},
                  {"SLUICE_METRIC", ask->spec->name},
                  {"SLUICE_WINDOW", window}},
        .timeout_ms = ask->spec->timeout_ms,
        .done = on_ran,
        .arg = ask,
    };
    ask->hook = hook_start(a, &config);
}

/* ---- what others call ------------------------------------------------------------------------ */

struct metric_ask *metric_ask_start(struct app *a, const struct metric_spec *spec,
                                    const struct metric_about *about, metric_asked_fn *done,
                                    void *arg)
{
    struct metric_ask *ask = xcalloc(1, sizeof *ask);
    *ask = (struct metric_ask){.app = a, .spec = spec, .done = done, .arg = arg};
    ASSERT(app_release(a, about->release) != NULL);
    switch (spec->source) {
    case METRIC_PROMETHEUS: ask_prometheus(ask, about); break;
    case METRIC_WEBHOOK: ask_webhook(ask, about); break;
    case METRIC_COMMAND: ask_command(ask, about); break;
    default: UNREACHABLE();
    }
    return ask;
}

void metric_ask_cancel(struct metric_ask *ask)
{
    if (ask == NULL)
        return;
    fetch_cancel(ask->fetch);
    hook_cancel(ask->hook);
    free(ask);
}
