/* Answers about one app: status, releases, history, events. */
#include "control/orders.h"

#include "os/clock.h"

#include <string.h>

static json_t *number_or_null(double v)
{
    return v >= 0 ? json_real(v) : json_null();
}

static json_t *time_json(int64_t ms)
{
    char at[WALL_TEXT_SIZE];
    return ms != 0 ? json_string(clock_format_wall(ms, at)) : json_null();
}

static json_t *bytes_json(int64_t bytes)
{
    return bytes >= 0 ? json_integer(bytes) : json_null();
}

/* Releases whose size is not known are left out. */
static json_t *disk_json(const struct app *a)
{
    int64_t releases = 0;
    for (size_t i = 0; i < a->releases.len; i++)
        if (a->releases.items[i].bytes > 0)
            releases += a->releases.items[i].bytes;
    json_t *out = json_pack("{s:I}", "releases", (json_int_t)releases);
    json_object_set_new(out, "logs", bytes_json(a->disk.logs_bytes));
    json_object_set_new(out, "state", bytes_json(a->disk.state_bytes));
    return out;
}

static json_t *pool_json(struct app *a, uint32_t id)
{
    const struct pool_state *p = id != 0 ? app_pool(&a->state, id) : NULL;
    if (p == NULL)
        return json_null();
    const struct release *r = app_release(a, p->release);
    const struct app_spec *spec = pool_spec(a, id);
    unsigned ready = 0, wanted = 0;
    for (size_t i = 0; spec != NULL && i < spec->processes_len; i++)
        if (spec->processes[i].routed || spec->routes_len == 0)
            wanted += p->wanted[i];
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        const struct process_spec *process = instance_process(in, NULL);
        if (in->pool == id && process != NULL && instance_ready(in) &&
            (process->routed || spec->routes_len == 0))
            ready++;
    }
    struct pool_figures f = rates_of(a, id);
    json_t *out = json_pack("{s:i,s:s,s:f,s:i,s:i}", "release", (int)p->release, "version",
                            r != NULL ? r->version : "", "weight", p->weight_ppm / 10000.0, "ready",
                            (int)ready, "wanted", (int)wanted);
    json_object_set_new(out, "requests_per_s", number_or_null(f.requests_per_s));
    json_object_set_new(out, "error_rate", number_or_null(f.error_rate));
    json_object_set_new(out, "p95_ms", number_or_null(f.p95_ms));
    return out;
}

static json_t *rollout_json(struct app *a)
{
    const struct rollout_state *s = &a->state.rollout;
    if (s->id == 0)
        return json_null();
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    const struct pool_state *candidate =
        a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
    json_t *texts = json_array();
    for (size_t i = 0; i < s->plan.len && spec != NULL; i++) {
        cleanup_buf struct buf text = BUF_INIT;
        step_describe(&s->plan.steps[i], spec, &text);
        json_array_append_new(texts, json_string(buf_str(&text)));
    }
    size_t at = s->cursor < s->plan.len ? s->cursor : s->plan.len;
    const char *name = at < s->plan.len ? step_kind_word(s->plan.steps[at].kind) : "finish";
    const char *verdict = a->judge_text.len > 0 ? buf_str(&a->judge_text) : "";
    json_t *out = json_pack(
        "{s:I,s:s,s:s,s:s,s:i,s:i,s:s,s:f,s:s,s:o,s:{s:s,s:s}}", "id", (json_int_t)s->id, "kind",
        rollout_kind_word(s->kind), "phase", rollout_phase_word(s->phase), "strategy",
        spec != NULL ? strategy_name(spec->strategy.kind) : "", "step", (int)(at + 1), "steps",
        (int)s->plan.len, "name", name, "weight",
        candidate != NULL ? candidate->weight_ppm / 10000.0 : 0.0, "verdict", verdict, "steps_text",
        texts, "reason", "code", reason_code_word(s->reason.code), "text", s->reason.text);
    json_t *metrics = metrics_json(a);
    usage_add_json(a, metrics);
    json_object_set_new(out, "metrics", metrics);
    json_object_set_new(out, "mirror", mirror_json(a));
    json_object_set_new(out, "since", time_json(a->start.at_ms));
    json_object_set_new(out, "step_since", time_json(s->step_since_ms));
    return out;
}

