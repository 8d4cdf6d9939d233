/* Answers about the server itself, and GET /metrics. */
#include "control/control_internal.h"

#include "observe/accesslog.h"
#include "observe/exposition.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

json_t *control_server(struct control *c)
{
    json_t *listeners = json_array(), *generations = json_array();
    char at[WALL_TEXT_SIZE];
    pid_t gateway = 0;
    uint64_t newest = 0;
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++)
        json_array_append_new(listeners, json_string(guardian_link_listener(c->guardian, i)));
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        if (g->dead)
            continue;
        if (g->generation >= newest) {
            newest = g->generation;
            gateway = g->pid;
        }
        json_array_append_new(generations,
                              json_pack("{s:I,s:i,s:I}", "generation", (json_int_t)g->generation,
                                        "pid", (int)g->pid, "snapshot", (json_int_t)g->applied));
    }
    json_t *out =
        json_pack("{s:s,s:{s:i,s:i,s:i},s:o,s:s,s:b,s:o,s:I,s:s}", "version", SLUICE_VERSION,
                  "pids", "guardian", (int)guardian_link_guardian_pid(c->guardian), "controller",
                  (int)getpid(), "gateway", (int)gateway, "listeners", listeners, "data", c->data,
                  "ready", control_ready(c), "generations", generations, "snapshot",
                  (json_int_t)c->snapshot_version, "started", clock_format_wall(c->started_ms, at));
    const char *why = c->degraded;
    if (why[0] == '\0' && c->store_failing)
        why = c->store_error;
    for (size_t i = 0; why[0] == '\0' && i < c->gateways.len; i++)
        if (!c->gateways.items[i]->dead && !gateway_is_outdated(c->gateways.items[i]))
            why = c->gateways.items[i]->refusal;
    struct disk_space disk;
    json_t *space = disk_look(c, &disk, NULL) < 0
                        ? json_null()
                        : json_pack("{s:I,s:I,s:b}", "free_bytes", (json_int_t)disk.free_bytes,
                                    "total_bytes", (json_int_t)disk.total_bytes, "low", disk.low);
    json_object_set_new(out, "disk", space);
    json_object_set_new(out, "certificates", certificates_json(c));
    json_object_set_new(out, "authorities", authorities_json(c));
    json_object_set_new(out, "degraded", why[0] != '\0' ? json_string(why) : json_null());
    return out;
}

/* ---- metrics
 * -------------------------------------------------------------------------------------- */

static void app_labels(const struct app *a, struct buf *labels)
{
    buf_clear(labels);
    exposition_label(labels, "app", a->name);
    exposition_label(labels, "environment", a->environment);
}

static void pool_labels(struct app *a, uint32_t release, struct buf *labels)
{
    char number[16];
    const struct release *r = app_release(a, release);
    snprintf(number, sizeof number, "%u", release);
    app_labels(a, labels);
    exposition_label(labels, "release", number);
    exposition_label(labels, "version", r != NULL ? r->version : "");
}

static void expose_pool(struct exposition *e, struct app *a, const struct pool_state *p)
{
    static const struct {
        enum exposition_family family;
        enum request_metric metric;
    } counters[] = {
        {FAMILY_REQUESTS, REQUESTS},
        {FAMILY_RESPONSES_5XX, REQUESTS_5XX},
        {FAMILY_RESPONSES_4XX, REQUESTS_4XX},
        {FAMILY_FAILED, REQUESTS_FAILED},
        {FAMILY_CUT, REQUESTS_CUT},
        {FAMILY_REPEATS, REQUESTS_REPEATS},
        {FAMILY_CLIENT_LEFT, REQUESTS_CLIENT_LEFT},
        {FAMILY_SPILLED, REQUESTS_SPILLED},
        {FAMILY_RETRIED, REQUESTS_RETRIED},
        {FAMILY_UNRETRIED, REQUESTS_UNRETRIED},
        {FAMILY_RESCUED, REQUESTS_RESCUED},
        {FAMILY_QUEUED, REQUESTS_QUEUED},
        {FAMILY_QUEUE, REQUESTS_QUEUE},
        {FAMILY_OVER_CAPACITY, REQUESTS_REFUSED},
        {FAMILY_BYTES_IN, REQUESTS_BYTES_IN},
        {FAMILY_BYTES_OUT, REQUESTS_BYTES_OUT},
        {FAMILY_ABOVE_SLO, REQUESTS_ABOVE_SLO},
    };
    cleanup_buf struct buf labels = BUF_INIT;
    pool_labels(a, p->release, &labels);
    for (size_t i = 0; i < COUNT_OF(counters); i++)
        exposition_count(e, counters[i].family, buf_str(&labels),
                         pool_value(a, p->id, counters[i].metric));
    uint64_t buckets[METRICS_BUCKETS], sum_us = 0, ready = 0, wanted = 0;
    pool_buckets(a, p->id, buckets);
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->pool == p->id && slot_is_of_users(a->slots.items[i]))
            sum_us += measure_latency_us(a->control, a->slots.items[i]->index) -
                      a->slots.items[i]->base_us;
    exposition_latency(e, FAMILY_DURATION, buf_str(&labels), buckets, sum_us);
    expose_routes(e, a, p->id, buf_str(&labels));
    mirror_expose(e, a, p->id, buf_str(&labels));
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        wanted += p->wanted[i];
    for (size_t i = 0; i < a->instances.len; i++)
        ready += a->instances.items[i]->pool == p->id && instance_ready(a->instances.items[i]);
    exposition_sample(e, FAMILY_WEIGHT, buf_str(&labels), p->weight_ppm / 1e6);
    exposition_count(e, FAMILY_READY, buf_str(&labels), ready);
    exposition_count(e, FAMILY_WANTED, buf_str(&labels), wanted);
}

