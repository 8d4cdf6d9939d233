/* The shared-memory metrics: buckets, sums, and memory that is not what it says. */
#include "wire/metrics.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void buckets_cover_everything_once(void **state)
{
    (void)state;
    assert_int_equal(metrics_bucket_low(0), 0);
    assert_int_equal(metrics_bucket_high(0), 64);
    assert_int_equal(metrics_bucket_low(METRICS_BUCKETS - 1), UINT64_C(1) << 28);
    assert_true(metrics_bucket_high(METRICS_BUCKETS - 1) == UINT64_MAX);
    for (uint32_t b = 0; b < METRICS_BUCKETS; b++) {
        uint64_t low = metrics_bucket_low(b), high = metrics_bucket_high(b);
        assert_true(low < high);
        assert_int_equal(metrics_bucket(low), b);
        assert_int_equal(metrics_bucket(high - 1), b);
        if (b + 1 < METRICS_BUCKETS)
            assert_true(metrics_bucket_low(b + 1) == high);
        /* One part in eight at most. */
        if (b > 0 && b + 1 < METRICS_BUCKETS)
            assert_true((high - low) * 8 <= low);
    }
    assert_int_equal(metrics_bucket(UINT64_MAX), METRICS_BUCKETS - 1);
}

struct memory {
    int fd;
    struct metrics_header *header;
    struct metrics_worker *workers;
    size_t bytes;
};

static struct memory make(uint32_t workers, size_t bytes, int seals)
{
    struct memory m = {.bytes = bytes};
    m.fd = memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(m.fd >= 0);
    assert_int_equal(ftruncate(m.fd, (off_t)bytes), 0);
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
    assert_true(map != MAP_FAILED);
    m.header = (struct metrics_header *)map;
    m.workers = (struct metrics_worker *)(map + sizeof *m.header);
    if (bytes >= sizeof *m.header)
        *m.header = (struct metrics_header){.magic = METRICS_MAGIC,
                                            .format = METRICS_FORMAT,
                                            .workers = workers,
                                            .request_slots = METRICS_REQUEST_SLOTS,
                                            .instance_slots = METRICS_INSTANCE_SLOTS,
                                            .buckets = METRICS_BUCKETS,
                                            .generation = 5};
    assert_int_equal(fcntl(m.fd, F_ADD_SEALS, seals), 0);
    return m;
}

static void drop(struct memory *m)
{
    munmap(m->header, m->bytes);
    close(m->fd);
}

static void sums_over_the_workers(void **state)
{
    (void)state;
    struct memory m = make(2, metrics_bytes(2), F_SEAL_SHRINK | F_SEAL_GROW);
    struct metrics_view v;
    struct error err = ERROR_INIT;
    assert_int_equal(metrics_view_open(&v, m.fd, &err), 0);
    assert_int_equal(v.header->generation, 5);
    assert_int_equal(v.workers_len, 2);
    uint32_t last = METRICS_REQUEST_SLOTS - 1, instance = METRICS_INSTANCE_SLOTS - 1;
    m.workers[0].requests[last].counters[REQUESTS] = 3;
    m.workers[1].requests[last].counters[REQUESTS] = 4;
    m.workers[1].requests[last].buckets[METRICS_BUCKETS - 1] = 9;
    assert_int_equal(metrics_request(&v, last, REQUESTS), 7);
    uint64_t buckets[METRICS_BUCKETS];
    metrics_buckets(&v, last, buckets);
    assert_int_equal(buckets[METRICS_BUCKETS - 1], 9);
    assert_int_equal(buckets[0], 0);
    /* A request that began in one worker and ended in the other. */
    m.workers[0].instances[instance].counters[INSTANCE_IN_FLIGHT] = (uint64_t)-2;
    m.workers[1].instances[instance].counters[INSTANCE_IN_FLIGHT] = 5;
    assert_int_equal(metrics_instance(&v, instance, INSTANCE_IN_FLIGHT), 3);
    m.workers[1].instances[instance].counters[INSTANCE_IN_FLIGHT] = 1;
    assert_int_equal(metrics_instance(&v, instance, INSTANCE_IN_FLIGHT), 0);
    m.workers[0].requests[0].counters[REQUESTS_WAITING] = (uint64_t)-1;
    assert_int_equal(metrics_request(&v, 0, REQUESTS_WAITING), 0);
    metrics_view_close(&v);
    metrics_view_close(&v);
    drop(&m);
}

