/* What people do and what fate does to them: which releases, which commands, which faults, when. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

void sim_stall(int64_t us);
void sim_as_controller(void (*part)(void));

static struct {
    int64_t chaos_us;
    uint32_t commands, faults, nudges;
    bool recreate[SIM_APPS];
} plan;

/* ---- releases ---- */

static const char *strategy_text(struct behaviour *b, bool recreate, char *out, size_t size)
{
    static const char *const surges[] = {"25%", "1", "2", "50%", "0"};
    b->unavailable = 0;
    b->recreate = recreate;
    if (recreate)
        return "\"recreate\"";
    switch (sim_pick(5)) {
    case 0: {
        const char *surge = surges[sim_pick(COUNT_OF(surges))];
        uint32_t away = surge[0] == '0' ? 1 : sim_pick(2);
        b->unavailable = away;
        snprintf(out, size, "{\"rolling\":{\"max-surge\":\"%s\",\"max-unavailable\":%u%s}}", surge,
                 away, sim_chance(30) ? ",\"min-ready\":\"300ms\"" : "");
        return out;
    }
    case 1:
        snprintf(out, size, "{\"blue-green\":{\"keep\":\"%us\"%s%s}}", sim_pick(3) * 5,
                 sim_chance(20) ? ",\"approve\":true" : "",
                 sim_chance(25) ? ",\"smoke\":[[\"./smoke\"]]" : "");
        return out;
    case 2:
        snprintf(out, size,
                 "{\"canary\":{\"steps\":[{\"weight\":%u%s%s},50],\"hold\":\"%us\"%s%s}}",
                 10 + sim_pick(20), sim_chance(15) ? ",\"approve\":true" : "",
                 sim_chance(15) ? ",\"smoke\":[[\"./smoke\"]]" : "", 1 + sim_pick(6),
                 sim_chance(25) ? ",\"instances\":1" : "",
                 sim_chance(25) ? ",\"sticky\":\"cookie\"" : "");
        return out;
    case 3:
        snprintf(out, size,
                 "{\"shadow\":{\"share\":\"%u%%\",\"for\":\"%us\",\"keep\":\"%us\"%s%s%s}}",
                 10 + sim_pick(91), 1 + sim_pick(6), sim_pick(3) * 5,
                 sim_chance(20) ? ",\"approve\":true" : "",
                 sim_chance(25) ? ",\"differences\":\"0%\"" : "",
                 sim_chance(25) ? ",\"judge\":{\"inconclusive\":\"rollback\"}" : "");
        return out;
    default: b->unavailable = b->replicas / 4; return "\"rolling\"";
    }
}

static struct behaviour *make_behaviour(void)
{
    static const uint32_t counts[] = {1, 1, 2, 2, 3, 4};
    ASSERT(sim.behaviours_len < SIM_RELEASES);
    struct behaviour *b = &sim.behaviours[sim.behaviours_len++];
    *b = (struct behaviour){
        .start_us = sim_between(1, 15) * SIM_MS,
        .ready_us = sim_between(5, 600) * SIM_MS,
        .stop_us = sim_between(1, 300) * SIM_MS,
        .job_us = sim_between(5, 900) * SIM_MS,
        .replicas = counts[sim_pick(COUNT_OF(counts))],
        .failures = 1 + sim_pick(3),
        .ignores_term = sim_chance(8),
        .differs = sim_chance(10),
    };
    switch (sim_pick(12)) {
    case 0: b->never_ready = true; break;
    case 1: b->start_fails = true; break;
    case 2: b->build_fails = b->hook_fails = true; break;
    case 3: b->bad = true; break;
    case 4: b->crash_us = sim_between(50, 4000) * SIM_MS; break;
    case 5: b->flap_us = sim_between(100, 3000) * SIM_MS; break;
    default: break;
    }
    return b;
}

