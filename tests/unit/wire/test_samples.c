/* Samples of failed requests: what the ring keeps, what a reader gets while it is written, and what
 * it makes of a writer that is not to be believed. */
#include "wire/http1.h"
#include "wire/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct sample sample_of(uint64_t n)
{
    struct sample s = {.at_boot_ms = n,
                       .took_us = n * 3,
                       .request_slot = 1,
                       .instance_slot = 2,
                       .status = 500,
                       .fault = SAMPLE_5XX,
                       .method = HTTP1_M_GET};
    sample_set_path(&s, "/a", 2);
    return s;
}

static void fill(struct sample_ring *r, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++) {
        struct sample s = sample_of(n);
        samples_add(r, &s);
    }
}

static void given_in_their_order_once(void **state)
{
    (void)state;
    struct sample_ring r = {0};
    struct sample s;
    uint64_t seen = 0;
    assert_false(samples_next(&r, &seen, &s));
    fill(&r, 1, 3);
    for (uint64_t n = 1; n <= 3; n++) {
        assert_true(samples_next(&r, &seen, &s));
        assert_int_equal(s.at_boot_ms, n);
        assert_int_equal(s.took_us, n * 3);
        assert_int_equal(s.status, 500);
        assert_string_equal(s.path, "/a");
        assert_false(s.path_cut);
    }
    assert_false(samples_next(&r, &seen, &s));
    fill(&r, 4, 4);
    assert_true(samples_next(&r, &seen, &s));
    assert_int_equal(s.at_boot_ms, 4);
}

static void who_is_late_gets_the_last_ones(void **state)
{
    (void)state;
    struct sample_ring r = {0};
    struct sample s;
    uint64_t seen = 0, n = 1000 - SAMPLES_KEPT;
    fill(&r, 1, 1000);
    while (samples_next(&r, &seen, &s))
        assert_int_equal(s.at_boot_ms, ++n);
    assert_int_equal(n, 1000);
}

static void the_query_stays_outside(void **state)
{
    (void)state;
    struct sample s = {0};
    char path[400];
    sample_set_path(&s, "/pay?token=secret", 17);
    assert_int_equal(s.path_len, 4);
    assert_null(strstr(s.path, "secret"));
    sample_set_path(&s, "/pay#token", 10);
    assert_int_equal(s.path_len, 4);
    sample_set_path(&s, "", 0);
    assert_int_equal(s.path_len, 0);
    memset(path, 'x', sizeof path);
    sample_set_path(&s, path, SAMPLE_PATH_MAX);
    assert_int_equal(s.path_len, SAMPLE_PATH_MAX);
    assert_false(s.path_cut);
    sample_set_path(&s, path, SAMPLE_PATH_MAX + 1);
    assert_int_equal(s.path_len, SAMPLE_PATH_MAX);
    assert_true(s.path_cut);
    path[SAMPLE_PATH_MAX] = '?';
    sample_set_path(&s, path, sizeof path);
    assert_int_equal(s.path_len, SAMPLE_PATH_MAX);
    assert_false(s.path_cut);
}

static void what_is_shown_is_harmless(void **state)
{
    (void)state;
    struct sample_ring r = {0};
    struct sample s = sample_of(1), out;
    uint64_t seen = 0;
    sample_set_path(&s, "/\x1b[2J\x7f\xff\x01z", 9);
    samples_add(&r, &s);
    assert_true(samples_next(&r, &seen, &out));
    assert_string_equal(out.path, "/?[2J??"
                                  "?z");
}

/* One value of a sample out of its range at a time: that one is left out, the next one comes. */
static void values_out_of_range(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct sample_ring r = {0};
        struct sample s = sample_of(1), good = sample_of(2), out;
        uint64_t seen = 0;
        switch (i) {
        case 0: s.fault = SAMPLE_FAULTS_COUNT; break;
        case 1: s.method = HTTP1_METHOD_COUNT; break;
        case 2: s.path_len = SAMPLE_PATH_MAX + 1; break;
        case 3: s.request_slot = METRICS_REQUEST_SLOTS; break;
        case 4: s.instance_slot = METRICS_INSTANCE_SLOTS; break;
        case 5: s.status = 99; break;
        case 6: s.status = 1000; break;
        case 7: ((unsigned char *)&s)[offsetof(struct sample, path_cut)] = 2; break;
        }
        samples_add(&r, &s);
        samples_add(&r, &good);
        assert_true(samples_next(&r, &seen, &out));
        assert_int_equal(out.at_boot_ms, 2);
    }
    struct sample_ring r = {0};
    struct sample s = sample_of(1), out;
    uint64_t seen = 0;
    s.instance_slot = SAMPLE_NO_SLOT;
    samples_add(&r, &s);
    assert_true(samples_next(&r, &seen, &out));
}

