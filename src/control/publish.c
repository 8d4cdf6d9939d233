/* The snapshot's way out: two files in turn, and every live gateway; and what came of it.
 *
 * The files need no fsync: they are for a gateway that starts while the machine runs. After a power
 * cut no instance of theirs is left, and a torn file does not pass its checksum. */
#include "control/control_internal.h"

#include "observe/accesslog.h"
#include "os/durable.h"
#include "os/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void control_mark_routes(struct control *c)
{
    c->routes_marked = true;
}

/* ---- files
 * ---------------------------------------------------------------------------------------- */

static int write_file(int dir, const char *name, const struct buf *data, struct error *err)
{
    char temporary[64];
    snprintf(temporary, sizeof temporary, "%.40s.tmp", name);
    cleanup_close int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_errno(err, errno, "open %s", temporary);
    if (write_all(fd, data->data, data->len) < 0)
        return error_errno(err, errno, "write %s", temporary);
    if (renameat(dir, temporary, dir, name) < 0)
        return error_errno(err, errno, "rename %s", temporary);
    return 0;
}

static void keep_file(struct control *c)
{
    char name[32];
    struct error err = ERROR_INIT;
    snprintf(name, sizeof name, "snapshot-%u", c->snapshot_file);
    if (write_file(c->run_dir_fd, name, &c->snapshot, &err) < 0) {
        if (!c->snapshot_file_failing)
            log_error("the routes cannot be kept as a file (gateways have them): %s", err.text);
        c->snapshot_file_failing = true;
        return;
    }
    c->snapshot_file_failing = false;
    c->snapshot_file ^= 1;
}

static void leave_slot(struct control *c, uint32_t slot)
{
    if (slot >= METRICS_REQUEST_SLOTS || c->request_slot_used[slot] != SLOT_FREE)
        return;
    c->request_slot_used[slot] = SLOT_LEFT;
    c->request_slots_left++;
}

static void leave_slots(struct control *c, const struct snapshot *s)
{
    for (uint32_t i = 0; i < s->apps_len; i++)
        leave_slot(c, s->apps[i].slot);
    for (uint32_t i = 0; i < s->routes_len; i++) {
        const struct snapshot_route *r = &s->routes[i];
        for (uint32_t k = 0; k < r->shares_len; k++)
            leave_slot(c, r->shares[k].slot);
        for (uint32_t k = 0; k < r->pins_len; k++)
            leave_slot(c, r->pins[k].share.slot);
    }
}

/* What an earlier controller left: the version goes on above it, slots are not reused at once. */
void publish_restore(struct control *c)
{
    for (uint32_t i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "snapshot-%u", i);
        cleanup_buf struct buf data = BUF_INIT;
        if (file_read(c->run_dir_fd, name, SNAPSHOT_MAX_BYTES, &data, NULL) < 0)
            continue;
        struct snapshot *s = snapshot_decode(data.data, data.len, NULL);
        if (s == NULL)
            continue;
        leave_slots(c, s);
        if (s->request_slots > c->request_slot_next)
            c->request_slot_next = s->request_slots;
        if (s->version > c->snapshot_version) {
            c->snapshot_version = s->version;
            c->snapshot_file = i ^ 1;
            c->snapshot_apps_found = s->apps_len;
            snapshot_free(c->found);
            c->found = s;
        } else {
            snapshot_free(s);
        }
    }
    c->found_version = c->snapshot_version;
    if (c->found != NULL && c->found->rollback_ahead)
        c->rollback_ahead = c->found;
}

/* ---- gateways
 * ------------------------------------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *handle)
{
    struct gateway *g = handle->data;
    struct control *c = g->control;
    gateway_link_free(g->link);
    free(g);
    control_handle_closed(c);
}

static void forget(struct gateway *g)
{
    struct control *c = g->control;
    for (size_t i = 0; i < c->gateways.len; i++)
        if (c->gateways.items[i] == g) {
            vec_remove(&c->gateways, i);
            break;
        }
    uv_close((uv_handle_t *)&g->poll, on_poll_closed);
}

static void mark_all(struct control *c)
{
    for (size_t i = 0; i < c->apps.len; i++)
        control_mark(c->apps.items[i]);
}

static void die(struct gateway *g, const char *why)
{
    if (g->dead)
        return;
    struct control *c = g->control;
    const struct metrics_view *v = gateway_link_metrics(g->link);
    g->dead = true;
    evidence_read(g);
    if (v->header != NULL)
        measure_keep_ended(c, v);
    if (c->config.access_log != NULL)
        access_log_gone(c->config.access_log, g->generation);
    log_info("gateway %llu is gone: %s", (unsigned long long)g->generation, why);
    forget(g);
    mark_all(c);
}

static void send_to(struct gateway *g)
{
    struct control *c = g->control;
    struct error err = ERROR_INIT;
    if (c->snapshot.len == 0 || g->dead || c->snapshot_version <= g->suspect_version)
        return;
    if (c->snapshot_fd < 0)
        c->snapshot_fd = gateway_link_snapshot(c->snapshot.data, c->snapshot.len, &err);
    if (c->snapshot_fd < 0 ||
        gateway_link_send(g->link, c->snapshot_version, c->snapshot_fd, c->snapshot.len, &err) < 0)
        log_warn("gateway %llu: %s", (unsigned long long)g->generation, err.text);
}

/* A gateway that lived before this controller did: what it has counted so far was for its
 * predecessor, but for slots that go on where that one's were. */
