#include "store/store.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* A larger file is not read whole at each start. */
enum { CHECKED_BYTES = 16 << 20 };

const char *release_status_word(enum release_status status)
{
    static const char *const words[] = {
#define X(name, word) [name] = word,
        RELEASE_STATUSES(X)
#undef X
    };
    _Static_assert(COUNT_OF(words) == RELEASE_STATUSES_COUNT, "every status has a word");
    ASSERT((unsigned)status < RELEASE_STATUSES_COUNT);
    return words[status];
}

char *store_app_key(const char *name, const char *environment, char *out, size_t size)
{
    int n = snprintf(out, size, "%s@%s", name, environment);
    ASSERT(n > 0 && (size_t)n < size);
    return out;
}

/* ---- opening
 * -------------------------------------------------------------------------------------- */

/* SQLite would make it readable for all (0644 less the umask); its -wal and -shm take the same
 * mode. */
static int make_private_file(const char *path, off_t *size, struct error *err)
{
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "cannot open the database %s for writing", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERROR_IO, "the database %s is not a file: move it away", path);
    *size = st.st_size;
    return 0;
}

static int connect_to(const char *path, int flags, sqlite3 **out, struct error *err)
{
    sqlite3 *db = NULL;
    int code =
        sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    *out = db; /* also on failure: it holds the error, and must be closed */
    if (code != SQLITE_OK)
        return schema_error(db, path, err);
    sqlite3_busy_timeout(db, STORE_BUSY_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (sqlite3_exec(db, "PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY", NULL, NULL,
                     NULL) != SQLITE_OK)
        return schema_error(db, path, err);
    return 0;
}

static int check_whole(sqlite3 *db, const char *path, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int status = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        schema_error(db, path, err);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
        error_set(err, ERROR_IO,
                  "%s is damaged (%s): stop sluice, restore the file from a backup or move it and "
                  "its -wal away, and start again",
                  path, (const char *)sqlite3_column_text(statement, 0));
    else
        status = 0;
    sqlite3_finalize(statement);
    return status;
}

static int set_up_writer(sqlite3 *db, const char *path, off_t size, struct error *err)
{
    int64_t version, pages;
    /* The first read: tells a file that is no database before anything is changed. */
    if (schema_number(db, path, "PRAGMA user_version", 0, &version, err) < 0 ||
        schema_number(db, path, "PRAGMA page_count", 0, &pages, err) < 0)
        return -1;
    if (size > 0 && pages == 0) /* SQLite takes what is shorter than a page for a new database */
        return error_set(
            err, ERROR_IO,
            "%s is damaged (cut off at %lld bytes): stop sluice, restore the file from "
            "a backup or move it and its -wal away, and start again",
            path, (long long)size);
    if (size <= CHECKED_BYTES && check_whole(db, path, err) < 0)
        return -1;
    if (sqlite3_exec(db,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 4194304",
                     NULL, NULL, NULL) != SQLITE_OK)
        return schema_error(db, path, err);
    return schema_migrate(db, path, schema_migrations(), err);
}

static int seed_ids(struct store *store, struct error *err)
{
    int64_t event = 0, rollout = 0;
    if (schema_number(store->reader, store->path,
                      "SELECT seq FROM sqlite_sequence WHERE name = 'event'", 0, &event, err) < 0 ||
        schema_number(store->reader, store->path,
                      "SELECT seq FROM sqlite_sequence WHERE name = 'rollout'", 0, &rollout,
                      err) < 0)
        return -1;
    store->last_event_id = (uint64_t)event;
    store->last_rollout_id = (uint64_t)rollout;
    return 0;
}

static int open_all(struct store *store, struct error *err)
{
    off_t size = 0;
    if (make_private_file(store->path, &size, err) < 0 ||
        connect_to(store->path, SQLITE_OPEN_READWRITE, &store->writer.db, err) < 0 ||
        set_up_writer(store->writer.db, store->path, size, err) < 0 ||
        connect_to(store->path, SQLITE_OPEN_READONLY, &store->reader, err) < 0 ||
        seed_ids(store, err) < 0)
        return -1;
    store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store->event_fd < 0)
        return error_errno(err, errno, "eventfd");
    return thread_start(store, err);
}

static void release(struct store *store)
{
    thread_stop(store);
    writer_end(store);
    sqlite3_close(store->reader);
    int code = sqlite3_close(store->writer.db); /* last: it takes the -wal with it */
    ASSERT(code == SQLITE_OK);
    if (store->event_fd >= 0)
        close(store->event_fd);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->work);
    pthread_cond_destroy(&store->finished);
    free(store->path);
    free(store->ballast_path);
    free(store);
}

struct store *store_open(const struct store_options *options, struct error *err)
{
    struct store *store = xcalloc(1, sizeof *store);
    store->path = xstrdup(options->path);
    store->ballast_path = xstrdup(options->ballast_path);
    store->ballast_bytes = options->ballast_bytes != 0 ? options->ballast_bytes : 4 << 20;
    store->events_per_app = options->events_per_app != 0 ? options->events_per_app : 10000;
    store->rollouts_per_app = options->rollouts_per_app != 0 ? options->rollouts_per_app : 1000;
    store->idempotency_kept = options->idempotency_kept != 0 ? options->idempotency_kept : 10000;
    store->event_fd = -1;
    store->queue_tail = &store->queue;
    store->done_tail = &store->done;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->work, NULL);
    pthread_cond_init(&store->finished, NULL);
    if (open_all(store, err) == 0)
        return store;
    release(store);
    return NULL;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_flush(store);
    release(store);
}

/* ---- submitting
 * ----------------------------------------------------------------------------------- */

void store_submit(struct store *store, struct store_batch *batch, store_done_fn done, void *context)
{
    ASSERT(batch != NULL && batch->next == NULL);
    batch->done = done;
    batch->context = context;
    store->pending++;
    pthread_mutex_lock(&store->lock);
    *store->queue_tail = batch;
    store->queue_tail = &batch->next;
    thread_wake(store);
    pthread_mutex_unlock(&store->lock);
}

int store_fd(const struct store *store)
{
    return store->event_fd;
}

void store_dispatch(struct store *store)
{
    uint64_t count;
    ssize_t got = read(store->event_fd, &count, sizeof count);
    (void)got; /* EAGAIN: called for nothing */
    pthread_mutex_lock(&store->lock);
    struct store_batch *batch = store->done;
    store->done = NULL;
    store->done_tail = &store->done;
    pthread_mutex_unlock(&store->lock);
    while (batch != NULL) {
        struct store_batch *next = batch->next;
        ASSERT(store->pending > 0);
        store->pending--;
        if (batch->done != NULL)
            batch->done(batch->context, batch->outcome, &batch->error);
        store_batch_free(batch);
        batch = next;
    }
}

void store_flush(struct store *store)
{
    while (store->pending > 0) {
        thread_wait(store);
        store_dispatch(store);
    }
}

size_t store_pending(const struct store *store)
{
    return store->pending;
}

void store_maintain(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->maintain = true;
    thread_wake(store);
    pthread_mutex_unlock(&store->lock);
}

bool store_short_of_space(const struct store *store)
{
    return atomic_load(&store->short_of_space);
}

uint64_t store_next_event_id(struct store *store)
{
    return ++store->last_event_id;
}

uint64_t store_last_event_id(const struct store *store)
{
    return store->last_event_id;
}

uint64_t store_next_rollout_id(struct store *store)
{
    return ++store->last_rollout_id;
}
