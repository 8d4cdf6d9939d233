/* The questions to git. It runs as the user whose files are read: a repository's configuration can
 * name programs, which then can do no more than that user can. */
#include "base/alloc.h"
#include "base/vec.h"
#include "os/spawn.h"
#include "pack/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 64 << 20, COMPLAINT_MAX = 300 };

struct git {
    const struct identity *id;
    const char *dir;
    struct buf out;
    char complaint[COMPLAINT_MAX]; /* the first line that it wrote to stderr */
    int status;                    /* exit status; 128 + n: killed by signal n */
};

static void git_release(struct git *g)
{
    buf_release(&g->out);
}
#define cleanup_git __attribute__((cleanup(git_release)))

/* ---- running it
 * --------------------------------------------------------------------------------------- */

/* Root runs no git on a folder of somebody else: as that one instead. */
static void choose_user(const struct identity *id, const char *dir, struct spawn_user *user,
                        const struct spawn_user **used)
{
    struct stat st;
    if (!id->root)
        return;
    *user = (struct spawn_user){id->reader, id->reader_gid, id->groups, id->groups_len};
    if (id->reader == 0 && stat(dir, &st) == 0 && st.st_uid != 0)
        *user = (struct spawn_user){st.st_uid, st.st_gid, NULL, 0};
    *used = user;
}

static void choose_home(const struct spawn_user *user, struct buf *out)
{
    const struct passwd *who = user != NULL ? getpwuid(user->uid) : NULL;
    const char *own = getenv("HOME");
    buf_printf(out, "HOME=%s", who != NULL ? who->pw_dir : user == NULL && own != NULL ? own : "/");
}

static int read_output(int fd, struct buf *out, struct error *err)
{
    for (;;) {
        buf_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "read what git says");
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len > OUTPUT_MAX)
            return error_set(err, ERROR_USAGE, "git lists too many files");
    }
}

