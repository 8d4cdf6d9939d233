#include "base/alloc.h"
#include "base/sha256.h"
#include "os/fdio.h"
#include "pack/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 256 << 10, TRIES = 3 };

struct copy {
    const struct listing *listing;
    const struct identity *id;
    struct beneath from, to;
    struct sha256 digest;
    uint64_t bytes;
    char *piece; /* PIECE bytes */
};

static void copy_release(struct copy *c)
{
    beneath_release(&c->from);
    beneath_release(&c->to);
    free(c->piece);
}

static int write_failed(const char *path, struct error *err)
{
    return error_errno(err, errno, "write %s into the release", path);
}

static int read_failed(const struct copy *c, const char *path, struct error *err)
{
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return error_set(err, ERROR_USAGE,
                         "source %s: %s vanished while it was read: deploy again when nothing "
                         "changes there",
                         c->listing->source, path);
    enum error_class class = errno == EACCES || errno == EPERM ? ERROR_USAGE : ERROR_IO;
    error_errno(err, errno, "source %s: read %s", c->listing->source, path);
    if (err != NULL)
        err->class = class;
    return -1;
}

static int give_to_owner(const struct copy *c, int dir, const char *name, const char *path,
                         struct error *err)
{
    if (c->id->root && fchownat(dir, name, c->id->owner, c->id->owner_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return write_failed(path, err);
    return 0;
}

/* ---- files
 * -------------------------------------------------------------------------------------------- */

static int open_source(struct copy *c, const struct entry *e, struct stat *st, struct error *err)
{
    const char *name;
    identity_read(c->id);
    int dir = beneath_parent(&c->from, e->path, &name);
    /* NONBLOCK: if it became a fifo meanwhile, the open must not wait for a writer. */
    int fd =
        dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int failed = errno;
    identity_write(c->id);
    errno = failed;
    if (fd < 0)
        return read_failed(c, e->path, err);
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
        return fd;
    close(fd);
    errno = ENOENT;
    return read_failed(c, e->path, err);
}

static bool same_moment(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* 1 copied, 0 it changed meanwhile, -1. */
static int copy_once(struct copy *c, const struct entry *e, int to, struct sha256 *digest,
                     struct error *err)
{
    struct stat before, after;
    char head[64];
    uint64_t done = 0;
    cleanup_close int from = open_source(c, e, &before, err);
    if (from < 0)
        return -1;
    if (c->bytes + (uint64_t)before.st_size > c->listing->max_bytes)
        return error_set(err, ERROR_USAGE, "source %s grew over the limit while it was read",
                         c->listing->source);
    if (ftruncate(to, 0) < 0 || lseek(to, 0, SEEK_SET) < 0)
        return write_failed(e->path, err);
    snprintf(head, sizeof head, "%" PRIu64, (uint64_t)before.st_size);
    sha256_add(digest, head, strlen(head) + 1);
    for (;;) {
        ssize_t n = read(from, c->piece, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return read_failed(c, e->path, err);
        if (n == 0)
            break;
        done += (uint64_t)n;
        if (done > (uint64_t)before.st_size)
            return 0;
        sha256_add(digest, c->piece, (size_t)n);
        if (write_all(to, c->piece, (size_t)n) < 0)
            return write_failed(e->path, err);
    }
    if (fstat(from, &after) < 0)
        return read_failed(c, e->path, err);
    c->bytes += done;
    return done == (uint64_t)before.st_size && same_moment(&before, &after);
}

static int copy_file(struct copy *c, const struct entry *e, int dir, const char *name,
                     struct error *err)
{
    cleanup_close int to =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return write_failed(e->path, err);
    for (int i = 0; i < TRIES; i++) {
        struct sha256 digest = c->digest;
        uint64_t bytes = c->bytes;
        int copied = copy_once(c, e, to, &digest, err);
        if (copied < 0)
            return -1;
        if (copied > 0) {
            c->digest = digest;
            return fchmod(to, e->mode) < 0 ? write_failed(e->path, err) : 0;
        }
        c->bytes = bytes;
    }
    return error_set(err, ERROR_USAGE,
                     "source %s: %s changed while it was read: deploy again when nothing writes "
                     "there, or leave it out with a .gitignore",
                     c->listing->source, e->path);
}

/* ---- all
 * ---------------------------------------------------------------------------------------------- */

static int copy_entry(struct copy *c, const struct entry *e, struct error *err)
{
    static const char kinds[] = {[ENTRY_FILE] = 'f', [ENTRY_FOLDER] = 'd', [ENTRY_LINK] = 'l'};
    const char *name;
    int dir = beneath_parent(&c->to, e->path, &name), status = 0;
    if (dir < 0)
        return write_failed(e->path, err);
    bool runs = e->kind == ENTRY_FILE && (e->mode & 0111) != 0;
    sha256_add(&c->digest, runs ? "x" : &kinds[e->kind], 1);
    sha256_add(&c->digest, e->path, strlen(e->path) + 1);
    switch (e->kind) {
    case ENTRY_FILE: status = copy_file(c, e, dir, name, err); break;
    case ENTRY_FOLDER:
        /* Nothing is in it yet, and nobody but us can come here: the name is what was made. */
        if (mkdirat(dir, name, 0700) < 0 || fchmodat(dir, name, e->mode, 0) < 0)
            status = write_failed(e->path, err);
        break;
    case ENTRY_LINK:
        sha256_add(&c->digest, e->target, strlen(e->target) + 1);
        if (symlinkat(e->target, dir, name) < 0)
            status = write_failed(e->path, err);
        break;
    }
    return status < 0 ? -1 : give_to_owner(c, dir, name, e->path, err);
}

int copy_listing(const struct listing *l, const struct identity *id, int to,
                 struct pack_result *result, struct error *err)
{
    __attribute__((cleanup(copy_release))) struct copy c = {.listing = l,
                                                            .id = id,
                                                            .from = BENEATH_INIT(l->root),
                                                            .to = BENEATH_INIT(to),
                                                            .piece = xmalloc(PIECE)};
    sha256_init(&c.digest);
    for (size_t i = 0; i < l->len; i++) {
        if (copy_entry(&c, &l->items[i], err) < 0)
            return -1;
        result->files += l->items[i].kind != ENTRY_FOLDER;
    }
    result->bytes = c.bytes;
    sha256_end_hex(&c.digest, result->digest);
    return 0;
}
