/* spec: sluice.yaml -> struct app_spec, and back.
 *
 * Runs in the command line (reads the user's file) and in the controller (reads the canonical JSON
 * that the command line sent, which is parsed by the same code, since JSON is YAML). Pure: no file
 * is opened here except through the caller's callback, nothing is contacted.
 *
 * Invariants of a struct app_spec that came out of spec_parse() without errors: every default is
 * filled in, every cross-field rule holds, every string is NUL-terminated UTF-8 without NUL inside,
 * arrays and counts agree. It is immutable and owns all it points to (one arena); free it with
 * spec_free().
 */
#ifndef SLUICE_SPEC_SPEC_H
#define SLUICE_SPEC_SPEC_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPEC_MAX_PROCESSES = 8,
    SPEC_MAX_ROUTES = 64,
    SPEC_MAX_STEPS = 32,
    SPEC_MAX_MATCH = 8,
    SPEC_MAX_EDITS = 16,
    SPEC_MAX_ERRORS = 8,
    SPEC_MAX_EDIT_BYTES = 8192,
    SPEC_MAX_METRICS = 8,
    SPEC_MAX_COMPARED = 16, /* header fields of an answer */
    SPEC_MAX_IGNORED = 32
};

/* A command: argv, NULL-terminated. A string of the file is {"sh", "-c", text}. `$NAME` and
 * `${NAME}` in argv elements (not in sh text) are expanded at start by whoever runs it. */
struct command {
    const char *const *argv;
    size_t argc;
    bool shell; /* was a string */
};

struct env_var {
    const char *name, *value;
};

enum probe_kind { PROBE_NONE, PROBE_HTTP, PROBE_TCP, PROBE_EXEC };

struct probe_spec {
    enum probe_kind kind;
    const char *http_path;
    struct command exec;
    int64_t delay_ms, period_ms, timeout_ms;
    uint32_t successes, failures;
};

struct process_spec {
    const char *name; /* "web" where `run` is not a map */
    struct command run;
    uint32_t replicas;
    bool routed; /* gets the routes; at most one process does */
};

enum match_kind { MATCH_HEADER, MATCH_COOKIE, MATCH_QUERY, MATCH_METHOD };

/* A header, cookie or query parameter that must have this value; value NULL: that must be there.
 * Header names are lower case. MATCH_METHOD: name is "GET HEAD", one of which it must be, in the
 * order of the alphabet; value NULL. */
struct match_item {
    enum match_kind kind;
    const char *name, *value;
};
const char *match_kind_word(enum match_kind kind); /* "header", ... */
struct match_spec {
    struct match_item items[SPEC_MAX_MATCH];
    size_t len; /* 0: matches everything */
};

/* Changes to the fields of a message, in the order in which they are made. */
enum edit_kind { EDIT_REMOVE, EDIT_SET, EDIT_ADD };
struct edit_spec {
    enum edit_kind kind;
    const char *name, *value; /* value "" where it is removed */
};
struct edits_spec {
    struct edit_spec *items; /* SPEC_MAX_EDITS at most */
    size_t len, bytes;       /* bytes: of names and values */
};
struct headers_spec {
    struct edits_spec request, answer;
};

/* What becomes of the path. NULL: nothing. Prefixes have no "/" at their end. */
struct rewrite_spec {
    const char *strip_prefix, *prefix, *path;
};

enum redirect_keep { KEEP_PATH, KEEP_REST, KEEP_QUERY, KEEP_NOTHING };
struct redirect_spec {
    const char *to; /* NULL: none */
    uint32_t status;
    enum redirect_keep keep;
};

/* On which failures of an instance an idempotent request is sent again. */
enum retry_on {
    RETRY_ON_RESET = 1, /* it broke off before it answered */
    RETRY_ON_502 = 2,
    RETRY_ON_503 = 4,
    RETRY_ON_504 = 8,
};

