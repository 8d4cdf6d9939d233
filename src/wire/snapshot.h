/* The routing snapshot: all that a gateway knows, as one versioned message.
 *
 * The controller builds it and sends it whole; it is also kept as a file (two of them), from which
 * a gateway can start alone. Pure codec. The decoder trusts nothing: every length, count and index
 * is checked, and what it gives is safe to use without further checks.
 *
 * Wire form: magic "SLSN", format u32, total length u32, CRC-32C of what follows u32, then the
 * body; little endian; strings are u16 length + bytes + NUL. Written with snapshot_encode(), read
 * with snapshot_decode(), which makes a struct snapshot that owns one block of memory.
 */
#ifndef SLUICE_WIRE_SNAPSHOT_H
#define SLUICE_WIRE_SNAPSHOT_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SNAPSHOT_FORMAT = 5,
    SNAPSHOT_MAX_BYTES = 64 << 20,
    SNAPSHOT_MAX_SPLIT = 3,         /* pools behind one route: stable, candidate, one left over */
    SNAPSHOT_MAX_EDITS = 16,        /* of a request's fields, and as many of its answer's */
    SNAPSHOT_MAX_EDIT_BYTES = 8192, /* names and values of those */
    SNAPSHOT_MAX_PAGE = 64 << 10,
    SNAPSHOT_MAX_COPIED_BODY = 32 << 10, /* of a request that is mirrored */
    SNAPSHOT_MAX_COMPARED = 16,          /* fields of two answers */
    SNAPSHOT_MAX_IGNORED = 32,           /* JSON pointers */
    SNAPSHOT_MAX_POINTER = 255,          /* bytes of one; 16 tokens (jsonprint.h) */
};

enum snapshot_match_kind {
    SNAPSHOT_MATCH_HEADER, /* name is lower case */
    SNAPSHOT_MATCH_COOKIE,
    SNAPSHOT_MATCH_QUERY,  /* name and value as they are once decoded */
    SNAPSHOT_MATCH_METHOD, /* name is "GET HEAD": one of these words; no value */
    SNAPSHOT_MATCH_KINDS
};

struct snapshot_match {
    uint32_t kind;            /* enum snapshot_match_kind */
    const char *name, *value; /* value NULL: must be present */
};

/* One instance that may get traffic. `slot` is its place in the metrics (metrics.h). */
struct snapshot_instance {
    const char *id;
    uint32_t slot;
    uint16_t port;         /* on 127.0.0.1 or [::1]; 0: it has a socket */
    uint32_t keepalive_ms; /* idle upstream connections older than this are not used; 4000 */
    uint64_t ready_at_ms;  /* CLOCK_BOOTTIME; for slow start. 0: long ago */
    bool ipv6;             /* the port is one of [::1] */
    const char *socket;    /* a Unix socket: its place (runsocket.h); NULL: it has a port */
    uint32_t socket_uid;   /* who listens on it; SNAPSHOT_ANY_UID: whoever */
};
#define SNAPSHOT_ANY_UID UINT32_MAX

/* One change to the fields of a message: all lines of that name go, or are replaced by one, or a
 * line is added. Never of a field that frames or routes the message (base/field.h). */
enum snapshot_edit_kind { SNAPSHOT_REMOVE, SNAPSHOT_SET, SNAPSHOT_ADD };
struct snapshot_edit {
    uint16_t kind;
    const char *name, *value; /* value "" where it is removed */
};

/* What is changed in the requests of one release's share of a route, and in their answers. */
struct snapshot_rules {
    const char *strip_prefix; /* taken from the path, on segment borders; NULL: nothing */
    const char *prefix;       /* then put in front of it; NULL: nothing */
    const char *path;         /* instead of the path; NULL: it stays */
    /* From first_edit on in snapshot.edits: first the request's, then the answer's. */
    uint32_t first_edit, request_edits, answer_edits;
};

