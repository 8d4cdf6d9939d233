/* `sluice upgrade [BINARY]`: the running server goes over to a binary, this one where none is
 * named, and the command ends when the new server serves. */
#include "base/alloc.h"
#include "base/units.h"
#include "cli/session.h"
#include "os/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 10000, WAIT_MS = 60000, LOOK_MS = 50 };

/* ---- which one
 * -------------------------------------------------------------------------------------- */

static char *find_binary(const char *word, struct error *err)
{
    char *path = realpath(word != NULL ? word : "/proc/self/exe", NULL);
    if (path == NULL)
        error_set(err, ERROR_USAGE, "%s: %s", word != NULL ? word : "this program's own file",
                  strerror(errno));
    return path;
}

static ssize_t read_all(int fd, char *out, size_t room)
{
    size_t len = 0;
    int64_t until_ms = clock_mono_ms() + ANSWER_MS;
    while (len < room) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0)
            return -1;
        ssize_t n = read(fd, out + len, room - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Another program in the place of the guardian would be nobody's guardian: it is asked who it is.
 */
static json_t *ask_version(const char *binary, struct error *err)
{
    char *words[] = {(char *)"sluice", (char *)"version", (char *)"--json", NULL}, text[4096];
    int ends[2], status = -1;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe(ends) < 0) {
        error_errno(err, errno, "ask %s for its version", binary);
        return NULL;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int why = posix_spawn(&pid, binary, &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    ssize_t len = why == 0 ? read_all(ends[0], text, sizeof text) : -1;
    close(ends[0]);
    if (why == 0 && len < 0)
        kill(pid, SIGKILL);
    if (why == 0)
        waitpid(pid, &status, 0);
    json_t *version = len > 0 && status == 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;
    if (json_text(version, "version")[0] != '\0')
        return version;
    json_decref(version);
    if (why != 0)
        error_set(err, ERROR_USAGE, "%s cannot be run: %s", binary, strerror(why));
    else
        error_set(err, ERROR_USAGE, "%s is no sluice: `%s version --json` does not say one", binary,
                  binary);
    return NULL;
}

/* ---- going over
 * ------------------------------------------------------------------------------------- */

static int64_t newest_generation(const json_t *server)
{
    int64_t newest = 0;
    size_t i;
    const json_t *g;
    json_array_foreach(json_object_get(server, "generations"), i, g) newest =
        json_whole(g, "generation") > newest ? json_whole(g, "generation") : newest;
    return newest;
}

static bool is_over(const json_t *before, const json_t *now)
{
    const json_t *old = json_object_get(before, "pids"), *new = json_object_get(now, "pids");
    return json_whole(new, "controller") != json_whole(old, "controller") &&
           newest_generation(now) > newest_generation(before) &&
           json_is_true(json_object_get(now, "ready"));
}

/* A new reference; NULL: it took too long. */
static json_t *wait_for_it(const struct session *s, const json_t *before)
{
    const char *timeout = s->options.value[OPTION_TIMEOUT];
    int64_t ms = WAIT_MS;
    if (timeout != NULL)
        parse_duration_ms(timeout, &ms);
    for (int64_t until_ms = clock_mono_ms() + ms; clock_mono_ms() < until_ms;) {
        struct error nobody_now = ERROR_INIT; /* between the two controllers */
        json_t *now = session_get(s, "/v1/server", &nobody_now);
        if (now != NULL && is_over(before, now))
            return now;
        json_decref(now);
        poll(NULL, 0, LOOK_MS);
    }
    return NULL;
}

static int report(const struct session *s, const char *binary, const json_t *before,
                  const json_t *now)
{
    if (s->json) {
        json_t *line = json_pack("{s:s,s:s,s:s}", "binary", binary, "from",
                                 json_text(before, "version"), "to", json_text(now, "version"));
        print_json(line);
        json_decref(line);
    } else {
        printf("The server is %s now (it was %s): a new controller, pid %lld, and gateway "
               "generation %lld. Connections that were open go on in the old gateway until they "
               "end.\n",
               json_text(now, "version"), json_text(before, "version"),
               (long long)json_whole(json_object_get(now, "pids"), "controller"),
               (long long)newest_generation(now));
    }
    return EXIT_DONE;
}

static int upgrade(const struct session *s, const char *binary, const json_t *before)
{
    struct error err = ERROR_INIT;
    json_t *answer =
        session_post(s, "/v1/server/upgrade", json_pack("{s:s}", "binary", binary), &err);
    /* The controller that should answer may be gone: then the next one tells. */
    if (answer == NULL && err.class != ERROR_UNAVAILABLE)
        return cli_fail(&err);
    json_decref(answer);
    json_t *now = wait_for_it(s, before);
    if (now == NULL) {
        fprintf(stderr, "sluice: the new server does not serve yet: see the server's log; the old "
                        "gateway goes on meanwhile\n");
        return EXIT_TIME_UP;
    }
    int status = report(s, binary, before, now);
    json_decref(now);
    return status;
}

int cmd_upgrade(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_upgrade, argc, argv);
    if (status != 0)
        return status;
    cleanup_free char *binary = find_binary(s.app, &err);
    json_t *version = binary != NULL ? ask_version(binary, &err) : NULL;
    json_t *before = version != NULL ? session_get(&s, "/v1/server", &err) : NULL;
    status = before != NULL ? upgrade(&s, binary, before) : cli_fail(&err);
    json_decref(before);
    json_decref(version);
    return status;
}
