#include "cli/watch.h"

#include "base/alloc.h"
#include "base/units.h"
#include "cli/format.h"
#include "cli/frame.h"
#include "cli/progress.h"
#include "cli/sse.h"
#include "cli/view.h"
#include "os/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    REDRAW_MS = 250,
    STATUS_MS = 500,
    RETRY_MS = 200,
    AWAY_MS = 10000,
    SILENT_MS = 45000, /* the server says something every 15 s */
};

struct watch {
    const struct session *s;
    const char *word;
    json_t *accepted;
    struct term err; /* stderr: where the progress goes */
    struct progress progress;
    struct frame frame;
    struct client *stream; /* NULL: not connected */
    struct sse sse;
    int64_t last_event, heard_ms, away_ms, retry_ms, status_ms, deadline_ms;
    int signals;
    json_t *result; /* of the "ended" event */
};

/* The app's API path, whatever the words of the command line were. */
static char *app_query(const struct watch *w)
{
    struct buf query = BUF_INIT;
    buf_puts(&query, "app=");
    put_encoded(&query, json_text(w->accepted, "app"));
    if (*json_text(w->accepted, "environment") != '\0') {
        buf_puts(&query, "&environment=");
        put_encoded(&query, json_text(w->accepted, "environment"));
    }
    return buf_detach(&query);
}

static void open_stream(struct watch *w, int64_t now_ms)
{
    cleanup_free char *query = app_query(w);
    cleanup_free char *path =
        xasprintf("/v1/events?%s&after=%lld", query, (long long)w->last_event);
    struct client_request request = {
        .method = "GET", .path = path, .accept = "text/event-stream", .impatient = true};
    struct error why = ERROR_INIT;
    w->stream = client_open(&w->s->place, &request, &why);
    w->heard_ms = now_ms;
    w->retry_ms = now_ms + RETRY_MS;
    if (w->stream != NULL)
        w->away_ms = w->progress.away_since_ms = 0;
    else if (w->away_ms == 0)
        w->away_ms = w->progress.away_since_ms = now_ms;
}

static void close_stream(struct watch *w, int64_t now_ms)
{
    client_free(w->stream);
    w->stream = NULL;
    sse_release(&w->sse);
    w->retry_ms = now_ms;
    if (w->away_ms == 0)
        w->away_ms = w->progress.away_since_ms = now_ms;
}

/* Whether an "ended" event is of the rollout that we began, and not of one that it superseded. */
static bool is_ours(const struct watch *w, const json_t *event)
{
    const json_t *data = json_object_get(event, "data");
    const json_t *theirs = json_object_get(data, "rollout");
    const json_t *ours = json_object_get(w->accepted, "rollout");
    if (json_is_integer(theirs) && json_is_integer(ours) && json_integer_value(ours) != 0)
        return json_integer_value(theirs) == json_integer_value(ours);
    const json_t *release = json_object_get(data, "release");
    return json_whole(json_is_integer(release) ? data : event, "release") ==
           json_whole(w->accepted, "release");
}

static void take_event(struct watch *w, const json_t *event)
{
    int64_t id = json_whole(event, "id");
    if (id <= w->last_event)
        return;
    w->last_event = id;
    bool ended = strcmp(json_text(event, "kind"), "ended") == 0 && is_ours(w, event);
    if (ended && w->result == NULL)
        w->result = json_incref(json_object_get(event, "data"));
    if (ended) /* the summary says it */
        return;
    if (w->err.is_terminal) {
        progress_event(&w->progress, event, &w->err);
        if (strstr(json_text(event, "kind"), "-output") == NULL)
            w->status_ms = 0; /* something changed: look now */
    } else {
        cleanup_buf struct buf line = BUF_INIT;
        view_progress_line(event, &w->err, &line);
        fputs(buf_str(&line), stderr);
    }
}

static void read_stream(struct watch *w, int64_t now_ms)
{
    cleanup_buf struct buf bytes = BUF_INIT;
    struct error why = ERROR_INIT;
    enum client_result r = client_read(w->stream, &bytes, 0, &why);
    if (r == CLIENT_DATA) {
        w->heard_ms = now_ms;
        sse_feed(&w->sse, &bytes);
        for (json_t *event; (event = sse_next(&w->sse)) != NULL; json_decref(event))
            take_event(w, event);
    } else if (r != CLIENT_AGAIN) {
        close_stream(w, now_ms);
    }
}

static void ask_status(struct watch *w, int64_t now_ms)
{
    struct buf path = BUF_INIT;
    struct error why = ERROR_INIT;
    buf_puts(&path, "/v1/apps/");
    put_encoded(&path, json_text(w->accepted, "app"));
    buf_puts(&path, "?environment=");
    put_encoded(&path, *json_text(w->accepted, "environment") != '\0'
                           ? json_text(w->accepted, "environment")
                           : "production");
    struct client_request request = {
        .method = "GET", .path = buf_str(&path), .accept = "application/json", .impatient = true};
    progress_status(&w->progress, client_call(&w->s->place, &request, &why));
    buf_release(&path);
    w->status_ms = now_ms + STATUS_MS;
}

static void draw(struct watch *w, int64_t now_ms)
{
    cleanup_buf struct buf text = BUF_INIT;
    term_look(&w->err, STDERR_FILENO, w->s->options.given[OPTION_NO_COLOR]);
    progress_draw(&w->progress, &w->err, now_ms, &text);
    frame_draw(&w->frame, &w->err, "", buf_str(&text));
}

