/* The guardian, its gateways, and the clients who send requests by the routes that a gateway serves
 * at that moment. The controller's side of the sockets is the real one. */
#include "sim.h"

#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GATEWAYS = 3, CONNECTIONS = 6, RUNS = 4096 };
#define NO_SLOT UINT32_MAX

struct connection {
    int fd, peer_fd; /* -1: free; peer_fd: the controller's, -1 when it has closed it */
    bool greeted;
};

struct gateway_process {
    uint64_t generation;
    bool alive, accepting;
    bool stale; /* it began with routes that are not the newest that there were */
    int metrics_fd;
    struct metrics_header *header;
    struct metrics_worker *workers;
    const struct snapshot *current, *seen[SIM_WORKERS];
    uint32_t in_flight, in_flight_of[RUNS]; /* by serial */
    struct connection connections[CONNECTIONS];
};

struct request {
    struct gateway_process *gateway;
    uint64_t generation, run; /* serial */
    uint32_t worker, slot, instance;
    uint32_t copied; /* the slot where it is counted once more, for it was copied; NO_SLOT: not */
    bool bad, copy, differs;
};

static struct {
    struct gateway_process gateways[GATEWAYS];
    uint64_t last_generation;
    int channel, controller_end; /* -1: no controller */
    int64_t killed_us;
} guardian = {.channel = -1, .controller_end = -1};

static struct gateway_process *find(uint64_t generation)
{
    for (size_t i = 0; i < GATEWAYS; i++)
        if (guardian.gateways[i].alive && guardian.gateways[i].generation == generation)
            return &guardian.gateways[i];
    return NULL;
}

static struct gateway_process *newest(void)
{
    struct gateway_process *found = NULL;
    for (size_t i = 0; i < GATEWAYS; i++) {
        struct gateway_process *g = &guardian.gateways[i];
        if (g->alive && (found == NULL || g->generation > found->generation))
            found = g;
    }
    return found;
}

static void socket_path(uint64_t generation, char out[160])
{
    snprintf(out, 160, "%s/run/gateway-%llu.sock", sim.data, (unsigned long long)generation);
}

/* How long a message or a turn of the other side takes. */
static int64_t soon(void)
{
    bool late = sim.faults.gateways && !sim.calm && sim_chance(5);
    return sim_between(20, 2 * SIM_MS) + (late ? sim_between(0, 3 * SIM_SECOND) : 0);
}

/* ---- what the guardian says ---- */

static void tell_controller(uint32_t type, uint64_t generation)
{
    if (guardian.channel < 0)
        return;
    struct gatewayctl_message m = gatewayctl_make(type, generation, 100 + generation, "");
    unixsock_send(guardian.channel, &m, sizeof m, NULL, 0, NULL);
}

int guardian_channel(void)
{
    int fds[2];
    ASSERT(unixsock_pair(fds, NULL) == 0);
    guardian.channel = fds[0];
    guardian.controller_end = fds[1];
    return fds[1];
}

void guardian_abandon(void)
{
    unixsock_close_all(&guardian.channel, 1);
    guardian.controller_end = -1;
}

/* ---- a gateway's connections ---- */

static void on_message(void *arg, uint64_t place);

static void read_later(struct gateway_process *g, struct connection *k)
{
    sim_at(soon(), on_message, g, g->generation << 8 | (uint64_t)(k - g->connections));
}

static void close_connection(struct connection *k)
{
    unixsock_close_all(&k->fd, 1);
    k->greeted = false;
}

static void on_greet(void *arg, uint64_t number)
{
    struct gateway_process *g = arg;
    struct connection *k = &g->connections[number & 255];
    if (!g->alive || g->generation != number >> 8 || k->fd < 0 || k->greeted)
        return;
    struct gatewayctl_message m =
        gatewayctl_make(GATEWAYCTL_HELLO, g->generation, 100 + g->generation, "sim");
    k->greeted = true;
    unixsock_send(k->fd, &m, sizeof m, &g->metrics_fd, 1, NULL);
}

