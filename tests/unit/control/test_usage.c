/* Memory and CPU time per request of the candidate's instances against stable's: what is worse,
 * what is not, and what is not compared. Time is the test's own. */
#include "rig.h"

#include <math.h>

enum { MI = 1 << 20, INTERVAL_MS = 5000, INSTANCES = 8, ENOUGH = 1000 };

struct scene {
    struct rig r;
    struct app *app;
    int64_t now;
    uint64_t random;
};

static double uniform(struct scene *x)
{
    uint64_t z = (x->random += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

#define SHOP(judge)                                                                                \
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}],\"strategy\":"           \
    "{\"canary\":{\"steps\":[20,100],\"judge\":" judge "}}"

static void scene_open(struct scene *x, const char *spec)
{
    memset(x, 0, sizeof *x);
    x->now = 1000000;
    x->random = 7;
    rig_begin(&x->r);
    x->r.c->started_ms = 0;
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    for (uint32_t n = 1; n <= 2; n++) {
        struct store_release row = {
            .number = n, .version = n == 1 ? "1.0" : "2.0", .spec_json = spec, .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){.id = n, .release = n, .wanted = {1}};
    }
    a->state.next_pool = 3;
    a->state.stable = 1;
    a->state.candidate = 2;
    a->start.id = 9;
    watch_begin(a);
}

static void scene_begin(struct scene *x)
{
    scene_open(x, SHOP("{}") "}");
}

static void scene_end(struct scene *x)
{
    memset(&x->app->start, 0, sizeof x->app->start);
    watch_end(x->app);
    while (x->app->instances.len > 0)
        instance_remove(x->app->instances.items[0]);
    x->app->state.stable = x->app->state.candidate = 0;
    memset(x->app->state.pools, 0, sizeof x->app->state.pools);
    rig_end(&x->r);
}

/* One that began so long ago. */
static struct instance *add(struct scene *x, uint32_t pool, int64_t age_ms)
{
    struct instance *in = instance_new(x->app, pool, pool, 0);
    in->run = x->app->next_run++;
    snprintf(in->run_id, sizeof in->run_id, "%s.%u", in->id, in->run);
    in->life = LIFE_RUNNING;
    in->adopted_ready = true;
    in->started_ms = x->now - age_ms;
    struct rig_run *run = &x->r.runs[x->r.runs_len++];
    snprintf(run->id, sizeof run->id, "%s", in->run_id);
    run->status.state = RUN_RUNNING;
    run->listener = -1;
    run->rss_bytes = 100 * MI;
    return in;
}

static struct rig_run *run_of(struct scene *x, const struct instance *in)
{
    return rig_run(&x->r, in->run_id);
}

static void answer(struct scene *x, const struct instance *in, uint64_t requests, uint64_t cpu_us)
{
    x->r.c->ended_instances[in->slot][INSTANCE_REQUESTS] += requests;
    run_of(x, in)->cpu_us += cpu_us;
}

/* The next look at all of them. */
static void round_of_looks(struct scene *x)
{
    x->now += INTERVAL_MS;
    for (int tick = 0; tick <= INSTANCES / 4; tick++)
        usage_tick(x->app, x->now + tick);
}

static const struct pair_test *test_of(struct scene *x, enum judge_extra_kind kind)
{
    return judge_used(&x->app->judge, kind);
}

static uint64_t pairs(const struct pair_test *p)
{
    return p->worse + p->not_worse;
}

static bool rolls_back(struct scene *x)
{
    return judgement_rolls_back(judge_verdict(&x->app->judge));
}

/* ---- memory
 * -------------------------------------------------------------------------------------------- */

static void a_leak_is_found(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    struct instance *in[4];
    for (int i = 0; i < 4; i++)
        in[i] = add(&x, i < 2 ? 1 : 2, i < 2 ? 86400000 : 60000);
    int rounds = 0;
    while (!rolls_back(&x) && rounds++ < ENOUGH) {
        for (int i = 2; i < 4; i++)
            run_of(&x, in[i])->rss_bytes += 5 * MI;
        round_of_looks(&x);
    }
    /* 100 more take 20 rounds, then about 18 comparisons with two rounds from one to the next. */
    assert_in_range(rounds, 45, 75);
    struct observations obs = {0};
    cleanup_buf struct buf text = BUF_INIT;
    x.app->judgement = judge_look(&x.app->judge, &x.app->judge_text);
    watch_verdict(x.app, &obs);
    assert_int_equal(obs.verdict, VERDICT_ROLL_BACK);
    assert_int_equal(obs.verdict_reason.code, REASON_METRIC);
    assert_non_null(strstr(obs.verdict_reason.text, "memory per instance"));
    assert_non_null(strstr(obs.verdict_reason.text, " MiB against 100 MiB of stable"));
    scene_end(&x);
}

