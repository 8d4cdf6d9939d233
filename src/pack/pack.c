#include "pack/pack.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/title.h"
#include "pack/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEASURE_NICE = 10 };

/* What the child sends: both ends are the same program. Small enough for one write into a pipe. */
struct record {
    int status;
    struct pack_result result;
    struct error error;
};
_Static_assert(sizeof(struct record) <= PIPE_BUF, "a record is written at once");

struct pack_job {
    pid_t pid;
    int fd;
    bool ended;
    size_t got;
    struct record record;
};

/* ---- the child
 * ---------------------------------------------------------------------------------------- */

struct work {
    int (*run)(const struct work *work, struct pack_result *result, struct error *err);
    struct pack_spec spec;
    const char *dir;
    uid_t uid;
    gid_t gid;
};

/* "/a/b/c" -> "/a/b" and "c". */
static int open_parent(const char *path, const char **name, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0' || path[0] != '/')
        return error_set(err, ERROR_FAILED, "%s is no absolute path of a folder", path);
    cleanup_free char *parent =
        slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "open the folder %s", parent);
    *name = slash + 1;
    return fd;
}

static int open_source(const struct pack_spec *spec, struct error *err)
{
    if (spec->source == NULL || spec->source[0] != '/')
        return error_set(err, ERROR_USAGE, "source \"%s\" is not an absolute path",
                         spec->source != NULL ? spec->source : "");
    int fd = open(spec->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERROR_USAGE, "source %s: %s", spec->source,
                         errno == ENOENT    ? "there is no such folder"
                         : errno == ENOTDIR ? "is not a folder"
                                            : strerror(errno));
    return fd;
}

static int list_source(const struct pack_spec *spec, const struct identity *id, struct listing *l,
                       struct pack_result *result, struct error *err)
{
    if (git_describe(spec, id, result, err) < 0)
        return -1;
    int status = result->git ? git_list(spec, id, l, err) : list_all(l, err);
    if (status < 0)
        return -1;
    list_sort(l);
    if (l->len == 0 && result->note[0] == '\0')
        snprintf(result->note, sizeof result->note, "the source has no files%s",
                 result->git ? " that git does not ignore" : "");
    return 0;
}

