#include "os/memfd.h"

#include "base/alloc.h"
#include "os/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3: without it a strict system makes memfds not executable */
#endif

static int make(const char *name, unsigned flags, const void *data, size_t len, struct error *err)
{
    cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 && errno == EINVAL && flags != 0)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_errno(err, errno, "memfd_create %s", name);
    if (write_all(fd, data, len) < 0)
        return error_errno(err, errno, "memfd %s: write", name);
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return error_errno(err, errno, "memfd %s: seal", name);
    return take_fd(&fd);
}

int memfd_make(const char *name, const void *data, size_t len, struct error *err)
{
    return make(name, 0, data, len, err);
}

/* Executing a descriptor that is open for writing is ETXTBSY, so the file is opened again to read.
 */
static int program_file(int dir_fd, const char *name, const void *data, size_t len,
                        struct error *err)
{
    unlinkat(dir_fd, name, 0);
    int out = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0700);
    if (out < 0)
        return error_errno(err, errno, "program file %s in the run folder", name);
    int rc = write_all(out, data, len);
    int saved = errno;
    close(out);
    int fd = rc < 0 ? -1 : openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (rc == 0)
        saved = errno;
    unlinkat(dir_fd, name, 0);
    if (fd < 0)
        return error_errno(err, saved, "program file %s in the run folder", name);
    return fd;
}

int memfd_program(int dir_fd, const char *name, const void *data, size_t len, struct error *err)
{
    int fd = make(name, MFD_EXEC, data, len, NULL);
    /* A memfd that may not be executed (vm.memfd_noexec, a security module) shows it here. */
    if (fd >= 0 && faccessat(fd, "", X_OK, AT_EMPTY_PATH) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return program_file(dir_fd, name, data, len, err);
}
