/* Copies of requests: into the snapshot, to the judge, into what people see; and not into what
 * users got. */
#include "rig.h"

#include "wire/http1.h"

static const char shop[] = "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"},"
                           "{\"path\":\"/old\"}]}";
static const char shop_next[] =
    "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\",\"headers\":{\"request\":"
    "{\"set\":{\"x-a\":\"1\"}}}},{\"path\":\"/new\"}],\"strategy\":{\"shadow\":{\"share\":\"20%\","
    "\"methods\":[\"GET\",\"POST\"],\"body-limit\":\"4Ki\",\"compare\":{\"headers\":[\"ETag\"],"
    "\"ignore\":[\"/at\",\"/items/*/id\"]}}}}";

struct scene {
    struct rig r;
    struct app *app;
    struct arena memory;
    struct snapshot s;
    struct instance *candidate;
};

/* Release 2 gets copies of a fifth of what release 1 answers. */
static void scene_begin(struct scene *x)
{
    static const char *const specs[] = {shop, shop_next};
    memset(x, 0, sizeof *x);
    rig_begin(&x->r);
    struct app *a = x->app = app_create(x->r.c, "shop", "production", 1);
    for (uint32_t n = 1; n <= 2; n++) {
        struct store_release row = {.number = n,
                                    .version = n == 1 ? "1.0" : "2.0",
                                    .spec_json = specs[n - 1],
                                    .dir = "/nowhere"};
        app_add_release(a, &row);
        a->state.pools[n - 1] = (struct pool_state){
            .id = n, .release = n, .wanted = {1}, .weight_ppm = n == 1 ? 1000000 : 0};
        struct instance *in = instance_new(a, n, n, 0);
        in->life = LIFE_RUNNING;
        in->port = (uint16_t)(7000 + n);
        in->adopted_ready = true;
        in->created_ms = 1;
        x->candidate = in;
    }
    a->state.next_pool = 3;
    a->state.stable = 1;
    a->state.candidate = 2;
    a->state.mirror_ppm = 200000;
    a->start.id = a->state.rollout.id = 9;
    a->state.rollout.phase = PHASE_FORWARD;
    a->start.release = a->start.candidate_pool = 2;
    a->start.from_release = a->start.stable_pool = 1;
    a->start.began_ms = 1;
    watch_begin(a);
}

static void scene_end(struct scene *x)
{
    struct app *a = x->app;
    for (size_t i = 0; i < a->instances.len; i++)
        a->instances.items[i]->life = LIFE_EXITED;
    memset(&a->start, 0, sizeof a->start);
    memset(&a->state.rollout, 0, sizeof a->state.rollout);
    watch_end(a);
    a->state.candidate = 0;
    arena_release(&x->memory);
    app_forget(a);
    rig_end(&x->r);
}

static void build(struct scene *x)
{
    arena_release(&x->memory);
    x->s = (struct snapshot){.version = x->s.version + 1};
    routes_build(x->r.c, &x->s, &x->memory);
    struct error err = ERROR_INIT;
    cleanup_buf struct buf bytes = BUF_INIT;
    snapshot_encode(&x->s, &bytes);
    struct snapshot *again = snapshot_decode(bytes.data, bytes.len, &err);
    if (again == NULL)
        fail_msg("%s", err.text);
    snapshot_free(again);
}

static const struct snapshot_route *route(const struct scene *x, const char *path)
{
    for (uint32_t i = 0; i < x->s.routes_len; i++)
        if (strcmp(x->s.routes[i].path, path) == 0)
            return &x->s.routes[i];
    fail_msg("no route %s", path);
    return NULL;
}