static json_t *instances_json(struct app *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        const struct release *r = app_release(a, in->release);
        const struct process_spec *process = instance_process(in, NULL);
        uint64_t in_flight = in->slot != UINT32_MAX ? measure_in_flight(a->control, in->slot) : 0;
        json_t *one = json_pack(
            "{s:s,s:i,s:s,s:s,s:s,s:i,s:i,s:i,s:I}", "id", in->id, "release", (int)in->release,
            "version", r != NULL ? r->version : "", "process", process != NULL ? process->name : "",
            "state", instance_state_word(instance_state(in)), "pid", (int)in->pid, "port",
            (int)in->port, "restarts", (int)in->restarts, "in_flight", (json_int_t)in_flight);
        json_t *detail = in->detail[0] != '\0' ? json_string(in->detail) : NULL;
        char path[SOCKET_PATH_MAX];
        if (in->socket[0] != '\0')
            json_object_set_new(one, "socket", json_string(instance_socket_path(in, path)));
        json_object_set_new(one, "detail", detail != NULL ? detail : json_null());
        outlier_json(a, in, one);
        json_array_append_new(list, one);
    }
    return list;
}

const char *app_state_word(const struct app *a)
{
    if (a->state.rollout.id != 0)
        return a->state.rollout.phase == PHASE_PAUSED ? "paused" : "rolling-out";
    if (a->deploy != NULL && a->state.stable == 0)
        return "rolling-out";
    if (a->state.stopped)
        return "stopped";
    const struct pool_state *p = a->state.stable != 0 ? app_pool(&a->state, a->state.stable) : NULL;
    unsigned wanted = 0, ready = 0;
    for (size_t i = 0; p != NULL && i < SPEC_MAX_PROCESSES; i++)
        wanted += p->wanted[i];
    for (size_t i = 0; i < a->instances.len; i++)
        ready +=
            a->instances.items[i]->pool == a->state.stable && instance_ready(a->instances.items[i]);
    if (p == NULL)
        return a->deploy != NULL ? "rolling-out" : "stopped";
    if (ready < wanted || a->phase == PIPE_RETRYING)
        return "degraded";
    return a->deploy != NULL ? "rolling-out" : "steady";
}

static void add_hosts(json_t *hosts, const struct app_spec *spec)
{
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++) {
        const struct route_spec *route = &spec->routes[i];
        const char *host = route->host[0] != '\0' ? route->host : "*";
        size_t k = 0;
        while (k < json_array_size(hosts) &&
               strcmp(json_string_value(json_array_get(hosts, k)), host) != 0)
            k++;
        if (route->tcp.listen == NULL && k == json_array_size(hosts))
            json_array_append_new(hosts, json_string(host));
    }
}

/* Of the routes of both sides; "*": any host. */
static json_t *hosts_json(struct app *a)
{
    json_t *hosts = json_array();
    if (a->state.stable != 0)
        add_hosts(hosts, pool_spec(a, a->state.stable));
    if (a->state.candidate != 0)
        add_hosts(hosts, pool_spec(a, a->state.candidate));
    return hosts;
}

static json_t *status_json(struct app *a)
{
    json_t *out = json_pack("{s:s,s:s,s:s}", "app", a->name, "environment", a->environment, "state",
                            app_state_word(a));
    json_object_set_new(out, "stable", pool_json(a, a->state.stable));
    json_object_set_new(out, "candidate", pool_json(a, a->state.candidate));
    json_object_set_new(out, "rollout", rollout_json(a));
    json_object_set_new(out, "bake", bake_json(a));
    json_object_set_new(out, "maintenance", maintenance_json(a));
    json_object_set_new(out, "fault", fault_json(a));
    json_object_set_new(out, "instances", instances_json(a));
    json_object_set_new(out, "hosts", hosts_json(a));
    json_object_set_new(out, "building", json_boolean(a->deploy != NULL));
    json_object_set_new(out, "disk", disk_json(a));
    json_object_set_new(out, "degraded", json_null());
    json_object_set_new(out, "waiting",
                        json_integer((json_int_t)slot_value(
                            a->control, app_slot(a, "", 0, ROLE_SHARE), REQUESTS_WAITING)));
    return out;
}

json_t *control_status(struct control *c, const struct app_name *name, struct error *err)
{
    char key[160];
    const char *environment = name->environment != NULL ? name->environment : "production";
    json_t *unreadable =
        unreadable_status(c, store_app_key(name->app, environment, key, sizeof key));
    if (unreadable != NULL)
        return unreadable;
    struct app *a = app_find(c, name, err);
    return a != NULL ? status_json(a) : NULL;
}

