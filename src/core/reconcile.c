/* Wanted against observed: what to create, start again, drain, stop and forget.
 *
 * Only the present difference decides, so it does not matter which message was lost. An instance
 * goes READY -> (drain) DRAINING -> drained -> (stop) STOPPING -> EXITED -> (remove); one that does
 * not run and is not wanted is removed at once. Of several the ones that are not ready go first,
 * then the newest. Where two releases may not run at once, nothing starts while another release, or
 * a leaving instance of the same one (it may hold the port), still runs. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <stdlib.h>
#include <string.h>

enum { BACK_OFF_FIRST_MS = 1000, BACK_OFF_MAX_MS = 300000 };

int64_t back_off_ms(uint32_t fast_crashes)
{
    int64_t ms = BACK_OFF_FIRST_MS;
    for (uint32_t i = 1; i < fast_crashes && ms < BACK_OFF_MAX_MS; i++)
        ms *= 2;
    return ms < BACK_OFF_MAX_MS ? ms : BACK_OFF_MAX_MS;
}

static void act_on(struct turn *t, enum action_kind kind, const struct instance_obs *in)
{
    struct action *a = turn_act(t, kind);
    a->instance = in->id;
    a->pool = in->pool;
    a->process = in->process;
    if (kind == ACTION_REMOVE)
        turn_wake(t, t->now + 1); /* its place is free then: that is no event of anyone's */
}

/* Another release runs, or something of this pool's process is still leaving. */
static bool must_wait(const struct turn *t, size_t place, size_t process)
{
    const struct app_state *s = t->s;
    bool exclusive = s->rollout.id != 0 ? s->rollout.exclusive
                                        : spec_is_exclusive(turn_spec(t, s->pools[place].id));
    if (!exclusive)
        return false;
    for (size_t i = 0; i <= CORE_MAX_POOLS; i++)
        if (i != place && t->tally.running[i] > 0)
            return true;
    return t->tally.of[place][process].leaving > 0;
}

static void back_off(struct turn *t, const struct instance_obs *in, size_t place)
{
    if (must_wait(t, place, in->process))
        return;
    int64_t due = in->exited_ms + back_off_ms(in->fast_crashes + in->losses);
    /* A clock that was set back must not keep it down. */
    if (due <= t->now || in->exited_ms > t->now)
        act_on(t, ACTION_START, in);
    else
        turn_wake(t, due);
}

static void send_away(struct turn *t, const struct instance_obs *in)
{
    if (in->state == INSTANCE_BACKING_OFF)
        act_on(t, ACTION_REMOVE, in);
    else if (in->state != INSTANCE_STOPPING) /* coming back: it is removed when it is down */
        act_on(t, ACTION_DRAIN, in);
}

/* What an instance that has no place any more needs next. */
static void see_off(struct turn *t, const struct instance_obs *in)
{
    if (in->state == INSTANCE_DRAINING && in->drained)
        act_on(t, ACTION_STOP, in);
    else if (in->state == INSTANCE_EXITED)
        act_on(t, ACTION_REMOVE, in);
}

static int rank(const struct instance_obs *in)
{
    switch (in->state) {
    case INSTANCE_BACKING_OFF: return 0;
    case INSTANCE_STOPPING: return 1;
    case INSTANCE_STARTING: return 2;
    case INSTANCE_UNREADY: return 3;
    default: return 4;
    }
}

static int first_to_go(const void *a, const void *b)
{
    const struct instance_obs *x = *(const struct instance_obs *const *)a;
    const struct instance_obs *y = *(const struct instance_obs *const *)b;
    if (rank(x) != rank(y))
        return rank(x) - rank(y);
    if (x->since_ms != y->since_ms)
        return x->since_ms > y->since_ms ? -1 : 1;
    return -strcmp(x->id, y->id);
}

static void shrink(struct turn *t, uint32_t pool, uint8_t process, uint32_t alive, uint32_t wanted)
{
    const struct instance_obs **list = arena_alloc(t->arena, alive * sizeof(void *));
    size_t n = 0;
    for (size_t i = 0; i < t->obs->instances_len; i++) {
        const struct instance_obs *in = &t->obs->instances[i];
        if (in->pool == pool && in->process == process && has_a_place(in))
            list[n++] = in;
    }
    ASSERT(n == alive && alive > wanted);
    qsort(list, n, sizeof(void *), first_to_go);
    for (size_t i = 0; i < alive - wanted; i++)
        send_away(t, list[i]);
}

static void grow(struct turn *t, size_t place, uint8_t process, uint32_t missing)
{
    if (must_wait(t, place, process))
        return;
    for (uint32_t i = 0; i < missing; i++) {
        struct action *a = turn_act(t, ACTION_CREATE);
        a->pool = t->s->pools[place].id;
        a->process = process;
    }
}

static void each_instance(struct turn *t)
{
    for (size_t i = 0; i < t->obs->instances_len; i++) {
        const struct instance_obs *in = &t->obs->instances[i];
        size_t place = pool_index(t->s, in->pool);
        if (!has_a_place(in))
            see_off(t, in);
        else if (place == CORE_MAX_POOLS)
            send_away(t, in);
        else if (in->state == INSTANCE_BACKING_OFF &&
                 t->tally.of[place][in->process].alive <= t->s->pools[place].wanted[in->process])
            back_off(t, in, place);
    }
}

/* Of a group with too many, those that stay and are down come back as well, but only once the
 * others are away: by then it is no group with too many. */
void reconcile(struct turn *t)
{
    each_instance(t);
    for (size_t place = 0; place < CORE_MAX_POOLS; place++) {
        const struct pool_state *p = &t->s->pools[place];
        if (p->id == 0)
            continue;
        for (size_t k = 0; k < SPEC_MAX_PROCESSES; k++) {
            uint32_t alive = t->tally.of[place][k].alive;
            if (alive > p->wanted[k])
                shrink(t, p->id, (uint8_t)k, alive, p->wanted[k]);
            else if (alive < p->wanted[k])
                grow(t, place, (uint8_t)k, p->wanted[k] - alive);
        }
    }
}
