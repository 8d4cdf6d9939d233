/* `sluice delete APP`: asks first, and ends when the app is gone, so that its name is free again.
 */
#include "base/alloc.h"
#include "cli/session.h"
#include "cli/sse.h"
#include "os/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { AWAY_MS = 10000, PAUSE_MS = 200 };

/* Asked at a terminal only: a script says --yes. */
static bool confirmed(const struct session *s)
{
    char line[16] = "";
    if (s->options.given[OPTION_YES])
        return true;
    if (isatty(STDIN_FILENO) != 1) {
        fprintf(stderr, "sluice: delete stops %s and forgets its releases: say --yes\n", s->app);
        return false;
    }
    fprintf(stderr,
            "This stops %s and forgets its releases, state and logs. Type yes to go on: ", s->app);
    if (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "yes\n") == 0)
        return true;
    fprintf(stderr, "sluice: nothing was changed\n");
    return false;
}

/* True: the app is gone. False: the stream broke off; *after is the last event that came. */
static bool follow(struct client *events, const char *environment, int64_t *after)
{
    struct sse sse = {BUF_INIT, BUF_INIT};
    struct error why = ERROR_INIT;
    cleanup_buf struct buf bytes = BUF_INIT;
    bool gone = false;
    while (!gone && client_read(events, &bytes, CLIENT_WAIT_MS, &why) == CLIENT_DATA) {
        sse_feed(&sse, &bytes);
        for (json_t *event; (event = sse_next(&sse)) != NULL; json_decref(event)) {
            *after = json_whole(event, "id");
            gone |= strcmp(json_text(event, "kind"), "deleted") == 0 &&
                    strcmp(json_text(event, "environment"), environment) == 0;
        }
    }
    sse_release(&sse);
    return gone;
}

static int wait_until_gone(const struct session *s, const json_t *accepted)
{
    int64_t after = json_whole(accepted, "event"), away_ms = 0;
    for (;;) {
        struct error why = ERROR_INIT;
        struct client *events = session_events(s, after, &why);
        bool gone = events != NULL && follow(events, json_text(accepted, "environment"), &after);
        int64_t now_ms = clock_mono_ms();
        if (gone) {
            client_free(events);
            return EXIT_DONE;
        }
        if (events != NULL)
            away_ms = 0;
        else if (why.class != ERROR_UNAVAILABLE || (away_ms != 0 && now_ms - away_ms > AWAY_MS))
            return cli_fail(&why);
        else if (away_ms == 0)
            away_ms = now_ms;
        client_free(events);
        poll(NULL, 0, PAUSE_MS);
    }
}

int cmd_delete(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_delete, argc, argv);
    if (status != 0)
        return status;
    if (!confirmed(&s))
        return EXIT_USAGE;
    cleanup_free char *path = session_path(&s, "/delete", "");
    json_t *answer = session_post(&s, path, NULL, &err);
    if (answer == NULL)
        return cli_fail(&err);
    status = wait_until_gone(&s, answer);
    if (status == EXIT_DONE && s.json)
        print_json(answer);
    else if (status == EXIT_DONE)
        printf("%s: deleted\n", s.app);
    json_decref(answer);
    return status;
}
