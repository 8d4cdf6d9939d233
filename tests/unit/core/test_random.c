/* Rollouts by the thousand, from seeds: releases that are slow, bad, crash or never are ready,
 * gateways that answer late, actions and turns that get lost, controllers that restart, and people
 * who say the wrong thing at the worst moment. At every turn what must always hold is checked; once
 * the faults are over every rollout ends, and the app is as it should be.
 *
 * SLUICE_SEEDS=N runs that many (default 1,500); SLUICE_SEED=K only that one, with its trace. */
#include "core/world.h"

#include <stdlib.h>

struct plan_of_run {
    uint64_t seed;
    bool healthy;    /* releases are good: then availability is ours alone */
    bool recreate;   /* all of them */
    bool superseded; /* more than one rollout at once was asked for */
    bool scaled, stopped;
    uint32_t weight, mirror;  /* the candidate's at the turn before */
    enum rollout_phase phase; /* at the turn before */
    uint32_t promoted, back, aborted, superseding;
    struct app_spec specs[WORLD_RELEASES];
    uint32_t releases;
};

static uint64_t current_seed; /* told when a test fails */

static uint32_t pick(struct world *w, uint32_t below)
{
    return (uint32_t)(world_random(w) % below);
}

static void make_spec(struct world *w, struct plan_of_run *run, uint32_t n)
{
    static const uint32_t replicas[] = {1, 1, 2, 3, 3, 4, 5, 8};
    enum strategy_kind kind =
        run->recreate ? STRATEGY_RECREATE : (enum strategy_kind)pick(w, STRATEGY_KINDS);
    if (!run->recreate && kind == STRATEGY_RECREATE)
        kind = STRATEGY_ROLLING;
    struct app_spec s = world_spec(kind, replicas[pick(w, 8)]);
    s.deadline_ms = 5000 + 1000 * pick(w, 20);
    s.strategy.max_surge = (struct amount){pick(w, 2) == 0, pick(w, 3)};
    if (s.strategy.max_surge.percent)
        s.strategy.max_surge.value *= 25;
    s.strategy.max_unavailable = (struct amount){true, 25 * pick(w, 3)};
    s.strategy.min_ready_ms = pick(w, 2) * 200;
    s.strategy.keep_ms = pick(w, 2) * 3000;
    s.strategy.approve = pick(w, 8) == 0;
    s.strategy.instances = pick(w, 4) == 0 ? 1 + pick(w, 4) : 0;
    s.strategy.match.len = s.strategy.preview.len = pick(w, 2);
    s.strategy.steps[0].approve = pick(w, 8) == 0;
    static const struct command command;
    if (pick(w, 3) == 0) {
        s.release = s.strategy.smoke = s.strategy.steps[0].smoke = &command;
        s.release_len = s.strategy.smoke_len = s.strategy.steps[0].smoke_len = 1;
    }
    s.pause_on_failure = pick(w, 6) == 0;
    if (pick(w, 3) == 0)
        world_add_worker(&s, 1 + pick(w, 2));
    run->specs[n] = s;
    w->spec[n] = &run->specs[n];
}

static void make_behaviour(struct world *w, const struct plan_of_run *run, uint32_t n)
{
    struct behaviour b = {.ready_ms = 1 + pick(w, 400), .drain_ms = 1 + pick(w, 300)};
    if (!run->healthy)
        switch (pick(w, 10)) {
        case 0: b.never_ready = true; break;
        case 1: b.crash_ms = 20 + pick(w, 3000); break;
        case 2: b.flap_ms = 20 + pick(w, 2000); break;
        case 3: b.start_fails = true; break;
        case 4: b.bad_ms = 10 + pick(w, 2000); break;
        case 5: b.hook_fails = b.smoke_fails = true; break;
        case 6: b.liveness_ms = 100 + pick(w, 3000); break;
        case 7: b.port_taken = pick(w, 2) == 0; break;
        default: break;
        }
    else if (pick(w, 4) == 0)
        b.bad_ms = 10 + pick(w, 2000);
    w->how[n] = b;
}

/* ---- what must hold at every turn ---- */

static const struct fake *of_action(struct world *w, const struct action *a)
{
    return a->instance != NULL ? world_find(w, a->instance) : NULL;
}

static uint32_t routed_ready(struct world *w)
{
    uint32_t n = 0;
    for (size_t i = 0; i < w->instances.len; i++)
        n += w->instances.items[i].process == 0 && w->instances.items[i].state == INSTANCE_READY;
    return n;
}

