/* Durations by class, and exemplars that are read while they are written, or by a hostile writer.
 */
#include "wire/red.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void steps_are_octaves(void **state)
{
    (void)state;
    assert_int_equal(red_step(0), 0);
    assert_int_equal(red_step(511), 0);
    for (unsigned power = RED_FIRST_POWER; power < RED_LAST_POWER; power++) {
        assert_int_equal(red_step(UINT64_C(1) << power), power - RED_FIRST_POWER + 1);
        assert_int_equal(red_step((UINT64_C(2) << power) - 1), power - RED_FIRST_POWER + 1);
    }
    assert_int_equal(red_step(UINT64_C(1) << RED_LAST_POWER), RED_STEPS - 1);
    assert_int_equal(red_step(UINT64_MAX), RED_STEPS - 1);
}

static struct exemplar one(uint32_t slot, uint16_t class, uint64_t us, char digit)
{
    struct exemplar e = {
        .slot = slot, .class = class, .step = (uint16_t)red_step(us), .us = us, .wall_ms = us * 7};
    memset(e.trace, digit, sizeof e.trace);
    return e;
}

static void an_exemplar_is_found_at_its_place_only(void **state)
{
    (void)state;
    struct exemplars *all = calloc(1, sizeof *all);
    struct exemplar got, e = one(5, RED_2XX, 700, 'a');
    uint32_t step = red_step(700);
    assert_false(exemplars_get(all, 5, RED_2XX, step, &got));
    exemplars_put(all, &e);
    assert_true(exemplars_get(all, 5, RED_2XX, step, &got));
    assert_memory_equal(&got, &e, sizeof e);
    for (uint32_t slot = 0; slot < 4096; slot++)
        assert_int_equal(exemplars_get(all, slot, RED_2XX, step, &got), slot == 5);
    assert_false(exemplars_get(all, 5, RED_5XX, step, &got));
    assert_false(exemplars_get(all, 5, RED_2XX, step + 1, &got));
    e = one(5, RED_2XX, 701, 'b');
    exemplars_put(all, &e);
    assert_true(exemplars_get(all, 5, RED_2XX, step, &got));
    assert_int_equal(got.us, 701);
    free(all);
}

static void what_a_hostile_writer_leaves_is_not_taken(void **state)
{
    (void)state;
    static const char bad[] = {'"', '\n', 'A', '\0', 'g', '}'};
    struct exemplars *all = calloc(1, sizeof *all);
    struct exemplar got, e;
    for (size_t i = 0; i < sizeof bad; i++) {
        e = one(1, RED_2XX, 700, 'a');
        e.trace[i * 6] = bad[i];
        exemplars_put(all, &e);
        assert_false(exemplars_get(all, 1, RED_2XX, red_step(700), &got));
    }
    e = one(1, RED_2XX, 700, 'a');
    e.us = 1 << 20; /* not in this step */
    exemplars_put(all, &e);
    assert_false(exemplars_get(all, 1, RED_2XX, red_step(700), &got));
    free(all);
}

static atomic_bool over;

static void *write_on(void *arg)
{
    for (unsigned i = 0; !atomic_load(&over); i++) {
        struct exemplar e = one(3, RED_5XX, 1024 + i % 1000, (char)('a' + i % 6));
        exemplars_put(arg, &e);
    }
    return NULL;
}

static void none_is_torn(void **state)
{
    (void)state;
    struct exemplars *all = calloc(1, sizeof *all);
    pthread_t writer;
    unsigned found = 0;
    pthread_create(&writer, NULL, write_on, all);
    while (found < 20000) {
        struct exemplar got;
        if (!exemplars_get(all, 3, RED_5XX, red_step(1024), &got))
            continue;
        found++;
        assert_int_equal(got.wall_ms, got.us * 7);
        for (size_t i = 1; i < sizeof got.trace; i++)
            assert_int_equal(got.trace[i], got.trace[0]);
    }
    atomic_store(&over, true);
    pthread_join(writer, NULL);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_octaves),
        cmocka_unit_test(an_exemplar_is_found_at_its_place_only),
        cmocka_unit_test(what_a_hostile_writer_leaves_is_not_taken),
        cmocka_unit_test(none_is_torn),
    };
    return cmocka_run_group_tests_name("wire/red", tests, NULL, NULL);
}
