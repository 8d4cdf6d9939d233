/* Apps, their releases and specs, their slots in the metrics. */
#include "control/orders.h"
#include "control/pages.h"

#include "base/sha256.h"
#include "os/durable.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct app *app_by_key(struct control *c, const char *key)
{
    for (size_t i = 0; i < c->apps.len; i++)
        if (strcmp(c->apps.items[i]->key, key) == 0)
            return c->apps.items[i];
    return NULL;
}

struct app_ref {
    struct control *control;
    char *key;
    uint64_t serial;
};

struct app_ref *app_ref_new(const struct app *a)
{
    struct app_ref *ref = xcalloc(1, sizeof *ref);
    ref->control = a->control;
    ref->key = xstrdup(a->key);
    ref->serial = a->serial;
    return ref;
}

struct app *app_ref_take(struct app_ref *ref)
{
    struct app *a = app_by_key(ref->control, ref->key);
    if (a != NULL && a->serial != ref->serial)
        a = NULL;
    free(ref->key);
    free(ref);
    return a;
}

struct app *app_find(struct control *c, const struct app_name *name, struct error *err)
{
    char key[160];
    const char *environment = name->environment != NULL ? name->environment : "production";
    store_app_key(name->app, environment, key, sizeof key);
    struct app *a = app_by_key(c, key);
    if (a != NULL)
        return a;
    if (unreadable_check(c, key, err))
        return NULL;
    if (c->store == NULL) {
        error_set(err, ERROR_UNAVAILABLE, "the server is degraded: %s", c->degraded);
        return NULL;
    }
    for (size_t i = 0; i < c->apps.len; i++)
        if (strcmp(c->apps.items[i]->name, name->app) == 0) {
            error_set(err, ERROR_NOT_FOUND,
                      "app %s has no environment %s (it has %s; choose with -e)", name->app,
                      environment, c->apps.items[i]->environment);
            return NULL;
        }
    error_set(err, ERROR_NOT_FOUND, "no app %s (`sluice status` lists the apps)", name->app);
    return NULL;
}

static void on_wake(uv_timer_t *timer)
{
    control_mark(timer->data);
}

/* "shop", "shop.staging". Both names may be long, and the ids that begin with it are bounded and
 * must not meet those of another app: what is cut gets a part of the key's hash instead. */
static void make_label(struct app *a)
{
    bool production = strcmp(a->environment, "production") == 0;
    int n = snprintf(a->label, sizeof a->label, "%s%s%s", a->name, production ? "" : ".",
                     production ? "" : a->environment);
    if (n < (int)sizeof a->label)
        return;
    struct sha256 hash;
    char hex[SHA256_HEX];
    sha256_init(&hash);
    sha256_add(&hash, a->key, strlen(a->key));
    sha256_end_hex(&hash, hex);
    snprintf(a->label, sizeof a->label, "%.50s_%.16s", a->name, hex);
}

struct app *app_create(struct control *c, const char *name, const char *environment, int64_t now_ms)
{
    char key[160];
    store_app_key(name, environment, key, sizeof key);
    struct app *a = xcalloc(1, sizeof *a);
    a->control = c;
    a->serial = ++c->apps_made;
    a->key = xstrdup(key);
    a->name = xstrdup(name);
    a->environment = xstrdup(environment);
    a->dir = xasprintf("%s/apps/%s", c->data, key);
    a->disk.logs_bytes = a->disk.state_bytes = -1;
    make_label(a);
    a->next_release = 1;
    a->next_run = 1;
    a->created_ms = now_ms;
    app_state_init(&a->state);
    uv_timer_init(c->loop, &a->wake);
    a->wake.data = a;
    control_handle_opened(c);
    *vec_push(&c->apps) = a;

    static const char *const below[] = {"releases", "logs"};
    for (size_t i = 0; i < COUNT_OF(below); i++) {
        cleanup_free char *path = app_path(a, below[i]);
        struct error err = ERROR_INIT;
        if (make_folders(AT_FDCWD, path, 0755, &err) < 0)
            log_warn("app %s: %s", key, err.text);
    }
    uv_timer_start(&a->wake, on_wake, 0, 0);
    return a;
}

static void release_clear(struct release *r)
{
    spec_free(r->spec);
    free(r->version);
    free(r->spec_json);
    free(r->digest);
    free(r->commit);
    free(r->author);
    free(r->branch);
    free(r->created_by);
    free(r->dir);
    pages_release(r);
    memset(r, 0, sizeof *r);
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct app *a = handle->data;
    control_handle_closed(a->control);
    free(a);
}

