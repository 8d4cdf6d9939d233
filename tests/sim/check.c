/* What must hold whatever happens. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

void expect_told(uint64_t event);
void life_after_turn(void);

enum { ROLLOUTS = 128 };

static struct {
    bool back[ROLLOUTS]; /* the rollout of that id was decided to go back, and that is stored */
    unsigned ended[ROLLOUTS]; /* told ends */
} seen;

static struct app *app_of(const char *name)
{
    char key[64];
    store_app_key(name, "production", key, sizeof key);
    return app_by_key(sim.control, key);
}

/* ---- the state of the apps, after each turn of the loop ---- */

static void check_weights(const struct app *a)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        sum += a->state.pools[i].weight_ppm;
    if (sum != 0 && sum != 1000000)
        sim_fail("%s: the weights sum to %u", a->key, sum);
}

/* Copies go to a candidate on its way forward only. */
static void check_mirror(const struct app *a)
{
    bool back = a->state.rollout.told_phase == PHASE_BACK; /* decide() has seen it */
    if (a->state.mirror_ppm > 0 && (a->state.candidate == 0 || back))
        sim_fail("%s: requests are copied, and nobody is tried out", a->key);
}

static void check_one_way(const struct app *a)
{
    const struct rollout_state *r = &a->state.rollout;
    if (r->id == 0 || r->id >= ROLLOUTS)
        return;
    if (r->phase == PHASE_BACK && a->phase == PIPE_IDLE && !a->unstored &&
        store_pending(a->control->store) == 0)
        seen.back[r->id] = true;
    if (seen.back[r->id] && r->phase != PHASE_BACK)
        sim_fail("%s: rollout %llu was on its way back, and is %s", a->key,
                 (unsigned long long)r->id, rollout_phase_word(r->phase));
}

void check_step(void)
{
    struct control *c = sim.control;
    for (size_t i = 0; c->store != NULL && i < c->apps.len; i++) {
        check_weights(c->apps.items[i]);
        check_mirror(c->apps.items[i]);
        check_one_way(c->apps.items[i]);
    }
    life_after_turn();
}

/* ---- runs ---- */

static const struct instance *owner_of(const struct sim_run *run)
{
    struct run_owner *owner = map_get(&sim.control->runs, run->id);
    return owner != NULL ? owner->instance : NULL;
}

static void check_alone(const struct sim_run *run)
{
    for (size_t i = 0; i < sim_runs.len; i++) {
        const struct sim_run *r = sim_runs.items[i];
        if (!run_alive(r) || r->job || strcmp(r->app, run->app) != 0)
            continue;
        if (strcmp(r->instance, run->instance) == 0)
            sim_fail("%s is started while %s runs", run->id, r->id);
        if (expect_of(run->app)->recreate && r->release != run->release && !r->unstored &&
            !run->unstored)
            sim_fail("recreate: %s is started while %s runs", run->id, r->id);
    }
}

void check_start(const struct sim_run *run)
{
    const struct app *a = app_of(run->app);
    if (a == NULL)
        sim_fail("%s is started, of an app that is gone", run->id);
    const struct rollout_state *r = &a->state.rollout;
    if (run->job) {
        unsigned long long rollout = 0;
        const char *at = strstr(run->id, "-release-");
        at = at != NULL ? at : strstr(run->id, "-smoke-");
        if (at != NULL && sscanf(strchr(at + 1, '-') + 1, "%llu", &rollout) == 1 &&
            rollout != r->id)
            sim_fail("%s is started, rollout %llu is under way", run->id,
                     (unsigned long long)r->id);
        return;
    }
    check_alone(run);
    const struct instance *in = owner_of(run);
    if (in == NULL)
        sim_fail("%s is started, of no instance", run->id);
    const struct pool_state *p = app_pool(&a->state, in->pool);
    if (p == NULL && !run->unstored)
        sim_fail("%s is started for pool %u, that there is none of", run->id, in->pool);
}

void check_stop(const struct sim_run *run, bool at_once)
{
    const struct instance *in = owner_of(run);
    /* The price of starting what cannot be stored (pipeline.c): the next controller stops it, and
     * capacity is promised anew once it was there again. */
    if (!run->job && in == NULL && run->unstored)
        expect_of(run->app)->available = false;
    if (run->job || run->in_flight == 0 || run->told_stop || !run_alive(run))
        return;
    if (in == NULL || at_once) { /* nobody's: a run that could not be stored */
        if (!run->unstored && sim.reboots == 0)
            sim_fail("%s is killed with %u requests, and was stored", run->id, run->in_flight);
        return;
    }
    bool time_over = in->drain_timed_out;
    if (!in->restart_wanted && !time_over)
        sim_fail("%s is stopped with %u requests", run->id, run->in_flight);
}

/* ---- traffic ---- */

