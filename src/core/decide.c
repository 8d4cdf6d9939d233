/* decide(): one turn. What a rollout does next (or what steady means), then what that means for the
 * instances. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <stdio.h>
#include <string.h>

enum { PHASES_PER_TURN = 8 };

/* Stands in where a release's spec cannot be read any more: it asks for nothing. */
static const struct app_spec no_spec = {.app = "", .environment = "", .deadline_ms = 600000};

/* ---- what the other files use ---- */

void turn_changed(struct turn *t)
{
    t->out->state_changed = true;
}

void turn_wake(struct turn *t, int64_t at_ms)
{
    if (at_ms < t->out->next_ms)
        t->out->next_ms = at_ms;
}

struct action *turn_act(struct turn *t, enum action_kind kind)
{
    struct decision *d = t->out;
    if (d->len == d->cap) {
        size_t bigger = d->cap != 0 ? d->cap * 2 : 16;
        struct action *items = arena_alloc(t->arena, bigger * sizeof *items);
        if (d->len > 0)
            memcpy(items, d->items, d->len * sizeof *items);
        d->items = items;
        d->cap = bigger;
    }
    struct action *a = &d->items[d->len++];
    *a = (struct action){.kind = kind};
    return a;
}

void turn_event(struct turn *t, const char *event, const char *fmt, ...)
{
    char text[REASON_TEXT_MAX + 200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct action *a = turn_act(t, ACTION_EVENT);
    a->pool = t->s->candidate;
    a->event = event;
    a->text = arena_strdup(t->arena, text);
}

const struct app_spec *turn_spec(const struct turn *t, uint32_t pool)
{
    size_t place = pool_index(t->s, pool);
    const struct app_spec *spec = place < CORE_MAX_POOLS ? t->specs->of_pool[place] : NULL;
    return spec != NULL ? spec : &no_spec;
}

const struct app_spec *rollout_spec(const struct turn *t)
{
    return turn_spec(t, t->s->candidate);
}

const struct count *turn_counts(const struct turn *t, uint32_t pool)
{
    return t->tally.of[pool_index(t->s, pool)];
}

struct pool_state *turn_pool(struct turn *t, enum side side)
{
    switch (side) {
    case SIDE_STABLE: return pool_of(t->s, t->s->stable);
    case SIDE_CANDIDATE: return pool_of(t->s, t->s->candidate);
    case SIDE_LEFT_OVER: return pool_left_over(t->s);
    case SIDES_COUNT: break;
    }
    UNREACHABLE();
}

void set_wanted(struct turn *t, struct pool_state *p, size_t process, uint32_t count)
{
    if (p->id == 0 || p->wanted[process] == count)
        return;
    p->wanted[process] = count;
    turn_changed(t);
}

static void set_all_wanted(struct turn *t, struct pool_state *p, uint32_t count)
{
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        set_wanted(t, p, i, count);
}

/* On the way back stable is the release that is known to be good, so slow starters get their time:
 * what does crash is not waited for anyway. */
int64_t turn_best_effort_ms(const struct turn *t)
{
    int64_t ms = BEST_EFFORT_MS;
    if (t->s->rollout.phase == PHASE_BACK)
        ms = turn_spec(t, t->s->stable)->deadline_ms;
    return ms < BEST_EFFORT_MS / 6    ? BEST_EFFORT_MS / 6
           : ms > 10 * BEST_EFFORT_MS ? 10 * BEST_EFFORT_MS
                                      : ms;
}

/* Nobody knows whether it is worse: a person is asked, unless the file says otherwise. */
static bool stops_to_ask(const struct turn *t, enum reason_code code)
{
    const struct app_spec *spec = rollout_spec(t);
    return spec->pause_on_failure || (code == REASON_INCONCLUSIVE &&
                                      spec->strategy.judge.inconclusive != INCONCLUSIVE_ROLLBACK);
}

bool rollout_fail(struct turn *t, enum reason_code code, const char *text)
{
    struct rollout_state *r = &t->s->rollout;
    ASSERT(r->phase == PHASE_FORWARD && code != REASON_NONE);
    if ((r->ignored_reasons & (1u << code)) != 0)
        return false;
    reason_set(&r->reason, code, text);
    if (stops_to_ask(t, code)) {
        if (r->step_since_ms != 0)
            r->step_done_ms += t->now - r->step_since_ms;
        r->resume_phase = PHASE_FORWARD;
        r->phase = PHASE_PAUSED;
        t->out->result = RESULT_PAUSED;
    } else {
        r->phase = PHASE_BACK;
        r->ending = RESULT_ROLLED_BACK;
    }
    turn_changed(t);
    return true;
}

/* ---- how a rollout ends ---- */

static void remember_ended(struct turn *t, enum rollout_result result)
{
    struct rollout_state *r = &t->s->rollout;
    struct decision *d = t->out;
    d->rollout_ended = true;
    d->result = result;
    d->ended = *r;
    struct step *steps = arena_alloc(t->arena, (r->plan.len + 1) * sizeof *steps);
    memcpy(steps, r->plan.steps, r->plan.len * sizeof *steps);
    d->ended.plan.steps = steps;
    d->ended.phase = PHASE_NONE;
}

/* How long the release before stays up, as far as the strategy has left instances of it. */
static int64_t kept_for_ms(const struct app_spec *spec)
{
    bool keeps =
        spec->strategy.kind == STRATEGY_BLUE_GREEN || spec->strategy.kind == STRATEGY_SHADOW;
    int64_t keep = keeps ? spec->strategy.keep_ms : 0;
    int64_t bake = spec->bake.keep ? spec->bake.time_ms : 0;
    return keep > bake ? keep : bake;
}

static void promote(struct turn *t)
{
    struct app_state *s = t->s;
    struct pool_state *old = turn_pool(t, SIDE_STABLE), *new = turn_pool(t, SIDE_CANDIDATE);
    const struct app_spec *spec = rollout_spec(t);
    uint32_t carried[SPEC_MAX_PROCESSES];
    overrides_carry(old != NULL ? turn_spec(t, old->id) : NULL, spec, s->replicas_override,
                    carried);
    memcpy(s->replicas_override, carried, sizeof carried);
    turn_event(t, "promoted", "release %u is live", new->release);
    int64_t keep_ms = kept_for_ms(spec);
    if (old != NULL && s->rollout.kind == ROLLOUT_DEPLOY && !s->rollout.exclusive && keep_ms > 0)
        old->keep_until_ms = t->now + keep_ms;
    s->stable = s->candidate;
}

static void tell_back(struct turn *t, enum rollout_result result)
{
    const struct app_state *s = t->s;
    const struct pool_state *stable = app_pool(s, s->stable), *gone = app_pool(s, s->candidate);
    char where[64] = "nothing runs now";
    if (stable != NULL && s->stopped)
        snprintf(where, sizeof where, "the app is stopped");
    else if (stable != NULL)
        snprintf(where, sizeof where, "release %u is live", stable->release);
    const char *why = s->rollout.reason.text;
    turn_event(t, rollout_result_word(result), "release %u is %s%s%s; %s", gone->release,
               result == RESULT_ABORTED ? "aborted" : "rolled back", why[0] != 0 ? ": " : "", why,
               where);
}

void rollout_end(struct turn *t, enum rollout_result result)
{
    struct app_state *s = t->s;
    ASSERT(s->rollout.id != 0 && s->candidate != 0);
    remember_ended(t, result);
    if (result == RESULT_PROMOTED)
        promote(t);
    else
        tell_back(t, result);
    s->candidate = 0;
    memset(&s->rollout, 0, sizeof s->rollout);
    plan_store(s, &(struct plan){NULL, 0});
    if (s->previewing || s->matching)
        t->out->traffic_changed = t->traffic_stale = true;
    s->previewing = s->matching = false;
    s->mirror_ppm = 0;
    t->out->traffic_changed = true; /* which pool is stable is part of it */
    turn_changed(t);
}

/* ---- the order of things ---- */

/* What was kept long enough goes; places of pools that are gone are free. */
static void retire_pools(struct turn *t)
{
    struct app_state *s = t->s;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &s->pools[i];
        if (p->id == 0)
            continue;
        if (p->keep_until_ms != 0 && (t->now >= p->keep_until_ms || s->stopped)) {
            p->keep_until_ms = 0;
            set_all_wanted(t, p, 0);
            turn_changed(t);
        }
        if (p->keep_until_ms != 0)
            turn_wake(t, p->keep_until_ms);
        if (!pool_is_left_over(s, p) || p->weight_ppm != 0)
            continue;
        if (s->rollout.id == 0)
            set_all_wanted(t, p, 0);
        bool wanted = false;
        for (size_t k = 0; k < SPEC_MAX_PROCESSES; k++)
            wanted = wanted || p->wanted[k] > 0;
        if (!wanted && t->tally.total[i] == 0) {
            memset(p, 0, sizeof *p);
            turn_changed(t);
        }
    }
}

