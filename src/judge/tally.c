#include "judge/tally.h"

#include "base/assert.h"

const char *measurement_word(enum measurement m)
{
    static const char *const words[] = {
#define X(name, word) word,
        MEASUREMENTS(X)
#undef X
    };
    ASSERT(m < MEASUREMENTS_COUNT);
    return words[m];
}

const char *tally_state_word(enum tally_state state)
{
    static const char *const words[] = {
#define X(name, word) word,
        TALLY_STATES(X)
#undef X
    };
    ASSERT(state < TALLY_STATES_COUNT);
    return words[state];
}

uint32_t tally_measurements(const struct tally *t)
{
    return t->good + t->failures + t->inconclusive + t->nothing + t->errors;
}

static void count(struct tally *t, enum measurement m)
{
    switch (m) {
    case MEASURED_GOOD: t->good++; break;
    case MEASURED_BAD: t->failures++; break;
    case MEASURED_UNCLEAR: t->inconclusive++; break;
    case MEASURED_NOTHING: t->nothing++; break;
    case MEASURED_ERROR:
        t->errors++;
        t->consecutive_errors++;
        return;
    case MEASUREMENTS_COUNT:
    default: UNREACHABLE();
    }
    t->consecutive_errors = 0;
}

void tally_add(struct tally *t, const struct tally_limits *limits, enum measurement m)
{
    if (t->state != TALLY_RUNNING)
        return;
    count(t, m);
    if (t->failures > limits->failures)
        t->state = TALLY_FAILED;
    else if (t->consecutive_errors > limits->consecutive_errors)
        t->state = TALLY_ERROR;
    else if (t->inconclusive > limits->inconclusive)
        t->state = TALLY_INCONCLUSIVE;
    else if (limits->count > 0 && t->good + t->failures + t->inconclusive >= limits->count)
        t->state = TALLY_SUCCESSFUL;
}