static uint32_t routed_of(const struct snapshot *s, const char *app, bool *empty_share)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *r = &s->routes[i];
        if (strcmp(s->apps[r->app].name, app) != 0)
            continue;
        for (uint32_t k = 0; k < r->shares_len; k++) {
            n += s->pools[r->shares[k].pool].instances;
            *empty_share = *empty_share || s->pools[r->shares[k].pool].instances == 0;
        }
        break;
    }
    return n;
}

/* Everyone in the routes is ready, as far as the controller was told. */
static void check_ready(const struct snapshot *s)
{
    for (uint32_t i = 0; i < s->instances_len; i++) {
        const struct snapshot_instance *in = &s->instances[i];
        const struct sim_run *run = NULL;
        size_t n = strlen(in->id);
        for (size_t k = sim_runs.len; k-- > 0 && run == NULL;)
            if (strcmp(sim_runs.items[k]->instance, in->id) == 0 &&
                sim_runs.items[k]->port == in->port && n > 0)
                run = sim_runs.items[k];
        if (run == NULL)
            sim_fail("routes to %s port %u, that never ran", in->id, in->port);
        if (run->told != RUN_RUNNING)
            sim_fail("routes to %s, whose run is over", run->id);
        if (run->told_stop)
            sim_fail("routes to %s, that was told to stop", run->id);
        if (!run->was_ready)
            sim_fail("routes to %s, that never was ready", run->id);
        if (run->bad >= run->how->failures)
            sim_fail("routes to %s, that failed %u probes", run->id, run->bad);
    }
}

/* NULL: of this app's capacity nothing is promised now. */
static struct expectation *judged_by_capacity(size_t i)
{
    struct expectation *x = &expectations[i];
    const struct app *a = x->app[0] != '\0' ? app_of(x->app) : NULL;
    bool promised = a != NULL && a->state.stable != 0 && !x->disturbed && !x->recreate;
    return promised && !sim.faults.instances ? x : NULL;
}

/* While nothing of the instances' own goes wrong, our actions take no capacity away. */
static void check_capacity(const struct snapshot *s)
{
    for (size_t i = 0; i < SIM_APPS; i++) {
        const struct expectation *x = judged_by_capacity(i);
        bool empty = false;
        uint32_t n = x != NULL ? routed_of(s, x->app, &empty) : 0;
        if (x == NULL || !x->available)
            continue;
        if (n < x->floor)
            sim_fail("%s: %u instances get traffic, the least is %u", x->app, n, x->floor);
        if (empty && x->floor > 0)
            sim_fail("%s: a release gets traffic and has no instance", x->app);
    }
}

/* A gateway has these routes: what is there by now has to stay. */
void check_served(const struct snapshot *s)
{
    for (size_t i = 0; sim.control != NULL && i < SIM_APPS; i++) {
        struct expectation *x = judged_by_capacity(i);
        bool empty = false;
        if (x != NULL && routed_of(s, x->app, &empty) >= x->floor && !empty)
            x->available = true;
    }
}

void check_published(const struct snapshot *s)
{
    check_ready(s);
    check_capacity(s);
}

void check_rebooted(void)
{
    for (size_t i = 0; i < SIM_APPS; i++)
        expectations[i].available = false;
}

/* A client's request goes to the instance that the routes of its gateway's worker name. */
void check_request(const struct sim_run *run, const char *id, uint16_t port)
{
    if (run == NULL) /* refused: it has just ended by itself */
        return;
    if (strcmp(run->instance, id) != 0)
        sim_fail("a request for %s goes to %s on port %u", id, run->id, port);
    if (!run->told_stop)
        return;
    const struct instance *in = sim.control != NULL ? owner_of(run) : NULL;
    bool timed_out =
        sim_now() - run->began_us > 0 && in != NULL && (in->drain_timed_out || in->restart_wanted);
    if (!timed_out && in != NULL && !run->killed)
        sim_fail("a request goes to %s, that was told to stop", run->id);
}

/* ---- what people hear ---- */

void check_event(const struct control_event *event)
{
    sim_note("event %llu %s %s", (unsigned long long)event->id, event->app, event->kind);
    expect_told(event->id);
    if (strcmp(event->kind, "ended") != 0)
        return;
    json_t *whole = json_loads(event->json, 0, NULL);
    const json_t *data = json_object_get(whole, "data");
    const char *result = json_string_value(json_object_get(data, "result"));
    uint64_t rollout = (uint64_t)json_integer_value(json_object_get(data, "rollout"));
    sim_note("  %s %s", result,
             json_string_value(json_object_get(json_object_get(data, "reason"), "text")));
    if (rollout < ROLLOUTS && rollout != 0 && strcmp(result, "paused") != 0) {
        if (++seen.ended[rollout] > 1)
            sim_fail("rollout %llu ended twice", (unsigned long long)rollout);
        if (seen.back[rollout] && strcmp(result, "promoted") == 0)
            sim_fail("rollout %llu was on its way back, and was promoted",
                     (unsigned long long)rollout);
    }
    json_decref(whole);
}