static uint32_t amount_of(const struct amount *a, uint32_t n, bool up)
{
    if (!a->percent)
        return a->value;
    return up ? (a->value * n + 99) / 100 : a->value * n / 100;
}

/* Between which two counts the app is, and with which bounds; false: nothing to hold it to. */
static bool bounds(struct world *w, uint32_t *cap, uint32_t *floor)
{
    const struct pool_state *stable = app_pool(&w->state, w->state.stable);
    const struct pool_state *candidate = app_pool(&w->state, w->state.candidate);
    if (stable == NULL || candidate == NULL)
        return false;
    const struct app_spec *to = w->spec[candidate->release];
    uint32_t a = w->spec[stable->release]->processes[0].replicas, b = to->processes[0].replicas;
    uint32_t surge = (b + 3) / 4, unavailable = 0;
    if (to->strategy.kind == STRATEGY_ROLLING) {
        surge = amount_of(&to->strategy.max_surge, b, true);
        unavailable = amount_of(&to->strategy.max_unavailable, b, false);
    }
    if (surge == 0 && unavailable == 0)
        surge = 1;
    bool rounds = to->strategy.kind == STRATEGY_ROLLING || w->state.rollout.kind == ROLLOUT_RESTART;
    uint32_t least = a < b ? a : b;
    *floor = least > unavailable ? least - unavailable : 0;
    *cap = rounds ? (a > b ? a : b) + surge : 0;
    if (!rounds && to->strategy.kind == STRATEGY_CANARY && to->strategy.instances > b)
        b = to->strategy.instances;
    if (!rounds)
        *cap = a + b;
    return true;
}

static void check_available(struct world *w, const struct decision *d)
{
    const struct plan_of_run *run = w->arg;
    uint32_t cap, floor, gone = 0, ready = routed_ready(w);
    if (run->recreate || run->scaled || run->stopped || !bounds(w, &cap, &floor))
        return;
    /* Where instances fail by themselves: only going forward, and what was decided was done. */
    if (!run->healthy && (w->state.rollout.phase != PHASE_FORWARD || run->phase != PHASE_FORWARD ||
                          run->superseded || w->lose_percent > 0))
        return;
    for (size_t i = 0; i < d->len; i++) {
        const struct fake *f = of_action(w, &d->items[i]);
        if (d->items[i].kind == ACTION_DRAIN && f->process == 0 && f->state == INSTANCE_READY)
            gone++;
    }
    if (gone > 0 && ready - gone < floor)
        fail_msg("%u ready, %u drained, floor %u\n%s", ready, gone, floor, buf_str(&w->trace));
}

/* Running ones of pools that are in the rollout: what an earlier one left is not its doing. */
static void check_surge(struct world *w, const struct decision *d)
{
    const struct plan_of_run *run = w->arg;
    uint32_t cap, floor, running = 0, created = 0;
    if (run->superseded || run->scaled || run->stopped || run->recreate || !bounds(w, &cap, &floor))
        return;
    for (size_t i = 0; i < w->instances.len; i++) {
        const struct fake *f = &w->instances.items[i];
        running += f->process == 0 && f->running &&
                   (f->pool == w->state.stable || f->pool == w->state.candidate);
    }
    for (size_t i = 0; i < d->len; i++) {
        const struct action *a = &d->items[i];
        const struct fake *f = of_action(w, a);
        created += (a->kind == ACTION_CREATE && a->process == 0) ||
                   (a->kind == ACTION_START && f->process == 0);
    }
    if (created > 0 && running + created > cap)
        fail_msg("%u running, %u created, cap %u\n%s", running, created, cap, buf_str(&w->trace));
}

static void check_alone(struct world *w, const struct decision *d)
{
    const struct plan_of_run *run = w->arg;
    if (!run->recreate)
        return;
    for (size_t i = 0; i < d->len; i++) {
        const struct action *a = &d->items[i];
        if (a->kind != ACTION_CREATE && a->kind != ACTION_START)
            continue;
        for (size_t k = 0; k < w->instances.len; k++)
            if (w->instances.items[k].running && w->instances.items[k].pool != a->pool)
                fail_msg("%s runs beside pool %u\n%s", w->instances.items[k].id, a->pool,
                         buf_str(&w->trace));
    }
}

/* Copies need somebody to take them, and go only to a candidate on its way forward. */
static void check_mirror(struct world *w)
{
    struct plan_of_run *run = w->arg;
    const struct app_state *s = &w->state;
    const struct pool_state *p = app_pool(s, s->candidate);
    if (s->mirror_ppm > 0) {
        assert_non_null(p);
        assert_int_equal(w->spec[p->release]->strategy.kind, STRATEGY_SHADOW);
        assert_int_equal(s->rollout.kind, ROLLOUT_DEPLOY);
        assert_int_equal(s->mirror_ppm, w->spec[p->release]->strategy.shadow.share_ppm);
    }
    if (s->mirror_ppm > run->mirror)
        assert_int_equal(p->weight_ppm, 0);
    run->mirror = s->mirror_ppm;
}

