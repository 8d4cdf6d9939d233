/* `sluice plan`: what deploy would change; nothing is changed. */
#include "base/alloc.h"
#include "cli/specload.h"
#include "cli/view.h"

int cmd_plan(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_plan, argc, argv);
    if (status != 0)
        return status;
    struct spec_order order;
    if (spec_order_load(&order, &s) != 0)
        return EXIT_USAGE;
    cleanup_free char *path =
        xasprintf("%s%s", order.plan_path, s.options.given[OPTION_SUGGEST] ? "&suggest=1" : "");
    json_t *plan = session_post(&s, path, json_incref(order.body), &err);
    spec_order_release(&order);
    if (plan == NULL)
        return cli_fail(&err);
    if (s.json) {
        print_json(plan);
    } else {
        cleanup_buf struct buf text = BUF_INIT;
        view_plan(plan, &s.out, &text);
        print_buf(&text);
    }
    json_decref(plan);
    return EXIT_DONE;
}
