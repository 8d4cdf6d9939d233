/* A small world for the core's tests: releases that behave as told, instances that start, become
 * ready, crash, flap, drain and stop after (virtual) delays, a gateway that acknowledges later. It
 * drives decide() as the controller does, writes down what is decided, and checks at each turn what
 * must always hold. Deterministic: all chance comes from the seed. */
#ifndef TESTS_UNIT_CORE_WORLD_H
#define TESTS_UNIT_CORE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "core/core.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WORLD_RELEASES = 48, WORLD_START_MS = 1000000 };

/* How the instances of a release behave. Zero: well. */
struct behaviour {
    int64_t ready_ms;    /* from start to ready; 0: 50 */
    int64_t drain_ms;    /* until drained; 0: 20 */
    int64_t stop_ms;     /* from signal to exit; 0: 10 */
    int64_t crash_ms;    /* crashes so long after each start */
    int64_t flap_ms;     /* ready for so long, unready for so long, ... */
    int64_t liveness_ms; /* killed in order to be restarted, so long after each start */
    int64_t bad_ms;      /* the judge says roll back so long after it first has traffic or copies */
    int64_t hook_ms;     /* release commands and smoke take so long; 0: 30 */
    bool never_ready, start_fails, port_taken, out_of_memory, hook_fails, smoke_fails;
    enum verdict verdict; /* until bad_ms; zero: nothing is clear */
};

struct fake {
    char id[40];
    uint32_t pool, release;
    uint8_t process;
    enum instance_state state;
    bool running, drained, coming_back, start_failed;
    uint32_t restarts, fast_crashes;
    int64_t since_ms, exited_ms;
    int64_t ready_at, flap_at, crash_at, kill_at, drained_at, exit_at; /* 0: not due */
};

struct world {
    struct app_state state;
    struct app_spec *spec[WORLD_RELEASES];
    struct behaviour how[WORLD_RELEASES];
    struct {
        struct fake *items;
        size_t len, cap;
    } instances;
    unsigned next_instance;
    int64_t now, wake, traffic_at, hook_at, bad_at, applied_delay_ms;
    bool applied, silent_gateway;
    enum hook_state hook;
    uint64_t hook_rollout;
    uint32_t hook_cursor;
    uint64_t next_rollout;
    uint64_t random;
    bool jitter;
    int lose_percent; /* actions that get lost */
    int skip_percent; /* turns after an event that are left out (a tick comes later) */
    bool reload;      /* the state goes through its JSON before each turn */
    bool tick;
    struct buf trace; /* what was decided */
    bool trace_actions;
    enum rollout_result last_result;
    struct reason last_reason;
    int ended, paused, turns;
    bool traffic_first_seen;
    void (*check)(struct world *w, const struct decision *d);
    void *arg;
};

static inline uint64_t world_random(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random * 0x2545f4914f6cdd1dull >> 11;
}

static inline bool world_chance(struct world *w, int percent)
{
    return percent > 0 && (int)(world_random(w) % 100) < percent;
}

static inline int64_t world_delay(struct world *w, int64_t ms, int64_t usual)
{
    ms = ms != 0 ? ms : usual;
    return w->jitter ? 1 + (int64_t)(world_random(w) % (uint64_t)(2 * ms)) : ms;
}

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    app_state_init(&w->state);
    w->now = WORLD_START_MS;
    w->wake = INT64_MAX;
    w->next_rollout = 1;
    w->random = 88172645463325252ull;
    w->applied = true;
    w->applied_delay_ms = 5;
}

static inline void world_release(struct world *w)
{
    app_state_release(&w->state);
    vec_release(&w->instances);
    buf_release(&w->trace);
}

static inline const struct pool_state *world_pool_of_release(struct world *w, uint32_t release)
{
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (w->state.pools[i].id != 0 && w->state.pools[i].release == release)
            return &w->state.pools[i];
    return NULL;
}

static inline void world_specs(struct world *w, struct specs *out)
{
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        out->of_pool[i] = w->state.pools[i].id != 0 ? w->spec[w->state.pools[i].release] : NULL;
}

/* ---- instances ---- */

static inline void fake_state(struct world *w, struct fake *f, enum instance_state state)
{
    f->state = state;
    f->since_ms = w->now;
}

