#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"
#include "store/store_internal.h"

#include <string.h>

/* What follows "SELECT columns FROM table", and its parameters. */
struct query {
    enum table_id table;
    const char *where;
    const char *text;        /* ?1; NULL: not bound */
    const char *second_text; /* ?2; NULL: the number */
    int64_t number;          /* ?2 */
    size_t limit;            /* ?3 */
};

struct rows {
    char *items;
    size_t len, cap;
};

static int prepare(struct store *store, const struct query *query, sqlite3_stmt **out)
{
    cleanup_buf struct buf sql = BUF_INIT;
    table_select_sql(table_of(query->table), &sql);
    buf_printf(&sql, " %s", query->where);
    int code = sqlite3_prepare_v2(store->reader, buf_str(&sql), -1, out, NULL);
    if (code != SQLITE_OK)
        return code;
    int parameters = sqlite3_bind_parameter_count(*out);
    if (parameters >= 1 && query->text != NULL)
        code = sqlite3_bind_text(*out, 1, query->text, -1, SQLITE_STATIC);
    if (parameters >= 2 && code == SQLITE_OK)
        code = query->second_text != NULL
                   ? sqlite3_bind_text(*out, 2, query->second_text, -1, SQLITE_STATIC)
                   : sqlite3_bind_int64(*out, 2, query->number);
    if (parameters >= 3 && code == SQLITE_OK)
        code = sqlite3_bind_int64(*out, 3,
                                  query->limit > INT32_MAX ? INT32_MAX : (int64_t)query->limit);
    return code;
}

static void *push_row(struct rows *rows, size_t row_size, struct arena *arena)
{
    if (rows->len == rows->cap) {
        size_t cap = rows->cap != 0 ? rows->cap * 2 : 16;
        char *items = arena_alloc(arena, cap * row_size);
        if (rows->len != 0)
            memcpy(items, rows->items, rows->len * row_size);
        rows->items = items;
        rows->cap = cap;
    }
    return rows->items + rows->len++ * row_size;
}

static int read_rows(struct store *store, const struct query *query, struct arena *arena,
                     struct rows *rows, struct error *err)
{
    const struct table *table = table_of(query->table);
    sqlite3_stmt *statement = NULL;
    int code = prepare(store, query, &statement);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
            table_read_row(table, statement, arena, push_row(rows, table->row_size, arena));
    }
    if (code != SQLITE_DONE)
        schema_error(store->reader, store->path, err);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? 0 : -1;
}

/* 1 one, 0 none. */
static int read_one(struct store *store, const struct query *query, struct arena *arena, void *row,
                    struct error *err)
{
    struct rows rows = {0};
    if (read_rows(store, query, arena, &rows, err) < 0)
        return -1;
    if (rows.len == 0)
        return 0;
    memcpy(row, rows.items, table_of(query->table)->row_size);
    return 1;
}

#define READ_INTO(out, query)                                                                      \
    do {                                                                                           \
        struct rows rows = {0};                                                                    \
        if (read_rows(store, &(query), arena, &rows, err) < 0)                                     \
            return -1;                                                                             \
        (out)->items = (void *)rows.items;                                                         \
        (out)->len = rows.len;                                                                     \
        return 0;                                                                                  \
    } while (0)

int store_read_apps(struct store *store, struct arena *arena, struct store_apps *out,
                    struct error *err)
{
    struct query query = {.table = TABLE_APP, .where = "ORDER BY app"};
    READ_INTO(out, query);
}

int store_read_releases(struct store *store, const char *app, struct arena *arena,
                        struct store_releases *out, struct error *err)
{
    struct query query = {.table = TABLE_RELEASE,
                          .where = app != NULL ? "WHERE app = ?1 ORDER BY number"
                                               : "ORDER BY app, number",
                          .text = app};
    READ_INTO(out, query);
}

int store_read_instances(struct store *store, const char *app, struct arena *arena,
                         struct store_instances *out, struct error *err)
{
    struct query query = {.table = TABLE_INSTANCE,
                          .where = app != NULL ? "WHERE app = ?1 ORDER BY id" : "ORDER BY app, id",
                          .text = app};
    READ_INTO(out, query);
}

int store_read_open_rollouts(struct store *store, struct arena *arena, struct store_rollouts *out,
                             struct error *err)
{
    struct query query = {.table = TABLE_ROLLOUT, .where = "WHERE ended_ms = 0 ORDER BY app, id"};
    READ_INTO(out, query);
}

