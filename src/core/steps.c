/* The table of steps: what each kind does when the rollout comes to it, and when it is over.
 *
 * enter  sets what is wanted. It is called at every turn while the step is the present one, so it
 *        must be level-triggered; false: not yet (something has to hold first).
 * done   looks whether that is so now. It may end the rollout or turn it round.
 * leave  once, when the next step begins.
 * waits  time in this step is no lack of progress. */
#include "base/assert.h"
#include "base/units.h"
#include "core/core_internal.h"

struct step_ops {
    bool (*enter)(struct turn *t, const struct step *step);
    bool (*done)(struct turn *t, const struct step *step);
    void (*leave)(struct turn *t, const struct step *step);
    bool waits;
};

static int64_t in_step_ms(const struct turn *t)
{
    const struct rollout_state *r = &t->s->rollout;
    int64_t here = r->step_since_ms != 0 ? t->now - r->step_since_ms : 0;
    return here + r->step_done_ms;
}

/* A way back and a best effort end, whatever does not answer. */
static bool overdue(struct turn *t, int64_t limit_ms)
{
    int64_t left = limit_ms - in_step_ms(t);
    if (left <= 0)
        return true;
    turn_wake(t, t->now + left);
    return false;
}

static bool going_back(const struct turn *t)
{
    return t->s->rollout.phase == PHASE_BACK;
}

/* Every process of the candidate has what it should have. */
static bool candidate_whole(struct turn *t)
{
    const struct pool_state *p = turn_pool(t, SIDE_CANDIDATE);
    ASSERT(p != NULL);
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (turn_counts(t, p->id)[i].ready < p->wanted[i])
            return false;
    return true;
}

/* ---- commands ---- */

static bool hook_done(struct turn *t, const struct step *step)
{
    enum hook_state state = t->hook_stale ? HOOK_NOT_RUN : t->obs->hook;
    if (state == HOOK_NOT_RUN) {
        struct action *a = turn_act(t, ACTION_HOOK);
        a->pool = t->s->candidate;
    }
    if (state != HOOK_FAILED)
        return state == HOOK_OK;
    enum reason_code code = step->kind == STEP_HOOK ? REASON_RELEASE_COMMAND : REASON_SMOKE;
    return !rollout_fail(t, code, t->obs->hook_text);
}

/* ---- scale ---- */

/* `promote` of a canary goes to the last count at once; every wait is still for ready ones. */
static uint32_t target(const struct turn *t, const struct step *step)
{
    const struct rollout_state *r = &t->s->rollout;
    uint32_t count = step->count;
    if (!r->promote_all || step->side != SIDE_CANDIDATE || r->phase != PHASE_FORWARD ||
        r->kind != ROLLOUT_DEPLOY || rollout_spec(t)->strategy.kind != STRATEGY_CANARY)
        return count;
    for (size_t i = r->cursor; i < r->plan.len; i++) {
        const struct step *later = &r->plan.steps[i];
        if (later->kind == STEP_SCALE && later->side == SIDE_CANDIDATE &&
            later->process == step->process && later->count > count)
            count = later->count;
    }
    return count;
}

static void scale_left_over(struct turn *t, const struct step *step)
{
    struct pool_state *main = pool_left_over(t->s);
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &t->s->pools[i];
        if (!pool_is_left_over(t->s, p))
            continue;
        for (size_t k = 0; k < SPEC_MAX_PROCESSES; k++)
            if (step->count == 0 || p != main)
                set_wanted(t, p, k, 0);
            else if (k == step->process && p->wanted[k] > step->count)
                set_wanted(t, p, k, step->count);
    }
}

/* Stable gives up instances only while the candidate's stand in for them. */
static bool scale_enter(struct turn *t, const struct step *step)
{
    if (step->side == SIDE_LEFT_OVER) {
        scale_left_over(t, step);
        return true;
    }
    struct pool_state *p = turn_pool(t, step->side);
    if (p == NULL)
        return true;
    uint32_t count = target(t, step);
    bool gives_up = step->side == SIDE_STABLE && count < p->wanted[step->process];
    if (gives_up && !going_back(t) && !t->s->rollout.exclusive && !candidate_whole(t))
        return false;
    set_wanted(t, p, step->process, count);
    return true;
}

static bool always(struct turn *t, const struct step *step)
{
    (void)t;
    (void)step;
    return true;
}

/* ---- wait-ready ---- */

static bool ready_done(struct turn *t, const struct step *step)
{
    const struct pool_state *p = turn_pool(t, step->side);
    if (p == NULL)
        return true;
    uint32_t wanted = p->wanted[step->process];
    const struct count *c = &turn_counts(t, p->id)[step->process];
    if (c->settled >= wanted)
        return true;
    turn_wake(t, t->tally.settles_ms);
    if (!step->best_effort)
        return false;
    turn_wake(t, t->tally.hopeless_ms);
    return c->settled + c->hopeless >= wanted || overdue(t, turn_best_effort_ms(t));
}

/* ---- traffic ---- */