static void ejections_are_read(void **state)
{
    (void)state;
    struct memory m = make(2, metrics_bytes(2), F_SEAL_SHRINK | F_SEAL_GROW);
    struct metrics_view v;
    struct error err = ERROR_INIT;
    assert_int_equal(metrics_view_open(&v, m.fd, &err), 0);
    uint32_t last = METRICS_INSTANCE_SLOTS - 1;
    struct ejection_slot *e = (struct ejection_slot *)(m.workers + 2) + last;
    assert_ptr_equal((char *)(e + 1), (char *)m.header + metrics_bytes(2));
    e->until_boot_ms = 5000;
    e->count = 3;
    e->why = EJECTED_LATENCY;
    enum ejection_reason why;
    assert_int_equal(metrics_ejected_ms(&v, last, 4000), 1000);
    assert_int_equal(metrics_ejected_ms(&v, last, 5000), 0);
    assert_int_equal(metrics_ejections(&v, last, &why), 3);
    assert_int_equal(why, EJECTED_LATENCY);
    e->why = 77; /* what is not known is what it mostly is */
    metrics_ejections(&v, last, &why);
    assert_int_equal(why, EJECTED_ERRORS);
    assert_int_equal(metrics_ejections(&v, 0, &why), 0);
    metrics_view_close(&v);
    drop(&m);
}

static void seen_means_by_all_or_offline(void **state)
{
    (void)state;
    struct memory m = make(3, metrics_bytes(3), F_SEAL_SHRINK | F_SEAL_GROW);
    struct metrics_view v;
    assert_int_equal(metrics_view_open(&v, m.fd, NULL), 0);
    assert_false(metrics_seen(&v, 1)); /* workers that have not begun have seen nothing */
    m.workers[0].seen_version = 7;
    m.workers[1].seen_version = METRICS_OFFLINE;
    m.workers[2].seen_version = 6;
    assert_true(metrics_seen(&v, 6));
    assert_false(metrics_seen(&v, 7));
    m.workers[2].seen_version = 8;
    assert_true(metrics_seen(&v, 7));
    metrics_view_close(&v);
    drop(&m);
}

static void refuse(struct memory m, const char *part)
{
    struct metrics_view v;
    struct error err = ERROR_INIT;
    assert_int_equal(metrics_view_open(&v, m.fd, &err), -1);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, err.text);
    assert_null(v.header);
    drop(&m);
}

static void memory_that_is_not_what_it_says(void **state)
{
    (void)state;
    int both = F_SEAL_SHRINK | F_SEAL_GROW;
    struct metrics_view v;
    struct error err = ERROR_INIT;
    refuse(make(1, metrics_bytes(1), 0), "sealed");
    refuse(make(1, metrics_bytes(1), F_SEAL_GROW), "sealed");
    refuse(make(1, metrics_bytes(1), F_SEAL_SHRINK), "sealed");
    refuse(make(1, metrics_bytes(1) - 4096, both), "not a possible size");
    refuse(make(1, 64, both), "not a possible size");
    refuse(make(1, metrics_bytes(16) + 4096, both), "not a possible size");
    refuse(make(2, metrics_bytes(1), both), "expected");
    refuse(make(1, metrics_bytes(2), both), "expected");
    refuse(make(0, metrics_bytes(1), both), "counts");
    refuse(make(17, metrics_bytes(1), both), "counts");
    refuse(make(UINT32_MAX, metrics_bytes(1), both), "counts");
    struct memory m = make(1, metrics_bytes(1), both);
    m.header->magic++;
    refuse(m, "format");
    m = make(1, metrics_bytes(1), both);
    m.header->format++;
    refuse(m, "format");
    m = make(1, metrics_bytes(1), both);
    m.header->instance_slots--;
    refuse(m, "counts");
    m = make(1, metrics_bytes(1), both);
    m.header->buckets = 0;
    refuse(m, "counts");
    int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    assert_int_equal(metrics_view_open(&v, fd, &err), -1);
    close(fd);
    assert_int_equal(metrics_view_open(&v, -1, &err), -1);
}

/* Of whatever size that version's are. */
static void those_of_another_version(void **state)
{
    (void)state;
    const size_t sizes[] = {metrics_bytes(1), metrics_bytes(1) / 2, metrics_bytes(16) * 2};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct memory m = make(1, sizes[i], F_SEAL_SHRINK | F_SEAL_GROW);
        struct metrics_view v;
        struct error err = ERROR_INIT;
        m.header->format = METRICS_FORMAT - 1;
        assert_int_equal(metrics_view_open(&v, m.fd, &err), -1);
        assert_int_equal(err.class, ERROR_CONFLICT);
        drop(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_everything_once),
        cmocka_unit_test(sums_over_the_workers),
        cmocka_unit_test(ejections_are_read),
        cmocka_unit_test(seen_means_by_all_or_offline),
        cmocka_unit_test(memory_that_is_not_what_it_says),
        cmocka_unit_test(those_of_another_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
