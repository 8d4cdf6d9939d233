/* observe/exposition: the Prometheus text format (version 0.0.4), or OpenMetrics 1.0, which has
 * exemplars, out of what the others know.
 *
 * In the controller, at each GET /metrics. Pure. Samples may be given in any order (app by app):
 * they are gathered per family, since the format wants a family's samples together.
 *
 *   struct exposition e; exposition_init(&e, false);
 *   struct buf labels = BUF_INIT;
 *   exposition_label(&labels, "app", "shop"); exposition_label(&labels, "version", "1.2");
 *   exposition_count(&e, FAMILY_REQUESTS, buf_str(&labels), 42);
 *   exposition_finish(&e, out);      writes all, releases e
 */
#ifndef SLUICE_OBSERVE_EXPOSITION_H
#define SLUICE_OBSERVE_EXPOSITION_H

#include "base/buf.h"
#include "wire/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* X(name, metric, type, labels beyond app and environment, help) */
#define EXPOSITION_FAMILIES(X)                                                                     \
    /* per release: app, environment, release, version */                                          \
    X(FAMILY_REQUESTS, "sluice_requests_total", "counter", "release,version",                      \
      "Requests that an instance was chosen for, each counted once, at its end.")                  \
    X(FAMILY_RESPONSES_5XX, "sluice_responses_5xx_total", "counter", "release,version",            \
      "Answers 500 to 599 of the instances themselves.")                                           \
    X(FAMILY_RESPONSES_4XX, "sluice_responses_4xx_total", "counter", "release,version",            \
      "Answers 400 to 499 of the instances themselves.")                                           \
    X(FAMILY_FAILED, "sluice_requests_failed_total", "counter", "release,version",                 \
      "Requests answered 502 or 504 by the gateway after an instance was chosen.")                 \
    X(FAMILY_CUT, "sluice_responses_cut_total", "counter", "release,version",                      \
      "Answers that ended before their end, not by the client.")                                   \
    X(FAMILY_REPEATS, "sluice_errors_repeated_total", "counter", "release,version",                \
      "5xx, 502, 504 and cut answers to clients that had one in this app within a second before.") \
    X(FAMILY_CLIENT_LEFT, "sluice_requests_client_left_total", "counter", "release,version",       \
      "Requests whose client went away before the answer was over.")                               \
    X(FAMILY_SPILLED, "sluice_requests_spilled_total", "counter", "release,version",               \
      "Requests served here because the release meant for them had no ready instance.")            \
    X(FAMILY_RETRIED, "sluice_requests_retried_total", "counter", "release,version",               \
      "Attempts beyond the first.")                                                                \
    X(FAMILY_UNRETRIED, "sluice_requests_unretried_total", "counter", "release,version",           \
      "Failed requests that were not sent again because the route's retry budget was spent.")      \
    X(FAMILY_RESCUED, "sluice_requests_rescued_total", "counter", "release,version",               \
      "Requests of which a retry hid an instance's 502, 503 or 504.")                              \
    X(FAMILY_QUEUED, "sluice_requests_queued_total", "counter", "release,version",                 \
      "Requests that waited for a place, with the route's capacity taken.")                        \
    X(FAMILY_QUEUE, "sluice_requests_in_queue", "gauge", "release,version",                        \
      "Requests that wait for a place now.")                                                       \
    X(FAMILY_OVER_CAPACITY, "sluice_requests_over_capacity_total", "counter", "release,version",   \
      "Requests answered 503 because they were above the route's capacity.")                       \
    X(FAMILY_BYTES_IN, "sluice_request_bytes_total", "counter", "release,version",                 \
      "Bytes of requests sent to instances.")                                                      \
    X(FAMILY_BYTES_OUT, "sluice_response_bytes_total", "counter", "release,version",               \
      "Bytes of answers sent to clients.")                                                         \
    X(FAMILY_DURATION, "sluice_request_duration_seconds", "histogram", "release,version",          \
      "Time from the request's head to the end of the answer's head.")                             \
    X(FAMILY_ROUTE_DURATION, "sluice_route_request_duration_seconds", "histogram",                 \
      "release,version,route,code",                                                                \
      "The same by route (host and path) and status: 1xx to 5xx of the instances; failed: 502 or " \
      "504 by the gateway, until then; cut.")                                                      \
    X(FAMILY_ROUTE_IN_FLIGHT, "sluice_route_requests_in_flight", "gauge", "release,version,route", \
      "Requests of the route at an instance now.")                                                 \
    X(FAMILY_ROUTE_BYTES_IN, "sluice_route_request_bytes_total", "counter",                        \
      "release,version,route", "Bytes of the route's requests sent to instances.")                 \
    X(FAMILY_ROUTE_BYTES_OUT, "sluice_route_response_bytes_total", "counter",                      \
      "release,version,route", "Bytes of the route's answers sent to clients.")                    \
    X(FAMILY_ABOVE_SLO, "sluice_responses_above_slo_total", "counter", "release,version",          \
      "Answers whose head came later than the slo's latency.")                                     \
    X(FAMILY_WEIGHT, "sluice_release_weight_ratio", "gauge", "release,version",                    \
      "Share of the app's traffic that goes to the release, 0 to 1.")                              \
    X(FAMILY_READY, "sluice_release_instances_ready", "gauge", "release,version",                  \
      "Ready instances of the release.")                                                           \
    X(FAMILY_WANTED, "sluice_release_instances_wanted", "gauge", "release,version",                \
      "Instances that the release should have.")                                                   \
    /* of releases that get copies of requests */                                                  \
    X(FAMILY_MIRROR_COPIES, "sluice_mirror_copies_total", "counter", "release,version",            \
      "Copies of requests that an instance of the release was chosen for; no user waits for "      \
      "them.")                                                                                     \
    X(FAMILY_MIRROR_5XX, "sluice_mirror_responses_5xx_total", "counter", "release,version",        \
      "Answers 500 to 599 to copies.")                                                             \
    X(FAMILY_MIRROR_FAILED, "sluice_mirror_failed_total", "counter", "release,version",            \
      "Copies that got no answer, or none in time.")                                               \
    X(FAMILY_MIRROR_CUT, "sluice_mirror_responses_cut_total", "counter", "release,version",        \
      "Answers to copies that ended before their end.")                                            \
    X(FAMILY_MIRROR_COMPARED, "sluice_mirror_compared_total", "counter", "release,version",        \
      "Copies whose answer was compared with the one that the user got.")                          \
    X(FAMILY_MIRROR_DIFFERED, "sluice_mirror_differed_total", "counter", "release,version",        \
      "Of the compared ones, those that differed.")                                                \
    X(FAMILY_MIRROR_DIFFERED_STATUS, "sluice_mirror_differed_status_total", "counter",             \
      "release,version", "Of those that differed, in the status.")                                 \
    X(FAMILY_MIRROR_DIFFERED_HEADERS, "sluice_mirror_differed_headers_total", "counter",           \
      "release,version", "Of those that differed, in a header field.")                             \
    X(FAMILY_MIRROR_DIFFERED_BODY, "sluice_mirror_differed_body_total", "counter",                 \
      "release,version", "Of those that differed, in the body.")                                   \
    X(FAMILY_MIRROR_UNCOMPARED, "sluice_mirror_uncompared_total", "counter", "release,version",    \
      "Copies that were not compared: one of the two answers was not whole.")                      \
    X(FAMILY_MIRROR_UNCOPIED, "sluice_mirror_uncopied_total", "counter", "release,version",        \
      "Requests whose turn it was that were not copied: too many copies ran, or too long a body.") \
    /* per app: app, environment */                                                                \
    X(FAMILY_HELD, "sluice_requests_held_total", "counter", "",                                    \
      "Requests that waited for an instance.")                                                     \
    X(FAMILY_WAITING, "sluice_requests_waiting", "gauge", "",                                      \
      "Requests that wait for an instance now.")                                                   \
    X(FAMILY_UNSERVED, "sluice_requests_unserved_total", "counter", "",                            \
      "Requests answered 503 by the gateway: no instance in time, or too many were waiting.")      \
    X(FAMILY_MAINTENANCE, "sluice_requests_maintenance_total", "counter", "",                      \
      "Requests answered by the gateway because the app is in maintenance.")                       \
    X(FAMILY_FAULTS, "sluice_requests_faults_total", "counter", "",                                \
      "Requests delayed or answered by an injected fault.")                                        \
    X(FAMILY_BAD, "sluice_requests_bad_total", "counter", "",                                      \
      "Requests that the gateway refused as malformed.")                                           \
    X(FAMILY_RATE_LIMITED, "sluice_requests_rate_limited_total", "counter", "",                    \
      "Requests answered 429 because their client had used up the route's rate limit.")            \
    X(FAMILY_TOO_LARGE, "sluice_requests_too_large_total", "counter", "",                          \
      "Requests answered 413 or 431 because their body or head was above the route's limit.")      \
    X(FAMILY_TOO_SLOW, "sluice_requests_too_slow_total", "counter", "",                            \
      "Requests given up because their client was below the route's least rate.")                  \
    X(FAMILY_APP_STATE, "sluice_app_state", "gauge", "state",                                      \
      "1 for the state that the app is in: steady, rolling-out, paused, degraded, stopped.")       \
    X(FAMILY_ROLLOUT_STEP, "sluice_rollout_step", "gauge", "strategy",                             \
      "Number of the present step of a running rollout, from 1.")                                  \
    X(FAMILY_ROLLOUTS, "sluice_rollouts_total", "counter", "result",                               \
      "Rollouts that ended, by result.")                                                           \
    X(FAMILY_LAST_ROLLOUT, "sluice_last_rollout_duration_seconds", "gauge", "result",              \
      "How long the last rollout took.")                                                           \
    /* per instance: app, environment, release, version, instance */                               \
    X(FAMILY_INSTANCE_READY, "sluice_instance_ready", "gauge", "release,version,instance",         \
      "1 while the instance is ready.")                                                            \
    X(FAMILY_INSTANCE_IN_FLIGHT, "sluice_instance_in_flight", "gauge", "release,version,instance", \
      "Requests at the instance now.")                                                             \
    X(FAMILY_INSTANCE_REQUESTS, "sluice_instance_requests_total", "counter",                       \
      "release,version,instance", "Requests that the instance was chosen for.")                    \
    X(FAMILY_INSTANCE_ERRORS, "sluice_instance_errors_total", "counter",                           \
      "release,version,instance", "Answers 5xx, failures and cut answers of the instance.")        \
    X(FAMILY_INSTANCE_CONNECT_ERRORS, "sluice_instance_connect_errors_total", "counter",           \
      "release,version,instance", "Connections to the instance that failed.")                      \
    X(FAMILY_INSTANCE_SECONDS, "sluice_instance_response_seconds_total", "counter",                \
      "release,version,instance",                                                                  \
      "Time from requests' heads to the ends of the instance's answers' heads, summed.")           \
    X(FAMILY_INSTANCE_ABOVE_SLO, "sluice_instance_responses_above_slo_total", "counter",           \
      "release,version,instance", "Answers of the instance later than the slo's latency.")         \
    X(FAMILY_INSTANCE_EJECTED, "sluice_instance_ejected", "gauge", "release,version,instance",     \
      "1 while the instance gets no requests because it is worse than the others.")                \
    X(FAMILY_INSTANCE_EJECTIONS, "sluice_instance_ejections_total", "counter",                     \
      "release,version,instance",                                                                  \
      "How often it was taken out for that, by the gateways that live.")                           \
    X(FAMILY_INSTANCE_RESTARTS, "sluice_instance_restarts_total", "counter",                       \
      "release,version,instance", "Starts of the instance after its first.")                       \
    X(FAMILY_INSTANCE_LOG_DROPPED, "sluice_instance_log_lines_dropped_total", "counter",           \
      "release,version,instance", "Log lines dropped because the disk was full.")                  \
    /* the server's own: no app */                                                                 \
    X(FAMILY_BUILD, "sluice_build_info", "gauge", "version", "1, with the version of the server.") \
    X(FAMILY_STARTED, "sluice_controller_start_time_seconds", "gauge", "",                         \
      "When this controller started, seconds since 1970.")                                         \
    X(FAMILY_DEGRADED, "sluice_controller_degraded", "gauge", "",                                  \
      "1 while the controller cannot do all of its work (see GET /v1/server).")                    \
    X(FAMILY_APPS, "sluice_apps", "gauge", "", "Apps that the server knows.")                      \
    X(FAMILY_GATEWAYS, "sluice_gateway_generations", "gauge", "",                                  \
      "Gateways that live, draining ones too.")                                                    \
    X(FAMILY_CONNECTIONS, "sluice_gateway_connections", "gauge", "generation",                     \
      "Client connections that are open.")                                                         \
    X(FAMILY_CONNECTIONS_TOTAL, "sluice_gateway_connections_total", "counter", "generation",       \
      "Client connections that were accepted.")                                                    \
    X(FAMILY_CONNECTIONS_REFUSED, "sluice_gateway_connections_refused_total", "counter",           \
      "generation",                                                                                \
      "Client connections that were reset: too many of one client, or without a PROXY header.")    \
    X(FAMILY_CONNECTIONS_RECLAIMED, "sluice_gateway_connections_reclaimed_total", "counter",       \
      "generation",                                                                                \
      "Client connections that were closed to make room, while they waited for their client.")     \
    X(FAMILY_SHED, "sluice_gateway_requests_shed_total", "counter", "generation",                  \
      "Requests that were answered 503 because the gateway had too much to do.")                   \
    X(FAMILY_SNAPSHOT, "sluice_gateway_snapshot_version", "gauge", "generation",                   \
      "Version of the routing snapshot in use.")                                                   \
    X(FAMILY_ACCESS_LINES, "sluice_access_log_lines_total", "counter", "",                         \
      "Lines of the access log that gateways made.")                                               \
    X(FAMILY_ACCESS_DROPPED, "sluice_access_log_lines_dropped_total", "counter", "",               \
      "Lines of the access log that found no room, while its file was slow, full or not read.")    \
    X(FAMILY_CERTIFICATE_UNTIL, "sluice_certificate_expiry_timestamp_seconds", "gauge",            \
      "certificate,automatic", "When a certificate for TLS expires, seconds since 1970.")          \
    X(FAMILY_EVENTS, "sluice_events_total", "counter", "", "Events recorded.")                     \
    X(FAMILY_STORE_ERRORS, "sluice_store_errors_total", "counter", "",                             \
      "Writes to the store that failed.")

