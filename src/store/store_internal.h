/* Inside of store: the tables as data, the batch as a list of operations, the writer's half. */
#ifndef SLUICE_STORE_STORE_INTERNAL_H
#define SLUICE_STORE_STORE_INTERNAL_H

#include "base/buf.h"
#include "base/map.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum { STORE_BATCHES_PER_COMMIT = 64, STORE_BUSY_MS = 5000 };

/* ---- tables.c: which member of a row's struct is which column
 * ------------------------------------- */

enum column_type { COLUMN_TEXT, COLUMN_I64, COLUMN_U64, COLUMN_U32, COLUMN_BOOL, COLUMN_STATUS };
struct column {
    const char *name;
    enum column_type type;
    size_t offset;
};

#define TABLES(X)                                                                                  \
    X(TABLE_APP, "app")                                                                            \
    X(TABLE_RELEASE, "release")                                                                    \
    X(TABLE_ROLLOUT, "rollout")                                                                    \
    X(TABLE_INSTANCE, "instance")                                                                  \
    X(TABLE_EVENT, "event")                                                                        \
    X(TABLE_IDEMPOTENCY, "idempotency")                                                            \
    X(TABLE_TRAFFIC, "traffic")                                                                    \
    X(TABLE_VERDICT, "verdict")
enum table_id {
#define X(name, word) name,
    TABLES(X)
#undef X
        TABLES_COUNT
};
struct table {
    const char *name;
    const char *key; /* columns of the primary key, "a, b" */
    const struct column *columns;
    size_t columns_len;
    size_t row_size;
};
const struct table *table_of(enum table_id id);
void table_select_sql(const struct table *table, struct buf *out); /* "SELECT a, b FROM t" */
void table_put_sql(const struct table *table, struct buf *out);    /* an upsert; ?1 is column 0 */
/* The statement's present row into *row (row_size bytes), texts into the arena. */
void table_read_row(const struct table *table, sqlite3_stmt *statement, struct arena *arena,
                    void *row);

/* ---- schema.c
 * -------------------------------------------------------------------------------------- */

struct migrations {
    const char *const *steps; /* steps[i] brings schema i to i + 1 */
    int len;
};
struct migrations schema_migrations(void);
/* Brings db to the last version. A newer one, or a database of something else, is an error. */
int schema_migrate(sqlite3 *db, const char *path, struct migrations migrations, struct error *err);
/* "PATH: what SQLite says; what to do", by the kind of failure. Returns -1. */
int schema_error(sqlite3 *db, const char *path, struct error *err);
/* One number of the first row; none: fallback. -1 on error with *err set by schema_error. */
int schema_number(sqlite3 *db, const char *path, const char *sql, int64_t fallback, int64_t *value,
                  struct error *err);

/* ---- batch.c
 * ------------------------------------------------------------------------------------- */

/* X(name, sql, must_change): what is not a plain put. Statement ids go on behind those of the
 * tables. */
