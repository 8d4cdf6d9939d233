/* store: what the controller remembers, in one SQLite file. In the controller only.
 *
 * Who does what: the loop thread fills a `struct store_batch` (one transaction) and submits it; ONE
 * writer thread, owned by the store, carries batches out in the order of submission, durable at its
 * return (WAL, synchronous=FULL). Completions run in the loop thread, in the same order, by
 * store_dispatch() when store_fd() is readable. Reads are synchronous in the loop thread, on a
 * second read-only connection: they see every batch whose completion has run.
 *
 * All functions are for the loop thread. Every string given is copied; every string read is in the
 * arena given. NULL text is stored as "" unless said otherwise, and is never read back as NULL.
 * `app` is everywhere the key NAME@ENVIRONMENT (store_app_key()), also the name of the app's
 * folder. Times are wall clock milliseconds.
 */
#ifndef SLUICE_STORE_STORE_H
#define SLUICE_STORE_STORE_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_batch;

/* ---- opening
 * -------------------------------------------------------------------------------------- */

struct store_options {
    const char *path;          /* DATA/state.db; made with mode 0600 when missing */
    const char *ballast_path;  /* DATA/ballast; NULL: none */
    uint64_t ballast_bytes;    /* 0: the default, 4 MiB */
    uint32_t events_per_app;   /* kept; 0: the default, 10,000 */
    uint32_t rollouts_per_app; /* finished ones kept; 0: the default, 1,000 */
    uint32_t idempotency_kept; /* keys kept in all; 0: the default, 10,000 */
};
/* Opens or makes the database, migrates it (each step in a transaction), checks that it can be
 * read, starts the writer. NULL: the error names the file and says what to do (unreadable, corrupt,
 * made by a newer sluice, full disk); the caller goes on without a store ("degraded"), the traffic
 * goes on. */
struct store *store_open(const struct store_options *options, struct error *err);
/* Carries out what was submitted, runs the completions, stops the writer. NULL is fine. */
void store_close(struct store *store);

/* ---- writing
 * -------------------------------------------------------------------------------------- */

enum store_outcome {
    STORE_OK,
    STORE_NO_SPACE, /* disk full, also after the ballast was given up: submit again later */
    STORE_FAILED    /* anything else; nothing of the batch is stored */
};
typedef void (*store_done_fn)(void *context, enum store_outcome outcome, const struct error *err);

struct store_batch *store_batch_new(struct store *store);
void store_batch_free(struct store_batch *batch); /* only of a batch that was not submitted */
bool store_batch_empty(const struct store_batch *batch);
/* Takes the batch. done may be NULL. err is only valid inside done (STORE_OK: class ERROR_NONE). */
void store_submit(struct store *store, struct store_batch *batch, store_done_fn done,
                  void *context);
int store_fd(const struct store *store); /* readable: call store_dispatch() */
void store_dispatch(struct store *store);
/* Waits until all that was submitted is done, and runs the completions (those that submit again are
 * waited for as well). For shutting down and tests: it blocks. */
void store_flush(struct store *store);
size_t store_pending(const struct store *store); /* batches submitted whose done has not run */

/* Rarely (each minute): the writer makes the ballast again when there is room, and prunes. */
void store_maintain(struct store *store);
/* The disk was full at the last write, or the ballast is gone: say so in the state. */
bool store_short_of_space(const struct store *store);

/* ---- rows
 * ----------------------------------------------------------------------------------------- */

char *store_app_key(const char *name, const char *environment, char *out, size_t size);

struct store_app {
    const char *app; /* key */
    const char *name, *environment;
    const char *state_json;  /* core's app_state_to_json */
    const char *extras_json; /* control's own: whatever it wants to keep with the app */
    uint32_t next_release;   /* number of the next release; numbers are never used twice */
    int64_t created_ms;
};

/* X(name, word) */
#define RELEASE_STATUSES(X)                                                                        \
    X(RELEASE_BUILDING, "building") /* being packed or built */                                    \
    X(RELEASE_READY, "ready")       /* can run; not (yet) promoted */                              \
    X(RELEASE_PROMOTED, "promoted") /* was or is stable */                                         \
    X(RELEASE_REJECTED, "rejected") /* rolled back by a verdict or a person */                     \
    X(RELEASE_FAILED, "failed")     /* packing or building failed */