static inline void fake_start(struct world *w, struct fake *f)
{
    const struct behaviour *how = &w->how[f->release];
    f->running = true;
    f->start_failed = f->coming_back = f->drained = false;
    f->ready_at = f->flap_at = f->crash_at = f->kill_at = f->drained_at = f->exit_at = 0;
    fake_state(w, f, INSTANCE_STARTING);
    if (how->start_fails) {
        f->exit_at = w->now + 1;
        f->start_failed = true;
        return;
    }
    if (!how->never_ready)
        f->ready_at = w->now + world_delay(w, how->ready_ms, 50);
    if (how->crash_ms != 0)
        f->crash_at = w->now + world_delay(w, how->crash_ms, 0);
    if (how->liveness_ms != 0)
        f->kill_at = w->now + world_delay(w, how->liveness_ms, 0);
}

static inline void fake_crash(struct world *w, struct fake *f)
{
    bool unwanted =
        f->state == INSTANCE_DRAINING || (f->state == INSTANCE_STOPPING && !f->coming_back);
    f->running = false;
    f->exited_ms = w->now;
    f->ready_at = f->flap_at = f->crash_at = f->kill_at = f->drained_at = f->exit_at = 0;
    f->coming_back = false;
    if (!unwanted)
        f->fast_crashes++;
    fake_state(w, f, unwanted ? INSTANCE_EXITED : INSTANCE_BACKING_OFF);
}

static inline bool due(const struct world *w, int64_t at)
{
    return at != 0 && at <= w->now;
}

static inline void fake_fire(struct world *w, struct fake *f)
{
    const struct behaviour *how = &w->how[f->release];
    if (due(w, f->crash_at) || due(w, f->exit_at)) {
        fake_crash(w, f);
        return;
    }
    if (due(w, f->kill_at)) {
        f->kill_at = f->ready_at = f->flap_at = 0;
        if (f->state != INSTANCE_DRAINING && f->state != INSTANCE_STOPPING) {
            f->coming_back = true;
            fake_state(w, f, INSTANCE_STOPPING);
            f->exit_at = w->now + world_delay(w, how->stop_ms, 10);
        }
    }
    if (due(w, f->ready_at)) {
        f->ready_at = 0;
        fake_state(w, f, INSTANCE_READY);
        if (how->flap_ms != 0)
            f->flap_at = w->now + world_delay(w, how->flap_ms, 0);
    }
    if (due(w, f->flap_at)) {
        bool ready = f->state == INSTANCE_READY;
        fake_state(w, f, ready ? INSTANCE_UNREADY : INSTANCE_READY);
        f->flap_at = w->now + world_delay(w, how->flap_ms, 0);
    }
    if (due(w, f->drained_at)) {
        f->drained_at = 0;
        f->drained = true;
    }
}

static inline void fake_due(const struct fake *f, int64_t *at)
{
    const int64_t all[] = {f->ready_at, f->flap_at,    f->crash_at,
                           f->kill_at,  f->drained_at, f->exit_at};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (all[i] != 0 && all[i] < *at)
            *at = all[i];
}

static inline struct fake *world_find(struct world *w, const char *id)
{
    for (size_t i = 0; i < w->instances.len; i++)
        if (strcmp(w->instances.items[i].id, id) == 0)
            return &w->instances.items[i];
    fail_msg("no instance %s", id);
    return NULL;
}

static inline uint32_t world_count(struct world *w, uint32_t release, enum instance_state state)
{
    uint32_t n = 0;
    for (size_t i = 0; i < w->instances.len; i++)
        n += w->instances.items[i].release == release && w->instances.items[i].state == state;
    return n;
}

static inline uint32_t world_weight(struct world *w, uint32_t release)
{
    uint32_t weight = 0;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (w->state.pools[i].id != 0 && w->state.pools[i].release == release)
            weight += w->state.pools[i].weight_ppm;
    return weight;
}

/* ---- a turn ---- */

static inline void trace(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void trace(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&w->trace, fmt, ap);
    va_end(ap);
    buf_putc(&w->trace, '\n');
}