/* The gateway's own answer to all requests of a route. */
enum snapshot_redirect_keep {
    SNAPSHOT_KEEP_PATH,  /* the whole path and the query go behind `to` */
    SNAPSHOT_KEEP_REST,  /* what is below the route's path, and the query */
    SNAPSHOT_KEEP_QUERY, /* the query */
    SNAPSHOT_KEEP_NOTHING
};
struct snapshot_redirect {
    const char *to; /* http://, https:// or a path; NULL: no redirect */
    uint16_t status, keep;
};

/* The ready instances of one release: what a route's share goes to. */
struct snapshot_pool {
    uint32_t release;
    const char *version;
    uint32_t first_instance, instances; /* range in snapshot.instances; may be empty */
    uint64_t slo_us; /* answers later than this are counted as above the slo; 0: none */
};

/* How instances are spoken to by TLS. */
struct snapshot_tls {
    const char *name; /* in the instance's certificate; NULL: clear text */
    const char *ca;   /* the CERT_TRUST that it must come from (certs.h); NULL: any will do */
    const char *pair; /* the CERT_PAIR that is shown; NULL: none */
};

struct snapshot_share {
    uint32_t pool;           /* index in snapshot.pools */
    uint32_t weight_ppm;     /* the shares of a route sum to 1,000,000 (or there are none) */
    uint32_t slot;           /* route x release: its place in the metrics */
    uint32_t rules;          /* index in snapshot.rules + 1; 0: none */
    bool h2c;                /* its instances speak HTTP/2 on clear text */
    struct snapshot_tls tls; /* not with h2c */
};

/* Requests with these items always go to this share's pool (preview, canary match). Its numbers go
 * to a slot of its own, so that they do not enter the judge. */
struct snapshot_pin {
    struct snapshot_share share; /* weight_ppm is 0 */
    uint32_t first_match, matches;
    bool client_cert; /* only for clients whose certificate was verified */
};

/* What of an answer is compared with that of a copy, beside fields, in snapshot_mirror.compare. */
enum {
    SNAPSHOT_COMPARE_STATUS = 1,
    SNAPSHOT_COMPARE_BODY = 2, /* its bytes */
    SNAPSHOT_COMPARE_JSON = 4, /* with _BODY: what it means, where both are JSON (jsonprint.h) */
    SNAPSHOT_COMPARE_ALL = 7,
};

/* Copies of some of a route's requests go to a pool whose answers nobody sees (gateway/mirror.h);
 * they have a field of their own, "Sluice-Mirror: 1". Of those that shares answer, not pins. A copy
 * is counted in to.slot like any request, and whether its answer was the same (metrics.h); the
 * requests that were copied are counted a second time, in copied_slot (latencies from when the copy
 * was made), so that like is compared with like. */
struct snapshot_mirror {
    uint32_t share_ppm;       /* of the requests, up to 1,000,000; 0: none, nothing else counts */
    struct snapshot_share to; /* weight_ppm is 0 */
    uint32_t copied_slot;
    uint32_t methods;             /* bits (1 << enum http1_method) that are copied */
    uint32_t body_bytes;          /* requests with longer bodies are not copied; 0: with any */
    uint32_t compare;             /* SNAPSHOT_COMPARE_... */
    uint32_t first_field, fields; /* range in snapshot.fields: those of the answers are compared */
    uint32_t first_ignored, ignored; /* range in snapshot.pointers: JSON values that are not */
};

/* On which failures a request is sent again, in snapshot_resilience.retry_on. */
enum {
    SNAPSHOT_RETRY_RESET = 1, /* broken off before the answer */
    SNAPSHOT_RETRY_502 = 2,
    SNAPSHOT_RETRY_503 = 4,
    SNAPSHOT_RETRY_504 = 8,
    SNAPSHOT_RETRY_ALL = 15,
};

