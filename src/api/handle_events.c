/* Events: pages, and server-sent events that resume without a gap.
 *
 * A stream reads the store page by page until a page is not full; from then on it takes what
 * control tells as it becomes durable. `last` makes both meet: what was sent already is not sent
 * again, and what becomes durable while pages are read comes with a later page. */
#include "api/connection.h"
#include "base/alloc.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 200, PAGE_MAX = 1000, HEARTBEAT_S = 15 };

struct event_stream {
    struct connection *c;
    struct control *control;
    struct control_listener listener;
    char *app, *environment; /* app NULL: all */
    uint64_t last;           /* id of the last event that was sent */
    bool live;               /* nothing is left in the store */
    unsigned quiet_s;
};

static void put_event(struct buf *out, uint64_t id, const char *kind, const char *json)
{
    buf_printf(out, "id: %" PRIu64 "\n", id);
    if (*kind != '\0' && strpbrk(kind, "\r\n") == NULL)
        buf_printf(out, "event: %s\n", kind);
    buf_printf(out, "data: %s\n\n", json); /* one JSON text has no raw line break */
}

static int put_page(struct event_stream *s, const json_t *page, struct buf *out)
{
    size_t i;
    json_t *event;
    json_array_foreach((json_t *)page, i, event)
    {
        uint64_t id = (uint64_t)json_integer_value(json_object_get(event, "id"));
        const char *kind = json_string_value(json_object_get(event, "kind"));
        char *text = json_dumps(event, JSON_COMPACT);
        if (id > s->last && text != NULL) {
            put_event(out, id, kind != NULL ? kind : "", text);
            s->last = id;
        }
        free(text);
    }
    return (int)json_array_size(page);
}

/* Sends pages until the client is busy with them, or there are no more. */
static void pump(void *state)
{
    struct event_stream *s = state;
    struct app_name name = {s->app, s->environment};
    cleanup_buf struct buf out = BUF_INIT;
    while (!s->live && stream_backlog(s->c) < STREAM_FULL) {
        struct error err = ERROR_INIT;
        json_t *page =
            control_events(s->control, s->app != NULL ? &name : NULL, s->last, PAGE, &err);
        if (page ==
            NULL) { /* the store does not answer: the client comes again, with its last id */
            stream_end(s->c);
            return;
        }
        s->live = put_page(s, page, &out) < PAGE;
        json_decref(page);
        s->quiet_s = 0;
        stream_write(s->c, &out);
    }
}

static void on_event(void *arg, const struct control_event *event)
{
    struct event_stream *s = arg;
    if (!s->live || event->id <= s->last)
        return;
    s->last = event->id;
    if (s->app != NULL &&
        (strcmp(s->app, event->app) != 0 || strcmp(s->environment, event->environment) != 0))
        return;
    cleanup_buf struct buf out = BUF_INIT;
    put_event(&out, event->id, event->kind, event->json);
    s->quiet_s = 0;
    stream_write(s->c, &out);
}

static void on_tick(void *state)
{
    struct event_stream *s = state;
    if (++s->quiet_s < HEARTBEAT_S)
        return;
    s->quiet_s = 0;
    struct buf out = BUF_INIT;
    buf_puts(&out, ": still here\n\n");
    stream_write(s->c, &out);
    buf_release(&out);
}

static void on_closed(void *state)
{
    struct event_stream *s = state;
    control_unlisten(s->control, &s->listener);
    free(s->app);
    free(s->environment);
    free(s);
}

static const struct stream_ops event_stream_ops = {pump, on_tick, on_closed};

static void begin_stream(struct connection *c, const struct request *r, struct event_stream *s)
{
    s->c = c;
    s->control = r->control;
    s->listener = (struct control_listener){.on_event = on_event, .arg = s};
    control_listen(s->control, &s->listener);
    stream_begin(c, "text/event-stream", true, &event_stream_ops, s);
    struct buf hello = BUF_INIT;
    buf_puts(&hello, "retry: 1000\n\n");
    stream_write(c, &hello);
    buf_release(&hello);
    pump(s);
}

static void reply_page(struct connection *c, const struct request *r, const struct app_name *name)
{
    struct error err = ERROR_INIT;
    uint64_t after, limit;
    json_t *page = NULL;
    if (request_number(r, "after", INT64_MAX, 0, &after, &err) == 0 &&
        request_number(r, "limit", PAGE_MAX, PAGE, &limit, &err) == 0)
        page = control_events(r->control, name, after, (uint32_t)limit, &err);
    if (page != NULL)
        reply_json(c, 200, page);
    else
        reply_error(c, &err);
}

void handle_app_events(struct connection *c, const struct request *r)
{
    struct app_name name = request_app(r);
    reply_page(c, r, &name);
}

void handle_events(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    const char *app = query_get(&r->query, "app");
    const char *environment = query_get(&r->query, "environment");
    uint64_t after = 0;
    bool resumes = r->last_event_id != NULL || query_get(&r->query, "after") != NULL;
    if (app == NULL && environment != NULL) {
        error_set(&err, ERROR_USAGE, "`environment` needs `app`");
        reply_error(c, &err);
        return;
    }
    struct app_name name = {app, environment};
    if (r->accept != NULL && strncmp(r->accept, "application/json", 16) == 0) {
        reply_page(c, r, app != NULL ? &name : NULL);
        return;
    }
    if (request_number(r, "after", INT64_MAX, 0, &after, &err) != 0) {
        reply_error(c, &err);
        return;
    }
    if (r->last_event_id != NULL && parse_u64(r->last_event_id, INT64_MAX, &after) != 0) {
        error_set(&err, ERROR_USAGE, "Last-Event-ID is not an id of ours");
        reply_error(c, &err);
        return;
    }
    struct event_stream *s = xcalloc(1, sizeof *s);
    s->app = xstrdup(app);
    s->environment = xstrdup(environment != NULL ? environment : "production");
    s->last = after;
    s->live = !resumes; /* without a place to go on from: what happens from now on */
    begin_stream(c, r, s);
}
