#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static void expect_refused(const struct folder *f, const char *word, const char *advice)
{
    struct error err = ERROR_INIT;
    assert_null(store_open(&(struct store_options){.path = f->db}, &err));
    if (strstr(err.text, f->db) == NULL || strstr(err.text, word) == NULL ||
        strstr(err.text, advice) == NULL)
        fail_msg("\"%s\" does not say \"%s\", \"%s\" and the file", err.text, word, advice);
}

static void overwrite(const char *path, off_t at, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
    close(fd);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void fill(const struct folder *f, int apps)
{
    struct store *store = open_in(f);
    struct store_batch *batch = store_batch_new(store);
    for (int i = 0; i < apps; i++) {
        char name[24];
        snprintf(name, sizeof name, "app-%d", i);
        put_app(batch, name);
    }
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    store_close(store);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    char junk[8192];
    memset(junk, 'x', sizeof junk);
    overwrite(f.db, 0, junk, sizeof junk);
    expect_refused(&f, "damaged", "move it");
    struct stat st; /* nothing was done to it */
    assert_int_equal(stat(f.db, &st), 0);
    assert_int_equal(st.st_size, sizeof junk);
    folder_remove(&f);
}

/* SQLite itself takes what is shorter than a page for a new database, and all was forgotten. */
static void a_stump_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    char stump[1500];
    memset(stump, 0, sizeof stump);
    memcpy(stump, "SQLite format 3", 16);
    overwrite(f.db, 0, stump, sizeof stump);
    expect_refused(&f, "damaged", "move it");
    folder_remove(&f);
}

static void a_damaged_database_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    fill(&f, 2000);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    struct stat st;
    assert_int_equal(stat(f.db, &st), 0);
    assert_true(st.st_size > (off_t)(20 * sizeof junk));
    for (off_t at = 16 * 4096; at + 4096 <= st.st_size; at += 4 * 4096)
        overwrite(f.db, at, junk, sizeof junk);
    expect_refused(&f, "damaged", "backup");
    assert_int_equal(truncate(f.db, 3 * 4096 + 100), 0);
    expect_refused(&f, "damaged", "backup");
    folder_remove(&f);
}

static void damage_that_comes_later_is_an_error_not_an_end(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    fill(&f, 2000);
    struct store *store = open_in(&f);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    struct stat st;
    assert_int_equal(stat(f.db, &st), 0);
    for (off_t at = 4096; at + 4096 <= st.st_size; at += 4096)
        overwrite(f.db, at, junk, sizeof junk);
    struct error err = ERROR_INIT;
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_apps apps;
    assert_int_equal(store_read_apps(store, &arena, &apps, &err), -1);
    assert_non_null(strstr(err.text, "damaged"));
    /* The writer may have the pages in its memory still: no matter how it ends, it ends. */
    struct store_batch *batch = store_batch_new(store);
    put_app(batch, "zzz");
    submit_wait(store, batch, &err);
    store_close(store);
    folder_remove(&f);
}

static void another_programs_database_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    sql(f.db, "CREATE TABLE theirs (a)");
    expect_refused(&f, "another program", "another data folder");
    folder_remove(&f);
    folder_make(&f);
    sql(f.db, "PRAGMA application_id = 5; PRAGMA user_version = 3");
    expect_refused(&f, "another program", "another data folder");
    folder_remove(&f);
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    (void)state;
    struct folder f;
    char back[64];
    folder_make(&f);
    fill(&f, 1);
    sql(f.db, "PRAGMA user_version = 99");
    expect_refused(&f, "newer sluice", "backup");
    snprintf(back, sizeof back, "PRAGMA user_version = %d", schema_migrations().len);
    sql(f.db, back);
    store_close(open_in(&f));
    folder_remove(&f);
}

static void what_cannot_be_opened_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_init(&f, "/tmp/sluice-store-none");
    expect_refused(&f, "cannot open", "No such file");
    folder_make(&f);
    assert_int_equal(mkdir(f.db, 0700), 0);
    expect_refused(&f, "", "");
    folder_remove(&f);
}

