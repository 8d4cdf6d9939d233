/* What the writer does, a step at a time. Several batches share a commit (one fsync) when they
 * wait; each is a savepoint of its own, so that one that breaks a constraint takes no other with
 * it. */
#include "base/log.h"
#include "base/vec.h"
#include "store/store_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What a step of a group came to. */
enum step_result {
    STEP_OK,
    STEP_BATCH_WRONG, /* this batch's own fault: the others go on */
    STEP_NO_SPACE,
    STEP_BROKEN /* the database or the disk: nothing of the group is stored */
};

static enum step_result classify(sqlite3 *db, int code)
{
    int system = sqlite3_system_errno(db);
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW: return STEP_OK;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: return STEP_BATCH_WRONG;
    case SQLITE_FULL: return STEP_NO_SPACE;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return system == ENOSPC || system == EDQUOT ? STEP_NO_SPACE : STEP_BROKEN;
    default: return STEP_BROKEN;
    }
}

static const char *statement_sql(int id, struct buf *sql)
{
    static const char *const texts[] = {
#define X(name, text, must_change) [name] = text,
        STATEMENTS(X)
#undef X
    };
    if (id >= TABLES_COUNT)
        return texts[id];
    table_put_sql(table_of((enum table_id)id), sql);
    return buf_str(sql);
}

static bool statement_must_change(int id)
{
    static const bool must[] = {
#define X(name, text, must_change) [name] = must_change,
        STATEMENTS(X)
#undef X
    };
    return id >= TABLES_COUNT && must[id];
}

static enum step_result execute(struct store *store, const char *sql, struct error *err)
{
    sqlite3 *db = store->writer.db;
    enum step_result result = classify(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
    if (result != STEP_OK)
        schema_error(db, store->path, err);
    return result;
}

static enum step_result prepared(struct store *store, int id, sqlite3_stmt **out, struct error *err)
{
    struct writer *w = &store->writer;
    if (w->statements[id] == NULL) {
        cleanup_buf struct buf sql = BUF_INIT;
        int code = sqlite3_prepare_v3(w->db, statement_sql(id, &sql), -1, SQLITE_PREPARE_PERSISTENT,
                                      &w->statements[id], NULL);
        if (code != SQLITE_OK) {
            schema_error(w->db, store->path, err);
            return classify(w->db, code);
        }
    }
    *out = w->statements[id];
    return STEP_OK;
}

static int bind(sqlite3_stmt *statement, const struct value *values, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const struct value *v = &values[i];
        int code = v->text != NULL ? sqlite3_bind_text64(statement, (int)i + 1, v->text,
                                                         v->text_len, SQLITE_STATIC, SQLITE_UTF8)
                                   : sqlite3_bind_int64(statement, (int)i + 1, v->number);
        if (code != SQLITE_OK)
            return code;
    }
    return SQLITE_OK;
}