/* How a route treats its instances. */
struct snapshot_resilience {
    uint32_t connect_ms;       /* 0: as long as the gateway thinks */
    uint32_t total_ms;         /* 0: no limit */
    uint32_t retry_budget_ppm; /* of the requests, up to 1,000,000 */
    uint32_t retry_backoff_ms;
    uint32_t retry_on;
    uint32_t eject_errors;      /* in a row; 0: off */
    uint32_t eject_latency_ppm; /* of the others' mean; 0: off */
    uint32_t eject_base_ms, eject_max_ms;
    uint32_t eject_share_ppm;    /* of a pool at most, up to 1,000,000 */
    uint32_t in_flight, pending; /* per share; in_flight 0: no limit */
    uint32_t queue_ms;
    uint32_t slow_start_ms; /* 0: none */
};
/* The host of a TCP route is this and the address that it listens on: "tcp:127.0.0.1:5432". Its
 * path is "/"; it has no matches, pins and cookie; timeout_ms is how long nothing may move on one
 * of its connections (0: as long as it likes). */
#define SNAPSHOT_TCP "tcp:"

/* What is told about a route's requests. Shares in parts per million. */
struct snapshot_observe {
    uint32_t log_ppm;       /* requests with a line in the access log */
    uint32_t log_slower_ms; /* and all that take longer; 0: not for that */
    bool log_errors;        /* and all that fail */
    bool log_query;         /* with their query */
    bool trace;             /* takes part in traces */
    bool request_id;        /* makes an X-Request-Id */
    uint32_t trace_ppm;     /* new traces that are sampled */
};

/* What a route takes from clients; 0: no limit of its own. */
struct snapshot_guard {
    uint32_t rate_requests, rate_per_ms, rate_burst; /* none of them 0, or all */
    const char *rate_header; /* lower case: its value is the client; NULL: the address is */
    uint64_t body_bytes;
    uint32_t head_bytes;
    uint32_t min_rate; /* bytes per second of a body, either way */
};
/* A bucket is filled in 30 days at the longest. */
#define SNAPSHOT_MAX_REFILL_MS (30 * UINT64_C(86400000))

struct snapshot_route {
    uint32_t app;                  /* index in snapshot.apps */
    const char *host;              /* lower case; "" any; "*.example.org"; or SNAPSHOT_TCP... */
    const char *path;              /* prefix on segment borders */
    uint32_t first_match, matches; /* range in snapshot.match; all must hold */
    uint32_t timeout_ms;
    uint32_t retries;
    uint32_t redirect_https; /* 1: requests without TLS are sent to https:// */
    uint32_t hsts_s;         /* Strict-Transport-Security: max-age; 0: none */
    bool tls_auto;           /* its host's certificate comes from a CA: for a starting controller */
    bool client_cert;        /* only for clients whose certificate was verified */
    struct snapshot_resilience resilience;
    struct snapshot_observe observe;
    struct snapshot_guard guard;
    bool forwarded, via; /* requests get these fields, answers Via */
    uint32_t shares_len, pins_len;
    struct snapshot_share
        shares[SNAPSHOT_MAX_SPLIT]; /* [0] is the stable one while a route is split */
    struct snapshot_pin pins[2];
    /* Sticky: name of the cookie with the bucket 0..9999; the LAST share with a weight is the
     * candidate and takes bucket < weight_ppm/100. "" none. */
    const char *sticky_cookie;
    struct snapshot_redirect redirect;
    struct snapshot_mirror mirror;
};

/* The name of a message's field, lower case. */
struct snapshot_field {
    const char *name;
};

/* A JSON pointer (RFC 6901), not empty; the token "*" stands for any member or element. */
struct snapshot_pointer {
    const char *text;
};

/* A whole body that the gateway can answer with. */
struct snapshot_page {
    const char *type; /* Content-Type */
    struct snapshot_bytes {
        const char *data;
        uint32_t len;
    } body;
};