static void the_snapshot_says_what_is_copied(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    build(&x);
    const struct snapshot_route *r = route(&x, "/");
    const struct snapshot_mirror *m = &r->mirror;
    assert_int_equal(r->shares_len, 1);
    assert_int_equal(r->shares[0].weight_ppm, 1000000);
    assert_int_equal(m->share_ppm, 200000);
    assert_int_equal(x.s.pools[m->to.pool].release, 2);
    assert_int_equal(m->to.weight_ppm, 0);
    assert_int_equal(m->to.rules, 1); /* what the candidate's file changes in its requests */
    assert_string_equal(x.s.edits[x.s.rules[0].first_edit].name, "x-a");
    assert_int_equal(m->methods, 1u << HTTP1_M_GET | 1u << HTTP1_M_POST);
    assert_int_equal(m->body_bytes, 4096);
    assert_int_equal(m->compare, SNAPSHOT_COMPARE_ALL);
    assert_int_equal(m->fields, 1);
    assert_string_equal(x.s.fields[m->first_field].name, "etag");
    assert_int_equal(m->ignored, 2);
    assert_string_equal(x.s.pointers[m->first_ignored + 1].text, "/items/*/id");
    assert_int_equal(m->to.slot, app_slot(x.app, "/", 2, ROLE_COPIES)->index);
    assert_int_equal(m->copied_slot, app_slot(x.app, "/", 1, ROLE_COPIED)->index);
    assert_int_not_equal(m->copied_slot, r->shares[0].slot);
    /* A route that only one of the two has: nobody to copy to, nothing to copy. */
    assert_int_equal(route(&x, "/old")->mirror.share_ppm, 0);
    for (uint32_t i = 0; i < x.s.routes_len; i++)
        assert_string_not_equal(x.s.routes[i].path, "/new");
    /* It is over: nothing of it is left, and its slots go with the rollout. */
    x.app->state.mirror_ppm = 0;
    build(&x);
    assert_int_equal(route(&x, "/")->mirror.share_ppm, 0);
    assert_int_equal(x.s.pools_len, 1);
    assert_int_equal(x.s.pointers_len + x.s.fields_len, 0);
    x.app->state.rollout.id = 0;
    x.app->state.candidate = 0;
    memset(&x.app->state.pools[1], 0, sizeof x.app->state.pools[1]);
    build(&x);
    for (size_t i = 0; i < x.app->slots.len; i++)
        assert_true(slot_is_of_users(x.app->slots.items[i]));
    scene_end(&x);
}

static uint64_t *counters(struct scene *x, uint32_t pool, enum slot_role role)
{
    struct slot *s = app_slot(x->app, "/", pool, role);
    struct slot_totals **t = &x->r.c->ended_requests[s->index];
    if (*t == NULL)
        *t = xcalloc(1, sizeof **t);
    return (*t)->counters;
}

/* Copies, how many of them failed, and of those that were compared how many differ. */
static void bring(struct scene *x, uint64_t copies, uint64_t failed, uint64_t differed)
{
    uint64_t *users = counters(x, 1, ROLE_SHARE), *copied = counters(x, 1, ROLE_COPIED);
    uint64_t *to = counters(x, 2, ROLE_COPIES);
    users[REQUESTS] += 5 * copies;
    copied[REQUESTS] += copies;
    to[REQUESTS] += copies;
    to[REQUESTS_FAILED] += failed;
    to[REQUESTS_COMPARED] += copies - failed;
    to[REQUESTS_UNCOMPARED] += failed;
    to[REQUESTS_DIFFERED] += differed;
    to[REQUESTS_DIFFERED_BODY] += differed;
}

static void tick(struct scene *x)
{
    x->app->judged_ms = 0;
    x->app->judge_saved_ms = INT64_MAX / 2;
    watch_tick(x->app);
}

static struct observations look(struct scene *x)
{
    struct observations obs = {0};
    watch_verdict(x->app, &obs);
    return obs;
}

static void copies_are_compared_with_what_was_copied(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    build(&x);
    for (int i = 0; i < 3; i++) {
        bring(&x, 100, 0, 0);
        tick(&x);
    }
    /* Not with all that stable answered. */
    assert_int_equal(x.app->judge.errors.candidate_requests, 300);
    assert_int_equal(x.app->judge.errors.stable_requests, 300);
    assert_int_equal(x.app->judge.differences.seen.pairs, 300);
    assert_int_equal(look(&x).verdict, VERDICT_CONTINUE);
    for (int i = 0; i < 3; i++) {
        bring(&x, 100, 30, 0);
        tick(&x);
    }
    assert_int_equal(look(&x).verdict, VERDICT_ROLL_BACK);
    assert_int_equal(look(&x).verdict_reason.code, REASON_ERRORS);
    /* No user got one of them, and none failed. */
    assert_int_equal(app_failed(x.app), 0);
    assert_int_equal(rollout_counts(x.app).candidate, 0);
    assert_int_equal(rollout_counts(x.app).stable, 3000);
    assert_int_equal(pool_value(x.app, 2, REQUESTS), 0);
    scene_end(&x);
}