static char *make_spec(size_t app, struct behaviour *b)
{
    cleanup_buf struct buf out = BUF_INIT;
    char strategy[256];
    if (sim.behaviours_len == 1) /* usually something is live before it gets worse */
        *b = (struct behaviour){.start_us = 5 * SIM_MS,
                                .ready_us = 50 * SIM_MS,
                                .stop_us = 20 * SIM_MS,
                                .job_us = 50 * SIM_MS,
                                .replicas = b->replicas,
                                .failures = b->failures};
    b->drain_ms = sim_between(1, 8) * 1000;
    buf_printf(&out,
               "{\"app\":\"app%zu\",\"run\":[\"./app\"],\"routes\":[{\"path\":\"/%zu\"}],"
               "\"replicas\":%u,\"env\":{\"SIM\":\"%zu\"},\"deadline\":\"%us\","
               "\"stop\":{\"drain\":\"%llds\",\"grace\":\"%us\"%s},\"strategy\":%s",
               app, app, b->replicas, (size_t)(b - sim.behaviours), 5 + sim_pick(15),
               (long long)(b->drain_ms / 1000), 1 + sim_pick(4),
               sim_chance(10) ? ",\"before\":[[\"./bye\"]]" : "",
               strategy_text(b, plan.recreate[app], strategy, sizeof strategy));
    if (sim_chance(75))
        buf_printf(&out,
                   ",\"probes\":{\"readiness\":{\"http\":\"/ready\",\"period\":\"%ums\","
                   "\"failures\":%u}%s}",
                   200 + 200 * sim_pick(4), b->failures,
                   sim_chance(20) ? ",\"liveness\":{\"http\":\"/live\",\"failures\":5}" : "");
    if (sim_chance(20))
        buf_puts(&out, ",\"release\":[[\"./migrate\"],[\"./seed\"]]");
    if (sim_chance(15))
        buf_puts(&out, ",\"build\":[[\"make\"]]");
    if (sim_chance(15))
        buf_puts(&out, ",\"on-failure\":\"pause\"");
    if (sim_chance(20))
        buf_puts(&out, ",\"history\":2");
    buf_puts(&out, "}");
    return buf_detach(&out);
}

/* ---- commands: said as the API says them ---- */

struct ask {
    size_t app;
    enum control_command command;
    bool deploy;
    uint32_t release;
    enum promise promise;
    int scale;
    uint64_t rollout, deletions;
};

static struct {
    struct ask *ask;
    char *spec;
    json_t *arguments;
} saying;

/* What was promised before is over, whatever comes of this. */
static enum promise ask_for(struct expectation *x, enum promise promise)
{
    x->run = PROMISE_NONE;
    x->run_asked = promise;
    x->paused = x->paused_asked = 0;
    return promise;
}

static void note_promise(struct expectation *x, enum control_command command)
{
    char key[32];
    snprintf(key, sizeof key, "%s@production", x->app);
    const struct app *a = app_by_key(sim.control, key);
    const struct rollout_state *r = a != NULL ? &a->state.rollout : NULL;
    if (r == NULL || r->id == 0)
        return;
    if (command == COMMAND_PROMOTE && r->phase == PHASE_FORWARD) {
        x->promoted.rollout = r->id;
        x->promoted.cursor = r->cursor;
        x->promoted.all = r->promote_all;
    }
    if (command == COMMAND_ROLLBACK || command == COMMAND_RESTART)
        x->begun = r->id;
}

static void on_answer(void *arg, const struct error *err, json_t *body)
{
    struct ask *q = arg;
    struct expectation *x = &expectations[q->app];
    sim_note("answer: %s", err != NULL ? err->text : "done");
    if (err == NULL && q->deletions == x->deletions) {
        if (q->deploy) {
            x->accepted[x->accepted_len++] =
                (uint32_t)json_integer_value(json_object_get(body, "release"));
            x->exists = true;
        }
        if (q->promise != PROMISE_NONE && x->run_asked == q->promise)
            x->run = q->promise;
        if (q->scale >= 0)
            x->scaled = q->scale;
        if (!q->deploy)
            note_promise(x, q->command);
        if (q->command == COMMAND_ABORT && !q->deploy)
            x->aborted = q->rollout;
        if (q->command == COMMAND_PAUSE && !q->deploy && x->paused_asked == q->rollout)
            x->paused = q->rollout;
    }
    free(q);
}

static void say_now(void)
{
    struct ask *q = saying.ask;
    char name[32];
    const struct caller caller = {.name = "alice"};
    snprintf(name, sizeof name, "app%zu", q->app);
    if (q->deploy) {
        struct deploy_request request = {.spec_json = saying.spec};
        control_deploy(sim.control, &request, &caller, on_answer, q);
    } else {
        struct app_name app = {name, NULL};
        control_command(sim.control, q->command, &app, saying.arguments, &caller, on_answer, q);
    }
}

static struct ask *new_ask(size_t app)
{
    struct ask *q = xcalloc(1, sizeof *q);
    q->app = app;
    q->command = CONTROL_COMMANDS_COUNT;
    q->scale = -1;
    q->deletions = expectations[app].deletions;
    return q;
}