/* What an app's users get instead of the gateway's own text with that status. */
struct snapshot_error {
    uint16_t status;
    uint32_t page; /* index in snapshot.pages + 1 */
};

/* Requests that have a header (name lower case; value NULL: any), or, without a name, those of a
 * network: an IPv6 address in two halves, IPv4 as ::ffff:a.b.c.d, and how many of its bits count.
 */
struct snapshot_caller {
    const char *name, *value;
    uint64_t high, low;
    uint16_t bits;
};

/* Whom users of an app get instead of it; those of snapshot.callers [first_caller, +callers) get
 * the app itself. */
struct snapshot_maintenance {
    uint16_t status; /* 0: none */
    uint32_t retry_after_s;
    uint32_t hold_ms; /* requests wait so long first; 0: they do not */
    uint32_t page;    /* index in snapshot.pages + 1; 0: the gateway's own */
    uint32_t first_caller, callers;
};

/* For a game day: a share of the requests (of those callers; none: of all) is delayed, answered
 * with a status, or both. */
struct snapshot_fault {
    uint32_t share_ppm; /* 0: none */
    uint32_t delay_ms;
    uint16_t abort;    /* 0: they go on */
    uint64_t until_ms; /* CLOCK_BOOTTIME: it ends by itself */
    uint32_t first_caller, callers;
};

struct snapshot_app {
    const char *name, *environment;
    bool hold;           /* keep new requests waiting although there may be instances (recreate) */
    bool stopped;        /* on purpose: nobody waits for an instance */
    uint32_t hold_ms;    /* how long a request waits for an instance at most */
    uint32_t hold_limit; /* how many may wait */
    uint32_t drain_ms;   /* upgraded connections of a leaving instance live so long at most */
    uint32_t slot;       /* the app's own place in the metrics */
    uint32_t first_error, errors; /* range in snapshot.errors */
    struct snapshot_maintenance maintenance;
    struct snapshot_fault fault;
};

/* An instance that is leaving: no new requests; what runs on it (also upgraded connections) goes on
 * until `deadline_ms` (CLOCK_BOOTTIME milliseconds), then it is cut. */
struct snapshot_draining {
    uint32_t slot;
    uint64_t deadline_ms;
};

/* What a CA that looks at a host gets at /.well-known/acme-challenge/TOKEN (RFC 8555 section 8.3),
 * before any route. */
struct snapshot_proof {
    const char *host, *token, *answer;
};

struct snapshot {
    uint64_t version;    /* rises with each; never repeats within a data folder */
    bool rollback_ahead; /* traffic went back to stable before the store knew: read by a starting
                            controller */
    uint32_t request_slots, instance_slots; /* highest slot in use + 1 (metrics.h) */
    struct snapshot_app *apps;
    struct snapshot_route *routes;
    struct snapshot_pool *pools;
    struct snapshot_instance *instances;
    struct snapshot_match *matches;
    struct snapshot_draining *draining;
    struct snapshot_edit *edits;
    struct snapshot_rules *rules;
    struct snapshot_page *pages;
    struct snapshot_caller *callers;
    struct snapshot_error *errors;
    struct snapshot_proof *proofs;
    struct snapshot_field *fields;
    struct snapshot_pointer *pointers;
    uint32_t apps_len, routes_len, pools_len, instances_len, matches_len, draining_len;
    uint32_t edits_len, rules_len, pages_len, callers_len, errors_len, proofs_len;
    uint32_t fields_len, pointers_len;
};

bool snapshot_route_is_tcp(const struct snapshot_route *r);

void snapshot_encode(const struct snapshot *s, struct buf *out);
/* NULL with *err (ERROR_USAGE) where it is not a valid snapshot. Strings point into the result, not
 * into data. */
struct snapshot *snapshot_decode(const void *data, size_t len, struct error *err);
void snapshot_free(struct snapshot *s); /* one that snapshot_decode() made */

#endif
