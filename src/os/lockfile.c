#include "os/lockfile.h"

#include "base/alloc.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static pid_t read_pid(int fd)
{
    char text[24];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    uint64_t pid;
    return parse_u64(text, INT32_MAX, &pid) == 0 ? (pid_t)pid : 0;
}

static int write_pid(int fd)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    return ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n ? -1 : 0;
}

int lockfile_take(int dir_fd, const char *name, pid_t *holder, struct error *err)
{
    *holder = 0;
    cleanup_close int fd =
        openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return error_errno(err, errno, "lock file %s", name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return error_errno(err, errno, "lock file %s", name);
        *holder = read_pid(fd);
        return error_set(err, ERROR_CONFLICT, "lock file %s: held by pid %d", name, (int)*holder);
    }
    /* The pid is for people only: a full disk must not keep the server from starting. */
    if (write_pid(fd) < 0 && errno != ENOSPC && errno != EDQUOT)
        return error_errno(err, errno, "lock file %s: write", name);
    return take_fd(&fd);
}
