#include "shim/applog.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/clock.h"
#include "os/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PIECE_MAX = 16 << 10,
    PIECE_MIN = 64,
    LINE_OVERHEAD = 256, /* time, stream, label of a JSON line */
    READ_SIZE = 16 << 10,
    PENDING_MAX = 16 << 10,
    KEPT_MAX = 32 << 10, /* memory that is kept from one flush to the next */
};
static const char *const stream_names[APPLOG_STREAMS] = {"out", "err"};

/* ---- the file ------------------------------------------------------------------------------- */

static int open_file(struct applog *log)
{
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    struct stat st;
    if (log->fd < 0 || fstat(log->fd, &st) < 0)
        return -1;
    log->size = (uint64_t)st.st_size;
    return 0;
}

static void close_file(struct applog *log)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

static int rotate(struct applog *log)
{
    if (rename(log->path, log->rotated_path) < 0 && errno != ENOENT)
        return -1;
    close_file(log);
    struct stat st; /* a budget that became smaller: the old file may be over the new half */
    if (stat(log->rotated_path, &st) == 0 && (uint64_t)st.st_size > log->half)
        unlink(log->rotated_path);
    return open_file(log);
}

/* The whole of data or nothing of it: a line cut in the middle would spoil the one behind it. */
static int append_whole(struct applog *log, const char *data, size_t len)
{
    if (log->fd < 0 && open_file(log) < 0)
        return -1;
    if (log->size + len > log->half && log->size > 0 && rotate(log) < 0)
        return -1;
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(log->fd, data + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int failed = errno;
            (void)!ftruncate(log->fd, (off_t)log->size);
            errno = failed;
            return -1;
        }
        done += (size_t)n;
    }
    log->size += len;
    return 0;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void format_line(struct applog *log, enum applog_stream stream, const char *text, size_t len,
                        struct buf *out)
{
    char now[WALL_TEXT_SIZE];
    buf_printf(out, "{\"t\":\"%s\",\"s\":\"%s\",\"p\":\"%s\",\"m\":\"",
               clock_format_wall(clock_wall_ms(), now), stream_names[stream], log->label);
    buf_json_escape(out, text, len);
    buf_puts(out, "\"}\n");
}

static int say_dropped(struct applog *log)
{
    if (log->dropped_unsaid == 0)
        return 0;
    char text[160];
    cleanup_buf struct buf line = BUF_INIT;
    snprintf(text, sizeof text, "sluice: %llu log lines were dropped here: %s",
             (unsigned long long)log->dropped_unsaid, strerror(log->dropped_errno));
    format_line(log, APPLOG_ERR, text, strlen(text), &line);
    if (append_whole(log, line.data, line.len) < 0)
        return -1;
    log->dropped_unsaid = 0;
    return 0;
}

static void flush(struct applog *log)
{
    if (log->pending_lines == 0)
        return;
    if (say_dropped(log) < 0 || append_whole(log, log->pending.data, log->pending.len) < 0) {
        log->dropped_errno = errno;
        log->dropped += log->pending_lines;
        log->dropped_unsaid += log->pending_lines;
    }
    buf_clear(&log->pending);
    if (log->pending.cap > KEPT_MAX)
        buf_release(&log->pending);
    log->pending_lines = 0;
}

static void emit(struct applog *log, enum applog_stream stream, const char *text, size_t len)
{
    size_t before = log->pending.len;
    format_line(log, stream, text, len, &log->pending);
    /* What goes out together must fit into one file, or the bound would not hold. */
    size_t line_len = log->pending.len - before;
    if (before > 0 && log->size + log->pending.len > log->half) {
        cleanup_buf struct buf line = BUF_INIT;
        buf_append(&line, log->pending.data + before, line_len);
        log->pending.len = before;
        flush(log);
        buf_append(&log->pending, line.data, line.len);
    }
    log->pending_lines++;
    if (log->pending.len > PENDING_MAX)
        flush(log);
}

