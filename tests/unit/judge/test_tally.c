/* Limits: what a row of measurements comes to. */
#include "judge/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* g good, b bad, u unclear, n nothing, e error */
static struct tally run(const struct tally_limits *limits, const char *row)
{
    struct tally t = {0};
    for (; *row != '\0'; row++)
        tally_add(&t, limits, (enum measurement)(strchr("gbune", *row) - "gbune"));
    return t;
}

static void a_row_comes_to_its_state(void **state)
{
    (void)state;
    static const struct tally_limits defaults = {.consecutive_errors = 4, .inconclusive = 3};
    static const struct {
        struct tally_limits limits;
        const char *row;
        enum tally_state state;
    } cases[] = {
        {defaults, "", TALLY_RUNNING},
        {defaults, "gggggggggggg", TALLY_RUNNING},
        {defaults, "ggb", TALLY_FAILED},
        {{.failures = 2}, "bgb", TALLY_RUNNING},
        {{.failures = 2}, "bgbgb", TALLY_FAILED}, /* in all, not in a row */
        {defaults, "eeee", TALLY_RUNNING},
        {defaults, "eeeee", TALLY_ERROR},
        {defaults, "eeeegeeee", TALLY_RUNNING}, /* in a row, not in all */
        {defaults, "eeeeneeee", TALLY_RUNNING}, /* no data is an answer */
        {{.consecutive_errors = 0}, "e", TALLY_ERROR},
        {defaults, "uguu", TALLY_RUNNING},
        {defaults, "ugugugu", TALLY_INCONCLUSIVE},
        {defaults, "nnnnnnnnnnnnnnnnnnnn", TALLY_RUNNING},
        {{.count = 3}, "gg", TALLY_RUNNING},
        {{.count = 3}, "ggg", TALLY_SUCCESSFUL},
        {{.count = 3, .consecutive_errors = 9}, "genege", TALLY_RUNNING}, /* those do not count */
        {{.count = 3, .failures = 1, .inconclusive = 1}, "gbu", TALLY_SUCCESSFUL},
        {{.count = 1}, "b", TALLY_FAILED},
        {{.count = 1}, "u", TALLY_INCONCLUSIVE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tally t = run(&cases[i].limits, cases[i].row);
        if (t.state != cases[i].state)
            fail_msg("%s: %s", cases[i].row, tally_state_word(t.state));
        assert_int_equal(tally_measurements(&t), strlen(cases[i].row));
    }
}

static void what_ended_stays(void **state)
{
    (void)state;
    struct tally_limits limits = {.failures = 0, .consecutive_errors = 4};
    struct tally t = run(&limits, "gb");
    struct tally before = t;
    for (int m = 0; m < MEASUREMENTS_COUNT; m++)
        tally_add(&t, &limits, (enum measurement)m);
    assert_memory_equal(&t, &before, sizeof t);
    assert_string_equal(measurement_word(MEASURED_NOTHING), "no data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_to_its_state),
        cmocka_unit_test(what_ended_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
