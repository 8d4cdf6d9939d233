/* One rollout in virtual time. */
#include "base/alloc.h"
#include "base/assert.h"
#include "simulate/simulate_internal.h"

#include <math.h>
#include <string.h>

enum { MINUTE_MS = 60000, WHOLE_PPM = 1000000 };

/* The gateway's: request n goes to the candidate where n * GOLDEN, as a part of 2^64, is under its
 * weight. */
static const uint64_t GOLDEN = UINT64_C(0x9e3779b97f4a7c15);

struct run {
    const struct simulation *sim;
    struct dice dice;
    struct judge judge;
    int64_t now, next_tick;
    size_t first_minute;
    uint32_t weight_ppm, mirror_ppm;
    uint64_t split;                     /* of the last request */
    struct judge_arm candidate, stable; /* of the tick under way */
    struct judge_gathering gathering;
    bool shares_change; /* in it */
    /* Instances of a process are ready start_ms after this; by side. */
    int64_t started[SIDES_COUNT][SPEC_MAX_PROCESSES];
    uint32_t count[SIDES_COUNT][SPEC_MAX_PROCESSES];
    int64_t held_until; /* requests wait at the gateway until then; 0: they do not */
    uint64_t waiting;
    int64_t exposed_at; /* the candidate's first share; -1: not yet */
    bool over;          /* the end is known: what is left of the plan is only added up */
    struct simulate_outcome *out;
};

static const struct simulate_minute *minute_of(const struct run *r)
{
    size_t passed = (size_t)(r->now / MINUTE_MS);
    return &r->sim->minutes[(r->first_minute + passed) % r->sim->config.minutes_len];
}

static double candidate_errors(const struct run *r, const struct simulate_minute *m)
{
    const struct simulate_config *c = &r->sim->config;
    double share =
        c->candidate_errors_relative ? c->candidate_errors * m->stable_errors : c->candidate_errors;
    return share < 1 ? share : 1;
}

/* ---- requests
 * ---------------------------------------------------------------------------- */

static uint64_t split(struct run *r, uint64_t n)
{
    enum { COUNTED = 256 };
    double share = (double)r->weight_ppm / WHOLE_PPM;
    if (r->weight_ppm == 0 || r->weight_ppm == WHOLE_PPM)
        return r->weight_ppm == 0 ? 0 : n;
    uint64_t upto = (uint64_t)(share * 0x1p64), to_candidate = 0;
    if (n > COUNTED) { /* so evenly spread that the rest is nearly exact */
        to_candidate = (uint64_t)llround((double)(n - COUNTED) * share);
        n = COUNTED;
    }
    for (uint64_t i = 0; i < n; i++) {
        r->split += GOLDEN;
        to_candidate += r->split < upto;
    }
    return to_candidate;
}

static void count_above(struct judge_arm *arm, uint32_t edge, uint64_t n)
{
    if (edge == JUDGE_EDGES)
        arm->above_slo += n;
    else
        arm->above[edge] += n;
}

/* Gives how many of the n failed. */
static uint64_t answer(struct run *r, struct judge_arm *arm, uint64_t n, double errors,
                       bool of_candidate)
{
    const struct marks *marks = &r->sim->marks;
    uint64_t failed = dice_binomial(&r->dice, n, errors);
    arm->requests += n;
    arm->errors += failed;
    double reached = 1;
    for (size_t i = 0; i < marks->len && n > 0; i++) {
        const struct mark *m = &marks->items[i];
        double chance = of_candidate ? m->candidate : m->stable;
        n = dice_binomial(&r->dice, n, reached > 0 ? chance / reached : 0);
        reached = chance;
        count_above(arm, m->edge, n);
    }
    return failed;
}

/* Copies of some of the n for the candidate; the judge compares with what became of those. */
static void mirror(struct run *r, uint64_t n, const struct simulate_minute *m)
{
    uint64_t copies = dice_binomial(&r->dice, n, (double)r->mirror_ppm / WHOLE_PPM);
    struct judge_arm others = {0};
    answer(r, &r->candidate, copies, candidate_errors(r, m), true);
    r->out->stable_errors += answer(r, &r->stable, copies, m->stable_errors, false);
    r->out->stable_errors += answer(r, &others, n - copies, m->stable_errors, false);
}

