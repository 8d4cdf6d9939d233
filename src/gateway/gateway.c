/* Composition: from the boot file to running threads. */
#include "gateway/gateway.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/network.h"
#include "gateway/certificates.h"
#include "gateway/control.h"
#include "gateway/peers.h"
#include "gateway/sandbox.h"
#include "os/listen.h"
#include "os/privileges.h"
#include "wire/accessring.h"
#include "wire/guardianctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { STACK_BYTES = 256 << 10, DESCRIPTORS_WANTED = 1 << 20 };

/* ---- what it is told
 * ----------------------------------------------------------------------------------- */

static int parse_trusted(struct gateway *g, const char *list, struct error *err)
{
    struct network networks[NETWORK_LIST_MAX];
    size_t len;
    if (network_parse_list(list != NULL ? list : "", networks, &len, err) < 0)
        return error_wrap(err, "trusted proxies");
    for (size_t i = 0; i < len; i++) {
        memcpy(g->trusted[i].address, networks[i].address, sizeof networks[i].address);
        g->trusted[i].bits = networks[i].bits;
    }
    g->trusted_len = (uint32_t)len;
    return 0;
}

/* Accepting stops while there is still room for connections to instances. */
static uint32_t descriptor_limit(const struct boot *boot)
{
    struct rlimit r = {1024, 1024};
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max < DESCRIPTORS_WANTED ? r.rlim_max : DESCRIPTORS_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &r) < 0)
            getrlimit(RLIMIT_NOFILE, &r);
    }
    uint64_t own = 64 + (uint64_t)LISTENER_SOCKETS * boot->listeners_len;
    uint64_t all = r.rlim_cur < DESCRIPTORS_WANTED ? r.rlim_cur : DESCRIPTORS_WANTED;
    return (uint32_t)(all > own + 16 ? (all - own) * 3 / 4 : 16);
}

static int make_metrics(struct gateway *g, struct error *err)
{
    size_t bytes = metrics_bytes(g->workers_len);
    g->metrics_fd = memfd_create("sluice-metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (g->metrics_fd < 0 || ftruncate(g->metrics_fd, (off_t)bytes) < 0)
        return error_errno(err, errno, "the metrics' shared memory");
    g->metrics = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->metrics_fd, 0);
    if (g->metrics == MAP_FAILED)
        return error_errno(err, errno, "map the metrics");
    /* Who gets it may read: not write (where the kernel knows how), not change its size. */
    if (fcntl(g->metrics_fd, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0 &&
        fcntl(g->metrics_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_errno(err, errno, "seal the metrics");
    struct metrics_header *h = g->metrics;
    h->format = METRICS_FORMAT;
    h->workers = g->workers_len;
    h->request_slots = METRICS_REQUEST_SLOTS;
    h->instance_slots = METRICS_INSTANCE_SLOTS;
    h->buckets = METRICS_BUCKETS;
    h->generation = g->generation;
    h->magic = METRICS_MAGIC;
    g->applied_version = &h->applied_version;
    g->blocks = (struct metrics_worker *)(h + 1);
    g->ejections = (struct ejection_slot *)(g->blocks + g->workers_len);
    return 0;
}

/* SIGTERM comes through a descriptor; a Ctrl-C is for the guardian, which then says what to do. */
static void set_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- start
 * --------------------------------------------------------------------------------------------------
 */

static const struct gateway_limits default_limits = {
    .head_ms = 10000,
    .idle_ms = 60000,
    .connect_ms = 2000,
    .rest_ms = 1000,
    .linger_ms = 5000,
    .fresh_ms = 1000,
    .worker_memory = 256u << 20,
};

static int start_workers(struct gateway *g, struct error *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (uint32_t i = 0; i < g->workers_len; i++) {
        atomic_fetch_add(&g->running, 1);
        int e = pthread_create(&g->workers[i].thread, &attr, worker_main, &g->workers[i]);
        if (e != 0)
            return error_errno(err, e, "start worker %u", i);
    }
    pthread_attr_destroy(&attr);
    while (atomic_load(&g->ready) < g->workers_len)
        usleep(100); /* their first few system calls */
    return 0;
}

static int set_up(struct gateway *g, struct boot *boot, struct error *err)
{
    g->generation = (uint64_t)boot->generation;
    g->limits = default_limits;
    g->limits.descriptors = descriptor_limit(boot);
    g->workers_len =
        boot->workers > 0 && boot->workers <= METRICS_MAX_WORKERS ? (uint32_t)boot->workers : 1;
    pthread_mutex_init(&g->ejections_lock, NULL);
    pthread_mutex_init(&g->listeners_lock, NULL);
    pthread_mutex_init(&g->certificates_lock, NULL);
    g->listeners = boot->listeners;
    g->listeners_len = boot->listeners_len;
    for (size_t i = 0; i < g->listeners_len; i++)
        g->listener_users[i] = (1u << g->workers_len) - 1;
    if (parse_trusted(g, boot->trusted_proxies, err) < 0 || make_metrics(g, err) < 0)
        return -1;
    if (boot->access_log[0] != '\0' &&
        (g->access = access_rings_make(g->workers_len, &g->access_fd, err)) == NULL)
        return -1;
    g->proxy_protocol = boot->proxy_protocol != 0;
    g->max_connections = (uint32_t)boot->max_connections;
    g->rates = rates_new();
    if (boot->max_connections_per_client > 0)
        g->peers = peers_new((uint32_t)boot->max_connections_per_client);
    if (g->rates == NULL || (boot->max_connections_per_client > 0 && g->peers == NULL))
        return error_set(err, ERROR_FAILED, "no memory for the clients' limits");
    control_first_table(g, boot);
    if (privileges_drop(boot->gateway_uid, boot->gateway_gid, err) < 0)
        return -1;
    g->workers = xcalloc(g->workers_len, sizeof *g->workers);
    for (uint32_t i = 0; i < g->workers_len; i++)
        if (worker_init(&g->workers[i], g, i, err) < 0)
            return -1;
    if (sandbox_enter(err) < 0)
        return -1;
    return start_workers(g, err);
}

/* New connections go to the first W sockets of each group from now on. */
static void steer(const struct gateway *g)
{
    for (size_t i = 0; i < g->listeners_len; i++) {
        struct error err = ERROR_INIT;
        if (listen_steer(&g->listeners[i], g->workers_len, &err) < 0)
            log_warn("%s: %s", g->listeners[i].address, err.text);
    }
}

int gateway_main(struct boot *boot)
{
    log_init("gateway", (enum log_level)boot->log_level);
    set_signals();
    struct gateway *g = xcalloc(1, sizeof *g);
    struct error err = ERROR_INIT;
    if (set_up(g, boot, &err) < 0) {
        log_error("cannot start: %s", err.text);
        return err.class == ERROR_USAGE ? EXIT_CANNOT_START : 1;
    }
    steer(g);
    log_info("generation %llu serves with %u workers", (unsigned long long)g->generation,
             g->workers_len);
    gateway_control_run(g, boot);
    for (uint32_t i = 0; i < g->workers_len; i++) {
        pthread_join(g->workers[i].thread, NULL);
        worker_release(&g->workers[i]);
    }
    free(g->workers);
    rates_free(g->rates);
    peers_free(g->peers);
    table_free(atomic_load(&g->table));
    munmap(g->metrics, metrics_bytes(g->workers_len));
    access_rings_close(g->access, g->workers_len);
    certificates_unref(g->certificates);
    free(g);
    log_info("drained");
    return 0;
}
