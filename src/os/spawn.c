#include "os/spawn.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's steps in their order, and how a failed one is told. */
#define SPAWN_STEPS(X)                                                                             \
    X(SIGNALS, "reset the signals")                                                                \
    X(SESSION, "start a session")                                                                  \
    X(GROUP, "start a process group")                                                              \
    X(JOIN, "join the cgroup")                                                                     \
    X(LIMIT, "set a resource limit")                                                               \
    X(USER, "become user")                                                                         \
    X(DIR, "enter folder")                                                                         \
    X(FDS, "set up the descriptors")                                                               \
    X(PRIVS, "give up new privileges")                                                             \
    X(DEATH, "ask for the parent's death signal")                                                  \
    X(EXEC, "exec")

enum step {
#define X(name, text) STEP_##name,
    SPAWN_STEPS(X)
#undef X
};
static const char *const step_texts[] = {
#define X(name, text) text,
    SPAWN_STEPS(X)
#undef X
};

struct failure {
    int step, errnum;
};

/* All that the child needs and may not make itself: it must not allocate. */
struct prepared {
    const struct spawn *s;
    const char *program; /* for messages */
    struct {
        char **items;
        size_t len, cap;
    } candidates; /* paths to try, in order */
    int null_fd;
    int status_fd; /* the child's end of the pipe */
    int program_fd;
    pid_t parent;
};

static _Noreturn void fail(const struct prepared *p, enum step step)
{
    struct failure f = {(int)step, errno};
    (void)!write(p->status_fd, &f, sizeof f);
    _exit(127);
}

/* The kernel's call: the C library keeps 32 and 33 for itself, yet they are inherited as ignored
 * from some parents (make). All zero is "default" on every architecture. */
static void child_signals(const struct prepared *p)
{
    enum { KERNEL_SIGNALS = 64, KERNEL_SET_BYTES = 8 };
    static const unsigned long zero[16];
    for (int n = 1; n <= KERNEL_SIGNALS; n++)
        if (n != SIGKILL && n != SIGSTOP &&
            syscall(SYS_rt_sigaction, n, zero, NULL, KERNEL_SET_BYTES) < 0)
            fail(p, STEP_SIGNALS);
}

static void child_limits(const struct prepared *p)
{
    for (size_t i = 0; i < p->s->join_count; i++)
        if (write(p->s->join_fds[i], "0", 1) != 1)
            fail(p, STEP_JOIN);
    for (size_t i = 0; i < p->s->limit_count; i++) {
        const struct spawn_limit *l = &p->s->limits[i];
        struct rlimit value = {l->soft, l->hard};
        if (setrlimit(l->resource, &value) < 0)
            fail(p, STEP_LIMIT);
    }
}

/* Raw calls: the C library's own would signal the threads of a process that we are a copy of. */
static void child_user(const struct prepared *p)
{
    const struct spawn_user *u = p->s->user;
    if (u == NULL)
        return;
    if (syscall(SYS_setgroups, u->group_count, u->groups) < 0 ||
        syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0 ||
        syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0)
        fail(p, STEP_USER);
}

static const struct spawn_fd *fd_for(const struct spawn *s, int to)
{
    for (size_t i = 0; i < s->fd_count; i++)
        if (s->fds[i].to == to)
            return &s->fds[i];
    return NULL;
}

static int out_of_the_way(const struct prepared *p, int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, SPAWN_FD_MAX);
    if (moved < 0)
        fail(p, STEP_FDS);
    return moved;
}

/* First everything out of the way of the targets, then each to its place, the rest close-on-exec
 * (not closed: the status pipe and the program are among them). */
