/* Beginning a rollout, also in the middle of another one. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <stdio.h>
#include <string.h>

static bool stands_whole(const struct pool_state *stable, const uint32_t *full)
{
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (stable->wanted[i] < full[i])
            return false;
    return true;
}

static bool wants_nothing(const struct pool_state *p)
{
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        if (p->wanted[i] > 0)
            return false;
    return true;
}

/* The candidate under way becomes left over, with what of it is ready: that still carries traffic
 * until stable is whole again. The rest goes now. */
static void leave_candidate(struct app_state *s, const struct tally *tally)
{
    size_t place = pool_index(s, s->candidate);
    if (place == CORE_MAX_POOLS)
        return;
    struct pool_state *p = &s->pools[place];
    for (size_t k = 0; k < SPEC_MAX_PROCESSES; k++)
        if (p->wanted[k] > tally->of[place][k].ready)
            p->wanted[k] = tally->of[place][k].ready;
    s->candidate = 0;
    s->previewing = s->matching = false;
    s->mirror_ppm = 0;
}

/* What a blue-green rollout kept is only for a roll back to it: two whole sets are enough. */
static struct pool_state *settle_kept(struct app_state *s, const struct rollout_request *request)
{
    struct pool_state *reuse = NULL;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &s->pools[i];
        if (p->id == 0 || p->keep_until_ms == 0)
            continue;
        p->keep_until_ms = 0;
        if (request->kind == ROLLOUT_ROLLBACK && p->release == request->release && reuse == NULL)
            reuse = p;
        else
            memset(p->wanted, 0, sizeof p->wanted);
    }
    return reuse;
}

/* A free place; else the one of the oldest that is going away anyway, whose instances reconcile
 * still sees off. */
static struct pool_state *find_place(struct app_state *s, const struct tally *tally)
{
    struct pool_state *oldest = NULL;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &s->pools[i];
        if (p->id == 0)
            return p;
        if (!pool_is_left_over(s, p))
            continue;
        if (tally->total[i] == 0 && p->weight_ppm == 0)
            return p;
        bool better = oldest == NULL || (p->weight_ppm == 0 && oldest->weight_ppm > 0) ||
                      ((p->weight_ppm == 0) == (oldest->weight_ppm == 0) && p->id < oldest->id);
        if (better)
            oldest = p;
    }
    ASSERT(oldest != NULL); /* one stable, no candidate: of four the others are left over */
    if (oldest->weight_ppm > 0)
        pools_give_all(s, pool_of(s, s->stable));
    return oldest;
}

static struct pool_state *new_candidate(struct app_state *s, const struct tally *tally,
                                        const struct rollout_request *request)
{
    struct pool_state *p = find_place(s, tally);
    memset(p, 0, sizeof *p);
    p->id = s->next_pool++;
    p->release = request->release;
    p->routed = (uint8_t)(routed_process(request->spec) + 1);
    return p;
}

/* Before a plan that supersedes: stable whole again, and what was left over gone. */
static void plan_prefix(struct planner *p, struct app_state *s, const struct tally *tally,
                        const struct rollout_request *request)
{
    const struct pool_state *stable = app_pool(s, s->stable), *left = pool_left_over(s);
    if (s->hold)
        plan_hold(p, false);
    if (p->stable != NULL) {
        struct standing at = {.stable = p->stable, .stable_pool = stable, .down = SIDE_LEFT_OVER};
        at.stable_count = tally->of[pool_index(s, stable->id)];
        if (left != NULL) {
            at.down_pool = left;
            at.down_count = tally->of[pool_index(s, left->id)];
        }
        memcpy(at.full, p->stable_count, sizeof at.full);
        standing_bounds(&at, request->spec, planned_routed(p), request->kind);
        plan_restore(p, &at);
        plan_weight(p, 0);
    } else if (left != NULL && left->weight_ppm > 0) {
        return; /* all that has any traffic: it stays until the new one has it */
    }
    if (left != NULL) {
        plan_scale(p, SIDE_LEFT_OVER, 0, 0);
        plan_gone(p, SIDE_LEFT_OVER);
    }
}