/* How a route treats its instances. */
struct resilience_spec {
    int64_t connect_ms, total_ms; /* total_ms 0: no limit */
    uint32_t retry_budget_ppm;    /* of the requests */
    int64_t retry_backoff_ms;
    uint32_t retry_on;          /* enum retry_on, together */
    uint32_t eject_errors;      /* in a row; 0: off */
    uint32_t eject_latency_ppm; /* of the others' mean; 0: off */
    int64_t eject_base_ms, eject_max_ms;
    uint32_t eject_share_ppm;    /* of a release's instances at most */
    uint32_t in_flight, pending; /* of a release; in_flight 0: no limit */
    int64_t queue_ms;
    int64_t slow_start_ms; /* 0: none */
};
/* Where a TCP route listens. */
struct tcp_spec {
    const char *listen; /* "127.0.0.1:5432", "[::]:5432"; NULL: the route is of requests */
    int64_t idle_ms;    /* nothing moves for so long: the connection ends; 0: never */
};
/* Nobody could listen on both: the same port, and the same address or one that is all of them. */
bool tcp_listen_overlaps(const char *a, const char *b);

/* What a route tells about its requests. */
struct observe_spec {
    uint32_t log_ppm;      /* share of requests that get a line in the access log */
    bool log_errors;       /* and all that fail, */
    int64_t log_slower_ms; /* and all that take longer; 0: not for that */
    bool log_query;        /* with the query */
    bool trace;            /* takes part in traces */
    uint32_t trace_ppm;    /* share of sampled ones among those that begin here */
    bool request_id;
};

/* So many requests of one client in that time in the long run, and at once at most a burst. */
struct rate_limit_spec {
    uint32_t requests; /* 0: no limit, and the others are 0 too */
    int64_t per_ms;
    uint32_t burst;
    const char *header; /* lower case: who has the same value is one client; NULL: by address */
};

/* What a route takes from clients; 0: no limit of its own. */
struct limits_spec {
    uint64_t body_bytes, head_bytes;
    uint64_t min_rate; /* bytes per second of a body, either way */
};

/* A file of the release that the gateway answers with, in place of its own text. */
struct error_page {
    uint16_t status;
    const char *path; /* within the release; its type goes by its end */
};

/* What instances speak: HTTP/1.1, HTTP/2 on clear text, HTTP/1.1 over TLS. */
enum route_protocol { PROTOCOL_HTTP1, PROTOCOL_H2C, PROTOCOL_HTTPS };

/* How they are spoken to by TLS. Names are those of files in DATA/certs, without their ends. */
struct upstream_tls_spec {
    const char *ca, *client_cert; /* NULL: none */
    const char *server_name;
    bool verify;
};
enum { SPEC_MAX_CERT_NAME = 250 };

struct route_spec {
    struct tcp_spec tcp; /* then what is of requests does not count */
    const char *host;    /* lower case, "" any, may start with "*." */
    const char *path;    /* starts with '/', a prefix on segment borders */
    struct match_spec match;
    int64_t timeout_ms;
    uint32_t retries;
    enum route_protocol protocol;
    struct upstream_tls_spec tls; /* PROTOCOL_HTTPS */
    bool redirect_https;          /* a request without TLS is sent to https:// */
    bool client_cert;             /* a request needs a client's certificate */
    bool tls_auto;   /* the host's certificate is obtained by ACME; host is a full name then */
    int64_t hsts_ms; /* 0: none */
    struct headers_spec headers;
    struct rewrite_spec rewrite;
    struct redirect_spec redirect;
    struct resilience_spec resilience;
    struct observe_spec observe;
    struct rate_limit_spec rate_limit;
    struct limits_spec limits;
    bool forwarded, via; /* requests get these fields, answers Via */
};

enum strategy_kind {
    STRATEGY_ROLLING,
    STRATEGY_RECREATE,
    STRATEGY_BLUE_GREEN,
    STRATEGY_CANARY,
    STRATEGY_SHADOW,
    STRATEGY_KINDS
};

/* An amount that may be absolute or a share of the replicas. */
struct amount {
    bool percent;
    uint32_t value; /* count, or whole percent */
};

struct canary_step {
    uint32_t weight_ppm; /* of 1,000,000 */
    int64_t hold_ms;
    bool approve;
    const struct command *smoke;
    size_t smoke_len;
};

/* What becomes of a candidate that the evidence neither clears nor condemns. */
enum inconclusive_policy { INCONCLUSIVE_CONTINUE, INCONCLUSIVE_PAUSE, INCONCLUSIVE_ROLLBACK };

