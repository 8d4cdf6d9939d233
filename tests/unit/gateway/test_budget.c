/* The budget of retries: a share of the requests, a few in any case, and nothing saved for ever. */
#include "gateway/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PPM = 200000, START_MS = 1000 };

/* How many it gives in one go. */
static uint32_t drain(struct budget *b, uint32_t ppm, uint64_t requests, uint64_t now_ms)
{
    uint32_t n = 0;
    while (n < 1000000 && budget_take(b, ppm, requests, START_MS, now_ms))
        n++;
    return n;
}

static void a_few_without_any_traffic(void **state)
{
    (void)state;
    struct budget b = {0};
    assert_int_equal(drain(&b, PPM, 0, START_MS), BUDGET_PER_S * BUDGET_SPAN_MS / 1000);
    assert_int_equal(drain(&b, PPM, 0, START_MS + 99), 0);
    assert_int_equal(drain(&b, PPM, 0, START_MS + 1000), BUDGET_PER_S);
    assert_int_equal(drain(&b, 0, 0, START_MS + 3000), 2 * BUDGET_PER_S);
}

static void a_share_of_the_requests(void **state)
{
    (void)state;
    struct budget b = {0};
    uint64_t requests = 0, taken = 0;
    drain(&b, PPM, 0, START_MS);
    for (uint64_t s = 1; s <= 100; s++) {
        requests += 1000;
        taken += drain(&b, PPM, requests, START_MS + 1000 * s);
    }
    assert_int_equal(taken, requests / 5 + 100 * BUDGET_PER_S);
}

/* Not more than a span's worth, however long nobody took one. */
static void what_is_not_used_is_lost(void **state)
{
    (void)state;
    struct budget b = {0};
    drain(&b, PPM, 0, START_MS);
    uint32_t n = drain(&b, PPM, 3600 * 100, START_MS + 3600 * 1000);
    assert_int_equal(n, BUDGET_SPAN_MS / 1000 * (100 / 5 + BUDGET_PER_S));
}

/* The first look is at traffic that has run for a while: it counts as evenly spread. */
static void the_first_look_knows_the_rate(void **state)
{
    (void)state;
    struct budget b = {0};
    assert_int_equal(drain(&b, PPM, 1000 * 60, START_MS + 60 * 1000),
                     BUDGET_SPAN_MS / 1000 * (1000 / 5 + BUDGET_PER_S));
}

/* A slot that was given to another share may count from less. */
static void fewer_requests_than_before_are_none(void **state)
{
    (void)state;
    struct budget b = {0};
    drain(&b, PPM, 1000000, START_MS + 1000);
    assert_int_equal(drain(&b, PPM, 5, START_MS + 2000), BUDGET_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_without_any_traffic),
        cmocka_unit_test(a_share_of_the_requests),
        cmocka_unit_test(what_is_not_used_is_lost),
        cmocka_unit_test(the_first_look_knows_the_rate),
        cmocka_unit_test(fewer_requests_than_before_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