static void deploy(size_t app)
{
    struct expectation *x = &expectations[app];
    if (sim.behaviours_len == SIM_RELEASES)
        return;
    struct behaviour *b = make_behaviour();
    struct ask *q = new_ask(app);
    q->deploy = true;
    saying.ask = q;
    saying.spec = make_spec(app, b);
    sim_note("deploy %s", saying.spec);
    bool first = x->app[0] == '\0';
    x->least = first || b->replicas < x->least ? b->replicas : x->least;
    x->unavailable = b->unavailable > x->unavailable ? b->unavailable : x->unavailable;
    x->floor = x->least > x->unavailable ? x->least - x->unavailable : 0;
    snprintf(x->app, sizeof x->app, "app%zu", app);
    x->recreate = plan.recreate[app];
    ask_for(x, PROMISE_NONE); /* a deploy may start what was stopped */
    x->scaled_asked = -1;
    sim_as_controller(say_now);
    free(saying.spec);
    saying.spec = NULL;
}

static void command(size_t app, enum control_command what)
{
    struct expectation *x = &expectations[app];
    struct ask *q = new_ask(app);
    char key[32];
    snprintf(key, sizeof key, "app%zu@production", app);
    struct app *a = app_by_key(sim.control, key);
    q->command = what;
    /* While a release is being built an abort is of that. */
    q->rollout = a != NULL && a->deploy == NULL ? a->state.rollout.id : 0;
    x->paused = 0;
    x->paused_asked = what == COMMAND_PAUSE ? q->rollout : 0;
    json_decref(saying.arguments);
    saying.arguments = NULL;
    switch (what) {
    case COMMAND_STOP: q->promise = ask_for(x, PROMISE_STOPPED); break;
    case COMMAND_START: q->promise = ask_for(x, PROMISE_STARTED); break;
    case COMMAND_DELETE: q->promise = ask_for(x, PROMISE_GONE); break;
    case COMMAND_SCALE:
        x->scaled = -1;
        x->scaled_asked = (int)sim_pick(4);
        saying.arguments = json_pack("{s:i}", "replicas", x->scaled_asked);
        /* A release with other replicas in its file overrides it. */
        if (a != NULL && a->state.rollout.id == 0 && a->deploy == NULL)
            q->scale = x->scaled_asked;
        break;
    case COMMAND_ROLLBACK:
        if (a != NULL && a->releases.len > 0 && sim_chance(40))
            saying.arguments = json_pack(
                "{s:i}", "to", (int)a->releases.items[sim_pick((uint32_t)a->releases.len)].number);
        /* fall through */
    case COMMAND_RESTART:
        ask_for(x, PROMISE_NONE);
        x->scaled_asked = -1;
        break;
    default: break;
    }
    if (what == COMMAND_STOP || what == COMMAND_DELETE || what == COMMAND_SCALE ||
        what == COMMAND_START)
        x->disturbed = true;
    if (what == COMMAND_DELETE) {
        q->deletions = ++x->deletions;
        x->begun = x->promoted.rollout = 0;
        x->accepted_len = 0;
    }
    sim_note("say %s %d", key, (int)what);
    saying.ask = q;
    sim_as_controller(say_now);
}

static void on_command(void *arg, uint64_t number)
{
    (void)arg;
    size_t app = sim_pick(SIM_APPS * 2) < SIM_APPS * 2 - 1 ? 0 : 1;
    if (sim.calm || sim.control == NULL)
        return;
    if (expectations[app].app[0] == '\0' || number == 0 || sim_chance(45)) {
        deploy(app);
        return;
    }
    static const enum control_command usual[] = {
        COMMAND_PROMOTE, COMMAND_PROMOTE, COMMAND_ABORT,    COMMAND_PAUSE,
        COMMAND_RESUME,  COMMAND_RESUME,  COMMAND_ROLLBACK, COMMAND_RESTART,
        COMMAND_RESTART, COMMAND_ABORT,   COMMAND_ROLLBACK,
    };
    static const enum control_command rare[] = {COMMAND_SCALE,  COMMAND_STOP,  COMMAND_START,
                                                COMMAND_DELETE, COMMAND_SCALE, COMMAND_START};
    command(app,
            sim_chance(70) ? usual[sim_pick(COUNT_OF(usual))] : rare[sim_pick(COUNT_OF(rare))]);
}

/* ---- faults ---- */

static void on_disk_mended(void *arg, uint64_t number)
{
    (void)arg, (void)number;
    sim_note("the disk works again");
    disk_full(false);
    disk_broken(false);
}

static void hurt_an_instance(void)
{
    struct sim_run *alive[64];
    uint32_t n = 0;
    for (size_t i = 0; i < sim_runs.len && n < COUNT_OF(alive); i++)
        if (sim_runs.items[i]->status.state == RUN_RUNNING && !sim_runs.items[i]->job)
            alive[n++] = sim_runs.items[i];
    if (n == 0)
        return;
    struct sim_run *r = alive[sim_pick(n)];
    if (sim_chance(70))
        engine_crash(r, SIGSEGV);
    else
        engine_lose(r);
}