static void rebase(const struct gateway *g)
{
    const struct control *c = g->control;
    const struct metrics_view *v = gateway_link_metrics(g->link);
    for (size_t i = 0; i < c->apps.len; i++) {
        const struct app *a = c->apps.items[i];
        for (size_t k = 0; k < a->slots.len; k++) {
            struct slot *s = a->slots.items[k];
            uint64_t buckets[METRICS_BUCKETS];
            metrics_red(v, s->index, &s->base_red);
            if (s->mark != NULL) {
                mark_rebase(s, g->generation);
                continue;
            }
            for (int m = 0; m < REQUEST_METRICS; m++)
                s->base[m] += metrics_request(v, s->index, (enum request_metric)m);
            s->base_us += metrics_latency_us(v, s->index);
            metrics_buckets(v, s->index, buckets);
            for (int b = 0; b < METRICS_BUCKETS; b++)
                s->base_buckets[b] += buckets[b];
        }
        for (size_t k = 0; k < a->instances.len; k++) {
            struct instance *in = a->instances.items[k];
            for (int m = 0; in->slot != UINT32_MAX && m < INSTANCE_METRICS; m++)
                in->base[m] += metrics_instance(v, in->slot, (enum instance_metric)m);
        }
    }
}

/* True: its routes are newer than `ours`, so it would refuse what we send, or take it for what it
 * has. They come of an earlier controller that could not keep them as a file; where the clock was
 * set back since, the present time is no newer version either. Others follow, above it. */
static bool is_ahead(const struct gateway *g, uint64_t ours)
{
    struct control *c = g->control;
    const struct metrics_view *v = gateway_link_metrics(g->link);
    uint64_t applied = v->header != NULL ? atomic_load((metric *)&v->header->applied_version) : 0;
    if (applied <= ours || applied > INT64_MAX)
        return false;
    if (applied > c->least_version)
        c->least_version = applied;
    control_mark_routes(c);
    return true;
}

static void on_hello(void *arg, struct gateway_link *l)
{
    struct gateway *g = arg;
    if (g->adopted && !gateway_link_is_foreign(l))
        rebase(g);
    g->pid = gateway_link_pid(l);
    log_info("gateway %llu (pid %d) is connected", (unsigned long long)g->generation, (int)g->pid);
    certificates_send(g);
    if (!is_ahead(g, g->adopted ? g->control->found_version : g->control->snapshot_version))
        send_to(g);
}

static void on_applied(void *arg, struct gateway_link *l, uint64_t version)
{
    struct gateway *g = arg;
    (void)l;
    g->applied = version;
    g->refusal[0] = '\0';
    mark_all(g->control);
}

bool gateway_is_outdated(const struct gateway *g)
{
    const struct control *c = g->control;
    for (size_t i = 0; i < c->gateways.len; i++)
        if (!c->gateways.items[i]->dead && c->gateways.items[i]->generation > g->generation)
            return true;
    return false;
}

static void on_refused(void *arg, struct gateway_link *l, uint64_t version, const char *why)
{
    struct gateway *g = arg;
    (void)l;
    if (is_ahead(g, g->control->snapshot_version))
        return;
    g->refused = version;
    mark_all(g->control);
    if (gateway_is_outdated(g)) {
        log_debug("gateway %llu, which drains, does not take routes: %s",
                  (unsigned long long)g->generation, why);
        return;
    }
    log_error("gateway %llu refused routes %llu: %s", (unsigned long long)g->generation,
              (unsigned long long)version, why);
    snprintf(g->refusal, sizeof g->refusal, "gateway %llu refused the routes: %s",
             (unsigned long long)g->generation, why);
}

static void on_certificates(void *arg, struct gateway_link *l, uint64_t version, const char *why)
{
    struct gateway *g = arg;
    (void)l;
    *(why[0] == '\0' ? &g->certificates_applied : &g->certificates_refused) = version;
    control_tick_soon(g->control); /* somebody may wait for that (acme.c) */
    if (why[0] != '\0')
        log_error("gateway %llu goes on with the certificates before: %s",
                  (unsigned long long)g->generation, why);
}

static void on_access_log(void *arg, struct gateway_link *l, int *fd)
{
    const struct gateway *g = arg;
    (void)l;
    if (g->control->config.access_log != NULL) {
        access_log_add(g->control->config.access_log, g->generation, *fd);
        *fd = -1;
    }
}

