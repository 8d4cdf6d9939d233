#include "control/guardian_link.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

_Static_assert((int)BOOT_LISTENER_SOCKETS == (int)LISTENER_SOCKETS, "one number, two rooms");

enum { MAX_PEERS = 8 };

struct guardian_link {
    const struct guardian_link_events *events;
    void *arg;
    int epoll_fd, channel_fd, control_fd;
    uid_t owner;
    pid_t guardian_pid;
    bool upgrading;       /* it was told to become another binary */
    int peers[MAX_PEERS]; /* connections of controller.sock; -1 free */
    struct boot_listener listeners[BOOT_MAX_LISTENERS];
    size_t listeners_len;
};

/* Waits on fd; what it was is found again by its number. */
static int watch(struct guardian_link *l, int fd, struct error *err)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        return error_errno(err, errno, "epoll_ctl");
    return 0;
}

/* EPOLL_CTL_DEL before close: the description may live on in another process. */
static void unwatch_and_close(struct guardian_link *l, int *fd)
{
    if (*fd < 0)
        return;
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    close(*fd);
    *fd = -1;
}

struct guardian_link *guardian_link_open(const struct boot *b,
                                         const struct guardian_link_events *events, void *arg,
                                         struct error *err)
{
    struct guardian_link *l = xcalloc(1, sizeof *l);
    *l = (struct guardian_link){.events = events,
                                .arg = arg,
                                .channel_fd = b->guardian_fd,
                                .control_fd = b->control_fd,
                                .owner = (uid_t)b->owner_uid,
                                .listeners_len = b->listeners_len};
    for (size_t i = 0; i < b->listeners_len; i++)
        l->listeners[i] = b->listeners[i];
    for (size_t i = 0; i < MAX_PEERS; i++)
        l->peers[i] = -1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        error_errno(err, errno, "epoll_create1");
        guardian_link_free(l);
        return NULL;
    }
    if ((l->channel_fd >= 0 && watch(l, l->channel_fd, err) < 0) ||
        (l->control_fd >= 0 && watch(l, l->control_fd, err) < 0)) {
        guardian_link_free(l);
        return NULL;
    }
    struct unixsock_peer peer;
    if (l->channel_fd >= 0 && unixsock_peer(l->channel_fd, &peer, NULL) == 0)
        l->guardian_pid = peer.pid;
    return l;
}

void guardian_link_free(struct guardian_link *l)
{
    if (l == NULL)
        return;
    unixsock_close_all(l->peers, MAX_PEERS);
    unixsock_close_all(&l->channel_fd, 1);
    unixsock_close_all(&l->control_fd, 1);
    unixsock_close_all(&l->epoll_fd, 1);
    for (size_t i = 0; i < l->listeners_len; i++)
        unixsock_close_all(l->listeners[i].fds, BOOT_LISTENER_SOCKETS);
    free(l);
}

/* ---- the channel
 * ---------------------------------------------------------------------------------- */

static void channel_over(struct guardian_link *l, const char *why)
{
    if (l->upgrading)
        log_info("the guardian becomes the new binary");
    else
        log_warn("the guardian is gone (%s); the traffic and this controller go on", why);
    l->upgrading = false;
    unwatch_and_close(l, &l->channel_fd);
    l->guardian_pid = 0;
    if (l->events->guardian_gone != NULL)
        l->events->guardian_gone(l->arg);
}

static void take_listener(struct guardian_link *l, const struct gatewayctl_message *m, int *fds,
                          size_t fds_len)
{
    if (fds_len != LISTENER_SOCKETS || l->listeners_len == BOOT_MAX_LISTENERS ||
        strlen(m->text) >= BOOT_ADDRESS_MAX) {
        log_error("guardian: a listener %s with %zu sockets cannot be kept", m->text, fds_len);
        unixsock_close_all(fds, fds_len);
        return;
    }
    struct boot_listener *listener = &l->listeners[l->listeners_len++];
    snprintf(listener->address, sizeof listener->address, "%.*s", BOOT_ADDRESS_MAX - 1, m->text);
    memcpy(listener->fds, fds, sizeof listener->fds);
    if (l->events->listener_opened != NULL)
        l->events->listener_opened(l->arg, listener->address);
}

