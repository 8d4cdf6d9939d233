#include "gateway/control.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "gateway/certificates.h"
#include "gateway/outlier.h"
#include "os/clock.h"
#include "os/unixsock.h"
#include "wire/certs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_PEERS = 16,
    LOOK_MS = 20,
    TERM_DRAIN_MS = 30000,
    /* Without routes at the start; longer than it takes one controller to leave and the next one to
     * say them. */
    ROUTES_WAIT_MS = 20000
};

struct control {
    struct gateway *g;
    uid_t owner;
    int epoll, listening, signals;
    int peers[MAX_PEERS];  /* -1: free */
    struct table *retired; /* oldest first; each may go when all have seen the one behind it */
    bool draining;
    int64_t drain_until_ms, routes_until_ms;
    uint64_t turns[METRICS_MAX_WORKERS]; /* of each worker, at the last PING */
};

/* ---- tables
 * ------------------------------------------------------------------------------------------ */

static struct table *empty_table(void)
{
    struct snapshot s = {.version = 1};
    struct buf b = BUF_INIT;
    snapshot_encode(&s, &b);
    struct snapshot *copy = snapshot_decode(b.data, b.len, NULL);
    buf_release(&b);
    ASSERT(copy != NULL);
    copy->version = 0; /* none that is sent has it, and every one is newer */
    return table_make(copy, NULL);
}

static bool has_text(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0;
}

static struct snapshot *read_file(int fd)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > SNAPSHOT_MAX_BYTES)
        return NULL;
    cleanup_free char *data = xmalloc((size_t)st.st_size);
    ssize_t n = pread(fd, data, (size_t)st.st_size, 0);
    if (n != st.st_size)
        return NULL;
    struct error err = ERROR_INIT;
    struct snapshot *s = snapshot_decode(data, (size_t)n, &err);
    if (s == NULL)
        log_warn("a snapshot file is not used: %s", err.text);
    return s;
}

/* NULL: none, or it cannot be used. */
static struct table *table_of_file(struct snapshot *s)
{
    struct error err = ERROR_INIT;
    struct table *t = s != NULL ? table_make(s, &err) : NULL;
    if (s != NULL && t == NULL)
        log_error("a snapshot file is not used: %s", err.text);
    return t;
}

void control_first_table(struct gateway *g, const struct boot *boot)
{
    struct snapshot *first = read_file(boot->snapshot0_fd), *second = read_file(boot->snapshot1_fd);
    bool second_newer = first == NULL || (second != NULL && second->version > first->version);
    /* The newest is suspected of having killed the gateways before this one. */
    bool swap = boot->use_previous_snapshot != 0 && first != NULL && second != NULL ? !second_newer
                                                                                    : second_newer;
    if (swap) {
        struct snapshot *other = first;
        first = second;
        second = other;
    }
    struct table *t = table_of_file(first);
    if (t == NULL)
        t = table_of_file(second);
    else
        snapshot_free(second);
    bool none = !has_text(boot->snapshot0_fd) && !has_text(boot->snapshot1_fd);
    atomic_store(&g->routes_known, t != NULL || none);
    if (t == NULL)
        t = empty_table();
    log_info("starts with table %llu, %u routes", (unsigned long long)t->version, t->routes_len);
    outlier_prepare(g, t);
    atomic_store(&g->table, t);
    atomic_store(g->applied_version, t->version);
}

static void free_seen(struct control *c)
{
    while (c->retired != NULL) {
        struct table *t = c->retired;
        uint64_t next = t->next != NULL ? t->next->version : atomic_load(&c->g->table)->version;
        for (uint32_t i = 0; i < c->g->workers_len; i++) {
            uint64_t seen = atomic_load(&c->g->blocks[i].seen_version);
            if (seen != METRICS_OFFLINE && seen < next)
                return;
        }
        c->retired = t->next;
        table_free(t);
    }
}

static void wake_all(struct gateway *g)
{
    for (uint32_t i = 0; i < g->workers_len; i++)
        worker_wake(&g->workers[i]);
}

static void swap(struct control *c, struct table *t)
{
    struct gateway *g = c->g;
    outlier_prepare(g, t);
    struct table *old = atomic_exchange(&g->table, t);
    atomic_store(g->applied_version, t->version);
    atomic_store(&g->routes_known, true);
    struct table **last = &c->retired;
    while (*last != NULL)
        last = &(*last)->next;
    *last = old;
    /* For those who wait: held requests may go, connections to who left are closed. */
    wake_all(g);
}