static void supersede(struct app_state *s, const struct rollout_request *request,
                      struct rollout_state *superseded)
{
    char text[REASON_TEXT_MAX];
    *superseded = s->rollout;
    superseded->plan = (struct plan){NULL, 0};
    superseded->phase = PHASE_NONE;
    superseded->ending = RESULT_SUPERSEDED;
    snprintf(text, sizeof text, "superseded by the rollout to release %u", request->release);
    reason_set(&superseded->reason, REASON_SUPERSEDED, text);
}

static void start_plan(struct app_state *s, const struct planner *p,
                       const struct rollout_request *request, bool exclusive)
{
    struct rollout_state *r = &s->rollout;
    memset(r, 0, sizeof *r);
    r->id = request->id;
    r->kind = request->kind;
    r->phase = PHASE_FORWARD;
    r->exclusive = exclusive;
    r->started_ms = r->progress_ms = request->now_ms;
    struct plan plan = {p->items, p->len};
    plan_store(s, &plan);
}

static void make_plan(struct app_state *s, const struct tally *tally,
                      const struct rollout_request *request, bool was_recreate, bool kept)
{
    const struct pool_state *stable = app_pool(s, s->stable);
    struct arena memory = ARENA_INIT;
    struct planner p;
    bool superseding = s->rollout.id != 0;
    /* An app that was stopped has nothing that is to be replaced. */
    bool asleep = stable == NULL || (s->stopped && wants_nothing(stable));
    planner_init(&p, asleep ? NULL : request->stable, request->spec, request->kind,
                 s->replicas_override, &memory);
    if (asleep && stable != NULL && request->stable != NULL) {
        uint32_t carried[SPEC_MAX_PROCESSES];
        overrides_carry(request->stable, request->spec, s->replicas_override, carried);
        for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
            p.candidate_count[i] = stable_replicas(request->spec, carried, i);
    }
    p.left_over = pool_left_over(s) != NULL;
    p.kept = kept;
    /* A recreate that has taken stable down already goes on as one: nothing can be beside it. */
    bool taken_down = was_recreate && p.stable != NULL && !stands_whole(stable, p.stable_count);
    bool exclusive = spec_is_exclusive(request->spec) || taken_down;
    bool recreate = exclusive && (p.stable != NULL || p.left_over);
    if (superseding && !recreate)
        plan_prefix(&p, s, tally, request);
    plan_strategy(&p, recreate);
    start_plan(s, &p, request, exclusive);
    arena_release(&memory);
}

int core_begin(struct app_state *s, const struct rollout_request *request,
               const struct observations *obs, struct rollout_state *superseded, struct error *err)
{
    ASSERT(request->id != 0 && request->spec != NULL && request->now_ms > 0);
    memset(superseded, 0, sizeof *superseded);
    if (request->kind == ROLLOUT_RESTART && s->stable == 0)
        return error_set(err, ERROR_CONFLICT,
                         "nothing runs that could be restarted; `deploy` something first");
    struct tally tally;
    struct tally_rules rules = {.now_ms = request->now_ms, .best_effort_ms = BEST_EFFORT_MS};
    tally_count(&tally, s, obs, &rules);
    bool was_recreate = s->rollout.id != 0 && s->rollout.exclusive;
    if (s->rollout.id != 0)
        supersede(s, request, superseded);
    leave_candidate(s, &tally);
    struct pool_state *candidate = settle_kept(s, request);
    bool kept = candidate != NULL;
    if (!kept)
        candidate = new_candidate(s, &tally, request);
    s->candidate = candidate->id;
    make_plan(s, &tally, request, was_recreate, kept);
    s->stopped = false;
    return 0;
}