int gateway_connection(const char *name)
{
    unsigned long long generation = 0;
    sscanf(name, "gateway-%llu.sock", &generation);
    struct gateway_process *g = find(generation);
    for (size_t i = 0; g != NULL && i < CONNECTIONS; i++) {
        struct connection *k = &g->connections[i];
        int fds[2];
        if (k->fd >= 0 || unixsock_pair(fds, NULL) < 0)
            continue;
        *k = (struct connection){.fd = fds[0], .peer_fd = fds[1]};
        sim_at(soon(), on_greet, g, g->generation << 8 | i);
        return fds[1];
    }
    return -1;
}

static struct connection *by_peer(int fd, struct gateway_process **of)
{
    for (size_t i = 0; i < GATEWAYS; i++)
        for (size_t k = 0; guardian.gateways[i].alive && k < CONNECTIONS; k++) {
            struct connection *c = &guardian.gateways[i].connections[k];
            if (c->fd < 0 || c->peer_fd != fd)
                continue;
            *of = &guardian.gateways[i];
            return c;
        }
    return NULL;
}

void gateway_sent(int fd)
{
    struct gateway_process *g;
    struct connection *k = fd >= 0 ? by_peer(fd, &g) : NULL;
    if (k != NULL)
        read_later(g, k);
}

void gateway_closed(int fd)
{
    struct gateway_process *g;
    struct connection *k = by_peer(fd, &g);
    if (k == NULL)
        return;
    k->peer_fd = -1;
    read_later(g, k);
}

/* Its descriptors are closed, but what it has sent is still to be read. */
void gateways_abandon(void);
void gateways_abandon(void)
{
    for (size_t i = 0; i < GATEWAYS; i++)
        for (size_t k = 0; guardian.gateways[i].alive && k < CONNECTIONS; k++) {
            struct connection *c = &guardian.gateways[i].connections[k];
            if (c->fd < 0 || c->peer_fd < 0)
                continue;
            close(c->peer_fd);
            c->peer_fd = -1;
            read_later(&guardian.gateways[i], c);
        }
}

/* ---- routes ---- */

static void set_seen(struct gateway_process *g, uint32_t worker, bool offline)
{
    uint64_t version = offline ? METRICS_OFFLINE : g->seen[worker]->version;
    atomic_store(&g->workers[worker].seen_version, version);
}

static void on_seen(void *arg, uint64_t number)
{
    struct gateway_process *g = arg;
    if (!g->alive || g->generation != number >> 8)
        return;
    g->seen[number & 255] = g->current;
    set_seen(g, (uint32_t)(number & 255), sim_chance(50));
}

static void serve(struct gateway_process *g, struct snapshot *s)
{
    g->current = s;
    check_served(s);
    atomic_store(&g->header->applied_version, s->version);
    for (uint32_t w = 0; w < SIM_WORKERS; w++) {
        bool offline = atomic_load(&g->workers[w].seen_version) == METRICS_OFFLINE;
        if (offline || g->seen[w] == NULL)
            g->seen[w] = s; /* it looks when it wakes */
        else
            sim_at(soon(), on_seen, g, g->generation << 8 | w);
    }
}

static struct snapshot *read_routes(int fd)
{
    cleanup_buf struct buf data = BUF_INIT;
    char part[4096];
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, part, sizeof part, at)) > 0; at += n)
        buf_append(&data, part, (size_t)n);
    return snapshot_decode(data.data, data.len, NULL);
}

static void on_snapshot(struct gateway_process *g, struct connection *k,
                        const struct gatewayctl_message *m, int fd)
{
    uint64_t current = g->current != NULL ? g->current->version : 0;
    bool newer = m->a > current;
    struct snapshot *s = newer ? read_routes(fd) : NULL;
    if (newer && s == NULL)
        sim_fail("a snapshot that cannot be read was sent");
    if (newer) {
        g->stale = false;
        sim_note("gateway %llu serves %llu", (unsigned long long)g->generation,
                 (unsigned long long)(s->version % 10000000));
        serve(g, s);
    }
    struct gatewayctl_message answer =
        gatewayctl_make(m->a >= current ? GATEWAYCTL_APPLIED : GATEWAYCTL_REFUSED, m->a, 0, "old");
    unixsock_send(k->fd, &answer, sizeof answer, NULL, 0, NULL);
}