static void steady(struct turn *t)
{
    struct app_state *s = t->s;
    struct pool_state *stable = turn_pool(t, SIDE_STABLE);
    traffic_set_hold(t, false);
    traffic_to(t, s->stopped ? NULL : stable);
    if (stable == NULL)
        return;
    const struct app_spec *spec = turn_spec(t, stable->id);
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (s->stopped)
            set_wanted(t, stable, i, 0);
        else if (spec != &no_spec)
            set_wanted(t, stable, i, stable_replicas(spec, s->replicas_override, i));
}

/* Says what became of the phase since the last turn, by whomever. */
static void tell_phase(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    if (r->told_phase == r->phase)
        return;
    enum rollout_phase before = r->told_phase;
    r->told_phase = r->phase;
    turn_changed(t);
    const char *why = r->reason.text;
    if (r->phase == PHASE_BACK) {
        turn_event(t, "rolling-back", "going back%s%s", why[0] != 0 ? ": " : "", why);
        back_plan(t);
    } else if (r->phase == PHASE_PAUSED) {
        turn_event(t, "paused", "paused%s%s", why[0] != 0 ? ": " : "", why);
    } else if (before == PHASE_PAUSED) {
        turn_event(t, "resumed", "resumed");
    }
}

/* true: the phase is another one now, once more. */
static bool rollout_turn(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    enum rollout_phase phase = r->phase;
    tell_phase(t);
    traffic_pins(t);
    if (phase == PHASE_PAUSED)
        return false;
    if (phase == PHASE_FORWARD) {
        guard_check(t);
        if (r->phase != PHASE_FORWARD)
            return true;
    }
    const struct pool_state *left = pool_left_over(t->s);
    if (phase == PHASE_BACK || (left != NULL && left->weight_ppm > 0))
        traffic_follow(t);
    steps_run(t);
    if (r->phase == PHASE_FORWARD)
        guard_deadline(t);
    return r->id != 0 && r->phase != phase;
}