/* Nobody gets a larger share than before without someone there to take it. */
static void check_weight(struct world *w)
{
    struct plan_of_run *run = w->arg;
    const struct pool_state *p = app_pool(&w->state, w->state.candidate);
    uint32_t weight = p != NULL ? p->weight_ppm : 0, ready = 0;
    for (size_t i = 0; p != NULL && i < w->instances.len; i++)
        ready += w->instances.items[i].pool == p->id && w->instances.items[i].process == 0 &&
                 w->instances.items[i].state == INSTANCE_READY;
    if (weight > run->weight && p->wanted[0] > 0 && w->state.rollout.kind == ROLLOUT_DEPLOY)
        assert_true(ready >= p->wanted[0]);
    run->weight = weight;
}

/* While it is paused nothing moves: no share, and nobody is sent away. */
static void check_paused(struct world *w, const struct decision *d)
{
    const struct plan_of_run *run = w->arg;
    if (w->state.rollout.phase != PHASE_PAUSED || run->phase != PHASE_PAUSED || run->scaled)
        return;
    const struct app_state *s = &w->state;
    for (size_t i = 0; i < d->len; i++) {
        const struct action *a = &d->items[i];
        bool ours = a->pool == s->stable || a->pool == s->candidate;
        assert_false(a->kind == ACTION_DRAIN && ours && w->lose_percent == 0);
    }
}

static void check_turn(struct world *w, const struct decision *d)
{
    struct plan_of_run *run = w->arg;
    check_weight(w);
    check_mirror(w);
    check_paused(w, d);
    check_available(w, d);
    check_surge(w, d);
    check_alone(w, d);
    if (d->rollout_ended && d->result != RESULT_PROMOTED && !w->state.stopped &&
        w->state.stable != 0)
        assert_int_equal(app_pool(&w->state, w->state.stable)->weight_ppm, 1000000);
    if (d->traffic_first)
        assert_true(w->state.rollout.phase == PHASE_BACK || d->rollout_ended);
    run->phase = w->state.rollout.phase;
    run->promoted += d->rollout_ended && d->result == RESULT_PROMOTED;
    run->back += d->rollout_ended && d->result == RESULT_ROLLED_BACK;
    run->aborted += d->rollout_ended && d->result == RESULT_ABORTED;
}

/* ---- people ---- */

static void say_something(struct world *w, struct plan_of_run *run)
{
    struct error err = ERROR_INIT;
    struct specs specs;
    world_specs(w, &specs);
    bool rolling_out = w->state.rollout.id != 0;
    const struct pool_state *stable = app_pool(&w->state, w->state.stable);
    int rc = 0;
    switch (pick(w, 12)) {
    case 0:
    case 1:
    case 2:
        if (run->releases + 1 < WORLD_RELEASES) {
            run->superseded = run->superseded || rolling_out;
            rc = world_begin(w, ++run->releases, ROLLOUT_DEPLOY);
        }
        break;
    case 3:
        run->superseded = run->superseded || rolling_out;
        if (stable != NULL)
            rc = world_begin(w, stable->release, ROLLOUT_RESTART);
        break;
    case 4:
        run->superseded = run->superseded || rolling_out;
        rc = world_begin(w, 1 + pick(w, run->releases), ROLLOUT_ROLLBACK);
        break;
    case 5: rc = core_promote(&w->state, w->now, &err); break;
    case 6: rc = core_abort(&w->state, &specs, REASON_ABORTED, "by alice", w->now, &err); break;
    case 7: rc = core_pause(&w->state, w->now, &err); break;
    case 8: rc = core_resume(&w->state, w->now, &err); break;
    case 9:
        if (stable == NULL)
            break;
        run->scaled = true;
        rc = core_scale(&w->state, w->spec[stable->release], 0, pick(w, 6), &err);
        break;
    case 10:
        run->stopped = true;
        rc = core_stop(&w->state, &err);
        break;
    case 11: rc = core_start(&w->state, &err); break;
    }
    if (rc != 0 && err.class != ERROR_NONE) {
        assert_int_equal(err.class, ERROR_CONFLICT);
        assert_true(strlen(err.text) > 20);
    }
}

/* ---- a run ---- */

