#include "observe/accessfile.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 1000, PIPE_WAIT_MS = 100 };

void accessfile_init(struct accessfile *f, const char *path)
{
    *f = (struct accessfile){.path = path, .most = ACCESSFILE_BYTES, .fd = -1};
}

static void close_file(struct accessfile *f)
{
    if (f->fd > STDERR_FILENO)
        close(f->fd);
    f->fd = -1;
}

void accessfile_release(struct accessfile *f)
{
    close_file(f);
}

/* Once per trouble, and once when it is over. */
static void say(struct accessfile *f, const char *what, int why)
{
    if (!f->failing)
        log_error("access log %s: %s: %s; lines wait, then they are dropped", f->path, what,
                  strerror(why));
    f->failing = true;
}

static void went_well(struct accessfile *f)
{
    if (f->failing)
        log_info("access log %s is written again", f->path);
    f->failing = false;
}

static bool open_file(struct accessfile *f)
{
    struct stat st;
    if (strcmp(f->path, "-") == 0)
        f->fd = STDOUT_FILENO;
    else /* a pipe that nobody reads must not stop us for ever */
        f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
    if (f->fd < 0 || fstat(f->fd, &st) < 0) {
        say(f, "open", errno);
        close_file(f);
        return false;
    }
    f->regular = S_ISREG(st.st_mode) && f->fd > STDERR_FILENO;
    f->size = (uint64_t)st.st_size;
    return true;
}

/* Its name is another file's by now, or nobody's. */
static bool renamed(const struct accessfile *f)
{
    struct stat named, own;
    return fstat(f->fd, &own) == 0 &&
           (stat(f->path, &named) < 0 || named.st_ino != own.st_ino || named.st_dev != own.st_dev);
}

/* false: it could not be. */
static bool rotate(struct accessfile *f)
{
    char from[PATH_MAX], to[PATH_MAX];
    for (int i = ACCESSFILE_KEPT - 1; i >= 0; i--) {
        int a = i == 0 ? snprintf(from, sizeof from, "%s", f->path)
                       : snprintf(from, sizeof from, "%s.%d", f->path, i);
        int b = snprintf(to, sizeof to, "%s.%d", f->path, i + 1);
        if (a < 0 || b < 0 || (size_t)a >= sizeof from || (size_t)b >= sizeof to)
            return false;
        if (rename(from, to) < 0 && errno != ENOENT) {
            say(f, "rotate", errno);
            return false;
        }
    }
    close_file(f);
    return open_file(f);
}

/* Open, and with room. Without a rotation nothing more is written: the disk is not ours to fill. */
static bool prepare(struct accessfile *f, size_t len, int64_t now_ms)
{
    if (f->fd >= 0 && f->regular && now_ms - f->looked_ms >= LOOK_MS) {
        f->looked_ms = now_ms;
        if (renamed(f))
            close_file(f);
    }
    if (f->fd < 0 && !open_file(f))
        return false;
    if (!f->regular || f->size == 0 || f->size + len <= f->most)
        return true;
    if (renamed(f)) {
        close_file(f);
        return open_file(f);
    }
    return rotate(f);
}

/* The bytes [from, from + len) of two parts. */
static void slice(const struct iovec parts[2], size_t from, size_t len, struct iovec out[2])
{
    for (int i = 0; i < 2; i++) {
        size_t skip = from < parts[i].iov_len ? from : parts[i].iov_len;
        size_t take = len < parts[i].iov_len - skip ? len : parts[i].iov_len - skip;
        out[i] = (struct iovec){(char *)parts[i].iov_base + skip, take};
        from -= skip;
        len -= take;
    }
}

/* How many of the first n bytes are whole lines. */
static size_t whole_lines(const struct iovec parts[2], size_t n)
{
    struct iovec of[2];
    slice(parts, 0, n, of);
    const char *end = of[1].iov_len > 0 ? memrchr(of[1].iov_base, '\n', of[1].iov_len) : NULL;
    if (end != NULL)
        return of[0].iov_len + (size_t)(end + 1 - (const char *)of[1].iov_base);
    end = of[0].iov_len > 0 ? memrchr(of[0].iov_base, '\n', of[0].iov_len) : NULL;
    return end != NULL ? (size_t)(end + 1 - (const char *)of[0].iov_base) : 0;
}