static void child_fds(struct prepared *p)
{
    int moved[SPAWN_FD_MAX];
    p->status_fd = out_of_the_way(p, p->status_fd);
    if (p->program_fd > 0)
        p->program_fd = out_of_the_way(p, p->program_fd);
    for (int to = 0; to < SPAWN_FD_MAX; to++) {
        const struct spawn_fd *want = fd_for(p->s, to);
        int from = want != NULL ? want->from : to <= STDERR_FILENO ? p->null_fd : -1;
        moved[to] = from < 0 ? -1 : out_of_the_way(p, from);
    }
    for (int to = 0; to < SPAWN_FD_MAX; to++)
        if (moved[to] >= 0 && dup2(moved[to], to) < 0)
            fail(p, STEP_FDS);
        else if (moved[to] < 0)
            close(to);
    if (syscall(SYS_close_range, SPAWN_FD_MAX, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        fail(p, STEP_FDS);
}

static void child_exec(const struct prepared *p)
{
    char *const *argv = (char *const *)p->s->argv, *const *envp = (char *const *)p->s->envp;
    if (p->program_fd > 0) {
        syscall(SYS_execveat, p->program_fd, "", argv, envp, AT_EMPTY_PATH);
        fail(p, STEP_EXEC);
    }
    int worth_telling = ENOENT; /* of several tries: what says more than "not in this folder" */
    for (size_t i = 0; i < p->candidates.len; i++) {
        execve(p->candidates.items[i], argv, envp);
        if (errno != ENOENT && errno != ENOTDIR)
            worth_telling = errno;
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            break;
    }
    errno = worth_telling;
    fail(p, STEP_EXEC);
}

static _Noreturn void child(struct prepared *p)
{
    const struct spawn *s = p->s;
    child_signals(p);
    if (s->new_session && setsid() < 0)
        fail(p, STEP_SESSION);
    if (s->new_group && setpgid(0, 0) < 0)
        fail(p, STEP_GROUP);
    child_limits(p);
    child_user(p);
    if (s->dir != NULL && chdir(s->dir) < 0)
        fail(p, STEP_DIR);
    child_fds(p);
    if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(p, STEP_PRIVS);
    /* Behind the change of user, which clears it; then the check that it was not too late. */
    if (s->parent_death_signal > 0 && prctl(PR_SET_PDEATHSIG, s->parent_death_signal) < 0)
        fail(p, STEP_DEATH);
    if (s->parent_death_signal > 0 && getppid() != p->parent)
        _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    child_exec(p);
    _exit(127);
}

/* ---- the parent's side ---------------------------------------------------------------------- */

static const char *path_of(const char *const *envp)
{
    for (; *envp != NULL; envp++)
        if (strncmp(*envp, "PATH=", 5) == 0)
            return *envp + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static void prepare_candidates(struct prepared *p)
{
    if (strchr(p->program, '/') != NULL || p->program[0] == '\0') {
        *vec_push(&p->candidates) = xstrdup(p->program);
        return;
    }
    const char *at = path_of(p->s->envp);
    for (;;) {
        size_t len = strcspn(at, ":");
        *vec_push(&p->candidates) = len == 0 ? xasprintf("./%s", p->program)
                                             : xasprintf("%.*s/%s", (int)len, at, p->program);
        if (at[len] == '\0')
            return;
        at += len + 1;
    }
}

/* "No such file or directory" inside a sentence. */
static void describe_errno(int errnum, char *out, size_t size)
{
    snprintf(out, size, "%s", strerror(errnum));
    if (isupper((unsigned char)out[0]) && islower((unsigned char)out[1]))
        out[0] = (char)tolower((unsigned char)out[0]);
}

/* ENOENT of a file that is there means that its interpreter is not. */
static bool program_exists(const struct prepared *p)
{
    if (strchr(p->program, '/') == NULL)
        return false;
    cleanup_close int dir =
        p->s->dir == NULL ? -1 : open(p->s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    return fstatat(dir >= 0 ? dir : AT_FDCWD, p->program, &st, 0) == 0;
}

static int describe(const struct prepared *p, struct failure f, struct error *err)
{
    char why[128];
    ASSERT(f.step >= 0 && (size_t)f.step < COUNT_OF(step_texts));
    describe_errno(f.errnum, why, sizeof why);
    const char *text = step_texts[f.step];
    if (f.step == STEP_DIR)
        return error_set(err, ERROR_IO, "%s %s: %s", text, p->s->dir, why);
    if (f.step == STEP_USER)
        return error_set(err, ERROR_IO, "%s %u: %s", text, (unsigned)p->s->user->uid, why);
    if (f.step != STEP_EXEC)
        return error_set(err, ERROR_IO, "%s: %s", text, why);
    if (f.errnum == ENOENT && p->s->program_fd <= 0 && program_exists(p))
        return error_set(err, ERROR_IO,
                         "exec %s: its interpreter is missing (the one in its #! line, or its "
                         "dynamic loader)",
                         p->program);
    if (f.errnum == ENOENT && strchr(p->program, '/') == NULL)
        return error_set(err, ERROR_IO, "exec %s: no such program in PATH", p->program);
    if (f.errnum == ENOEXEC)
        return error_set(err, ERROR_IO,
                         "exec %s: not a program for this machine, and no #! line in front",
                         p->program);
    return error_set(err, ERROR_IO, "exec %s: %s", p->program, why);
}

/* With all signals blocked over the fork, a handler of ours never runs in the child. */
static pid_t fork_child(struct prepared *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Not fork(): the child only uses what is async-signal-safe, and libraries' fork handlers
     * (libuv's closes the numbers of its own descriptors, whatever they are by then) do harm. */
    pid_t pid = _Fork();
    int failed = errno;
    if (pid == 0)
        child(p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = failed;
    return pid;
}

static pid_t run_child(struct prepared *p, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    cleanup_close int status = ends[0], child_end = ends[1];
    p->status_fd = child_end;
    pid_t pid = fork_child(p);
    if (pid < 0)
        return error_errno(err, errno, "fork");
    close(take_fd(&child_end));
    struct failure f;
    ssize_t n;
    do
        n = read(status, &f, sizeof f);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof f)
        return pid; /* closed by the exec (or by the child's death: its status tells) */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return describe(p, f, err);
}

pid_t spawn(const struct spawn *s, struct error *err)
{
    ASSERT(s->argv != NULL && s->argv[0] != NULL && s->envp != NULL);
    for (size_t i = 0; i < s->fd_count; i++)
        ASSERT(s->fds[i].to >= 0 && s->fds[i].to < SPAWN_FD_MAX && s->fds[i].from >= 0);
    struct prepared p = {.s = s, .program_fd = s->program_fd, .parent = getpid()};
    p.program = s->program != NULL ? s->program : s->argv[0];
    cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return error_errno(err, errno, "open /dev/null");
    p.null_fd = null_fd;
    prepare_candidates(&p);
    pid_t pid = run_child(&p, err);
    for (size_t i = 0; i < p.candidates.len; i++)
        free(p.candidates.items[i]);
    vec_release(&p.candidates);
    return pid;
}
