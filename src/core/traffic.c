/* Who gets the traffic: weights, hold, and the requests that are pinned to the candidate. */
#include "base/assert.h"
#include "core/core_internal.h"

static void note_traffic(struct turn *t)
{
    t->out->traffic_changed = true;
    t->traffic_stale = true;
    turn_changed(t);
    if (t->s->rollout.phase == PHASE_BACK)
        t->out->traffic_first = true;
}

bool traffic_applied(const struct turn *t)
{
    return t->obs->traffic_applied && !t->traffic_stale;
}

void traffic_set_hold(struct turn *t, bool on)
{
    if (t->s->hold == on)
        return;
    t->s->hold = on;
    note_traffic(t);
}

void traffic_to(struct turn *t, struct pool_state *p)
{
    if (pools_give_all(t->s, p))
        note_traffic(t);
}

/* stable and `other` share; nobody else gets any. */
static void share(struct turn *t, struct pool_state *stable, struct pool_state *other,
                  uint32_t other_ppm)
{
    ASSERT(other_ppm <= WHOLE_PPM);
    if (stable == NULL || other == NULL || other_ppm == 0 || other_ppm == WHOLE_PPM) {
        traffic_to(t, other != NULL && (other_ppm > 0) ? other : stable);
        return;
    }
    if (stable->weight_ppm == WHOLE_PPM - other_ppm && other->weight_ppm == other_ppm)
        return;
    pools_give_all(t->s, NULL);
    stable->weight_ppm = WHOLE_PPM - other_ppm;
    other->weight_ppm = other_ppm;
    note_traffic(t);
}

void traffic_split(struct turn *t, uint32_t candidate_ppm)
{
    share(t, turn_pool(t, SIDE_STABLE), turn_pool(t, SIDE_CANDIDATE), candidate_ppm);
}

/* Copies: what they get is in no share. */
void traffic_mirror(struct turn *t, uint32_t share_ppm)
{
    ASSERT(share_ppm <= WHOLE_PPM && (share_ppm == 0 || t->s->candidate != 0));
    if (t->s->mirror_ppm == share_ppm)
        return;
    t->s->mirror_ppm = share_ppm;
    note_traffic(t);
}

static uint32_t ready_of(struct turn *t, const struct pool_state *p)
{
    return p->routed > 0 ? turn_counts(t, p->id)[p->routed - 1].ready : 0;
}

/* All to stable once it can carry it; until then what is ready shares, and the share of the other
 * side only ever falls. The gateway gives requests of a pool without a ready instance to the
 * other one, so nothing is lost where this is behind. */
void traffic_follow(struct turn *t)
{
    struct pool_state *stable = turn_pool(t, SIDE_STABLE), *other = NULL;
    if (stable == NULL || t->s->stopped)
        return;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &t->s->pools[i];
        if (p->id != 0 && p != stable && p->weight_ppm > 0 &&
            (other == NULL || p->weight_ppm > other->weight_ppm))
            other = p;
    }
    const struct app_spec *spec = turn_spec(t, stable->id);
    uint32_t full = stable->routed > 0
                        ? stable_replicas(spec, t->s->replicas_override, stable->routed - 1u)
                        : 0;
    uint32_t gap = rolling_limits(rollout_spec(t), full).unavailable;
    uint32_t enough = full > gap + 1 ? full - gap : 1;
    uint32_t mine = ready_of(t, stable);
    if (other == NULL) {
        if (stable->weight_ppm != WHOLE_PPM && mine > 0)
            traffic_to(t, stable);
        return;
    }
    uint32_t others = ready_of(t, other);
    if (mine >= enough || (others == 0 && mine > 0)) {
        traffic_to(t, stable);
        return;
    }
    if (mine == 0)
        return;
    uint32_t ppm = (uint32_t)((uint64_t)WHOLE_PPM * others / (others + mine));
    if (ppm < other->weight_ppm)
        share(t, stable, other, ppm);
}

/* Requests that match go to the candidate: in blue-green once green is whole, in canary as soon as
 * there is one to take them. On the way back nothing does any more. */
void traffic_pins(struct turn *t)
{
    struct app_state *s = t->s;
    struct pool_state *p = turn_pool(t, SIDE_CANDIDATE);
    const struct strategy_spec *strategy = &rollout_spec(t)->strategy;
    bool previewing = false, matching = false;
    bool forward = s->rollout.phase == PHASE_FORWARD || s->rollout.phase == PHASE_PAUSED;
    if (p != NULL && p->routed > 0 && forward && s->rollout.kind == ROLLOUT_DEPLOY) {
        const struct count *c = &turn_counts(t, p->id)[p->routed - 1];
        uint32_t wanted = p->wanted[p->routed - 1];
        matching = strategy->kind == STRATEGY_CANARY && strategy->match.len > 0 &&
                   (s->matching || c->ready > 0);
        previewing = strategy->kind == STRATEGY_BLUE_GREEN && strategy->preview.len > 0 &&
                     (s->previewing || (wanted > 0 && c->settled >= wanted));
    }
    if (s->previewing == previewing && s->matching == matching)
        return;
    s->previewing = previewing;
    s->matching = matching;
    note_traffic(t);
}
