/* A deploy before its rollout: accepted and stored, its source packed, built, sealed; then the
 * rollout begins. What is under way is in the app's row, so the next controller goes on with it. */
#include "control/control_internal.h"

#include "base/sha256.h"
#include "base/units.h"
#include "engine/user.h"
#include "os/durable.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUILD_TIMEOUT_MS = 3600000 };

enum deploy_stage { STAGE_STORING, STAGE_PACKING, STAGE_BUILDING, STAGE_SEALING };

struct pending_deploy {
    struct app *app;
    uint32_t release;
    enum deploy_stage stage;
    bool found; /* begun by an earlier controller */
    char *source, *actor;
    uid_t uid;
    gid_t gid;
    int64_t started_ms;
    bool version_given;
    struct pack_watch *job; /* packing or sealing */
    struct hook *build;
};

static void next_stage(struct pending_deploy *p, enum deploy_stage stage);

bool deploy_active(const struct app *a)
{
    return a->deploy != NULL;
}

json_t *deploy_pending_json(const struct app *a)
{
    const struct pending_deploy *p = a->deploy;
    if (p == NULL)
        return NULL;
    json_t *out = json_pack("{s:i,s:i,s:s,s:I,s:I,s:I,s:b}", "release", (int)p->release, "stage",
                            (int)p->stage, "actor", p->actor, "uid", (json_int_t)p->uid, "gid",
                            (json_int_t)p->gid, "at", (json_int_t)p->started_ms, "version_given",
                            p->version_given);
    if (p->source != NULL)
        json_object_set_new(out, "source", json_string(p->source));
    return out;
}

/* ---- its end
 * -------------------------------------------------------------------------------------- */

/* Out of the app. Its build, if one runs, is the caller's to end. */
static void pending_free(struct pending_deploy *p)
{
    p->app->deploy = NULL;
    pack_watch_cancel(p->job);
    free(p->source);
    free(p->actor);
    free(p);
}

/* The same, and nothing of it runs any more. */
static void pending_end(struct pending_deploy *p)
{
    hook_cancel(p->build);
    pending_free(p);
}

static void fail(struct pending_deploy *p, enum reason_code code, const char *text)
{
    struct app *a = p->app;
    struct release *r = app_release(a, p->release);
    int64_t started = p->started_ms;
    pending_end(p);
    deploy_failed(a, r, code, text, RESULT_ROLLED_BACK, started);
}

void deploy_cancel(struct app *a, const char *why)
{
    struct pending_deploy *p = a->deploy;
    if (p == NULL)
        return;
    if (why == NULL) { /* the controller leaves: the build goes on, for the next one */
        pending_free(p);
        return;
    }
    struct release *r = app_release(a, p->release);
    int64_t started = p->started_ms;
    bool aborted = strncmp(why, "superseded", 10) != 0;
    pending_end(p);
    deploy_failed(a, r, aborted ? REASON_ABORTED : REASON_SUPERSEDED, why,
                  aborted ? RESULT_ABORTED : RESULT_SUPERSEDED, started);
}

/* ---- beginning a rollout
 * -------------------------------------------------------------------------- */

