/* When a worker has too much to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/overload.h"

enum { T = 1000000 };

static void a_backlog_of_a_second(void **state)
{
    (void)state;
    struct overload o = {.caught_up_ms = T};
    uint64_t now = T;
    for (int i = 1; i <= 99; i++) {
        now = T + (uint64_t)i * 10;
        overload_turn(&o, true, now);
        assert_false(overload_late(&o, now));
    }
    overload_turn(&o, true, T + 1000);
    assert_true(overload_late(&o, T + 1000));
    /* Caught up with once: over. */
    overload_turn(&o, false, T + 1010);
    assert_false(overload_late(&o, T + 1010));
    overload_turn(&o, true, T + 1020);
    assert_false(overload_late(&o, T + 1020));
}

static void the_machine_slept(void **state)
{
    (void)state;
    struct overload o = {.caught_up_ms = T};
    for (int i = 0; i < OVERLOAD_TURNS - 1; i++) {
        overload_turn(&o, true, T + 3600000);
        assert_false(overload_late(&o, T + 3600000));
    }
    overload_turn(&o, false, T + 3600010);
    assert_false(overload_late(&o, T + 3600010));
}

static void few_and_slow_turns(void **state)
{
    (void)state;
    struct overload o = {.caught_up_ms = T};
    for (int i = 1; i <= 100; i++) {
        overload_turn(&o, false, T + (uint64_t)i * 5000);
        assert_false(overload_late(&o, T + (uint64_t)i * 5000));
    }
}

static void memory(void **state)
{
    (void)state;
    struct chunk_pool p = {.limit = 8000};
    assert_false(overload_memory(&p));
    p.bytes = 7000;
    assert_false(overload_memory(&p));
    p.bytes = 7001;
    assert_true(overload_memory(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backlog_of_a_second),
        cmocka_unit_test(the_machine_slept),
        cmocka_unit_test(few_and_slow_turns),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