static void on_message(void *arg, uint64_t number)
{
    struct gateway_process *g = arg;
    struct connection *k = &g->connections[number & 255];
    if (!g->alive || g->generation != number >> 8)
        return;
    while (k->fd >= 0) {
        struct gatewayctl_message m;
        int fd = -1;
        size_t fds_len = 0;
        switch (unixsock_recv(k->fd, &m, sizeof m, &fd, 1, &fds_len, NULL)) {
        case UNIXSOCK_AGAIN: return;
        case UNIXSOCK_OK:
            if (m.type == GATEWAYCTL_SNAPSHOT)
                on_snapshot(g, k, &m, fd);
            unixsock_close_all(&fd, 1);
            break;
        default: close_connection(k); return;
        }
    }
}

/* ---- clients ---- */

static const struct snapshot_instance *choose(const struct snapshot *s,
                                              const struct snapshot_route *r, uint32_t *slot)
{
    uint32_t at = sim_pick(1000000), sum = 0;
    const struct snapshot_share *share = NULL;
    for (uint32_t i = 0; i < r->shares_len && share == NULL; i++) {
        sum += r->shares[i].weight_ppm;
        if (at < sum)
            share = &r->shares[i];
    }
    for (uint32_t i = 0; share != NULL && s->pools[share->pool].instances == 0 && i < r->shares_len;
         i++)
        if (s->pools[r->shares[i].pool].instances > 0)
            share = &r->shares[i]; /* spilled over */
    if (share == NULL || s->pools[share->pool].instances == 0 || s->apps[r->app].hold)
        return NULL;
    const struct snapshot_pool *pool = &s->pools[share->pool];
    *slot = share->slot;
    return &s->instances[pool->first_instance + sim_pick(pool->instances)];
}

static void count(metric *m, int64_t by)
{
    atomic_fetch_add(m, (uint64_t)by);
}

static struct sim_run *run_of(uint64_t serial)
{
    for (size_t i = sim_runs.len; i-- > 0;)
        if (sim_runs.items[i]->serial == serial)
            return sim_runs.items[i];
    return NULL;
}

static void count_over(struct metrics_worker *w, uint32_t slot, bool cut, bool bad)
{
    count(&w->requests[slot].counters[REQUESTS], 1);
    if (cut || bad)
        count(&w->requests[slot].counters[cut ? REQUESTS_FAILED : REQUESTS_5XX], 1);
    count(&w->requests[slot].buckets[60 + sim_pick(20)], 1);
}

static void count_compared(struct metrics_worker *w, const struct request *q, bool cut)
{
    metric *counters = w->requests[q->slot].counters;
    count(&counters[cut ? REQUESTS_UNCOMPARED : REQUESTS_COMPARED], 1);
    if (cut || (!q->differs && !q->bad))
        return;
    count(&counters[REQUESTS_DIFFERED], 1);
    count(&counters[q->bad ? REQUESTS_DIFFERED_STATUS : REQUESTS_DIFFERED_BODY], 1);
}

/* The requests that a gateway has accepted end with it. */
static void on_request_over(void *arg, uint64_t number)
{
    struct request *q = arg;
    struct gateway_process *g = q->gateway;
    struct sim_run *run = run_of(q->run);
    (void)number;
    if (g->alive && g->generation == q->generation) {
        struct metrics_worker *w = &g->workers[q->worker];
        if (run != NULL)
            run->in_flight--;
        g->in_flight_of[q->run % RUNS]--;
        bool cut = run == NULL || !run_alive(run) || !run->listening;
        g->in_flight--;
        count(&w->instances[q->instance].counters[INSTANCE_IN_FLIGHT], -1);
        count(&w->instances[q->instance].counters[INSTANCE_REQUESTS], 1);
        count_over(w, q->slot, cut, q->bad);
        if (q->copied != NO_SLOT)
            count_over(w, q->copied, cut, q->bad);
        if (q->copy)
            count_compared(w, q, cut);
    }
    free(q);
}