static void on_fault(void *arg, uint64_t number)
{
    (void)arg, (void)number;
    if (sim.calm)
        return;
    const struct faults *f = &sim.faults;
    switch (sim_pick(9)) {
    case 0:
        if (f->instances)
            hurt_an_instance();
        break;
    case 1:
        if (f->gateways)
            gateway_kill();
        break;
    case 2:
        if (f->gateways)
            gateway_replace();
        break;
    case 3:
    case 4:
        if (f->kills)
            sim_kill_after(1 + sim_pick(sim_chance(50) ? 20 : 150));
        break;
    case 5:
        if (!f->disk)
            break;
        sim_note("the disk is %s", number % 2 == 0 ? "full" : "broken");
        if (number % 2 == 0)
            disk_full(true);
        else
            disk_broken(true);
        sim_at(sim_between(1, 15000) * SIM_MS, on_disk_mended, NULL, 0);
        break;
    case 6:
        if (f->clock) {
            int64_t by = sim_between(-600, 600) * 1000;
            sim_note("the clock jumps by %lld ms", (long long)by);
            sim.wall_offset_ms += by;
        }
        break;
    case 7:
        if (f->reboots && sim_chance(50))
            life_reboot();
        else if (f->kills)
            life_leave();
        break;
    case 8:
        if (f->stalls)
            sim_stall(sim_between(1, 3000) * SIM_MS);
        break;
    default: break;
    }
}

void scenario_begin(void)
{
    struct faults *f = &sim.faults;
    if (!sim_chance(15)) { /* some seeds have none: the plain street */
        f->instances = sim_chance(45);
        f->gateways = sim_chance(50);
        f->kills = sim_chance(55);
        f->disk = sim_chance(30);
        f->clock = sim_chance(20);
        f->reboots = sim_chance(15);
        f->stalls = sim_chance(30);
    }
    plan.chaos_us = sim_between(8, 45) * SIM_SECOND;
    plan.commands = 2 + sim_pick(6);
    plan.faults = sim_pick(12);
    for (size_t i = 0; i < SIM_APPS; i++) {
        plan.recreate[i] = sim_chance(20);
        expectations[i].scaled = expectations[i].scaled_asked = -1;
    }
    sim_at(sim_between(50, 400) * SIM_MS, on_command, NULL, 0);
    for (uint32_t i = 1; i < plan.commands; i++)
        sim_at(sim_between(0, plan.chaos_us), on_command, NULL, i);
    for (uint32_t i = 0; i < plan.faults; i++)
        sim_at(sim_between(0, plan.chaos_us), on_fault, NULL, i);
    sim_run(plan.chaos_us);
}

void scenario_calm(void)
{
    sim_note("from here on nothing goes wrong");
    sim.calm = true;
    sim_kill_after(0);
    disk_full(false);
    disk_broken(false);
    for (size_t i = 0; i < sim.behaviours_len; i++)
        sim.behaviours[i].crash_us = sim.behaviours[i].flap_us = 0;
}

/* Of a release that is live by now, however it came to that, somebody mends what is wrong. */
static void heal(const struct app *a)
{
    uint32_t release = app_stable_release(a);
    for (size_t i = 0; i < sim_runs.len; i++) {
        struct sim_run *r = sim_runs.items[i];
        if (r->job || r->release != release || strcmp(r->app, a->name) != 0)
            continue;
        struct behaviour *how = &sim.behaviours[r->how - sim.behaviours];
        how->never_ready = how->start_fails = false;
        r->ready = r->listening;
    }
}

/* People come back to what waits for them. */
void scenario_nudge(void)
{
    if (!life_runs())
        return;
    for (size_t i = 0; i < SIM_APPS; i++) {
        char key[32];
        snprintf(key, sizeof key, "app%zu@production", i);
        const struct app *a = app_by_key(sim.control, key);
        if (a == NULL)
            continue;
        heal(a);
        if (a->state.rollout.id == 0)
            continue;
        const struct rollout_state *r = &a->state.rollout;
        const struct step *step = r->cursor < r->plan.len ? &r->plan.steps[r->cursor] : NULL;
        if (r->phase == PHASE_PAUSED)
            command(i, ++plan.nudges > 4 ? COMMAND_ABORT : COMMAND_RESUME);
        else if (r->phase == PHASE_FORWARD && step != NULL && step->kind == STEP_APPROVE)
            command(i, COMMAND_PROMOTE);
    }
}