void core_clock_moved(struct app_state *s, int64_t by_ms)
{
    struct rollout_state *r = &s->rollout;
    if (r->id != 0) {
        r->started_ms += by_ms;
        r->step_since_ms += by_ms;
        r->progress_ms += by_ms;
    }
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (s->pools[i].id != 0 && s->pools[i].keep_until_ms != 0)
            s->pools[i].keep_until_ms += by_ms;
}

/* The wall clock may have been set back over a boot: no step, no deadline may last longer for it.
 */
static void fix_clock(struct turn *t)
{
    struct rollout_state *r = &t->s->rollout;
    if (r->step_since_ms <= t->now && r->progress_ms <= t->now)
        return;
    if (r->step_since_ms > t->now)
        r->step_since_ms = t->now;
    if (r->progress_ms > t->now)
        r->progress_ms = t->now;
    turn_changed(t);
}

void decide(struct app_state *s, const struct specs *specs, const struct observations *obs,
            int64_t now_ms, struct arena *arena, struct decision *out)
{
    ASSERT(now_ms > 0 && out->len == 0);
    ASSERT((s->rollout.id != 0) == (s->candidate != 0));
    struct turn t = {.s = s, .specs = specs, .obs = obs, .now = now_ms, .arena = arena, .out = out};
    out->next_ms = INT64_MAX;
    fix_clock(&t);
    struct tally_rules rules = {.now_ms = now_ms, .best_effort_ms = turn_best_effort_ms(&t)};
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        rules.min_ready_ms[i] = turn_spec(&t, s->pools[i].id)->strategy.min_ready_ms;
    tally_count(&t.tally, s, obs, &rules);
    retire_pools(&t);
    int phases = 0;
    while (s->rollout.id != 0 && rollout_turn(&t))
        ASSERT(++phases < PHASES_PER_TURN);
    if (s->rollout.id == 0)
        steady(&t);
    if (out->rollout_ended)
        retire_pools(&t);
    reconcile(&t);
}