/* NULL: it is not there. */
static struct request *send_to(struct gateway_process *g, const struct snapshot_instance *in,
                               uint32_t worker, uint32_t slot)
{
    struct sim_run *run = engine_by_port(in->port);
    if (!g->stale)
        check_request(run, in->id, in->port);
    if (run == NULL || !run->listening)
        return NULL;
    struct request *q = xcalloc(1, sizeof *q);
    *q = (struct request){.gateway = g,
                          .generation = g->generation,
                          .run = run->serial,
                          .worker = worker,
                          .slot = slot,
                          .instance = in->slot,
                          .copied = NO_SLOT,
                          .bad = run->how->bad && sim_chance(40),
                          .differs = run->how->differs && sim_chance(40)};
    run->in_flight++;
    g->in_flight_of[q->run % RUNS]++;
    g->in_flight++;
    count(&g->workers[worker].instances[in->slot].counters[INSTANCE_IN_FLIGHT], 1);
    int64_t takes = sim_chance(2) ? sim_between(0, 12 * SIM_SECOND) : sim_between(500, 60 * SIM_MS);
    sim_at(takes, on_request_over, q, 0);
    return q;
}

/* Where it is a request's turn, another one goes to the candidate. */
static void mirror(struct gateway_process *g, const struct snapshot *s,
                   const struct snapshot_mirror *m, struct request *of)
{
    if (sim_pick(1000000) >= m->share_ppm)
        return;
    const struct snapshot_pool *pool = &s->pools[m->to.pool];
    struct request *copy = NULL;
    if (pool->instances > 0)
        copy = send_to(g, &s->instances[pool->first_instance + sim_pick(pool->instances)],
                       of->worker, m->to.slot);
    if (copy == NULL) {
        count(&g->workers[of->worker].requests[m->to.slot].counters[REQUESTS_UNCOPIED], 1);
        return;
    }
    copy->copy = true;
    of->copied = m->copied_slot;
}

static void send_request(struct gateway_process *g)
{
    uint32_t worker = sim_pick(SIM_WORKERS), slot = 0;
    const struct snapshot *s = g->seen[worker];
    if (s == NULL || s->routes_len == 0)
        return;
    const struct snapshot_route *r = &s->routes[sim_pick(s->routes_len)];
    const struct snapshot_instance *in = choose(s, r, &slot);
    struct request *q = in != NULL ? send_to(g, in, worker, slot) : NULL;
    if (q != NULL && r->mirror.share_ppm > 0)
        mirror(g, s, &r->mirror, q);
}

static void on_traffic(void *arg, uint64_t generation)
{
    struct gateway_process *g = arg;
    if (!g->alive || g->generation != generation || !g->accepting)
        return;
    send_request(g);
    sim_at(sim.calm ? 400 * SIM_MS : sim_between(5, 150) * SIM_MS, on_traffic, g, generation);
}

/* ---- gateways come and go ---- */

static struct snapshot *newest_file(void)
{
    struct snapshot *best = NULL;
    for (int i = 0; i < 2; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/run/snapshot-%d", sim.data, i);
        cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct snapshot *s = fd >= 0 ? read_routes(fd) : NULL;
        if (s == NULL || (best != NULL && best->version > s->version))
            snapshot_free(s);
        else
            best = s;
    }
    return best;
}

static void make_metrics(struct gateway_process *g)
{
    size_t bytes = metrics_bytes(SIM_WORKERS);
    g->metrics_fd = memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ASSERT(g->metrics_fd >= 0 && ftruncate(g->metrics_fd, (off_t)bytes) == 0);
    g->header = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->metrics_fd, 0);
    ASSERT(g->header != MAP_FAILED);
    fcntl(g->metrics_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    g->workers = (struct metrics_worker *)(g->header + 1);
    g->header->magic = METRICS_MAGIC;
    g->header->format = METRICS_FORMAT;
    g->header->workers = SIM_WORKERS;
    g->header->request_slots = METRICS_REQUEST_SLOTS;
    g->header->instance_slots = METRICS_INSTANCE_SLOTS;
    g->header->buckets = METRICS_BUCKETS;
    g->header->generation = g->generation;
}

static void on_ready(void *arg, uint64_t generation)
{
    struct gateway_process *g = arg;
    if (g->alive && g->generation == generation)
        tell_controller(GUARDIANCTL_GATEWAY_READY, generation);
}