static size_t write_regular(struct accessfile *f, const struct iovec parts[2])
{
    ssize_t n;
    do
        n = writev(f->fd, parts, 2);
    while (n < 0 && errno == EINTR);
    size_t all = parts[0].iov_len + parts[1].iov_len, went = n > 0 ? (size_t)n : 0;
    int why = n < 0 ? errno : ENOSPC;
    if (went == all) {
        f->size += went;
        went_well(f);
        return went;
    }
    /* A line that was cut in the middle would spoil the one behind it: it goes again, whole. */
    size_t whole = whole_lines(parts, went);
    struct stat st;
    if (went > whole && fstat(f->fd, &st) == 0 && st.st_size >= (off_t)(went - whole))
        (void)!ftruncate(f->fd, st.st_size - (off_t)(went - whole));
    f->size += whole;
    say(f, "write", why);
    return whole;
}

/* The length of the line at `from`, with its end. */
static size_t line_at(const struct iovec parts[2], size_t from, size_t all)
{
    struct iovec rest[2];
    slice(parts, from, all - from, rest);
    const char *end = rest[0].iov_len > 0 ? memchr(rest[0].iov_base, '\n', rest[0].iov_len) : NULL;
    if (end != NULL)
        return (size_t)(end + 1 - (const char *)rest[0].iov_base);
    end = rest[1].iov_len > 0 ? memchr(rest[1].iov_base, '\n', rest[1].iov_len) : NULL;
    return end != NULL ? rest[0].iov_len + (size_t)(end + 1 - (const char *)rest[1].iov_base)
                       : all - from;
}

/* Lines that a pipe takes at once, all or nothing (pipe(7), PIPE_BUF); a longer one by itself. */
static size_t next_lines(const struct iovec parts[2], size_t from, size_t all)
{
    struct iovec few[2];
    slice(parts, from, all - from < PIPE_BUF ? all - from : PIPE_BUF, few);
    size_t len = whole_lines(few, few[0].iov_len + few[1].iov_len);
    return len > 0 ? len : line_at(parts, from, all);
}

enum { STREAM_FULL = -1, STREAM_BROKEN = -2 };

/* A line that began is ended, however long that takes: others' lines must not come into it. */
static ssize_t send_lines(struct accessfile *f, const struct iovec parts[2], size_t from,
                          size_t len)
{
    size_t done = 0;
    while (done < len) {
        struct pollfd p = {.fd = f->fd, .events = POLLOUT};
        struct iovec now[2];
        if (poll(&p, 1, PIPE_WAIT_MS) == 0) {
            if (done == 0)
                return STREAM_FULL;
            continue;
        }
        slice(parts, from + done, len - done < PIPE_BUF ? len - done : PIPE_BUF, now);
        ssize_t n = writev(f->fd, now, 2);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            return STREAM_BROKEN;
    }
    return (ssize_t)done;
}

/* A pipe or terminal. */
static size_t write_stream(struct accessfile *f, const struct iovec parts[2])
{
    size_t done = 0, all = parts[0].iov_len + parts[1].iov_len;
    while (done < all) {
        ssize_t n = send_lines(f, parts, done, next_lines(parts, done, all));
        if (n == STREAM_BROKEN) {
            say(f, "write", errno);
            close_file(f);
        }
        if (n < 0)
            return done;
        done += (size_t)n;
    }
    went_well(f);
    return done;
}

size_t accessfile_write(struct accessfile *f, const struct iovec parts[2], int64_t now_ms)
{
    if (!prepare(f, parts[0].iov_len + parts[1].iov_len, now_ms))
        return 0;
    return f->regular ? write_regular(f, parts) : write_stream(f, parts);
}
