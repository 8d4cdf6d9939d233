/* The state of a watch after a promotion, for bake.c and bake_record.c. */
#ifndef SLUICE_CONTROL_BAKE_H
#define SLUICE_CONTROL_BAKE_H

#include "control/control_internal.h"

enum { BAKE_MARKS = JUDGE_EDGES - 1 };

struct bake_mark {
    uint32_t bucket; /* slow: in this one or above */
    struct baseline slow;
};

struct bake {
    uint32_t release, previous;
    int64_t began_ms, until_ms, saved_ms;
    double alpha;
    uint64_t history_requests, history_errors;
    bool has_errors;
    struct baseline errors;
    struct bake_mark marks[BAKE_MARKS];
    size_t marks_len;
    bool has_burn_errors, has_burn_slow;
    struct burn burn_errors, burn_slow;
    uint64_t requests, failed; /* since it began, also under earlier controllers */
    bool adopted; /* of an earlier controller: what there is at the first look was seen by it */
    struct traffic_sum seen;
    bool given_up; /* worse, but there was no way back */
};

#endif
