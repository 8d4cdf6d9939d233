#include "shim/lifecycle.h"

#include "base/assert.h"
#include "os/clock.h"
#include "shim/record.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_FIRST_MS = 5,
    TICK_MOST_MS = 250,
    TIMEOUT_GRACE_MS = 2000, /* a job over its time gets TERM first */
    RECORD_RETRY_MS = 1000,
    LAST_BYTES = 1 << 20, /* of output read after the end, should someone outside hold the pipe */
};
#define NEVER INT64_MAX

/* ---- what the table does -------------------------------------------------------------------- */

static void do_nothing(struct life *l)
{
    (void)l;
}

static void start_grace(struct life *l, int sig, int64_t grace_ms)
{
    int64_t now = clock_mono_ms();
    int64_t end = grace_ms > NEVER - now ? NEVER : now + grace_ms;
    if (end < l->grace_over_at)
        l->grace_over_at = end;
    if (sig == l->signal_sent) /* said once: many programs take a second TERM for "at once" */
        return;
    l->signal_sent = sig;
    app_signal(&l->app, sig);
    app_signal(&l->app, SIGCONT); /* a stopped process must hear it too */
}

static void do_stop(struct life *l)
{
    start_grace(l, l->request.signal, l->request.grace_ms);
}

static void do_timeout(struct life *l)
{
    l->end.timed_out = true;
    start_grace(l, SIGTERM, TIMEOUT_GRACE_MS);
}

static void do_kill(struct life *l)
{
    if (!l->app.main_ended)
        l->asked_to_kill = true;
    app_kill(&l->app);
    l->tick_at = clock_mono_ms() + l->tick_every_ms;
    l->tick_every_ms = l->tick_every_ms * 2 < TICK_MOST_MS ? l->tick_every_ms * 2 : TICK_MOST_MS;
}

/* While it shuts down on its own, we look at the group only now and then. */
static void do_look(struct life *l)
{
    l->tick_at = NEVER;
    if (!l->app.main_ended)
        return;
    if (!app_group_left(&l->app)) {
        life_event(l, LIFE_ON_MAIN_ENDED);
        return;
    }
    l->tick_at = clock_mono_ms() + l->tick_every_ms;
    l->tick_every_ms = l->tick_every_ms * 2 < TICK_MOST_MS ? l->tick_every_ms * 2 : TICK_MOST_MS;
}

