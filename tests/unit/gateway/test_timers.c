#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/chunk.h"
#include "gateway/timers.h"

struct test_timer {
    struct timer timer; /* first */
    struct timers *wheel;
    uint64_t now, again_ms, want;
    int fired;
};

static uint64_t now;

static void fire(struct timer *t)
{
    struct test_timer *x = (struct test_timer *)t;
    x->fired++;
    assert_true(now >= x->want);
    assert_true(now < x->want + 3 * TIMERS_TICK_MS);
    if (x->again_ms > 0) {
        x->want = now + x->again_ms;
        timer_set(x->wheel, t, x->want);
    }
}

static void set(struct test_timer *x, struct timers *w, uint64_t due)
{
    x->wheel = w;
    x->want = due;
    timer_set(w, &x->timer, due);
}

/* Each fires once, not before its time and soon after, however often it was moved. */
static void test_against_a_list(void **state)
{
    (void)state;
    enum { N = 300 };
    struct timers w;
    static struct test_timer t[N];
    memset(t, 0, sizeof t);
    now = 1000003;
    timers_init(&w, now);
    srand(7);
    for (int i = 0; i < N; i++) {
        timer_init(&t[i].timer, fire);
        set(&t[i], &w, now + (uint64_t)rand() % 60000);
    }
    for (int i = 0; i < N; i += 3)
        set(&t[i], &w, now + (uint64_t)rand() % 60000); /* to earlier and to later */
    for (int i = 1; i < N; i += 30)
        timer_cancel(&w, &t[i].timer);
    for (int steps = 0; steps < 100000; steps++) {
        int wait = timers_wait_ms(&w, now);
        if (wait < 0)
            break;
        now += (uint64_t)wait;
        timers_run(&w, now);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(t[i].fired, i % 30 == 1 ? 0 : 1);
    assert_int_equal(timers_wait_ms(&w, now), -1);
}

static void test_it_sets_itself_again(void **state)
{
    (void)state;
    struct timers w;
    struct test_timer t = {.again_ms = 100};
    now = 5000;
    timers_init(&w, now);
    timer_init(&t.timer, fire);
    set(&t, &w, now + 100);
    while (now < 15000) {
        now += (uint64_t)timers_wait_ms(&w, now);
        timers_run(&w, now);
    }
    assert_in_range(t.fired, 80, 100);
}

/* The machine slept, or the loop was held up for longer than once around. */
static void test_a_long_gap(void **state)
{
    (void)state;
    struct timers w;
    struct test_timer t[3] = {{.fired = 0}};
    now = 0;
    timers_init(&w, now);
    for (int i = 0; i < 3; i++) {
        timer_init(&t[i].timer, fire);
        t[i].wheel = &w;
    }
    timer_set(&w, &t[0].timer, 10);
    timer_set(&w, &t[1].timer, 20000);
    timer_set(&w, &t[2].timer, 3600000);
    now = 3000000;
    t[0].want = t[1].want = now; /* late, because of the gap */
    t[2].want = 3600000;
    timers_run(&w, now);
    assert_int_equal(t[0].fired + t[1].fired, 2);
    assert_int_equal(t[2].fired, 0);
    timer_cancel(&w, &t[2].timer);
}

static void test_moving_on_is_lazy(void **state)
{
    (void)state;
    struct timers w;
    struct test_timer t = {.fired = 0};
    now = 0;
    timers_init(&w, now);
    timer_init(&t.timer, fire);
    set(&t, &w, 100);
    uint64_t place = t.timer.place;
    set(&t, &w, 5000);
    assert_int_equal(t.timer.place, place);
    now = 200;
    timers_run(&w, now);
    assert_int_equal(t.fired, 0);
    now = 5016;
    timers_run(&w, now);
    assert_int_equal(t.fired, 1);
}

/* ---- chunks: bounded, and NULL beyond
 * ---------------------------------------------------------------- */

static void test_chunks_are_bounded(void **state)
{
    (void)state;
    struct chunk_pool p = {.limit = 3 * CHUNK_BIG};
    struct chunk *c[4];
    for (int i = 0; i < 3; i++) {
        c[i] = chunk_get(&p, CHUNK_BIG);
        assert_non_null(c[i]);
    }
    assert_null(chunk_get(&p, CHUNK_BIG));
    assert_null(chunk_get(&p, 1));
    chunk_put(&p, c[0]);
    c[3] = chunk_get(&p, 1);
    assert_non_null(c[3]);
    chunk_add(c[3], "hello", 5);
    chunk_consume(&p, &c[3], 3);
    assert_int_equal(chunk_len(c[3]), 2);
    chunk_compact(c[3]);
    assert_memory_equal(c[3]->data, "lo", 2);
    chunk_consume(&p, &c[3], 2);
    assert_null(c[3]);
    c[1]->next = c[2];
    chunk_put_all(&p, c[1]);
    assert_int_equal(p.bytes, 0);
    chunk_pool_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),     cmocka_unit_test(test_it_sets_itself_again),
        cmocka_unit_test(test_a_long_gap),         cmocka_unit_test(test_moving_on_is_lazy),
        cmocka_unit_test(test_chunks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