int rollout_begin(struct app *a, enum rollout_kind kind, struct release *r, const char *actor,
                  struct store_batch *batch, struct error *err)
{
    struct control *c = a->control;
    cleanup_arena struct arena memory = ARENA_INIT;
    struct observations obs;
    const struct app_spec *spec = release_spec(a, r);
    if (spec == NULL)
        return error_set(err, ERROR_FAILED, "the stored spec of release %u cannot be read",
                         r->number);
    struct rollout_request request = {
        .id = store_next_rollout_id(c->store),
        .kind = kind,
        .release = r->number,
        .spec = spec,
        .stable = pool_spec(a, a->state.stable),
        .now_ms = control_now(),
    };
    struct rollout_state superseded = {0};
    uint32_t from = app_stable_release(a);
    app_observe(a, &memory, &obs);
    if (core_begin(&a->state, &request, &obs, &superseded, err) < 0)
        return -1;
    if (superseded.id != 0) {
        superseded.reason.code = REASON_SUPERSEDED;
        snprintf(superseded.reason.text, sizeof superseded.reason.text,
                 "superseded by a %s of release %u", rollout_kind_word(kind), r->number);
        rollout_ended(a, &superseded, RESULT_SUPERSEDED, batch);
    }
    free(a->rollout_actor);
    a->rollout_actor = xstrdup(actor);
    a->paused_told = false;
    a->start = (struct rollout_start){
        .id = request.id,
        .kind = kind,
        .strategy = spec->strategy.kind,
        .from_release = from,
        .release = r->number,
        .stable_pool = a->state.stable,
        .candidate_pool = a->state.candidate,
        .at_ms = request.now_ms,
        .began_ms = request.now_ms,
        .failed = app_failed(a),
        .stable_requests = a->state.stable != 0 ? pool_value(a, a->state.stable, REQUESTS) : 0,
    };
    if (kind == ROLLOUT_DEPLOY)
        watch_begin(a);
    else
        watch_end(a);
    app_put_row(a, batch);
    rollout_put_row(a, batch);
    a->traffic_version = 0;
    control_mark_routes(c);
    control_mark(a);
    return 0;
}

static void begin(struct pending_deploy *p)
{
    struct app *a = p->app;
    struct release *r = app_release(a, p->release);
    struct error err = ERROR_INIT;
    int64_t started = p->started_ms;
    cleanup_free char *actor = xstrdup(p->actor);
    r->status = RELEASE_READY;
    struct store_batch *batch = store_batch_new(a->control->store);
    pending_end(p);
    app_put_release(a, r, batch);
    if (rollout_begin(a, ROLLOUT_DEPLOY, r, actor, batch, &err) < 0) {
        store_drop(a->control, batch);
        deploy_failed(a, r, REASON_NONE, err.text, RESULT_ROLLED_BACK, started);
        return;
    }
    a->start.at_ms = started;
    app_write(a, batch, NULL, NULL);
}

/* ---- packing, building, sealing
 * ------------------------------------------------------------------- */

/* Who owns the release's folder while it is built: who the app runs as. */
static int owner(const struct app *a, const struct app_spec *spec, uid_t *uid, gid_t *gid,
                 struct error *err)
{
    *uid = geteuid();
    *gid = getegid();
    const char *name = app_user(a, spec);
    struct os_user user;
    if (name == NULL || geteuid() != 0)
        return 0;
    if (os_user_find(&user, name, err) < 0)
        return -1;
    *uid = user.uid;
    *gid = user.gid;
    os_user_release(&user);
    return 0;
}

static void take_result(struct app *a, struct release *r, const struct pack_result *result,
                        bool version_given)
{
    char number[16];
#define SET(field, value) (free(r->field), r->field = xstrdup(value))
    SET(digest, result->digest);
    SET(commit, result->commit);
    SET(author, result->author);
    SET(branch, result->branch);
    r->dirty = result->dirty;
    if (!version_given) {
        snprintf(number, sizeof number, "%u", r->number);
        SET(version, result->short_commit[0] != '\0' ? result->short_commit : number);
    }
#undef SET
    struct store_batch *batch = store_batch_new(a->control->store);
    char size[32];
    cleanup_free char *text =
        xasprintf("packed %u files (%s)%s%s%s", result->files,
                  format_size_bytes(result->bytes / 1024 * 1024, size, sizeof size),
                  result->git ? ", commit " : "", result->git ? result->short_commit : "",
                  result->dirty ? ", with changes that are not committed" : "");
    a->deploy->stage = STAGE_BUILDING; /* from here on the folder is not made again */
    app_put_row(a, batch);
    app_put_release(a, r, batch);
    event_add(a->control, batch, a, "packed", r->created_by, r->number, text, NULL);
    if (result->note[0] != '\0')
        event_add(a->control, batch, a, "packed", r->created_by, r->number, result->note, NULL);
    app_write(a, batch, NULL, NULL);
}

static void on_job(void *arg, const struct pack_result *result, const struct error *err)
{
    struct pending_deploy *p = arg;
    p->job = NULL;
    if (result == NULL) {
        fail(p, REASON_BUILD, err->text);
    } else if (p->found) { /* what an earlier controller left is away: from the start */
        p->found = false;
        next_stage(p, STAGE_PACKING);
    } else if (p->stage == STAGE_PACKING) {
        take_result(p->app, app_release(p->app, p->release), result, p->version_given);
        next_stage(p, STAGE_BUILDING);
    } else {
        begin(p);
    }
}