static inline void world_act(struct world *w, const struct action *a)
{
    static const char *const words[] = {"create", "start", "drain",      "stop",
                                        "remove", "hook",  "cancel-hook"};
    if (a->kind == ACTION_EVENT) {
        trace(w, "%s: %s", a->event, a->text);
        return;
    }
    if (w->trace_actions)
        trace(w, "  %s %s", words[a->kind], a->instance != NULL ? a->instance : "");
    if (a->kind == ACTION_HOOK) {
        assert_int_not_equal(w->hook, HOOK_RUNNING);
        uint32_t release = app_pool(&w->state, w->state.candidate)->release;
        w->hook = HOOK_RUNNING;
        w->hook_rollout = w->state.rollout.id;
        w->hook_cursor = w->state.rollout.cursor;
        w->hook_at = w->now + world_delay(w, w->how[release].hook_ms, 30);
        return;
    }
    if (a->kind == ACTION_CANCEL_HOOK) {
        w->hook = HOOK_NOT_RUN;
        w->hook_at = 0;
        return;
    }
    if (a->kind == ACTION_CREATE) {
        const struct pool_state *p = app_pool(&w->state, a->pool);
        assert_non_null(p);
        if (world_chance(w, w->lose_percent))
            return;
        struct fake *f = vec_push(&w->instances);
        f->pool = a->pool;
        f->release = p->release;
        f->process = a->process;
        snprintf(f->id, sizeof f->id, "r%u.%u-%03u", p->release, a->process, ++w->next_instance);
        fake_start(w, f);
        return;
    }
    struct fake *f = world_find(w, a->instance);
    const struct behaviour *how = &w->how[f->release];
    switch (a->kind) {
    case ACTION_START:
        assert_int_equal(f->state, INSTANCE_BACKING_OFF);
        if (world_chance(w, w->lose_percent))
            return;
        f->restarts++;
        fake_start(w, f);
        break;
    case ACTION_DRAIN:
        assert_true(f->state == INSTANCE_READY || f->state == INSTANCE_UNREADY ||
                    f->state == INSTANCE_STARTING);
        if (world_chance(w, w->lose_percent))
            return;
        f->ready_at = f->flap_at = f->kill_at = 0;
        fake_state(w, f, INSTANCE_DRAINING);
        f->drained_at = w->now + world_delay(w, how->drain_ms, 20);
        break;
    case ACTION_STOP:
        assert_int_equal(f->state, INSTANCE_DRAINING);
        assert_true(f->drained);
        if (world_chance(w, w->lose_percent))
            return;
        fake_state(w, f, INSTANCE_STOPPING);
        f->exit_at = w->now + world_delay(w, how->stop_ms, 10);
        break;
    case ACTION_REMOVE:
        assert_true(f->state == INSTANCE_BACKING_OFF || f->state == INSTANCE_EXITED);
        vec_remove(&w->instances, (size_t)(f - w->instances.items));
        break;
    default: fail();
    }
}

/* What holds after every turn, whatever happened. */
static inline void world_always(struct world *w)
{
    const struct app_state *s = &w->state;
    uint32_t sum = 0;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        sum += s->pools[i].weight_ppm;
        assert_true(s->pools[i].id != 0 || s->pools[i].weight_ppm == 0);
    }
    assert_true(sum == 0 || sum == 1000000);
    assert_true((s->rollout.id != 0) == (s->candidate != 0));
    if (s->rollout.phase == PHASE_BACK)
        assert_int_equal(s->mirror_ppm, 0);
    if (s->rollout.id == 0) {
        assert_false(s->hold);
        assert_false(s->previewing);
        assert_false(s->matching);
        assert_int_equal(s->mirror_ppm, 0);
        if (s->stable != 0)
            assert_int_equal(app_pool(s, s->stable)->weight_ppm, s->stopped ? 0 : 1000000);
    }
}

static inline void world_reload(struct world *w)
{
    cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
    app_state_to_json(&w->state, &text);
    struct app_state copy;
    struct error err = ERROR_INIT;
    if (app_state_from_json(&copy, buf_str(&text), &err) < 0)
        fail_msg("%s: %s", err.text, buf_str(&text));
    app_state_to_json(&copy, &again);
    assert_string_equal(buf_str(&text), buf_str(&again));
    app_state_release(&w->state);
    w->state = copy;
}

/* With ids of its own, since instances move in their list. */
static inline void world_observe(struct world *w, struct observations *obs, struct arena *arena)
{
    memset(obs, 0, sizeof *obs);
    struct instance_obs *list = arena_alloc(arena, (w->instances.len + 1) * sizeof *list);
    for (size_t i = 0; i < w->instances.len; i++) {
        const struct fake *f = &w->instances.items[i];
        bool taken = w->how[f->release].port_taken && f->running;
        list[i] = (struct instance_obs){
            .id = arena_strdup(arena, f->id),
            .pool = f->pool,
            .process = f->process,
            .state = f->state,
            .drained = f->drained,
            .running = f->running,
            .coming_back = f->coming_back,
            .restarts = f->restarts,
            .fast_crashes = f->fast_crashes,
            .since_ms = f->since_ms,
            .exited_ms = f->exited_ms,
            .start_failed = f->start_failed && !f->running,
            .port_taken = taken,
            .out_of_memory = f->fast_crashes > 0 && w->how[f->release].out_of_memory,
            .detail = f->state == INSTANCE_READY ? NULL : "GET /ready: status 503",
        };
    }
    obs->instances = list;
    obs->instances_len = w->instances.len;
    obs->traffic_applied = w->applied;
    const struct pool_state *candidate = app_pool(&w->state, w->state.candidate);
    bool bad = w->bad_at != 0 && w->bad_at <= w->now;
    obs->verdict = bad                 ? VERDICT_ROLL_BACK
                   : candidate != NULL ? w->how[candidate->release].verdict
                                       : VERDICT_CONTINUE;
    obs->verdict_reason.code = REASON_ERRORS;
    snprintf(obs->verdict_reason.text, sizeof obs->verdict_reason.text, "%s",
             bad ? "5% errors against 0.1%" : "0.2% errors against 0.1%");
    const struct rollout_state *r = &w->state.rollout;
    if (w->hook_rollout == r->id && w->hook_cursor == r->cursor)
        obs->hook = w->hook;
    snprintf(obs->hook_text, sizeof obs->hook_text, "./smoke exited with 3: no");
}

