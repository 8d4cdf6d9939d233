#include "os/clock.h"
#include "os/durable.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct place {
    char path[64];
    int fd;
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    strcpy(p->path, "/tmp/sluice-durable-XXXXXX");
    if (mkdtemp(p->path) == NULL)
        return -1;
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = p;
    return p->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", p->path);
    close(p->fd);
    free(p);
    return system(command);
}

static void writes_and_replaces_whole(void **state)
{
    struct place *p = *state;
    struct error err = ERROR_INIT;
    cleanup_buf struct buf got = BUF_INIT;
    assert_int_equal(durable_write(p->fd, "a", 0640, "first, longer", 13, &err), 0);
    assert_int_equal(durable_write(p->fd, "a", 0600, "second", 6, &err), 0);
    assert_int_equal(file_read(p->fd, "a", 100, &got, &err), 0);
    assert_string_equal(buf_str(&got), "second");
    struct stat st;
    assert_int_equal(fstatat(p->fd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(faccessat(p->fd, "a.tmp", F_OK, 0), -1);
    assert_int_equal(err.class, ERROR_NONE);
}

static void failed_write_leaves_the_old_file(void **state)
{
    struct place *p = *state;
    struct error err = ERROR_INIT;
    assert_int_equal(durable_write(p->fd, "a", 0600, "old", 3, &err), 0);
    assert_int_equal(mkdirat(p->fd, "a.tmp", 0700), 0);
    assert_int_equal(durable_write(p->fd, "a", 0600, "new", 3, &err), -1);
    assert_non_null(strstr(err.text, "a.tmp"));
    cleanup_buf struct buf got = BUF_INIT;
    assert_int_equal(file_read(p->fd, "a", 3, &got, &err), 0);
    assert_string_equal(buf_str(&got), "old");
    assert_int_equal(durable_write(p->fd, "no/such", 0600, "x", 1, &err), -1);
}

static void reading_is_bounded(void **state)
{
    struct place *p = *state;
    struct error err = ERROR_INIT;
    cleanup_buf struct buf got = BUF_INIT;
    buf_puts(&got, "kept");
    assert_int_equal(durable_write(p->fd, "a", 0600, "12345", 5, &err), 0);
    assert_int_equal(file_read(p->fd, "a", 4, &got, &err), -1);
    assert_int_equal(err.class, ERROR_IO);
    assert_string_equal(buf_str(&got), "kept");
    assert_int_equal(file_read(p->fd, "a", 5, &got, &err), 0);
    assert_string_equal(buf_str(&got), "kept12345");
    assert_int_equal(file_read(p->fd, "none", 5, &got, &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_int_equal(mkfifoat(p->fd, "fifo", 0600), 0);
    assert_int_equal(file_read(p->fd, "fifo", 5, &got, &err), -1);
    assert_int_equal(symlinkat("a", p->fd, "link"), 0);
    assert_int_equal(file_read(p->fd, "link", 5, &got, &err), -1);
    buf_clear(&got);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/stat", 4096, &got, &err), 0);
    assert_true(got.len > 10);
}

static void reads_long_and_empty_files(void **state)
{
    struct place *p = *state;
    cleanup_free char *big = xcalloc(1, 200000);
    memset(big, 'x', 200000);
    cleanup_buf struct buf got = BUF_INIT;
    assert_int_equal(durable_write(p->fd, "big", 0600, big, 200000, NULL), 0);
    assert_int_equal(file_read(p->fd, "big", 200000, &got, NULL), 0);
    assert_int_equal(got.len, 200000);
    assert_int_equal(file_read(p->fd, "big", 199999, &got, NULL), -1);
    buf_clear(&got);
    assert_int_equal(durable_write(p->fd, "empty", 0600, NULL, 0, NULL), 0);
    assert_int_equal(file_read(p->fd, "empty", 0, &got, NULL), 0);
    assert_int_equal(got.len, 0);
}

static void makes_parents_with_the_mode(void **state)
{
    struct place *p = *state;
    struct error err = ERROR_INIT;
    mode_t old = umask(077);
    assert_int_equal(make_folders(p->fd, "x/y//z/", 0751, &err), 0);
    umask(old);
    struct stat st;
    assert_int_equal(fstatat(p->fd, "x/y", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    assert_int_equal(make_folders(p->fd, "x/y/z", 0700, &err), 0);
    assert_int_equal(durable_write(p->fd, "file", 0600, "", 0, NULL), 0);
    assert_int_equal(make_folders(p->fd, "file", 0700, &err), -1);
    assert_int_equal(make_folders(p->fd, "file/below", 0700, &err), -1);
    assert_int_equal(make_folders(p->fd, "", 0700, &err), -1);
}

static void clocks_and_boot_id(void **state)
{
    (void)state;
    char a[BOOT_ID_SIZE], b[BOOT_ID_SIZE], text[WALL_TEXT_SIZE];
    assert_int_equal(boot_id_read(a, NULL), 0);
    assert_int_equal(boot_id_read(b, NULL), 0);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 36);
    int64_t before = clock_mono_ms();
    assert_true(clock_mono_us() / 1000 >= before);
    assert_true(clock_boot_ms() >= before);
    assert_true(clock_wall_ms() > 1600000000000);
    assert_string_equal(clock_format_wall(1, text), "1970-01-01T00:00:00.001Z");
    assert_string_equal(clock_format_wall(1763711999123, text), "2025-11-21T07:59:59.123Z");
    assert_string_equal(clock_format_wall(-1, text), "1969-12-31T23:59:59.999Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_and_replaces_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_write_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_long_and_empty_files, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_parents_with_the_mode, setup, teardown),
        cmocka_unit_test(clocks_and_boot_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