static void watch_job(struct pending_deploy *p, struct pack_job *job, const struct error *err)
{
    if (job == NULL)
        fail(p, REASON_BUILD, err->text);
    else
        p->job = pack_watch_start(p->app->control, job, on_job, p);
}

static char *build_id(const struct app *a, uint32_t release)
{
    return xasprintf("%s-%u-build", a->label, release);
}

static void on_built(void *arg, struct hook *hook, bool ok, const char *text)
{
    struct pending_deploy *p = arg;
    (void)hook;
    struct app *a = p->app;
    cleanup_free char *id = build_id(a, p->release);
    const struct app_spec *spec = release_spec(a, app_release(a, p->release));
    p->build = NULL;
    if (spec != NULL)
        hook_spend(a, id, spec->build_len);
    if (!ok) {
        fail(p, REASON_BUILD, text);
        return;
    }
    p->stage = STAGE_SEALING; /* the next controller does not build again */
    struct store_batch *batch = store_batch_new(a->control->store);
    app_put_row(a, batch);
    app_write(a, batch, NULL, NULL);
    next_stage(p, STAGE_SEALING);
}

/* Nothing to pack: an empty folder is what its commands run in. */
static void make_empty(struct pending_deploy *p, struct release *r, uid_t uid, gid_t gid)
{
    struct error err = ERROR_INIT;
    struct pack_result result;
    memset(&result, 0, sizeof result);
    if (make_folders(AT_FDCWD, r->dir, 0755, &err) < 0) {
        fail(p, REASON_BUILD, err.text);
        return;
    }
    if (geteuid() == 0)
        (void)!chown(r->dir, uid, gid);
    take_result(p->app, r, &result, p->version_given);
    next_stage(p, STAGE_BUILDING);
}

static void pack(struct pending_deploy *p, struct release *r, const struct app_spec *spec)
{
    struct error err = ERROR_INIT;
    uid_t uid;
    gid_t gid;
    struct stat st;
    bool there = stat(r->dir, &st) == 0;
    if (owner(p->app, spec, &uid, &gid, &err) < 0) {
        fail(p, REASON_BUILD, err.text);
    } else if (there) { /* of a controller that was killed before it could store what it packed */
        p->found = true;
        struct pack_job *started = pack_remove_tree(r->dir, &err);
        watch_job(p, started, &err);
    } else if (p->source == NULL) {
        make_empty(p, r, uid, gid);
    } else {
        struct pack_spec job = {
            .source = p->source,
            .destination = r->dir,
            .reader_uid = p->uid,
            .reader_gid = p->gid,
            .owner_uid = uid,
            .owner_gid = gid,
        };
        struct pack_job *started = pack_start(&job, &err);
        watch_job(p, started, &err);
    }
}

static void next_stage(struct pending_deploy *p, enum deploy_stage stage)
{
    struct app *a = p->app;
    struct release *r = app_release(a, p->release);
    const struct app_spec *spec = release_spec(a, r);
    struct error err = ERROR_INIT;
    p->stage = stage;
    if (spec == NULL) {
        fail(p, REASON_BUILD, "its stored spec cannot be read");
        return;
    }
    if (stage == STAGE_PACKING) {
        pack(p, r, spec);
    } else if (stage == STAGE_BUILDING && spec->build_len > 0) {
        cleanup_free char *id = build_id(a, r->number);
        struct hook_config config = {
            .kind = HOOK_BUILD,
            .commands = spec->build,
            .commands_len = spec->build_len,
            .id = id,
            .release = r->number,
            .event = "build-output",
            .timeout_ms = BUILD_TIMEOUT_MS,
            .done = on_built,
            .arg = p,
        };
        p->build = hook_start(a, &config);
    } else {
        uid_t uid;
        gid_t gid;
        p->stage = STAGE_SEALING;
        if (owner(a, spec, &uid, &gid, &err) < 0) {
            fail(p, REASON_BUILD, err.text);
            return;
        }
        struct pack_job *job = pack_seal(r->dir, uid, gid, &err);
        watch_job(p, job, &err);
    }
}

