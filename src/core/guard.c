/* What makes a rollout fail: the candidate crashes, cannot start, is judged worse, or nothing moves
 * for as long as the deadline says.
 *
 * The deadline belongs to the rollout and to what it waits for: not to a hold, an approval or a
 * pause. Progress is the next step, one more ready instance in this step, one fewer to drain or to
 * stop; each can only happen so often, so a deadline cannot be missed. While old instances drain,
 * the drain and grace times that the file gives them are on top. */
#include "base/assert.h"
#include "base/units.h"
#include "core/core_internal.h"

#include <stdio.h>

static void fail_with(struct turn *t, enum reason_code code, const struct instance_obs *in,
                      const char *what)
{
    char text[3 * REASON_TEXT_MAX]; /* reason_set() cuts */
    bool detail = in->detail != NULL && in->detail[0] != 0;
    snprintf(text, sizeof text, "%s %s%s%s", in->id, what, detail ? ": " : "",
             detail ? in->detail : "");
    rollout_fail(t, code, text);
}

/* A pool that was kept may have crashed long before this rollout: that does not count. */
static uint32_t crashes_of(const struct turn *t, const struct instance_obs *in)
{
    if (in->state == INSTANCE_READY && in->exited_ms < t->s->rollout.started_ms &&
        in->exited_ms != 0)
        return 0;
    return in->fast_crashes;
}

/* The one to name: that can say why, and crashed most. */
static bool worse(const struct instance_obs *a, const struct instance_obs *b)
{
    if ((a->detail != NULL) != (b->detail != NULL))
        return a->detail != NULL && a->fast_crashes > 0;
    return a->fast_crashes > b->fast_crashes;
}

static void check_candidate(struct turn *t)
{
    uint32_t crashes = 0, failed_starts = 0;
    const struct instance_obs *worst = NULL, *failed = NULL;
    for (size_t i = 0; i < t->obs->instances_len; i++) {
        const struct instance_obs *in = &t->obs->instances[i];
        if (in->pool != t->s->candidate)
            continue;
        if (in->port_taken) {
            fail_with(t, REASON_PORT_TAKEN, in, "cannot have its port");
            if (t->s->rollout.phase != PHASE_FORWARD)
                return;
        }
        crashes += crashes_of(t, in);
        if (worst == NULL || worse(in, worst))
            worst = in;
        if (in->start_failed) {
            failed_starts += in->fast_crashes > 1 ? in->fast_crashes : 1;
            failed = in;
        }
    }
    char text[80];
    if (failed_starts >= START_FAILED_LIMIT) {
        fail_with(t, REASON_START_FAILED, failed, "cannot be started");
    } else if (crashes >= CRASH_LIMIT) {
        ASSERT(worst != NULL);
        snprintf(text, sizeof text, "crashed (%u crashes of the new release in all)", crashes);
        fail_with(t, worst->out_of_memory ? REASON_OUT_OF_MEMORY : REASON_CRASH_LOOP, worst, text);
    }
}

void guard_check(struct turn *t)
{
    ASSERT(t->s->rollout.phase == PHASE_FORWARD);
    check_candidate(t);
    if (t->s->rollout.phase != PHASE_FORWARD)
        return;
    /* Someone who said promote has seen the numbers. */
    if (t->obs->verdict == VERDICT_ROLL_BACK && !t->s->rollout.promote_all) {
        const struct reason *r = &t->obs->verdict_reason;
        rollout_fail(t, r->code != REASON_NONE ? r->code : REASON_ERRORS, r->text);
    }
    if (t->obs->verdict == VERDICT_INCONCLUSIVE && !t->s->rollout.promote_all)
        rollout_fail(t, REASON_INCONCLUSIVE, t->obs->verdict_reason.text);
}

/* ---- progress ---- */

static uint32_t measure_ready(const struct turn *t)
{
    uint32_t ready = 0;
    for (size_t p = 0; p < SPEC_MAX_PROCESSES; p++) {
        ready += turn_counts(t, t->s->candidate)[p].ready;
        if (t->s->stable != 0)
            ready += turn_counts(t, t->s->stable)[p].ready;
    }
    return ready;
}

/* UINT32_MAX less the stages that everything which has to go still has before it. */
static uint32_t measure_drained(const struct turn *t)
{
    uint32_t left = 0;
    for (size_t i = 0; i <= CORE_MAX_POOLS; i++)
        for (size_t p = 0; p < SPEC_MAX_PROCESSES; p++) {
            const struct count *c = &t->tally.of[i][p];
            uint32_t wanted = i < CORE_MAX_POOLS ? t->s->pools[i].wanted[p] : 0;
            uint32_t excess = c->alive > wanted ? c->alive - wanted : 0;
            left += 4 * excess + 2 * c->leaving + c->undrained - c->stopping;
        }
    return UINT32_MAX - left;
}

void guard_progress_reset(struct turn *t)
{
    t->s->rollout.ready_best = measure_ready(t);
    t->s->rollout.drained_best = measure_drained(t);
}

void guard_progress(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    uint32_t ready = measure_ready(t), drained = measure_drained(t);
    if (ready <= r->ready_best && drained <= r->drained_best)
        return;
    r->ready_best = ready > r->ready_best ? ready : r->ready_best;
    r->drained_best = drained > r->drained_best ? drained : r->drained_best;
    r->progress_ms = t->now;
    turn_changed(t);
}

/* ---- the deadline ---- */

static int64_t allowed_ms(const struct turn *t, const struct step *step)
{
    int64_t allowed = rollout_spec(t)->deadline_ms;
    if (step->kind != STEP_DRAIN && step->kind != STEP_STOP)
        return allowed;
    int64_t leaving = 0;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        const struct app_spec *spec = turn_spec(t, t->s->pools[i].id);
        int64_t needs = spec->stop.drain_ms + 2 * spec->stop.grace_ms;
        leaving = needs > leaving ? needs : leaving;
    }
    return allowed + leaving;
}

static const struct instance_obs *not_ready(const struct turn *t)
{
    const struct instance_obs *found = NULL;
    for (size_t i = 0; i < t->obs->instances_len; i++) {
        const struct instance_obs *in = &t->obs->instances[i];
        if (in->pool != t->s->candidate || in->state == INSTANCE_READY)
            continue;
        if (found == NULL || (found->detail == NULL && in->detail != NULL))
            found = in;
    }
    return found;
}

void guard_deadline(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    const struct step *step = present_step(t->s);
    if (step == NULL || step_only_waits(step))
        return;
    int64_t allowed = allowed_ms(t, step), at = r->progress_ms + allowed;
    if (t->now < at) {
        turn_wake(t, at);
        return;
    }
    char time[32], text[160];
    format_duration_ms(rollout_spec(t)->deadline_ms, time, sizeof time);
    const struct instance_obs *in = not_ready(t);
    if (in != NULL) {
        snprintf(text, sizeof text, "is not ready after %s (%s)", time,
                 instance_state_word(in->state));
        fail_with(t, REASON_NOT_READY, in, text);
        return;
    }
    cleanup_buf struct buf name = BUF_INIT;
    step_describe(step, rollout_spec(t), &name);
    snprintf(text, sizeof text, "no progress for %s in the step \"%s\"", time, buf_str(&name));
    rollout_fail(t, REASON_DEADLINE, text);
}