/* Into NAME.tmp, which then gets its name: what has the name is whole. */
static int write_release(const struct pack_spec *spec, const struct identity *id,
                         const struct listing *l, struct pack_result *result, struct error *err)
{
    const char *name;
    struct stat st;
    cleanup_close int parent = open_parent(spec->destination, &name, err);
    if (parent < 0)
        return -1;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(err, ERROR_CONFLICT, "%s is there already", spec->destination);
    cleanup_free char *tmp = xasprintf("%s.tmp", name);
    if (tree_remove(parent, tmp, spec->destination, err) < 0)
        return -1;
    if (mkdirat(parent, tmp, 0700) < 0)
        return error_errno(err, errno, "make the folder %s.tmp", spec->destination);
    cleanup_close int to = openat(parent, tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return error_errno(err, errno, "open %s.tmp", spec->destination);
    if (copy_listing(l, id, to, result, err) < 0)
        goto fail;
    if ((id->root && fchown(to, id->owner, id->owner_gid) < 0) || fchmod(to, 0750) < 0 ||
        renameat(parent, tmp, parent, name) < 0) {
        error_errno(err, errno, "finish %s", spec->destination);
        goto fail;
    }
    return 0;
fail:
    tree_remove(parent, tmp, spec->destination, NULL);
    return -1;
}

static int run_pack(const struct work *work, struct pack_result *result, struct error *err)
{
    const struct pack_spec *spec = &work->spec;
    struct identity id;
    if (identity_init(&id, spec, err) < 0)
        return -1;
    identity_read(&id);
    cleanup_close int root = open_source(spec, err);
    cleanup_listing struct listing l = {
        .source = spec->source,
        .root = root,
        .max_bytes = spec->max_bytes != 0 ? spec->max_bytes : PACK_BYTES_DEFAULT,
        .max_files = spec->max_files != 0 ? spec->max_files : PACK_FILES_DEFAULT};
    int status = root < 0 ? -1 : list_source(spec, &id, &l, result, err);
    identity_write(&id);
    if (status == 0)
        status = write_release(spec, &id, &l, result, err);
    identity_release(&id);
    return status;
}

static int run_seal(const struct work *work, struct pack_result *result, struct error *err)
{
    const char *name;
    cleanup_close int parent = open_parent(work->dir, &name, err);
    if (parent < 0)
        return -1;
    if (geteuid() == 0 && work->uid != 0 &&
        (setgroups(0, NULL) < 0 || setresgid(work->gid, work->gid, work->gid) < 0 ||
         setresuid(work->uid, work->uid, work->uid) < 0))
        return error_errno(err, errno, "become uid %u", (unsigned)work->uid);
    if (access(work->dir, X_OK) < 0 && errno == EACCES)
        return error_set(err, ERROR_DENIED,
                         "the release %s cannot be reached as its owner, uid %u: a folder above it "
                         "is closed to that user (chmod o+x it)",
                         work->dir, (unsigned)geteuid());
    if (tree_seal(work->dir, &result->bytes, err) < 0)
        return -1;
    if (fsync(parent) < 0)
        return error_errno(err, errno, "write the folder of %s to the disk", work->dir);
    return 0;
}

static int run_remove(const struct work *work, struct pack_result *result, struct error *err)
{
    (void)result;
    const char *name;
    cleanup_close int parent = open_parent(work->dir, &name, err);
    if (parent < 0)
        return -1;
    cleanup_free char *tmp = xasprintf("%s.tmp", name);
    /* Under the other name first: killed in the middle, what is left does not look like a release.
     */
    if (tree_remove(parent, tmp, work->dir, err) < 0)
        return -1;
    if (renameat(parent, name, parent, tmp) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "delete %s", work->dir);
    return tree_remove(parent, tmp, work->dir, err);
}

static int run_measure(const struct work *work, struct pack_result *result, struct error *err)
{
    setpriority(PRIO_PROCESS, 0, MEASURE_NICE);
    return tree_measure(work->dir, &result->bytes, err);
}

/* Nothing of the controller's may live on in the child: its locks, its sockets, its handlers. */
static void leave_the_parent(int *out)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    if (*out != 3) {
        dup2(*out, 3);
        *out = 3;
    }
    fcntl(3, F_SETFD, FD_CLOEXEC);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
    }
    if (close_range(4, ~0U, 0) < 0) /* a filter of system calls that is older than it */
        for (int fd = 4; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
            close(fd);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void child(const struct work *work, int out, pid_t parent)
{
    struct record record = {0};
    struct rlimit files;
    leave_the_parent(&out);
    setpgid(0, 0);
    title_become("controller", "pack");
    umask(077);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    record.status = work->run(work, &record.result, &record.error);
    ssize_t written = write(out, &record, sizeof record);
    _exit(written == (ssize_t)sizeof record ? 0 : 1);
}

/* ---- jobs
 * --------------------------------------------------------------------------------------------- */

static struct pack_job *start(const struct work *work, struct error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        error_errno(err, errno, "pipe");
        return NULL;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    /* No handler of ours may run in the child before it has put them away. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        child(work, fds[1], parent);
    int failed = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        error_errno(err, failed, "start a process for a release's files");
        return NULL;
    }
    setpgid(pid, pid); /* also in the child: whoever comes first */
    struct pack_job *job = xcalloc(1, sizeof *job);
    job->pid = pid;
    job->fd = fds[0];
    return job;
}

struct pack_job *pack_start(const struct pack_spec *spec, struct error *err)
{
    struct work work = {.run = run_pack, .spec = *spec};
    return start(&work, err);
}

struct pack_job *pack_seal(const char *dir, uid_t owner_uid, gid_t owner_gid, struct error *err)
{
    struct work work = {.run = run_seal, .dir = dir, .uid = owner_uid, .gid = owner_gid};
    return start(&work, err);
}

struct pack_job *pack_remove_tree(const char *dir, struct error *err)
{
    struct work work = {.run = run_remove, .dir = dir};
    return start(&work, err);
}

struct pack_job *pack_measure(const char *dir, struct error *err)
{
    struct work work = {.run = run_measure, .dir = dir};
    return start(&work, err);
}

int pack_fd(const struct pack_job *job)
{
    return job->fd;
}

pid_t pack_pid(const struct pack_job *job)
{
    return job->pid;
}

bool pack_ended(struct pack_job *job)
{
    while (!job->ended) {
        char *at = (char *)&job->record + job->got;
        char beyond;
        size_t left = sizeof job->record - job->got;
        ssize_t n = read(job->fd, left > 0 ? at : &beyond, left > 0 ? left : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        job->ended = n <= 0;
        if (n > 0 && left > 0)
            job->got += (size_t)n;
    }
    return true;
}

static void job_free(struct pack_job *job)
{
    close(job->fd);
    free(job);
}

static int reap(const struct pack_job *job)
{
    int status = 0;
    while (waitpid(job->pid, &status, 0) < 0)
        if (errno != EINTR)
            return 0; /* somebody else did */
    return status;
}

int pack_finish(struct pack_job *job, struct pack_result *result, struct error *err)
{
    while (!pack_ended(job)) {
        struct pollfd p = {.fd = job->fd, .events = POLLIN};
        poll(&p, 1, -1);
    }
    int status = reap(job), outcome = -1;
    if (job->got < sizeof job->record) {
        if (WIFSIGNALED(status))
            error_set(err, ERROR_FAILED,
                      "the process for the release's files was ended by signal %d",
                      WTERMSIG(status));
        else
            error_set(err, ERROR_FAILED, "the process for the release's files broke off");
    } else if (job->record.status < 0) {
        error_set(err, job->record.error.class, "%s", job->record.error.text);
    } else {
        outcome = 0;
        if (result != NULL)
            *result = job->record.result;
    }
    job_free(job);
    return outcome;
}

void pack_cancel(struct pack_job *job)
{
    if (job == NULL)
        return;
    kill(-job->pid, SIGKILL);
    kill(job->pid, SIGKILL);
    reap(job);
    job_free(job);
}