void app_forget(struct app *a)
{
    struct control *c = a->control;
    for (size_t i = 0; i < c->apps.len; i++)
        if (c->apps.items[i] == a) {
            vec_remove(&c->apps, i);
            break;
        }
    deploy_cancel(a, NULL);
    metrics_end(a);
    usage_end(a);
    hooks_release(a);
    pipeline_release(a);
    while (a->instances.len > 0)
        instance_remove(a->instances.items[a->instances.len - 1]);
    vec_release(&a->instances);
    while (a->slots.len > 0)
        app_free_slot(a, a->slots.len - 1);
    vec_release(&a->slots);
    vec_release(&a->rates);
    vec_release(&a->traffic_marks);
    bake_end(a);
    orders_release(a);
    for (size_t i = 0; i < a->releases.len; i++)
        release_clear(&a->releases.items[i]);
    vec_release(&a->releases);
    vec_release(&a->hooks);
    writes_release(a);
    app_state_release(&a->state);
    buf_release(&a->judge_text);
    free(a->rollout_actor);
    free(a->key);
    free(a->name);
    free(a->environment);
    free(a->dir);
    a->key = a->name = a->environment = a->dir = a->rollout_actor = NULL;
    uv_close((uv_handle_t *)&a->wake, on_wake_closed);
}

struct release *app_release(struct app *a, uint32_t number)
{
    for (size_t i = 0; i < a->releases.len; i++)
        if (a->releases.items[i].number == number)
            return &a->releases.items[i];
    return NULL;
}

struct release *app_add_release(struct app *a, const struct store_release *row)
{
    ASSERT(app_release(a, row->number) == NULL);
    struct release *r = vec_push(&a->releases);
    r->number = row->number;
    r->version = xstrdup(row->version);
    r->spec_json = xstrdup(row->spec_json);
    r->digest = xstrdup(row->digest != NULL ? row->digest : "");
    r->commit = xstrdup(row->commit != NULL ? row->commit : "");
    r->author = xstrdup(row->author != NULL ? row->author : "");
    r->branch = xstrdup(row->branch != NULL ? row->branch : "");
    r->created_by = xstrdup(row->created_by != NULL ? row->created_by : "");
    r->dir = xstrdup(row->dir);
    r->dirty = row->dirty;
    r->created_ms = row->created_ms;
    r->bytes = row->bytes;
    r->status = row->status;
    return r;
}

void app_drop_release(struct app *a, uint32_t number)
{
    for (size_t i = 0; i < a->releases.len; i++)
        if (a->releases.items[i].number == number) {
            release_clear(&a->releases.items[i]);
            vec_remove(&a->releases, i);
            return;
        }
}

const struct app_spec *release_spec(struct app *a, struct release *r)
{
    if (r->spec != NULL)
        return r->spec;
    struct diagnostics diags = {0};
    struct spec_source source = {
        .text = r->spec_json, .len = strlen(r->spec_json), .environment = a->environment};
    r->spec = spec_parse(&source, &diags);
    if (r->spec == NULL)
        log_error("app %s: the stored spec of release %u cannot be read: %s", a->key, r->number,
                  diags.len > 0 ? diags.items[0].text : "unknown");
    diagnostics_release(&diags);
    return r->spec;
}

const struct app_spec *pool_spec(struct app *a, uint32_t pool)
{
    const struct pool_state *p = pool != 0 ? app_pool(&a->state, pool) : NULL;
    struct release *r = p != NULL ? app_release(a, p->release) : NULL;
    return r != NULL ? release_spec(a, r) : NULL;
}

void app_specs(struct app *a, struct specs *out)
{
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        const struct pool_state *p = &a->state.pools[i];
        struct release *r = p->id != 0 ? app_release(a, p->release) : NULL;
        out->of_pool[i] = r != NULL ? release_spec(a, r) : NULL;
    }
}

char *app_path(const struct app *a, const char *below)
{
    return xasprintf("%s/%s", a->dir, below);
}

static json_t *rollout_start_json(const struct app *a, struct rollout_counts n)
{
    const struct rollout_start *s = &a->start;
    return json_pack("{s:I,s:i,s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I}", "id",
                     (json_int_t)s->id, "kind", (int)s->kind, "strategy", (int)s->strategy, "from",
                     (int)s->from_release, "release", (int)s->release, "stable_pool",
                     (int)s->stable_pool, "candidate_pool", (int)s->candidate_pool, "at",
                     (json_int_t)s->at_ms, "began", (json_int_t)s->began_ms, "failed",
                     (json_int_t)n.failed, "stable", (json_int_t)n.stable, "candidate",
                     (json_int_t)n.candidate, "cut", (json_int_t)n.cut);
}