static void read_complaint(int fd, char *out)
{
    ssize_t n = pread(fd, out, COMPLAINT_MAX - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 128;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(struct git *g, const char *const *arguments, struct error *err)
{
    const char *argv[32] = {"git", "--no-optional-locks",    "-c", "core.fsmonitor=false",
                            "-c",  "log.showSignature=false"};
    size_t argc = 6;
    while (*arguments != NULL && argc + 1 < COUNT_OF(argv))
        argv[argc++] = *arguments++;
    struct spawn_user user;
    const struct spawn_user *used = NULL;
    cleanup_buf struct buf home = BUF_INIT, path = BUF_INIT;
    choose_user(g->id, g->dir, &user, &used);
    choose_home(used, &home);
    const char *own_path = getenv("PATH");
    buf_printf(&path, "PATH=%s", own_path != NULL ? own_path : "/usr/local/bin:/usr/bin:/bin");
    const char *const envp[] = {buf_str(&path), buf_str(&home), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0",
                                NULL};
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    cleanup_close int from = pipe_fds[0], to = pipe_fds[1];
    cleanup_close int complaints = memfd_create("git-stderr", MFD_CLOEXEC);
    if (complaints < 0)
        return error_errno(err, errno, "memfd");
    const struct spawn_fd fds[] = {{to, 1}, {complaints, 2}};
    struct spawn s = {.argv = argv,
                      .envp = envp,
                      .dir = g->dir,
                      .fds = fds,
                      .fd_count = COUNT_OF(fds),
                      .user = used,
                      .parent_death_signal = SIGKILL};
    identity_write(g->id); /* only root can start it as another user */
    pid_t pid = spawn(&s, err);
    identity_read(g->id);
    if (pid < 0)
        return -1;
    close(take_fd(&to));
    buf_clear(&g->out);
    int status = read_output(from, &g->out, err);
    if (status < 0)
        kill(pid, SIGKILL);
    g->status = wait_for(pid);
    read_complaint(complaints, g->complaint);
    return status;
}

#define RUN(g, err, ...) run((g), (const char *const[]){__VA_ARGS__, NULL}, (err))

static int refused(const struct git *g, const char *what, struct error *err)
{
    bool foreign = strstr(g->complaint, "dubious ownership") != NULL;
    return error_set(err, ERROR_USAGE, "source %s: git %s: %s%s", g->dir, what,
                     g->complaint[0] != '\0' ? g->complaint : "it failed",
                     foreign ? ": the one who deploys must own the repository; or allow it with "
                               "git config --global --add safe.directory"
                             : "");
}

/* ---- what it says about the source
 * -------------------------------------------------------------------- */

/* A .git in the source or above it. Without one git need not be asked, nor be there. */
static bool under_git(const char *source)
{
    cleanup_free char *path = xasprintf("%s/", source);
    for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
        struct stat st;
        *slash = '\0';
        cleanup_free char *git = xasprintf("%s/.git", path);
        if (lstat(git, &st) == 0)
            return true;
    }
    return false;
}

static void take_line(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
}

static int describe_commit(struct git *g, struct pack_result *result, struct error *err)
{
    if (RUN(g, err, "symbolic-ref", "-q", "--short", "HEAD") < 0)
        return -1;
    if (g->status == 0)
        take_line(result->branch, sizeof result->branch, buf_str(&g->out));
    if (RUN(g, err, "log", "-1", "--no-color", "--format=%H%n%h%n%an <%ae>") < 0)
        return -1;
    if (g->status != 0)
        return 0; /* no commit yet */
    const char *p = buf_str(&g->out);
    char *const fields[] = {result->commit, result->short_commit, result->author};
    const size_t sizes[] = {sizeof result->commit, sizeof result->short_commit,
                            sizeof result->author};
    for (size_t i = 0; i < COUNT_OF(fields) && *p != '\0'; i++) {
        take_line(fields[i], sizes[i], p);
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return 0;
}

int git_describe(const struct pack_spec *spec, const struct identity *id,
                 struct pack_result *result, struct error *err)
{
    cleanup_git struct git g = {.id = id, .dir = spec->source};
    if (!under_git(spec->source))
        return 0;
    struct error no_git = ERROR_INIT;
    if (RUN(&g, &no_git, "rev-parse", "--is-inside-work-tree") < 0) {
        if (strstr(no_git.text, "no such program") == NULL)
            return error_set(err, no_git.class, "source %s: %s", spec->source, no_git.text);
        snprintf(result->note, sizeof result->note,
                 "git is not installed here: what .gitignore names was not left out");
        return 0;
    }
    if (g.status != 0 && strstr(g.complaint, "not a git repository") != NULL)
        return 0;
    if (g.status != 0)
        return refused(&g, "does not read the repository", err);
    if (strncmp(buf_str(&g.out), "false", 5) == 0) /* a bare repository, or the inside of .git */
        return 0;
    if (strncmp(buf_str(&g.out), "true", 4) != 0) /* what it ignores must not get into a release */
        return error_set(err, ERROR_FAILED, "source %s: git gave no answer to rev-parse",
                         spec->source);
    if (RUN(&g, err, "check-ignore", "-q", "--", ".") < 0)
        return -1;
    if (g.status == 0) {
        snprintf(result->note, sizeof result->note,
                 "the folder is ignored by the git repository around it: taken as without git");
        return 0;
    }
    if (describe_commit(&g, result, err) < 0 ||
        RUN(&g, err, "status", "--porcelain", "-z", "--untracked-files=normal", "--", ".") < 0)
        return -1;
    if (g.status != 0)
        return refused(&g, "status", err);
    result->dirty = g.out.len != 0;
    result->git = true;
    return 0;
}

/* ---- its list of files
 * -------------------------------------------------------------------------------- */

/* The index is a file that anybody may have written: nothing of it is believed. */
static bool path_is_good(const char *path)
{
    for (const char *p = path;;) {
        size_t len = strcspn(p, "/");
        if (len == 0 || len > 255 || (len == 1 && p[0] == '.') ||
            (len == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        if (p[len] == '\0')
            return true;
        p += len + 1;
    }
}

static bool has_git_part(const char *path)
{
    const char *p = path;
    for (;;) {
        size_t len = strcspn(p, "/");
        if (len == 4 && memcmp(p, ".git", 4) == 0)
            return true;
        if (p[len] == '\0')
            return false;
        p += len + 1;
    }
}

static int list_repository(const struct pack_spec *spec, const struct identity *id,
                           struct listing *l, const char *below, int depth, struct error *err);

/* A folder in git's list is a repository of its own: a submodule, or one that is not tracked. */
static int list_nested(const struct pack_spec *spec, const struct identity *id, struct listing *l,
                       const char *path, int depth, struct error *err)
{
    cleanup_free char *git = xasprintf("%s/%s/.git", spec->source, path);
    struct stat st;
    if (lstat(git, &st) < 0)
        return 0; /* a submodule that was not fetched: an empty folder */
    if (depth >= PACK_GIT_NESTED_MAX)
        return error_set(err, ERROR_USAGE, "source %s: repositories are nested deeper than %d",
                         spec->source, PACK_GIT_NESTED_MAX);
    return list_repository(spec, id, l, path, depth + 1, err);
}

static int list_one(const struct pack_spec *spec, const struct identity *id, struct listing *l,
                    struct beneath *at, const char *path, int depth, struct error *err)
{
    bool is_folder;
    if (!path_is_good(path))
        return error_set(err, ERROR_USAGE, "source %s: git lists \"%.200s\", which is no path",
                         spec->source, path);
    if (has_git_part(path))
        return 0;
    if (list_path(l, at, path, true, &is_folder, err) < 0)
        return -1;
    return is_folder ? list_nested(spec, id, l, path, depth, err) : 0;
}

static int list_repository(const struct pack_spec *spec, const struct identity *id,
                           struct listing *l, const char *below, int depth, struct error *err)
{
    cleanup_free char *dir =
        below[0] == '\0' ? xstrdup(spec->source) : xasprintf("%s/%s", spec->source, below);
    cleanup_git struct git g = {.id = id, .dir = dir};
    if (RUN(&g, err, "ls-files", "-z", "--cached", "--others", "--exclude-standard") < 0)
        return -1;
    if (g.status != 0)
        return refused(&g, "ls-files", err);
    cleanup_beneath struct beneath at = BENEATH_INIT(l->root);
    const char *p = buf_str(&g.out), *end = p + g.out.len;
    for (; p < end; p += strlen(p) + 1) {
        cleanup_free char *path = below[0] == '\0' ? xstrdup(p) : xasprintf("%s/%s", below, p);
        size_t len = strlen(path);
        if (len > 1 && path[len - 1] == '/')
            path[len - 1] = '\0';
        if (list_one(spec, id, l, &at, path, depth, err) < 0)
            return -1;
    }
    return 0;
}

int git_list(const struct pack_spec *spec, const struct identity *id, struct listing *l,
             struct error *err)
{
    return list_repository(spec, id, l, "", 0, err);
}