static bool start_gateway(void)
{
    struct gateway_process *g = NULL;
    for (size_t i = 0; i < GATEWAYS && g == NULL; i++)
        if (!guardian.gateways[i].alive)
            g = &guardian.gateways[i];
    if (g == NULL)
        return false;
    *g = (struct gateway_process){
        .generation = ++guardian.last_generation, .alive = true, .accepting = true};
    for (size_t i = 0; i < CONNECTIONS; i++)
        g->connections[i].fd = g->connections[i].peer_fd = -1;
    make_metrics(g);
    struct snapshot *s = newest_file();
    uint64_t published = sim.control != NULL ? sim.control->snapshot_version : 0;
    g->stale = s != NULL && (sim.fault_until_us != 0 || s->version < published || sim.reboots > 0);
    if (s != NULL)
        serve(g, s);
    for (uint32_t w = 0; w < SIM_WORKERS; w++)
        atomic_store(&g->workers[w].seen_version, METRICS_OFFLINE);
    char path[160];
    socket_path(g->generation, path);
    close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    sim_note("gateway %llu starts", (unsigned long long)g->generation);
    tell_controller(GUARDIANCTL_GATEWAY_UP, g->generation);
    sim_at(soon(), on_ready, g, g->generation);
    sim_at(sim_between(1, 50) * SIM_MS, on_traffic, g, g->generation);
    return true;
}

static void end_gateway(struct gateway_process *g)
{
    char path[160];
    socket_path(g->generation, path);
    unlink(path);
    for (size_t i = 0; i < CONNECTIONS; i++)
        close_connection(&g->connections[i]);
    g->alive = false;
    for (size_t i = 0; g->in_flight > 0 && i < sim_runs.len; i++) {
        uint32_t *of_run = &g->in_flight_of[sim_runs.items[i]->serial % RUNS];
        sim_runs.items[i]->in_flight -= *of_run;
        *of_run = 0;
    }
    munmap(g->header, metrics_bytes(SIM_WORKERS));
    close(g->metrics_fd);
}

static void on_start(void *arg, uint64_t boot)
{
    (void)arg;
    if (boot == sim.reboots) /* else its guardian went with the host */
        start_gateway();
}

static void on_down(void *arg, uint64_t generation)
{
    (void)arg;
    tell_controller(GUARDIANCTL_GATEWAY_DOWN, generation);
}

void gateway_kill(void)
{
    struct gateway_process *g = newest();
    if (g == NULL || sim_now() - guardian.killed_us < 4 * SIM_SECOND)
        return; /* three in ten seconds are another story */
    guardian.killed_us = sim_now();
    sim_note("gateway %llu is killed", (unsigned long long)g->generation);
    end_gateway(g);
    sim_at(soon(), on_down, NULL, g->generation);
    sim_at(sim_between(5, 200) * SIM_MS, on_start, NULL, sim.reboots);
}

/* The old one ends when its last request is answered. */
static void on_drained(void *arg, uint64_t generation)
{
    struct gateway_process *g = arg;
    if (!g->alive || g->generation != generation)
        return;
    g->accepting = false;
    if (g->in_flight > 0) {
        sim_at(50 * SIM_MS, on_drained, g, generation);
        return;
    }
    sim_note("gateway %llu ends", (unsigned long long)generation);
    end_gateway(g);
    sim_at(soon(), on_down, NULL, generation);
}

void gateway_replace(void)
{
    struct gateway_process *old = newest();
    if (old == NULL || !old->accepting || !start_gateway())
        return;
    sim_at(sim_between(5, 500) * SIM_MS, on_drained, old, old->generation);
}

void guardian_begin(void)
{
    start_gateway();
}

void gateways_reboot(void)
{
    for (size_t i = 0; i < GATEWAYS; i++)
        if (guardian.gateways[i].alive)
            end_gateway(&guardian.gateways[i]);
}

bool gateways_settled(void)
{
    const struct control *c = sim.control;
    size_t accepting = 0;
    for (size_t i = 0; i < GATEWAYS; i++) {
        const struct gateway_process *g = &guardian.gateways[i];
        if (!g->alive)
            continue;
        if (g->current == NULL || g->current->version != c->snapshot_version)
            return false;
        accepting += g->accepting;
    }
    return accepting == 1;
}

const struct snapshot *gateway_table(void)
{
    const struct gateway_process *g = newest();
    return g != NULL ? g->current : NULL;
}
