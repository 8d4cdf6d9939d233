#include "control/gateway_link.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "os/memfd.h"
#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SNAPSHOT, CERTIFICATES, KINDS };

struct gateway_link {
    const struct gateway_link_events *events;
    void *arg;
    uint64_t generation, applied;
    pid_t pid;
    int fd;
    bool over;    /* gone was called, or will be by the next poll */
    bool foreign; /* its metrics have another format */
    struct metrics_view metrics;
    /* The newest of each kind that did not fit into the socket. It is tried again with each poll: a
     * full socket means that answers are still to come, so it will be readable. Its descriptor is
     * there from the beginning, so that it can be kept when none is left. */
    struct pending {
        bool waits;
        int fd; /* a copy of the link's where nothing waits */
        struct gatewayctl_message m;
    } pending[KINDS];
};

struct gateway_link *gateway_link_open(int run_dir_fd, uint64_t generation,
                                       const struct gateway_link_events *events, void *arg,
                                       struct error *err)
{
    char name[40];
    snprintf(name, sizeof name, "gateway-%llu.sock", (unsigned long long)generation);
    int fd = unixsock_connect(run_dir_fd, name, SOCK_SEQPACKET, err);
    if (fd < 0)
        return NULL;
    struct gateway_link *l = xcalloc(1, sizeof *l);
    *l = (struct gateway_link){.events = events, .arg = arg, .generation = generation, .fd = fd};
    bool room = true;
    for (int i = 0; i < KINDS; i++)
        room = (l->pending[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0 && room;
    if (room)
        return l;
    error_errno(err, errno, "gateway %llu", (unsigned long long)generation);
    gateway_link_free(l);
    return NULL;
}

static void let_go(struct gateway_link *l, struct pending *p)
{
    if (p->waits)
        dup3(l->fd, p->fd, O_CLOEXEC); /* closes what it was */
    p->waits = false;
}

void gateway_link_free(struct gateway_link *l)
{
    if (l == NULL)
        return;
    unixsock_close_all(&l->fd, 1);
    for (int i = 0; i < KINDS; i++)
        unixsock_close_all(&l->pending[i].fd, 1);
    metrics_view_close(&l->metrics);
    free(l);
}

/* ---- sending
 * -------------------------------------------------------------------------------------- */

int gateway_link_snapshot(const void *data, size_t len, struct error *err)
{
    return memfd_make("sluice-snapshot", data, len, err);
}

static int send_kind(struct gateway_link *l, int kind, const struct gatewayctl_message *m, int fd,
                     struct error *err)
{
    struct pending *p = &l->pending[kind];
    let_go(l, p); /* an older one is of no more use */
    if (l->over)
        return error_set(err, ERROR_UNAVAILABLE, "gateway %llu: the connection is over",
                         (unsigned long long)l->generation);
    switch (unixsock_send(l->fd, m, sizeof *m, &fd, 1, err)) {
    case UNIXSOCK_OK: return 0;
    case UNIXSOCK_AGAIN:
        p->waits = dup3(fd, p->fd, O_CLOEXEC) >= 0;
        p->m = *m;
        return p->waits ? 0 : error_errno(err, errno, "gateway");
    case UNIXSOCK_END:
        return error_set(err, ERROR_UNAVAILABLE, "gateway %llu: the connection is over",
                         (unsigned long long)l->generation);
    default: return error_wrap(err, "gateway %llu", (unsigned long long)l->generation);
    }
}

int gateway_link_send(struct gateway_link *l, uint64_t version, int snapshot_fd, size_t len,
                      struct error *err)
{
    struct gatewayctl_message m = gatewayctl_make(GATEWAYCTL_SNAPSHOT, version, len, "");
    return send_kind(l, SNAPSHOT, &m, snapshot_fd, err);
}

int gateway_link_send_certificates(struct gateway_link *l, uint64_t version, int fd, size_t len,
                                   struct error *err)
{
    struct gatewayctl_message m = gatewayctl_make(GATEWAYCTL_CERTIFICATES, version, len, "");
    return send_kind(l, CERTIFICATES, &m, fd, err);
}

static void send_pending(struct gateway_link *l)
{
    for (int i = 0; i < KINDS; i++) {
        struct pending *p = &l->pending[i];
        if (p->waits && unixsock_send(l->fd, &p->m, sizeof p->m, &p->fd, 1, NULL) != UNIXSOCK_AGAIN)
            let_go(l, p);
    }
}

/* ---- receiving
 * ------------------------------------------------------------------------------------ */

static int take_hello(struct gateway_link *l, const struct gatewayctl_message *m, int metrics_fd,
                      struct error *err)
{
    if (m->a != l->generation || m->b == 0 || m->b > INT32_MAX || metrics_fd < 0)
        return error_set(err, ERROR_USAGE, "hello of generation %llu with%s metrics",
                         (unsigned long long)m->a, metrics_fd < 0 ? "out" : "");
    if (l->metrics.header != NULL || l->foreign)
        return error_set(err, ERROR_USAGE, "a second hello");
    struct error why = ERROR_INIT;
    if (metrics_view_open(&l->metrics, metrics_fd, &why) < 0) {
        l->foreign = why.class == ERROR_CONFLICT;
        if (!l->foreign)
            return error_set(err, why.class, "%s", why.text);
        log_info("gateway %llu is of another version: %s", (unsigned long long)l->generation,
                 why.text);
    }
    if (!l->foreign && l->metrics.header->generation != l->generation)
        return error_set(err, ERROR_USAGE, "metrics of another generation");
    l->pid = (pid_t)m->b;
    if (l->events->hello != NULL)
        l->events->hello(l->arg, l);
    return 0;
}

static int handle(struct gateway_link *l, const struct gatewayctl_message *m, int *fd,
                  struct error *err)
{
    if (!gatewayctl_valid(m))
        return error_set(err, ERROR_USAGE, "not a message of ours");
    switch (m->type) {
    case GATEWAYCTL_HELLO: return take_hello(l, m, *fd, err);
    case GATEWAYCTL_APPLIED:
        if (m->a > l->applied)
            l->applied = m->a;
        if (l->events->applied != NULL)
            l->events->applied(l->arg, l, m->a);
        return 0;
    case GATEWAYCTL_REFUSED:
        if (l->events->refused != NULL)
            l->events->refused(l->arg, l, m->a, m->text);
        return 0;
    case GATEWAYCTL_APPLIED_CERTIFICATES:
        if (l->events->certificates != NULL)
            l->events->certificates(l->arg, l, m->a, m->text);
        return 0;
    case GATEWAYCTL_ACCESS_LOG:
        if (*fd >= 0 && l->events->access_log != NULL)
            l->events->access_log(l->arg, l, fd);
        return 0;
    default: return error_set(err, ERROR_USAGE, "unexpected message %u", m->type);
    }
}

static void end(struct gateway_link *l, const char *why)
{
    l->over = true;
    for (int i = 0; i < KINDS; i++)
        let_go(l, &l->pending[i]);
    if (l->events->gone != NULL)
        l->events->gone(l->arg, l, why); /* may free l */
}

void gateway_link_poll(struct gateway_link *l)
{
    while (!l->over) {
        struct gatewayctl_message m;
        struct error err = ERROR_INIT;
        int fd = -1;
        size_t fds_len;
        switch (unixsock_recv(l->fd, &m, sizeof m, &fd, 1, &fds_len, &err)) {
        case UNIXSOCK_AGAIN: send_pending(l); return;
        case UNIXSOCK_END: end(l, "it has ended"); return;
        case UNIXSOCK_FAILED: end(l, err.text); return;
        case UNIXSOCK_OK: break;
        }
        int rc = handle(l, &m, &fd, &err);
        unixsock_close_all(&fd, 1); /* a mapping does not need it any more */
        if (rc < 0) {
            end(l, err.text);
            return;
        }
    }
}

int gateway_link_fd(const struct gateway_link *l)
{
    return l->fd;
}
uint64_t gateway_link_generation(const struct gateway_link *l)
{
    return l->generation;
}
pid_t gateway_link_pid(const struct gateway_link *l)
{
    return l->pid;
}
uint64_t gateway_link_applied(const struct gateway_link *l)
{
    return l->applied;
}
bool gateway_link_alive(const struct gateway_link *l)
{
    return !l->over;
}
bool gateway_link_is_foreign(const struct gateway_link *l)
{
    return l->foreign;
}
const struct metrics_view *gateway_link_metrics(const struct gateway_link *l)
{
    return &l->metrics;
}