/* However slow: comparisons are as far apart as it takes. */
static void a_slow_leak_is_found_too(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    add(&x, 1, 86400000);
    struct instance *leaks = add(&x, 2, 60000);
    int rounds = 0;
    while (!rolls_back(&x) && rounds++ < 10 * ENOUGH) {
        run_of(&x, leaks)->rss_bytes += MI / 20;
        round_of_looks(&x);
    }
    /* 2,000 rounds until it has twice as much. */
    assert_in_range(rounds, 2100, 3500);
    scene_end(&x);
}

/* What good releases do, all of it for a long time: none of these is a leak. */
static uint64_t as_stable(struct scene *x, int round)
{
    (void)round;
    return (uint64_t)((90 + 20 * uniform(x)) * MI);
}

static uint64_t warms_up(struct scene *x, int round)
{
    return (uint64_t)((110 - 100 * exp(-round / 30.0) + 5 * uniform(x)) * MI);
}

static uint64_t takes_more_and_stays(struct scene *x, int round)
{
    (void)round;
    return (uint64_t)((290 + 20 * uniform(x)) * MI);
}

static uint64_t collects_garbage(struct scene *x, int round)
{
    return (uint64_t)((200 + 200 * (round % 11) / 11.0 + 10 * uniform(x)) * MI);
}

static uint64_t grows_to_its_size_at_once(struct scene *x, int round)
{
    return round < 14 ? (uint64_t)(100 + 20 * round) * MI : takes_more_and_stays(x, round);
}

static void no_leak_is_found_where_there_is_none(void **state)
{
    (void)state;
    static uint64_t (*const kinds[])(struct scene *, int) = {
        as_stable, warms_up, takes_more_and_stays, collects_garbage, grows_to_its_size_at_once};
    struct scene x;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        scene_begin(&x);
        struct instance *in[5];
        for (int i = 0; i < 5; i++)
            in[i] = add(&x, i < 3 ? 1 : 2, i < 3 ? 86400000 : 60000);
        for (int round = 0; round < ENOUGH; round++) {
            for (int i = 0; i < 3; i++)
                run_of(&x, in[i])->rss_bytes = as_stable(&x, round);
            for (int i = 3; i < 5; i++)
                run_of(&x, in[i])->rss_bytes = kinds[k](&x, round);
            round_of_looks(&x);
            if (rolls_back(&x))
                fail_msg("kind %zu was rolled back in round %d", k, round);
        }
        assert_true(test_of(&x, EXTRA_MEMORY)->candidate_last > 0);
        scene_end(&x);
    }
}

/* Values around a level that is far beyond the tolerance: a coin at the most. */
static void a_level_alone_is_no_evidence(void **state)
{
    (void)state;
    enum { RUNS = 400 };
    struct scene x;
    unsigned alarms = 0;
    scene_begin(&x);
    add(&x, 1, 86400000);
    struct instance *in = add(&x, 2, 60000);
    for (unsigned run = 0; run < RUNS; run++) {
        watch_begin(x.app);
        for (int round = 0; round < 200; round++) {
            run_of(&x, in)->rss_bytes = (uint64_t)((300 + 200 * uniform(&x)) * MI);
            round_of_looks(&x);
        }
        assert_true(pairs(test_of(&x, EXTRA_MEMORY)) > 50);
        alarms += pair_worse_log(test_of(&x, EXTRA_MEMORY)) >= log(20); /* of 5 % */
    }
    assert_true(alarms <= RUNS / 20);
    scene_end(&x);
}

static void small_differences_are_no_fault(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    struct instance *stable = add(&x, 1, 86400000), *in = add(&x, 2, 60000);
    run_of(&x, stable)->rss_bytes = 2 * MI;
    for (int round = 0; round < 200; round++) {
        run_of(&x, in)->rss_bytes = 4 * MI + (uint64_t)round * 64 * 1024;
        round_of_looks(&x);
    }
    assert_int_equal(pairs(test_of(&x, EXTRA_MEMORY)), 0);
    scene_end(&x);
}