enum release_status {
#define X(name, word) name,
    RELEASE_STATUSES(X)
#undef X
        RELEASE_STATUSES_COUNT
};
const char *release_status_word(enum release_status status);

struct store_release {
    const char *app;
    uint32_t number;
    const char *version;
    const char *spec_json; /* spec_to_json */
    const char *digest;    /* of the source, hex; "" before packing */
    const char *commit, *author, *branch;
    bool dirty;
    int64_t created_ms;
    const char *created_by; /* actor */
    enum release_status status;
    const char *dir; /* the release's folder */
    int64_t bytes;   /* what that takes on the disk once it is built; -1: not known */
};

struct store_rollout {
    uint64_t id;
    const char *app;
    const char *kind;               /* "deploy" "rollback" "restart" */
    const char *strategy;           /* word */
    uint32_t release, from_release; /* from 0: there was none */
    const char *version;            /* of the release */
    int64_t started_ms, ended_ms;   /* ended 0: open */
    const char *result;             /* rollout_result_word; "" while open */
    const char *reason_code, *reason_text;
    const char *actor;
    uint64_t requests_stable, requests_candidate, failed;
    const char *judge_json; /* judge_to_json */
};

enum {
    STORE_INSTANCE_ADOPTED_READY = 1
}; /* flags: was ready when last seen; further bits are control's */
struct store_instance {
    const char *app;
    const char *id; /* unique over all apps */
    uint32_t pool;
    uint32_t process; /* index in the release's spec */
    uint32_t run;     /* start number: 1, 2, ... */
    uint32_t port;    /* 0: none */
    const char *boot_id;
    int64_t created_ms;
    uint32_t restarts;
    uint32_t flags;
};

struct store_event {
    uint64_t id;     /* store_next_event_id() */
    const char *app; /* "": the server's */
    int64_t at_ms;
    const char *kind; /* "step", "promoted", ... */
    const char *actor;
    const char *text;
    const char *json; /* machine data; "" none */
};

struct store_idempotency {
    const char *key;
    const char *app;
    const char *request_digest; /* the same key with another digest is the caller's conflict */
    const char *response_json;
    int64_t at_ms;
};

/* What an app's traffic was in one minute, by release: a bounded ring of the last day. */
enum { STORE_TRAFFIC_MINUTES = 24 * 60 };
struct store_traffic {
    const char *app;
    int64_t minute; /* wall clock, since 1970 */
    uint32_t release;
    bool candidate; /* of a rollout, at that time */
    uint64_t requests, errors;
    const char *latency; /* histogram of the answers: "BUCKET:COUNT BUCKET:COUNT ...", rising */
};

/* How the evidence of a rollout stood at one moment. */
struct store_verdict {
    const char *app;
    uint64_t rollout;
    uint32_t number; /* rising within a rollout */
    int64_t at_ms;
    uint32_t weight_ppm;
    uint64_t candidate_requests, candidate_errors, stable_requests, stable_errors;
    int64_t worse_milli, fine_milli; /* ln E to roll back, and to promote, in thousandths */
    const char *judgement;
};

/* Puts insert, or replace all columns of the row with that key. An app's rows in release, rollout
 * and instance need the app's row: put the app first (in the same batch is fine). */
void batch_put_app(struct store_batch *batch, const struct store_app *app);
/* Only these columns, of an app that is there (else the batch fails). */
void batch_put_app_state(struct store_batch *batch, const char *app, const char *state_json);
void batch_put_app_extras(struct store_batch *batch, const char *app, const char *extras_json);
void batch_delete_app(struct store_batch *batch,
                      const char *app); /* and all that is its, but events */
void batch_put_release(struct store_batch *batch, const struct store_release *release);
void batch_set_release_status(struct store_batch *batch, const char *app, uint32_t number,
                              enum release_status status);
