/* When a client is too slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/pace.h"

enum { T = 1000000 };

static void the_grace_alone(void **state)
{
    (void)state;
    struct pace p = {0};
    assert_int_equal(pace_wait(&p, 0, 500, T), T + PACE_GRACE_MS);
    /* Waiting on does not move it. */
    assert_int_equal(pace_wait(&p, 0, 500, T + 3000), T + PACE_GRACE_MS);
}

static void bytes_pay_debts(void **state)
{
    (void)state;
    struct pace p = {0};
    pace_wait(&p, 0, 500, T);
    pace_go(&p, T + 4000);
    /* Nobody waits for it meanwhile: that time is not its own. 1000 bytes are two of the four
     * seconds. */
    assert_int_equal(pace_wait(&p, 1000, 500, T + 60000), T + 60000 + PACE_GRACE_MS - 2000);
    pace_go(&p, T + 60500);
    pace_go(&p, T + 70000); /* was not waited for */
    assert_int_equal(pace_wait(&p, 1250, 500, T + 80000), T + 80000 + PACE_GRACE_MS - 2000);
    /* Seen to have moved while it is waited for (the kernel's buffer shrank). */
    assert_int_equal(pace_wait(&p, 1750, 500, T + 81000), T + 81000 + PACE_GRACE_MS - 2000);
}

static void nothing_is_saved_up(void **state)
{
    (void)state;
    struct pace p = {0};
    assert_int_equal(pace_wait(&p, 1 << 30, 500, T), T + PACE_GRACE_MS);
    pace_go(&p, T + 100);
    assert_int_equal(pace_wait(&p, 2u << 30, 500, T + 200), T + 200 + PACE_GRACE_MS);
    assert_int_equal(pace_wait(&p, 1 << 30, 500, T + 300), T + 200 + PACE_GRACE_MS); /* not back */
}

static void a_byte_a_second_is_caught(void **state)
{
    (void)state;
    struct pace p = {0};
    uint64_t now = T, bytes = 0;
    while (pace_wait(&p, bytes, 500, now) > now + 1000) {
        now += 1000;
        bytes++;
        pace_go(&p, now);
    }
    assert_in_range(now, T + PACE_GRACE_MS - 1000, T + PACE_GRACE_MS);
}

static void just_fast_enough(void **state)
{
    (void)state;
    struct pace p = {0};
    for (uint64_t now = T, bytes = 0; now < T + 3600000; now += 1000) {
        assert_true(pace_wait(&p, bytes, 500, now) > now + 1000);
        pace_go(&p, now + 1000);
        bytes += 500;
    }
}

static void no_overflow(void **state)
{
    (void)state;
    struct pace p = {.owed_ms = UINT64_MAX / 2};
    assert_int_equal(pace_wait(&p, 0, 1, T), T); /* now */
    pace_go(&p, T);
    assert_int_equal(pace_wait(&p, UINT64_MAX / 1000, 1, T), T + PACE_GRACE_MS);
    pace_go(&p, T + 1000);
    assert_int_equal(pace_wait(&p, UINT64_MAX / 1000 + 1, UINT32_MAX, T + 1000), T + PACE_GRACE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grace_alone),     cmocka_unit_test(bytes_pay_debts),
        cmocka_unit_test(nothing_is_saved_up), cmocka_unit_test(a_byte_a_second_is_caught),
        cmocka_unit_test(just_fast_enough),    cmocka_unit_test(no_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
