/* What people were told, and what therefore must be there after any crash. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

struct expectation expectations[SIM_APPS];

static uint64_t last_event_told;

struct expectation *expect_of(const char *app)
{
    for (size_t i = 0; i < SIM_APPS; i++)
        if (strcmp(expectations[i].app, app) == 0)
            return &expectations[i];
    sim_fail("an app %s that nobody has deployed", app);
}

void expect_told(uint64_t event);
void expect_told(uint64_t event)
{
    if (event <= last_event_told && event + 200 < last_event_told)
        sim_fail("event %llu is told after %llu", (unsigned long long)event,
                 (unsigned long long)last_event_told);
    last_event_told = event > last_event_told ? event : last_event_told;
}

static void check_releases(struct app *a, const struct expectation *x)
{
    for (size_t i = 0; i < x->accepted_len; i++)
        if (app_release(a, x->accepted[i]) == NULL && a->next_release <= x->accepted[i])
            sim_fail("the deploy of %s release %u was accepted, and is not in the store", x->app,
                     x->accepted[i]);
}

/* What came of a roll back or restart may be over; that it was is in its row. */
static void check_begun(const struct app *a, const struct expectation *x)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_rollouts rows = {0};
    struct error err = ERROR_INIT;
    if (x->begun == 0)
        return;
    if (store_read_rollouts(sim.control->store, a->key, 1, &memory, &rows, &err) < 0)
        sim_fail("its rollouts cannot be read: %s", err.text);
    if (rows.len == 0 || rows.items[0].id < x->begun)
        sim_fail("rollout %llu of %s was begun, and is not in the store",
                 (unsigned long long)x->begun, x->app);
}

static void check_promoted(const struct rollout_state *r, const struct expectation *x)
{
    if (x->promoted.rollout == 0 || r->id != x->promoted.rollout || r->phase != PHASE_FORWARD)
        return;
    if (x->promoted.all && !r->promote_all)
        sim_fail("rollout %llu was promoted, and waits again", (unsigned long long)r->id);
    if (r->cursor < x->promoted.cursor)
        sim_fail("rollout %llu was promoted past step %u, and is back at %u",
                 (unsigned long long)r->id, x->promoted.cursor, r->cursor);
}

void expect_restored(void)
{
    struct control *c = sim.control;
    if (store_last_event_id(c->store) < last_event_told)
        sim_fail("event %llu was told, the store ends at %llu", (unsigned long long)last_event_told,
                 (unsigned long long)store_last_event_id(c->store));
    for (size_t i = 0; i < SIM_APPS; i++) {
        const struct expectation *x = &expectations[i];
        char key[64];
        if (x->app[0] == '\0')
            continue;
        store_app_key(x->app, "production", key, sizeof key);
        struct app *a = app_by_key(c, key);
        if (a == NULL) {
            if (x->exists && x->accepted_len > 0 && x->run_asked != PROMISE_GONE)
                sim_fail("app %s was deployed, and is not in the store", x->app);
            continue;
        }
        check_releases(a, x);
        if (x->run == PROMISE_STOPPED && x->run_asked == PROMISE_STOPPED && !a->state.stopped)
            sim_fail("app %s was stopped, and the store does not know", x->app);
        if (x->run == PROMISE_STARTED && x->run_asked == PROMISE_STARTED && a->state.stopped)
            sim_fail("app %s was started, and the store does not know", x->app);
        if (x->run == PROMISE_GONE && x->run_asked == PROMISE_GONE && !a->deleting)
            sim_fail("app %s was deleted, and the store does not know", x->app);
        if (x->scaled >= 0 && x->scaled == x->scaled_asked &&
            a->state.replicas_override[0] != (uint32_t)x->scaled + 1)
            sim_fail("app %s was scaled to %d, the store has %d", x->app, x->scaled,
                     (int)a->state.replicas_override[0] - 1);
        const struct rollout_state *r = &a->state.rollout;
        check_begun(a, x);
        check_promoted(r, x);
        if (x->paused != 0 && r->id == x->paused && r->phase == PHASE_FORWARD)
            sim_fail("rollout %llu was paused, and goes forward", (unsigned long long)r->id);
        if (x->aborted != 0 && r->id == x->aborted && r->phase == PHASE_FORWARD)
            sim_fail("rollout %llu was aborted, and goes forward again", (unsigned long long)r->id);
    }
}