enum exposition_family {
#define X(name, metric, type, labels, help) name,
    EXPOSITION_FAMILIES(X)
#undef X
        EXPOSITION_FAMILIES_COUNT
};

struct exposition {
    bool openmetrics;
    struct buf samples[EXPOSITION_FAMILIES_COUNT];
};

void exposition_init(struct exposition *e, bool openmetrics);
/* Appends name="value", escaped, to labels. */
void exposition_label(struct buf *labels, const char *name, const char *value);
/* labels: as exposition_label() made them; NULL or "": none. */
void exposition_sample(struct exposition *e, enum exposition_family family, const char *labels,
                       double value);
void exposition_count(struct exposition *e, enum exposition_family family, const char *labels,
                      uint64_t value);
/* A latency histogram of the gateway: buckets become octaves from 0.5 ms to 67 s, whose edges are
 * exact. */
void exposition_latency(struct exposition *e, enum exposition_family family, const char *labels,
                        const uint64_t buckets[METRICS_BUCKETS], uint64_t sum_us);
/* The same of wire/red.h. exemplars: one for each step, shown in OpenMetrics; wall_ms 0: none. */
void exposition_steps(struct exposition *e, enum exposition_family family, const char *labels,
                      const uint64_t steps[RED_STEPS], uint64_t sum_us,
                      const struct exemplar exemplars[RED_STEPS]);
/* Appends families that have samples, each with HELP and TYPE; releases e. */
void exposition_finish(struct exposition *e, struct buf *out);

#endif
