#include "os/pidfd.h"

#include "base/alloc.h"
#include "os/proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

int pidfd_open_pid(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0U); /* always close-on-exec */
}

int pidfd_open_checked(pid_t pid, uint64_t start_ticks)
{
    cleanup_close int fd = pidfd_open_pid(pid);
    if (fd < 0)
        return -1;
    /* Read behind the open: what has that pid now and is still there later is what we hold. */
    struct proc_stat st;
    if (proc_read_stat(pid, &st) < 0 || st.start_ticks != start_ticks) {
        errno = ESRCH;
        return -1;
    }
    return take_fd(&fd);
}

int pidfd_signal(int pidfd, int signal)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0U);
}

bool pidfd_ended(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

int pidfd_reap(int pidfd, int *status)
{
    siginfo_t info = {0};
    int rc;
    do
        rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return -1;
    if (info.si_pid == 0)
        return 0;
    if (status != NULL)
        *status =
            info.si_code == CLD_EXITED ? (info.si_status & 0xFF) << 8 : (info.si_status & 0x7F);
    return 1;
}
