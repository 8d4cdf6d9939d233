/* When an instance is an outlier, for how long, and how its share comes back. */
#include "gateway/ejection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* The shortest row that is evidence. */
static uint32_t row_needed(uint64_t failed, uint64_t answers)
{
    uint32_t row = 1;
    while (ejection_by_chance(row, failed, answers))
        row++;
    return row;
}

static void a_row_is_evidence_by_what_the_others_have(void **state)
{
    (void)state;
    assert_int_equal(row_needed(0, 100), 3); /* (1/102)^3 */
    assert_int_equal(row_needed(0, 14), 5);
    assert_int_equal(row_needed(10, 100), 7);
    assert_int_equal(row_needed(50, 100), 20);
    assert_int_equal(row_needed(0, 0), 20); /* nothing is known */
    assert_true(row_needed(90, 100) > 100);
}

/* What all have is nobody's fault: a database that is down. */
static void where_all_fail_no_row_is_evidence_soon(void **state)
{
    (void)state;
    assert_true(ejection_by_chance(1000, 256, 256));
    assert_true(ejection_by_chance(UINT32_MAX, UINT64_MAX / 2, UINT64_MAX / 2));
    assert_true(ejection_by_chance(0, 0, 1000000));
}

static void never_the_last_one(void **state)
{
    (void)state;
    static const struct {
        uint32_t instances, ppm, most;
    } cases[] = {
        {0, 500000, 0},  {1, 500000, 0}, {1, 1000000, 0},      {2, 500000, 1},
        {2, 1, 1},       {3, 500000, 1}, {4, 500000, 2},       {4, 1000000, 3},
        {10, 300000, 3}, {10, 50000, 1}, {1000, 1000000, 999},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(ejection_most(cases[i].instances, cases[i].ppm), cases[i].most);
}

static void each_time_in_a_row_is_longer(void **state)
{
    (void)state;
    uint32_t times = 0;
    uint64_t now = 1000000, until = 0;
    for (uint64_t n = 1; n <= 12; n++) {
        until = ejection_until(&times, until, now, 30000, 300000);
        assert_int_equal(until - now, n <= 10 ? n * 30000 : 300000);
        assert_int_equal(times, n);
        now = until + 1; /* as soon as it is back */
    }
}

static void time_without_a_fault_forgives(void **state)
{
    (void)state;
    uint32_t times = 5;
    assert_int_equal(ejection_until(&times, 1000, 1000 + 3 * 30000, 30000, 300000),
                     1000 + 3 * 30000 + 3 * 30000);
    assert_int_equal(times, 3);
    assert_int_equal(ejection_until(&times, 1000, 1000000000, 30000, 300000), 1000000000 + 30000);
    assert_int_equal(times, 1);
}

static void a_base_above_the_longest_is_cut(void **state)
{
    (void)state;
    uint32_t times = 0;
    assert_int_equal(ejection_until(&times, 0, 5000, 30000, 1000), 6000);
    times = 0;
    assert_int_equal(ejection_until(&times, 0, 5000, 0, 1000), 5001);
    times = UINT32_MAX;
    assert_int_equal(ejection_until(&times, 5000, 5000, UINT32_MAX, UINT32_MAX),
                     5000 + (uint64_t)UINT32_MAX);
    assert_int_equal(times, UINT32_MAX);
}

static void a_share_rises_from_a_tenth(void **state)
{
    (void)state;
    assert_int_equal(ramp_share(1000, 31000, 0), RAMP_WHOLE / 10);
    assert_int_equal(ramp_share(1000, 31000, 1000), RAMP_WHOLE / 10);
    assert_int_equal(ramp_share(1000, 31000, 31000), RAMP_WHOLE);
    assert_int_equal(ramp_share(1000, 1000, 1000), RAMP_WHOLE);
    uint32_t half = ramp_share(1000, 31000, 16000);
    assert_in_range(half, RAMP_WHOLE * 55 / 100 - 2, RAMP_WHOLE * 55 / 100 + 2);
    uint32_t before = 0;
    for (uint64_t now = 0; now < 40000; now += 7) {
        uint32_t share = ramp_share(1000, 31000, now);
        assert_true(share >= before && share <= RAMP_WHOLE);
        before = share;
    }
    /* A month, and a time that has run backwards. */
    assert_int_equal(ramp_share(0, UINT64_C(2592000000), UINT64_C(2591999999)) / 64,
                     RAMP_WHOLE / 64 - 1);
    assert_int_equal(ramp_share(50000, 60000, 10), RAMP_WHOLE / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_evidence_by_what_the_others_have),
        cmocka_unit_test(where_all_fail_no_row_is_evidence_soon),
        cmocka_unit_test(never_the_last_one),
        cmocka_unit_test(each_time_in_a_row_is_longer),
        cmocka_unit_test(time_without_a_fault_forgives),
        cmocka_unit_test(a_base_above_the_longest_is_cut),
        cmocka_unit_test(a_share_rises_from_a_tenth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
