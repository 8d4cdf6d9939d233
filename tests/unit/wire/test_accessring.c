#include "wire/accessring.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct access_rings *make(int *fd)
{
    struct error err = ERROR_INIT;
    struct access_rings *r = access_rings_make(1, fd, &err);
    assert_non_null(r);
    return r;
}

static void lines_come_out_as_they_went_in(void **state)
{
    (void)state;
    int fd;
    uint32_t count;
    struct error err = ERROR_INIT;
    struct access_rings *in = make(&fd), *out = access_rings_open(fd, &count, &err);
    struct iovec parts[2];
    assert_non_null(out);
    assert_int_equal(count, 1);
    assert_int_equal(access_ring_peek(out->ring, parts), 0);
    assert_true(access_ring_put(in->ring, "one\n", 4));
    assert_true(access_ring_put(in->ring, "two\n", 4));
    assert_int_equal(access_ring_peek(out->ring, parts), 8);
    assert_memory_equal(parts[0].iov_base, "one\ntwo\n", 8);
    access_ring_take(out->ring, 4);
    /* Another reader of the same memory goes on there. */
    struct access_rings *later = access_rings_open(fd, &count, &err);
    assert_int_equal(access_ring_peek(later->ring, parts), 4);
    assert_memory_equal(parts[0].iov_base, "two\n", 4);
    assert_int_equal(atomic_load(&later->ring->lines), 2);
    access_rings_close(in, 1);
    access_rings_close(out, 1);
    access_rings_close(later, 1);
    close(fd);
}

static void a_full_ring_drops_whole_lines_and_counts_them(void **state)
{
    (void)state;
    int fd;
    struct access_rings *r = make(&fd);
    struct iovec parts[2];
    char line[1000];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    size_t fits = ACCESS_RING_BYTES / sizeof line;
    for (size_t i = 0; i < fits; i++)
        assert_true(access_ring_put(r->ring, line, sizeof line));
    assert_false(access_ring_put(r->ring, line, sizeof line));
    assert_false(access_ring_put(r->ring, line, sizeof line));
    assert_int_equal(atomic_load(&r->ring->dropped), 2);
    assert_int_equal(access_ring_peek(r->ring, parts), fits * sizeof line);
    /* Room again: the line goes round the end, in two parts. */
    access_ring_take(r->ring, sizeof line);
    assert_true(access_ring_put(r->ring, line, sizeof line));
    assert_int_equal(access_ring_peek(r->ring, parts), fits * sizeof line);
    assert_true(parts[1].iov_len > 0);
    assert_int_equal(((char *)parts[1].iov_base)[parts[1].iov_len - 1], '\n');
    access_rings_close(r, 1);
    close(fd);
}

static void numbers_that_cannot_be_are_survived(void **state)
{
    (void)state;
    int fd;
    struct access_rings *r = make(&fd);
    struct iovec parts[2];
    /* A reader that claims to have taken more than there was: nothing is written over. */
    atomic_store(&r->ring->tail, 100);
    assert_false(access_ring_put(r->ring, "a\n", 2));
    /* A writer that claims to have written more than there is room for. */
    atomic_store(&r->ring->tail, 5);
    atomic_store(&r->ring->head, UINT64_C(1) << 60);
    assert_int_equal(access_ring_peek(r->ring, parts), 0);
    assert_int_equal(atomic_load(&r->ring->tail), UINT64_C(1) << 60);
    assert_true(access_ring_put(r->ring, "b\n", 2));
    assert_int_equal(access_ring_peek(r->ring, parts), 2);
    access_rings_close(r, 1);
    close(fd);
}

static void only_its_own_memory_is_opened(void **state)
{
    (void)state;
    uint32_t count;
    struct error err = ERROR_INIT;
    int fd;
    struct access_rings *r = make(&fd);
    r->bytes = 1;
    assert_null(access_rings_open(fd, &count, &err));
    access_rings_close(r, 1);
    close(fd);

    fd = memfd_create("x", MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)access_rings_bytes(1)), 0);
    assert_null(access_rings_open(fd, &count, &err)); /* not sealed: it could shrink under us */
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    assert_null(access_rings_open(fd, &count, &err)); /* no header */
    close(fd);

    fd = memfd_create("x", MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)access_rings_bytes(1) - 1), 0);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    assert_null(access_rings_open(fd, &count, &err)); /* no possible size */
    close(fd);
}

static void one_process_reads(void **state)
{
    (void)state;
    int fd;
    struct access_rings *r = make(&fd);
    assert_true(access_rings_lock(fd));
    assert_true(access_rings_lock(fd));
    pid_t other = fork();
    if (other == 0)
        _exit(access_rings_lock(fd) ? 1 : 0);
    int status;
    waitpid(other, &status, 0);
    assert_int_equal(status, 0);
    access_rings_close(r, 1);
    close(fd);
}

enum { LINES = 300000 };

static void *write_lines(void *ring)
{
    char line[64];
    for (int i = 0; i < LINES; i++) {
        int n = snprintf(line, sizeof line, "%d %.*s\n", i, i % 40,
                         "........................................");
        while (!access_ring_put(ring, line, (size_t)n))
            sched_yield();
    }
    return NULL;
}

static void writer_and_reader_at_once(void **state)
{
    (void)state;
    int fd, next = 0;
    struct access_rings *r = make(&fd);
    pthread_t writer;
    pthread_create(&writer, NULL, write_lines, r->ring);
    char *all = malloc(ACCESS_RING_BYTES);
    while (next < LINES) {
        struct iovec parts[2];
        size_t len = access_ring_peek(r->ring, parts);
        if (len == 0) {
            sched_yield();
            continue;
        }
        memcpy(all, parts[0].iov_base, parts[0].iov_len);
        memcpy(all + parts[0].iov_len, parts[1].iov_base, parts[1].iov_len);
        assert_int_equal(all[len - 1], '\n'); /* whole lines only */
        for (char *at = all; at < all + len; at = strchr(at, '\n') + 1, next++) {
            char *end;
            assert_int_equal(strtol(at, &end, 10), next);
            assert_int_equal(strcspn(end + 1, "\n"), next % 40);
        }
        access_ring_take(r->ring, len);
    }
    pthread_join(writer, NULL);
    free(all);
    access_rings_close(r, 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_as_they_went_in),
        cmocka_unit_test(a_full_ring_drops_whole_lines_and_counts_them),
        cmocka_unit_test(numbers_that_cannot_be_are_survived),
        cmocka_unit_test(only_its_own_memory_is_opened),
        cmocka_unit_test(one_process_reads),
        cmocka_unit_test(writer_and_reader_at_once),
    };
    return cmocka_run_group_tests_name("wire/accessring", tests, NULL, NULL);
}