/* Sealed by the sender, so that it cannot change or shrink under us. NULL with *err; else the
 * caller unmaps. */
static void *map_sealed(int fd, uint64_t bytes, uint64_t most, struct error *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS), want = F_SEAL_WRITE | F_SEAL_SHRINK;
    if (seals < 0 || (seals & want) != want || fstat(fd, &st) < 0) {
        error_set(err, ERROR_USAGE, "the memfd is not sealed");
        return NULL;
    }
    if (bytes == 0 || bytes > most || (uint64_t)st.st_size < bytes) {
        error_set(err, ERROR_USAGE, "the memfd's size is not what was said");
        return NULL;
    }
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        error_errno(err, errno, "map the memfd");
        return NULL;
    }
    return data;
}

static struct snapshot *read_sealed(int fd, uint64_t bytes, struct error *err)
{
    void *data = map_sealed(fd, bytes, SNAPSHOT_MAX_BYTES, err);
    struct snapshot *s = data != NULL ? snapshot_decode(data, bytes, err) : NULL;
    if (data != NULL)
        munmap(data, bytes);
    return s;
}

/* ---- messages
 * ------------------------------------------------------------------------------------------ */

static void drop_peer(struct control *c, int i)
{
    close(c->peers[i]);
    c->peers[i] = -1;
}

static void say(struct control *c, int i, uint32_t type, uint64_t a, uint64_t b, const char *text,
                const int *fds, size_t fds_len)
{
    struct gatewayctl_message m = {.magic = GATEWAYCTL_MAGIC, .type = type, .a = a, .b = b};
    size_t len = strlen(text);
    memcpy(m.text, text, len < sizeof m.text ? len : sizeof m.text - 1);
    struct error err = ERROR_INIT;
    if (c->peers[i] >= 0 &&
        unixsock_send(c->peers[i], &m, sizeof m, fds, fds_len, &err) != UNIXSOCK_OK) {
        log_warn("control: a peer is dropped: %s", err.text);
        drop_peer(c, i);
    }
}

static void on_snapshot(struct control *c, int i, const struct gatewayctl_message *m, int fd)
{
    struct error err = ERROR_INIT;
    uint64_t current = atomic_load(&c->g->table)->version;
    if (m->a == current) {
        say(c, i, GATEWAYCTL_APPLIED, m->a, 0, "", NULL, 0);
        return;
    }
    struct snapshot *s = NULL;
    if (m->a < current)
        error_set(&err, ERROR_CONFLICT, "older than the current one, %llu",
                  (unsigned long long)current);
    else
        s = read_sealed(fd, m->b, &err);
    if (s != NULL && s->version != m->a) {
        error_set(&err, ERROR_USAGE, "the snapshot says another version");
        snapshot_free(s);
        s = NULL;
    }
    struct table *t = s != NULL ? table_make(s, &err) : NULL;
    if (t == NULL) {
        log_error("snapshot %llu is refused: %s", (unsigned long long)m->a, err.text);
        say(c, i, GATEWAYCTL_REFUSED, m->a, 0, err.text, NULL, 0);
        return;
    }
    swap(c, t);
    say(c, i, GATEWAYCTL_APPLIED, m->a, 0, "", NULL, 0);
}

/* Connections that are there keep what they began with. Where none of the new ones can be used the
 * present ones stay. */
static void on_certificates(struct control *c, int i, const struct gatewayctl_message *m, int fd)
{
    struct gateway *g = c->g;
    struct error err = ERROR_INIT;
    void *data = map_sealed(fd, m->b, CERTS_MAX_BYTES, &err);
    struct certificates *new = NULL;
    int status = data != NULL ? certificates_make(data, m->b, &new, &err) : -1;
    if (data != NULL)
        munmap(data, m->b);
    if (status == 0) {
        pthread_mutex_lock(&g->certificates_lock);
        struct certificates *old = g->certificates;
        g->certificates = new;
        pthread_mutex_unlock(&g->certificates_lock);
        atomic_fetch_add(&g->certificates_taken, 1);
        certificates_unref(old);
    } else {
        log_error("certificates are refused: %s", err.text);
    }
    if (!atomic_exchange(&g->certificates_known, true))
        wake_all(g);
    say(c, i, GATEWAYCTL_APPLIED_CERTIFICATES, m->a, 0, status == 0 ? "" : err.text, NULL, 0);
}