struct judge_spec {
    double alpha;                          /* chance of a false roll back per rollout, 0.001 */
    double max_worse;                      /* "no worse than (1 + this) x stable" to promote, 1.0 */
    enum inconclusive_policy inconclusive; /* at the end of what can be compared */
    double more_memory, more_cpu; /* than stable's that is no fault, 1.0: twice as much; 0: off */
    int64_t usage_interval_ms;    /* what instances use is looked at so often */
};

/* Methods whose requests are copied, together. */
enum copied_method {
    COPY_GET = 1,
    COPY_HEAD = 2,
    COPY_OPTIONS = 4,
    COPY_POST = 8,
    COPY_PUT = 16,
    COPY_PATCH = 32,
    COPY_DELETE = 64,
};

/* What of a copy's answer has to be as in the one that the user got. */
enum compared_body { COMPARED_JSON, COMPARED_EXACT, COMPARED_NOTHING };
struct compare_spec {
    bool status;
    enum compared_body body;
    const char *const *headers; /* lower case */
    size_t headers_len;         /* <= SPEC_MAX_COMPARED */
    /* JSON pointers (RFC 6901; `*`: any member or element) of what may differ. */
    const char *const *ignored;
    size_t ignored_len; /* <= SPEC_MAX_IGNORED */
};

struct shadow_spec {
    uint32_t share_ppm; /* of the requests, above 0 */
    int64_t for_ms;
    uint32_t methods;    /* enum copied_method, together */
    uint64_t body_bytes; /* requests with larger bodies are not copied */
    struct compare_spec compare;
    uint32_t differences_ppm; /* share of the compared answers that may differ */
};

struct strategy_spec {
    enum strategy_kind kind;
    int64_t hold_requests_ms;                 /* recreate */
    struct amount max_surge, max_unavailable; /* rolling */
    int64_t min_ready_ms;                     /* rolling; also a process without routes or probe */
    struct match_spec preview;                /* blue-green; len 0: none */
    const struct command *smoke;              /* blue-green, shadow */
    size_t smoke_len;
    bool approve;                             /* blue-green, shadow */
    int64_t keep_ms;                          /* blue-green, shadow */
    struct canary_step steps[SPEC_MAX_STEPS]; /* canary; rising, the last is 1,000,000 */
    size_t steps_len;
    uint32_t instances;      /* canary; 0: proportional */
    struct match_spec match; /* canary; len 0: none */
    bool sticky;             /* canary: by cookie */
    struct shadow_spec shadow;
    struct judge_spec judge;
};

struct slo_spec {
    bool has_error_rate, has_latency;
    double error_rate;       /* 0..1 */
    double latency_quantile; /* 0.95 */
    int64_t latency_ms;
    uint32_t min_requests;
    int64_t window_ms;
};

struct stop_spec {
    const struct command *before;
    size_t before_len;
    int signal;
    int64_t drain_ms, grace_ms;
};

enum metric_source { METRIC_PROMETHEUS, METRIC_COMMAND, METRIC_WEBHOOK };

struct bound {
    bool given;
    double value;
};

/* Something that is measured again and again during a rollout, outside of the gateway. Judged by
 * max and min, or against stable, or (command and webhook) by what it answers itself. */
struct metric_spec {
    const char *name;
    enum metric_source source;
    const char *url; /* prometheus: where its API is; webhook: who is asked. May hold a password */
    const char *query; /* prometheus; with its placeholders, see metric_query_fill() */
    struct command command;
    struct bound max, min;
    bool compare;        /* with stable; then per_release too, and neither max nor min */
    bool lower_is_worse; /* compare */
    bool per_release;    /* measured of the candidate and of stable */
    int64_t interval_ms, initial_delay_ms, timeout_ms;
    uint32_t count; /* measurements in all; 0: as long as the rollout */
    /* More failures in all, errors in a row, inconclusive ones in all than that end it. */
    uint32_t failure_limit, consecutive_error_limit, inconclusive_limit;
};

/* The watch after a promotion. */
struct bake_spec {
    int64_t time_ms; /* 0: none */
    bool keep;       /* the instances of the release before stay up meanwhile */
};

