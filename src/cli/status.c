/* `sluice status [APP]` */
#include "base/alloc.h"
#include "cli/session.h"
#include "cli/view.h"

#include <string.h>

/* Of all apps only those of the environment that was asked for. */
static json_t *of_environment(json_t *apps, const char *environment)
{
    for (size_t i = json_array_size(apps); environment != NULL && i-- > 0;) {
        if (strcmp(json_text(json_array_get(apps, i), "environment"), environment) != 0)
            json_array_remove(apps, i);
    }
    return apps;
}

/* Why all of it may be stale or soon fail; left out where the server does not tell. */
static void put_troubles(const struct session *s, const json_t *app, struct buf *out)
{
    json_t *server = session_get(s, "/v1/server", NULL);
    view_server_troubles(server, app, &s->out, out);
    json_decref(server);
}

int cmd_status(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_status, argc, argv);
    if (status != 0)
        return status;
    cleanup_free char *path = s.app != NULL ? session_path(&s, "", "") : xstrdup("/v1/apps");
    json_t *answer = session_get(&s, path, &err);
    if (answer == NULL)
        return cli_fail(&err);
    if (s.app == NULL)
        answer = of_environment(answer, s.environment);
    if (s.json) {
        print_json(answer);
    } else {
        cleanup_buf struct buf text = BUF_INIT;
        if (s.app != NULL)
            view_status(answer, &s.out, &text);
        else
            view_apps(answer, &s.out, &text);
        put_troubles(&s, s.app != NULL ? answer : NULL, &text);
        print_buf(&text);
    }
    json_decref(answer);
    return EXIT_DONE;
}
