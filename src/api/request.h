/* A request as handlers see it, and the table of routes. */
#ifndef SLUICE_API_REQUEST_H
#define SLUICE_API_REQUEST_H

#include "api/query.h"
#include "control/control.h"

#include <jansson.h>
#include <stdbool.h>

struct connection;

struct request {
    struct control *control;
    const struct route *route;
    char *app; /* decoded {app} of the path; NULL where the route has none */
    struct query query;
    json_t *body;          /* an object; NULL: none was sent */
    char *idempotency_key; /* the Idempotency-Key field; NULL: none */
    char *last_event_id;   /* Last-Event-ID */
    char *accept;
    struct caller caller;
};

void request_release(struct request *r);
/* app and ?environment= */
struct app_name request_app(const struct request *r);
/* A whole number of the query, at most max. -1 with *err where it is malformed; absent: fallback.
 */
int request_number(const struct request *r, const char *name, uint64_t max, uint64_t fallback,
                   uint64_t *value, struct error *err);

/* Answers with exactly one reply or stream of reply.h, now or later (reply_later). r lives until
 * the handler returns. */
typedef void handler(struct connection *c, const struct request *r);

/* X(method, pattern, parameters, handler, argument, summary): the API. {app} is one segment. */
#define ROUTES(X)                                                                                  \
    X(GET, "/v1/server", "", handle_server, 0,                                                     \
      "The server: version, pids, listeners, gateways, what is degraded")                          \
    X(POST, "/v1/server/upgrade", "", handle_upgrade, 0,                                           \
      "Go over to another program: {\"binary\": PATH on the server's machine}")                    \
    X(GET, "/v1/apps", "", handle_apps, 0, "The status of all apps")                               \
    X(GET, "/v1/apps/{app}", "environment", handle_status, 0, "The status of one app")             \
    X(DELETE, "/v1/apps/{app}", "environment", handle_command, COMMAND_DELETE,                     \
      "Stop an app, then forget it with its releases")                                             \
    X(POST, "/v1/apps/{app}/deploy", "environment", handle_deploy, 0,                              \
      "Begin a deploy; acknowledged means stored. Idempotency-Key: the same key, the same answer") \
    X(POST, "/v1/apps/{app}/plan", "environment,suggest", handle_plan, 0,                          \
      "What a deploy would change, step by step, and what the judge can find; suggest=1: steps "   \
      "that can")                                                                                  \
    X(POST, "/v1/apps/{app}/promote", "environment", handle_command, COMMAND_PROMOTE,              \
      "Approve, or skip what the rollout still waits for")                                         \
    X(POST, "/v1/apps/{app}/abort", "environment", handle_command, COMMAND_ABORT,                  \
      "End the rollout: all traffic back to the stable release")                                   \
    X(POST, "/v1/apps/{app}/pause", "environment", handle_command, COMMAND_PAUSE,                  \
      "Stop the rollout where it is")                                                              \
    X(POST, "/v1/apps/{app}/resume", "environment", handle_command, COMMAND_RESUME,                \
      "Go on with a paused rollout")                                                               \
    X(POST, "/v1/apps/{app}/rollback", "environment", handle_command, COMMAND_ROLLBACK,            \
      "Go back to the release before, or to {\"to\": N}")                                          \
    X(POST, "/v1/apps/{app}/scale", "environment", handle_command, COMMAND_SCALE,                  \
      "Change the number of instances: {\"replicas\": N, \"process\": \"web\"}")                   \
    X(POST, "/v1/apps/{app}/restart", "environment", handle_command, COMMAND_RESTART,              \
      "Replace the instances by new ones of the same release")                                     \
    X(POST, "/v1/apps/{app}/stop", "environment", handle_command, COMMAND_STOP,                    \
      "Stop all instances")                                                                        \
    X(POST, "/v1/apps/{app}/start", "environment", handle_command, COMMAND_START,                  \
      "Start a stopped app again")                                                                 \
    X(POST, "/v1/apps/{app}/maintenance", "environment", handle_command, COMMAND_MAINTENANCE,      \
      "Answer or hold the app's requests at the gateway: {\"on\": true, ...}")                     \
    X(POST, "/v1/apps/{app}/fault", "environment", handle_command, COMMAND_FAULT,                  \
      "Delay or abort a share of the app's requests for a while: {\"on\": true, ...}")             \
    X(POST, "/v1/apps/{app}/delete", "environment", handle_command, COMMAND_DELETE,                \
      "The same as DELETE /v1/apps/{app}")                                                         \
    X(POST, "/v1/apps/{app}/run", "environment", handle_run, 0,                                    \
      "Run {\"command\": [..]} with the code and environment of the stable release")               \
    X(GET, "/v1/apps/{app}/history", "environment,limit", handle_history, 0,                       \
      "Rollouts, newest first")                                                                    \
    X(GET, "/v1/apps/{app}/traffic", "environment,window", handle_traffic, 0,                      \
      "Requests, errors and latencies per minute and release, of the last day at most")            \
    X(GET, "/v1/apps/{app}/verdict", "environment,history", handle_verdict, 0,                     \
      "What the judge knows, in numbers and words; history=1: how its evidence grew")              \
    X(GET, "/v1/apps/{app}/releases", "environment", handle_releases, 0, "Releases that are kept") \
    X(GET, "/v1/apps/{app}/events", "environment,after,limit", handle_app_events, 0,               \
      "Events of an app, oldest first")                                                            \
    X(GET, "/v1/apps/{app}/logs", "environment,follow,since,release,instance,process,limit",       \
      handle_logs, 0, "Output of the instances, a JSON object per line")                           \
    X(GET, "/v1/events", "app,environment,after,limit", handle_events, 0,                          \
      "Server-sent events; Last-Event-ID (or after) resumes. Accept: application/json: a page")    \
    X(GET, "/v1/openapi.json", "", handle_openapi, 0, "This description")                          \
    X(GET, "/metrics", "", handle_metrics, 0,                                                      \
      "Prometheus text format; Accept: application/openmetrics-text: OpenMetrics, with exemplars") \
    X(GET, "/health", "", handle_health, 0, "200 while the controller answers")                    \
    X(GET, "/ready", "", handle_ready, 0,                                                          \
      "200 once the gateway has its first snapshot and the instances are adopted")

struct route {
    const char *method, *pattern, *parameters;
    handler *handle;
    int argument;
    const char *summary;
};

size_t routes_count(void);
const struct route *route_at(size_t i);
/* path: without the query. Gives the route, *app filled (the caller frees); NULL: none for this
 * method, and *allowed lists the methods that there are, "" where the path is unknown. HEAD finds
 * GET. */
const struct route *route_find(const char *method, const char *path, size_t path_len, char **app,
                               struct buf *allowed);

handler handle_server, handle_upgrade, handle_apps, handle_status, handle_command, handle_deploy,
    handle_plan, handle_run, handle_history, handle_traffic, handle_verdict, handle_releases,
    handle_app_events, handle_logs, handle_events, handle_openapi, handle_metrics, handle_health,
    handle_ready;

#endif