static void repair(struct world *w)
{
    w->lose_percent = w->skip_percent = 0;
    w->silent_gateway = false;
    if (!w->applied && w->traffic_at == 0)
        w->traffic_at = w->now + 5;
    for (uint32_t i = 0; i < WORLD_RELEASES; i++) {
        struct behaviour *b = &w->how[i];
        b->never_ready = b->start_fails = b->port_taken = false;
        b->crash_ms = b->flap_ms = b->liveness_ms = 0;
    }
    for (size_t i = 0; i < w->instances.len; i++) {
        struct fake *f = &w->instances.items[i];
        f->crash_at = f->kill_at = f->flap_at = 0;
        if (f->state == INSTANCE_UNREADY || f->state == INSTANCE_STARTING)
            f->ready_at = f->ready_at != 0 ? f->ready_at : w->now + 50;
    }
}

/* Nobody waits for people any more. */
static void let_it_end(struct world *w)
{
    struct error err = ERROR_INIT;
    for (int i = 0; i < 50 && w->state.rollout.id != 0; i++) {
        const struct rollout_state *r = &w->state.rollout;
        const struct step *step = r->cursor < r->plan.len ? &r->plan.steps[r->cursor] : NULL;
        if (r->phase == PHASE_PAUSED)
            assert_int_equal(core_resume(&w->state, w->now, &err), 0);
        else if (r->phase == PHASE_FORWARD && step != NULL && step->kind == STEP_APPROVE)
            assert_int_equal(core_promote(&w->state, w->now, &err), 0);
        int ended = w->ended, paused = w->paused;
        int64_t start = w->now;
        world_settle(w);
        while (w->ended == ended && w->paused == paused && w->now - start < 120000) {
            step = r->cursor < r->plan.len ? &r->plan.steps[r->cursor] : NULL;
            if (r->phase == PHASE_FORWARD && step != NULL && step->kind == STEP_APPROVE)
                break;
            world_run(w, 100);
        }
    }
    if (w->state.rollout.id != 0)
        fail_msg("it does not end: %s\n%s", rollout_phase_word(w->state.rollout.phase),
                 buf_str(&w->trace));
}

static void check_rest(struct world *w)
{
    const struct app_state *s = &w->state;
    const struct pool_state *stable = app_pool(s, s->stable);
    const struct app_spec *spec = stable != NULL ? w->spec[stable->release] : NULL;
    for (size_t i = 0; i < w->instances.len; i++) {
        const struct fake *f = &w->instances.items[i];
        if (stable == NULL || f->pool != stable->id || f->state != INSTANCE_READY)
            fail_msg("%s is still there: %s\n%s", f->id, instance_state_word(f->state),
                     buf_str(&w->trace));
    }
    for (uint8_t p = 0; spec != NULL && p < spec->processes_len; p++) {
        uint32_t n = 0, wanted = spec->processes[p].replicas;
        if (s->replicas_override[p] != 0)
            wanted = s->replicas_override[p] - 1;
        for (size_t i = 0; i < w->instances.len; i++)
            n += w->instances.items[i].process == p;
        assert_int_equal(n, s->stopped ? 0 : wanted);
    }
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        assert_true(s->pools[i].id == 0 || s->pools[i].id == s->stable);
    assert_true(w->wake == INT64_MAX);
}

struct totals {
    uint32_t promoted, back, aborted, superseded;
};

static void run_seed(uint64_t seed, bool reload, struct buf *trace_out, struct totals *totals)
{
    struct plan_of_run *run = xcalloc(1, sizeof *run);
    struct world w;
    world_init(&w);
    w.random = seed * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 8; i++)
        world_random(&w);
    run->seed = seed;
    run->healthy = seed % 2 == 0;
    run->recreate = pick(&w, 4) == 0;
    w.jitter = true;
    w.reload = reload;
    if (pick(&w, 3) == 0) { /* lossy: only ticks are sure to come */
        w.tick = true;
        w.lose_percent = 10;
        w.skip_percent = 30;
    }
    w.check = check_turn;
    w.arg = run;
    w.trace_actions = true;
    for (uint32_t i = 1; i < WORLD_RELEASES; i++) {
        make_spec(&w, run, i);
        make_behaviour(&w, run, i);
    }
    if (pick(&w, 4) != 0) /* usually the first is good */
        w.how[1] = (struct behaviour){0};
    run->releases = 1;
    world_begin(&w, 1, ROLLOUT_DEPLOY);
    int rounds = 4 + (int)pick(&w, 30);
    for (int i = 0; i < rounds; i++) {
        world_run(&w, pick(&w, 3) == 0 ? pick(&w, 5000) : pick(&w, 300));
        if (pick(&w, 3) != 0)
            say_something(&w, run);
        if (pick(&w, 6) == 0) /* now and then a rollout comes to its end */
            world_run(&w, 30000);
    }
    repair(&w);
    let_it_end(&w);
    for (int i = 0; i < 400 && w.wake != INT64_MAX; i++)
        world_run(&w, 2000);
    world_run(&w, 400000);
    check_rest(&w);
    totals->promoted += run->promoted;
    totals->back += run->back;
    totals->aborted += run->aborted;
    totals->superseded += (uint32_t)w.ended - run->promoted - run->back - run->aborted;
    buf_append(trace_out, buf_str(&w.trace), w.trace.len);
    world_release(&w);
    free(run);
}