void deploy_resume(struct app *a, const json_t *pending)
{
    uint32_t number = (uint32_t)json_integer_value(json_object_get(pending, "release"));
    if (app_release(a, number) == NULL)
        return;
    struct pending_deploy *p = xcalloc(1, sizeof *p);
    p->app = a;
    p->release = number;
    p->source = xstrdup(json_string_value(json_object_get(pending, "source")));
    const char *actor = json_string_value(json_object_get(pending, "actor"));
    p->actor = xstrdup(actor != NULL ? actor : "system");
    p->uid = (uid_t)json_integer_value(json_object_get(pending, "uid"));
    p->gid = (gid_t)json_integer_value(json_object_get(pending, "gid"));
    p->started_ms = json_integer_value(json_object_get(pending, "at"));
    p->version_given = json_is_true(json_object_get(pending, "version_given"));
    a->deploy = p;
    json_int_t stage = json_integer_value(json_object_get(pending, "stage"));
    bool packed = stage == STAGE_BUILDING || stage == STAGE_SEALING;
    next_stage(p, packed ? (enum deploy_stage)stage : STAGE_PACKING);
}

bool deploy_owns_run(const struct app *a, const char *run_id)
{
    if (a->deploy == NULL)
        return false;
    cleanup_free char *id = build_id(a, a->deploy->release);
    size_t n = strlen(id);
    return strncmp(run_id, id, n) == 0 && run_id[n] == '.';
}

/* ---- accepting
 * ------------------------------------------------------------------------------------ */

json_t *accepted_json(struct app *a, const struct release *r, uint64_t rollout, uint64_t event)
{
    return json_pack("{s:s,s:s,s:i,s:s,s:I,s:I}", "app", a->name, "environment", a->environment,
                     "release", (int)r->number, "version", r->version, "rollout",
                     (json_int_t)rollout, "event", (json_int_t)event);
}

static const struct route_spec *shared_route(const struct app_spec *a, const struct app_spec *b)
{
    for (size_t i = 0; a != NULL && i < a->routes_len; i++)
        for (size_t k = 0; k < b->routes_len; k++)
            if (route_same(&a->routes[i], &b->routes[k]))
                return &b->routes[k];
    return NULL;
}

/* A route that another app has: in one of its pools, or in a deploy that is still being built. */
static const struct route_spec *taken_route(struct app *other, const struct app_spec *spec)
{
    const struct route_spec *taken = NULL;
    for (size_t k = 0; taken == NULL && k < CORE_MAX_POOLS; k++)
        taken = shared_route(pool_spec(other, other->state.pools[k].id), spec);
    if (taken == NULL && other->deploy != NULL)
        taken = shared_route(release_spec(other, app_release(other, other->deploy->release)), spec);
    return taken;
}

int routes_check(struct control *c, const struct app *self, const struct app_spec *spec,
                 struct error *err)
{
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *other = c->apps.items[i];
        const struct route_spec *taken = other != self ? taken_route(other, spec) : NULL;
        if (taken != NULL)
            return error_set(
                err, ERROR_CONFLICT,
                "the route %s%s belongs to app %s already: change the route, or delete that app",
                taken->host, taken->path, other->key);
    }
    return 0;
}

/* A deploy on its way into the store. */
struct acceptance {
    struct control *control;
    struct app_ref *app;
    char *key, *idempotency_key;
    char digest[SHA256_HEX];
    uint32_t release;
    json_t *body;
    struct {
        struct asker {
            command_done *done;
            void *arg;
        } * items; /* more than one: the same request, sent again meanwhile */
        size_t len, cap;
    } askers;
};

static void acceptance_free(struct acceptance *x)
{
    struct control *c = x->control;
    for (size_t i = 0; i < c->acceptances.len; i++)
        if (c->acceptances.items[i] == x) {
            vec_remove(&c->acceptances, i);
            break;
        }
    vec_release(&x->askers);
    json_decref(x->body);
    free(x->key);
    free(x->idempotency_key);
    free(x);
}