/* As an ordinary user in a child: root may write everything. */
static void a_file_that_is_read_only_is_refused(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    fill(&f, 1);
    assert_int_equal(chmod(f.db, 0444), 0);
    assert_int_equal(chmod(f.path, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (getuid() == 0 && setuid(65534) < 0)
            _exit(3);
        struct error err = ERROR_INIT;
        struct store *store = store_open(&(struct store_options){.path = f.db}, &err);
        _exit(store == NULL && strstr(err.text, f.db) != NULL &&
                      strstr(err.text, "Permission denied") != NULL
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    folder_remove(&f);
}

static void the_file_is_private(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    mode_t before = umask(0);
    struct store *store = open_in(&f);
    umask(before);
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", f.db);
    struct stat st;
    assert_int_equal(stat(f.db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_close(store);
    folder_remove(&f);
}

/* ---- killed in the middle
 * ------------------------------------------------------------------------- */

static void acknowledge(void *context, enum store_outcome outcome, const struct error *err)
{
    (void)err;
    char c = outcome == STORE_OK ? 'k' : 'x';
    if (write(*(int *)context, &c, 1) != 1)
        _exit(9);
}

_Noreturn static void write_until_killed(const struct folder *f, int pipe_fd)
{
    struct store *store = store_open(&(struct store_options){.path = f->db}, NULL);
    if (store == NULL)
        _exit(8);
    for (uint32_t n = 1;; n++) {
        struct store_batch *batch = store_batch_new(store);
        if (n == 1)
            put_app(batch, "shop");
        /* Three rows that only make sense together. */
        batch_put_release(batch, &(struct store_release){.app = "shop@production", .number = n});
        batch_put_meta_u64(batch, "last", n);
        add_event(store, batch, "shop@production", "x");
        store_submit(store, batch, acknowledge, &pipe_fd);
        if (store_pending(store) > 8)
            store_flush(store);
        else
            store_dispatch(store);
    }
}

static void killed_at_any_moment_the_database_is_whole_and_has_what_was_acknowledged(void **state)
{
    (void)state;
    unsigned seed = 20;
    struct folder f;
    folder_make(&f);
    for (int round = 0; round < 12; round++) {
        folder_remove(&f);
        folder_make(&f);
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            write_until_killed(&f, fds[1]);
        }
        close(fds[1]);
        uint32_t acknowledged = 0, enough = 1 + (uint32_t)rand_r(&seed) % 60;
        char c;
        while (acknowledged < enough && read(fds[0], &c, 1) == 1)
            acknowledged += c == 'k';
        usleep((useconds_t)(rand_r(&seed) % 3000)); /* chooses the moment, waits for nothing */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(fds[0], &c, 1) == 1)
            acknowledged += c == 'k';
        close(fds[0]);
        assert_true(acknowledged >= enough);

        struct store *store = open_in(&f);
        cleanup_arena struct arena arena = ARENA_INIT;
        struct store_releases releases;
        struct store_events events;
        uint64_t last = 0;
        assert_int_equal(store_read_releases(store, NULL, &arena, &releases, NULL), 0);
        assert_int_equal(store_read_events_after(store, NULL, 0, 99999, &arena, &events, NULL), 0);
        assert_int_equal(store_read_meta_u64(store, "last", &last, NULL), 1);
        assert_true(releases.len >= acknowledged);
        assert_int_equal(releases.len, last);
        assert_int_equal(events.len, last);
        assert_int_equal(store_next_event_id(store), last + 1);
        store_close(store);
    }
    folder_remove(&f);
}

/* ---- a full disk
 * ---------------------------------------------------------------------------------- */

static bool write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

/* A small tmpfs of this process alone, at /tmp/sluice-store-XXXXXX. */
static bool mount_small(const char *path, const char *options)
{
    uid_t uid = getuid();
    char map[32], groups[32];
    snprintf(map, sizeof map, "0 %d 1", (int)uid);
    snprintf(groups, sizeof groups, "0 %d 1", (int)getgid());
    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0 ||
        (uid != 0 &&
         (!write_map("/proc/self/setgroups", "deny") || !write_map("/proc/self/uid_map", map) ||
          !write_map("/proc/self/gid_map", groups))))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", 0, options) == 0;
}

#define REQUIRE(e)                                                                                 \
    do {                                                                                           \
        if (!(e)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #e);                                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void hog(const char *path, bool leave_nothing)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    REQUIRE(fd >= 0);
    static char block[65536];
    for (size_t size = sizeof block; size >= (leave_nothing ? 1 : sizeof block); size /= 2)
        while (write(fd, block, size) == (ssize_t)size)
            ;
    close(fd);
}

static enum store_outcome write_event(struct store *store, size_t len, struct error *err)
{
    char *text = xmalloc(len + 1);
    memset(text, 'e', len);
    text[len] = '\0';
    struct store_batch *batch = store_batch_new(store);
    add_event(store, batch, "shop@production", text);
    free(text);
    struct outcome o = {0};
    store_submit(store, batch, note_outcome, &o);
    store_flush(store);
    REQUIRE(o.calls == 1);
    *err = o.error;
    return o.outcome;
}

static size_t count_events(struct store *store)
{
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_events events;
    REQUIRE(store_read_events_after(store, NULL, 0, 1 << 20, &arena, &events, NULL) == 0);
    return events.len;
}

static void full_disk_in_child(const struct folder *f)
{
    char hog_path[128];
    snprintf(hog_path, sizeof hog_path, "%s/hog", f->path);
    struct store_options options = {
        .path = f->db, .ballast_path = f->ballast, .ballast_bytes = 1 << 20};
    struct error err = ERROR_INIT;
    struct store *store = store_open(&options, &err);
    REQUIRE(store != NULL);
    REQUIRE(write_event(store, 10, &err) == STORE_OK); /* also: the ballast is made by now */
    REQUIRE(!store_short_of_space(store));
    struct stat st;
    REQUIRE(stat(f->ballast, &st) == 0 && st.st_blocks * 512 >= 1 << 20);

    hog(hog_path, true);
    size_t stored = 1;
    /* The ballast carries the next writes. */
    while (write_event(store, 8000, &err) == STORE_OK) {
        stored++;
        REQUIRE(stored < 100000);
    }
    REQUIRE(stored > 20);
    REQUIRE(stat(f->ballast, &st) < 0 && errno == ENOENT);
    REQUIRE(store_short_of_space(store));
    REQUIRE(strstr(err.text, "no space") != NULL);
    REQUIRE(write_event(store, 8000, &err) == STORE_NO_SPACE); /* and again */
    REQUIRE(count_events(store) == stored);                    /* reading goes on */

    REQUIRE(unlink(hog_path) == 0);
    REQUIRE(write_event(store, 8000, &err) == STORE_OK);
    stored++;
    REQUIRE(store_short_of_space(store)); /* the ballast is still gone */
    store_maintain(store);
    REQUIRE(write_event(store, 10, &err) == STORE_OK);
    stored++;
    store_close(store); /* after the maintenance */
    REQUIRE(stat(f->ballast, &st) == 0 && st.st_blocks * 512 >= 1 << 20);
    store = store_open(&options, &err);
    REQUIRE(store != NULL && count_events(store) == stored);
    store_close(store);
}

/* The store is made on a disk that has nothing left at all. */
static void born_on_a_full_disk_in_child(const struct folder *f)
{
    char hog_path[128];
    snprintf(hog_path, sizeof hog_path, "%s/hog", f->path);
    hog(hog_path, true);
    struct error err = ERROR_INIT;
    struct store_options options = {.path = f->db, .ballast_path = f->ballast};
    REQUIRE(store_open(&options, &err) == NULL);
    REQUIRE(strstr(err.text, f->db) != NULL);
    REQUIRE(strstr(err.text, "pace") != NULL);
    REQUIRE(unlink(hog_path) == 0);
    struct store *store = store_open(&options, &err);
    REQUIRE(store != NULL);
    store_close(store);
}

static void on_a_small_disk(void (*body)(const struct folder *f))
{
    struct folder f;
    folder_make(&f);
    pid_t pid = fork();
    if (pid == 0) {
        if (!mount_small(f.path, "size=6m,mode=0700"))
            _exit(77);
        body(&f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    folder_remove(&f);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no small disk can be mounted here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void a_full_disk_is_told_apart_and_the_ballast_carries_the_first_writes(void **state)
{
    (void)state;
    on_a_small_disk(full_disk_in_child);
}

static void a_store_is_not_made_on_a_full_disk(void **state)
{
    (void)state;
    on_a_small_disk(born_on_a_full_disk_in_child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_is_no_database_is_refused),
        cmocka_unit_test(a_stump_is_refused),
        cmocka_unit_test(a_damaged_database_is_refused),
        cmocka_unit_test(damage_that_comes_later_is_an_error_not_an_end),
        cmocka_unit_test(another_programs_database_is_refused),
        cmocka_unit_test(a_newer_schema_is_refused_and_left_alone),
        cmocka_unit_test(what_cannot_be_opened_is_refused),
        cmocka_unit_test(a_file_that_is_read_only_is_refused),
        cmocka_unit_test(the_file_is_private),
        cmocka_unit_test(killed_at_any_moment_the_database_is_whole_and_has_what_was_acknowledged),
        cmocka_unit_test(a_full_disk_is_told_apart_and_the_ballast_carries_the_first_writes),
        cmocka_unit_test(a_store_is_not_made_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
