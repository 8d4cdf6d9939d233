/* `sluice logs APP`: what the instances wrote, merged by time; -f goes on over a controller's
 * death. */
#include "base/alloc.h"
#include "cli/loglines.h"
#include "os/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { AWAY_MS = 10000, SILENT_MS = 45000, PAUSE_MS = 200 };

static void add(struct buf *query, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(query, "%s%s=", query->len > 0 ? "&" : "", name);
    put_encoded(query, value);
}

/* l->last set: goes on from there; the lines with that time come again and are skipped. */
static char *logs_path(const struct session *s, struct loglines *l, bool follow)
{
    const struct options *o = &s->options;
    cleanup_buf struct buf query = BUF_INIT;
    bool again = l->last[0] != '\0';
    add(&query, "since", again ? l->last : o->value[OPTION_SINCE]);
    add(&query, "release", o->value[OPTION_RELEASE]);
    add(&query, "instance", o->value[OPTION_INSTANCE]);
    add(&query, "process", o->value[OPTION_PROCESS]);
    add(&query, "limit", again ? NULL : o->value[OPTION_LINES]);
    add(&query, "follow", follow ? "1" : NULL);
    l->skip = again ? l->at_last : 0;
    buf_clear(&l->in);
    return session_path(s, "/logs", buf_str(&query));
}

/* CLIENT_END: whole; CLIENT_FAILED: broke off; CLIENT_AGAIN: nobody reads what we print. */
static enum client_result print_stream(struct client *c, struct loglines *l, struct error *err)
{
    cleanup_buf struct buf bytes = BUF_INIT;
    int64_t heard_ms = clock_mono_ms();
    for (;;) {
        enum client_result r = client_read(c, &bytes, SILENT_MS, err);
        if (r == CLIENT_END || r == CLIENT_FAILED)
            return r;
        if (r == CLIENT_AGAIN && clock_mono_ms() - heard_ms >= SILENT_MS) {
            error_set(err, ERROR_UNAVAILABLE, "the controller is silent");
            return CLIENT_FAILED;
        }
        if (r == CLIENT_DATA)
            heard_ms = clock_mono_ms();
        if (loglines_feed(l, &bytes) != 0)
            return CLIENT_AGAIN;
    }
}

/* No lines is an answer too, and not always the one that was expected. */
static void say_nothing_found(const struct session *s)
{
    const struct options *o = &s->options;
    const char *release = o->value[OPTION_RELEASE], *instance = o->value[OPTION_INSTANCE];
    fprintf(stderr, "sluice: %s%s%s%s%s has written nothing%s\n", s->app,
            release != NULL ? ", release " : "", release != NULL ? release : "",
            instance != NULL ? ", instance " : "", instance != NULL ? instance : "",
            o->given[OPTION_SINCE] ? " since then" : "");
}

static int show(const struct session *s, struct loglines *l)
{
    bool follow = s->options.given[OPTION_FOLLOW];
    int64_t away_ms = 0;
    for (bool first = true;; first = false) {
        cleanup_free char *path = logs_path(s, l, follow);
        struct client_request request = {.method = "GET", .path = path, .impatient = !first};
        struct error why = ERROR_INIT;
        struct client *c = client_open(&s->place, &request, &why);
        enum client_result r = c != NULL ? print_stream(c, l, &why) : CLIENT_FAILED;
        client_free(c);
        if (r == CLIENT_END && !follow && l->lines == 0)
            say_nothing_found(s);
        if (r == CLIENT_AGAIN || (r == CLIENT_END && !follow))
            return EXIT_DONE;
        int64_t now_ms = clock_mono_ms();
        if (c != NULL)
            away_ms = 0;
        if (r == CLIENT_FAILED &&
            ((first && c == NULL) || !follow || why.class != ERROR_UNAVAILABLE ||
             (away_ms != 0 && now_ms - away_ms > AWAY_MS)))
            return cli_fail(&why);
        if (away_ms == 0)
            away_ms = now_ms;
        poll(NULL, 0, PAUSE_MS);
    }
}

int cmd_logs(int argc, char **argv)
{
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_logs, argc, argv);
    if (status != 0)
        return status;
    struct loglines l = {.s = &s};
    status = show(&s, &l);
    loglines_release(&l);
    return status;
}