static void answer(struct acceptance *x, const struct error *err)
{
    for (size_t i = 0; i < x->askers.len; i++)
        x->askers.items[i].done(x->askers.items[i].arg, err, err != NULL ? NULL : x->body);
}

/* Back to what it was: an app that this deploy made, and that nothing else has touched, goes. */
static void take_back(struct app *a, uint32_t release)
{
    if (a->deploy != NULL && a->deploy->release == release)
        pending_end(a->deploy);
    if (app_release(a, release) != NULL)
        app_drop_release(a, release);
    if (a->releases.len == 0 && a->instances.len == 0 && a->state.rollout.id == 0 &&
        a->state.stable == 0 && a->phase == PIPE_IDLE)
        app_forget(a);
}

static void on_accepted(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct acceptance *x = arg;
    struct app *a = app_ref_take(x->app);
    bool pending = a != NULL && a->deploy != NULL && a->deploy->release == x->release &&
                   a->deploy->stage == STAGE_STORING;
    if (outcome == STORE_OK) {
        answer(x, NULL);
        if (pending)
            next_stage(a->deploy, STAGE_PACKING);
    } else {
        struct error failed = *err;
        error_wrap(&failed, "the deploy is not accepted, since it cannot be stored");
        failed.class = ERROR_UNAVAILABLE;
        if (pending)
            take_back(a, x->release);
        answer(x, &failed);
    }
    acceptance_free(x);
}

/* What makes two requests the same. */
static void digest_request(const struct deploy_request *q, const struct caller *caller,
                           char hex[SHA256_HEX])
{
    struct sha256 hash;
    char uid[24];
    snprintf(uid, sizeof uid, "%u", (unsigned)caller->uid);
    const char *const parts[] = {q->environment, q->spec_json, q->source, q->version, uid};
    sha256_init(&hash);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const char *part = parts[i] != NULL ? parts[i] : "";
        sha256_add(&hash, part, strlen(part) + 1); /* with its NUL: where one ends is told */
    }
    sha256_end_hex(&hash, hex);
}

static void answer_repeated(const char *digest, const char *first, json_t *body, command_done *done,
                            void *arg)
{
    struct error err = ERROR_INIT;
    if (strcmp(digest, first) == 0) {
        done(arg, NULL, body);
        return;
    }
    error_set(&err, ERROR_CONFLICT,
              "this idempotency key was used for another deploy: each deploy needs its own");
    done(arg, &err, NULL);
}

/* The same key again: the same answer. True: answered, or it will be. */
static bool repeated(struct control *c, const struct deploy_request *q, const char *key,
                     const char *digest, command_done *done, void *arg)
{
    if (q->idempotency_key == NULL)
        return false;
    for (size_t i = 0; i < c->acceptances.len; i++) {
        struct acceptance *x = c->acceptances.items[i];
        if (x->idempotency_key == NULL || strcmp(x->key, key) != 0 ||
            strcmp(x->idempotency_key, q->idempotency_key) != 0)
            continue;
        if (strcmp(digest, x->digest) == 0) {
            struct asker *asker = vec_push(&x->askers);
            asker->done = done;
            asker->arg = arg;
        } else {
            answer_repeated(digest, x->digest, NULL, done, arg);
        }
        return true;
    }
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_idempotency row;
    struct error err = ERROR_INIT;
    int found = store_read_idempotency(c->store, q->idempotency_key, key, &memory, &row, &err);
    if (found == 0)
        return false;
    if (found < 0) {
        done(arg, &err, NULL);
        return true;
    }
    json_t *body = json_loads(row.response_json, 0, NULL);
    answer_repeated(digest, row.request_digest, body, done, arg);
    json_decref(body);
    return true;
}