static bool hold_enter(struct turn *t, const struct step *step)
{
    traffic_set_hold(t, step->count != 0);
    return true;
}

static bool applied(struct turn *t)
{
    return traffic_applied(t) || (going_back(t) && overdue(t, BEST_EFFORT_MS));
}

static bool hold_done(struct turn *t, const struct step *step)
{
    return step->count == 0 || applied(t);
}

static bool weight_enter(struct turn *t, const struct step *step)
{
    if (going_back(t) || step->weight_ppm == 0) {
        struct pool_state *stable = turn_pool(t, SIDE_STABLE);
        traffic_to(t, t->s->stopped ? NULL : stable);
        return true;
    }
    if (!candidate_whole(t))
        return false;
    traffic_split(t, step->weight_ppm);
    return true;
}

static bool weight_done(struct turn *t, const struct step *step)
{
    (void)step;
    return applied(t);
}

static void weight_leave(struct turn *t, const struct step *step)
{
    char text[32];
    bool to_stable = going_back(t) || step->weight_ppm == 0;
    const struct pool_state *p = turn_pool(t, to_stable ? SIDE_STABLE : SIDE_CANDIDATE);
    uint32_t ready = 0, wanted = 0;
    if (p != NULL && p->routed > 0) {
        ready = turn_counts(t, p->id)[p->routed - 1].ready;
        wanted = p->wanted[p->routed - 1];
    }
    if (to_stable)
        turn_event(t, "weight", "all traffic is on release %u (%u/%u ready)",
                   p != NULL ? p->release : 0, ready, wanted);
    else
        turn_event(t, "weight", "weight %s (%u/%u ready)",
                   format_percent_ppm(step->weight_ppm, text, sizeof text), ready, wanted);
}

static bool mirror_enter(struct turn *t, const struct step *step)
{
    if (step->weight_ppm > 0 && !candidate_whole(t))
        return false;
    traffic_mirror(t, step->weight_ppm);
    return true;
}

static bool mirror_done(struct turn *t, const struct step *step)
{
    (void)step;
    return applied(t);
}

static void mirror_leave(struct turn *t, const struct step *step)
{
    cleanup_buf struct buf text = BUF_INIT;
    step_describe(step, rollout_spec(t), &text);
    turn_event(t, "mirror", "%s", buf_str(&text));
}

/* ---- waiting ---- */

static bool time_done(struct turn *t, const struct step *step)
{
    return t->s->rollout.promote_all || overdue(t, step->duration_ms);
}

static bool approve_done(struct turn *t, const struct step *step)
{
    (void)step;
    return t->s->rollout.promote_all; /* of this one alone: core_promote goes over it */
}

/* ---- judging ---- */

/* Evidence that is still open at the end of a hold goes on in the next one, with more traffic. At
 * the end of the last there is nothing more to compare with. A candidate that answers nothing at
 * all is no matter of evidence. */
static bool judge_done(struct turn *t, const struct step *step)
{
    bool last = step->count != 0, cleared = t->obs->verdict == VERDICT_PASS;
    bool lenient = rollout_spec(t)->strategy.judge.inconclusive == INCONCLUSIVE_CONTINUE &&
                   !t->obs->unanswered;
    if (!last || cleared || t->s->rollout.promote_all || lenient)
        return true;
    return !rollout_fail(t, REASON_INCONCLUSIVE, t->obs->verdict_reason.text);
}

static void judge_leave(struct turn *t, const struct step *step)
{
    (void)step;
    const char *word = t->obs->verdict == VERDICT_PASS      ? "no worse"
                       : t->obs->verdict == VERDICT_NO_DATA ? "no data"
                                                            : "not enough evidence to tell";
    const char *text = t->obs->verdict_reason.text;
    turn_event(t, "verdict", "%s%s%s", word, text[0] != 0 ? ": " : "", text);
}

/* ---- leaving ---- */

static bool of_side(struct turn *t, size_t place, enum side side)
{
    const struct app_state *s = t->s;
    if (place == CORE_MAX_POOLS || s->pools[place].id == 0)
        return side == SIDE_LEFT_OVER;
    if (side == SIDE_LEFT_OVER)
        return pool_is_left_over(s, &s->pools[place]);
    return s->pools[place].id == (side == SIDE_STABLE ? s->stable : s->candidate);
}

/* What is above the wanted counts, and what is on its way out. */
static void remaining(struct turn *t, enum side side, uint32_t *undrained, uint32_t *there)
{
    *undrained = *there = 0;
    for (size_t i = 0; i <= CORE_MAX_POOLS; i++) {
        if (!of_side(t, i, side))
            continue;
        for (size_t k = 0; k < SPEC_MAX_PROCESSES; k++) {
            const struct count *c = &t->tally.of[i][k];
            uint32_t wanted = i < CORE_MAX_POOLS ? t->s->pools[i].wanted[k] : 0;
            uint32_t excess = c->alive > wanted ? c->alive - wanted : 0;
            *undrained += excess + c->undrained;
            *there += excess + c->leaving;
        }
    }
}