/* ---- the end ---- */

#define NOT_YET(...) return snprintf(why, size, __VA_ARGS__), false

static bool app_is_steady(struct app *a, char *why, size_t size)
{
    if (a->state.rollout.id != 0)
        NOT_YET("%s: rollout %llu is %s at step %u", a->key,
                (unsigned long long)a->state.rollout.id, rollout_phase_word(a->state.rollout.phase),
                a->state.rollout.cursor);
    if (a->deploy != NULL || a->deleting)
        NOT_YET("%s: a deploy or delete is under way", a->key);
    if (a->phase != PIPE_IDLE || app_owes(a) || a->endings.len > 0 || a->gone.len > 0)
        NOT_YET("%s: something is to be stored", a->key);
    const struct app_spec *spec = pool_spec(a, a->state.stable);
    uint32_t wanted = 0;
    for (size_t i = 0; spec != NULL && !a->state.stopped && i < spec->processes_len; i++)
        wanted += a->state.replicas_override[i] != 0 ? a->state.replicas_override[i] - 1
                                                     : spec->processes[i].replicas;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (a->state.pools[i].id != 0 && a->state.pools[i].id != a->state.stable)
            NOT_YET("%s: pool %u is still there", a->key, a->state.pools[i].id);
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i]->pool != a->state.stable ||
            !instance_ready(a->instances.items[i]))
            NOT_YET("%s: %s is %s", a->key, a->instances.items[i]->id,
                    instance_state_word(instance_state(a->instances.items[i])));
    if (a->instances.len != wanted)
        NOT_YET("%s: %zu instances, %u wanted", a->key, a->instances.len, wanted);
    return true;
}

/* Each instance has one run, and nothing else of the app runs or has left its record. */
static bool runs_are_right(char *why, size_t size)
{
    for (size_t i = 0; i < sim_runs.len; i++) {
        const struct sim_run *r = sim_runs.items[i];
        if (r->forgotten)
            continue;
        const struct instance *in = owner_of(r);
        if (in == NULL || !run_alive(r) || strcmp(in->run_id, r->id) != 0)
            NOT_YET("run %s is left over (%s)", r->id, run_alive(r) ? "alive" : "its record");
    }
    return true;
}

bool check_is_steady(char *why, size_t size)
{
    struct control *c = sim.control;
    if (!life_runs())
        NOT_YET("no controller runs, or without its store");
    for (size_t i = 0; i < c->apps.len; i++)
        if (!app_is_steady(c->apps.items[i], why, size))
            return false;
    if (store_pending(c->store) > 0)
        NOT_YET("the store is busy");
    if (!gateways_settled())
        NOT_YET("the gateways do not have the routes yet");
    return runs_are_right(why, size);
}

/* Every deploy that was accepted has exactly one end. */
static void check_ends(const struct app *a)
{
    const struct expectation *x = expect_of(a->name);
    if (x->deletions > 0)
        return;
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_events events;
    struct error err = ERROR_INIT;
    unsigned ends[SIM_RELEASES + 1] = {0};
    if (store_read_events_after(sim.control->store, a->key, 0, 100000, &memory, &events, &err) < 0)
        sim_fail("%s", err.text);
    for (size_t i = 0; i < events.len; i++) {
        const struct store_event *e = &events.items[i];
        if (strcmp(e->kind, "ended") != 0)
            continue;
        json_t *whole = json_loads(e->json, 0, NULL);
        const json_t *data = json_object_get(whole, "data");
        uint32_t release = (uint32_t)json_integer_value(json_object_get(whole, "release"));
        const char *result = json_string_value(json_object_get(data, "result"));
        if (strcmp(result, "paused") != 0 && release <= SIM_RELEASES)
            ends[release]++;
        json_decref(whole);
    }
    for (size_t i = 0; i < x->accepted_len; i++)
        if (ends[x->accepted[i]] == 0)
            sim_fail("the deploy of %s release %u has no end", a->name, x->accepted[i]);
}

static void check_routes(struct app *a)
{
    const struct snapshot *s = gateway_table();
    bool empty = false;
    uint32_t n = routed_of(s, a->name, &empty);
    uint32_t wanted = (uint32_t)a->instances.len;
    if (n != wanted)
        sim_fail("%s: %u instances are routed, %u are there", a->key, n, wanted);
}

void check_end(void)
{
    struct control *c = sim.control;
    expect_restored(); /* what was promised is still so */
    for (size_t i = 0; i < c->apps.len; i++) {
        check_ends(c->apps.items[i]);
        check_routes(c->apps.items[i]);
    }
}
