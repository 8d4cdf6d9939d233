/* From the rings to the file: rotation, full disks, pipes that nobody reads, more than one reader.
 */
#include "observe/accesslog.h"

#include "base/buf.h"
#include "observe/accessfile.h"
#include "wire/accessring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60 };

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/accesslog-XXXXXX");
    snprintf(path, sizeof path, "%s/access.log", mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void read_all(const char *name, struct buf *out)
{
    int fd = open(name, O_RDONLY);
    char piece[65536];
    ssize_t n;
    while (fd >= 0 && (n = read(fd, piece, sizeof piece)) > 0)
        buf_append(out, piece, (size_t)n);
    if (fd >= 0)
        close(fd);
}

static size_t write_text(struct accessfile *f, const char *first, const char *second)
{
    struct iovec parts[2] = {{(void *)first, strlen(first)}, {(void *)second, strlen(second)}};
    static int64_t now = 1000;
    return accessfile_write(f, parts, now += 2000);
}

/* Each line is LINE_BYTES long and begins with its number. */
enum { LINE_BYTES = 500 };

static void make_line(char line[LINE_BYTES + 1], unsigned number)
{
    memset(line, '.', LINE_BYTES);
    line[snprintf(line, LINE_BYTES, "%u", number)] = ' ';
    line[LINE_BYTES - 1] = '\n';
    line[LINE_BYTES] = '\0';
}

/* Checks that the text is whole lines, numbered without a gap from *next on. */
static void follow(const char *text, size_t len, unsigned *next)
{
    char line[LINE_BYTES + 1];
    assert_int_equal(len % LINE_BYTES, 0);
    for (size_t at = 0; at < len; at += LINE_BYTES) {
        make_line(line, (*next)++);
        assert_memory_equal(text + at, line, LINE_BYTES);
    }
}

/* ---- the file
 * ------------------------------------------------------------------------------------- */

static void it_rotates_between_lines_and_keeps_five(void **state)
{
    (void)state;
    struct accessfile f;
    accessfile_init(&f, path);
    f.most = 10 * LINE_BYTES;
    char line[LINE_BYTES + 1], name[128];
    for (unsigned i = 0; i < 73; i++) {
        make_line(line, i);
        assert_int_equal(write_text(&f, line, ""), LINE_BYTES);
    }
    accessfile_release(&f);
    unsigned next = 30; /* 3 lines in the newest, four full ones before it, the rest is gone */
    for (int i = ACCESSFILE_KEPT; i >= 0; i--) {
        cleanup_buf struct buf text = BUF_INIT;
        snprintf(name, sizeof name, i > 0 ? "%s.%d" : "%s", path, i);
        read_all(name, &text);
        follow(text.data, text.len, &next);
    }
    assert_int_equal(next, 73);
    snprintf(name, sizeof name, "%s.%d", path, ACCESSFILE_KEPT + 1);
    assert_int_equal(access(name, F_OK), -1);
}

static void somebody_else_may_rotate_it(void **state)
{
    (void)state;
    struct accessfile f;
    char other[128];
    struct stat st;
    accessfile_init(&f, path);
    assert_int_equal(write_text(&f, "one\n", ""), 4);
    snprintf(other, sizeof other, "%s.old", path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(write_text(&f, "two\n", ""), 4);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(st.st_mode & 0777, 0640);
    unlink(path);
    assert_int_equal(write_text(&f, "three\n", ""), 6);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 6);
    accessfile_release(&f);
}

static void it_waits_for_a_folder_that_is_not_there(void **state)
{
    (void)state;
    struct accessfile f;
    char name[128], below[96];
    snprintf(below, sizeof below, "%s/later", folder);
    snprintf(name, sizeof name, "%s/access.log", below);
    accessfile_init(&f, name);
    assert_int_equal(write_text(&f, "one\n", ""), 0);
    assert_int_equal(mkdir(below, 0755), 0);
    assert_int_equal(write_text(&f, "one\n", ""), 4);
    accessfile_release(&f);
}

/* A full disk: what is in the file are whole lines, and they go on where they stopped. */
static void a_full_disk_tears_no_line(void **state)
{
    (void)state;
    if (mount("tmpfs", folder, "tmpfs", 0, "size=64k") < 0)
        skip(); /* not root */
    struct accessfile f;
    accessfile_init(&f, path);
    enum { LINES = 300 };
    static char all[LINES * LINE_BYTES + 1];
    for (unsigned i = 0; i < LINES; i++)
        make_line(all + i * LINE_BYTES, i);
    size_t cut = 77 * LINE_BYTES + 123; /* a line goes from one part into the other */
    struct iovec parts[2] = {{all, cut}, {all + cut, sizeof all - 1 - cut}};
    size_t went = accessfile_write(&f, parts, 1000);
    assert_true(went > 0 && went < sizeof all - 1);
    assert_int_equal(went % LINE_BYTES, 0);
    cleanup_buf struct buf text = BUF_INIT;
    read_all(path, &text);
    assert_int_equal(text.len, went);
    unsigned next = 0;
    follow(text.data, text.len, &next);
    /* Room again. */
    assert_int_equal(mount("tmpfs", folder, "tmpfs", MS_REMOUNT, "size=1m"), 0);
    assert_true(went > cut);
    struct iovec rest[2] = {{all + went, sizeof all - 1 - went}, {all, 0}};
    assert_int_equal(accessfile_write(&f, rest, 1100), sizeof all - 1 - went);
    buf_clear(&text);
    read_all(path, &text);
    next = 0;
    follow(text.data, text.len, &next);
    assert_int_equal(next, LINES);
    accessfile_release(&f);
    umount(folder);
}

/* A pipe takes whole lines, and what it does not take now it gets later. */
static void a_pipe_that_nobody_reads_holds_nobody_up(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    struct accessfile f;
    accessfile_init(&f, path);
    assert_int_equal(write_text(&f, "nobody listens\n", ""), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    enum { LINES = 400 }; /* more than a pipe holds */
    static char all[LINES * LINE_BYTES + 1];
    static char got[sizeof all];
    for (unsigned i = 0; i < LINES; i++)
        make_line(all + i * LINE_BYTES, i);
    size_t went = 0, have = 0;
    while (went < sizeof all - 1) {
        struct iovec parts[2] = {{all + went, (sizeof all - 1 - went) / 2},
                                 {all + went + (sizeof all - 1 - went) / 2,
                                  sizeof all - 1 - went - (sizeof all - 1 - went) / 2}};
        size_t n = accessfile_write(&f, parts, 1000);
        assert_int_equal(n % LINE_BYTES, 0);
        went += n;
        ssize_t r = read(reader, got + have, sizeof got - have);
        assert_true(r > 0); /* it took something, so something is there */
        have += (size_t)r;
    }
    ssize_t r;
    while ((r = read(reader, got + have, sizeof got - have)) > 0)
        have += (size_t)r;
    assert_int_equal(have, sizeof all - 1);
    assert_memory_equal(got, all, have);
    close(reader);
    /* The reader is gone: an error that is over once another one comes. */
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(write_text(&f, "one\n", ""), 0);
    accessfile_release(&f);
}

/* ---- the thread
 * ----------------------------------------------------------------------------------- */

static void wait_for_size(off_t size)
{
    struct stat st = {.st_size = -1};
    for (time_t end = time(NULL) + PATIENCE_S; time(NULL) < end; usleep(2000))
        if (stat(path, &st) == 0 && st.st_size >= size)
            break;
    assert_int_equal(st.st_size, size);
}

static void put_lines(struct access_ring *ring, unsigned from, unsigned to)
{
    char line[LINE_BYTES + 1];
    for (unsigned i = from; i < to; i++) {
        make_line(line, i);
        while (!access_ring_put(ring, line, LINE_BYTES))
            usleep(1000);
    }
}

static void lines_reach_the_file_also_those_of_a_gateway_that_died(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    int fd;
    struct access_rings *r = access_rings_make(2, &fd, &err);
    struct access_log *log = access_log_open(path);
    assert_non_null(log);
    put_lines(&r->ring[0], 0, 10);
    access_log_add(log, 7, dup(fd));
    close(fd);
    wait_for_size(10 * LINE_BYTES);
    put_lines(&r->ring[1], 10, 20);
    access_rings_close(r, 2); /* it is dead: the lines are there all the same */
    access_log_gone(log, 7);
    access_log_close(log);
    cleanup_buf struct buf text = BUF_INIT;
    unsigned next = 0;
    read_all(path, &text);
    follow(text.data, text.len, &next);
    assert_int_equal(next, 20);
}

static void counts_stay_when_a_gateway_is_gone(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    int fd;
    struct access_rings *r = access_rings_make(1, &fd, &err);
    struct access_log *log = access_log_open(path);
    put_lines(r->ring, 0, 3);
    access_ring_drop(r->ring);
    access_log_add(log, 1, fd);
    access_log_gone(log, 1);
    wait_for_size(3 * LINE_BYTES);
    struct access_log_counts n = {0, 0};
    for (time_t end = time(NULL) + PATIENCE_S; n.dropped == 0 && time(NULL) < end; usleep(2000))
        n = access_log_counts(log);
    assert_int_equal(n.lines, 3);
    assert_int_equal(n.dropped, 1);
    access_log_close(log);
    access_rings_close(r, 1);
}

/* The controller is killed and another one comes: it goes on, and before the first one is gone it
 * leaves the ring alone. */
static void the_next_controller_goes_on(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    int fd;
    struct access_rings *r = access_rings_make(1, &fd, &err);
    put_lines(r->ring, 0, 100);
    pid_t first = fork();
    if (first == 0) {
        access_log_add(access_log_open(path), 1, fd);
        pause();
    }
    wait_for_size(100 * LINE_BYTES);
    struct access_log *log = access_log_open(path);
    access_log_add(log, 1, dup(fd));
    close(fd);
    put_lines(r->ring, 100, 200);
    wait_for_size(200 * LINE_BYTES);
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    put_lines(r->ring, 200, 300);
    wait_for_size(300 * LINE_BYTES);
    access_log_close(log);
    cleanup_buf struct buf text = BUF_INIT;
    unsigned next = 0;
    read_all(path, &text);
    follow(text.data, text.len, &next);
    assert_int_equal(next, 300);
    access_rings_close(r, 1);
}

static void closing_does_not_wait_for_a_stopped_reader(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    int fd;
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK); /* and reads nothing */
    struct access_rings *r = access_rings_make(1, &fd, &err);
    struct access_log *log = access_log_open(path);
    access_log_add(log, 1, fd);
    put_lines(r->ring, 0, 1000);
    access_log_close(log); /* returns: that is the test */
    close(reader);
    access_rings_close(r, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_rotates_between_lines_and_keeps_five),
        TEST(somebody_else_may_rotate_it),
        TEST(it_waits_for_a_folder_that_is_not_there),
        TEST(a_full_disk_tears_no_line),
        TEST(a_pipe_that_nobody_reads_holds_nobody_up),
        TEST(lines_reach_the_file_also_those_of_a_gateway_that_died),
        TEST(counts_stay_when_a_gateway_is_gone),
        TEST(the_next_controller_goes_on),
        TEST(closing_does_not_wait_for_a_stopped_reader),
    };
    return cmocka_run_group_tests_name("observe/accesslog", tests, NULL, NULL);
}