static inline void world_note(struct world *w, const struct decision *d)
{
    if (d->traffic_changed) {
        w->applied = false;
        w->traffic_at = w->silent_gateway ? 0 : w->now + world_delay(w, w->applied_delay_ms, 5);
    }
    if (d->traffic_first)
        w->traffic_first_seen = true;
    const struct pool_state *candidate = app_pool(&w->state, w->state.candidate);
    if (candidate == NULL)
        w->bad_at = 0;
    else if (w->bad_at == 0 && (candidate->weight_ppm > 0 || w->state.mirror_ppm > 0) &&
             w->how[candidate->release].bad_ms != 0)
        w->bad_at = w->now + w->how[candidate->release].bad_ms;
    if (d->rollout_ended) {
        w->ended++;
        w->last_result = d->result;
        w->last_reason = d->ended.reason;
        w->bad_at = 0;
    } else if (d->result == RESULT_PAUSED) {
        w->paused++;
    }
}

/* decide() once; true when it did anything. */
static inline bool world_turn(struct world *w)
{
    if (w->reload)
        world_reload(w);
    struct arena arena = ARENA_INIT;
    struct decision d = {0};
    struct observations obs;
    world_observe(w, &obs, &arena);
    struct specs specs;
    world_specs(w, &specs);
    cleanup_buf struct buf before = BUF_INIT, after = BUF_INIT;
    app_state_to_json(&w->state, &before);
    decide(&w->state, &specs, &obs, w->now, &arena, &d);
    app_state_to_json(&w->state, &after);
    if (strcmp(buf_str(&before), buf_str(&after)) != 0)
        assert_true(d.state_changed);
    w->turns++;
    w->wake = d.next_ms;
    assert_true(d.next_ms > w->now);
    world_always(w);
    if (w->check != NULL)
        w->check(w, &d);
    world_note(w, &d);
    bool acted = d.state_changed;
    for (size_t i = 0; i < d.len; i++) {
        acted = true;
        world_act(w, &d.items[i]);
    }
    arena_release(&arena);
    return acted;
}

/* Turns until nothing is left to be done now: that must be soon, since actions are not repeated. */
static inline void world_settle(struct world *w)
{
    int turns = 0;
    while (world_turn(w) && w->lose_percent == 0)
        assert_true(++turns < 40);
}

/* ---- time ---- */

static inline bool world_fire(struct world *w)
{
    bool any = false;
    for (size_t i = 0; i < w->instances.len; i++) {
        int64_t at = INT64_MAX;
        fake_due(&w->instances.items[i], &at);
        if (at <= w->now) {
            fake_fire(w, &w->instances.items[i]);
            any = true;
        }
    }
    if (due(w, w->traffic_at)) {
        w->traffic_at = 0;
        w->applied = true;
        any = true;
    }
    if (due(w, w->hook_at)) {
        const struct pool_state *candidate = app_pool(&w->state, w->state.candidate);
        const struct behaviour *how = candidate != NULL ? &w->how[candidate->release] : &w->how[0];
        const struct rollout_state *r = &w->state.rollout;
        bool release = r->id == w->hook_rollout && w->hook_cursor < r->plan.len &&
                       r->plan.steps[w->hook_cursor].kind == STEP_HOOK;
        w->hook_at = 0;
        w->hook = (release ? how->hook_fails : how->smoke_fails) ? HOOK_FAILED : HOOK_OK;
        any = true;
    }
    return any;
}