static void expose_instance(struct exposition *e, struct app *a, const struct instance *in)
{
    static const struct {
        enum exposition_family family;
        enum instance_metric metric;
    } counters[] = {
        {FAMILY_INSTANCE_IN_FLIGHT, INSTANCE_IN_FLIGHT},
        {FAMILY_INSTANCE_REQUESTS, INSTANCE_REQUESTS},
        {FAMILY_INSTANCE_ERRORS, INSTANCE_ERRORS},
        {FAMILY_INSTANCE_CONNECT_ERRORS, INSTANCE_CONNECT_ERRORS},
        {FAMILY_INSTANCE_ABOVE_SLO, INSTANCE_ABOVE_SLO},
    };
    cleanup_buf struct buf labels = BUF_INIT;
    pool_labels(a, in->release, &labels);
    exposition_label(&labels, "instance", in->id);
    exposition_count(e, FAMILY_INSTANCE_READY, buf_str(&labels), instance_ready(in));
    exposition_count(e, FAMILY_INSTANCE_RESTARTS, buf_str(&labels), in->restarts);
    struct ejected out = outlier_of(a->control, in);
    exposition_count(e, FAMILY_INSTANCE_EJECTED, buf_str(&labels), out.left_ms > 0);
    exposition_count(e, FAMILY_INSTANCE_EJECTIONS, buf_str(&labels), out.times);
    for (size_t i = 0; in->slot != UINT32_MAX && i < COUNT_OF(counters); i++) {
        uint64_t v = measure_instance(a->control, in->slot, counters[i].metric);
        uint64_t base = counters[i].metric == INSTANCE_IN_FLIGHT ? 0 : in->base[counters[i].metric];
        exposition_count(e, counters[i].family, buf_str(&labels), v > base ? v - base : 0);
    }
    if (in->slot == UINT32_MAX)
        return;
    uint64_t us = measure_instance(a->control, in->slot, INSTANCE_LATENCY_US);
    uint64_t base_us = in->base[INSTANCE_LATENCY_US];
    exposition_sample(e, FAMILY_INSTANCE_SECONDS, buf_str(&labels),
                      us > base_us ? (double)(us - base_us) / 1e6 : 0);
}

static void expose_app(struct exposition *e, struct app *a)
{
    cleanup_buf struct buf labels = BUF_INIT;
    const struct slot *own = app_slot(a, "", 0, ROLE_SHARE);
    app_labels(a, &labels);
    exposition_count(e, FAMILY_HELD, buf_str(&labels), slot_value(a->control, own, REQUESTS_HELD));
    exposition_count(e, FAMILY_WAITING, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_WAITING));
    exposition_count(e, FAMILY_UNSERVED, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_UNSERVED));
    exposition_count(e, FAMILY_BAD, buf_str(&labels), slot_value(a->control, own, REQUESTS_BAD));
    exposition_count(e, FAMILY_RATE_LIMITED, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_RATE_LIMITED));
    exposition_count(e, FAMILY_TOO_LARGE, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_TOO_LARGE));
    exposition_count(e, FAMILY_TOO_SLOW, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_TOO_SLOW));
    exposition_count(e, FAMILY_MAINTENANCE, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_MAINTENANCE));
    exposition_count(e, FAMILY_FAULTS, buf_str(&labels),
                     slot_value(a->control, own, REQUESTS_FAULTS));
    if (a->state.rollout.id != 0)
        exposition_count(e, FAMILY_ROLLOUT_STEP, buf_str(&labels), a->state.rollout.cursor + 1);
    exposition_label(&labels, "state", app_state_word(a));
    exposition_count(e, FAMILY_APP_STATE, buf_str(&labels), 1);
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (a->state.pools[i].id != 0)
            expose_pool(e, a, &a->state.pools[i]);
    for (size_t i = 0; i < a->instances.len; i++)
        expose_instance(e, a, a->instances.items[i]);
}

