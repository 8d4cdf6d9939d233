/* Events: recorded in the same transaction as what they tell, told to listeners once stored. */
#include "control/control_internal.h"

#include "os/clock.h"

#include <stdio.h>
#include <string.h>

struct queued_event {
    struct queued_event *next;
    const struct store_batch *batch;
    uint64_t id;
    char *app, *environment, *kind, *json;
};

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
    cleanup_buf struct buf out = BUF_INIT;
    event_json(&row, &out);
    q->batch = batch;
    q->id = row.id;
    q->app = xstrdup(a != NULL ? a->name : "");
    q->environment = xstrdup(a != NULL ? a->environment : "");
    q->kind = xstrdup(kind);
    q->json = buf_detach(&out);
    if (c->queued_events == NULL)
        c->queued_events_end = &c->queued_events;
    *c->queued_events_end = q;
    c->queued_events_end = &q->next;
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

static void queued_free(struct queued_event *q)
{
    free(q->app);
    free(q->environment);
    free(q->kind);
    free(q->json);
    free(q);
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

static void tell(struct control *c, struct queued_event *list, bool stored)
{
    while (list != NULL) {
        struct queued_event *q = list;
        list = q->next;
        struct control_event event = {.id = q->id,
                                      .app = q->app,
                                      .environment = q->environment,
                                      .kind = q->kind,
                                      .json = q->json};
        for (struct control_listener *l = c->listeners; stored && l != NULL; l = l->next)
            l->on_event(l->arg, &event);
        queued_free(q);
    }
}

void store_drop(struct control *c, struct store_batch *batch)
{
    tell(c, take_events(c, batch), false);
    store_batch_free(batch);
}

void events_release(struct control *c)
{
    while (c->queued_events != NULL) {
        struct queued_event *q = c->queued_events;
        c->queued_events = q->next;
        queued_free(q);
    }
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
    tell(c, s->events, !failing);
    if (s->done != NULL)
        s->done(s->arg, outcome, err);
    free(s);
}

void control_submit(struct control *c, struct store_batch *batch, submitted_fn *done, void *arg)
{
    ASSERT(c->store != NULL && batch != NULL);
    struct submitted *s = xcalloc(1, sizeof *s);
    s->control = c;
    s->events = take_events(c, batch); /* its address may serve another batch soon */
    s->done = done;
    s->arg = arg;
    store_submit(c->store, batch, on_stored, s);
}
