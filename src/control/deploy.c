/* A deploy between its acceptance and its rollout: source packed, built, sealed. What is under way
 * is in the app's row, so the next controller goes on with it. */
#include "control/pages.h"

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

uint32_t deploy_release(const struct app *a)
{
    return a->deploy != NULL ? a->deploy->release : 0;
}

void deploy_pend(struct app *a, const struct release *r, const char *source,
                 const struct caller *caller, bool version_given)
{
    ASSERT(a->deploy == NULL);
    struct pending_deploy *p = xcalloc(1, sizeof *p);
    p->app = a;
    p->release = r->number;
    p->stage = STAGE_STORING;
    p->source = xstrdup(source);
    p->actor = xstrdup(caller->name);
    p->uid = caller->uid;
    p->gid = caller->gid;
    p->started_ms = r->created_ms;
    p->version_given = version_given;
    a->deploy = p;
}

bool deploy_awaits_store(const struct app *a, uint32_t release)
{
    return deploy_release(a) == release && a->deploy->stage == STAGE_STORING;
}

void deploy_go(struct app *a)
{
    ASSERT(a->deploy != NULL && a->deploy->stage == STAGE_STORING);
    next_stage(a->deploy, STAGE_PACKING);
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
    cleanup_free char *build = xasprintf("%s-%u-build.", p->app->label, p->release);
    hook_cancel(p->build);
    hook_drop_left(p->app, build);
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

void deploy_withdraw(struct app *a)
{
    ASSERT(a->deploy != NULL);
    pending_end(a->deploy);
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

/* ---- its rollout
 * ---------------------------------------------------------------------------------- */

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
    if (pages_read(a, r, &err) < 0 || rollout_begin(a, ROLLOUT_DEPLOY, r, actor, batch, &err) < 0) {
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

/* The limits that the spec asks for and this machine does not have are said to who deploys. */
static void say_missing_limits(struct app *a, struct release *r, struct store_batch *batch)
{
    struct engine *engine = a->control->engine;
    const char *missing = engine->ops->missing_limits(engine);
    const struct app_spec *spec = release_spec(a, r);
    if (*missing == '\0' || spec == NULL || (spec->cpu_milli == 0 && spec->memory_bytes == 0))
        return;
    cleanup_free char *text = xasprintf("`resources` is not enforced on this machine: %s", missing);
    event_add(a->control, batch, a, "limits-missing", r->created_by, r->number, text, NULL);
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
    uint64_t shown = result->bytes < 1024 ? result->bytes : result->bytes / 1024 * 1024;
    cleanup_free char *text =
        xasprintf("packed %u files (%s%s)%s%s%s", result->files,
                  format_size_bytes(shown, size, sizeof size), shown < 1024 ? " bytes" : "",
                  result->git ? ", commit " : "", result->git ? result->short_commit : "",
                  result->dirty ? ", with changes that are not committed" : "");
    a->deploy->stage = STAGE_BUILDING; /* from here on the folder is not made again */
    app_put_row(a, batch);
    app_put_release(a, r, batch);
    event_add(a->control, batch, a, "packed", r->created_by, r->number, text, NULL);
    if (result->note[0] != '\0')
        event_add(a->control, batch, a, "packed", r->created_by, r->number, result->note, NULL);
    say_missing_limits(a, r, batch);
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
        app_release(p->app, p->release)->bytes = (int64_t)result->bytes;
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
    if (make_folders(AT_FDCWD, r->dir, 0750, &err) < 0) {
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
    if (a->deploy == NULL || a->deploy->stage > STAGE_BUILDING)
        return false;
    cleanup_free char *id = build_id(a, a->deploy->release);
    size_t n = strlen(id);
    return strncmp(run_id, id, n) == 0 && run_id[n] == '.';
}