static void drop_listener(struct guardian_link *l, const char *address)
{
    for (size_t i = 0; i < l->listeners_len; i++)
        if (strcmp(l->listeners[i].address, address) == 0) {
            unixsock_close_all(l->listeners[i].fds, BOOT_LISTENER_SOCKETS);
            l->listeners[i] = l->listeners[--l->listeners_len];
            return;
        }
}

static void refused(struct guardian_link *l, const struct gatewayctl_message *m)
{
    struct error err = ERROR_INIT;
    l->upgrading = false;
    error_set(&err,
              m->b >= ERROR_USAGE && m->b <= ERROR_FAILED ? (enum error_class)m->b : ERROR_FAILED,
              "%s", m->text);
    if (m->a == 1 && l->events->listener_refused != NULL)
        l->events->listener_refused(l->arg, &err);
    else if (m->a != 1 && l->events->refused != NULL)
        l->events->refused(l->arg, m->text);
}

#define TELL(name, ...)                                                                            \
    (l->events->name != NULL ? l->events->name(l->arg __VA_OPT__(, ) __VA_ARGS__) : (void)0)

static void handle_channel(struct guardian_link *l, const struct gatewayctl_message *m, int *fds,
                           size_t fds_len)
{
    if (m->type == GUARDIANCTL_LISTENER) {
        take_listener(l, m, fds, fds_len);
        return;
    }
    unixsock_close_all(fds, fds_len); /* nothing else brings any */
    switch (m->type) {
    case GUARDIANCTL_GATEWAY_UP:
        TELL(gateway_up, m->a, (pid_t)m->b, strcmp(m->text, "previous") == 0);
        break;
    case GUARDIANCTL_GATEWAY_READY: TELL(gateway_ready, m->a, (pid_t)m->b); break;
    case GUARDIANCTL_GATEWAY_DOWN: TELL(gateway_down, m->a, (pid_t)m->b, m->text); break;
    case GUARDIANCTL_REFUSED: refused(l, m); break;
    case GUARDIANCTL_LEAVE: TELL(leave, m->a == 1, m->b == 1); break;
    default: log_warn("guardian: unexpected message %u", m->type);
    }
}

static void read_channel(struct guardian_link *l)
{
    while (l->channel_fd >= 0) {
        struct gatewayctl_message m;
        struct error err = ERROR_INIT;
        int fds[LISTENER_SOCKETS];
        size_t fds_len;
        switch (unixsock_recv(l->channel_fd, &m, sizeof m, fds, LISTENER_SOCKETS, &fds_len, &err)) {
        case UNIXSOCK_AGAIN: return;
        case UNIXSOCK_END: channel_over(l, "it has ended"); return;
        case UNIXSOCK_FAILED: channel_over(l, err.text); return;
        case UNIXSOCK_OK: break;
        }
        if (!gatewayctl_valid(&m)) {
            unixsock_close_all(fds, fds_len);
            channel_over(l, "not a message of ours");
            return;
        }
        handle_channel(l, &m, fds, fds_len);
    }
}

static int say(struct guardian_link *l, uint32_t type, const char *text, int fd, struct error *err)
{
    struct gatewayctl_message m = gatewayctl_make(type, 0, 0, text);
    if (l->channel_fd >= 0 &&
        unixsock_send(l->channel_fd, &m, sizeof m, &fd, fd >= 0 ? 1 : 0, NULL) == UNIXSOCK_OK)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE,
                     "there is no guardian now: start `sluice serve` again, it takes over");
}

void guardian_link_ready(struct guardian_link *l)
{
    say(l, GUARDIANCTL_READY, "", -1, NULL);
}

int guardian_link_open_listener(struct guardian_link *l, const char *address, struct error *err)
{
    if (strlen(address) >= BOOT_ADDRESS_MAX)
        return error_set(err, ERROR_USAGE, "\"%s\" is not an address", address);
    return say(l, GUARDIANCTL_OPEN_LISTENER, address, -1, err);
}

int guardian_link_close_listener(struct guardian_link *l, const char *address, struct error *err)
{
    if (say(l, GUARDIANCTL_CLOSE_LISTENER, address, -1, err) < 0)
        return -1;
    drop_listener(l, address);
    return 0;
}

