/* The life of one run: a table of state x event. What happens outside (signals, requests, time) is
 * turned into events; the table says what is done and what comes next.
 */
#ifndef SLUICE_SHIM_LIFECYCLE_H
#define SLUICE_SHIM_LIFECYCLE_H

#include "shim/app.h"
#include "shim/applog.h"
#include "shim/control.h"
#include "wire/exitrecord.h"

#include <stdbool.h>
#include <stdint.h>

/* X(state, what the control socket calls it) */
#define LIFE_STATES(X)                                                                             \
    X(RUNNING, SHIMCTL_RUNNING)                                                                    \
    X(STOPPING, SHIMCTL_STOPPING) /* the stop signal was sent; KILL when the grace is over */      \
    X(KILLING, SHIMCTL_STOPPING)  /* KILL was sent; again and again until nothing is left */       \
    X(ENDED, SHIMCTL_ENDED)       /* the exit record is being written */                           \
    X(DONE, SHIMCTL_ENDED)        /* written, or told to end without */

#define LIFE_EVENTS(X)                                                                             \
    X(STOP)                                                                                        \
    X(KILL)                                                                                        \
    X(TIMEOUT) /* a job over its time */                                                           \
    X(GRACE_OVER)                                                                                  \
    X(MAIN_ENDED) /* and its group is empty, or nobody asked it to stop */                         \
    X(TICK)       /* time to kill what is left once more */                                        \
    X(ALL_GONE)                                                                                    \
    X(RECORDED)                                                                                    \
    X(RELEASE)

enum life_state {
#define X(name, wire) LIFE_##name,
    LIFE_STATES(X)
#undef X
        LIFE_STATE_COUNT
};
enum life_event {
#define X(name) LIFE_ON_##name,
    LIFE_EVENTS(X)
#undef X
        LIFE_EVENT_COUNT
};

struct life {
    enum life_state state;
    struct app app;
    struct applog log;
    struct control control;
    int run_dir_fd;
    struct exit_record end;
    bool recorded;
    bool asked_to_kill; /* KILL came from us, so not from the kernel */
    /* Times of clock_mono_ms(); INT64_MAX: never. */
    int64_t timeout_at, grace_over_at, tick_at, record_at;
    int64_t tick_every_ms;
    int signal_sent;                /* the last stop signal; 0: none */
    struct shimctl_request request; /* of the STOP that is being handled */
};

/* The app runs (or, with end.start_failed set, never did). */
void life_begin(struct life *l, int64_t timeout_ms);

void life_event(struct life *l, enum life_event event);
void life_request(struct life *l, const struct shimctl_request *request);
void life_reap(struct life *l);             /* after SIGCHLD */
void life_timers(struct life *l);           /* events whose time has come; writes the exit record */
int64_t life_next_ms(const struct life *l); /* until the next of them; -1: none */
void life_report(const struct life *l, struct shimctl_report *out);

#endif