/* Beside one instance that leaks there is one that does not: the middle one speaks. Young ones of
 * stable, cold ones of the candidate, and what the engine cannot tell, are not compared. */
static void who_is_compared(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    const struct pair_test *memory = test_of(&x, EXTRA_MEMORY);
    struct instance *young = add(&x, 1, 50000), *in = add(&x, 2, 60000);
    run_of(&x, in)->rss_bytes = 500 * MI;
    for (int round = 0; round < 10; round++)
        round_of_looks(&x);
    assert_true(memory->candidate_last == 0); /* its stable is younger than it is */
    struct instance *old = add(&x, 1, 600000);
    run_of(&x, old)->rss_bytes = 90 * MI;
    round_of_looks(&x);
    round_of_looks(&x);
    assert_true(memory->candidate_last == 500.0 * MI && memory->stable_last == 90.0 * MI);
    struct instance *cold = add(&x, 2, 0);
    run_of(&x, cold)->rss_bytes = 10 * MI;
    for (int round = 0; round < 4; round++)
        round_of_looks(&x);
    assert_true(memory->candidate_last == 500.0 * MI);
    for (int round = 0; round < 4; round++)
        round_of_looks(&x);
    assert_true(memory->candidate_last == 10.0 * MI); /* of two, the better one */
    run_of(&x, cold)->rss_bytes = 0;                  /* not known */
    round_of_looks(&x);
    round_of_looks(&x);
    assert_true(memory->candidate_last == 500.0 * MI);
    run_of(&x, old)->status.state = RUN_EXITED; /* the controller has not heard of it yet */
    run_of(&x, in)->rss_bytes = 600 * MI;
    round_of_looks(&x);
    round_of_looks(&x);
    assert_true(memory->candidate_last == 500.0 * MI);
    (void)young;
    scene_end(&x);
}

/* ---- CPU time per request
 * -------------------------------------------------------------------------------------------- */

/* Stable and candidate; both did enough not to be cold. */
static void two_that_work(struct scene *x, struct instance *in[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        in[i] = add(x, i + 1, 600000);
        answer(x, in[i], 5000, 5000);
    }
    round_of_looks(x);
}

static void requests_that_cost_more_are_found(void **state)
{
    (void)state;
    struct scene x;
    struct instance *in[2];
    scene_begin(&x);
    two_that_work(&x, in);
    int rounds = 0;
    while (!rolls_back(&x) && rounds++ < ENOUGH) {
        answer(&x, in[0], 500, (uint64_t)(500 * (900 + 200 * uniform(&x))));
        answer(&x, in[1], 400, (uint64_t)(400 * (2800 + 400 * uniform(&x))));
        round_of_looks(&x);
    }
    assert_in_range(rounds, 16, 30);
    x.app->judgement = judge_look(&x.app->judge, &x.app->judge_text);
    assert_non_null(strstr(buf_str(&x.app->judge_text), "CPU per request "));
    scene_end(&x);
}

/* X(name, stable's requests and CPU per round, candidate's) */
#define ALIKE(X)                                                                                   \
    X(the_same, 500, 500000, 400, 400000)                                                          \
    X(within_the_tolerance, 500, 500000, 400, 700000)                                              \
    X(hardly_felt, 500, 5000, 400, 80000)                                                          \
    X(too_few_requests, 500, 500000, 0, 500000)                                                    \
    X(an_idle_part_shared_by_few, 500, 1500000, 60, 1060000)

static void requests_that_cost_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t stable_requests, stable_us, requests, us;
    } kinds[] = {
#define X(name, a, b, c, d) {#name, a, b, c, d},
        ALIKE(X)
#undef X
    };
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct scene x;
        struct instance *in[2];
        scene_begin(&x);
        two_that_work(&x, in);
        for (int round = 0; round < 200; round++) {
            double noise = .9 + .2 * uniform(&x);
            answer(&x, in[0], kinds[k].stable_requests, kinds[k].stable_us);
            answer(&x, in[1], kinds[k].requests, (uint64_t)((double)kinds[k].us * noise));
            round_of_looks(&x);
        }
        if (test_of(&x, EXTRA_CPU)->worse > 0)
            fail_msg("%s: %llu worse", kinds[k].name,
                     (unsigned long long)test_of(&x, EXTRA_CPU)->worse);
        scene_end(&x);
    }
}

