#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"
#include "pack/pack_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void listing_release(struct listing *l)
{
    arena_release(&l->arena);
    map_release(&l->folders);
    vec_release(l);
}

/* ---- bounds
 * ------------------------------------------------------------------------------------------- */

static int too_large(const struct listing *l, struct error *err)
{
    const struct entry *largest = &l->items[0];
    for (size_t i = 1; i < l->len; i++)
        if (l->items[i].size > largest->size)
            largest = &l->items[i];
    char limit[32], size[32];
    format_size_bytes(l->max_bytes, limit, sizeof limit);
    format_size_bytes(largest->size, size, sizeof size);
    return error_set(err, ERROR_USAGE,
                     "source %s is larger than %s (%s alone has %s): leave out what is not needed "
                     "with a .gitignore, or choose a smaller source",
                     l->source, limit, largest->path, size);
}

static struct entry *add(struct listing *l, const char *path, struct error *err)
{
    if (l->len >= l->max_files) {
        error_set(err, ERROR_USAGE,
                  "source %s has more than %u files: leave out what is not needed with a "
                  ".gitignore, or choose a smaller source",
                  l->source, l->max_files);
        return NULL;
    }
    if (strlen(path) > PACK_PATH_MAX) {
        error_set(err, ERROR_USAGE, "source %s: the path %.80s... is too long", l->source, path);
        return NULL;
    }
    struct entry *e = vec_push(l);
    e->path = arena_strdup(&l->arena, path);
    return e;
}

/* ---- links
 * -------------------------------------------------------------------------------------------- */

/* Stays inside: relative, and its ".." come first and do not lead above the source. A ".." behind a
 * name might follow another link and come out anywhere. */
static bool stays_inside(const char *path, const char *target)
{
    size_t depth = 0;
    bool went_down = false;
    if (target[0] == '/' || target[0] == '\0')
        return false;
    for (const char *p = path; *p != '\0'; p++)
        depth += *p == '/';
    for (const char *p = target; *p != '\0';) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            if (went_down || depth == 0)
                return false;
            depth--;
        } else if (len != 0 && !(len == 1 && p[0] == '.')) {
            went_down = true;
        }
        p += len + (p[len] == '/');
    }
    return true;
}

static int add_link(struct listing *l, int dir, const char *name, const char *path,
                    struct error *err)
{
    char target[4096];
    ssize_t len = readlinkat(dir, name, target, sizeof target - 1);
    if (len < 0)
        return error_errno(err, errno, "source %s: read the link %s", l->source, path);
    target[len] = '\0';
    if (!stays_inside(path, target))
        return error_set(err, ERROR_USAGE,
                         "source %s: the link %s -> %s leads out of the source: only relative "
                         "links that stay inside are taken; copy what it points to, or ignore it "
                         "in .gitignore",
                         l->source, path, target);
    struct entry *e = add(l, path, err);
    if (e == NULL)
        return -1;
    e->kind = ENTRY_LINK;
    e->target = arena_strdup(&l->arena, target);
    return 0;
}

/* ---- one path
 * ------------------------------------------------------------------------------------- */

static int add_folder(struct listing *l, const char *path, mode_t mode, struct error *err)
{
    if (map_get(&l->folders, path) != NULL)
        return 0;
    struct entry *e = add(l, path, err);
    if (e == NULL)
        return -1;
    e->kind = ENTRY_FOLDER;
    e->mode = (mode & 0755) | 0700;
    map_put(&l->folders, path, l);
    return 0;
}

static int add_file(struct listing *l, const char *path, const struct stat *st, struct error *err)
{
    struct entry *e = add(l, path, err);
    if (e == NULL)
        return -1;
    e->kind = ENTRY_FILE;
    e->mode = (st->st_mode & 0755) | 0600; /* without setuid, setgid, sticky and others' writing */
    e->size = (uint64_t)st->st_size;
    l->bytes += e->size;
    return l->bytes > l->max_bytes ? too_large(l, err) : 0;
}

static int add_seen(struct listing *l, int dir, const char *name, const char *path,
                    const struct stat *st, struct error *err)
{
    switch (st->st_mode & S_IFMT) {
    case S_IFREG: return add_file(l, path, st, err);
    case S_IFDIR: return add_folder(l, path, st->st_mode, err);
    case S_IFLNK: return add_link(l, dir, name, path, err);
    default:
        return error_set(err, ERROR_USAGE,
                         "source %s: %s is a %s: only files, folders and links can be deployed; "
                         "remove it, or ignore it in .gitignore",
                         l->source, path,
                         S_ISFIFO(st->st_mode)   ? "fifo"
                         : S_ISSOCK(st->st_mode) ? "socket"
                                                 : "device");
    }
}

