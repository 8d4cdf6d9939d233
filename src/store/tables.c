#include "base/assert.h"
#include "base/vec.h"
#include "store/store_internal.h"

#include <string.h>

#define FIELD(row, member, type)                                                                   \
    {                                                                                              \
#member, type, offsetof(struct row, member)                                                \
    }

static const struct column app_columns[] = {
    FIELD(store_app, app, COLUMN_TEXT),         FIELD(store_app, name, COLUMN_TEXT),
    FIELD(store_app, environment, COLUMN_TEXT), FIELD(store_app, state_json, COLUMN_TEXT),
    FIELD(store_app, extras_json, COLUMN_TEXT), FIELD(store_app, next_release, COLUMN_U32),
    FIELD(store_app, created_ms, COLUMN_I64),
};

static const struct column release_columns[] = {
    FIELD(store_release, app, COLUMN_TEXT),
    FIELD(store_release, number, COLUMN_U32),
    FIELD(store_release, version, COLUMN_TEXT),
    FIELD(store_release, spec_json, COLUMN_TEXT),
    FIELD(store_release, digest, COLUMN_TEXT),
    {"commit_hash", COLUMN_TEXT, offsetof(struct store_release, commit)}, /* COMMIT is a keyword */
    FIELD(store_release, author, COLUMN_TEXT),
    FIELD(store_release, branch, COLUMN_TEXT),
    FIELD(store_release, dirty, COLUMN_BOOL),
    FIELD(store_release, created_ms, COLUMN_I64),
    FIELD(store_release, created_by, COLUMN_TEXT),
    FIELD(store_release, status, COLUMN_STATUS),
    FIELD(store_release, dir, COLUMN_TEXT),
    FIELD(store_release, bytes, COLUMN_I64),
};

static const struct column rollout_columns[] = {
    FIELD(store_rollout, id, COLUMN_U64),
    FIELD(store_rollout, app, COLUMN_TEXT),
    FIELD(store_rollout, kind, COLUMN_TEXT),
    FIELD(store_rollout, strategy, COLUMN_TEXT),
    FIELD(store_rollout, release, COLUMN_U32),
    FIELD(store_rollout, from_release, COLUMN_U32),
    FIELD(store_rollout, version, COLUMN_TEXT),
    FIELD(store_rollout, started_ms, COLUMN_I64),
    FIELD(store_rollout, ended_ms, COLUMN_I64),
    FIELD(store_rollout, result, COLUMN_TEXT),
    FIELD(store_rollout, reason_code, COLUMN_TEXT),
    FIELD(store_rollout, reason_text, COLUMN_TEXT),
    FIELD(store_rollout, actor, COLUMN_TEXT),
    FIELD(store_rollout, requests_stable, COLUMN_U64),
    FIELD(store_rollout, requests_candidate, COLUMN_U64),
    FIELD(store_rollout, failed, COLUMN_U64),
    FIELD(store_rollout, judge_json, COLUMN_TEXT),
};

static const struct column instance_columns[] = {
    FIELD(store_instance, id, COLUMN_TEXT),      FIELD(store_instance, app, COLUMN_TEXT),
    FIELD(store_instance, pool, COLUMN_U32),     FIELD(store_instance, process, COLUMN_U32),
    FIELD(store_instance, run, COLUMN_U32),      FIELD(store_instance, port, COLUMN_U32),
    FIELD(store_instance, boot_id, COLUMN_TEXT), FIELD(store_instance, created_ms, COLUMN_I64),
    FIELD(store_instance, restarts, COLUMN_U32), FIELD(store_instance, flags, COLUMN_U32),
};

static const struct column event_columns[] = {
    FIELD(store_event, id, COLUMN_U64),     FIELD(store_event, app, COLUMN_TEXT),
    FIELD(store_event, at_ms, COLUMN_I64),  FIELD(store_event, kind, COLUMN_TEXT),
    FIELD(store_event, actor, COLUMN_TEXT), FIELD(store_event, text, COLUMN_TEXT),
    FIELD(store_event, json, COLUMN_TEXT),
};

static const struct column idempotency_columns[] = {
    FIELD(store_idempotency, app, COLUMN_TEXT),
    FIELD(store_idempotency, key, COLUMN_TEXT),
    FIELD(store_idempotency, request_digest, COLUMN_TEXT),
    FIELD(store_idempotency, response_json, COLUMN_TEXT),
    FIELD(store_idempotency, at_ms, COLUMN_I64),
};

static const struct column traffic_columns[] = {
    FIELD(store_traffic, app, COLUMN_TEXT),     FIELD(store_traffic, minute, COLUMN_I64),
    FIELD(store_traffic, release, COLUMN_U32),  FIELD(store_traffic, candidate, COLUMN_BOOL),
    FIELD(store_traffic, requests, COLUMN_U64), FIELD(store_traffic, errors, COLUMN_U64),
    FIELD(store_traffic, latency, COLUMN_TEXT),
};