static struct sample difference(void)
{
    struct sample s = sample_of(1);
    s.fault = SAMPLE_DIFFERS;
    s.status = 200;
    s.copy_status = 404;
    s.part = SAMPLE_BODY;
    sample_set_where(&s, "/items/0\x1b", 9);
    return s;
}

static void what_differs_is_named(void **state)
{
    (void)state;
    struct sample_ring r = {0};
    struct sample s = difference(), out;
    char longest[2 * SAMPLE_WHERE_MAX];
    uint64_t seen = 0;
    samples_add(&r, &s);
    assert_true(samples_next(&r, &seen, &out));
    assert_int_equal(out.copy_status, 404);
    assert_string_equal(out.where, "/items/0?");
    memset(longest, 'x', sizeof longest);
    sample_set_where(&s, longest, sizeof longest);
    samples_add(&r, &s);
    assert_true(samples_next(&r, &seen, &out));
    assert_int_equal(strlen(out.where), SAMPLE_WHERE_MAX);
    for (int i = 0; i < 7; i++) {
        s = difference();
        switch (i) {
        case 0: s.copy_status = 99; break;
        case 1: s.copy_status = 1000; break;
        case 2: s.part = SAMPLE_PARTS_COUNT; break;
        case 3: s.part = SAMPLE_NOTHING; break;
        case 4: s.where_len = SAMPLE_WHERE_MAX + 1; break;
        case 5: s.fault = SAMPLE_5XX; break; /* what does not differ has no part */
        case 6: s.fault = SAMPLE_5XX, s.copy_status = s.where_len = 0; break;
        }
        samples_add(&r, &s);
        assert_false(samples_next(&r, &seen, &out));
    }
}

static void a_ring_that_lies(void **state)
{
    (void)state;
    struct sample_ring r = {0};
    struct sample s;
    uint64_t seen = 0;
    fill(&r, 1, 10);
    r.cells[5].number = 0;                /* being written */
    r.cells[7].number = 7 + SAMPLES_KEPT; /* overwritten since */
    unsigned n = 0;
    for (; samples_next(&r, &seen, &s); n++)
        assert_true(s.at_boot_ms != 5 && s.at_boot_ms != 7);
    assert_int_equal(n, 8);
    r.written = UINT64_MAX; /* nothing of that is there: it ends all the same */
    assert_false(samples_next(&r, &seen, &s));
    r.written = 3; /* back in time: begun again from there, not waited for 2^64 samples */
    assert_false(samples_next(&r, &seen, &s));
    assert_int_equal(seen, 3);
    fill(&r, 4, 4);
    assert_true(samples_next(&r, &seen, &s));
    assert_int_equal(s.at_boot_ms, 4);
}

enum { STORM = 200000 };

static void *write_storm(void *arg)
{
    fill(arg, 1, STORM);
    return NULL;
}

/* Whole or not at all: three values of a sample that belong together. */
static void none_is_torn(void **state)
{
    (void)state;
    static struct sample_ring r;
    struct sample s;
    uint64_t seen = 0, last = 0, got = 0;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_storm, &r), 0);
    while (last < STORM) {
        if (!samples_next(&r, &seen, &s))
            continue;
        assert_true(s.at_boot_ms > last);
        assert_int_equal(s.took_us, s.at_boot_ms * 3);
        assert_int_equal(s.at_boot_ms, seen);
        last = s.at_boot_ms;
        got++;
    }
    pthread_join(writer, NULL);
    assert_true(got >= SAMPLES_KEPT);
}

static void words(void **state)
{
    (void)state;
    assert_string_equal(sample_fault_word(SAMPLE_5XX), "5xx");
    assert_string_equal(sample_fault_word(SAMPLE_UNSERVED), "unserved");
    assert_string_equal(sample_method_word(HTTP1_M_DELETE), "DELETE");
    assert_string_equal(sample_method_word(HTTP1_M_OTHER), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_in_their_order_once),
        cmocka_unit_test(who_is_late_gets_the_last_ones),
        cmocka_unit_test(the_query_stays_outside),
        cmocka_unit_test(what_is_shown_is_harmless),
        cmocka_unit_test(values_out_of_range),
        cmocka_unit_test(what_differs_is_named),
        cmocka_unit_test(a_ring_that_lies),
        cmocka_unit_test(none_is_torn),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
