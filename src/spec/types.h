/* types: the value types of keys.def, a group per file. Inside src/spec only. */
#ifndef SLUICE_SPEC_TYPES_H
#define SLUICE_SPEC_TYPES_H

#include "spec/reader.h"

enum { MAX_REPLICAS = 1000, MAX_LIST = 256, MAX_ENV = 4096 };
/* Fits into 32 bits of milliseconds, which is what the snapshot has. */
#define MAX_DURATION_MS (30 * INT64_C(86400000))

extern const struct value_type
    /* types_basic.c */
    type_boolean,
    type_duration, type_duration_positive, type_duration_years, type_threshold, type_history,
    type_hold_requests, type_min_requests, type_on_failure, type_sticky, type_amount, type_cpu,
    type_memory, type_error_rate, type_judge_alpha, type_judge_worse, type_judge_more, type_folder,
    type_resources, type_hold, type_slo, type_judge, type_latency, type_inconclusive, type_limit,
    type_https, type_client_cert, type_interval,
    /* types_app.c */
    type_app_name, type_environment, type_version, type_engine, type_not_yet, type_commands,
    type_metric_name, type_run, type_replicas, type_port, type_env, type_env_files, type_user,
    type_environments, type_exec,
    /* types_probe.c */
    type_probes, type_probe, type_http_path, type_tcp, type_stop, type_signal_name,
    /* types_route.c */
    type_routes, type_host, type_tls, type_route_path,
    /* types_observe.c */
    type_share, type_trace, type_access_log, type_request_id,
    /* types_guard.c */
    type_rate_limit, type_rate, type_rate_by, type_limits, type_body_limit, type_copied_body,
    type_head_limit, type_min_rate, type_named_hop,
    /* types_match.c */
    type_match, type_match_items, type_match_methods,
    /* types_errors.c */
    type_error_pages,
    /* types_headers.c */
    type_headers, type_edits, type_edit_names, type_edit_set, type_edit_add,
    /* types_rewrite.c */
    type_rewrite, type_path_prefix, type_whole_path, type_redirect, type_redirect_to,
    type_redirect_status, type_redirect_keep,
    /* types_resilience.c */
    type_retries, type_retry_attempts, type_retry_budget, type_retry_on, type_outlier,
    type_eject_latency, type_max_ejected, type_capacity, type_duration_or_none,
    /* types_upstream.c */
    type_protocol, type_upstream_tls, type_cert_name, type_server_name,
    /* types_tcp.c */
    type_tcp_route, type_tcp_listen,
    /* types_strategy.c */
    type_strategy, type_rolling, type_recreate, type_blue_green, type_canary, type_steps,
    type_step_hold, type_step_weight, type_canary_instances, type_shadow,
    /* types_shadow.c */
    type_copied_share, type_copied_methods, type_compared, type_compared_headers,
    type_compared_body, type_ignored,
    /* types_metric.c */
    type_metrics, type_prometheus, type_webhook, type_query, type_metric_command, type_bound,
    type_compare, type_worse, type_bake;

/* types_tcp.c: after the keys of such a mapping; of the whole file; a route's canonical JSON */
void finish_tcp(struct reader *r, const struct node *node);
void finish_tcp_route(struct reader *r, const struct node *node, struct route_spec *route);
void check_tcp(struct reader *r, const struct node *root);
void write_route(const struct route_spec *route, struct buf *out);

/* Of a text that is no size from min to max; text: as it was read. */
void reader_expected_size(struct reader *r, const struct key *key, const struct node *node,
                          const char *text, uint64_t min, uint64_t max);
/* doubts.c: warnings about one mapping, and about all routes together */
void doubt_route(struct reader *r, const struct node *node, const struct route_spec *route);
void doubt_capacity(struct reader *r, const struct node *node, const struct resilience_spec *s);
void doubt_outlier(struct reader *r, const struct node *node, const struct resilience_spec *s);
void check_doubts(struct reader *r, const struct node *root);

/* types_shadow.c */
void finish_compare(struct reader *r, const struct node *node, const struct compare_spec *c);
void check_shadow(struct reader *r, const struct node *root);

bool write_quoted_word(struct buf *out, const char *word);
bool write_duration(struct buf *out, int64_t ms);
bool write_ppm(struct buf *out, uint32_t ppm);
/* What is wrong with a route's path, in words, with what to do about it or NULL; NULL: nothing. */
const char *path_fault(const char *path, const char **hint);
/* For the same requests (host, path, match), or on the same port? */
bool same_route(const struct route_spec *a, const struct route_spec *b);
/* Is it the prefix, or below it? */
bool path_under(const char *path, const char *prefix);

#endif
