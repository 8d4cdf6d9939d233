/* Whole trees: read-only and on the disk, or gone. Names are always relative to an open folder and
 * links are never followed, since what runs in a release may have put anything there. */
#include "base/alloc.h"
#include "pack/pack_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEAL_DEPTH_MAX = 700, MEASURE_DEPTH_MAX = 700, REMOVE_DEPTH_MAX = 64 };
enum { FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static void close_stream(DIR **d)
{
    if (*d != NULL)
        closedir(*d);
}
#define cleanup_stream __attribute__((cleanup(close_stream)))

/* Takes fd, also on an error. */
static DIR *stream_of(int fd)
{
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL && fd >= 0)
        close(fd);
    return d;
}

/* The next name that is not "." or ".."; NULL at the end (errno 0) or on an error. */
static const char *next_name(DIR *d)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            return NULL;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
}

/* ---- sealing
 * ------------------------------------------------------------------------------------------ */

struct seal {
    const char *shown;
    uint32_t synced;
    bool sync_all;
    uint64_t bytes;
};

static int seal_failed(const struct seal *s, const char *name, struct error *err)
{
    return error_errno(err, errno, "make the release %s read-only: %s", s->shown, name);
}

/* Blocks, not lengths: many small files take more than they hold, and holes take nothing. A file of
 * several names counts in parts, which come to the whole where all its names are in here. */
static uint64_t bytes_on_disk(const struct stat *st)
{
    uint64_t bytes = (uint64_t)st->st_blocks * 512;
    return S_ISDIR(st->st_mode) || st->st_nlink < 2 ? bytes : bytes / st->st_nlink;
}

/* A file's data must be there after a power cut once the release counts as ready. */
static void sync_file(struct seal *s, int dir, const char *name)
{
    if (s->sync_all || ++s->synced > PACK_SYNC_ONE_BY_ONE) {
        s->sync_all = true;
        return;
    }
    cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        s->sync_all = true;
}

static int seal_folder(struct seal *s, int parent, const char *name, int depth, struct error *err);

static int seal_entry(struct seal *s, int dir, const char *name, int depth, struct error *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : seal_failed(s, name, err);
    if (S_ISDIR(st.st_mode))
        return seal_folder(s, dir, name, depth + 1, err);
    s->bytes += bytes_on_disk(&st);
    if (S_ISLNK(st.st_mode))
        return 0;
    /* Between the look and this a link may take its place: we run as the one who could put it
     * there, so nothing is reached that it could not change itself. */
    if (fchmodat(dir, name, st.st_mode & 0555, 0) < 0 && errno != ENOENT)
        return seal_failed(s, name, err);
    if (S_ISREG(st.st_mode))
        sync_file(s, dir, name);
    return 0;
}

static int seal_folder(struct seal *s, int parent, const char *name, int depth, struct error *err)
{
    struct stat st;
    if (depth > SEAL_DEPTH_MAX)
        return error_set(err, ERROR_USAGE, "the release %s has folders nested deeper than %d",
                         s->shown, SEAL_DEPTH_MAX);
    cleanup_stream DIR *d = stream_of(openat(parent, name, FOLDER));
    if (d == NULL)
        return seal_failed(s, name, err);
    for (const char *inside; (inside = next_name(d)) != NULL;)
        if (seal_entry(s, dirfd(d), inside, depth, err) < 0)
            return -1;
    mode_t mask =
        depth == 0 ? 0550 : 0555; /* the top is closed to others, whatever a build made it */
    if (errno != 0 || fstat(dirfd(d), &st) < 0 || fchmod(dirfd(d), st.st_mode & mask) < 0)
        return seal_failed(s, name, err);
    s->bytes += bytes_on_disk(&st);
    if (!s->sync_all && fsync(dirfd(d)) < 0)
        s->sync_all = true;
    return 0;
}

int tree_seal(const char *dir, uint64_t *bytes, struct error *err)
{
    struct seal s = {.shown = dir};
    cleanup_close int fd = open(dir, FOLDER);
    if (fd < 0)
        return seal_failed(&s, dir, err);
    if (seal_folder(&s, fd, ".", 0, err) < 0)
        return -1;
    if (s.sync_all && syncfs(fd) < 0)
        return error_errno(err, errno, "write the release %s to the disk", dir);
    *bytes = s.bytes;
    return 0;
}

/* ---- measuring
 * ---------------------------------------------------------------------------------------- */

struct measure {
    const char *shown;
    dev_t device;
    uint64_t bytes;
};

/* Gone meanwhile, or somebody's secret: then it does not count. */
static int measure_failed(const struct measure *m, const char *name, struct error *err)
{
    if (errno == ENOENT || errno == EACCES || errno == ENOTDIR || errno == ELOOP)
        return 0;
    return error_errno(err, errno, "measure %s: %s", m->shown, name);
}

