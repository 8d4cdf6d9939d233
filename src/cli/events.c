/* `sluice events [APP] [-f]`: pages of what happened, then what happens. */
#include "base/alloc.h"
#include "base/units.h"
#include "cli/session.h"
#include "cli/sse.h"
#include "cli/view.h"
#include "os/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 1000, SHOWN = 100, SHOWN_FOLLOWING = 20, SILENT_MS = 45000, AWAY_MS = 10000 };

static int print_event(const struct session *s, const json_t *event)
{
    if (s->json) {
        print_json(event);
        return ferror(stdout) ? -1 : 0;
    }
    struct buf line = BUF_INIT;
    view_event(event, &s->out, s->app == NULL, &line);
    int status = print_buf(&line);
    buf_release(&line);
    return status;
}

static char *events_path(const struct session *s, int64_t after, bool page)
{
    struct buf path = BUF_INIT;
    buf_printf(&path, "/v1/events?after=%lld", (long long)after);
    if (page)
        buf_printf(&path, "&limit=%d", PAGE);
    if (s->app != NULL) {
        buf_puts(&path, "&app=");
        put_encoded(&path, s->app);
    }
    if (s->app != NULL && s->environment != NULL) {
        buf_puts(&path, "&environment=");
        put_encoded(&path, s->environment);
    }
    return buf_detach(&path);
}

/* All events that there are, of which the last `most` are printed; gives the last id, -1 with *err.
 */
static int64_t print_past(const struct session *s, size_t most, struct error *err)
{
    json_t *kept = json_array();
    int64_t last = 0;
    for (size_t n = PAGE; n == PAGE;) {
        cleanup_free char *path = events_path(s, last, true);
        json_t *page = session_get(s, path, err);
        if (page == NULL) {
            json_decref(kept);
            return -1;
        }
        n = json_array_size(page);
        if (n > 0)
            last = json_whole(json_array_get(page, n - 1), "id");
        json_array_extend(kept, page);
        json_decref(page);
        while (json_array_size(kept) > most + PAGE)
            for (size_t i = 0; i < PAGE; i++)
                json_array_remove(kept, 0);
    }
    size_t count = json_array_size(kept);
    for (size_t i = count > most ? count - most : 0; i < count; i++)
        print_event(s, json_array_get(kept, i));
    json_decref(kept);
    return last;
}

/* One connection's events; 0: it broke off, to be made again; -1: nobody reads what we print. */
static int follow_stream(const struct session *s, struct client *c, int64_t *last)
{
    struct sse sse = {0};
    cleanup_buf struct buf bytes = BUF_INIT;
    struct error why = ERROR_INIT;
    int64_t heard_ms = clock_mono_ms();
    int status = 0;
    while (status == 0) {
        enum client_result r = client_read(c, &bytes, SILENT_MS, &why);
        if (r == CLIENT_FAILED || r == CLIENT_END ||
            (r == CLIENT_AGAIN && clock_mono_ms() - heard_ms >= SILENT_MS))
            break;
        heard_ms = clock_mono_ms();
        sse_feed(&sse, &bytes);
        for (json_t *event; status == 0 && (event = sse_next(&sse)) != NULL; json_decref(event)) {
            if (json_whole(event, "id") > *last) {
                *last = json_whole(event, "id");
                status = print_event(s, event);
            }
        }
    }
    sse_release(&sse);
    return status;
}

static int follow(const struct session *s, int64_t last)
{
    int64_t away_ms = 0;
    for (;;) {
        cleanup_free char *path = events_path(s, last, false);
        struct client_request request = {
            .method = "GET", .path = path, .accept = "text/event-stream", .impatient = true};
        struct error why = ERROR_INIT;
        struct client *c = client_open(&s->place, &request, &why);
        int64_t now_ms = clock_mono_ms();
        if (c == NULL) {
            if (why.class != ERROR_UNAVAILABLE || (away_ms != 0 && now_ms - away_ms > AWAY_MS))
                return cli_fail(&why);
            away_ms = away_ms != 0 ? away_ms : now_ms;
        } else {
            int status = follow_stream(s, c, &last);
            client_free(c);
            away_ms = 0;
            if (status != 0)
                return EXIT_DONE;
        }
        poll(NULL, 0, 200);
    }
}

int cmd_events(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    uint64_t most = 0;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_events, argc, argv);
    if (status != 0)
        return status;
    if (s.app == NULL && s.environment != NULL) {
        error_set(&err, ERROR_USAGE, "events: -e needs an APP");
        return cli_fail(&err);
    }
    bool following = s.options.given[OPTION_FOLLOW];
    if (s.options.value[OPTION_LINES] == NULL ||
        parse_u64(s.options.value[OPTION_LINES], 100000, &most) != 0)
        most = following ? SHOWN_FOLLOWING : s.json ? SIZE_MAX / 2 : SHOWN;
    int64_t last = print_past(&s, most, &err);
    if (last < 0)
        return cli_fail(&err);
    return following ? follow(&s, last) : EXIT_DONE;
}