static int missing(const struct listing *l, const char *path, struct error *err)
{
    if (errno == ENOENT)
        return error_set(err, ERROR_USAGE,
                         "source %s: %s vanished while it was read: deploy again when nothing "
                         "changes there",
                         l->source, path);
    enum error_class class = errno == EACCES ? ERROR_USAGE : ERROR_IO;
    error_errno(err, errno, "source %s: read %s", l->source, path);
    if (err != NULL)
        err->class = class;
    return -1;
}

static int add_parents(struct listing *l, const char *path, struct error *err)
{
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        cleanup_free char *folder = xstrndup(path, (size_t)(slash - path));
        if (map_get(&l->folders, folder) != NULL)
            continue;
        cleanup_beneath struct beneath at = BENEATH_INIT(l->root);
        const char *name;
        struct stat st;
        int dir = beneath_parent(&at, folder, &name);
        if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return missing(l, folder, err);
        if (!S_ISDIR(st.st_mode)) {
            errno = ENOENT; /* it was a folder a moment ago */
            return missing(l, folder, err);
        }
        if (add_folder(l, folder, st.st_mode, err) < 0)
            return -1;
    }
    return 0;
}

int list_path(struct listing *l, struct beneath *at, const char *path, bool missing_ok,
              bool *is_folder, struct error *err)
{
    const char *name;
    struct stat st;
    *is_folder = false;
    int dir = beneath_parent(at, path, &name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        /* ENOTDIR, ELOOP: a folder that is another thing now, so what was in it is gone. */
        if (missing_ok && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
            return 0;
        return missing(l, path, err);
    }
    *is_folder = S_ISDIR(st.st_mode);
    if (add_parents(l, path, err) < 0)
        return -1;
    return add_seen(l, dir, name, path, &st, err);
}

/* ---- everything
 * --------------------------------------------------------------------------------------- */

static int walk(struct listing *l, int parent, const char *name, struct buf *path, int depth,
                struct error *err);

static int walk_entry(struct listing *l, int dir, const char *name, struct buf *path, int depth,
                      struct error *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return missing(l, buf_str(path), err);
    if (add_seen(l, dir, name, buf_str(path), &st, err) < 0)
        return -1;
    return S_ISDIR(st.st_mode) ? walk(l, dir, name, path, depth + 1, err) : 0;
}

static void path_cut(struct buf *path, size_t len)
{
    path->len = len;
    if (path->data != NULL)
        path->data[len] = '\0';
}

static void close_stream(DIR **d)
{
    if (*d != NULL)
        closedir(*d);
}

static int walk(struct listing *l, int parent, const char *name, struct buf *path, int depth,
                struct error *err)
{
    if (depth > PACK_DEPTH_MAX)
        return error_set(err, ERROR_USAGE,
                         "source %s: folders are nested deeper than %d (%.80s...)", l->source,
                         PACK_DEPTH_MAX, buf_str(path));
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    __attribute__((cleanup(close_stream))) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        int failed = errno;
        if (fd >= 0)
            close(fd);
        errno = failed;
        return missing(l, depth == 0 ? "the folder itself" : buf_str(path), err);
    }
    size_t len = path->len;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            return errno == 0 ? 0 : missing(l, buf_str(path), err);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            strcmp(e->d_name, ".git") == 0)
            continue;
        buf_printf(path, "%s%s", len == 0 ? "" : "/", e->d_name);
        if (walk_entry(l, fd, e->d_name, path, depth, err) < 0)
            return -1;
        path_cut(path, len);
    }
}

int list_all(struct listing *l, struct error *err)
{
    cleanup_buf struct buf path = BUF_INIT;
    return walk(l, l->root, ".", &path, 0, err);
}

/* ---- order
 * -------------------------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

void list_sort(struct listing *l)
{
    if (l->len == 0)
        return;
    qsort(l->items, l->len, sizeof l->items[0], by_path);
    size_t kept = 1;
    for (size_t i = 1; i < l->len; i++)
        if (strcmp(l->items[i].path, l->items[kept - 1].path) != 0)
            l->items[kept++] = l->items[i];
    l->len = kept;
}
