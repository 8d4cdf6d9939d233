/* Questions about apps: each is one call of control. */
#include "api/connection.h"
#include "base/units.h"

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

void handle_traffic(struct connection *c, const struct request *r)
{
    enum { MINUTE_MS = 60000, DAY_MS = 24 * 60 * MINUTE_MS };
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    const char *text = query_get(&r->query, "window");
    int64_t window = DAY_MS;
    if (text != NULL && (parse_duration_ms(text, &window) != 0 || window < MINUTE_MS)) {
        error_set(&err, ERROR_USAGE, "window=%.40s: expected a duration from 1m on (24h)", text);
        reply_error(c, &err);
        return;
    }
    int64_t minutes = (window < DAY_MS ? window : DAY_MS) / MINUTE_MS;
    reply_answer(c, control_traffic(r->control, &name, (uint32_t)minutes, &err), &err);
}

void handle_verdict(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    uint64_t history;
    if (request_number(r, "history", 1, 0, &history, &err) != 0)
        reply_error(c, &err);
    else
        reply_answer(c, control_verdict(r->control, &name, history != 0, &err), &err);
}