static enum step_result run(struct store *store, int id, const struct value *values, size_t len,
                            struct error *err)
{
    sqlite3 *db = store->writer.db;
    sqlite3_stmt *statement = NULL;
    enum step_result result = prepared(store, id, &statement, err);
    if (result != STEP_OK)
        return result;
    int code = bind(statement, values, len);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    result = classify(db, code);
    if (result != STEP_OK) {
        schema_error(db, store->path, err);
    } else if (statement_must_change(id) && sqlite3_changes(db) == 0) {
        error_set(err, ERROR_NOT_FOUND, "%s: no row to change in \"%s\"", store->path,
                  sqlite3_sql(statement));
        result = STEP_BATCH_WRONG;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

static void roll_back(struct store *store)
{
    if (!sqlite3_get_autocommit(store->writer.db)) /* some errors roll back by themselves */
        sqlite3_exec(store->writer.db, "ROLLBACK", NULL, NULL, NULL);
}

static enum step_result run_batch(struct store *store, struct store_batch *batch)
{
    batch->outcome = STORE_OK;
    batch->error = (struct error)ERROR_INIT;
    enum step_result result = execute(store, "SAVEPOINT batch", &batch->error);
    for (struct operation *op = batch->head; op != NULL && result == STEP_OK; op = op->next)
        result = run(store, op->statement, op->values, op->values_len, &batch->error);
    if (result == STEP_BATCH_WRONG) {
        batch->outcome = STORE_FAILED;
        result = execute(store, "ROLLBACK TO batch", NULL);
    }
    if (result == STEP_OK)
        result = execute(store, "RELEASE batch", NULL);
    return result;
}

static enum step_result try_group(struct store *store, struct store_batch *group, struct error *err)
{
    enum step_result result = execute(store, "BEGIN IMMEDIATE", err);
    for (struct store_batch *b = group; b != NULL && result == STEP_OK; b = b->next) {
        result = run_batch(store, b);
        if (result != STEP_OK)
            *err = b->error;
    }
    if (result == STEP_OK)
        result = execute(store, "COMMIT", err);
    if (result != STEP_OK)
        roll_back(store);
    return result;
}

static void run_group(struct store *store, struct store_batch *group)
{
    struct error error = ERROR_INIT;
    enum step_result result = try_group(store, group, &error);
    if (result == STEP_NO_SPACE && store->ballast_path != NULL &&
        ballast_give_up(store->ballast_path)) {
        log_warn("the disk of %s is full: the ballast is given up", store->path);
        store->writer.ballast = false;
        error = (struct error)ERROR_INIT;
        result = try_group(store, group, &error);
    }
    bool ballast_gone = store->ballast_path != NULL && !store->writer.ballast;
    atomic_store(&store->short_of_space, result == STEP_NO_SPACE || ballast_gone);
    if (result == STEP_OK)
        return;
    for (struct store_batch *b = group; b != NULL; b = b->next) {
        b->outcome = result == STEP_NO_SPACE ? STORE_NO_SPACE : STORE_FAILED;
        b->error = error;
    }
}

/* ---- pruning: deletes in transactions of its own; a failure only means that rows stay longer
 * ------- */

static void prune_app(struct store *store, const char *app)
{
    struct value of_events[] = {{app, strlen(app), 0}, {NULL, 0, store->events_per_app}};
    struct value of_rollouts[] = {{app, strlen(app), 0}, {NULL, 0, store->rollouts_per_app}};
    run(store, SQL_PRUNE_EVENTS, of_events, 2, NULL);
    run(store, SQL_PRUNE_ROLLOUTS, of_rollouts, 2, NULL);
}

static void count_added(struct store *store, const struct store_batch *batch)
{
    for (const struct operation *op = batch->head; op != NULL; op = op->next) {
        if (op->statement != TABLE_EVENT) /* the end of a rollout is told by one, too */
            continue;
        const char *app = op->values[1].text;
        uintptr_t added = (uintptr_t)map_get(&store->writer.added, app) + 1;
        if (added > store->events_per_app / 16) {
            prune_app(store, app);
            added = 0;
        }
        if (added == 0)
            map_remove(&store->writer.added, app);
        else
            map_put(&store->writer.added, app, (void *)added);
    }
}

/* Every app that has events, also deleted ones, and the server's own (""). */
static void prune_all(struct store *store)
{
    sqlite3_stmt *statement = NULL;
    struct arena arena = ARENA_INIT;
    struct {
        char **items;
        size_t len, cap;
    } apps = {0};
    if (sqlite3_prepare_v2(store->writer.db,
                           "SELECT DISTINCT app FROM event UNION SELECT app FROM app", -1,
                           &statement, NULL) == SQLITE_OK)
        while (sqlite3_step(statement) == SQLITE_ROW)
            *vec_push(&apps) =
                arena_strdup(&arena, (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    for (size_t i = 0; i < apps.len; i++)
        prune_app(store, apps.items[i]);
    struct value kept = {NULL, 0, store->idempotency_kept};
    run(store, SQL_PRUNE_IDEMPOTENCY, &kept, 1, NULL);
    vec_release(&apps);
    arena_release(&arena);
}

static void make_ballast(struct store *store)
{
    if (store->ballast_path == NULL)
        return;
    store->writer.ballast = ballast_make(store->ballast_path, store->ballast_bytes);
    atomic_store(&store->short_of_space, !store->writer.ballast);
}

/* ---- a step
 * --------------------------------------------------------------------------------------- */

/* Takes up to STORE_BATCHES_PER_COMMIT from the queue; NULL: none there. Called with the lock held.
 */
static struct store_batch *take_group(struct store *store)
{
    struct store_batch *group = store->queue, *last = group;
    if (group == NULL)
        return NULL;
    for (int n = 1; n < STORE_BATCHES_PER_COMMIT && last->next != NULL; n++)
        last = last->next;
    store->queue = last->next;
    if (store->queue == NULL)
        store->queue_tail = &store->queue;
    last->next = NULL;
    return group;
}

static void give_back(struct store *store, struct store_batch *group)
{
    pthread_mutex_lock(&store->lock);
    *store->done_tail = group;
    while (*store->done_tail != NULL)
        store->done_tail = &(*store->done_tail)->next;
    pthread_cond_signal(&store->finished);
    pthread_mutex_unlock(&store->lock);
    uint64_t one = 1;
    ssize_t written = write(store->event_fd, &one, sizeof one);
    (void)written; /* EAGAIN: it is readable already */
}

void writer_begin(struct store *store)
{
    make_ballast(store);
}

bool writer_step(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    struct store_batch *group = take_group(store);
    bool maintain = group == NULL && store->maintain;
    if (maintain)
        store->maintain = false;
    pthread_mutex_unlock(&store->lock);
    if (maintain) {
        prune_all(store);
        make_ballast(store);
    } else if (group != NULL) {
        run_group(store, group);
        for (struct store_batch *b = group; b != NULL; b = b->next)
            if (b->outcome == STORE_OK)
                count_added(store, b);
        give_back(store, group);
    }
    return group != NULL || maintain;
}

void writer_end(struct store *store)
{
    for (size_t i = 0; i < STATEMENTS_COUNT; i++)
        sqlite3_finalize(store->writer.statements[i]);
    map_release(&store->writer.added);
}
