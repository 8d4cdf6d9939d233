/* What concerns the server as a whole. */
#include "api/connection.h"

#include <string.h>

void handle_server(struct connection *c, const struct request *r)
{
    reply_json(c, 200, control_server(r->control));
}

void handle_upgrade(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    const char *binary = json_string_value(json_object_get(r->body, "binary"));
    if (binary != NULL && json_object_size(r->body) == 1) {
        control_upgrade(r->control, binary, &r->caller, reply_done, reply_later(c, 200));
        return;
    }
    error_set(&err, ERROR_USAGE, "expected {\"binary\": PATH} and nothing else");
    reply_error(c, &err);
}

void handle_metrics(struct connection *c, const struct request *r)
{
    struct buf text = BUF_INIT;
    bool open = r->accept != NULL && strstr(r->accept, "application/openmetrics-text") != NULL;
    control_metrics(r->control, open, &text);
    reply_text(c, 200,
               open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                    : "text/plain; version=0.0.4; charset=utf-8",
               &text);
}

void handle_health(struct connection *c, const struct request *r)
{
    (void)r;
    reply_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

void handle_ready(struct connection *c, const struct request *r)
{
    if (control_ready(r->control))
        reply_json(c, 200, json_pack("{s:s}", "status", "ready"));
    else
        reply_problem(c, 503, "Retry-After: 1\r\n",
                      "the gateway has no snapshot yet, or instances are still being adopted");
}
