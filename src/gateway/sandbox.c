#include "gateway/sandbox.h"

#include "base/log.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Landlock (Documentation/userspace-api/landlock.rst)
 * ------------------------------------------------------------- */

/* The structure of ABI 6; an older kernel takes the part that it knows. */
struct ruleset {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

enum {
    FS_ABI_1 = (1 << 13) - 1, /* execute .. make_sym */
    FS_REFER = 1 << 13,       /* 2 */
    FS_TRUNCATE = 1 << 14,    /* 3 */
    FS_IOCTL = 1 << 15,       /* 5 */
    NET_BIND_TCP = 1 << 0,    /* 4 */
    SCOPE_ABSTRACT = 1 << 0,  /* 6: no abstract Unix socket, no signal outside */
    SCOPE_SIGNAL = 1 << 1,
};

static int landlock_enter(struct error *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        log_info("no Landlock in this kernel: files are kept from the gateway by its user alone");
        return 0;
    }
    struct ruleset all = {.handled_access_fs = FS_ABI_1};
    all.handled_access_fs |= abi >= 2 ? FS_REFER : 0;
    all.handled_access_fs |= abi >= 3 ? FS_TRUNCATE : 0;
    all.handled_access_fs |= abi >= 5 ? FS_IOCTL : 0;
    all.handled_access_net = abi >= 4 ? NET_BIND_TCP : 0;
    all.scoped = abi >= 6 ? SCOPE_ABSTRACT | SCOPE_SIGNAL : 0;
    size_t size = abi >= 6 ? sizeof all : abi >= 4 ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    /* No rule that would allow anything. */
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return error_errno(err, why, "close the file system to the gateway");
    }
    close(fd);
    return 0;
}

/* ---- seccomp
 * -------------------------------------------------------------------------------------------------
 */

static const int allowed[] = {
    /* connections */
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(splice),
    SCMP_SYS(pipe2),
    SCMP_SYS(close),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(signalfd4),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    /* descriptors that it is handed */
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(dup),
    /* memory, and what is shared with the controller */
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(memfd_create),
    SCMP_SYS(ftruncate),
    /* threads, time, signals to itself, the end */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Nobody asks for these by mistake. All else that is not allowed fails with EPERM, so that a system
 * call that a library begins to make one day does not end the traffic. */
static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(setuid),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(setresuid),
    SCMP_SYS(mount),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(bpf),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(init_module),
};

static int add_all(scmp_filter_ctx f, uint32_t action, const int *calls, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int result = seccomp_rule_add(f, action, calls[i], 0);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Those that are allowed with some arguments only: argument number `at`, of which the bits of mask
 * have this value. */
static int add_narrow(scmp_filter_ctx f)
{
    const struct {
        int call;
        unsigned at;
        scmp_datum_t mask, value;
    } narrow[] = {
        {SCMP_SYS(socket), 0, UINT32_MAX, AF_INET},
        {SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6},
        {SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX},
        /* Threads, but no processes; glibc takes clone() where there is no clone3(). */
        {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
        {SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
        {SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH},
        /* abort(), raise() */
        {SCMP_SYS(tgkill), 0, UINT32_MAX, (scmp_datum_t)getpid()},
    };
    int result = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; i < COUNT_OF(narrow) && result == 0; i++) {
        const struct scmp_arg_cmp is = {.arg = narrow[i].at,
                                        .op = SCMP_CMP_MASKED_EQ,
                                        .datum_a = narrow[i].mask,
                                        .datum_b = narrow[i].value};
        result = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, narrow[i].call, 1, &is);
    }
    return result;
}

static int seccomp_enter(struct error *err)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        log_info("no seccomp in this kernel: the gateway may make any system call");
        return 0;
    }
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int result = f != NULL ? 0 : -ENOMEM;
    if (result == 0) /* a tree instead of a list */
        result = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0) /* it runs no code of others, from which speculation would have to be kept */
        result = seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
    if (result == 0)
        result = add_all(f, SCMP_ACT_ALLOW, allowed, COUNT_OF(allowed));
    if (result == 0)
        result = add_all(f, SCMP_ACT_KILL_PROCESS, deadly, COUNT_OF(deadly));
    if (result == 0)
        result = add_narrow(f);
    if (result == 0)
        result = seccomp_load(f);
    seccomp_release(f);
    return result < 0 ? error_errno(err, -result, "narrow the gateway's system calls") : 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int sandbox_enter(struct error *err)
{
    (void)err, (void)landlock_enter, (void)seccomp_enter;
    return 0;
}
#else
int sandbox_enter(struct error *err)
{
    return landlock_enter(err) < 0 ? -1 : seccomp_enter(err);
}
#endif
