/* A deploy is accepted: checked, numbered, stored with its answer; then it goes to deploy.c. */
#include "control/control_internal.h"

#include "base/sha256.h"
#include "engine/user.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

json_t *accepted_json(struct app *a, const struct release *r, uint64_t rollout, uint64_t event)
{
    const char *version = r->version[0] != '\0' ? r->version : NULL; /* known once it is packed */
    return json_pack("{s:s,s:s,s:i,s:s?,s:I,s:I}", "app", a->name, "environment", a->environment,
                     "release", (int)r->number, "version", version, "rollout", (json_int_t)rollout,
                     "event", (json_int_t)event);
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
    uint32_t building = deploy_release(other);
    if (taken == NULL && building != 0)
        taken = shared_route(release_spec(other, app_release(other, building)), spec);
    return taken;
}

int routes_check(struct control *c, const struct app *self, const struct app_spec *spec,
                 struct error *err)
{
    if (tcp_listeners_check(c, spec, err) < 0 || upstream_tls_check(c, spec, err) < 0)
        return -1;
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *other = c->apps.items[i];
        const struct route_spec *taken = other != self ? taken_route(other, spec) : NULL;
        if (taken != NULL && taken->tcp.listen != NULL)
            return error_set(err, ERROR_CONFLICT,
                             "the TCP route %s belongs to app %s already: choose another port, or "
                             "delete that app",
                             taken->tcp.listen, other->key);
        if (taken != NULL)
            return error_set(
                err, ERROR_CONFLICT,
                "the route %s%s belongs to app %s already: change the route, or delete that app",
                taken->host, taken->path, other->key);
    }
    for (size_t i = 0; i < spec->routes_len; i++) {
        const struct route_spec *r = &spec->routes[i];
        const struct unreadable *owner =
            r->tcp.listen == NULL ? unreadable_with_route(c, r->host, r->path) : NULL;
        if (owner != NULL)
            return error_set(err, ERROR_CONFLICT,
                             "the route %s%s belongs to app %s already, which is degraded", r->host,
                             r->path, owner->key);
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
    event_withdraw(a, "deploy-accepted");
    if (deploy_release(a) == release)
        deploy_withdraw(a);
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
    bool pending = a != NULL && deploy_awaits_store(a, x->release);
    if (outcome == STORE_OK) {
        answer(x, NULL);
        if (pending)
            deploy_go(a);
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
        .bytes = -1,
    };
    struct release *r = app_add_release(a, &row);
    deploy_pend(a, r, q->source, caller, version != NULL);
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
    if (unreadable_check(c, key, &err)) {
        done(arg, &err, NULL);
        spec_free(spec);
        return;
    }
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
    } else if (!tcp_listeners_wait(c, q, spec, caller, done, arg)) {
        if (a == NULL)
            a = app_create(c, spec->app, environment, control_now());
        accept_deploy(c, a, spec, q, caller, digest, done, arg);
    }
    spec_free(spec);
}
