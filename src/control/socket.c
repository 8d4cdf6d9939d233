/* An instance's Unix socket: where the app makes it, and the way to it.
 *
 * It is in the run's own folder (engine.h), below DATA/run/sockets. The app gets it as a path,
 * which may not be longer than sun_path; where that of the data folder is, there is a short link to
 * it. All others name it from DATA/run/sockets. */
#include "control/control_internal.h"

#include "base/sha256.h"
#include "engine/user.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert((size_t)SOCKET_PATH_MAX == sizeof(((struct sockaddr_un *)NULL)->sun_path),
               "a path that fits");

/* ---- the path
 * ------------------------------------------------------------------------------------------- */

/* Who will listen: nobody else gets the app's requests. Root may become anybody. */
static uint32_t listener(const struct instance *in, const struct app_spec *spec)
{
    struct os_user user;
    const char *name = app_user(in->app, spec);
    if (geteuid() != 0)
        return geteuid();
    if (name == NULL || os_user_find(&user, name, NULL) < 0)
        return SNAPSHOT_ANY_UID;
    uint32_t uid = user.uid != 0 ? user.uid : SNAPSHOT_ANY_UID;
    os_user_release(&user);
    return uid;
}

void socket_plan(struct instance *in)
{
    const struct app_spec *spec;
    const struct process_spec *p = instance_process(in, &spec);
    in->socket[0] = '\0';
    if (p == NULL || !spec->socket || !(p->routed || spec->processes_len == 1))
        return;
    runsocket_place(in->run_id, in->socket);
    in->socket_uid = listener(in, spec);
}

/* A link of ours to the folder, made where it is missing. In /run only root can, and /tmp keeps
 * others from removing it; what others have put there before is not taken. */
static int make_link(const char *folder, const char *link, struct error *err)
{
    char to[PATH_MAX];
    struct stat st;
    if (symlink(folder, link) == 0)
        return 0;
    if (errno != EEXIST)
        return error_errno(err, errno, "link %s to %s", link, folder);
    ssize_t n = readlink(link, to, sizeof to - 1);
    bool ours = n > 0 && lstat(link, &st) == 0 && st.st_uid == geteuid();
    if (ours && (size_t)n == strlen(folder) && memcmp(to, folder, (size_t)n) == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "%s is not the link to %s that it should be: remove it, or choose a data "
                     "folder with a shorter path",
                     link, folder);
}

void sockets_open(struct control *c)
{
    cleanup_free char *folder = xasprintf("%s/run/sockets", c->data);
    free(c->sockets);
    c->sockets_linked = strlen(folder) + 1 + RUNSOCKET_MAX > SOCKET_PATH_MAX;
    if (!c->sockets_linked) {
        c->sockets = take_ptr(&folder);
        return;
    }
    char hex[SHA256_HEX];
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, folder, strlen(folder));
    sha256_end_hex(&s, hex);
    c->sockets = xasprintf("%s/sluice-%.16s", geteuid() == 0 ? "/run" : "/tmp", hex);
}

int sockets_prepare(const struct control *c, struct error *err)
{
    cleanup_free char *folder = xasprintf("%s/run/sockets", c->data);
    return c->sockets_linked ? make_link(folder, c->sockets, err) : 0;
}

const char *instance_socket_path(const struct instance *in, char out[SOCKET_PATH_MAX])
{
    snprintf(out, SOCKET_PATH_MAX, "%s/%s", in->control->sockets, in->socket);
    return out;
}

/* ---- the way to it
 * -------------------------------------------------------------------------------------- */

/* The gateway is another user, and an app's umask seldom lets that one write to what it makes. The
 * folder keeps all others out. */
static int let_gateway_in(const struct instance *in, int file, const struct stat *st,
                          struct error *err)
{
    char name[32];
    const struct boot *b = in->control->boot;
    if (geteuid() != 0 || b->gateway_uid <= 0 || (st->st_mode & S_IWOTH) != 0)
        return 0;
    if (in->socket_uid != SNAPSHOT_ANY_UID && st->st_uid != in->socket_uid)
        return error_set(err, ERROR_DENIED,
                         "the socket belongs to uid %u and its mode is %04o: the gateway may not "
                         "connect (chmod 0666 it)",
                         (unsigned)st->st_uid, (unsigned)(st->st_mode & 07777));
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    if (chmod(name, (st->st_mode & 07777) | 0666) < 0)
        return error_errno(err, errno, "let the gateway use the socket");
    return 0;
}

static int describe(int why, const struct stat *st, struct error *err)
{
    switch (why) {
    case ECONNREFUSED: return error_set(err, ERROR_IO, "nobody listens on the socket");
    case EAGAIN:
        return error_set(err, ERROR_UNAVAILABLE, "too many connections wait at the socket");
    case EACCES:
        return error_set(err, ERROR_DENIED,
                         "the socket's mode is %04o: nobody may connect (chmod 0666 it)",
                         (unsigned)(st->st_mode & 07777));
    case EPROTOTYPE: return error_set(err, ERROR_IO, "the socket is not of type SOCK_STREAM");
    default: return error_errno(err, why, "the socket");
    }
}

static int connect_file(int file, const struct stat *st, struct error *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", file);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        return describe(errno, st, err);
    return take_fd(&fd);
}

int socket_connect(const struct instance *in, struct error *err)
{
    char name[sizeof "sockets/" + RUNSOCKET_MAX];
    struct stat st;
    snprintf(name, sizeof name, "sockets/%s", in->socket);
    /* Held by its inode: what the app puts in its place meanwhile is not what is looked at here. */
    cleanup_close int file = openat(in->control->run_dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) < 0)
        return errno == ENOENT ? error_set(err, ERROR_NOT_FOUND, "there is no socket")
                               : error_errno(err, errno, "the socket");
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, ERROR_IO, "there is a file that is no socket");
    if (let_gateway_in(in, file, &st, err) < 0)
        return -1;
    cleanup_close int fd = connect_file(file, &st, err);
    struct ucred who;
    socklen_t len = sizeof who;
    if (fd >= 0 && in->socket_uid != SNAPSHOT_ANY_UID &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid != in->socket_uid)
        return error_set(err, ERROR_DENIED, "uid %u listens on the socket, not the app's user",
                         (unsigned)who.uid);
    return fd < 0 ? -1 : take_fd(&fd);
}
