/* Questions about apps: each is one call of control. */
#include "api/connection.h"

static void reply_answer(struct connection *c, json_t *answer, const struct error *err)
{
    if (answer != NULL)
        reply_json(c, 200, answer);
    else
        reply_error(c, err);
}

void handle_apps(struct connection *c, const struct request *r)
{
    reply_json(c, 200, control_apps(r->control));
}

void handle_status(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    reply_answer(c, control_status(r->control, &name, &err), &err);
}

void handle_releases(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    reply_answer(c, control_releases(r->control, &name, &err), &err);
}

void handle_history(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    uint64_t limit;
    if (request_number(r, "limit", 1000, 100, &limit, &err) != 0)
        reply_error(c, &err);
    else
        reply_answer(c, control_history(r->control, &name, (uint32_t)limit, &err), &err);
}