int store_read_rollouts(struct store *store, const char *app, size_t limit, struct arena *arena,
                        struct store_rollouts *out, struct error *err)
{
    struct query query = {.table = TABLE_ROLLOUT,
                          .where = "WHERE app = ?1 AND id > ?2 ORDER BY id DESC LIMIT ?3",
                          .text = app,
                          .limit = limit};
    READ_INTO(out, query);
}

int store_read_events_after(struct store *store, const char *app, uint64_t after, size_t limit,
                            struct arena *arena, struct store_events *out, struct error *err)
{
    struct query query = {.table = TABLE_EVENT,
                          .where = app != NULL
                                       ? "WHERE app = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
                                       : "WHERE ?1 IS NULL AND id > ?2 ORDER BY id LIMIT ?3",
                          .text = app,
                          .number = after > INT64_MAX ? INT64_MAX : (int64_t)after,
                          .limit = limit};
    READ_INTO(out, query);
}

static int read_last(struct store *store, const struct query *query, struct arena *arena,
                     struct store_events *out, struct error *err)
{
    READ_INTO(out, *query);
}

int store_read_last_events(struct store *store, const char *app, size_t limit, struct arena *arena,
                           struct store_events *out, struct error *err)
{
    struct query query = {.table = TABLE_EVENT,
                          .where = app != NULL
                                       ? "WHERE app = ?1 AND id > ?2 ORDER BY id DESC LIMIT ?3"
                                       : "WHERE ?1 IS NULL AND id > ?2 ORDER BY id DESC LIMIT ?3",
                          .text = app,
                          .limit = limit};
    if (read_last(store, &query, arena, out, err) < 0)
        return -1;
    for (size_t i = 0; i < out->len / 2; i++) {
        struct store_event swapped = out->items[i];
        out->items[i] = out->items[out->len - 1 - i];
        out->items[out->len - 1 - i] = swapped;
    }
    return 0;
}

int store_read_release(struct store *store, const char *app, uint32_t number, struct arena *arena,
                       struct store_release *out, struct error *err)
{
    struct query query = {.table = TABLE_RELEASE,
                          .where = "WHERE app = ?1 AND number = ?2",
                          .text = app,
                          .number = number};
    return read_one(store, &query, arena, out, err);
}

int store_read_rollout(struct store *store, uint64_t id, struct arena *arena,
                       struct store_rollout *out, struct error *err)
{
    struct query query = {.table = TABLE_ROLLOUT,
                          .where = "WHERE ?1 IS NULL AND id = ?2",
                          .number = id > INT64_MAX ? INT64_MAX : (int64_t)id};
    return read_one(store, &query, arena, out, err);
}

int store_read_idempotency(struct store *store, const char *key, const char *app,
                           struct arena *arena, struct store_idempotency *out, struct error *err)
{
    struct query query = {.table = TABLE_IDEMPOTENCY,
                          .where = "WHERE key = ?1 AND app = ?2",
                          .text = key,
                          .second_text = app};
    return read_one(store, &query, arena, out, err);
}

int store_read_traffic(struct store *store, const char *app, int64_t from_minute,
                       struct arena *arena, struct store_traffics *out, struct error *err)
{
    struct query query = {.table = TABLE_TRAFFIC,
                          .where = "WHERE app = ?1 AND minute >= ?2 ORDER BY minute, release",
                          .text = app,
                          .number = from_minute};
    READ_INTO(out, query);
}

int store_read_verdicts(struct store *store, const char *app, uint64_t rollout, struct arena *arena,
                        struct store_verdicts *out, struct error *err)
{
    struct query query = {.table = TABLE_VERDICT,
                          .where = "WHERE app = ?1 AND rollout = ?2 ORDER BY number",
                          .text = app,
                          .number = rollout > INT64_MAX ? INT64_MAX : (int64_t)rollout};
    READ_INTO(out, query);
}

int store_read_meta(struct store *store, const char *key, struct arena *arena, const char **value,
                    struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int status = 0;
    int code = sqlite3_prepare_v2(store->reader, "SELECT value FROM meta WHERE key = ?1", -1,
                                  &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *value = arena_strdup(arena, (const char *)sqlite3_column_text(statement, 0));
        status = 1;
    } else if (code != SQLITE_DONE) {
        status = schema_error(store->reader, store->path, err);
    }
    sqlite3_finalize(statement);
    return status;
}

int store_read_meta_u64(struct store *store, const char *key, uint64_t *value, struct error *err)
{
    cleanup_arena struct arena arena = ARENA_INIT;
    const char *text;
    int found = store_read_meta(store, key, &arena, &text, err);
    if (found == 1 && parse_u64(text, UINT64_MAX, value) < 0)
        return error_set(err, ERROR_FAILED, "%s: the value of \"%s\" is no number", store->path,
                         key);
    return found;
}