static void serve(struct run *r, uint64_t n)
{
    const struct simulate_minute *m = minute_of(r);
    struct simulate_outcome *o = r->out;
    if (r->mirror_ppm > 0) {
        mirror(r, n, m);
        return;
    }
    uint64_t to_candidate = split(r, n);
    o->candidate_requests += to_candidate;
    o->candidate_errors += answer(r, &r->candidate, to_candidate, candidate_errors(r, m), true);
    o->stable_errors += answer(r, &r->stable, n - to_candidate, m->stable_errors, false);
}

/* At the gateway, while there is nobody to answer. */
static void wait_at_gateway(struct run *r, uint64_t n)
{
    const struct app_spec *spec = r->sim->config.spec;
    int64_t limit_ms = spec->hold_ms;
    if (spec->strategy.kind == STRATEGY_RECREATE && spec->strategy.hold_requests_ms > limit_ms)
        limit_ms = spec->strategy.hold_requests_ms;
    uint64_t room = r->held_until - r->now > limit_ms ? 0 : spec->hold_requests;
    uint64_t taken = room > r->waiting ? room - r->waiting : 0;
    if (taken > n)
        taken = n;
    r->waiting += taken;
    r->out->unserved += n - taken;
}

static void arrive(struct run *r, int64_t ms)
{
    const struct simulate_minute *m = minute_of(r);
    double mean = m->requests_per_s * (double)ms / 1000;
    if (r->over) {
        r->out->unjudged_errors += mean * r->weight_ppm / WHOLE_PPM * candidate_errors(r, m);
        return;
    }
    uint64_t n = dice_poisson(&r->dice, mean);
    if (r->held_until > r->now)
        wait_at_gateway(r, n);
    else
        serve(r, n);
}

/* ---- the judge
 * --------------------------------------------------------------------------- */

static void end(struct run *r, enum rollout_result result, enum reason_code reason)
{
    struct simulate_outcome *o = r->out;
    o->result = result;
    o->reason = reason;
    o->duration_ms = r->now;
    o->exposed_ms = r->exposed_at >= 0 ? r->now - r->exposed_at : 0;
    r->over = true;
}

static void stop(struct run *r, enum reason_code reason)
{
    const struct app_spec *spec = r->sim->config.spec;
    bool ask =
        spec->pause_on_failure || (reason == REASON_INCONCLUSIVE &&
                                   spec->strategy.judge.inconclusive != INCONCLUSIVE_ROLLBACK);
    end(r, ask ? RESULT_PAUSED : RESULT_ROLLED_BACK, reason);
}

static void tick(struct run *r)
{
    struct judge_arm candidate = r->candidate, stable = r->stable;
    memset(&r->candidate, 0, sizeof r->candidate);
    memset(&r->stable, 0, sizeof r->stable);
    r->next_tick += SIMULATE_TICK_MS;
    if (r->over)
        return;
    judge_gather(&r->judge, &r->gathering, &candidate, &stable, r->shares_change, r->now);
    r->shares_change = false;
    if (!verdict_may_condemn(&r->judge))
        return;
    enum reason_code reason = REASON_NONE;
    enum verdict verdict = verdict_ask(&r->judge, &reason);
    if (verdict != VERDICT_ROLL_BACK)
        return;
    r->out->verdict = verdict;
    stop(r, reason);
}

/* Time passes; requests come. */
static void pass(struct run *r, int64_t ms)
{
    for (int64_t until = r->now + ms; r->now < until;) {
        int64_t next = r->next_tick < until ? r->next_tick : until;
        arrive(r, next - r->now);
        r->now = next;
        if (r->now == r->next_tick)
            tick(r);
    }
}

/* ---- the plan
 * ---------------------------------------------------------------------------- */

static void scale(struct run *r, const struct step *step)
{
    uint32_t *count = &r->count[step->side][step->process];
    if (step->count > *count)
        r->started[step->side][step->process] = r->now;
    *count = step->count;
}

static int64_t until_ready(const struct run *r, const struct step *step)
{
    const struct simulate_config *c = &r->sim->config;
    int64_t started = r->started[step->side][step->process];
    int64_t left = started + c->start_ms + c->spec->strategy.min_ready_ms - r->now;
    return started >= 0 && left > 0 ? left : 0;
}

/* When the requests are let go again: what is waited for meanwhile are instances, which all start
 * at once. */
static void hold(struct run *r, const struct step *step)
{
    const struct simulate_config *c = &r->sim->config;
    if (step->count != 0) {
        r->held_until = r->now + c->start_ms + c->spec->strategy.min_ready_ms;
        return;
    }
    r->held_until = 0;
    if (!r->over)
        serve(r, r->waiting);
    r->waiting = 0;
}

