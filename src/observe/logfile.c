#include "observe/logfile.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "observe/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void logfile_init(struct logfile *f, const char *instance)
{
    memset(f, 0, sizeof *f);
    f->instance = xstrdup(instance);
    f->release = logs_release_of(instance);
    f->touched = true;
}

void logfile_release(struct logfile *f)
{
    free(f->instance);
    buf_release(&f->unread);
}

enum generation { CURRENT, OLDER };

/* Which file it is: an inode's number is given out again soon after a rotation, so the birth time
 * belongs to it. */
struct identity {
    struct logfile_id id;
    off_t size;
};

static bool same(const struct logfile_id *a, const struct logfile_id *b)
{
    return a->inode == b->inode && a->born_ns == b->born_ns;
}

static int identify(int fd, struct identity *out)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) != 0 ||
        !S_ISREG(st.stx_mode))
        return -1;
    out->id.inode = st.stx_ino;
    out->id.born_ns = (st.stx_mask & STATX_BTIME) != 0
                          ? st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec
                          : 0;
    out->size = (off_t)st.stx_size;
    return 0;
}

/* A regular file only: a pipe put there by someone must not block us. */
static int open_log(int dir_fd, const char *instance, enum generation which, struct identity *st)
{
    cleanup_free char *name = xasprintf("%s.log%s", instance, which == OLDER ? ".1" : "");
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (identify(fd, st) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Opens the file that the place is in; moves the place when that file is gone or over. -1: there is
 * nothing to read now. */
static int open_place(struct logfile *f, int dir_fd)
{
    struct identity older, current;
    cleanup_close int current_fd = open_log(dir_fd, f->instance, CURRENT, &current);
    if (current_fd >= 0 && same(&current.id, &f->id)) {
        if (current.size < f->offset) /* cut by someone's hand: begin again */
            f->offset = 0;
        return current.size > f->offset ? take_fd(&current_fd) : -1;
    }
    cleanup_close int older_fd = open_log(dir_fd, f->instance, OLDER, &older);
    if (older_fd >= 0 && same(&older.id, &f->id) && older.size > f->offset)
        return take_fd(&older_fd);
    if (older_fd >= 0 && !same(&older.id, &f->id)) {
        /* Nothing was read yet, or it was rotated twice meanwhile: the oldest that there is. */
        f->id = older.id;
        f->offset = 0;
        if (older.size > 0)
            return take_fd(&older_fd);
    }
    if (current_fd < 0)
        return -1;
    f->id = current.id;
    f->offset = 0;
    return current.size > 0 ? take_fd(&current_fd) : -1;
}

static size_t read_chunk(struct logfile *f, int dir_fd)
{
    cleanup_close int fd = open_place(f, dir_fd);
    if (fd < 0)
        return 0;
    buf_consume(&f->unread, f->start);
    f->scanned -= f->start;
    f->start = 0;
    buf_reserve(&f->unread, LOGFILE_CHUNK);
    ssize_t n;
    do {
        n = pread(fd, f->unread.data + f->unread.len, LOGFILE_CHUNK, f->offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    f->unread.len += (size_t)n;
    f->unread.data[f->unread.len] = '\0';
    f->offset += n;
    return (size_t)n;
}

int logfile_next(struct logfile *f, int dir_fd, const char **line, size_t *len, size_t *read_bytes)
{
    for (;;) {
        const char *from = f->unread.len > 0 ? f->unread.data + f->scanned : NULL;
        const char *end = from != NULL ? memchr(from, '\n', f->unread.len - f->scanned) : NULL;
        if (end != NULL && f->skipping) {
            f->scanned = f->start = (size_t)(end - f->unread.data) + 1;
            f->skipping = false;
            continue;
        }
        if (end != NULL) {
            *line = f->unread.data + f->start;
            *len = (size_t)(end - *line);
            return 1;
        }
        f->scanned = f->unread.len;
        if (f->skipping || f->unread.len - f->start > LOGS_MAX_LINE) {
            f->skipping = true;
            buf_clear(&f->unread);
            f->scanned = f->start = 0;
        }
        size_t n = f->touched ? read_chunk(f, dir_fd) : 0;
        *read_bytes += n;
        if (n == 0) {
            f->touched = false;
            if (f->unread.len == f->start) { /* idle files cost nothing */
                buf_release(&f->unread);
                f->scanned = f->start = 0;
            }
            return 0;
        }
    }
}

void logfile_taken(struct logfile *f, size_t len)
{
    ASSERT(f->start + len < f->unread.len && f->unread.data[f->start + len] == '\n');
    f->start += len + 1;
    f->scanned = f->start;
}

/* The offset behind the last newline but n of the file; *n is lowered by the lines that are there.
 */
static off_t find_last(int fd, off_t size, unsigned *n)
{
    char chunk[16 << 10];
    off_t at = size;
    while (at > 0) {
        off_t from = at > (off_t)sizeof chunk ? at - (off_t)sizeof chunk : 0;
        ssize_t got = pread(fd, chunk, (size_t)(at - from), from);
        if (got != at - from)
            return from; /* it shrank under us: more lines than wanted do no harm */
        for (ssize_t i = got - 1; i >= 0; i--) {
            if (chunk[i] != '\n' || from + i + 1 == size)
                continue;
            if (--*n == 0)
                return from + i + 1;
        }
        at = from;
    }
    if (size > 0)
        --*n;
    return 0;
}

void logfile_seek_last(struct logfile *f, int dir_fd, unsigned n)
{
    ASSERT(f->id.inode == 0 && n > 0);
    struct identity st;
    for (enum generation which = CURRENT; which <= OLDER; which++) {
        cleanup_close int fd = open_log(dir_fd, f->instance, which, &st);
        if (fd < 0)
            continue;
        f->offset = find_last(fd, st.size, &n);
        f->id = st.id;
        if (n == 0)
            return;
    }
}