static inline int64_t world_next(struct world *w)
{
    int64_t at = w->wake;
    for (size_t i = 0; i < w->instances.len; i++)
        fake_due(&w->instances.items[i], &at);
    const int64_t more[] = {w->traffic_at, w->hook_at, w->bad_at > w->now ? w->bad_at : 0,
                            w->tick ? (w->now / 1000 + 1) * 1000 : 0};
    for (size_t i = 0; i < COUNT_OF(more); i++)
        if (more[i] != 0 && more[i] < at)
            at = more[i];
    return at;
}

/* Lets `ms` pass. */
static inline void world_run(struct world *w, int64_t ms)
{
    int64_t until = w->now + ms;
    world_settle(w);
    for (;;) {
        int64_t at = world_next(w);
        if (at > until)
            break;
        w->now = at > w->now ? at : w->now;
        world_fire(w);
        if (w->tick && at % 1000 != 0 && world_chance(w, w->skip_percent))
            continue;
        world_settle(w);
    }
    w->now = until;
}

/* Until the rollout under way is over; fails after `limit` virtual milliseconds. Gives how long. */
static inline int64_t world_until_ended(struct world *w, int64_t limit)
{
    int64_t start = w->now;
    int ended = w->ended;
    world_settle(w);
    while (w->ended == ended) {
        if (w->now - start > limit)
            fail_msg("still in \"%s\" after %" PRId64 " ms:\n%s",
                     rollout_phase_word(w->state.rollout.phase), limit, buf_str(&w->trace));
        int64_t at = world_next(w);
        if (at == INT64_MAX)
            fail_msg("nothing will ever happen:\n%s", buf_str(&w->trace));
        w->now = at > w->now ? at : w->now;
        world_fire(w);
        world_settle(w);
    }
    return w->now - start;
}

/* ---- what people do ---- */

static inline int world_begin(struct world *w, uint32_t release, enum rollout_kind kind)
{
    const struct pool_state *stable = app_pool(&w->state, w->state.stable);
    struct rollout_request request = {.id = w->next_rollout++,
                                      .kind = kind,
                                      .release = release,
                                      .spec = w->spec[release],
                                      .stable = stable != NULL ? w->spec[stable->release] : NULL,
                                      .now_ms = w->now};
    struct observations obs;
    struct arena arena = ARENA_INIT;
    world_observe(w, &obs, &arena);
    struct rollout_state superseded;
    struct error err = ERROR_INIT;
    int rc = core_begin(&w->state, &request, &obs, &superseded, &err);
    arena_release(&arena);
    if (rc == 0)
        w->bad_at = 0;
    if (rc == 0 && superseded.id != 0) {
        w->ended++;
        w->last_result = superseded.ending;
        w->last_reason = superseded.reason;
        w->hook = HOOK_NOT_RUN; /* of a rollout that is no more: the controller kills it */
        w->hook_at = 0;
    }
    return rc;
}

/* Release 1 is live. */
static inline void world_live(struct world *w)
{
    assert_int_equal(world_begin(w, 1, ROLLOUT_DEPLOY), 0);
    world_until_ended(w, 600000);
    assert_int_equal(w->last_result, RESULT_PROMOTED);
    world_run(w, 5000);
    buf_clear(&w->trace);
}

static inline void world_abort(struct world *w)
{
    struct specs specs;
    struct error err = ERROR_INIT;
    world_specs(w, &specs);
    assert_int_equal(core_abort(&w->state, &specs, REASON_ABORTED, "by alice", w->now, &err), 0);
}

/* ---- specs ---- */

static inline struct app_spec world_spec(enum strategy_kind kind, uint32_t replicas)
{
    struct app_spec spec = {
        .app = "shop", .environment = "production", .processes_len = 1, .deadline_ms = 60000};
    spec.processes[0] = (struct process_spec){.name = "web", .replicas = replicas, .routed = true};
    spec.stop.drain_ms = spec.stop.grace_ms = 1000;
    spec.strategy.kind = kind;
    spec.strategy.max_surge = spec.strategy.max_unavailable = (struct amount){true, 25};
    spec.strategy.hold_requests_ms = 10000;
    spec.strategy.shadow = (struct shadow_spec){.share_ppm = 200000, .for_ms = 1000};
    spec.strategy.steps_len = 2;
    spec.strategy.steps[0] = (struct canary_step){.weight_ppm = 250000, .hold_ms = 1000};
    spec.strategy.steps[1] = (struct canary_step){.weight_ppm = 1000000, .hold_ms = 1000};
    return spec;
}

static inline void world_add_worker(struct app_spec *spec, uint32_t replicas)
{
    spec->processes[spec->processes_len++] =
        (struct process_spec){.name = "worker", .replicas = replicas};
}

#endif
