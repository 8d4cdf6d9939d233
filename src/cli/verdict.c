/* `sluice verdict APP`: what the judge knows. */
#include "base/alloc.h"
#include "cli/session.h"
#include "cli/view.h"

int cmd_verdict(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_verdict, argc, argv);
    if (status != 0)
        return status;
    bool history = s.options.given[OPTION_GROWTH];
    cleanup_free char *path = session_path(&s, "/verdict", history ? "history=1" : "");
    json_t *answer = session_get(&s, path, &err);
    if (answer == NULL)
        return cli_fail(&err);
    if (s.json) {
        print_json(answer);
    } else {
        cleanup_buf struct buf text = BUF_INIT;
        view_verdict(answer, &s.out, &text);
        print_buf(&text);
    }
    json_decref(answer);
    return EXIT_DONE;
}