static void accept_deploy(struct control *c, struct app *a, const struct app_spec *spec,
                          const struct deploy_request *q, const struct caller *caller,
                          const char *digest, command_done *done, void *arg)
{
    deploy_cancel(a, "superseded by a later deploy");
    const char *version = q->version != NULL ? q->version : spec->version;
    uint32_t number = a->next_release++;
    cleanup_free char *dir = xasprintf("%s/releases/%u", a->dir, number);
    struct store_release row = {
        .app = a->key,
        .number = number,
        .version = version != NULL ? version : "",
        .spec_json = q->spec_json,
        .created_ms = control_now(),
        .created_by = caller->name,
        .status = RELEASE_BUILDING,
        .dir = dir,
    };
    struct release *r = app_add_release(a, &row);
    struct pending_deploy *p = xcalloc(1, sizeof *p);
    p->app = a;
    p->release = number;
    p->stage = STAGE_STORING;
    p->source = xstrdup(q->source);
    p->actor = xstrdup(caller->name);
    p->uid = caller->uid;
    p->gid = caller->gid;
    p->started_ms = row.created_ms;
    p->version_given = version != NULL;
    a->deploy = p;

    struct store_batch *batch = store_batch_new(c->store);
    struct acceptance *x = xcalloc(1, sizeof *x);
    x->control = c;
    x->app = app_ref_new(a);
    x->key = xstrdup(a->key);
    x->idempotency_key = xstrdup(q->idempotency_key);
    snprintf(x->digest, sizeof x->digest, "%s", digest);
    x->release = number;
    x->body = accepted_json(a, r, 0, store_last_event_id(c->store));
    *vec_push(&x->askers) = (struct asker){done, arg};
    *vec_push(&c->acceptances) = x;
    app_put_row(a, batch);
    app_put_release(a, r, batch);
    cleanup_free char *text =
        xasprintf("release %u%s%s accepted", number, version != NULL ? ", version " : "",
                  version != NULL ? version : "");
    event_add(c, batch, a, "deploy-accepted", caller->name, number, text, NULL);
    if (q->idempotency_key != NULL) {
        cleanup_free char *response = json_dumps(x->body, JSON_COMPACT);
        struct store_idempotency key = {.key = q->idempotency_key,
                                        .app = a->key,
                                        .request_digest = digest,
                                        .response_json = response,
                                        .at_ms = row.created_ms};
        batch_put_idempotency(batch, &key);
    }
    app_write(a, batch, on_accepted, x);
}

/* A server that is root runs apps as any user that the file names: only root, and people for
 * themselves, may name one. */
static int user_allowed(const struct app_spec *spec, const struct caller *caller, struct error *err)
{
    struct os_user user;
    if (spec->user == NULL)
        return 0;
    if (os_user_find(&user, spec->user, err) < 0) {
        err->class = ERROR_USAGE;
        return error_wrap(err, "user: %s", spec->user);
    }
    uid_t uid = user.uid;
    os_user_release(&user);
    if (geteuid() != 0 && uid != geteuid())
        return error_set(err, ERROR_USAGE,
                         "user: %s: this server is not root, so it runs apps as its own user only",
                         spec->user);
    if (caller->uid != 0 && caller->uid != uid)
        return error_set(err, ERROR_DENIED, "user: only root may run an app as %s", spec->user);
    return 0;
}

void control_deploy(struct control *c, const struct deploy_request *q, const struct caller *caller,
                    command_done *done, void *arg)
{
    struct error err = ERROR_INIT;
    if (control_available(c, &err) < 0) {
        done(arg, &err, NULL);
        return;
    }
    const char *environment = q->environment != NULL ? q->environment : "production";
    struct app_spec *spec = spec_from_client(q->spec_json, environment, &err);
    if (spec == NULL) {
        done(arg, &err, NULL);
        return;
    }
    char key[160], digest[SHA256_HEX];
    store_app_key(spec->app, environment, key, sizeof key);
    digest_request(q, caller, digest);
    struct app *a = app_by_key(c, key);
    if (repeated(c, q, key, digest, done, arg)) {
        spec_free(spec);
        return;
    }
    int refused = 0;
    if (a != NULL && a->deleting)
        refused = error_set(&err, ERROR_CONFLICT, "app %s is being deleted: try again in a moment",
                            spec->app);
    if (refused < 0 || routes_check(c, a, spec, &err) < 0 || user_allowed(spec, caller, &err) < 0) {
        done(arg, &err, NULL);
    } else {
        if (a == NULL)
            a = app_create(c, spec->app, environment, control_now());
        accept_deploy(c, a, spec, q, caller, digest, done, arg);
    }
    spec_free(spec);
}