static int measure_folder(struct measure *m, int parent, const char *name, int depth,
                          struct error *err)
{
    struct stat st;
    if (depth > MEASURE_DEPTH_MAX)
        return 0;
    cleanup_stream DIR *d = stream_of(openat(parent, name, FOLDER));
    if (d == NULL)
        return measure_failed(m, name, err);
    for (const char *inside; (inside = next_name(d)) != NULL;) {
        if (fstatat(dirfd(d), inside, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (measure_failed(m, inside, err) < 0)
                return -1;
            continue;
        }
        if (st.st_dev != m->device)
            continue;
        m->bytes += bytes_on_disk(&st);
        if (S_ISDIR(st.st_mode) && measure_folder(m, dirfd(d), inside, depth + 1, err) < 0)
            return -1;
    }
    return errno == 0 ? 0 : measure_failed(m, name, err);
}

int tree_measure(const char *dir, uint64_t *bytes, struct error *err)
{
    struct measure m = {.shown = dir};
    struct stat st;
    if (lstat(dir, &st) < 0)
        return measure_failed(&m, dir, err);
    m.device = st.st_dev;
    m.bytes = bytes_on_disk(&st);
    if (S_ISDIR(st.st_mode) && measure_folder(&m, AT_FDCWD, dir, 0, err) < 0)
        return -1;
    *bytes = m.bytes;
    return 0;
}

/* ---- removing
 * ----------------------------------------------------------------------------------------- */

struct removal {
    const char *shown;
    int top; /* the folder that is emptied */
    dev_t device;
    uint64_t moved; /* names given to folders that were moved up */
};

static int remove_failed(const struct removal *r, const char *name, struct error *err)
{
    return error_errno(err, errno, "delete %s: %s", r->shown, name);
}

static int empty_folder(struct removal *r, int fd, int depth, struct error *err);

/* Read-only folders must become writable before they are emptied or moved. Through /proc: an O_PATH
 * descriptor takes no fchmod, and a name could be a link by now. */
static int make_writable(int folder, const struct stat *st)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", folder);
    return (st->st_mode & 0700) == 0700 ? 0 : chmod(path, 0700);
}

/* Very deep trees would need a descriptor for each level: what is too deep comes up to the top,
 * whose names are gone through again until there is none left. */
static int move_up(struct removal *r, int dir, const char *name, struct error *err)
{
    char to[64];
    do
        snprintf(to, sizeof to, ".sluice-removing-%llu", (unsigned long long)r->moved++);
    while (faccessat(r->top, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    if (renameat(dir, name, r->top, to) < 0)
        return remove_failed(r, name, err);
    return 0;
}

static int remove_entry(struct removal *r, int dir, const char *name, int depth, struct error *err)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return remove_failed(r, name, err);
    struct stat st;
    cleanup_close int folder = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || fstat(folder, &st) < 0)
        return remove_failed(r, name, err);
    if (st.st_dev != r->device)
        return error_set(err, ERROR_IO,
                         "delete %s: another file system is mounted at %s: unmount it", r->shown,
                         name);
    if (make_writable(folder, &st) < 0)
        return remove_failed(r, name, err);
    if (depth >= REMOVE_DEPTH_MAX)
        return move_up(r, dir, name, err);
    int readable = openat(folder, ".", FOLDER);
    if (readable < 0)
        return remove_failed(r, name, err);
    if (empty_folder(r, readable, depth + 1, err) < 0)
        return -1;
    if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return remove_failed(r, name, err);
    return 0;
}

/* Takes fd. */
static int empty_folder(struct removal *r, int fd, int depth, struct error *err)
{
    cleanup_stream DIR *d = stream_of(fd);
    if (d == NULL)
        return remove_failed(r, ".", err);
    for (const char *name; (name = next_name(d)) != NULL;)
        if (remove_entry(r, dirfd(d), name, depth, err) < 0)
            return -1;
    return errno == 0 ? 0 : remove_failed(r, ".", err);
}

static bool is_empty(int fd)
{
    cleanup_stream DIR *d = stream_of(openat(fd, ".", FOLDER));
    return d != NULL && next_name(d) == NULL && errno == 0;
}

int tree_remove(int dir, const char *name, const char *shown, struct error *err)
{
    struct removal r = {.shown = shown};
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : remove_failed(&r, name, err);
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dir, name, 0) == 0 ? 0 : remove_failed(&r, name, err);
    cleanup_close int folder = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || make_writable(folder, &st) < 0)
        return remove_failed(&r, name, err);
    cleanup_close int top = openat(folder, ".", FOLDER);
    if (top < 0)
        return remove_failed(&r, name, err);
    r.top = top;
    r.device = st.st_dev;
    do {
        int again = openat(top, ".", FOLDER);
        if (again < 0)
            return remove_failed(&r, name, err);
        if (empty_folder(&r, again, 0, err) < 0)
            return -1;
    } while (!is_empty(top));
    return unlinkat(dir, name, AT_REMOVEDIR) == 0 ? 0 : remove_failed(&r, name, err);
}