/* The end of the part of text (a whole piece) that does not cut a UTF-8 character in two. */
static size_t piece_end(const char *text, size_t len)
{
    size_t end = len;
    while (end > 0 && len - end < 3 && ((unsigned char)text[end - 1] & 0xC0) == 0x80)
        end--;
    if (end > 0 && ((unsigned char)text[end - 1] & 0xC0) == 0xC0) {
        unsigned char lead = (unsigned char)text[end - 1];
        size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (len - (end - 1) < want)
            return end - 1 > 0 ? end - 1 : len;
    }
    return len;
}

static void end_line(struct applog *log, enum applog_stream stream)
{
    struct buf *partial = &log->partial[stream];
    size_t len = partial->len;
    if (len > 0 && partial->data[len - 1] == '\r')
        len--;
    emit(log, stream, buf_str(partial), len);
    buf_clear(partial);
}

static void take(struct applog *log, enum applog_stream stream, const char *data, size_t len)
{
    struct buf *partial = &log->partial[stream];
    while (len > 0) {
        size_t room = log->piece_max - partial->len, n = len < room ? len : room;
        const char *newline = memchr(data, '\n', n);
        if (newline != NULL)
            n = (size_t)(newline - data);
        buf_append(partial, data, n);
        data += n;
        len -= n;
        if (newline != NULL) {
            data++;
            len--;
            end_line(log, stream);
        } else if (partial->len >= log->piece_max) {
            size_t end = piece_end(partial->data, partial->len);
            emit(log, stream, partial->data, end);
            buf_consume(partial, end);
        }
    }
}

/* ---- the surface ---------------------------------------------------------------------------- */

static size_t piece_for(uint64_t half)
{
    /* One byte becomes six at most ("\u001f"). */
    uint64_t fits = half > LINE_OVERHEAD ? (half - LINE_OVERHEAD) / 6 : 0;
    return fits > PIECE_MAX ? PIECE_MAX : fits < PIECE_MIN ? PIECE_MIN : (size_t)fits;
}

int applog_init(struct applog *log, const char *path, uint64_t max_bytes, const char *label,
                struct error *err)
{
    cleanup_buf struct buf escaped = BUF_INIT;
    buf_json_escape(&escaped, label, strnlen(label, 64));
    *log = (struct applog){.fd = -1, .half = max_bytes / 2, .piece_max = piece_for(max_bytes / 2)};
    log->path = xstrdup(path);
    log->rotated_path = xasprintf("%s.1", path);
    log->label = buf_detach(&escaped);
    const char *slash = strrchr(path, '/');
    ASSERT(slash != NULL);
    cleanup_free char *folder = xstrndup(path, (size_t)(slash - path));
    if (folder[0] != '\0' && make_folders(AT_FDCWD, folder, 0750, err) < 0)
        return -1;
    if (open_file(log) < 0)
        return error_errno(err, errno, "open log %s", path);
    return 0;
}

int applog_read(struct applog *log, enum applog_stream stream, int pipe_fd, size_t most)
{
    char data[READ_SIZE];
    size_t total = 0;
    int result = 0;
    while (total < most) {
        ssize_t n = read(pipe_fd, data, sizeof data);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            result = n < 0 && errno == EAGAIN ? 0 : -1;
            break;
        }
        take(log, stream, data, (size_t)n);
        total += (size_t)n;
    }
    flush(log);
    return total > 0 ? (int)total : result;
}

void applog_say(struct applog *log, const char *text)
{
    emit(log, APPLOG_ERR, text, strlen(text));
    flush(log);
}

void applog_finish(struct applog *log)
{
    for (int s = 0; s < APPLOG_STREAMS; s++) {
        if (log->partial[s].len > 0)
            end_line(log, (enum applog_stream)s);
        buf_release(&log->partial[s]);
    }
    flush(log);
    if (log->dropped_unsaid > 0)
        say_dropped(log);
    close_file(log);
    buf_release(&log->pending);
    free(log->path);
    free(log->rotated_path);
    free(log->label);
    log->path = log->rotated_path = log->label = NULL;
}
