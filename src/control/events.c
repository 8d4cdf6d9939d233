/* Events: recorded in the same transaction as what they tell, told to listeners once stored. Those
 * of a part of an app's state that could not be stored come with the app's next write, under new
 * ids: ids rise in the order of storing, so that who follows them misses none. */
#include "control/control_internal.h"

#include "os/clock.h"

#include <stdio.h>
#include <string.h>

struct queued_event {
    struct queued_event *next;
    const struct store_batch *batch;
    struct store_event row; /* its strings are the queue's own */
};

enum { OWED_MOST = 1000 }; /* events of one app that wait for a store that can be written */

void event_json(const struct store_event *row, struct buf *out)
{
    char at[WALL_TEXT_SIZE], name[128] = "";
    const char *environment = "";
    const char *separator = strchr(row->app, '@');
    if (separator != NULL) {
        snprintf(name, sizeof name, "%.*s", (int)(separator - row->app), row->app);
        environment = separator + 1;
    }
    json_t *data = NULL;
    json_t *whole = row->json[0] != '\0' ? json_loads(row->json, 0, NULL) : NULL;
    json_int_t release = 0;
    if (whole != NULL) {
        data = json_object_get(whole, "data");
        release = json_integer_value(json_object_get(whole, "release"));
    }
    json_t *event =
        json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s}", "id", (json_int_t)row->id, "at",
                  clock_format_wall(row->at_ms, at), "app", name, "environment", environment,
                  "kind", row->kind, "actor", row->actor, "text", row->text);
    if (event == NULL) /* text that is not UTF-8 never gets here: event_add() made it so */
        event = json_pack("{s:I,s:s}", "id", (json_int_t)row->id, "kind", row->kind);
    json_object_set_new(event, "release", release != 0 ? json_integer(release) : json_null());
    json_object_set(event, "data", data != NULL ? data : json_null());
    char *text = json_dumps(event, JSON_COMPACT);
    buf_puts(out, text);
    free(text);
    json_decref(event);
    json_decref(whole);
}

