#include "os/unixsock.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(int dir_fd, const char *name, struct sockaddr_un *address, struct error *err)
{
    if (name[0] == '\0' || strchr(name, '/') != NULL || strlen(name) > UNIXSOCK_NAME_MAX)
        return error_set(err, ERROR_USAGE, "socket %s: not a file name of at most %d bytes", name,
                         UNIXSOCK_NAME_MAX);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    ASSERT(n > 0 && (size_t)n < sizeof address->sun_path);
    return 0;
}

static int bind_and_listen(int dir_fd, const char *name, int type, mode_t mode, struct error *err)
{
    struct sockaddr_un address;
    if (address_of(dir_fd, name, &address, err) < 0)
        return -1;
    cleanup_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    /* fchmod before bind sets the mode of the file that bind makes, so nobody can come in between.
     */
    if (fchmod(fd, mode) < 0)
        return error_errno(err, errno, "socket %s: fchmod", name);
    unlinkat(dir_fd, name, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return error_errno(err, errno, "socket %s: bind", name);
    if (fchmodat(dir_fd, name, mode, 0) < 0)
        return error_errno(err, errno, "socket %s: chmod", name);
    if (listen(fd, 256) < 0)
        return error_errno(err, errno, "socket %s: listen", name);
    return take_fd(&fd);
}

int unixsock_listen(int dir_fd, const char *name, int type, mode_t mode, struct error *err)
{
    char temporary[UNIXSOCK_NAME_MAX + 8];
    if (strlen(name) + 4 > UNIXSOCK_NAME_MAX)
        return error_set(err, ERROR_USAGE, "socket %s: the name is too long", name);
    snprintf(temporary, sizeof temporary, "%s.new", name);
    int fd = bind_and_listen(dir_fd, temporary, type, mode, err);
    if (fd < 0)
        return -1;
    if (renameat(dir_fd, temporary, dir_fd, name) < 0) {
        error_errno(err, errno, "socket %s: rename", name);
        unlinkat(dir_fd, temporary, 0);
        close(fd);
        return -1;
    }
    return fd;
}

int unixsock_connect(int dir_fd, const char *name, int type, struct error *err)
{
    struct sockaddr_un address;
    if (address_of(dir_fd, name, &address, err) < 0)
        return -1;
    cleanup_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return take_fd(&fd);
    switch (errno) {
    case ENOENT: return error_set(err, ERROR_NOT_FOUND, "socket %s: there is none", name);
    case ECONNREFUSED:
        return error_set(err, ERROR_UNAVAILABLE, "socket %s: nobody listens on it", name);
    case EAGAIN:
        return error_set(err, ERROR_UNAVAILABLE, "socket %s: too many connections wait", name);
    default: return error_errno(err, errno, "socket %s: connect", name);
    }
}

/* The folder of a path as an O_PATH descriptor; *name is its last part. */
static int open_folder(const char *path, const char **name, struct error *err)
{
    const char *slash = strrchr(path, '/');
    cleanup_free char *folder = slash == NULL   ? xstrdup(".")
                                : slash == path ? xstrdup("/")
                                                : xstrndup(path, (size_t)(slash - path));
    *name = slash == NULL ? path : slash + 1;
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_NOT_FOUND, "folder %s: there is none", folder);
    if (fd < 0)
        return error_errno(err, errno, "folder %s", folder);
    return fd;
}

int unixsock_listen_path(const char *path, int type, mode_t mode, struct error *err)
{
    const char *name;
    cleanup_close int dir = open_folder(path, &name, err);
    return dir < 0 ? -1 : unixsock_listen(dir, name, type, mode, err);
}

int unixsock_connect_path(const char *path, int type, struct error *err)
{
    const char *name;
    cleanup_close int dir = open_folder(path, &name, err);
    return dir < 0 ? -1 : unixsock_connect(dir, name, type, err);
}

int unixsock_accept(int fd)
{
    int connection;
    do
        connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
    return connection;
}

int unixsock_pair(int fds[2], struct error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return error_errno(err, errno, "socketpair");
    return 0;
}

/* ---- messages
 * ------------------------------------------------------------------------------------- */

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * UNIXSOCK_MAX_FDS)];
};

enum unixsock_result unixsock_send(int fd, const void *message, size_t len, const int *fds,
                                   size_t fds_len, struct error *err)
{
    ASSERT(fds_len <= UNIXSOCK_MAX_FDS);
    union control control = {0};
    struct iovec iov = {.iov_base = (void *)message, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds_len > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_len);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds_len);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fds_len);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return UNIXSOCK_OK;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return UNIXSOCK_AGAIN;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
        return UNIXSOCK_END;
    error_errno(err, n < 0 ? errno : EMSGSIZE, "send on a control socket");
    return UNIXSOCK_FAILED;
}

/* Collects the descriptors of one SCM_RIGHTS item; those over `max` are closed. True: all fitted.
 */
static bool take_fds(struct cmsghdr *c, int *fds, size_t max, size_t *len)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        if (*len < max) {
            fds[(*len)++] = fd;
        } else {
            close(fd);
            fits = false;
        }
    }
    return fits;
}

static enum unixsock_result refuse(int *fds, size_t *fds_len, struct error *err, const char *why)
{
    unixsock_close_all(fds, *fds_len);
    *fds_len = 0;
    error_set(err, ERROR_USAGE, "message on a control socket: %s", why);
    return UNIXSOCK_FAILED;
}

enum unixsock_result unixsock_recv(int fd, void *message, size_t len, int *fds, size_t fds_max,
                                   size_t *fds_len, struct error *err)
{
    ASSERT(fds_max <= UNIXSOCK_MAX_FDS);
    union control control;
    struct iovec iov = {.iov_base = message, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    *fds_len = 0;
    ssize_t n;
    do
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return UNIXSOCK_AGAIN;
    if (n < 0 && errno == ECONNRESET)
        return UNIXSOCK_END;
    if (n < 0) {
        error_errno(err, errno, "receive on a control socket");
        return UNIXSOCK_FAILED;
    }
    bool fits = true, known = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            fits = take_fds(c, fds, fds_max, fds_len) && fits;
        else
            known = false;
    }
    if (n == 0 && *fds_len == 0 && fits)
        return UNIXSOCK_END;
    if ((size_t)n != len || (msg.msg_flags & MSG_TRUNC) != 0)
        return refuse(fds, fds_len, err, "wrong length");
    if (!fits || (msg.msg_flags & MSG_CTRUNC) != 0)
        return refuse(fds, fds_len, err, "too many descriptors");
    if (!known)
        return refuse(fds, fds_len, err, "unknown control data");
    return UNIXSOCK_OK;
}

void unixsock_close_all(int *fds, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

int unixsock_peer(int fd, struct unixsock_peer *peer, struct error *err)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return error_errno(err, errno, "SO_PEERCRED");
    *peer = (struct unixsock_peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
    return 0;
}

bool unixsock_peer_allowed(int fd, uid_t owner)
{
    struct unixsock_peer peer = {.uid = (uid_t)-1};
    return unixsock_peer(fd, &peer, NULL) == 0 && (peer.uid == 0 || peer.uid == owner);
}