static uint64_t sum_of(const struct metrics_view *v, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t w = 0; w < v->workers_len; w++)
        sum +=
            atomic_load_explicit((metric *)((char *)&v->workers[w] + offset), memory_order_relaxed);
    return sum;
}

static void expose_gateways(struct exposition *e, const struct control *c)
{
    static const struct {
        enum exposition_family family;
        size_t offset;
    } counters[] = {
        {FAMILY_CONNECTIONS, offsetof(struct metrics_worker, connections)},
        {FAMILY_CONNECTIONS_TOTAL, offsetof(struct metrics_worker, connections_total)},
        {FAMILY_CONNECTIONS_REFUSED, offsetof(struct metrics_worker, connections_refused)},
        {FAMILY_CONNECTIONS_RECLAIMED, offsetof(struct metrics_worker, connections_reclaimed)},
        {FAMILY_SHED, offsetof(struct metrics_worker, shed)},
    };
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        const struct metrics_view *v = gateway_link_metrics(g->link);
        if (g->dead || v->header == NULL)
            continue;
        char number[32];
        cleanup_buf struct buf labels = BUF_INIT;
        snprintf(number, sizeof number, "%llu", (unsigned long long)g->generation);
        exposition_label(&labels, "generation", number);
        for (size_t k = 0; k < COUNT_OF(counters); k++)
            exposition_count(e, counters[k].family, buf_str(&labels),
                             sum_of(v, counters[k].offset));
        exposition_count(e, FAMILY_SNAPSHOT, buf_str(&labels), g->applied);
    }
}

static void expose_access_log(struct exposition *e, const struct control *c)
{
    if (c->config.access_log == NULL)
        return;
    struct access_log_counts n = access_log_counts(c->config.access_log);
    exposition_count(e, FAMILY_ACCESS_LINES, "", n.lines);
    exposition_count(e, FAMILY_ACCESS_DROPPED, "", n.dropped);
}

void control_metrics(struct control *c, bool openmetrics, struct buf *out)
{
    struct exposition e;
    cleanup_buf struct buf labels = BUF_INIT;
    exposition_init(&e, openmetrics);
    exposition_label(&labels, "version", SLUICE_VERSION);
    exposition_count(&e, FAMILY_BUILD, buf_str(&labels), 1);
    exposition_sample(&e, FAMILY_STARTED, "", (double)c->started_ms / 1000);
    exposition_count(&e, FAMILY_DEGRADED, "", c->degraded[0] != '\0' || c->store_failing);
    exposition_count(&e, FAMILY_APPS, "", c->apps.len);
    exposition_count(&e, FAMILY_GATEWAYS, "", c->gateways.len);
    exposition_count(&e, FAMILY_EVENTS, "", c->events_recorded);
    exposition_count(&e, FAMILY_STORE_ERRORS, "", c->store_errors);
    for (int i = RESULT_PROMOTED; i <= RESULT_PAUSED; i++) {
        buf_clear(&labels);
        exposition_label(&labels, "result", rollout_result_word((enum rollout_result)i));
        exposition_count(&e, FAMILY_ROLLOUTS, buf_str(&labels), c->rollouts_ended[i]);
    }
    expose_gateways(&e, c);
    certificates_expose(c, &e);
    expose_access_log(&e, c);
    for (size_t i = 0; i < c->apps.len; i++)
        expose_app(&e, c->apps.items[i]);
    for (size_t i = 0; i < c->unreadable.len; i++) {
        const struct unreadable *u = c->unreadable.items[i];
        buf_clear(&labels);
        exposition_label(&labels, "app", u->name);
        exposition_label(&labels, "environment", u->environment);
        exposition_label(&labels, "state", "degraded");
        exposition_count(&e, FAMILY_APP_STATE, buf_str(&labels), 1);
    }
    exposition_finish(&e, out);
}