/* A compiler at work: dear at first, cheaper with each look. */
static void what_still_falls_is_no_evidence(void **state)
{
    (void)state;
    struct scene x;
    struct instance *in[2];
    scene_begin(&x);
    two_that_work(&x, in);
    for (int round = 0; round < 100; round++) {
        double us = 1000 * (1 + 6 * exp(-round / 20.0)) * (.98 + .04 * uniform(&x));
        answer(&x, in[0], 500, 500 * 1000);
        answer(&x, in[1], 400, (uint64_t)(400 * us));
        round_of_looks(&x);
        assert_false(rolls_back(&x));
    }
    assert_true(test_of(&x, EXTRA_CPU)->not_worse > 50);
    scene_end(&x);
}

static void what_cannot_be_compared_is_no_pair(void **state)
{
    (void)state;
    struct scene x;
    struct instance *in[2];
    scene_begin(&x);
    const struct pair_test *cpu = test_of(&x, EXTRA_CPU);
    in[0] = add(&x, 1, 600000);
    in[1] = add(&x, 2, 600000);
    answer(&x, in[0], 5000, 5000);
    round_of_looks(&x);
    for (int round = 0; round < 2; round++) { /* the candidate is cold until 1,000 requests */
        answer(&x, in[0], 500, 500000);
        answer(&x, in[1], 500, 5000000);
        round_of_looks(&x);
    }
    assert_int_equal(pairs(cpu), 0);
    round_of_looks(&x);
    /* Few of them: windows are put together. In the first there is more of stable's load. */
    for (int round = 0; round < 6; round++) {
        answer(&x, in[0], 26, 26000);
        answer(&x, in[1], 26, 26000);
        round_of_looks(&x);
    }
    assert_int_equal(pairs(cpu), 2);
    run_of(&x, in[1])->cpu_us = 0; /* a process of it ended, and took its time along */
    answer(&x, in[0], 500, 500000);
    answer(&x, in[1], 500, 500000);
    round_of_looks(&x);
    assert_int_equal(pairs(cpu), 2);
    x.app->state.matching = true; /* those requests are not like others */
    for (int round = 0; round < 3; round++) {
        answer(&x, in[0], 500, 500000);
        answer(&x, in[1], 500, 5000000);
        round_of_looks(&x);
    }
    assert_int_equal(pairs(cpu), 2);
    x.app->state.matching = false;
    in[1]->restarts++; /* another run of it is cold again */
    in[1]->run++;
    for (int round = 0; round < 2; round++) {
        answer(&x, in[0], 500, 500000);
        answer(&x, in[1], 500, 5000000);
        round_of_looks(&x);
    }
    assert_int_equal(pairs(cpu), 2);
    in[1]->adopted_ready = false; /* and one that was away for a while has no window */
    round_of_looks(&x);
    in[1]->adopted_ready = true;
    answer(&x, in[0], 500, 500000);
    answer(&x, in[1], 500, 5000000);
    round_of_looks(&x);
    assert_int_equal(pairs(cpu), 2);
    scene_end(&x);
}

/* How many requests it had answered before is not known; it had time for them. */
static void those_of_an_earlier_controller_are_warm(void **state)
{
    (void)state;
    struct scene x;
    struct instance *in[2];
    scene_begin(&x);
    in[0] = add(&x, 1, 600000);
    in[1] = add(&x, 2, 600000);
    x.r.c->started_ms = x.now;
    round_of_looks(&x);
    answer(&x, in[0], 500, 500000);
    answer(&x, in[1], 500, 500000);
    round_of_looks(&x);
    assert_int_equal(pairs(test_of(&x, EXTRA_CPU)), 1);
    scene_end(&x);
}

/* ---- the rest
 * -------------------------------------------------------------------------------------------- */