static struct sample differing(struct scene *x, uint8_t part, const char *where, const char *path)
{
    struct sample s = {.at_boot_ms = (uint64_t)clock_boot_ms(),
                       .request_slot = app_slot(x->app, "/", 2, ROLE_COPIES)->index,
                       .instance_slot = x->candidate->slot,
                       .status = 200,
                       .copy_status = part == SAMPLE_STATUS ? 404 : 200,
                       .fault = SAMPLE_DIFFERS,
                       .method = HTTP1_M_GET,
                       .part = part};
    sample_set_path(&s, path, (uint32_t)strlen(path));
    sample_set_where(&s, where, strlen(where));
    return s;
}

static void answers_that_differ_are_named(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    build(&x);
    bring(&x, 100, 0, 20);
    tick(&x);
    struct sample s = differing(&x, SAMPLE_BODY, "/total", "/cart");
    for (int i = 0; i < 30; i++)
        evidence_add(x.r.c, &s);
    s = differing(&x, SAMPLE_STATUS, "", "/gone");
    evidence_add(x.r.c, &s);
    struct observations obs = look(&x);
    assert_int_equal(obs.verdict, VERDICT_ROLL_BACK);
    assert_int_equal(obs.verdict_reason.code, REASON_DIFFERENCES);
    assert_non_null(strstr(obs.verdict_reason.text,
                           "20% of the answers differ from stable's (20 of 100 compared), over the "
                           "tolerated 0.1%; 20 in the body; "));
    assert_non_null(strstr(obs.verdict_reason.text, "; for example body at /total: GET /cart"));
    /* The many of one kind leave room for the other; the failures of users have a list of their
     * own.
     */
    json_t *mirror = mirror_json(x.app);
    const json_t *samples = json_object_get(mirror, "samples");
    assert_int_equal(json_array_size(samples), EVIDENCE_REQUESTS);
    const json_t *last = json_array_get(samples, EVIDENCE_REQUESTS - 1);
    assert_string_equal(json_string_value(json_object_get(last, "part")), "status");
    assert_int_equal(json_integer_value(json_object_get(last, "copy_status")), 404);
    assert_true(json_is_null(json_object_get(last, "where")));
    assert_true(json_real_value(json_object_get(mirror, "share")) == 20);
    assert_int_equal(json_integer_value(json_object_get(mirror, "copies")), 100);
    assert_int_equal(json_integer_value(json_object_get(mirror, "differed")), 20);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(mirror, "differed_in"), "body")), 20);
    json_decref(mirror);
    assert_int_equal(x.app->evidence.requests_len, 0);
    scene_end(&x);
}

static void metrics_tell_copies_apart(void **state)
{
    (void)state;
    struct scene x;
    scene_begin(&x);
    build(&x);
    bring(&x, 100, 3, 20);
    cleanup_buf struct buf out = BUF_INIT;
    control_metrics(x.r.c, false, &out);
    const char *two = "{app=\"shop\",environment=\"production\",release=\"2\",version=\"2.0\"} ";
    static const struct {
        const char *family;
        int value;
    } lines[] = {
        {"sluice_mirror_copies_total", 100},
        {"sluice_mirror_failed_total", 3},
        {"sluice_mirror_compared_total", 97},
        {"sluice_mirror_differed_total", 20},
        {"sluice_mirror_differed_body_total", 20},
        {"sluice_mirror_uncompared_total", 3},
        {"sluice_requests_total", 0},
        {"sluice_requests_failed_total", 0},
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        cleanup_free char *line = xasprintf("\n%s%s%d\n", lines[i].family, two, lines[i].value);
        if (strstr(buf_str(&out), line) == NULL)
            fail_msg("no%sin\n%s", line, buf_str(&out));
    }
    /* The stable release gets no copies. */
    assert_null(strstr(buf_str(&out), "sluice_mirror_copies_total{app=\"shop\",environment="
                                      "\"production\",release=\"1\""));
    scene_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_snapshot_says_what_is_copied),
        cmocka_unit_test(copies_are_compared_with_what_was_copied),
        cmocka_unit_test(answers_that_differ_are_named),
        cmocka_unit_test(metrics_tell_copies_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
