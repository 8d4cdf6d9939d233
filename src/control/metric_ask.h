/* metric_ask: one measurement of one release, by a fetch or a command. Inside control only. */
#ifndef SLUICE_CONTROL_METRIC_ASK_H
#define SLUICE_CONTROL_METRIC_ASK_H

#include "control/metric_answer.h"

struct app;
struct control;
struct metric_ask;

/* Whom it is about. */
struct metric_about {
    uint32_t release;        /* whose value is wanted */
    uint32_t stable_release; /* 0: none */
    int64_t window_ms;       /* since the candidate has traffic */
};

/* Called once, never from within metric_ask_start(), and not at all after metric_ask_cancel(). */
typedef void metric_asked_fn(void *arg, struct metric_answer *answer);

/* spec: of the release under way; it and the releases outlive the ask. */
struct metric_ask *metric_ask_start(struct app *a, const struct metric_spec *spec,
                                    const struct metric_about *about, metric_asked_fn *done,
                                    void *arg);
void metric_ask_cancel(struct metric_ask *ask); /* NULL is fine */

/* A doomed run is over: if it was a measurement, also one of an earlier controller, its log goes.
 */
void metric_run_gone(struct control *c, const char *run_id);

#endif