static const struct column verdict_columns[] = {
    FIELD(store_verdict, app, COLUMN_TEXT),
    FIELD(store_verdict, rollout, COLUMN_U64),
    FIELD(store_verdict, number, COLUMN_U32),
    FIELD(store_verdict, at_ms, COLUMN_I64),
    FIELD(store_verdict, weight_ppm, COLUMN_U32),
    FIELD(store_verdict, candidate_requests, COLUMN_U64),
    FIELD(store_verdict, candidate_errors, COLUMN_U64),
    FIELD(store_verdict, stable_requests, COLUMN_U64),
    FIELD(store_verdict, stable_errors, COLUMN_U64),
    FIELD(store_verdict, worse_milli, COLUMN_I64),
    FIELD(store_verdict, fine_milli, COLUMN_I64),
    FIELD(store_verdict, judgement, COLUMN_TEXT),
};

#define TABLE(name, key, columns, row)                                                             \
    {                                                                                              \
        name, key, columns, COUNT_OF(columns), sizeof(struct row)                                  \
    }

static const struct table tables[] = {
    [TABLE_APP] = TABLE("app", "app", app_columns, store_app),
    [TABLE_RELEASE] = TABLE("release", "app, number", release_columns, store_release),
    [TABLE_ROLLOUT] = TABLE("rollout", "id", rollout_columns, store_rollout),
    [TABLE_INSTANCE] = TABLE("instance", "id", instance_columns, store_instance),
    [TABLE_EVENT] = TABLE("event", "id", event_columns, store_event),
    [TABLE_IDEMPOTENCY] = TABLE("idempotency", "app, key", idempotency_columns, store_idempotency),
    [TABLE_TRAFFIC] = TABLE("traffic", "app, minute, release", traffic_columns, store_traffic),
    [TABLE_VERDICT] = TABLE("verdict", "app, rollout, number", verdict_columns, store_verdict),
};
_Static_assert(COUNT_OF(tables) == TABLES_COUNT, "every table is described");

const struct table *table_of(enum table_id id)
{
    ASSERT(id < TABLES_COUNT);
    return &tables[id];
}

static void column_list(const struct table *table, struct buf *out, const char *format)
{
    for (size_t i = 0; i < table->columns_len; i++) {
        buf_puts(out, i == 0 ? "" : ", ");
        buf_printf(out, format, table->columns[i].name, table->columns[i].name);
    }
}

void table_select_sql(const struct table *table, struct buf *out)
{
    buf_puts(out, "SELECT ");
    column_list(table, out, "%s");
    buf_printf(out, " FROM %s", table->name);
}

void table_put_sql(const struct table *table, struct buf *out)
{
    buf_printf(out, "INSERT INTO %s (", table->name);
    column_list(table, out, "%s");
    buf_puts(out, ") VALUES (");
    for (size_t i = 0; i < table->columns_len; i++)
        buf_printf(out, "%s?%zu", i == 0 ? "" : ", ", i + 1);
    /* Not INSERT OR REPLACE: that deletes the old row first, and with it what refers to it. */
    buf_printf(out, ") ON CONFLICT (%s) DO UPDATE SET ", table->key);
    column_list(table, out, "%s = excluded.%s");
}

void table_read_row(const struct table *table, sqlite3_stmt *statement, struct arena *arena,
                    void *row)
{
    memset(row, 0, table->row_size);
    for (size_t i = 0; i < table->columns_len; i++) {
        void *member = (char *)row + table->columns[i].offset;
        int at = (int)i;
        int64_t number = sqlite3_column_int64(statement, at);
        switch (table->columns[i].type) {
        case COLUMN_TEXT: {
            const char *text = (const char *)sqlite3_column_text(statement, at);
            *(const char **)member = arena_strdup(arena, text != NULL ? text : "");
            break;
        }
        case COLUMN_I64: *(int64_t *)member = number; break;
        case COLUMN_U64: *(uint64_t *)member = number < 0 ? 0 : (uint64_t)number; break;
        case COLUMN_U32: *(uint32_t *)member = number < 0 ? 0 : (uint32_t)number; break;
        case COLUMN_BOOL: *(bool *)member = number != 0; break;
        case COLUMN_STATUS:
            /* A word that this version does not know: not to be run, so as good as failed. */
            *(enum release_status *)member = RELEASE_FAILED;
            for (int s = 0; s < RELEASE_STATUSES_COUNT; s++)
                if (strcmp(release_status_word((enum release_status)s),
                           (const char *)sqlite3_column_text(statement, at)) == 0)
                    *(enum release_status *)member = (enum release_status)s;
            break;
        }
    }
}
