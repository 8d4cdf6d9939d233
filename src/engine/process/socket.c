/* The folder of a run's Unix socket, below one that all runs share. The run's user makes the socket
 * in it; besides that user only those of one group, the gateway's, can go through it. So whatever
 * mode a socket has, nobody else of the machine reaches it. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "engine/user.h"
#include "os/durable.h"
#include "wire/runsocket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEFT_MAX = 64 }; /* files that are removed with a socket */

int socket_folders_open(struct process_engine *e, struct error *err)
{
    const char *dir = e->sockets_dir;
    if (dir == NULL)
        return 0;
    if (make_folders(AT_FDCWD, dir, 0711, err) < 0)
        return -1;
    e->sockets_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return e->sockets_fd < 0 ? error_errno(err, errno, "open %s", dir) : 0;
}

/* As root: to the run's user and the group. */
static int hand_over(const struct process_engine *e, int folder, const char *name,
                     struct error *err)
{
    uid_t uid = (uid_t)-1;
    struct os_user user;
    if (geteuid() != 0)
        return 0;
    if (name != NULL) {
        if (os_user_find(&user, name, err) < 0)
            return -1;
        uid = user.uid;
        os_user_release(&user);
    }
    bool shared = e->config.sockets_gid >= 0;
    if (fchown(folder, uid, shared ? (gid_t)e->config.sockets_gid : (gid_t)-1) < 0 ||
        fchmod(folder, shared ? 0710 : 0700) < 0)
        return error_errno(err, errno, "hand the socket's folder over");
    return 0;
}

int socket_folder_make(const struct process_engine *e, const struct run_spec *spec,
                       struct error *err)
{
    char name[RUNSOCKET_FOLDER_MAX + 1];
    runsocket_folder(spec->id, name);
    if (e->sockets_fd < 0 || mkdirat(e->sockets_fd, name, 0700) < 0)
        return error_errno(err, e->sockets_fd < 0 ? ENOTSUP : errno, "make the socket's folder %s",
                           name);
    cleanup_close int folder =
        openat(e->sockets_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        error_errno(err, errno, "open the socket's folder %s", name);
    if (folder >= 0 && hand_over(e, folder, spec->user, err) == 0)
        return 0;
    unlinkat(e->sockets_fd, name, AT_REMOVEDIR);
    return -1;
}

/* The app may have put anything there; what is more than a socket and its like stays, and is said.
 */
static void empty(int folder)
{
    DIR *dir = fdopendir(folder);
    if (dir == NULL) {
        close(folder);
        return;
    }
    struct dirent *d;
    for (int i = 0; i < LEFT_MAX && (d = readdir(dir)) != NULL; i++)
        unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
}

void socket_folder_remove(const struct process_engine *e, const char *id)
{
    char name[RUNSOCKET_FOLDER_MAX + 1];
    runsocket_folder(id, name);
    if (e->sockets_fd < 0)
        return;
    int folder = openat(e->sockets_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return;
    empty(folder);
    if (unlinkat(e->sockets_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        log_warn("%s/%s of run %s, which is over, is left: %s", e->sockets_dir, name, id,
                 strerror(errno));
}
