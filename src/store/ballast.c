/* A file that is only there to be given up: its blocks carry the writes that must still happen when
 * the disk is full (the end of a rollout, who did what). */
#include "base/alloc.h"
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool whole(int fd, uint64_t bytes)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_blocks * 512 >= bytes;
}

/* Zeros that are really written: for file systems without fallocate. */
static int write_zeros(int fd, uint64_t bytes)
{
    static const char zeros[65536];
    for (uint64_t at = 0; at < bytes;) {
        size_t want = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        ssize_t n = pwrite(fd, zeros, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += (uint64_t)n;
    }
    return 0;
}

bool ballast_make(const char *path, uint64_t bytes)
{
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    if (whole(fd, bytes))
        return true;
    struct statvfs disk;
    bool room = fstatvfs(fd, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize >= 4 * bytes;
    if (room && (fallocate(fd, 0, 0, (off_t)bytes) == 0 || write_zeros(fd, bytes) == 0) &&
        fsync(fd) == 0 && whole(fd, bytes))
        return true;
    unlink(path);
    return false;
}

bool ballast_give_up(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_blocks > 0 && unlink(path) == 0;
}