void app_put_row(struct app *a, struct store_batch *batch)
{
    cleanup_buf struct buf state = BUF_INIT;
    app_state_to_json(&a->state, &state);
    json_t *extras = json_pack("{s:i,s:o}", "next_run", (int)a->next_run, "clock",
                               clock_jump_record(a->control));
    json_t *pending = deploy_pending_json(a);
    if (pending != NULL)
        json_object_set_new(extras, "pending", pending);
    struct rollout_counts counts;
    json_t *marks = marks_json(a, &counts);
    if (a->start.id != 0)
        json_object_set_new(extras, "start", rollout_start_json(a, counts));
    if (a->judging) {
        cleanup_buf struct buf judge = BUF_INIT;
        judge_to_json(&a->judge, &judge);
        json_object_set_new(extras, "judge", json_string(buf_str(&judge)));
    }
    if (marks != NULL)
        json_object_set_new(extras, "marks", marks);
    if (a->metrics != NULL)
        json_object_set_new(extras, "metrics", metrics_state_json(a));
    if (a->bake != NULL)
        json_object_set_new(extras, "bake", bake_record(a));
    if (a->rollout_actor != NULL)
        json_object_set_new(extras, "actor", json_string(a->rollout_actor));
    orders_save(a, extras);
    if (a->deleting)
        json_object_set_new(extras, "deleting", json_true());
    cleanup_free char *text = json_dumps(extras, JSON_COMPACT);
    json_decref(extras);
    struct store_app row = {
        .app = a->key,
        .name = a->name,
        .environment = a->environment,
        .state_json = buf_str(&state),
        .extras_json = text,
        .next_release = a->next_release,
        .created_ms = a->created_ms,
    };
    batch_put_app(batch, &row);
}

void app_put_release(struct app *a, const struct release *r, struct store_batch *batch)
{
    struct store_release row = {
        .app = a->key,
        .number = r->number,
        .version = r->version,
        .spec_json = r->spec_json,
        .digest = r->digest,
        .commit = r->commit,
        .author = r->author,
        .branch = r->branch,
        .dirty = r->dirty,
        .created_ms = r->created_ms,
        .created_by = r->created_by,
        .status = r->status,
        .dir = r->dir,
        .bytes = r->bytes,
    };
    batch_put_release(batch, &row);
}

/* ---- slots
 * ---------------------------------------------------------------------------------------- */

/* When all are used up the numbers of two owners mix, their traffic does not. */
static uint32_t free_slot(const struct control *c)
{
    /* Small, since each slot costs memory. */
    uint32_t ring = 64 + 4 * c->request_slots_used + 2 * c->request_slots_left;
    if (ring > METRICS_REQUEST_SLOTS)
        ring = METRICS_REQUEST_SLOTS;
    uint32_t index = c->request_slot_next % ring, left = UINT32_MAX;
    for (uint32_t i = 0; i < ring; i++, index = (index + 1) % ring) {
        if (c->request_slot_used[index] == SLOT_FREE)
            return index;
        if (c->request_slot_used[index] == SLOT_LEFT && left == UINT32_MAX)
            left = index;
    }
    return left != UINT32_MAX ? left : index;
}

struct slot *app_slot_at(struct app *a, uint32_t index, const char *route, uint32_t pool,
                         enum slot_role role)
{
    struct control *c = a->control;
    struct slot *s = xcalloc(1, sizeof *s);
    c->request_slots_used++;
    c->request_slots_left -= c->request_slot_used[index] == SLOT_LEFT;
    c->request_slot_used[index] = SLOT_USED;
    s->index = index;
    s->route = xstrdup(route);
    s->pool = pool;
    s->role = role;
    s->began_ms = control_now();
    measure_red(c, index, &s->base_red);
    *vec_push(&a->slots) = s;
    return s;
}

bool slot_is_of_users(const struct slot *s)
{
    return s->role == ROLE_SHARE || s->role == ROLE_PINNED;
}

struct slot *app_slot(struct app *a, const char *route, uint32_t pool, enum slot_role role)
{
    struct control *c = a->control;
    for (size_t i = 0; i < a->slots.len; i++) {
        struct slot *s = a->slots.items[i];
        if (s->pool == pool && s->role == role && strcmp(s->route, route) == 0)
            return s;
    }
    uint32_t index = free_slot(c);
    c->request_slot_next = index + 1;
    struct slot *s = app_slot_at(a, index, route, pool, role);
    for (int m = 0; m < REQUEST_METRICS; m++)
        s->base[m] = measure_request(c, index, (enum request_metric)m);
    s->base_us = measure_latency_us(c, index);
    measure_buckets(c, index, s->base_buckets);
    if (a->judging) { /* its mark is stored soon */
        a->judge_fed = true;
        a->judge_saved_ms = 0;
    }
    return s;
}

/* As app_failed() counts. */
static uint64_t slot_failed(const struct app *a, const struct slot *s)
{
    return !slot_is_of_users(s) ? 0
                                : slot_value(a->control, s, REQUESTS_FAILED) +
                                      slot_value(a->control, s, REQUESTS_CUT) +
                                      slot_value(a->control, s, REQUESTS_UNSERVED);
}

void app_free_slot(struct app *a, size_t index)
{
    struct slot *s = a->slots.items[index];
    a->control->request_slot_used[s->index] = SLOT_FREE;
    a->control->request_slots_used--;
    a->failed_before += slot_failed(a, s);
    vec_remove(&a->slots, index);
    json_decref(s->mark);
    free(s->route);
    free(s);
}

uint32_t app_stable_release(const struct app *a)
{
    const struct pool_state *p = a->state.stable != 0 ? app_pool(&a->state, a->state.stable) : NULL;
    return p != NULL ? p->release : 0;
}
