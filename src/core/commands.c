/* What people say to a rollout or to an app. Each answers in every state; a refusal says what the
 * state is, and what can be done. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <stdio.h>
#include <string.h>

static int no_rollout(const struct app_state *s, const char *verb, struct error *err)
{
    const struct pool_state *stable = app_pool(s, s->stable);
    if (stable == NULL)
        return error_set(err, ERROR_CONFLICT, "nothing was deployed yet; there is nothing to %s",
                         verb);
    if (s->stopped)
        return error_set(err, ERROR_CONFLICT,
                         "the app is stopped at release %u; there is nothing to %s",
                         stable->release, verb);
    return error_set(err, ERROR_CONFLICT, "the app is steady at release %u; there is nothing to %s",
                     stable->release, verb);
}

static int on_its_way_back(const struct app_state *s, const char *what, struct error *err)
{
    const struct pool_state *stable = app_pool(s, s->stable), *gone = app_pool(s, s->candidate);
    char to[32] = "nothing";
    if (stable != NULL)
        snprintf(to, sizeof to, "release %u", stable->release);
    const char *why = s->rollout.reason.text;
    return error_set(err, ERROR_CONFLICT,
                     "the app is going back from release %u to %s (%s%s%s); %s",
                     gone != NULL ? gone->release : 0, to, reason_code_word(s->rollout.reason.code),
                     why[0] != 0 ? ": " : "", why, what);
}

/* Forward again; what had stopped it is not acted on a second time. A deadline begins anew. */
static void go_on(struct app_state *s, int64_t now_ms)
{
    struct rollout_state *r = &s->rollout;
    ASSERT(r->phase == PHASE_PAUSED && r->resume_phase == PHASE_FORWARD);
    if (r->reason.code != REASON_NONE && r->reason.code != REASON_DEADLINE &&
        r->reason.code != REASON_NOT_READY)
        r->ignored_reasons |= 1u << r->reason.code;
    memset(&r->reason, 0, sizeof r->reason);
    r->phase = PHASE_FORWARD;
    r->resume_phase = PHASE_NONE;
    if (r->step_since_ms != 0)
        r->step_since_ms = now_ms;
    r->progress_ms = now_ms;
}

int core_promote(struct app_state *s, int64_t now_ms, struct error *err)
{
    struct rollout_state *r = &s->rollout;
    if (r->id == 0)
        return no_rollout(s, "promote", err);
    if (r->phase == PHASE_BACK)
        return on_its_way_back(s, "it cannot be promoted any more; `deploy` it again", err);
    if (r->phase == PHASE_PAUSED) {
        go_on(s, now_ms);
        r->promote_all = true;
        return 0;
    }
    const struct step *step = present_step(s);
    ASSERT(step != NULL);
    if (step->kind != STEP_APPROVE || r->promote_all) {
        r->promote_all = true;
        return 0;
    }
    ASSERT(r->cursor + 1 < r->plan.len);
    r->cursor++;
    r->step_since_ms = r->step_done_ms = 0;
    r->progress_ms = now_ms;
    return 0;
}

static void turn_round(struct app_state *s, enum reason_code code, const char *text, int64_t now_ms)
{
    struct rollout_state *r = &s->rollout;
    bool person = code == REASON_ABORTED || code == REASON_STOPPED;
    reason_set(&r->reason, code, text != NULL ? text : "");
    r->ending = person ? RESULT_ABORTED : RESULT_ROLLED_BACK;
    r->phase = PHASE_BACK;
    r->resume_phase = PHASE_NONE;
    r->cursor = 0; /* the plan for the way back is made by the next decide(), which sees all */
    r->step_since_ms = r->step_done_ms = 0;
    if (now_ms != 0)
        r->progress_ms = now_ms;
    plan_store(s, &(struct plan){NULL, 0});
}

int core_abort(struct app_state *s, const struct specs *specs, enum reason_code code,
               const char *text, int64_t now_ms, struct error *err)
{
    (void)specs;
    ASSERT(code != REASON_NONE);
    if (s->rollout.id == 0)
        return no_rollout(s, "abort", err);
    if (s->rollout.phase != PHASE_BACK)
        turn_round(s, code, text, now_ms);
    return 0;
}

int core_pause(struct app_state *s, int64_t now_ms, struct error *err)
{
    struct rollout_state *r = &s->rollout;
    if (r->id == 0)
        return no_rollout(s, "pause", err);
    if (r->phase == PHASE_BACK)
        return on_its_way_back(s, "that ends by itself and cannot be paused", err);
    if (r->phase == PHASE_PAUSED)
        return 0;
    if (r->step_since_ms != 0 && now_ms > r->step_since_ms)
        r->step_done_ms += now_ms - r->step_since_ms;
    r->resume_phase = PHASE_FORWARD;
    r->phase = PHASE_PAUSED;
    return 0;
}

int core_resume(struct app_state *s, int64_t now_ms, struct error *err)
{
    struct rollout_state *r = &s->rollout;
    if (r->id == 0)
        return no_rollout(s, "resume", err);
    if (r->phase == PHASE_BACK)
        return on_its_way_back(s, "it cannot be resumed; `deploy` it again", err);
    if (r->phase == PHASE_FORWARD) {
        const struct step *step = present_step(s);
        bool approval = step != NULL && step->kind == STEP_APPROVE;
        return error_set(err, ERROR_CONFLICT, "the rollout to release %u is not paused%s",
                         app_pool(s, s->candidate)->release,
                         approval ? "; it waits for `promote`" : "; `pause` would");
    }
    go_on(s, now_ms);
    return 0;
}

