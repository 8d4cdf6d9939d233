/* `sluice history APP` and `sluice releases APP`: one question, one table. */
#include "base/alloc.h"
#include "cli/session.h"
#include "cli/view.h"

static int show(const struct session *s, const char *path,
                void (*view)(const json_t *, const struct term *, struct buf *))
{
    struct error err = ERROR_INIT;
    json_t *answer = session_get(s, path, &err);
    if (answer == NULL)
        return cli_fail(&err);
    if (s->json) {
        print_json(answer);
    } else {
        cleanup_buf struct buf text = BUF_INIT;
        view(answer, &s->out, &text);
        print_buf(&text);
    }
    json_decref(answer);
    return EXIT_DONE;
}

int cmd_history(int argc, char **argv)
{
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_history, argc, argv);
    if (status != 0)
        return status;
    const char *lines = s.options.value[OPTION_LINES];
    cleanup_free char *limit = xasprintf("limit=%s", lines != NULL ? lines : "100");
    cleanup_free char *path = session_path(&s, "/history", limit);
    return show(&s, path, view_history);
}

int cmd_releases(int argc, char **argv)
{
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_releases, argc, argv);
    if (status != 0)
        return status;
    cleanup_free char *path = session_path(&s, "/releases", "");
    return show(&s, path, view_releases);
}
