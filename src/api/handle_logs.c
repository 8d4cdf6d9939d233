/* Logs: JSON lines out of the files of an app, followed on demand.
 *
 * Reading is done in bounded steps, each in its own turn of the loop. While following, inotify says
 * which file changed; where it cannot be had (limits, a folder that is not there yet) a timer
 * looks. */
#include "api/connection.h"
#include "api/server.h"
#include "base/alloc.h"
#include "base/units.h"
#include "observe/logs.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { GATHER_MS = 30, POLL_MS = 500, LOG_HEARTBEAT_S = 15 };

struct log_stream {
    struct connection *c;
    struct logs_reader *reader;
    char *dir;
    bool follow, over, waiting; /* waiting: for the client to take what it has */
    unsigned quiet_s;
    bool watching;
    uv_timer_t timer;
    uv_fs_event_t watch;
    unsigned handles; /* that are yet to be closed */
};

static void on_handle_closed(uv_handle_t *handle)
{
    struct log_stream *s = handle->data;
    if (--s->handles > 0)
        return;
    logs_reader_free(s->reader);
    free(s->dir);
    free(s);
}

static void on_closed(void *state)
{
    struct log_stream *s = state;
    s->over = true;
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->watch, on_handle_closed);
}

static void on_timer(uv_timer_t *timer);

static void on_change(uv_fs_event_t *handle, const char *file, int events, int status)
{
    struct log_stream *s = handle->data;
    (void)events;
    logs_touched(s->reader, status == 0 ? file : NULL);
    if (!uv_is_active((uv_handle_t *)&s->timer) && !s->waiting)
        uv_timer_start(&s->timer, on_timer, GATHER_MS, 0); /* several lines, one write */
}

/* Comes before the last look at the files, so that no change falls between the two. */
static void watch(struct log_stream *s)
{
    s->watching = uv_fs_event_start(&s->watch, on_change, s->dir, 0) == 0;
    logs_touched(s->reader, NULL);
}

static void step(struct log_stream *s)
{
    cleanup_buf struct buf out = BUF_INIT;
    if (stream_backlog(s->c) >= STREAM_FULL) {
        s->waiting = true;
        return;
    }
    s->waiting = false;
    bool more = logs_read(s->reader, &out);
    if (out.len > 0)
        s->quiet_s = 0;
    stream_write(s->c, &out);
    if (s->over)
        return;
    if (more) {
        uv_timer_start(&s->timer, on_timer, 0, 0);
    } else if (!s->follow) {
        stream_end(s->c);
    } else if (!s->watching) {
        watch(s);
        uv_timer_start(&s->timer, on_timer, s->watching ? 0 : POLL_MS, 0);
    }
}

static void on_timer(uv_timer_t *timer)
{
    step(timer->data);
}

static void on_drained(void *state)
{
    struct log_stream *s = state;
    if (s->waiting && !s->over)
        uv_timer_start(&s->timer, on_timer, 0, 0);
}

/* An empty line is a heartbeat: readers of JSON lines skip it, and a client that is gone is
 * noticed. */
static void on_tick(void *state)
{
    struct log_stream *s = state;
    if (!s->follow || ++s->quiet_s < LOG_HEARTBEAT_S)
        return;
    s->quiet_s = 0;
    cleanup_buf struct buf out = BUF_INIT;
    buf_puts(&out, "\n");
    stream_write(s->c, &out);
}

static const struct stream_ops log_stream_ops = {on_drained, on_tick, on_closed};

/* since=10m, or since=2026-11-21T08:00:00Z */
static int parse_since(const char *text, int64_t *wall_ms, struct error *err)
{
    int64_t ago_ms;
    struct tm tm = {0};
    if (parse_duration_ms(text, &ago_ms) == 0) {
        *wall_ms = clock_wall_ms() - ago_ms;
        if (*wall_ms <= 0)
            *wall_ms = 1;
        return 0;
    }
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t fraction_ms = 0;
    if (rest != NULL && *rest == '.') {
        int unit = 100;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            fraction_ms += (*rest - '0') * unit;
    }
    if (rest == NULL || strcmp(rest, "Z") != 0)
        return error_set(err, ERROR_USAGE,
                         "since=%.40s: expected a duration (10m) or a time (2026-11-21T08:00:00Z)",
                         text);
    *wall_ms = (int64_t)timegm(&tm) * 1000 + fraction_ms;
    return 0;
}

static int read_filter(const struct request *r, struct logs_filter *f, bool *follow,
                       struct error *err)
{
    uint64_t release, limit, following;
    const char *since = query_get(&r->query, "since");
    if (request_number(r, "release", UINT32_MAX, 0, &release, err) != 0 ||
        request_number(r, "limit", 100000, 0, &limit, err) != 0 ||
        request_number(r, "follow", 1, 0, &following, err) != 0 ||
        (since != NULL && parse_since(since, &f->since_ms, err) != 0))
        return -1;
    f->release = (uint32_t)release;
    f->last = (uint32_t)limit;
    f->instance = query_get(&r->query, "instance");
    f->process = query_get(&r->query, "process");
    *follow = following == 1;
    return 0;
}

void handle_logs(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct logs_filter filter = {0};
    struct app_name name = request_app(r);
    bool follow;
    char *dir = NULL;
    if (read_filter(r, &filter, &follow, &err) != 0 ||
        (dir = control_logs_dir(r->control, &name, &err)) == NULL) {
        reply_error(c, &err);
        return;
    }
    struct log_stream *s = xcalloc(1, sizeof *s);
    s->c = c;
    s->dir = dir;
    s->follow = follow;
    s->reader = logs_reader_new(dir, &filter);
    s->handles = 2;
    uv_timer_init(c->server->loop, &s->timer);
    uv_fs_event_init(c->server->loop, &s->watch);
    s->timer.data = s->watch.data = s;
    stream_begin(c, "application/x-ndjson", follow, &log_stream_ops, s);
    uv_timer_start(&s->timer, on_timer, 0, 0);
}