struct app_spec {
    const char *app, *environment; /* environment: "production" unless -e */
    const char *version;           /* NULL: none given */
    const char *source;            /* as written; NULL: none given (the file's own folder) */
    const struct command *build, *release;
    size_t build_len, release_len;
    struct process_spec processes[SPEC_MAX_PROCESSES];
    size_t processes_len;
    uint16_t port; /* 0: auto */
    bool socket;   /* a Unix socket instead of a port */
    const struct env_var *env;
    size_t env_len;
    const char *user;   /* NULL: absent */
    uint32_t cpu_milli; /* 0: no limit */
    uint64_t memory_bytes;
    struct probe_spec readiness, liveness, startup;
    struct stop_spec stop;
    bool tls_auto; /* of routes that do not say */
    struct route_spec routes[SPEC_MAX_ROUTES];
    size_t routes_len;
    struct error_page errors[SPEC_MAX_ERRORS]; /* by rising status */
    size_t errors_len;
    int64_t hold_ms;
    uint32_t hold_requests;
    struct strategy_spec strategy;
    struct slo_spec slo;
    struct metric_spec metrics[SPEC_MAX_METRICS];
    size_t metrics_len;
    struct bake_spec bake;
    int64_t deadline_ms;
    uint32_t history;
    bool pause_on_failure;
    struct arena_block *memory; /* what it owns; spec's own business */
};

/* ---- reading --------------------------------------------------------------------------------- */

struct diagnostic {
    bool warning;
    uint32_t line, column, length; /* from 1; line 0: the file as a whole */
    char *text;                    /* "unknown key `replica`" */
    char *hint;                    /* "did you mean `replicas`?", or NULL */
};
struct diagnostics {
    struct diagnostic *items;
    size_t len, cap;
};
void diagnostics_release(struct diagnostics *d);
bool diagnostics_failed(const struct diagnostics *d); /* any that is not a warning */
/* "sluice.yaml:3:1: error: unknown key `replica`\n  3 | replica: 3\n    | ^~~~~~~\n  did you mean
 * ...", each of them. color: with terminal colours. */
void diagnostics_render(const struct diagnostics *d, const char *filename, const char *text,
                        size_t len, bool color, struct buf *out);

struct spec_source {
    const char *text; /* the whole file; need not be NUL-terminated */
    size_t len;
    const char *environment; /* NULL: production */
    /* Looks up ${NAME}; NULL answer: not set. A NULL callback: ${...} is left alone (the
     * controller). */
    const char *(*getenv)(void *arg, const char *name);
    /* Reads an env-file named by the spec into out; NULL callback: env-files is an error. */
    int (*read_file)(void *arg, const char *path, struct buf *out, struct error *err);
    void *arg;
};

/* Gives NULL when there is any error; all errors (and warnings) of the file are added to diags. */
struct app_spec *spec_parse(const struct spec_source *source, struct diagnostics *diags);
void spec_free(struct app_spec *spec);

/* The canonical JSON of the effective spec (environment merged, ${} and env-files resolved):
 * parsing it gives an equal spec. What the command line sends and the store keeps. */
void spec_to_json(const struct app_spec *spec, struct buf *out);

/* Another strategy by its word with its defaults (`deploy --strategy`); NULL and an error in diags
 * (line 0) where it is unknown or does not fit (port fixed and not recreate ...). */
struct app_spec *spec_with_strategy(const struct app_spec *spec, const char *word,
                                    struct diagnostics *diags);

/* What differs between two specs, a line per key: "replicas: 2 -> 3". For `plan` and events. */
void spec_diff(const struct app_spec *old, const struct app_spec *new, struct buf *out);

/* The reference of all keys as Markdown: a heading and a table per mapping. docs/sluice-yaml.md has
 * these tables (a test compares). */
void spec_reference(struct buf *out);

/* What a release may be called, in the file and by `deploy --version`. */
#define SPEC_VERSION_SHAPE "a version: letters, digits and ._+-/@:, at most 128"
bool spec_is_version(const char *text);

const char *strategy_name(enum strategy_kind kind); /* "rolling", ... */

/* ---- metrics --------------------------------------------------------------------------------- */

const char *metric_source_word(enum metric_source source); /* "prometheus", ... */

/* What the placeholders of a query stand for. */
struct metric_place {
    const char *app, *environment, *release, *version, *window;
};
/* The query with {{app}}, {{environment}}, {{release}}, {{version}} and {{window}} filled in. */
void metric_query_fill(const char *query, const struct metric_place *place, struct buf *out);

/* The URL as people may see it: scheme, host and port. User, password, path and query become
 * "***": they may be secrets. */
void metric_url_masked(const char *url, struct buf *out);

#endif
