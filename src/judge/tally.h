/* tally: measurements of one metric, counted against its limits.
 *
 * Pure. The meanings are those that users of Argo Rollouts know: a metric fails when its failures
 * are more than its limit, and so for inconclusive ones; errors count in a row. What ended stays as
 * it ended.
 */
#ifndef SLUICE_JUDGE_TALLY_H
#define SLUICE_JUDGE_TALLY_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, word): what one measurement gave. */
#define MEASUREMENTS(X)                                                                            \
    X(MEASURED_GOOD, "good")                                                                       \
    X(MEASURED_BAD, "bad")                                                                         \
    X(MEASURED_UNCLEAR, "inconclusive") /* it answered, and said neither */                        \
    X(MEASURED_NOTHING, "no data")      /* it answered that there is nothing to measure yet */     \
    X(MEASURED_ERROR, "error")          /* it did not answer, or not so that it makes sense */

enum measurement {
#define X(name, word) name,
    MEASUREMENTS(X)
#undef X
        MEASUREMENTS_COUNT
};
const char *measurement_word(enum measurement m);

/* X(name, word) */
#define TALLY_STATES(X)                                                                            \
    X(TALLY_RUNNING, "running")                                                                    \
    X(TALLY_SUCCESSFUL, "successful") /* all measurements that were asked for were made */         \
    X(TALLY_FAILED, "failed")                                                                      \
    X(TALLY_ERROR, "error")                                                                        \
    X(TALLY_INCONCLUSIVE, "inconclusive")

enum tally_state {
#define X(name, word) name,
    TALLY_STATES(X)
#undef X
        TALLY_STATES_COUNT
};
const char *tally_state_word(enum tally_state state);

struct tally_limits {
    uint32_t count; /* good, bad and inconclusive ones that are enough; 0: they never are */
    uint32_t failures, consecutive_errors, inconclusive; /* more than that end it */
};

struct tally {
    enum tally_state state;
    uint32_t good, failures, inconclusive, nothing, errors, consecutive_errors;
};

/* All but TALLY_RUNNING take no more. No data counts for nothing, but it is an answer: it ends a
 * row of errors. */
void tally_add(struct tally *t, const struct tally_limits *limits, enum measurement m);
uint32_t tally_measurements(const struct tally *t); /* of every kind */

#endif