static void what_is_off_is_not_asked_for(void **state)
{
    (void)state;
    struct scene x;
    scene_open(&x, SHOP("{\"memory\":\"off\",\"cpu\":\"off\"}") "}");
    add(&x, 1, 600000);
    struct instance *in = add(&x, 2, 600000);
    assert_int_equal(x.app->judge.extras_len, 0);
    for (int round = 0; round < 5; round++)
        round_of_looks(&x);
    assert_int_equal(run_of(&x, in)->asked, 0);
    scene_end(&x);
    /* A metric of that name takes its place. */
    scene_open(&x, SHOP("{\"cpu\":\"50%\"}") ",\"metrics\":[{\"name\":\"memory\",\"command\":"
                                             "[\"./m\"]}]}");
    assert_int_equal(x.app->judge.extras_len, 1);
    assert_null(test_of(&x, EXTRA_MEMORY));
    assert_true(test_of(&x, EXTRA_CPU)->tolerance == 1.5);
    scene_end(&x);
}

/* Reading files takes time: no more than a few in one turn of the loop. */
static void a_tick_looks_at_few(void **state)
{
    (void)state;
    enum { MANY = 100, ROUND = MANY / 4 };
    struct scene x;
    scene_begin(&x);
    for (int i = 0; i < MANY; i++)
        add(&x, 1 + (uint32_t)(i % 2), 600000);
    for (int tick = 0; tick <= ROUND; tick++) {
        unsigned asked = 0, before = 0;
        for (size_t i = 0; i < x.r.runs_len; i++)
            before += x.r.runs[i].asked;
        usage_tick(x.app, x.now + tick * 100);
        for (size_t i = 0; i < x.r.runs_len; i++)
            asked += x.r.runs[i].asked;
        assert_in_range(asked - before, 0, 4);
    }
    for (size_t i = 0; i < x.r.runs_len; i++)
        assert_int_equal(x.r.runs[i].asked, 1);
    usage_tick(x.app, x.now + INTERVAL_MS - 1); /* not due again */
    assert_int_equal(x.r.runs[0].asked, 1);
    usage_clock_moved(x.app, -300000);
    usage_tick(x.app, x.now - 300000 + INTERVAL_MS - 1);
    assert_int_equal(x.r.runs[0].asked, 1);
    usage_tick(x.app, x.now - 300000 + INTERVAL_MS);
    assert_int_equal(x.r.runs[0].asked, 2);
    scene_end(&x);
}

/* The evidence is the judge's, and is stored with it; what was looked at is a gap. */
static void evidence_outlives_the_controller(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    add(&x, 1, 86400000);
    struct instance *in = add(&x, 2, 60000);
    for (int round = 0; round < 40; round++) {
        run_of(&x, in)->rss_bytes += 10 * MI;
        round_of_looks(&x);
    }
    struct pair_test before = *test_of(&x, EXTRA_MEMORY);
    assert_true(before.worse > 5 && before.not_worse == 0 && !rolls_back(&x));
    assert_true(x.app->judge_fed);
    cleanup_buf struct buf record = BUF_INIT;
    judge_to_json(&x.app->judge, &record);
    watch_begin(x.app);
    assert_int_equal(pairs(test_of(&x, EXTRA_MEMORY)), 0);
    watch_restore(x.app, buf_str(&record));
    assert_int_equal(test_of(&x, EXTRA_MEMORY)->worse, before.worse);
    int rounds = 0;
    for (; !rolls_back(&x) && rounds < 100; rounds++) {
        run_of(&x, in)->rss_bytes += 10 * MI;
        round_of_looks(&x);
    }
    assert_in_range(rounds, 4, 50);
    assert_int_equal(test_of(&x, EXTRA_MEMORY)->not_worse, 0);
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leak_is_found),
        cmocka_unit_test(a_slow_leak_is_found_too),
        cmocka_unit_test(no_leak_is_found_where_there_is_none),
        cmocka_unit_test(a_level_alone_is_no_evidence),
        cmocka_unit_test(small_differences_are_no_fault),
        cmocka_unit_test(who_is_compared),
        cmocka_unit_test(requests_that_cost_more_are_found),
        cmocka_unit_test(requests_that_cost_the_same),
        cmocka_unit_test(what_still_falls_is_no_evidence),
        cmocka_unit_test(what_cannot_be_compared_is_no_pair),
        cmocka_unit_test(those_of_an_earlier_controller_are_warm),
        cmocka_unit_test(what_is_off_is_not_asked_for),
        cmocka_unit_test(a_tick_looks_at_few),
        cmocka_unit_test(evidence_outlives_the_controller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