json_t *control_apps(struct control *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->apps.len; i++)
        json_array_append_new(list, status_json(c->apps.items[i]));
    unreadable_list(c, list);
    return list;
}

json_t *control_releases(struct control *c, const struct app_name *name, struct error *err)
{
    struct app *a = app_find(c, name, err);
    if (a == NULL)
        return NULL;
    json_t *list = json_array();
    for (size_t i = a->releases.len; i-- > 0;) {
        const struct release *r = &a->releases.items[i];
        const char *use = r->number == app_stable_release(a) ? "stable" : "";
        const struct pool_state *candidate =
            a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
        if (candidate != NULL && candidate->release == r->number)
            use = "candidate";
        json_t *one =
            json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:s}", "release", (int)r->number,
                      "version", r->version, "status", release_status_word(r->status), "use", use,
                      "digest", r->digest, "commit", r->commit, "author", r->author, "branch",
                      r->branch, "dirty", r->dirty, "created_by", r->created_by);
        json_object_set_new(one, "bytes", bytes_json(r->bytes));
        json_object_set_new(one, "created", time_json(r->created_ms));
        json_array_append_new(list, one);
    }
    return list;
}

json_t *control_history(struct control *c, const struct app_name *name, uint32_t limit,
                        struct error *err)
{
    struct app *a = app_find(c, name, err);
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_rollouts rows = {0};
    if (a == NULL || store_read_rollouts(c->store, a->key, limit, &memory, &rows, err) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < rows.len; i++) {
        const struct store_rollout *r = &rows.items[i];
        const struct release *release = app_release(a, r->release);
        json_t *one =
            json_pack("{s:I,s:s,s:s,s:i,s:s,s:s,s:s,s:{s:s,s:s},s:{s:I,s:I},s:I}", "rollout",
                      (json_int_t)r->id, "kind", r->kind, "strategy", r->strategy, "release",
                      (int)r->release, "version", r->version, "actor", r->actor, "result",
                      r->result, "reason", "code", r->reason_code, "text", r->reason_text,
                      "requests", "stable", (json_int_t)r->requests_stable, "candidate",
                      (json_int_t)r->requests_candidate, "failed", (json_int_t)r->failed);
        if (one == NULL)
            continue;
        json_object_set_new(one, "bytes", bytes_json(release != NULL ? release->bytes : -1));
        json_object_set_new(one, "from",
                            r->from_release != 0 ? json_integer(r->from_release) : json_null());
        json_object_set_new(one, "started", time_json(r->started_ms));
        json_object_set_new(one, "ended", time_json(r->ended_ms));
        json_object_set_new(one, "duration_ms",
                            r->ended_ms != 0 ? json_integer(r->ended_ms - r->started_ms)
                                             : json_null());
        json_array_append_new(list, one);
    }
    return list;
}

json_t *control_events(struct control *c, const struct app_name *name, uint64_t after,
                       uint32_t limit, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_events rows = {0};
    char of_name[256];
    const char *key = NULL;
    if (name != NULL && name->app != NULL) {
        struct error unknown = ERROR_INIT;
        struct app *a = app_find(c, name, &unknown);
        /* Who goes on from an event knew the app: it may be gone by now, and that is told here. */
        if (a == NULL && (after == 0 || unknown.class != ERROR_NOT_FOUND)) {
            if (err != NULL)
                *err = unknown;
            return NULL;
        }
        if (a == NULL)
            store_app_key(name->app, name->environment != NULL ? name->environment : "production",
                          of_name, sizeof of_name);
        key = a != NULL ? a->key : of_name;
    }
    if (c->store == NULL) {
        error_set(err, ERROR_UNAVAILABLE, "the server is degraded: %s", c->degraded);
        return NULL;
    }
    if (store_read_events_after(c->store, key, after, limit, &memory, &rows, err) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < rows.len; i++) {
        cleanup_buf struct buf text = BUF_INIT;
        event_json(&rows.items[i], &text);
        json_t *one = json_loads(buf_str(&text), 0, NULL);
        if (one != NULL)
            json_array_append_new(list, one);
    }
    return list;
}

char *control_logs_dir(struct control *c, const struct app_name *name, struct error *err)
{
    struct app *a = app_find(c, name, err);
    return a != NULL ? app_path(a, "logs") : NULL;
}