static void on_gone(void *arg, struct gateway_link *l, const char *why)
{
    (void)l;
    die(arg, why != NULL ? why : "its connection ended");
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct gateway *g = poll->data;
    (void)status, (void)events;
    if (!g->dead)
        gateway_link_poll(g->link);
}

void gateway_connect(struct control *c, uint64_t generation, pid_t pid, bool adopted,
                     bool previous_snapshot)
{
    static const struct gateway_link_events link_events = {.hello = on_hello,
                                                           .applied = on_applied,
                                                           .refused = on_refused,
                                                           .certificates = on_certificates,
                                                           .access_log = on_access_log,
                                                           .gone = on_gone};
    for (size_t i = 0; i < c->gateways.len; i++)
        if (c->gateways.items[i]->generation == generation)
            return;
    struct gateway *g = xcalloc(1, sizeof *g);
    struct error err = ERROR_INIT;
    g->control = c;
    g->generation = generation;
    g->pid = pid;
    g->adopted = adopted;
    g->suspect_version = previous_snapshot ? c->snapshot_version : 0;
    g->link = gateway_link_open(c->run_dir_fd, generation, &link_events, g, &err);
    if (g->link == NULL) {
        if (err.class != ERROR_NOT_FOUND && err.class != ERROR_UNAVAILABLE)
            log_warn("gateway %llu: %s", (unsigned long long)generation, err.text);
        free(g);
        return;
    }
    uv_poll_init(c->loop, &g->poll, gateway_link_fd(g->link));
    g->poll.data = g;
    control_handle_opened(c);
    uv_poll_start(&g->poll, UV_READABLE, on_readable);
    *vec_push(&c->gateways) = g;
}

void gateway_gone(struct control *c, uint64_t generation)
{
    for (size_t i = 0; i < c->gateways.len; i++)
        if (c->gateways.items[i]->generation == generation) {
            die(c->gateways.items[i], "its process ended");
            return;
        }
}

void gateways_release(struct control *c)
{
    while (c->gateways.len > 0)
        forget(c->gateways.items[c->gateways.len - 1]);
    vec_release(&c->gateways);
}

/* ---- publishing
 * ----------------------------------------------------------------------------------- */

/* A routing that nobody's store knows yet stays marked in the snapshots that follow it. */
static bool rollback_ahead_still(const struct control *c)
{
    for (size_t i = 0; i < c->apps.len; i++)
        if (c->apps.items[i]->traffic_ahead)
            return true;
    return c->unreadable.len > 0 && c->found != NULL && c->found->rollback_ahead;
}

void publish_now(struct control *c, bool rollback_ahead)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct snapshot s = {0};
    uint64_t now = (uint64_t)control_now();
    c->routes_marked = false;
    if (!c->publishing_allowed)
        return;
    c->rollback_ahead = NULL; /* heeded by now */
    if (c->unreadable.len == 0) {
        snapshot_free(c->found);
        c->found = NULL;
    }
    uint64_t last = c->snapshot_version > c->least_version ? c->snapshot_version : c->least_version;
    s.version = last + 1 > now ? last + 1 : now;
    s.rollback_ahead = rollback_ahead || rollback_ahead_still(c);
    routes_build(c, &s, &memory);
    buf_clear(&c->snapshot);
    snapshot_encode(&s, &c->snapshot);
    c->snapshot_version = s.version;
    if (c->snapshot_fd >= 0)
        close(c->snapshot_fd);
    c->snapshot_fd = -1;
    keep_file(c);
    for (size_t i = 0; i < c->gateways.len; i++)
        send_to(c->gateways.items[i]);
    for (size_t i = 0; i < c->apps.len; i++)
        if (c->apps.items[i]->traffic_version == 0)
            c->apps.items[i]->traffic_version = s.version;
}

void publish_if_due(struct control *c)
{
    if (c->routes_marked)
        publish_now(c, false);
}

/* One of another version, in another format, that another gateway has replaced: it takes no new
 * connections, and will not have these routes however long it is waited for. What it still carries
 * counts as in flight (instance.c). */
static bool passes_over(const struct gateway *g, uint64_t version)
{
    return g->refused >= version && g->applied < version && gateway_is_outdated(g);
}

bool publish_applied(const struct control *c, uint64_t version)
{
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        if (!g->dead && g->applied < version && !passes_over(g, version))
            return false;
    }
    return true;
}

bool publish_seen(const struct control *c, uint64_t version)
{
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        if (g->dead || passes_over(g, version))
            continue;
        const struct metrics_view *v = gateway_link_metrics(g->link);
        if (g->applied >= version && gateway_link_is_foreign(g->link) && gateway_is_outdated(g))
            continue; /* its workers may not have looked yet: see measure_is_whole() */
        if (g->applied < version || v->header == NULL || !metrics_seen(v, version))
            return false;
    }
    return true;
}