int guardian_link_restart_gateway(struct guardian_link *l, struct error *err)
{
    return say(l, GUARDIANCTL_RESTART_GATEWAY, "", -1, err);
}

int guardian_link_upgrade(struct guardian_link *l, int binary_fd, struct error *err)
{
    if (say(l, GUARDIANCTL_UPGRADE, "", binary_fd, err) < 0)
        return -1;
    l->upgrading = true;
    return 0;
}

/* ---- controller.sock: a new guardian
 * --------------------------------------------------------------- */

static void accept_peers(struct guardian_link *l)
{
    int fd;
    while ((fd = unixsock_accept(l->control_fd)) >= 0) {
        size_t place = 0;
        while (place < MAX_PEERS && l->peers[place] >= 0)
            place++;
        struct gatewayctl_message hello =
            gatewayctl_make(GUARDIANCTL_HELLO, 0, (uint64_t)getpid(), SLUICE_VERSION);
        if (!unixsock_peer_allowed(fd, l->owner)) {
            log_warn("controller.sock: a peer that is neither root nor the owner was refused");
            close(fd);
        } else if (place == MAX_PEERS || watch(l, fd, NULL) < 0 ||
                   unixsock_send(fd, &hello, sizeof hello, NULL, 0, NULL) != UNIXSOCK_OK) {
            log_warn("controller.sock: a peer could not be served");
            close(fd);
        } else {
            l->peers[place] = fd;
        }
    }
}

/* At most BOOT_MAX_LISTENERS + 1 messages into an empty socket: they fit. */
static bool give_listeners(struct guardian_link *l, int peer)
{
    for (size_t i = 0; i < l->listeners_len; i++) {
        struct gatewayctl_message m =
            gatewayctl_make(GATEWAYCTL_LISTENER, 0, 0, l->listeners[i].address);
        if (unixsock_send(peer, &m, sizeof m, l->listeners[i].fds, LISTENER_SOCKETS, NULL) !=
            UNIXSOCK_OK)
            return false;
    }
    struct gatewayctl_message done = gatewayctl_make(GATEWAYCTL_DONE, l->listeners_len, 0, "");
    return unixsock_send(peer, &done, sizeof done, NULL, 0, NULL) == UNIXSOCK_OK;
}

static bool handle_peer(struct guardian_link *l, int peer, const struct gatewayctl_message *m)
{
    if (!gatewayctl_valid(m))
        return false;
    switch (m->type) {
    case GATEWAYCTL_TAKE_OVER:
        log_info("a new guardian takes over");
        return give_listeners(l, peer);
    case GUARDIANCTL_LEAVE: TELL(leave, m->a == 1, m->b == 1); return true;
    default: return false;
    }
}

static void read_peer(struct guardian_link *l, int *peer)
{
    while (*peer >= 0) {
        struct gatewayctl_message m;
        size_t fds_len;
        enum unixsock_result got = unixsock_recv(*peer, &m, sizeof m, NULL, 0, &fds_len, NULL);
        if (got == UNIXSOCK_AGAIN)
            return;
        if (got != UNIXSOCK_OK || !handle_peer(l, *peer, &m))
            unwatch_and_close(l, peer);
    }
}

void guardian_link_poll(struct guardian_link *l)
{
    /* Few descriptors, so all are looked at; epoll only says that there is something. */
    struct epoll_event events[MAX_PEERS + 2];
    if (epoll_wait(l->epoll_fd, events, MAX_PEERS + 2, 0) <= 0)
        return;
    read_channel(l);
    if (l->control_fd >= 0)
        accept_peers(l);
    for (size_t i = 0; i < MAX_PEERS; i++)
        read_peer(l, &l->peers[i]);
}

int guardian_link_fd(const struct guardian_link *l)
{
    return l->epoll_fd;
}
pid_t guardian_link_guardian_pid(const struct guardian_link *l)
{
    return l->guardian_pid;
}
size_t guardian_link_listeners(const struct guardian_link *l)
{
    return l->listeners_len;
}
const char *guardian_link_listener(const struct guardian_link *l, size_t i)
{
    ASSERT(i < l->listeners_len);
    return l->listeners[i].address;
}