static void look_at_end_of_hold(struct run *r, const struct step *step)
{
    enum reason_code reason = REASON_NONE;
    if (r->over)
        return;
    enum verdict verdict = verdict_ask(&r->judge, &reason);
    r->out->verdict = verdict;
    if (verdict == VERDICT_ROLL_BACK)
        stop(r, reason);
    else if (step->count != 0 && verdict != VERDICT_PASS &&
             r->sim->config.spec->strategy.judge.inconclusive != INCONCLUSIVE_CONTINUE)
        stop(r, REASON_INCONCLUSIVE);
}

static void weigh(struct run *r, uint32_t weight_ppm)
{
    r->weight_ppm = weight_ppm;
    r->shares_change = true;
    if (weight_ppm > 0 && r->exposed_at < 0)
        r->exposed_at = r->now;
}

static void step_run(struct run *r, const struct step *step)
{
    switch (step->kind) {
    case STEP_SCALE: scale(r, step); break;
    case STEP_WAIT_READY: pass(r, until_ready(r, step)); break;
    case STEP_HOLD: hold(r, step); break;
    case STEP_WEIGHT: weigh(r, step->weight_ppm); break;
    case STEP_MIRROR:
        r->mirror_ppm = step->weight_ppm;
        r->shares_change = true;
        break;
    case STEP_PAUSE_FOR: pass(r, step->duration_ms); break;
    case STEP_JUDGE: look_at_end_of_hold(r, step); break;
    case STEP_FINISH:
        if (!r->over)
            end(r, RESULT_PROMOTED, REASON_NONE);
        break;
    case STEP_HOOK:
    case STEP_SMOKE:
    case STEP_APPROVE:
    case STEP_DRAIN:
    case STEP_STOP:
    case STEP_KINDS_COUNT: break; /* they take no time here */
    }
}

static void run_init(struct run *r, const struct simulation *s, uint64_t seed, uint64_t number,
                     struct simulate_outcome *out)
{
    memset(r, 0, sizeof *r);
    r->sim = s;
    r->out = out;
    dice_init(&r->dice, seed, number);
    r->first_minute = (size_t)(dice_uniform(&r->dice) * (double)s->config.minutes_len);
    r->split = dice_next(&r->dice);
    r->next_tick = SIMULATE_TICK_MS;
    r->exposed_at = -1;
    for (size_t side = 0; side < SIDES_COUNT; side++)
        for (size_t p = 0; p < SPEC_MAX_PROCESSES; p++)
            r->started[side][p] = -1;
    for (size_t p = 0; p < s->config.spec->processes_len; p++)
        r->count[SIDE_STABLE][p] = s->config.spec->processes[p].replicas;
    verdict_begin(&r->judge, s->config.spec, &s->marks);
}

void simulation_run(const struct simulation *s, uint64_t seed, uint64_t number,
                    struct simulate_outcome *out)
{
    struct run r;
    *out = (struct simulate_outcome){.verdict = VERDICT_NO_DATA};
    run_init(&r, s, seed, number, out);
    for (size_t i = 0; i < s->plan.len; i++)
        step_run(&r, &s->plan.steps[i]);
    ASSERT(r.over); /* a plan ends with its finish */
    out->unjudged_errors += (double)out->candidate_errors;
}

/* ---- the simulation
 * ---------------------------------------------------------------------- */

struct simulation *simulation_new(const struct simulate_config *config)
{
    ASSERT(config->minutes_len > 0 && config->start_ms >= 0);
    struct simulation *s = xcalloc(1, sizeof *s);
    s->config = *config;
    s->minutes = xcalloc(config->minutes_len, sizeof *s->minutes);
    memcpy(s->minutes, config->minutes, config->minutes_len * sizeof *s->minutes);
    s->config.minutes = s->minutes;
    for (size_t i = 0; i < config->minutes_len; i++)
        ASSERT(s->minutes[i].requests_per_s >= 0 &&
               s->minutes[i].requests_per_s <= SIMULATE_MAX_RATE &&
               s->minutes[i].stable_errors >= 0 && s->minutes[i].stable_errors <= 1);
    marks_choose(&s->marks, &s->config);
    s->plan = plan_make(config->spec, config->spec, ROLLOUT_DEPLOY, NULL, &s->memory);
    return s;
}

void simulation_free(struct simulation *s)
{
    if (s == NULL)
        return;
    arena_release(&s->memory);
    free(s->minutes);
    free(s);
}

const struct plan *simulation_plan(const struct simulation *s)
{
    return &s->plan;
}