/* The signal that came, 0: none. A new size needs no more than the next redraw. */
static int take_signal(struct watch *w)
{
    struct signalfd_siginfo info;
    while (read(w->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGWINCH)
            return (int)info.ssi_signo;
    }
    return 0;
}

static int say_goes_on(const struct watch *w, const char *why, int status)
{
    const char *app = json_text(w->accepted, "app");
    fprintf(stderr, "sluice: %s; the rollout goes on (`sluice status %s`, `sluice abort %s`)\n",
            why, app, app);
    return status;
}

static int say_away(const struct watch *w)
{
    fprintf(stderr,
            "sluice: no controller answers at %s for 10 s: is `sluice serve` running? The rollout "
            "goes on when it is back (`sluice status %s`)\n",
            w->s->place.text, json_text(w->accepted, "app"));
    return EXIT_NO_CONTROLLER;
}

/* Waits for the stream, a signal, or the next thing to do. */
static void wait_for_more(const struct watch *w, int64_t now_ms)
{
    int64_t until = w->deadline_ms;
    int64_t next = w->stream == NULL    ? w->retry_ms
                   : w->err.is_terminal ? now_ms + REDRAW_MS
                                        : w->heard_ms + SILENT_MS;
    if (next < until)
        until = next;
    struct pollfd fds[2] = {{w->signals, POLLIN, 0},
                            {w->stream != NULL ? client_fd(w->stream) : -1, POLLIN, 0}};
    int64_t left = until - clock_mono_ms();
    poll(fds, 2, left < 0 ? 0 : left > SILENT_MS ? SILENT_MS : (int)left);
}

/* Until the end: the exit status, or 0 with w->result. */
static int follow(struct watch *w)
{
    while (w->result == NULL) {
        int64_t now_ms = clock_mono_ms();
        if (w->stream == NULL && now_ms >= w->retry_ms)
            open_stream(w, now_ms);
        if (w->stream != NULL)
            read_stream(w, now_ms);
        if (w->stream != NULL && now_ms - w->heard_ms > SILENT_MS)
            close_stream(w, now_ms);
        if (w->err.is_terminal && w->stream != NULL && now_ms >= w->status_ms)
            ask_status(w, now_ms);
        if (w->err.is_terminal && w->result == NULL)
            draw(w, now_ms);
        if (w->result != NULL)
            break;
        if (take_signal(w) != 0)
            return say_goes_on(w, "detached", EXIT_TIME_UP);
        if (now_ms >= w->deadline_ms)
            return say_goes_on(w, "the time given was up", EXIT_TIME_UP);
        if (w->away_ms != 0 && now_ms - w->away_ms > AWAY_MS)
            return say_away(w);
        wait_for_more(w, now_ms);
    }
    return 0;
}

static int finish(struct watch *w)
{
    bool promoted = strcmp(json_text(w->result, "result"), "promoted") == 0;
    if (w->err.is_terminal) {
        w->err.columns = w->err.columns > 0 ? w->err.columns : 80;
        frame_draw(&w->frame, &w->err, "", ""); /* the block goes, the summary stays */
    }
    cleanup_buf struct buf text = BUF_INIT;
    if (w->s->json) {
        if (!promoted) {
            view_result(w->result, &w->err, &text);
            fputs(buf_str(&text), stderr);
        }
        print_json(w->result);
    } else {
        view_result(w->result, &w->s->out, &text);
        print_buf(&text);
    }
    return promoted ? EXIT_DONE : EXIT_FAILED;
}

static int catch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int watch_rollout(const struct session *s, const char *word, json_t *accepted, int64_t started_ms)
{
    struct watch w = {.s = s, .word = word, .accepted = accepted, .deadline_ms = INT64_MAX};
    const char *timeout = s->options.value[OPTION_TIMEOUT];
    int64_t timeout_ms = 0;
    if (timeout != NULL && parse_duration_ms(timeout, &timeout_ms) == 0)
        w.deadline_ms = started_ms + timeout_ms;
    w.last_event = json_whole(accepted, "event");
    w.frame.fd = STDERR_FILENO;
    w.signals = catch_signals();
    term_look(&w.err, STDERR_FILENO, s->options.given[OPTION_NO_COLOR]);
    progress_init(&w.progress, word, accepted, started_ms);
    int status = follow(&w);
    if (w.result != NULL)
        status = finish(&w);
    client_free(w.stream);
    sse_release(&w.sse);
    progress_release(&w.progress);
    json_decref(w.result);
    if (w.signals >= 0)
        close(w.signals);
    return status;
}

int watch_answer(const struct session *s, const char *word, json_t *accepted, int64_t started_ms)
{
    bool began = json_is_integer(json_object_get(accepted, "event")) &&
                 json_is_integer(json_object_get(accepted, "release"));
    if (began && !s->options.given[OPTION_DETACH])
        return watch_rollout(s, word, accepted, started_ms);
    if (s->json) {
        print_json(accepted);
    } else if (began) {
        const char *version = json_text(accepted, "version"); /* may not be known yet */
        printf("%s%s%s: %s accepted as release %lld\n", json_text(accepted, "app"),
               *version != '\0' ? " " : "", version, word,
               (long long)json_whole(accepted, "release"));
    } else {
        printf("%s: the rollout is aborted, the traffic goes back to the stable release\n", s->app);
    }
    return EXIT_DONE;
}
