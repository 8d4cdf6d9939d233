#include "os/durable.h"

#include "base/alloc.h"
#include "os/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int durable_sync_folder(int dirfd, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    cleanup_free char *folder = slash == NULL   ? xstrdup(".")
                                : slash == path ? xstrdup("/")
                                                : xstrndup(path, (size_t)(slash - path));
    cleanup_close int fd = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "sync folder %s", folder);
    return 0;
}

int durable_write(int dirfd, const char *path, mode_t mode, const void *data, size_t len,
                  struct error *err)
{
    cleanup_free char *temp = xasprintf("%s.tmp", path);
    cleanup_close int fd =
        openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return error_errno(err, errno, "create %s", temp);
    if (fchmod(fd, mode) < 0 || write_all(fd, data, len) < 0 || fsync(fd) < 0 ||
        renameat(dirfd, temp, dirfd, path) < 0) {
        error_errno(err, errno, "write %s", path);
        unlinkat(dirfd, temp, 0);
        return -1;
    }
    return durable_sync_folder(dirfd, path, err);
}

int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct error *err)
{
    /* O_NONBLOCK: a FIFO put here by someone else must not hang us; no effect on regular files. */
    cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno, "open %s", path);
        if (err != NULL && errno == ENOENT)
            err->class = ERROR_NOT_FOUND;
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERROR_IO, "read %s: not a regular file", path);
    size_t start = out->len;
    for (;;) { /* until EOF, not st_size: files in /proc say 0 */
        size_t left = max - (out->len - start);
        size_t want = left < 65536 ? left + 1 : 65536;
        buf_reserve(out, want);
        ssize_t n = read(fd, out->data + out->len, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (size_t)n > left) {
            int failed = n < 0 ? errno : 0;
            if (n == 0) {
                out->data[out->len] = '\0';
                return 0;
            }
            out->len = start;
            out->data[start] = '\0';
            return failed != 0
                       ? error_errno(err, failed, "read %s", path)
                       : error_set(err, ERROR_IO, "read %s: longer than %zu bytes", path, max);
        }
        out->len += (size_t)n;
    }
}

static int make_folder(int dirfd, const char *path, mode_t mode, struct error *err)
{
    if (mkdirat(dirfd, path, mode) == 0) {
        if (fchmodat(dirfd, path, mode, 0) < 0) /* the umask */
            return error_errno(err, errno, "chmod %s", path);
        return 0;
    }
    int failed = errno;
    struct stat st;
    if (failed == EEXIST && fstatat(dirfd, path, &st, 0) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return error_errno(err, failed == EEXIST ? ENOTDIR : failed, "make folder %s", path);
}

int make_folders(int dirfd, const char *path, mode_t mode, struct error *err)
{
    struct stat st;
    if (fstatat(dirfd, path, &st, 0) == 0 && S_ISDIR(st.st_mode))
        return 0; /* the usual case, and parents that we may not even stat do not matter */
    cleanup_free char *work = xstrdup(path);
    for (char *p = work + 1; work[0] != '\0' && *p != '\0'; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        if (make_folder(dirfd, work, mode, err) < 0)
            return -1;
        *p = '/';
    }
    return make_folder(dirfd, work, mode, err);
}