/* A copy of text that is UTF-8: what is not becomes '?'. */
static char *clean(const char *text)
{
    char *copy = xstrdup(text);
    json_t *probe = json_string(copy);
    if (probe == NULL)
        for (char *p = copy; *p != '\0'; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
    json_decref(probe);
    return copy;
}

static void enqueue(struct control *c, struct queued_event *q)
{
    if (c->queued_events == NULL)
        c->queued_events_end = &c->queued_events;
    q->next = NULL;
    *c->queued_events_end = q;
    c->queued_events_end = &q->next;
}

void event_add(struct control *c, struct store_batch *batch, struct app *a, const char *kind,
               const char *actor, uint32_t release, const char *text, const json_t *data)
{
    if (c->store == NULL || batch == NULL)
        return;
    json_t *whole = json_object();
    if (release != 0)
        json_object_set_new(whole, "release", json_integer(release));
    if (data != NULL)
        json_object_set(whole, "data", (json_t *)(uintptr_t)data);
    cleanup_free char *json = json_dumps(whole, JSON_COMPACT);
    json_decref(whole);
    cleanup_free char *safe = clean(text != NULL ? text : "");
    struct store_event row = {
        .id = store_next_event_id(c->store),
        .app = a != NULL ? a->key : "",
        .at_ms = control_now(),
        .kind = kind,
        .actor = actor != NULL ? actor : "system",
        .text = safe,
        .json = json,
    };
    batch_add_event(batch, &row);
    struct queued_event *q = xcalloc(1, sizeof *q);
    q->batch = batch;
    q->row = (struct store_event){.id = row.id,
                                  .app = xstrdup(row.app),
                                  .at_ms = row.at_ms,
                                  .kind = xstrdup(row.kind),
                                  .actor = xstrdup(row.actor),
                                  .text = xstrdup(row.text),
                                  .json = xstrdup(row.json)};
    enqueue(c, q);
    c->events_recorded++;
    log_debug("%s %s: %s", row.app, kind, safe);
}

void event_now(struct control *c, struct app *a, const char *kind, const char *actor,
               uint32_t release, const char *text, const json_t *data)
{
    if (c->store == NULL)
        return;
    struct store_batch *batch = store_batch_new(c->store);
    event_add(c, batch, a, kind, actor, release, text, data);
    control_submit(c, batch, NULL, NULL);
}

#define OWN(text) ((char *)(uintptr_t)(text))

static void queued_free(struct queued_event *q)
{
    free(OWN(q->row.app));
    free(OWN(q->row.kind));
    free(OWN(q->row.actor));
    free(OWN(q->row.text));
    free(OWN(q->row.json));
    free(q);
}

static void free_all(struct queued_event **list)
{
    while (*list != NULL) {
        struct queued_event *q = *list;
        *list = q->next;
        queued_free(q);
    }
}

/* Takes out of the queue what is in that batch, in order. The queue holds only events of batches
 * that were not submitted yet, so it is short. */
static struct queued_event *take_events(struct control *c, const struct store_batch *batch)
{
    struct queued_event *taken = NULL, **end = &taken, **at = &c->queued_events;
    while (*at != NULL) {
        struct queued_event *q = *at;
        if (q->batch != batch) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        q->next = NULL;
        *end = q;
        end = &q->next;
    }
    c->queued_events_end = at;
    return taken;
}

static void tell(struct control *c, const struct queued_event *list)
{
    for (const struct queued_event *q = list; q != NULL && c->listeners != NULL; q = q->next) {
        cleanup_buf struct buf json = BUF_INIT;
        const char *at = strchr(q->row.app, '@');
        cleanup_free char *app =
            xstrndup(q->row.app, at != NULL ? (size_t)(at - q->row.app) : strlen(q->row.app));
        event_json(&q->row, &json);
        struct control_event event = {.id = q->row.id,
                                      .app = app,
                                      .environment = at != NULL ? at + 1 : "",
                                      .kind = q->row.kind,
                                      .json = buf_str(&json)};
        for (struct control_listener *l = c->listeners; l != NULL; l = l->next)
            l->on_event(l->arg, &event);
    }
}

/* ---- events of batches that could not be stored
 * ------------------------------------------------------------------------------------ */

static void owe(struct app *a, struct queued_event *list)
{
    struct queued_event **end = &a->owed_events;
    size_t n = 0;
    for (; *end != NULL; end = &(*end)->next)
        n++;
    *end = list;
    for (; *end != NULL; end = &(*end)->next)
        n++;
    for (; n > OWED_MOST; n--) {
        struct queued_event *oldest = a->owed_events;
        log_error("app %s: event %s is lost, nothing can be stored: %s", a->key, oldest->row.kind,
                  oldest->row.text);
        a->owed_events = oldest->next;
        queued_free(oldest);
    }
}

void events_put_owed(struct app *a, struct store_batch *batch)
{
    while (a->owed_events != NULL) {
        struct queued_event *q = a->owed_events;
        a->owed_events = q->next;
        q->batch = batch;
        q->row.id = store_next_event_id(a->control->store);
        batch_add_event(batch, &q->row);
        enqueue(a->control, q);
    }
}

void event_withdraw(struct app *a, const char *kind)
{
    for (struct queued_event **at = &a->owed_events; *at != NULL;) {
        struct queued_event *q = *at;
        if (strcmp(q->row.kind, kind) != 0) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        queued_free(q);
    }
}

void events_forget_owed(struct app *a)
{
    free_all(&a->owed_events);
}

void store_drop(struct control *c, struct store_batch *batch)
{
    struct queued_event *events = take_events(c, batch);
    free_all(&events);
    store_batch_free(batch);
}

void store_put_off(struct app *a, struct store_batch *batch)
{
    owe(a, take_events(a->control, batch));
    store_batch_free(batch);
}

void events_release(struct control *c)
{
    free_all(&c->queued_events);
}

void control_listen(struct control *c, struct control_listener *listener)
{
    listener->next = c->listeners;
    c->listeners = listener;
}

void control_unlisten(struct control *c, struct control_listener *listener)
{
    for (struct control_listener **at = &c->listeners; *at != NULL; at = &(*at)->next)
        if (*at == listener) {
            *at = listener->next;
            return;
        }
}

/* ---- batches
 * -------------------------------------------------------------------------------------- */

struct submitted {
    struct control *control;
    struct app_ref *app; /* keeps the events when this fails; NULL: they are lost then */
    struct queued_event *events;
    submitted_fn *done;
    void *arg;
};

static void on_stored(void *context, enum store_outcome outcome, const struct error *err)
{
    struct submitted *s = context;
    struct control *c = s->control;
    bool failing = outcome != STORE_OK;
    if (failing) {
        c->store_errors++;
        snprintf(c->store_error, sizeof c->store_error, "%.250s", err->text);
        if (!c->store_failing)
            log_error("the store cannot be written: %s", err->text);
    } else if (c->store_failing) {
        log_info("the store can be written again");
    }
    c->store_failing = failing;
    struct app *a = s->app != NULL ? app_ref_take(s->app) : NULL;
    if (failing && a != NULL) {
        owe(a, s->events);
    } else {
        if (!failing)
            tell(c, s->events);
        free_all(&s->events);
    }
    if (s->done != NULL)
        s->done(s->arg, outcome, err);
    free(s);
}

static void submit(struct control *c, struct app_ref *app, struct store_batch *batch,
                   submitted_fn *done, void *arg)
{
    ASSERT(c->store != NULL && batch != NULL);
    struct submitted *s = xcalloc(1, sizeof *s);
    s->control = c;
    s->app = app;
    s->events = take_events(c, batch); /* its address may serve another batch soon */
    s->done = done;
    s->arg = arg;
    store_submit(c->store, batch, on_stored, s);
}

void control_submit(struct control *c, struct store_batch *batch, submitted_fn *done, void *arg)
{
    submit(c, NULL, batch, done, arg);
}

void control_submit_of(struct app *a, struct store_batch *batch, submitted_fn *done, void *arg)
{
    submit(a->control, app_ref_new(a), batch, done, arg);
}
