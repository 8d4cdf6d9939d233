/* The verbs that are one request to one app, and its answer. */
#include "base/alloc.h"
#include "base/units.h"
#include "cli/session.h"
#include "cli/watch.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

int session_command(enum verb_id verb, int argc, char **argv, json_t *body, const char *done)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, verb, argc, argv);
    if (status != 0) {
        json_decref(body);
        return status;
    }
    cleanup_free char *tail = xasprintf("/%s", verb_get(verb)->word);
    cleanup_free char *path = session_path(&s, tail, "");
    json_t *answer = session_post(&s, path, body, &err);
    if (answer == NULL)
        return cli_fail(&err);
    if (s.json)
        print_json(answer);
    else {
        const char *said = json_text(answer, "text");
        cleanup_buf struct buf line = BUF_INIT;
        put_clean(&line, *said != '\0' ? said : done);
        printf("%s: %s\n", s.app, buf_str(&line));
    }
    json_decref(answer);
    return EXIT_DONE;
}

int cmd_promote(int argc, char **argv)
{
    return session_command(VERB_promote, argc, argv, NULL,
                           "the rollout skips whatever it would still wait for");
}

int cmd_abort(int argc, char **argv)
{
    return session_command(VERB_abort, argc, argv, NULL,
                           "the rollout is aborted, the traffic goes back to the stable release");
}

int cmd_pause(int argc, char **argv)
{
    return session_command(VERB_pause, argc, argv, NULL,
                           "the rollout is paused (`sluice resume` goes on)");
}

int cmd_resume(int argc, char **argv)
{
    return session_command(VERB_resume, argc, argv, NULL, "the rollout goes on");
}

int cmd_stop(int argc, char **argv)
{
    return session_command(VERB_stop, argc, argv, NULL,
                           "all instances are being stopped (`sluice start` starts them again)");
}

int cmd_start(int argc, char **argv)
{
    return session_command(VERB_start, argc, argv, NULL, "the instances are being started");
}

int cmd_scale(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    uint64_t replicas;
    if (options_parse(&o, verb_get(VERB_scale), argc, argv, &err) != 0)
        return cli_fail(&err);
    if (parse_u64(o.arguments[1], 100000, &replicas) != 0) {
        error_set(&err, ERROR_USAGE, "scale %.60s %.40s: expected a number of instances",
                  o.arguments[0], o.arguments[1]);
        return cli_fail(&err);
    }
    json_t *body = json_pack("{s:I}", "replicas", (json_int_t)replicas);
    if (o.value[OPTION_PROCESS] != NULL)
        json_object_set_new(body, "process", json_string(o.value[OPTION_PROCESS]));
    const char *process = o.value[OPTION_PROCESS];
    cleanup_free char *done = xasprintf(
        "%s instance%s%s%s %s wanted now, until a spec whose `replicas` changed is deployed",
        o.arguments[1], replicas == 1 ? "" : "s", process != NULL ? " of " : "",
        process != NULL ? process : "", replicas == 1 ? "is" : "are");
    return session_command(VERB_scale, argc, argv, body, done);
}

/* rollback and restart begin a rollout, which is watched as a deploy is. */
static int begin(enum verb_id verb, int argc, char **argv)
{
    int64_t started_ms = clock_mono_ms();
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, verb, argc, argv);
    if (status != 0)
        return status;
    const char *to = s.options.value[OPTION_TO], *word = verb_get(verb)->word;
    cleanup_free char *tail = xasprintf("/%s", word);
    cleanup_free char *path = session_path(&s, tail, "");
    json_t *body = json_object();
    uint64_t number;
    if (to != NULL && parse_u64(to, UINT32_MAX, &number) == 0)
        json_object_set_new(body, "to", json_integer((json_int_t)number));
    json_t *answer = session_post(&s, path, body, &err);
    if (answer == NULL)
        return cli_fail(&err);
    status = watch_answer(&s, word, answer, started_ms);
    json_decref(answer);
    return status;
}

int cmd_rollback(int argc, char **argv)
{
    return begin(VERB_rollback, argc, argv);
}

int cmd_restart(int argc, char **argv)
{
    return begin(VERB_restart, argc, argv);
}
