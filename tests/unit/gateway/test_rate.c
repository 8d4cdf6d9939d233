/* The token buckets and the table that keeps them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/rate.h"

#define SECOND UINT64_C(1000000000)

static uint64_t key(const struct rates *r, uint64_t client)
{
    return rates_key(r, 7, &client, sizeof client);
}

static int take_all(struct rates *r, uint64_t client, const struct rate_limit *l, uint64_t now_ns)
{
    int n = 0;
    while (n < 100000 && rates_take(r, key(r, client), l, now_ns) == 0)
        n++;
    return n;
}

static void a_burst_then_the_rate(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(10, 1000, 5);
    uint64_t t = 1000 * SECOND;
    assert_int_equal(take_all(r, 1, &l, t), 5);
    /* Exactly how long until there is one, and not a nanosecond less. */
    assert_int_equal(rates_take(r, key(r, 1), &l, t), SECOND / 10);
    assert_int_equal(rates_take(r, key(r, 1), &l, t + SECOND / 10 - 1), 1);
    assert_int_equal(rates_take(r, key(r, 1), &l, t + SECOND / 10), 0);
    assert_int_equal(rates_take(r, key(r, 1), &l, t + SECOND / 10), SECOND / 10);
    /* Being refused costs nothing: after a second there are ten more, at most a burst at once. */
    assert_int_equal(take_all(r, 1, &l, t + 2 * SECOND), 5);
    assert_int_equal(take_all(r, 1, &l, t + 1000 * SECOND), 5);
}

static void in_the_long_run(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(3, 1000, 2);
    uint64_t t = 5 * SECOND;
    int admitted = 0;
    for (int i = 0; i < 100000; i++) /* a request each 100 us: 10 s */
        admitted += rates_take(r, key(r, 2), &l, t + (uint64_t)i * 100000) == 0;
    assert_in_range(admitted, 30, 32);
}

static void one_at_a_time(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(1, 86400000, 1);
    uint64_t t = SECOND;
    assert_int_equal(take_all(r, 3, &l, t), 1);
    assert_int_equal(rates_take(r, key(r, 3), &l, t), 86400 * SECOND);
    struct rate_limit most = rate_limit_of(1000000, 1, 1000000); /* more than one a nanosecond */
    assert_int_equal(most.interval_ns, 1);
}

static void clients_and_routes_are_apart(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(1, 1000, 1);
    uint64_t t = SECOND, client = 4;
    assert_int_equal(take_all(r, 4, &l, t), 1);
    assert_int_equal(take_all(r, 5, &l, t), 1);
    assert_int_equal(rates_take(r, rates_key(r, 8, &client, sizeof client), &l, t), 0);
    assert_int_not_equal(rates_take(r, key(r, 4), &l, t), 0);
}

/* The clocks of two workers differ a little. */
static void time_that_goes_back_gives_nothing(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(10, 1000, 1);
    assert_int_equal(rates_take(r, key(r, 6), &l, 10 * SECOND), 0);
    assert_int_not_equal(rates_take(r, key(r, 6), &l, 10 * SECOND - 1000), 0);
}

static void another_limit_later(void **state)
{
    struct rates *r = *state;
    struct rate_limit slow = rate_limit_of(1, 3600000, 100), fast = rate_limit_of(10, 1000, 10);
    assert_int_equal(take_all(r, 7, &slow, SECOND), 100);
    /* Debts of days under the old one are at most an empty bucket under the new one. */
    assert_int_equal(rates_take(r, key(r, 7), &fast, SECOND), SECOND / 10);
    assert_int_equal(take_all(r, 7, &fast, SECOND + SECOND / 2), 5);
    assert_int_equal(take_all(r, 7, &slow, 2 * SECOND), 99);
}

/* More clients than there is room: who asked much stays limited, nobody is refused at first sight,
 * and who is honest is not refused later. */
static void a_flood(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(10, 1000, 20);
    uint64_t t = 100 * SECOND;
    for (uint64_t heavy = 1; heavy <= 100; heavy++)
        assert_int_equal(take_all(r, heavy, &l, t), 20);
    for (uint64_t i = 0; i < 4 * RATE_SETS * RATE_WAYS; i++)
        assert_int_equal(rates_take(r, key(r, 1000000 + i), &l, t + i), 0);
    int still = 0;
    for (uint64_t heavy = 1; heavy <= 100; heavy++)
        still += rates_take(r, key(r, heavy), &l, t + SECOND / 100) != 0;
    assert_int_equal(still, 100);
}

/* A place whose bucket is full again is free for others without a loss. */
static void full_ones_make_room(void **state)
{
    struct rates *r = *state;
    struct rate_limit l = rate_limit_of(1, 1000, 1);
    for (uint64_t i = 0; i < 2 * RATE_SETS * RATE_WAYS; i++)
        assert_int_equal(rates_take(r, key(r, i), &l, SECOND + i), 0);
    uint64_t later = 10 * SECOND;
    int limited = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(rates_take(r, key(r, 5000000 + i), &l, later), 0);
        limited += rates_take(r, key(r, 5000000 + i), &l, later) != 0;
    }
    assert_int_equal(limited, 1000);
}

/* ---- several workers ------------------------------------------------------------------------- */

enum { WORKERS = 4, ASKED = 50000 };

struct asking {
    pthread_t thread;
    struct rates *r;
    struct rate_limit l;
    uint64_t clients, admitted;
};

static void *ask(void *arg)
{
    struct asking *a = arg;
    for (uint64_t i = 0; i < ASKED; i++)
        a->admitted += rates_take(a->r, key(a->r, i % a->clients), &a->l, 50 * SECOND) == 0;
    return NULL;
}

static uint64_t ask_together(struct rates *r, uint64_t clients, uint32_t burst)
{
    struct asking a[WORKERS];
    uint64_t sum = 0;
    for (int i = 0; i < WORKERS; i++) {
        a[i] = (struct asking){.r = r, .l = rate_limit_of(1, 1000, burst), .clients = clients};
        assert_int_equal(pthread_create(&a[i].thread, NULL, ask, &a[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(a[i].thread, NULL);
        sum += a[i].admitted;
    }
    return sum;
}

static void workers_share_a_limit(void **state)
{
    struct rates *r = *state;
    uint64_t client = 0;
    /* Exact once the bucket is there, */
    struct rate_limit l = rate_limit_of(1, 1000, 1000);
    assert_int_equal(rates_take(r, rates_key(r, 7, &client, sizeof client), &l, 50 * SECOND), 0);
    assert_int_equal(ask_together(r, 1, 1000), 999);
}

static void many_new_clients_at_once(void **state)
{
    /* and about so when it is made by several: at most one more for each other worker. */
    uint64_t sum = ask_together(*state, 1000, 10);
    assert_in_range(sum, 10000, 10000 + 1000 * (WORKERS - 1));
}

static int fresh(void **state)
{
    *state = rates_new();
    return *state != NULL ? 0 : -1;
}

static int gone(void **state)
{
    rates_free(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_burst_then_the_rate),
        TEST(in_the_long_run),
        TEST(one_at_a_time),
        TEST(clients_and_routes_are_apart),
        TEST(time_that_goes_back_gives_nothing),
        TEST(another_limit_later),
        TEST(a_flood),
        TEST(full_ones_make_room),
        TEST(workers_share_a_limit),
        TEST(many_new_clients_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