void batch_delete_release(struct store_batch *batch, const char *app, uint32_t number);
void batch_put_rollout(struct store_batch *batch, const struct store_rollout *rollout);
/* The row of that id gets ended_ms, result, reason, counts, judge_json of this one. */
void batch_end_rollout(struct store_batch *batch, const struct store_rollout *rollout);
void batch_put_instance(struct store_batch *batch, const struct store_instance *instance);
void batch_delete_instance(struct store_batch *batch, const char *id);
void batch_add_event(struct store_batch *batch, const struct store_event *event);
void batch_put_idempotency(struct store_batch *batch, const struct store_idempotency *idempotency);
void batch_put_traffic(struct store_batch *batch, const struct store_traffic *traffic);
void batch_put_verdict(struct store_batch *batch, const struct store_verdict *verdict);
/* Those of an app's other rollouts; those of one whose number is no multiple of `each`. */
void batch_forget_verdicts(struct store_batch *batch, const char *app, uint64_t but_rollout);
void batch_thin_verdicts(struct store_batch *batch, const char *app, uint64_t rollout,
                         uint32_t each);
void batch_put_meta(struct store_batch *batch, const char *key, const char *value);
void batch_put_meta_u64(struct store_batch *batch, const char *key, uint64_t value);

/* Ids, at once: from memory, seeded at open above everything ever stored. Rising, never repeated
 * among what is stored. */
uint64_t store_next_event_id(struct store *store);
uint64_t store_last_event_id(const struct store *store); /* 0: none yet */
uint64_t store_next_rollout_id(struct store *store);

/* ---- reading: 0 and rows in the arena, or -1
 * ------------------------------------------------------ */

struct store_apps {
    struct store_app *items;
    size_t len;
};
struct store_releases {
    struct store_release *items;
    size_t len;
};
struct store_rollouts {
    struct store_rollout *items;
    size_t len;
};
struct store_instances {
    struct store_instance *items;
    size_t len;
};
struct store_events {
    struct store_event *items;
    size_t len;
};
struct store_verdicts {
    struct store_verdict *items;
    size_t len;
};
struct store_traffics {
    struct store_traffic *items;
    size_t len;
};

int store_read_apps(struct store *store, struct arena *arena, struct store_apps *out,
                    struct error *err);
/* app NULL: of all. Ordered by app, then rising number / id. */
int store_read_releases(struct store *store, const char *app, struct arena *arena,
                        struct store_releases *out, struct error *err);
int store_read_instances(struct store *store, const char *app, struct arena *arena,
                         struct store_instances *out, struct error *err);
/* Those that have not ended, of all apps. */
int store_read_open_rollouts(struct store *store, struct arena *arena, struct store_rollouts *out,
                             struct error *err);
/* History of an app: newest first, ended and open, at most limit. */
int store_read_rollouts(struct store *store, const char *app, size_t limit, struct arena *arena,
                        struct store_rollouts *out, struct error *err);
/* Events with id > after, rising, at most limit (the OLDEST of them: go on from the last). app
 * NULL: all. */
int store_read_events_after(struct store *store, const char *app, uint64_t after, size_t limit,
                            struct arena *arena, struct store_events *out, struct error *err);
/* The last `limit` events, rising. app NULL: all. */
int store_read_last_events(struct store *store, const char *app, size_t limit, struct arena *arena,
                           struct store_events *out, struct error *err);
/* The minutes from that one on, rising. */
int store_read_traffic(struct store *store, const char *app, int64_t from_minute,
                       struct arena *arena, struct store_traffics *out, struct error *err);
/* Of one rollout, by rising number. */
int store_read_verdicts(struct store *store, const char *app, uint64_t rollout, struct arena *arena,
                        struct store_verdicts *out, struct error *err);
/* These give 1 when there is one, 0 when there is none (*out untouched), -1 on error. */
int store_read_release(struct store *store, const char *app, uint32_t number, struct arena *arena,
                       struct store_release *out, struct error *err);
int store_read_rollout(struct store *store, uint64_t id, struct arena *arena,
                       struct store_rollout *out, struct error *err);
int store_read_idempotency(struct store *store, const char *key, const char *app,
                           struct arena *arena, struct store_idempotency *out, struct error *err);
int store_read_meta(struct store *store, const char *key, struct arena *arena, const char **value,
                    struct error *err);
int store_read_meta_u64(struct store *store, const char *key, uint64_t *value, struct error *err);

#endif
