/* Samples of failed requests -> those that a rollout's report names. */
#include "rig.h"

#include "wire/http1.h"

struct scene {
    struct rig r;
    struct app *app;
    struct instance *stable, *candidate;
    struct slot *own, *stable_slot, *candidate_slot;
};

static const char spec[] = "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]}";

/* Release 2 takes the place of release 1, since a second. */
static void scene_begin(struct scene *x)
{
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    for (uint32_t n = 1; n <= 2; n++) {
        struct store_release row = {
            .number = n, .version = "v", .spec_json = spec, .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){.id = n, .release = n, .wanted = {1}};
    }
    a->state.stable = 1;
    a->state.candidate = 2;
    x->stable = instance_new(a, 1, 1, 0);
    x->candidate = instance_new(a, 2, 2, 0);
    x->stable->created_ms = x->candidate->created_ms = control_now() - 1000;
    x->own = app_slot(a, "", 0, ROLE_SHARE);
    x->stable_slot = app_slot(a, "/", 1, ROLE_SHARE);
    x->candidate_slot = app_slot(a, "/", 2, ROLE_SHARE);
    a->start.id = 7;
    a->start.stable_pool = 1;
    a->start.candidate_pool = a->start.release = 2;
    a->start.began_ms = control_now() - 1000;
}

static void scene_end(struct scene *x)
{
    for (size_t i = 0; i < x->app->instances.len; i++)
        x->app->instances.items[i]->life = LIFE_EXITED;
    x->app->start.id = 0;
    app_forget(x->app);
    rig_end(&x->r);
}

static struct sample sample_of(const struct scene *x, const char *path)
{
    struct sample s = {.at_boot_ms = (uint64_t)clock_boot_ms(),
                       .took_us = 12345,
                       .request_slot = x->candidate_slot->index,
                       .instance_slot = x->candidate->slot,
                       .status = 500,
                       .fault = SAMPLE_5XX,
                       .method = HTTP1_M_POST};
    sample_set_path(&s, path, (uint32_t)strlen(path));
    return s;
}

static void add(struct scene *x, struct sample s)
{
    evidence_add(x->r.c, &s);
}

static json_t *get(json_t *list, size_t i, const char *key)
{
    return json_object_get(json_array_get(list, i), key);
}

static void a_failed_request_is_named(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    add(&x, sample_of(&x, "/pay"));
    struct sample nothing = sample_of(&x, "");
    nothing.path_cut = true;
    add(&x, nothing);
    json_t *list = evidence_requests(x.app);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(get(list, 0, "instance")), "shop-2-1");
    assert_string_equal(json_string_value(get(list, 0, "fault")), "5xx");
    assert_int_equal(json_integer_value(get(list, 0, "status")), 500);
    assert_string_equal(json_string_value(get(list, 0, "method")), "POST");
    assert_string_equal(json_string_value(get(list, 0, "path")), "/pay");
    assert_true(json_real_value(get(list, 0, "ms")) == 12.3);
    assert_int_equal(strlen(json_string_value(get(list, 0, "at"))), 24);
    assert_string_equal(json_string_value(get(list, 1, "path")), "/\xe2\x80\xa6");
    assert_string_equal(evidence_instance(x.app), "shop-2-1");
    json_decref(list);
    evidence_forget(x.app);
    assert_null(evidence_instance(x.app));
    scene_end(&x);
}

static size_t count(struct scene *x)
{
    return x->app->evidence.requests_len;
}

static void what_concerns_the_rollout(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    /* The stable release's own errors are not the rollout's; a request that it lost is. */
    struct sample s = sample_of(&x, "/");
    s.instance_slot = x.stable->slot;
    s.request_slot = x.stable_slot->index;
    add(&x, s);
    assert_int_equal(count(&x), 0);
    s.fault = SAMPLE_CUT;
    add(&x, s);
    assert_int_equal(count(&x), 1);
    /* Nobody was there to answer. */
    s.fault = SAMPLE_UNSERVED;
    s.instance_slot = SAMPLE_NO_SLOT;
    s.request_slot = x.own->index;
    add(&x, s);
    assert_int_equal(count(&x), 2);
    assert_string_equal(x.app->evidence.requests[1].instance, "");
    assert_null(evidence_instance(x.app)); /* none of these is the candidate's */
    /* From before it, and slots of nobody. */
    s = sample_of(&x, "/");
    s.at_boot_ms -= 5000;
    add(&x, s);
    s.at_boot_ms = 0;
    add(&x, s);
    s = sample_of(&x, "/");
    s.request_slot = METRICS_REQUEST_SLOTS - 1;
    s.instance_slot = METRICS_INSTANCE_SLOTS - 1;
    add(&x, s);
    assert_int_equal(count(&x), 2);
    /* A time that is still to come is now. */
    s = sample_of(&x, "/");
    s.at_boot_ms = UINT64_MAX / 2;
    add(&x, s);
    assert_int_equal(count(&x), 3);
    assert_true(x.app->evidence.requests[2].at_ms <= control_now());
    s.at_boot_ms = UINT64_MAX;
    add(&x, s);
    assert_int_equal(count(&x), 4);
    x.app->start.id = 0; /* no rollout, no report */
    add(&x, sample_of(&x, "/"));
    assert_int_equal(count(&x), 4);
    scene_end(&x);
}

