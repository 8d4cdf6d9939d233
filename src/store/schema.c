#include "base/vec.h"
#include "store/store_internal.h"

#include <errno.h>
#include <inttypes.h>

/* "slui": tells our file from other databases. */
#define APPLICATION_ID 0x736c7569

/* Never change a step that was released: add the next one. */
static const char *const steps[] = {
    "CREATE TABLE app ("
    " app TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, environment TEXT NOT NULL,"
    " state_json TEXT NOT NULL, extras_json TEXT NOT NULL, next_release INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL) STRICT;"

    "CREATE TABLE release ("
    " app TEXT NOT NULL REFERENCES app (app) ON DELETE CASCADE, number INTEGER NOT NULL,"
    " version TEXT NOT NULL, spec_json TEXT NOT NULL, digest TEXT NOT NULL,"
    " commit_hash TEXT NOT NULL, author TEXT NOT NULL, branch TEXT NOT NULL,"
    " dirty INTEGER NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL,"
    " status TEXT NOT NULL, dir TEXT NOT NULL, PRIMARY KEY (app, number)) STRICT;"

    "CREATE TABLE rollout ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " app TEXT NOT NULL REFERENCES app (app) ON DELETE CASCADE, kind TEXT NOT NULL,"
    " strategy TEXT NOT NULL, release INTEGER NOT NULL, from_release INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, result TEXT NOT NULL,"
    " reason_code TEXT NOT NULL, reason_text TEXT NOT NULL, actor TEXT NOT NULL,"
    " requests_stable INTEGER NOT NULL, requests_candidate INTEGER NOT NULL,"
    " failed INTEGER NOT NULL, judge_json TEXT NOT NULL) STRICT;"
    "CREATE INDEX rollout_of_app ON rollout (app, id);"
    "CREATE INDEX rollout_open ON rollout (id) WHERE ended_ms = 0;"

    "CREATE TABLE instance ("
    " id TEXT NOT NULL PRIMARY KEY,"
    " app TEXT NOT NULL REFERENCES app (app) ON DELETE CASCADE, pool INTEGER NOT NULL,"
    " process INTEGER NOT NULL, run INTEGER NOT NULL, port INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL, created_ms INTEGER NOT NULL, restarts INTEGER NOT NULL,"
    " flags INTEGER NOT NULL) STRICT;"
    "CREATE INDEX instance_of_app ON instance (app);"

    /* No reference to app: what happened outlives it. AUTOINCREMENT: an id is never used twice,
       or a client that resumes after its Last-Event-ID would miss events. */
    "CREATE TABLE event ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " kind TEXT NOT NULL, actor TEXT NOT NULL, text TEXT NOT NULL, json TEXT NOT NULL) STRICT;"
    "CREATE INDEX event_of_app ON event (app, id);"

    "CREATE TABLE idempotency ("
    " app TEXT NOT NULL, key TEXT NOT NULL, request_digest TEXT NOT NULL,"
    " response_json TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (app, key)) STRICT;"

    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT;",

    "ALTER TABLE release ADD COLUMN bytes INTEGER NOT NULL DEFAULT -1;",

    "CREATE TABLE traffic ("
    " app TEXT NOT NULL REFERENCES app (app) ON DELETE CASCADE, minute INTEGER NOT NULL,"
    " release INTEGER NOT NULL, candidate INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " errors INTEGER NOT NULL, latency TEXT NOT NULL,"
    " PRIMARY KEY (app, minute, release)) WITHOUT ROWID, STRICT;",

    "CREATE TABLE verdict ("
    " app TEXT NOT NULL REFERENCES app (app) ON DELETE CASCADE, rollout INTEGER NOT NULL,"
    " number INTEGER NOT NULL, at_ms INTEGER NOT NULL, weight_ppm INTEGER NOT NULL,"
    " candidate_requests INTEGER NOT NULL, candidate_errors INTEGER NOT NULL,"
    " stable_requests INTEGER NOT NULL, stable_errors INTEGER NOT NULL,"
    " worse_milli INTEGER NOT NULL, fine_milli INTEGER NOT NULL, judgement TEXT NOT NULL,"
    " PRIMARY KEY (app, rollout, number)) WITHOUT ROWID, STRICT;",

    /* A release is forgotten before the rollout that made it. */
    "ALTER TABLE rollout ADD COLUMN version TEXT NOT NULL DEFAULT '';"
    "UPDATE rollout SET version = coalesce((SELECT version FROM release"
    " WHERE release.app = rollout.app AND release.number = rollout.release), '');",
};

