/* `sluice run APP -- CMD`: a job beside the instances; its output as it comes, then how it ended.
 */
#include "base/alloc.h"
#include "cli/loglines.h"
#include "cli/sse.h"
#include "os/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { AWAY_MS = 10000, PAUSE_MS = 200 };

struct job {
    const struct session *s;
    const char *run; /* its id */
    char *instance;  /* what its log file is called */
    struct loglines log;
    struct sse sse;
    json_t *ended; /* {"run", "code", "text"} */
    int64_t last_event;
};

/* "/x/logs/shop-1-run.log" -> "shop-1-run" */
static char *instance_of(const char *log)
{
    const char *slash = strrchr(log, '/');
    const char *name = slash != NULL ? slash + 1 : log;
    size_t len = strlen(name);
    if (len > 4 && strcmp(name + len - 4, ".log") == 0)
        len -= 4;
    return xstrndup(name, len);
}

static struct client *open_log(struct job *j, bool follow, struct error *err)
{
    cleanup_buf struct buf query = BUF_INIT;
    buf_puts(&query, "instance=");
    put_encoded(&query, j->instance);
    if (follow)
        buf_puts(&query, "&follow=1");
    cleanup_free char *path = session_path(j->s, "/logs", buf_str(&query));
    struct client_request request = {.method = "GET", .path = path, .impatient = true};
    buf_clear(&j->log.in);
    j->log.skip = j->log.lines;
    return client_open(&j->s->place, &request, err);
}

static void take_events(struct job *j, struct buf *bytes)
{
    sse_feed(&j->sse, bytes);
    for (json_t *event; (event = sse_next(&j->sse)) != NULL; json_decref(event)) {
        const json_t *data = json_object_get(event, "data");
        j->last_event = json_whole(event, "id");
        if (strcmp(json_text(event, "kind"), "run-ended") == 0 &&
            strcmp(json_text(data, "run"), j->run) == 0 && j->ended == NULL)
            j->ended = json_incref((json_t *)data);
    }
}

/* Both streams until the job ended (0), or one of them broke off (-1). */
static int follow_both(struct job *j, struct client *events, struct client *log)
{
    cleanup_buf struct buf bytes = BUF_INIT;
    struct error why = ERROR_INIT;
    while (j->ended == NULL) {
        struct pollfd fds[2] = {{client_fd(events), POLLIN, 0}, {client_fd(log), POLLIN, 0}};
        enum client_result e = client_read(events, &bytes, 0, &why);
        if (e == CLIENT_DATA)
            take_events(j, &bytes);
        buf_clear(&bytes);
        enum client_result l = client_read(log, &bytes, 0, &why);
        if (l == CLIENT_DATA)
            loglines_feed(&j->log, &bytes);
        if (e == CLIENT_FAILED || e == CLIENT_END || l == CLIENT_FAILED || l == CLIENT_END)
            return j->ended != NULL ? 0 : -1;
        if (e == CLIENT_AGAIN && l == CLIENT_AGAIN && j->ended == NULL)
            poll(fds, 2, -1);
    }
    return 0;
}

/* The log once more, whole: what was printed is skipped, the end is not missed. */
static void print_rest(struct job *j)
{
    cleanup_buf struct buf bytes = BUF_INIT;
    struct error why = ERROR_INIT;
    struct client *log = open_log(j, false, &why);
    while (log != NULL) {
        enum client_result r = client_read(log, &bytes, CLIENT_WAIT_MS, &why);
        if (r != CLIENT_DATA || loglines_feed(&j->log, &bytes) != 0)
            break;
    }
    client_free(log);
}

static int watch_job(struct job *j)
{
    int64_t away_ms = 0;
    while (j->ended == NULL) {
        struct error why = ERROR_INIT;
        struct client *events = session_events(j->s, j->last_event, &why);
        struct client *log = events != NULL ? open_log(j, true, &why) : NULL;
        if (log != NULL) {
            away_ms = 0;
            follow_both(j, events, log);
        }
        client_free(log);
        client_free(events);
        sse_release(&j->sse);
        int64_t now_ms = clock_mono_ms();
        if (log == NULL &&
            (why.class != ERROR_UNAVAILABLE || (away_ms != 0 && now_ms - away_ms > AWAY_MS)))
            return cli_fail(&why);
        if (log == NULL && away_ms == 0)
            away_ms = now_ms;
        if (j->ended == NULL)
            poll(NULL, 0, PAUSE_MS);
    }
    print_rest(j);
    return EXIT_DONE;
}

static int say_end(const struct job *j)
{
    int64_t code = json_whole(j->ended, "code");
    cleanup_buf struct buf why = BUF_INIT;
    if (j->s->json)
        print_json(j->ended);
    if (code == 0)
        return EXIT_DONE;
    /* Its last lines were shown: only how it ended is news. */
    const char *text = json_text(j->ended, "text"), *lines = strstr(text, "; its last lines");
    cleanup_free char *first =
        xstrndup(text, lines != NULL ? (size_t)(lines - text) : strlen(text));
    put_clean(&why, first);
    if (why.len > 0) /* it names the command and its status */
        fprintf(stderr, "sluice: %s\n", buf_str(&why));
    else
        fprintf(stderr, "sluice: the command failed with status %lld\n", (long long)code);
    return EXIT_FAILED;
}

int cmd_run(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_run, argc, argv);
    if (status != 0)
        return status;
    if (s.options.rest_len == 0) {
        error_set(&err, ERROR_USAGE, "run needs a command: sluice run %.60s -- COMMAND", s.app);
        return cli_fail(&err);
    }
    json_t *words = json_array();
    for (int i = 0; i < s.options.rest_len; i++)
        if (json_array_append_new(words, json_string(s.options.rest[i])) != 0) {
            json_decref(words);
            error_set(&err, ERROR_USAGE, "run: word %d of the command is not UTF-8", i + 1);
            return cli_fail(&err);
        }
    cleanup_free char *path = session_path(&s, "/run", "");
    json_t *answer = session_post(&s, path, json_pack("{s:o}", "command", words), &err);
    if (answer == NULL)
        return cli_fail(&err);
    struct job j = {.s = &s,
                    .run = json_text(answer, "run"),
                    .instance = instance_of(json_text(answer, "log")),
                    .log = {.s = &s, .text_only = true},
                    .last_event = json_whole(answer, "event")};
    status = watch_job(&j);
    if (status == EXIT_DONE)
        status = say_end(&j);
    loglines_release(&j.log);
    json_decref(j.ended);
    json_decref(answer);
    free(j.instance);
    return status;
}