static uint64_t seeds(uint64_t usual)
{
    const char *many = getenv("SLUICE_SEEDS");
    return many != NULL ? strtoull(many, NULL, 10) : usual;
}

static void test_what_always_holds(void **state)
{
    (void)state;
    const char *one = getenv("SLUICE_SEED");
    struct totals totals = {0};
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t last = one != NULL ? first : seeds(1500);
    for (uint64_t seed = first; seed <= last; seed++) {
        cleanup_buf struct buf trace = BUF_INIT;
        current_seed = seed;
        run_seed(seed, false, &trace, &totals);
        if (one != NULL)
            printf("%s", buf_str(&trace));
    }
    printf("rollouts: %u promoted, %u rolled back, %u aborted, %u superseded\n", totals.promoted,
           totals.back, totals.aborted, totals.superseded);
    if (one == NULL)
        assert_true(totals.promoted > last && totals.back > last / 3 && totals.aborted > 100 &&
                    totals.superseded > last / 2);
}

/* A controller that restarts between any two turns decides the same. */
static void test_restarts_change_nothing(void **state)
{
    (void)state;
    struct totals totals = {0};
    uint64_t last = seeds(1500) / 5;
    for (uint64_t seed = 1; seed <= last; seed++) {
        cleanup_buf struct buf once = BUF_INIT, again = BUF_INIT;
        current_seed = seed;
        run_seed(seed, false, &once, &totals);
        run_seed(seed, true, &again, &totals);
        assert_string_equal(buf_str(&once), buf_str(&again));
    }
}

/* One rollout to a release that is bad in some way, and nothing is ever repaired: it ends all the
 * same, by its deadline at the latest, and stable has the traffic. */
static void test_all_ends(void **state)
{
    (void)state;
    uint64_t last = seeds(1500);
    for (uint64_t seed = 1; seed <= last; seed++) {
        struct plan_of_run *run = xcalloc(1, sizeof *run);
        struct world w;
        world_init(&w);
        w.random = seed * 0xda942042e4dd58b5ull + 7;
        for (int i = 0; i < 8; i++)
            world_random(&w);
        current_seed = seed;
        run->recreate = pick(&w, 4) == 0;
        w.arg = run;
        w.check = check_turn;
        w.trace_actions = true;
        for (uint32_t i = 1; i < 3; i++) {
            make_spec(&w, run, i);
            run->specs[i].pause_on_failure = false;
            run->specs[i].strategy.approve = run->specs[i].strategy.steps[0].approve = false;
        }
        world_live(&w);
        w.jitter = true;
        make_behaviour(&w, run, 2);
        if (pick(&w, 4) == 0) { /* stable breaks as well, in the middle */
            w.how[1].never_ready = true;
            w.how[1].crash_ms = 500 + pick(&w, 5000);
        }
        w.silent_gateway = pick(&w, 6) == 0;
        assert_int_equal(world_begin(&w, 2, ROLLOUT_DEPLOY), 0);
        if (pick(&w, 3) == 0) {
            world_run(&w, pick(&w, 2000));
            if (w.state.rollout.id != 0)
                world_abort(&w);
        }
        if (w.state.rollout.id != 0)
            world_until_ended(&w, 1500000);
        assert_true(w.last_result == RESULT_PROMOTED || w.last_result == RESULT_ROLLED_BACK ||
                    w.last_result == RESULT_ABORTED);
        assert_int_equal(world_weight(&w, w.last_result == RESULT_PROMOTED ? 2 : 1), 1000000);
        world_release(&w);
        free(run);
    }
}

static int tell_seed(void **state)
{
    (void)state;
    printf("last seed: %llu\n", (unsigned long long)current_seed);
    return 0;
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_always_holds, tell_seed),
        cmocka_unit_test_teardown(test_restarts_change_nothing, tell_seed),
        cmocka_unit_test_teardown(test_all_ends, tell_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