static void close_pipe(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void fill_end(struct life *l)
{
    struct exit_record *e = &l->end;
    int s = l->app.wait_status;
    e->code = WIFEXITED(s) ? WEXITSTATUS(s) : -1;
    e->signal = WIFSIGNALED(s) ? WTERMSIG(s) : 0;
    e->oom_killed = app_oom_killed(&l->app, l->asked_to_kill);
    if (e->oom_killed)
        snprintf(e->reason, sizeof e->reason, "killed by the kernel: over its memory limit");
    else if (e->timed_out)
        snprintf(e->reason, sizeof e->reason, "killed: over its time");
}

/* Nothing of the run is left. Its log is closed before anybody hears of it: the next run of this
 * instance may open the same file. */
static void do_end(struct life *l)
{
    if (l->app.main_ended)
        fill_end(l);
    l->grace_over_at = l->timeout_at = l->tick_at = NEVER;
    l->end.ended_ms = clock_wall_ms();
    if (l->app.out_fd >= 0)
        applog_read(&l->log, APPLOG_OUT, l->app.out_fd, LAST_BYTES);
    if (l->app.err_fd >= 0)
        applog_read(&l->log, APPLOG_ERR, l->app.err_fd, LAST_BYTES);
    close_pipe(&l->app.out_fd);
    close_pipe(&l->app.err_fd);
    applog_finish(&l->log);
    l->end.dropped_lines = l->log.dropped;
    cgroup_remove(&l->app.cgroup);
    l->record_at = clock_mono_ms();
}

/* ---- the table ------------------------------------------------------------------------------ */

struct transition {
    void (*act)(struct life *l);
    enum life_state next;
};
static const struct transition table[LIFE_STATE_COUNT][LIFE_EVENT_COUNT] =
    {
        [LIFE_RUNNING] =
            {
                [LIFE_ON_STOP] = {do_stop, LIFE_STOPPING},
                [LIFE_ON_KILL] = {do_kill, LIFE_KILLING},
                [LIFE_ON_TIMEOUT] = {do_timeout, LIFE_STOPPING},
                /* Nobody asked it to: what it leaves behind has no one to speak for it. */
                [LIFE_ON_MAIN_ENDED] = {do_kill, LIFE_KILLING},
                [LIFE_ON_ALL_GONE] = {do_end, LIFE_ENDED},
                [LIFE_ON_RELEASE] = {do_nothing, LIFE_RUNNING}, /* nothing to be released from */
            },
        [LIFE_STOPPING] =
            {
                [LIFE_ON_STOP] = {do_stop, LIFE_STOPPING}, /* the earlier end counts */
                [LIFE_ON_KILL] = {do_kill, LIFE_KILLING},
                [LIFE_ON_TIMEOUT] = {do_timeout, LIFE_STOPPING},
                [LIFE_ON_GRACE_OVER] = {do_kill, LIFE_KILLING},
                [LIFE_ON_MAIN_ENDED] = {do_kill, LIFE_KILLING},
                [LIFE_ON_TICK] = {do_look, LIFE_STOPPING},
                [LIFE_ON_ALL_GONE] = {do_end, LIFE_ENDED},
                [LIFE_ON_RELEASE] = {do_nothing, LIFE_STOPPING},
            },
        [LIFE_KILLING] =
            {
                [LIFE_ON_STOP] = {do_nothing, LIFE_KILLING}, /* there is nothing worse than KILL */
                [LIFE_ON_KILL] = {do_kill, LIFE_KILLING},
                [LIFE_ON_TIMEOUT] = {do_nothing, LIFE_KILLING},
                [LIFE_ON_GRACE_OVER] = {do_nothing, LIFE_KILLING},
                [LIFE_ON_MAIN_ENDED] = {do_nothing, LIFE_KILLING},
                [LIFE_ON_TICK] = {do_kill, LIFE_KILLING},
                [LIFE_ON_ALL_GONE] = {do_end, LIFE_ENDED},
                [LIFE_ON_RELEASE] = {do_nothing, LIFE_KILLING},
            },
        [LIFE_ENDED] =
            {
                [LIFE_ON_STOP] = {do_nothing, LIFE_ENDED}, /* it crossed our report */
                [LIFE_ON_KILL] = {do_nothing, LIFE_ENDED},
                [LIFE_ON_RECORDED] = {do_nothing, LIFE_DONE},
                [LIFE_ON_RELEASE] = {do_nothing, LIFE_DONE},
            },
        [LIFE_DONE] =
            {
                [LIFE_ON_STOP] = {do_nothing, LIFE_DONE},
                [LIFE_ON_KILL] = {do_nothing, LIFE_DONE},
                [LIFE_ON_RELEASE] = {do_nothing, LIFE_DONE},
            },
};

static void tell(struct life *l)
{
    struct shimctl_report report;
    life_report(l, &report);
    control_tell_all(&l->control, &report);
}

void life_event(struct life *l, enum life_event event)
{
    const struct transition *t = &table[l->state][event];
    ASSERT(t->act != NULL); /* cannot happen */
    enum life_state before = l->state;
    l->state = t->next;
    t->act(l); /* may raise an event of its own, so the state is set first */
    if (before != l->state && t->next == l->state)
        tell(l);
}

/* ---- from outside to events ----------------------------------------------------------------- */

void life_begin(struct life *l, int64_t timeout_ms)
{
    l->state = LIFE_RUNNING;
    l->grace_over_at = l->tick_at = l->record_at = l->timeout_at = NEVER;
    l->tick_every_ms = TICK_FIRST_MS;
    l->end.code = -1;
    if (l->end.start_failed) {
        life_event(l, LIFE_ON_ALL_GONE);
        return;
    }
    l->end.started_ms = clock_wall_ms();
    if (timeout_ms > 0 && timeout_ms < NEVER - clock_mono_ms())
        l->timeout_at = clock_mono_ms() + timeout_ms;
    tell(l);
}

void life_request(struct life *l, const struct shimctl_request *request)
{
    l->request = *request;
    switch (request->verb) {
    case SHIMCTL_STOP: life_event(l, LIFE_ON_STOP); break;
    case SHIMCTL_KILL: life_event(l, LIFE_ON_KILL); break;
    case SHIMCTL_RELEASE: life_event(l, LIFE_ON_RELEASE); break;
    case SHIMCTL_STATUS: break; /* answered where it came in */
    }
}

void life_reap(struct life *l)
{
    if (l->state >= LIFE_ENDED)
        return;
    bool ended_before = l->app.main_ended;
    bool all_gone = app_reap(&l->app);
    if (all_gone) {
        life_event(l, LIFE_ON_ALL_GONE);
    } else if (l->app.main_ended && !ended_before) {
        if (l->state == LIFE_STOPPING)
            do_look(l); /* the rest of its group may use the rest of the grace */
        else
            life_event(l, LIFE_ON_MAIN_ENDED);
    }
}

static void write_record(struct life *l)
{
    l->record_at = NEVER;
    if (record_write(l->run_dir_fd, &l->end, NULL) == 0) {
        l->recorded = true;
        life_event(l, LIFE_ON_RECORDED);
    } else {
        l->record_at = clock_mono_ms() + RECORD_RETRY_MS;
    }
}

static bool due(int64_t *at, int64_t now)
{
    if (*at > now)
        return false;
    *at = NEVER;
    return true;
}

void life_timers(struct life *l)
{
    int64_t now = clock_mono_ms();
    if (due(&l->timeout_at, now))
        life_event(l, LIFE_ON_TIMEOUT);
    if (due(&l->grace_over_at, now))
        life_event(l, LIFE_ON_GRACE_OVER);
    if (due(&l->tick_at, now))
        life_event(l, LIFE_ON_TICK);
    if (due(&l->record_at, now))
        write_record(l);
}

int64_t life_next_ms(const struct life *l)
{
    int64_t next = l->timeout_at;
    next = l->grace_over_at < next ? l->grace_over_at : next;
    next = l->tick_at < next ? l->tick_at : next;
    next = l->record_at < next ? l->record_at : next;
    if (next == NEVER)
        return -1;
    int64_t now = clock_mono_ms();
    return next > now ? next - now : 0;
}

void life_report(const struct life *l, struct shimctl_report *out)
{
    static const enum shimctl_state wire_states[] = {
#define X(name, wire) wire,
        LIFE_STATES(X)
#undef X
    };
    *out = (struct shimctl_report){
        .state = wire_states[l->state],
        .pid = l->app.main_ended || l->state >= LIFE_ENDED ? 0 : (int32_t)l->app.pid,
        .shim_pid = (int32_t)getpid(),
        .recorded = l->recorded,
        .end = l->end,
    };
    if (l->state < LIFE_ENDED)
        out->end.dropped_lines = l->log.dropped;
}
