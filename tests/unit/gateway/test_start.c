/* Which snapshot a gateway starts with when nobody tells it one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "gateway/control.h"
#include "os/memfd.h"

static int file_of(uint64_t version, bool damaged)
{
    struct snapshot_app app = {.name = "a", .environment = "p"};
    struct snapshot s = {.version = version, .request_slots = 1, .apps = &app, .apps_len = 1};
    struct buf b = BUF_INIT;
    snapshot_encode(&s, &b);
    if (damaged)
        b.data[b.len - 1] ^= 1;
    int fd = memfd_make("snapshot", b.data, b.len, NULL);
    buf_release(&b);
    assert_true(fd >= 0);
    return fd;
}

static struct gateway g;

static uint64_t start(int fd0, int fd1, bool previous)
{
    metric applied = 99;
    g.applied_version = &applied;
    struct boot boot;
    boot_init(&boot);
    boot.snapshot0_fd = fd0;
    boot.snapshot1_fd = fd1;
    boot.use_previous_snapshot = previous;
    control_first_table(&g, &boot);
    boot_release(&boot);
    struct table *t = atomic_load(&g.table);
    uint64_t version = t->version;
    assert_int_equal(applied, version);
    table_free(t);
    if (fd0 >= 0)
        close(fd0);
    if (fd1 >= 0)
        close(fd1);
    return version;
}

static void test_the_newest(void **state)
{
    (void)state;
    assert_int_equal(start(file_of(4, false), file_of(5, false), false), 5);
    assert_int_equal(start(file_of(6, false), file_of(5, false), false), 6);
    assert_int_equal(start(-1, file_of(5, false), false), 5);
    assert_int_equal(start(file_of(5, false), -1, false), 5);
}

static void test_the_previous(void **state)
{
    (void)state;
    assert_int_equal(start(file_of(4, false), file_of(5, false), true), 4);
    assert_int_equal(start(file_of(6, false), file_of(5, false), true), 5);
    assert_int_equal(start(file_of(6, false), -1, true), 6); /* better than nothing */
}

static void test_damaged_ones(void **state)
{
    (void)state;
    assert_int_equal(start(file_of(4, false), file_of(5, true), false), 4);
    assert_int_equal(start(file_of(6, true), file_of(5, false), false), 5);
    assert_int_equal(start(file_of(6, true), file_of(5, true), false), 0);
    assert_int_equal(start(-1, -1, false), 0);
    assert_int_equal(start(-1, -1, true), 0);
}

/* Clients wait for routes that are there and cannot be read, not for those that never were. */
static void test_who_waits_for_routes(void **state)
{
    (void)state;
    start(-1, -1, false);
    assert_true(g.routes_known);
    start(file_of(4, true), file_of(5, false), false);
    assert_true(g.routes_known);
    start(file_of(4, true), file_of(5, true), false);
    assert_false(g.routes_known);
    start(-1, file_of(5, true), false);
    assert_false(g.routes_known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest),
        cmocka_unit_test(test_the_previous),
        cmocka_unit_test(test_damaged_ones),
        cmocka_unit_test(test_who_waits_for_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