static bool plan_scales(const struct app_state *s, size_t process)
{
    const struct rollout_state *r = &s->rollout;
    for (size_t i = 0; i < r->plan.len; i++)
        if (r->plan.steps[i].kind == STEP_SCALE && r->plan.steps[i].side == SIDE_STABLE &&
            r->plan.steps[i].process == process)
            return true;
    return false;
}

static bool scales_candidate(const struct step *step, size_t process)
{
    return step->kind == STEP_SCALE && step->side == SIDE_CANDIDATE && step->process == process;
}

/* The weight for which the candidate has the instances of step i: of those up to the next such step
 * the last one that it was given already, else the first one. */
static uint32_t weight_of(const struct rollout_state *r, size_t i, bool given)
{
    uint32_t weight = 0;
    for (size_t k = i + 1; k < r->plan.len; k++) {
        const struct step *step = &r->plan.steps[k];
        if (scales_candidate(step, r->plan.steps[i].process))
            break;
        if (step->kind == STEP_WEIGHT && (weight == 0 || (given && k < r->cursor)))
            weight = step->weight_ppm;
    }
    return weight != 0 ? weight : WHOLE_PPM;
}

/* What has a share of the replicas gets the same share of the new ones, also before a weight for
 * which the old ones had been enough. What the file says as a number stays. */
static void scale_candidate(struct app_state *s, struct pool_state *candidate, size_t process,
                            uint32_t count)
{
    struct rollout_state *r = &s->rollout;
    struct arena memory = ARENA_INIT;
    struct step *steps = arena_alloc(&memory, 3 * (r->plan.len + 1) * sizeof *steps);
    uint32_t whole = 0, have = 0;
    size_t len = 0;
    bool share = false;
    for (size_t i = 0; i < r->plan.len; i++)
        whole = scales_candidate(&r->plan.steps[i], process) ? r->plan.steps[i].count : whole;
    for (size_t i = 0; i < r->plan.len; i++) {
        struct step step = r->plan.steps[i];
        if (scales_candidate(&step, process)) {
            uint32_t old = step.count;
            share = old == canary_share(whole, weight_of(r, i, false));
            if (share)
                step.count = canary_share(count, weight_of(r, i, true));
            if (i < r->cursor && candidate->wanted[process] == old)
                candidate->wanted[process] = step.count;
            have = step.count;
        }
        uint32_t need = share ? canary_share(count, step.weight_ppm) : have;
        if (step.kind == STEP_WEIGHT && i >= r->cursor && need > have) {
            struct step scale = {.kind = STEP_SCALE, .side = SIDE_CANDIDATE, .count = need};
            struct step wait = {.kind = STEP_WAIT_READY, .side = SIDE_CANDIDATE};
            scale.process = wait.process = (uint8_t)process;
            steps[len++] = scale;
            steps[len++] = wait;
            have = need;
        }
        steps[len++] = step;
    }
    struct plan plan = {steps, len};
    plan_store(s, &plan);
    arena_release(&memory);
}

/* In a rollout whose plan leaves stable alone, stable follows at once, since the load is there now,
 * and the candidate with its share of it. Where stable is taken down by and by (rolling, recreate)
 * the plan's counts stand; the new one holds from the end on. */
static void scale_rollout(struct app_state *s, struct pool_state *stable, size_t process,
                          uint32_t before, uint32_t count)
{
    struct rollout_state *r = &s->rollout;
    struct pool_state *candidate = pool_of(s, s->candidate);
    ASSERT(candidate != NULL);
    if (r->phase == PHASE_BACK || stable->wanted[process] != before || plan_scales(s, process))
        return;
    stable->wanted[process] = count;
    bool routed = stable->routed == process + 1 && candidate->routed > 0;
    scale_candidate(s, candidate, routed ? candidate->routed - 1u : process, count);
}

int core_scale(struct app_state *s, const struct app_spec *stable, uint8_t process, uint32_t count,
               struct error *err)
{
    struct pool_state *pool = pool_of(s, s->stable);
    if (pool == NULL || stable == NULL)
        return error_set(err, ERROR_CONFLICT,
                         "nothing was deployed yet; there is nothing to scale");
    if (process >= stable->processes_len)
        return error_set(err, ERROR_USAGE, "the app has no such process");
    if (count > REPLICAS_MAX)
        return error_set(err, ERROR_USAGE, "at most %d replicas are possible", REPLICAS_MAX);
    if (count > 1 && stable->port != 0)
        return error_set(err, ERROR_CONFLICT,
                         "its port is fixed at %u, so there can be only one; say `port: auto`",
                         stable->port);
    uint32_t before = stable_replicas(stable, s->replicas_override, process);
    s->replicas_override[process] = count + 1;
    if (s->rollout.id != 0)
        scale_rollout(s, pool, process, before, count);
    return 0;
}

int core_stop(struct app_state *s, struct error *err)
{
    if (s->stable == 0 && s->candidate == 0)
        return error_set(err, ERROR_CONFLICT, "nothing was deployed yet; there is nothing to stop");
    if (s->stopped)
        return 0;
    s->stopped = true;
    if (s->rollout.id == 0)
        return 0;
    if (s->rollout.phase != PHASE_BACK)
        turn_round(s, REASON_STOPPED, "the app was stopped", 0);
    s->rollout.told_phase = PHASE_FORWARD; /* another way back than the one under way */
    return 0;
}

int core_start(struct app_state *s, struct error *err)
{
    if (s->stable == 0)
        return error_set(err, ERROR_CONFLICT,
                         "nothing was deployed yet; there is nothing to start");
    if (!s->stopped)
        return 0;
    s->stopped = false;
    if (s->rollout.id != 0)
        s->rollout.told_phase = PHASE_FORWARD;
    return 0;
}