struct migrations schema_migrations(void)
{
    return (struct migrations){steps, COUNT_OF(steps)};
}

int schema_error(sqlite3 *db, const char *path, struct error *err)
{
    int code = db != NULL ? sqlite3_errcode(db) & 0xff : SQLITE_NOMEM;
    const char *says = db != NULL ? sqlite3_errmsg(db) : "out of memory";
    int system = db != NULL ? sqlite3_system_errno(db) : ENOMEM;
    switch (code) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, ERROR_IO,
                         "%s is damaged (%s): stop sluice, restore the file from a backup or move "
                         "it and its -wal away, and start again",
                         path, says);
    case SQLITE_FULL:
        return error_set(err, ERROR_IO, "%s: no space left on the device: free some space", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, ERROR_UNAVAILABLE, "%s is locked by another program: end that", path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return error_set(err, ERROR_IO,
                         "%s: %s: the file and its folder must be writable for the user of sluice",
                         path, says);
    default: break;
    }
    if (code == SQLITE_IOERR && system != 0)
        return error_errno(err, system, "%s: %s", path, says);
    return error_set(err, ERROR_IO, "%s: %s", path, says);
}

int schema_number(sqlite3 *db, const char *path, const char *sql, int64_t fallback, int64_t *value,
                  struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    int status = 0;
    if (code == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else if (code == SQLITE_DONE)
        *value = fallback;
    else
        status = schema_error(db, path, err);
    sqlite3_finalize(statement);
    return status;
}

static int execute(sqlite3 *db, const char *path, const char *sql, struct error *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return schema_error(db, path, err);
    return 0;
}

static int migrate_step(sqlite3 *db, const char *path, const char *sql, int to, struct error *err)
{
    char version[64];
    sqlite3_snprintf((int)sizeof version, version,
                     "PRAGMA user_version = %d; PRAGMA application_id = %d", to, APPLICATION_ID);
    if (execute(db, path, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    if (execute(db, path, sql, err) < 0 || execute(db, path, version, err) < 0 ||
        execute(db, path, "COMMIT", err) < 0) {
        if (!sqlite3_get_autocommit(db))
            sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return error_wrap(err, "bring the database to schema %d", to);
    }
    return 0;
}

int schema_migrate(sqlite3 *db, const char *path, struct migrations migrations, struct error *err)
{
    int64_t version = 0, application = 0, tables = 0;
    if (schema_number(db, path, "PRAGMA user_version", 0, &version, err) < 0 ||
        schema_number(db, path, "PRAGMA application_id", 0, &application, err) < 0 ||
        schema_number(db, path, "SELECT count(*) FROM sqlite_schema", 0, &tables, err) < 0)
        return -1;
    if (application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0))
        return error_set(err, ERROR_IO,
                         "%s is a database of another program: choose another data folder", path);
    if (version < 0 || version > migrations.len)
        return error_set(err, ERROR_IO,
                         "%s was written by a newer sluice (schema %" PRId64
                         ", this one knows up to %d): start that version again, or restore a "
                         "backup from before it",
                         path, version, migrations.len);
    for (int at = (int)version; at < migrations.len; at++)
        if (migrate_step(db, path, migrations.steps[at], at + 1, err) < 0)
            return -1;
    return 0;
}