static void on_take_over(struct control *c, int i)
{
    struct gateway *g = c->g;
    pthread_mutex_lock(&g->listeners_lock);
    for (size_t k = 0; k < g->listeners_len; k++)
        if (g->listeners[k].address[0] != 0 && !g->listener_closing[k])
            say(c, i, GATEWAYCTL_LISTENER, 0, 0, g->listeners[k].address, g->listeners[k].fds,
                LISTENER_SOCKETS);
    pthread_mutex_unlock(&g->listeners_lock);
    say(c, i, GATEWAYCTL_DONE, 0, 0, "", NULL, 0);
}

/* A listener that was added later. fds become the gateway's when it is taken. */
static bool on_listener(struct control *c, const struct gatewayctl_message *m, const int *fds)
{
    struct gateway *g = c->g;
    pthread_mutex_lock(&g->listeners_lock);
    bool room = m->text[0] != 0 && strlen(m->text) < BOOT_ADDRESS_MAX;
    size_t place = g->listeners_len;
    for (size_t k = 0; room && k < g->listeners_len; k++) {
        if (g->listeners[k].address[0] == 0)
            place = k;
        /* One that is being closed may come again before all workers have let go of it. */
        room = strcmp(g->listeners[k].address, m->text) != 0 || g->listener_closing[k];
    }
    room = room && place < BOOT_MAX_LISTENERS;
    if (room) {
        struct boot_listener *l = &g->listeners[place];
        memcpy(l->address, m->text, strlen(m->text) + 1);
        memcpy(l->fds, fds, sizeof l->fds);
        g->listener_users[place] = (1u << g->workers_len) - 1;
        g->listeners_len += place == g->listeners_len;
    }
    pthread_mutex_unlock(&g->listeners_lock);
    if (room)
        wake_all(g);
    return room;
}

/* Nobody wants it any more. Connections that came by it go on. */
static void on_close_listener(struct control *c, const struct gatewayctl_message *m)
{
    struct gateway *g = c->g;
    pthread_mutex_lock(&g->listeners_lock);
    for (size_t k = 0; k < g->listeners_len; k++)
        if (m->text[0] != 0 && strcmp(g->listeners[k].address, m->text) == 0)
            g->listener_closing[k] = true;
    pthread_mutex_unlock(&g->listeners_lock);
    wake_all(g);
}

static void drain(struct control *c, uint64_t deadline_ms)
{
    int64_t until = clock_mono_ms() + (int64_t)(deadline_ms < INT32_MAX ? deadline_ms : INT32_MAX);
    /* Said again: the nearer deadline counts. */
    if (!c->draining || until < c->drain_until_ms)
        c->drain_until_ms = until;
    c->draining = true;
    atomic_store(&c->g->draining, true);
    wake_all(c->g);
}

/* Turns take milliseconds, PINGs seconds: who waits for events, or has made a turn, is well. */
static uint64_t count_stuck(struct control *c)
{
    uint64_t stuck = 0;
    for (uint32_t i = 0; i < c->g->workers_len; i++) {
        uint64_t turns = atomic_load(&c->g->workers[i].turns);
        bool waits = atomic_load(&c->g->blocks[i].seen_version) == METRICS_OFFLINE;
        stuck += !waits && turns == c->turns[i];
        c->turns[i] = turns;
    }
    return stuck;
}

static void on_message(struct control *c, int i, const struct gatewayctl_message *m, int *fds,
                       size_t fds_len)
{
    switch (m->type) {
    case GATEWAYCTL_SNAPSHOT:
        if (fds_len == 1)
            on_snapshot(c, i, m, fds[0]);
        break;
    case GATEWAYCTL_CERTIFICATES:
        if (fds_len == 1)
            on_certificates(c, i, m, fds[0]);
        break;
    case GATEWAYCTL_TAKE_OVER: on_take_over(c, i); break;
    case GATEWAYCTL_LISTENER:
        if (fds_len == LISTENER_SOCKETS && on_listener(c, m, fds))
            return; /* the descriptors are ours now */
        break;
    case GATEWAYCTL_CLOSE_LISTENER: on_close_listener(c, m); break;
    case GATEWAYCTL_PING: say(c, i, GATEWAYCTL_PONG, m->a, count_stuck(c), "", NULL, 0); break;
    case GATEWAYCTL_DRAIN:
        log_info("drains, %llu ms at most", (unsigned long long)m->a);
        drain(c, m->a);
        break;
    default: log_warn("control: unexpected message %u", m->type);
    }
    unixsock_close_all(fds, fds_len);
}