static int64_t leaving_limit_ms(const struct turn *t)
{
    const struct stop_spec *stop = &rollout_spec(t)->stop;
    return stop->drain_ms + 2 * stop->grace_ms + BEST_EFFORT_MS;
}

static bool drain_done(struct turn *t, const struct step *step)
{
    uint32_t undrained, there;
    remaining(t, step->side, &undrained, &there);
    return undrained == 0 || (going_back(t) && overdue(t, leaving_limit_ms(t)));
}

/* Nothing runs but what the rollout is going to. */
static bool alone(struct turn *t)
{
    uint32_t keep = going_back(t) ? t->s->stable : t->s->candidate;
    size_t place = pool_index(t->s, keep);
    for (size_t i = 0; i <= CORE_MAX_POOLS; i++)
        if (i != place && t->tally.running[i] > 0)
            return false;
    return true;
}

static bool stop_done(struct turn *t, const struct step *step)
{
    if (t->s->rollout.exclusive)
        return alone(t);
    uint32_t undrained, there;
    remaining(t, step->side, &undrained, &there);
    return there == 0 || (going_back(t) && overdue(t, leaving_limit_ms(t)));
}

/* ---- the end ---- */

static bool finish_done(struct turn *t, const struct step *step)
{
    (void)step;
    if (going_back(t))
        back_finish(t);
    else if (candidate_whole(t))
        rollout_end(t, RESULT_PROMOTED);
    return false; /* there is no next step */
}

static const struct step_ops ops[] = {
    [STEP_HOOK] = {.done = hook_done},
    [STEP_SCALE] = {.enter = scale_enter, .done = always},
    [STEP_WAIT_READY] = {.done = ready_done},
    [STEP_HOLD] = {.enter = hold_enter, .done = hold_done},
    [STEP_WEIGHT] = {.enter = weight_enter, .done = weight_done, .leave = weight_leave},
    [STEP_MIRROR] = {.enter = mirror_enter, .done = mirror_done, .leave = mirror_leave},
    [STEP_PAUSE_FOR] = {.done = time_done, .waits = true},
    [STEP_JUDGE] = {.done = judge_done, .leave = judge_leave},
    [STEP_SMOKE] = {.done = hook_done},
    [STEP_APPROVE] = {.done = approve_done, .waits = true},
    [STEP_DRAIN] = {.done = drain_done},
    [STEP_STOP] = {.done = stop_done},
    [STEP_FINISH] = {.done = finish_done},
};
_Static_assert(COUNT_OF(ops) == STEP_KINDS_COUNT, "a row for each kind of step");

bool step_only_waits(const struct step *step)
{
    return ops[step->kind].waits || (step->kind == STEP_WAIT_READY && step->best_effort);
}

const struct step *present_step(const struct app_state *s)
{
    const struct rollout_state *r = &s->rollout;
    return r->cursor < r->plan.len ? &r->plan.steps[r->cursor] : NULL;
}

/* The first turn in a step. */
static bool step_begins(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    if (r->step_since_ms != 0)
        return false;
    r->step_since_ms = t->now;
    guard_progress_reset(t);
    turn_changed(t);
    return true;
}

/* Weights, copies and the finish are told when they are done; what only waits, when it has to. */
static bool told_at_start(const struct step *step)
{
    return step->kind == STEP_SCALE || step->kind == STEP_HOLD || step->kind == STEP_HOOK ||
           step->kind == STEP_SMOKE;
}

static bool told_when_waiting(const struct step *step)
{
    return !told_at_start(step) && step->kind != STEP_WEIGHT && step->kind != STEP_MIRROR &&
           step->kind != STEP_JUDGE && step->kind != STEP_FINISH;
}

static void tell_step(struct turn *t, const struct step *step)
{
    cleanup_buf struct buf text = BUF_INIT;
    step_describe(step, rollout_spec(t), &text);
    turn_event(t, "step", "%s", buf_str(&text));
}

static void advance(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    ASSERT(r->cursor + 1 < r->plan.len); /* the last step is finish, which never is done */
    r->cursor++;
    r->step_since_ms = 0;
    r->step_done_ms = 0;
    r->progress_ms = t->now;
    t->hook_stale = true;
    turn_changed(t);
}

void steps_run(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    enum rollout_phase phase = r->phase;
    for (;;) {
        const struct step *step = present_step(t->s);
        ASSERT(step != NULL);
        bool begins = step_begins(t);
        if (!begins)
            guard_progress(t);
        else if (told_at_start(step))
            tell_step(t, step);
        const struct step_ops *o = &ops[step->kind];
        if (o->enter != NULL && !o->enter(t, step))
            return;
        bool done = o->done(t, step);
        if (r->phase != phase)
            return; /* it turned round or ended */
        if (!done && begins && told_when_waiting(step))
            tell_step(t, step);
        if (!done)
            return;
        if (o->leave != NULL)
            o->leave(t, step);
        advance(t);
    }
}
