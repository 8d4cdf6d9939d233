/* Observations, counted by pool and process. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <string.h>

bool has_a_place(const struct instance_obs *in)
{
    switch (in->state) {
    case INSTANCE_STARTING:
    case INSTANCE_READY:
    case INSTANCE_UNREADY:
    case INSTANCE_BACKING_OFF: return true;
    case INSTANCE_STOPPING: return in->coming_back;
    case INSTANCE_DRAINING:
    case INSTANCE_EXITED:
    case INSTANCE_STATES_COUNT: break;
    }
    return false;
}

/* One that was told to run but does not yet counts: it may at any moment. */
static bool runs(const struct instance_obs *in)
{
    return in->running || (in->state != INSTANCE_BACKING_OFF && in->state != INSTANCE_EXITED);
}

static void sooner(int64_t *at, int64_t ms)
{
    if (ms < *at)
        *at = ms;
}

static void count_ready(struct tally *t, struct count *c, const struct instance_obs *in,
                        int64_t min_ready_ms, int64_t now)
{
    int64_t since = in->since_ms < now ? in->since_ms : now;
    c->ready++;
    if (now - since >= min_ready_ms)
        c->settled++;
    else
        sooner(&t->settles_ms, since + min_ready_ms);
}

static void count_unready(struct tally *t, struct count *c, const struct instance_obs *in,
                          const struct tally_rules *rules)
{
    int64_t since = in->since_ms < rules->now_ms ? in->since_ms : rules->now_ms;
    if (in->start_failed || in->fast_crashes >= HOPELESS_CRASHES ||
        rules->now_ms - since >= rules->best_effort_ms)
        c->hopeless++;
    else
        sooner(&t->hopeless_ms, since + rules->best_effort_ms);
}

void tally_count(struct tally *t, const struct app_state *s, const struct observations *obs,
                 const struct tally_rules *rules)
{
    memset(t, 0, sizeof *t);
    t->settles_ms = t->hopeless_ms = INT64_MAX;
    for (size_t i = 0; i < obs->instances_len; i++) {
        const struct instance_obs *in = &obs->instances[i];
        ASSERT(in->process < SPEC_MAX_PROCESSES && in->id != NULL);
        size_t place = pool_index(s, in->pool);
        struct count *c = &t->of[place][in->process];
        bool routed = place < CORE_MAX_POOLS && s->pools[place].routed == in->process + 1;
        t->total[place]++;
        if (runs(in)) {
            c->running++;
            t->running[place]++;
        }
        if (has_a_place(in)) {
            c->alive++;
            if (in->state == INSTANCE_READY)
                count_ready(t, c, in, routed ? rules->min_ready_ms[place] : 0, rules->now_ms);
            else
                count_unready(t, c, in, rules);
        } else if (in->state != INSTANCE_EXITED) {
            c->leaving++;
            if (in->state == INSTANCE_STOPPING)
                c->stopping++;
            else if (!in->drained)
                c->undrained++;
        }
    }
}