static void on_peer(struct control *c, int i)
{
    while (c->peers[i] >= 0) {
        struct gatewayctl_message m;
        int fds[LISTENER_SOCKETS];
        size_t fds_len = 0;
        struct error err = ERROR_INIT;
        enum unixsock_result r =
            unixsock_recv(c->peers[i], &m, sizeof m, fds, LISTENER_SOCKETS, &fds_len, &err);
        if (r == UNIXSOCK_AGAIN)
            return;
        if (r == UNIXSOCK_OK && m.magic == GATEWAYCTL_MAGIC &&
            memchr(m.text, 0, sizeof m.text) != NULL) {
            on_message(c, i, &m, fds, fds_len);
            continue;
        }
        if (r == UNIXSOCK_OK)
            unixsock_close_all(fds, fds_len);
        if (r != UNIXSOCK_END)
            log_warn("control: a peer is dropped: %s", r == UNIXSOCK_OK ? "bad message" : err.text);
        drop_peer(c, i);
    }
}

static void on_accept(struct control *c)
{
    int fd;
    while ((fd = unixsock_accept(c->listening)) >= 0) {
        int i = 0;
        while (i < MAX_PEERS && c->peers[i] >= 0)
            i++;
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (i == MAX_PEERS || !unixsock_peer_allowed(fd, c->owner) ||
            epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
            close(fd);
            continue;
        }
        c->peers[i] = fd;
        say(c, i, GATEWAYCTL_HELLO, c->g->generation, (uint64_t)getpid(), SLUICE_VERSION,
            &c->g->metrics_fd, 1);
        if (c->g->access != NULL)
            say(c, i, GATEWAYCTL_ACCESS_LOG, 0, 0, "", &c->g->access_fd, 1);
    }
}

/* ---- the loop
 * ------------------------------------------------------------------------------------------- */

/* Nobody came who knows the routes: clients are told so, not left waiting any longer. */
static void look_for_routes(struct control *c)
{
    struct gateway *g = c->g;
    if (atomic_load(&g->routes_known) || clock_mono_ms() < c->routes_until_ms)
        return;
    log_error("nobody has said the routes for %d s", ROUTES_WAIT_MS / 1000);
    atomic_store(&g->routes_known, true);
    wake_all(g);
}

static int wait_ms(const struct control *c)
{
    if (c->retired != NULL || c->draining)
        return LOOK_MS;
    return atomic_load(&c->g->routes_known) ? -1 : ROUTES_WAIT_MS / 20;
}

enum { ON_LISTENING = MAX_PEERS, ON_SIGNAL };

static int watch(struct control *c, int fd, uint32_t what)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = what};
    return fd < 0 ? 0 : epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void on_signal(struct control *c)
{
    struct signalfd_siginfo s;
    while (read(c->signals, &s, sizeof s) == sizeof s)
        if (s.ssi_signo == SIGTERM)
            drain(c, TERM_DRAIN_MS);
}

static void handle(struct control *c, uint32_t what)
{
    if (what < MAX_PEERS)
        on_peer(c, (int)what);
    else if (what == ON_LISTENING)
        on_accept(c);
    else
        on_signal(c);
}

void gateway_control_run(struct gateway *g, const struct boot *boot)
{
    struct control c = {.g = g,
                        .owner = (uid_t)boot->owner_uid,
                        .listening = boot->control_fd,
                        .routes_until_ms = clock_mono_ms() + ROUTES_WAIT_MS};
    memset(c.peers, -1, sizeof c.peers);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    c.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    c.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c.epoll < 0 || watch(&c, c.listening, ON_LISTENING) < 0 ||
        watch(&c, c.signals, ON_SIGNAL) < 0) {
        /* The traffic is what counts: it goes on with the table that it has. */
        log_error("control: errno %d; this gateway cannot be told anything", errno);
    }
    while (atomic_load(&g->running) > 0) {
        if (c.draining && clock_mono_ms() >= c.drain_until_ms) {
            log_info("the drain's time is up");
            _exit(0); /* the workers still hold their connections, which end here */
        }
        struct epoll_event events[8];
        int n = epoll_wait(c.epoll, events, 8, wait_ms(&c));
        if (n < 0 && errno != EINTR)
            usleep(LOOK_MS * 1000); /* it cannot be told anything, but it can end */
        for (int i = 0; i < n; i++)
            handle(&c, events[i].data.u32);
        free_seen(&c);
        look_for_routes(&c);
    }
    free_seen(&c);
    for (int i = 0; i < MAX_PEERS; i++)
        if (c.peers[i] >= 0)
            close(c.peers[i]);
    close(c.signals);
    close(c.epoll);
}
