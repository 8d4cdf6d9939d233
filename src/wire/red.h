/* Rate, errors and duration of a route's requests, by how they ended; and exemplars of them. In the
 * shared memory of metrics.h: written by one worker with plain stores, read while that goes on. */
#ifndef SLUICE_WIRE_RED_H
#define SLUICE_WIRE_RED_H

#include "wire/traceparent.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* X(name, word): the instance's own answers by their status; then what the gateway made of it. */
#define RED_CLASSES(X)                                                                             \
    X(RED_1XX, "1xx") /* 101: an upgrade */                                                        \
    X(RED_2XX, "2xx")                                                                              \
    X(RED_3XX, "3xx")                                                                              \
    X(RED_4XX, "4xx")                                                                              \
    X(RED_5XX, "5xx")                                                                              \
    X(RED_FAILED, "failed") /* 502 or 504 by the gateway */                                        \
    X(RED_CUT, "cut")       /* ended in the middle, whatever its status */

enum red_class {
#define X(name, word) name,
    RED_CLASSES(X)
#undef X
        RED_CLASSES_COUNT
};
const char *red_class_word(enum red_class c);

/* Durations in octaves of microseconds: step 0 is below 2^9, step i [2^(8+i), 2^(9+i)), the last is
 * 2^26 and more. */
enum { RED_FIRST_POWER = 9, RED_LAST_POWER = 26, RED_STEPS = RED_LAST_POWER - RED_FIRST_POWER + 2 };

static inline uint32_t red_step(uint64_t us)
{
    if (us < UINT64_C(1) << RED_FIRST_POWER)
        return 0;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(us);
    return power >= RED_LAST_POWER ? RED_STEPS - 1 : power - RED_FIRST_POWER + 1;
}

struct red_slot {
    struct {
        _Atomic uint64_t us; /* sum */
        _Atomic uint64_t steps[RED_STEPS];
    } classes[RED_CLASSES_COUNT];
};

/* The same as numbers. */
struct red {
    struct {
        uint64_t us, steps[RED_STEPS];
    } classes[RED_CLASSES_COUNT];
};
void red_add(struct red *sum, const struct red_slot *slot);

/* ---- exemplars: a trace for a step of a slot's histogram
 * ------------------------------------------ */

/* Few, by hash: a later one takes the place of another. */
enum { EXEMPLAR_CELLS = 1024 };

struct exemplar {
    uint32_t slot;
    uint16_t class, step;
    uint64_t us, wall_ms;
    char trace[TRACE_ID_LEN]; /* lower-case hex; no NUL */
};

enum { EXEMPLAR_WORDS = sizeof(struct exemplar) / sizeof(uint64_t) };

struct exemplar_cell {
    _Atomic uint64_t number; /* rises with each; odd while it is written; 0: empty */
    _Atomic uint64_t words[EXEMPLAR_WORDS];
};

struct exemplars {
    struct exemplar_cell cells[EXEMPLAR_CELLS];
};

/* By the worker only. */
void exemplars_put(struct exemplars *all, const struct exemplar *e);
/* The one of this step. false: none, or it is being written, or it is not what it should be: the
 * trace is hex and us is within the step. */
bool exemplars_get(const struct exemplars *all, uint32_t slot, enum red_class class, uint32_t step,
                   struct exemplar *out);

#endif