/* It failed at an earlier owner of the slot: the request is known, not the instance. */
static void an_instance_of_later_is_not_blamed(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    x.candidate->created_ms = control_now() + 5000;
    add(&x, sample_of(&x, "/"));
    assert_int_equal(count(&x), 1);
    assert_string_equal(x.app->evidence.requests[0].instance, "");
    json_t *list = evidence_requests(x.app);
    assert_true(json_is_null(get(list, 0, "instance")));
    json_decref(list);
    scene_end(&x);
}

/* Workers are read one after the other; the log lines are of the instance that failed first. */
static void the_oldest_comes_first(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    struct instance *second = instance_new(x.app, 2, 2, 0);
    second->created_ms = x.candidate->created_ms;
    struct sample late = sample_of(&x, "/late"), early = sample_of(&x, "/early");
    early.at_boot_ms -= 300;
    early.instance_slot = second->slot;
    add(&x, late);
    add(&x, early);
    json_t *list = evidence_requests(x.app);
    assert_string_equal(json_string_value(get(list, 0, "path")), "/early");
    assert_string_equal(json_string_value(get(list, 1, "path")), "/late");
    assert_string_equal(evidence_instance(x.app), second->id);
    json_decref(list);
    scene_end(&x);
}

static void a_flood_leaves_room_for_what_is_different(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    for (int i = 0; i < 1000; i++)
        add(&x, sample_of(&x, "/many"));
    assert_int_equal(count(&x), EVIDENCE_REQUESTS);
    for (int i = 0; i < 30; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%d", i);
        add(&x, sample_of(&x, path));
        add(&x, sample_of(&x, path));
    }
    assert_int_equal(count(&x), EVIDENCE_REQUESTS);
    assert_string_equal(x.app->evidence.requests[0].sample.path, "/many");
    for (int i = 1; i < EVIDENCE_REQUESTS; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%d", i - 1);
        assert_string_equal(x.app->evidence.requests[i].sample.path, path);
    }
    scene_end(&x);
}

static void the_last_word_of_the_probes(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    struct probe *p = &x.candidate->probes[PROBE_READINESS];
    snprintf(p->error, sizeof p->error, "GET /ready: status 503");
    evidence_look(x.r.c);
    assert_string_equal(x.app->evidence.probe, ""); /* it does not run */
    x.candidate->life = LIFE_RUNNING;
    evidence_look(x.r.c);
    assert_string_equal(x.app->evidence.probe, "GET /ready: status 503");
    assert_string_equal(evidence_instance(x.app), "shop-2-1");
    x.candidate->stopping = true; /* what it says while it ends says nothing */
    p->error[0] = '\0';
    evidence_look(x.r.c);
    assert_string_equal(x.app->evidence.probe, "GET /ready: status 503");
    x.candidate->stopping = false;
    evidence_look(x.r.c);
    assert_string_equal(x.app->evidence.probe, "");
    scene_end(&x);
}

/* A deploy may fail to build while another one's rollout runs. */
static void a_failed_build_has_no_requests(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    struct app *a = x.app;
    struct store_release row = {.number = 3, .version = "v", .spec_json = spec, .dir = "/nowhere"};
    struct release *r = app_add_release(a, &row);
    add(&x, sample_of(&x, "/pay"));
    snprintf(a->evidence.probe, sizeof a->evidence.probe, "GET /ready: status 503");
    snprintf(a->evidence.probed, sizeof a->evidence.probed, "shop-2-1");
    deploy_failed(a, r, REASON_BUILD, "make: no rule", RESULT_ROLLED_BACK, control_now());
    store_flush(x.r.c->store); /* what this app would do next is not asked */
    assert_int_equal(x.r.ends, 1);
    assert_int_equal(json_integer_value(json_object_get(x.r.ended, "release")), 3);
    assert_int_equal(json_array_size(json_object_get(x.r.ended, "failed_requests")), 0);
    assert_null(json_object_get(x.r.ended, "probe"));
    assert_string_equal(json_string_value(json_object_get(x.r.ended, "log_instance")), "shop-3-1");
    assert_int_equal(count(&x), 1); /* still there for the report that they belong to */
    scene_end(&x);
}

int main(void)
{
    log_init("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_request_is_named),
        cmocka_unit_test(what_concerns_the_rollout),
        cmocka_unit_test(an_instance_of_later_is_not_blamed),
        cmocka_unit_test(the_oldest_comes_first),
        cmocka_unit_test(a_flood_leaves_room_for_what_is_different),
        cmocka_unit_test(the_last_word_of_the_probes),
        cmocka_unit_test(a_failed_build_has_no_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
