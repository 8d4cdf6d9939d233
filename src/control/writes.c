/* What an app owes the store. Every batch with a part of an app's state goes out through
 * app_write(). When one fails, all that the app is, events, ended rollouts, deleted rows and the
 * runs that are not needed any more stay owed, until a later batch is stored: a full disk delays,
 * it does not forget. */
#include "control/control_internal.h"

#include <string.h>

struct ending {
    uint64_t write; /* the batch that holds it; 0: none yet */
    json_t *data;   /* of the event "ended" */
    char *actor, *text, *reason, *version, *judge;
    uint32_t release;
    const char *note;         /* kind of an event before it; NULL: none */
    bool told;                /* its events are in a batch, or owed as such */
    struct store_rollout row; /* id 0: the deploy never came to a rollout */
};

/* A row to be deleted, or a run whose record may go once this is stored. */
struct gone {
    uint64_t write;
    char *id;
    bool run;
};

struct written {
    struct app_ref *app;
    uint64_t number;
    submitted_fn *done;
    void *arg;
};

void app_end(struct app *a, const struct app_end *end)
{
    struct ending *e = xcalloc(1, sizeof *e);
    e->data = json_incref(end->data);
    e->actor = xstrdup(end->actor);
    e->text = xstrdup(end->text);
    e->release = end->release;
    e->note = end->note;
    if (end->row != NULL) {
        e->row = *end->row;
        e->row.ended_ms = control_now();
        e->row.actor = e->actor;
        e->row.version = e->version = xstrdup(end->row->version);
        e->row.reason_text = e->reason = xstrdup(end->row->reason_text);
        e->row.judge_json = e->judge = xstrdup(end->row->judge_json);
    }
    *vec_push(&a->endings) = e;
}

static void ending_free(struct ending *e)
{
    json_decref(e->data);
    free(e->actor);
    free(e->text);
    free(e->reason);
    free(e->version);
    free(e->judge);
    free(e);
}

static void owe(struct app *a, const char *id, bool run)
{
    struct gone *g = xcalloc(1, sizeof *g);
    g->id = xstrdup(id);
    g->run = run;
    *vec_push(&a->gone) = g;
}

void app_spend_run(struct app *a, const char *run_id)
{
    owe(a, run_id, true);
}

void app_delete_instance_row(struct app *a, const char *id)
{
    owe(a, id, false);
}

static void gone_free(struct gone *g)
{
    free(g->id);
    free(g);
}

void writes_release(struct app *a)
{
    for (size_t i = 0; i < a->endings.len; i++)
        ending_free(a->endings.items[i]);
    for (size_t i = 0; i < a->gone.len; i++)
        gone_free(a->gone.items[i]);
    vec_release(&a->endings);
    vec_release(&a->gone);
    events_forget_owed(a);
}

bool app_owes(const struct app *a)
{
    for (size_t i = 0; i < a->endings.len; i++)
        if (a->endings.items[i]->write == 0)
            return true;
    for (size_t i = 0; i < a->gone.len; i++)
        if (a->gone.items[i]->write == 0)
            return true;
    return a->unstored || a->owed_events != NULL;
}

/* ---- writing
 * -------------------------------------------------------------------------------------- */

static void put_whole(struct app *a, struct store_batch *batch)
{
    app_put_row(a, batch);
    for (size_t i = 0; i < a->releases.len; i++)
        app_put_release(a, &a->releases.items[i], batch);
    for (size_t i = 0; i < a->instances.len; i++)
        instance_put_row(a->instances.items[i], batch);
    if (a->start.id != 0)
        rollout_put_row(a, batch);
}

/* The rollout's row and its "ended" event in one. */
static void put_ending(struct app *a, struct ending *e, struct store_batch *batch)
{
    if (e->row.id != 0) {
        e->row.app = a->key;
        batch_put_rollout(batch, &e->row);
    }
    if (e->told)
        return;
    e->told = true;
    if (e->note != NULL)
        event_add(a->control, batch, a, e->note, NULL, e->release, e->text, NULL);
    const char *result = json_string_value(json_object_get(e->data, "result"));
    bool says_it = strncmp(e->text, result, strlen(result)) == 0; /* "aborted by alice" */
    cleanup_free char *line = says_it              ? xstrdup(e->text)
                              : e->text[0] != '\0' ? xasprintf("%s: %s", result, e->text)
                                                   : xstrdup(result);
    event_add(a->control, batch, a, "ended", e->actor, e->release, line, e->data);
}

static bool instance_exists(const struct app *a, const char *id)
{
    for (size_t i = 0; i < a->instances.len; i++)
        if (strcmp(a->instances.items[i]->id, id) == 0)
            return true;
    return false;
}

static void put_owed(struct app *a, struct store_batch *batch, uint64_t number)
{
    if (a->unstored)
        put_whole(a, batch);
    a->unstored = false;
    events_put_owed(a, batch);
    for (size_t i = 0; i < a->gone.len; i++) {
        struct gone *g = a->gone.items[i];
        if (g->write != 0)
            continue;
        /* An instance that has its id by now has its row as well, perhaps in this very batch. */
        if (!g->run && !instance_exists(a, g->id))
            batch_delete_instance(batch, g->id);
        g->write = number;
    }
    for (size_t i = 0; i < a->endings.len; i++) {
        struct ending *e = a->endings.items[i];
        if (e->write == 0)
            put_ending(a, e, batch);
        if (e->write == 0)
            e->write = number;
    }
}

static void settle(struct app *a, uint64_t number)
{
    struct engine *engine = a->control->engine;
    for (size_t i = 0; i < a->gone.len;) {
        struct gone *g = a->gone.items[i];
        if (g->write != number) {
            i++;
            continue;
        }
        if (g->run)
            engine->ops->forget(engine, g->id, NULL);
        vec_remove(&a->gone, i);
        gone_free(g);
    }
    for (size_t i = 0; i < a->endings.len;) {
        struct ending *e = a->endings.items[i];
        if (e->write != number) {
            i++;
            continue;
        }
        vec_remove(&a->endings, i);
        ending_free(e);
    }
}

static void owe_again(struct app *a, uint64_t number)
{
    a->unstored = true;
    a->retry_ms = control_now() + STORE_RETRY_MS;
    for (size_t i = 0; i < a->gone.len; i++)
        if (a->gone.items[i]->write == number)
            a->gone.items[i]->write = 0;
    for (size_t i = 0; i < a->endings.len; i++)
        if (a->endings.items[i]->write == number)
            a->endings.items[i]->write = 0;
    control_mark(a);
}

static void on_written(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct written *w = arg;
    struct app *a = app_ref_take(w->app);
    if (a != NULL && outcome == STORE_OK)
        settle(a, w->number);
    else if (a != NULL)
        owe_again(a, w->number);
    if (w->done != NULL)
        w->done(w->arg, outcome, err);
    free(w);
}

void app_write(struct app *a, struct store_batch *batch, submitted_fn *done, void *arg)
{
    struct control *c = a->control;
    struct written *w = xcalloc(1, sizeof *w);
    w->app = app_ref_new(a);
    w->number = ++c->writes;
    w->done = done;
    w->arg = arg;
    put_owed(a, batch, w->number);
    control_submit_of(a, batch, on_written, w);
    if (!a->collect_due)
        return;
    a->collect_due = false;
    releases_collect(a);
}