#define STATEMENTS(X)                                                                              \
    X(SQL_PUT_APP_STATE, "UPDATE app SET state_json = ?2 WHERE app = ?1", true)                    \
    X(SQL_PUT_APP_EXTRAS, "UPDATE app SET extras_json = ?2 WHERE app = ?1", true)                  \
    X(SQL_DELETE_APP, "DELETE FROM app WHERE app = ?1", false)                                     \
    X(SQL_SET_RELEASE_STATUS, "UPDATE release SET status = ?3 WHERE app = ?1 AND number = ?2",     \
      true)                                                                                        \
    X(SQL_DELETE_RELEASE, "DELETE FROM release WHERE app = ?1 AND number = ?2", false)             \
    X(SQL_END_ROLLOUT,                                                                             \
      "UPDATE rollout SET ended_ms = ?2, result = ?3, reason_code = ?4, reason_text = ?5, "        \
      "requests_stable = ?6, requests_candidate = ?7, failed = ?8, judge_json = ?9 "               \
      "WHERE id = ?1",                                                                             \
      true)                                                                                        \
    X(SQL_DELETE_INSTANCE, "DELETE FROM instance WHERE id = ?1", false)                            \
    X(SQL_FORGET_TRAFFIC, "DELETE FROM traffic WHERE app = ?1 AND minute <= ?2", false)            \
    X(SQL_FORGET_VERDICTS, "DELETE FROM verdict WHERE app = ?1 AND rollout <> ?2", false)          \
    X(SQL_THIN_VERDICTS,                                                                           \
      "DELETE FROM verdict WHERE app = ?1 AND rollout = ?2 AND number % ?3 <> 0", false)           \
    X(SQL_PUT_META,                                                                                \
      "INSERT INTO meta (key, value) VALUES (?1, ?2) "                                             \
      "ON CONFLICT (key) DO UPDATE SET value = excluded.value",                                    \
      false)                                                                                       \
    X(SQL_PRUNE_EVENTS,                                                                            \
      "DELETE FROM event WHERE app = ?1 AND id <= (SELECT id FROM event WHERE app = ?1 "           \
      "ORDER BY id DESC LIMIT 1 OFFSET ?2)",                                                       \
      false)                                                                                       \
    X(SQL_PRUNE_ROLLOUTS,                                                                          \
      "DELETE FROM rollout WHERE app = ?1 AND ended_ms > 0 AND id <= (SELECT id FROM rollout "     \
      "WHERE app = ?1 AND ended_ms > 0 ORDER BY id DESC LIMIT 1 OFFSET ?2)",                       \
      false)                                                                                       \
    X(SQL_PRUNE_IDEMPOTENCY,                                                                       \
      "DELETE FROM idempotency WHERE rowid <= (SELECT rowid FROM idempotency "                     \
      "ORDER BY rowid DESC LIMIT 1 OFFSET ?1)",                                                    \
      false)
enum statement_id {
    SQL_BEFORE_FIRST = TABLES_COUNT - 1, /* ids 0..TABLES_COUNT-1: the put of that table */
#define X(name, sql, must_change) name,
    STATEMENTS(X)
#undef X
        STATEMENTS_COUNT
};

struct value {
    const char *text; /* NULL: the number */
    size_t text_len;
    int64_t number;
};
struct operation {
    struct operation *next;
    int statement;
    size_t values_len;
    struct value values[];
};
struct store_batch {
    struct store_batch *next;
    struct arena arena;
    struct operation *head, **tail;
    store_done_fn done;
    void *context;
    enum store_outcome outcome;
    struct error error;
};

/* ---- ballast.c
 * ------------------------------------------------------------------------------------ */

/* Makes the file unless it is there and whole, or the disk has less than four times its size free.
 */
bool ballast_make(const char *path, uint64_t bytes);
bool ballast_give_up(const char *path); /* true: there was one, and it is gone */

/* ---- the store
 * ------------------------------------------------------------------------------------ */

/* The writer thread's alone, once it runs. */
struct writer {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS_COUNT]; /* prepared when first needed */
    struct map added; /* app -> events and rollouts added since its last prune, as a number */
    bool ballast;
};

struct store {
    char *path, *ballast_path;
    uint64_t ballast_bytes;
    uint32_t events_per_app, rollouts_per_app, idempotency_kept;
    sqlite3 *reader;
    int event_fd;
    uint64_t last_event_id, last_rollout_id;
    size_t pending;
    struct writer writer;
    pthread_t thread;
    bool thread_runs;
    atomic_bool short_of_space;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work, finished;
    struct store_batch *queue, **queue_tail;
    struct store_batch *done, **done_tail;
    bool stop, maintain;
};

/* ---- writer.c: in the writer thread, and at the end
 * ------------------------------------------------ */

void writer_begin(struct store *store); /* before the first step */
/* Carries out what is queued, as far as one commit goes, or what store_maintain() asked for. False:
 * nothing was due. */
bool writer_step(struct store *store);
void writer_end(struct store *store); /* closes the statements, when there are no more steps */

/* ---- thread.c: who makes the steps. A simulator of the controller has its own.
 * --------------------- */

int thread_start(struct store *store, struct error *err);
void thread_wake(struct store *store); /* something is queued */
void thread_wait(struct store *store); /* until something that was queued is done */
void thread_stop(struct store *store); /* after what is queued; fine where none was started */

#endif
