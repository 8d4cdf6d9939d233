/* Apps whose row in the store cannot be read. Nothing is decided for them: what runs goes on, the
 * routes stay those of the last snapshot, commands are refused, and the row is left for someone to
 * mend. All other apps are as ever. */
#include "control/control_internal.h"

#include <stdio.h>
#include <string.h>

static struct unreadable *find(const struct control *c, const char *key)
{
    for (size_t i = 0; i < c->unreadable.len; i++)
        if (strcmp(c->unreadable.items[i]->key, key) == 0)
            return c->unreadable.items[i];
    return NULL;
}

bool unreadable_check(const struct control *c, const char *key, struct error *err)
{
    const struct unreadable *u = find(c, key);
    if (u != NULL)
        error_set(err, ERROR_UNAVAILABLE, "app %s is degraded: %s", key, u->why);
    return u != NULL;
}

/* ---- slots: counters of its live traffic are nobody else's
 * -------------------------------------------- */

/* From "left by the last routes", as publish.c found it, and back to that. */
static void take_request_slot(struct control *c, uint32_t slot, bool take)
{
    const uint8_t from = take ? SLOT_LEFT : SLOT_USED, to = take ? SLOT_USED : SLOT_LEFT;
    if (slot >= METRICS_REQUEST_SLOTS || c->request_slot_used[slot] != from)
        return;
    c->request_slot_used[slot] = to;
    if (take) {
        c->request_slots_used++;
        c->request_slots_left--;
    } else {
        c->request_slots_used--;
        c->request_slots_left++;
    }
}

static void take_slots(const struct unreadable *u, bool take)
{
    struct control *c = u->control;
    const struct snapshot *s = c->found;
    if (s == NULL || u->found_app == UINT32_MAX)
        return;
    take_request_slot(c, s->apps[u->found_app].slot, take);
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *r = &s->routes[i];
        if (r->app != u->found_app)
            continue;
        for (uint32_t k = 0; k < r->shares_len; k++)
            take_request_slot(c, r->shares[k].slot, take);
        for (uint32_t k = 0; k < r->pins_len; k++)
            take_request_slot(c, r->pins[k].share.slot, take);
    }
}

/* ---- its life
 * -------------------------------------------------------------------------------------- */

void unreadable_add(struct app *a, const char *why)
{
    struct control *c = a->control;
    struct unreadable *u = xcalloc(1, sizeof *u);
    u->control = c;
    u->key = xstrdup(a->key);
    u->name = xstrdup(a->name);
    u->environment = xstrdup(a->environment);
    u->label = xstrdup(a->label);
    u->why = xasprintf("%s. What runs and its routes stay as they are; restore %s/state.db from a "
                       "backup, and start the server again",
                       why, c->data);
    u->found_app = UINT32_MAX;
    for (uint32_t i = 0; c->found != NULL && i < c->found->apps_len; i++)
        if (strcmp(c->found->apps[i].name, u->name) == 0 &&
            strcmp(c->found->apps[i].environment, u->environment) == 0)
            u->found_app = i;
    *vec_push(&c->unreadable) = u;
    take_slots(u, true);
    log_error("app %s is degraded: %s", u->key, u->why);
    app_forget(a);
}

void unreadable_add_run(struct control *c, const struct store_instance *row)
{
    struct unreadable *u = find(c, row->app);
    if (u == NULL)
        return;
    struct unreadable_run *run = vec_push(&u->runs);
    snprintf(run->instance, sizeof run->instance, "%s", row->id);
    snprintf(run->id, sizeof run->id, "%s.%u", row->id, row->run);
    uint32_t slot = INSTANCE_FLAGS_SLOT(row->flags);
    run->slot = slot > 0 && slot <= METRICS_INSTANCE_SLOTS ? slot - 1 : UINT32_MAX;
    if (run->slot != UINT32_MAX)
        c->instance_slot_used[run->slot] = 1;
}

void unreadable_tell(struct control *c, struct store_batch *batch)
{
    for (size_t i = 0; i < c->unreadable.len; i++) {
        const struct unreadable *u = c->unreadable.items[i];
        cleanup_free char *text = xasprintf("app %s is degraded: %s", u->key, u->why);
        event_add(c, batch, NULL, "degraded", NULL, 0, text, NULL);
    }
}

void unreadable_release(struct control *c)
{
    for (size_t i = 0; i < c->unreadable.len; i++) {
        struct unreadable *u = c->unreadable.items[i];
        take_slots(u, false);
        for (size_t k = 0; k < u->runs.len; k++)
            if (u->runs.items[k].slot != UINT32_MAX)
                c->instance_slot_used[u->runs.items[k].slot] = 0;
        vec_release(&u->runs);
        free(u->key);
        free(u->name);
        free(u->environment);
        free(u->label);
        free(u->why);
        free(u);
    }
    vec_release(&c->unreadable);
}

/* ---- questions
 * ------------------------------------------------------------------------------------- */

/* By the label, since a job has no row: rather one run too many is left alone. */
bool unreadable_owns_run(const struct control *c, const char *run_id)
{
    for (size_t i = 0; i < c->unreadable.len; i++) {
        const char *label = c->unreadable.items[i]->label;
        size_t n = strlen(label);
        if (strncmp(run_id, label, n) == 0 && run_id[n] == '-')
            return true;
    }
    return false;
}

bool unreadable_instance_runs(const struct unreadable *u, const char *instance)
{
    struct engine *e = u->control->engine;
    struct run_status status;
    for (size_t i = 0; i < u->runs.len; i++)
        if (strcmp(u->runs.items[i].instance, instance) == 0)
            return e->ops->status(e, u->runs.items[i].id, &status, NULL) == 0 &&
                   status.state == RUN_RUNNING;
    return false;
}

bool unreadable_has_slot(const struct unreadable *u, uint32_t slot)
{
    for (size_t i = 0; i < u->runs.len; i++)
        if (u->runs.items[i].slot == slot)
            return true;
    return false;
}

const struct unreadable *unreadable_with_route(const struct control *c, const char *host,
                                               const char *path)
{
    for (size_t i = 0; i < c->unreadable.len; i++)
        for (uint32_t k = 0; c->found != NULL && k < c->found->routes_len; k++) {
            const struct snapshot_route *r = &c->found->routes[k];
            if (r->app == c->unreadable.items[i]->found_app && strcmp(r->host, host) == 0 &&
                strcmp(r->path, path) == 0)
                return c->unreadable.items[i];
        }
    return NULL;
}

static json_t *status_json(const struct unreadable *u)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:n,s:n,s:n,s:[],s:b,s:i}", "app", u->name, "environment",
                     u->environment, "state", "degraded", "degraded", u->why, "stable", "candidate",
                     "rollout", "instances", "building", 0, "waiting", 0);
}

json_t *unreadable_status(const struct control *c, const char *key)
{
    const struct unreadable *u = find(c, key);
    return u != NULL ? status_json(u) : NULL;
}

void unreadable_list(const struct control *c, json_t *apps)
{
    for (size_t i = 0; i < c->unreadable.len; i++)
        json_array_append_new(apps, status_json(c->unreadable.items[i]));
}
