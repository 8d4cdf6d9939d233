#include "observe/logs.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "observe/logfile.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TIME_LEN = 24 }; /* "2026-11-21T08:00:00.123Z" */

struct logs_reader {
    char *dir;
    int dir_fd; /* -1: the folder is not there yet */
    struct logs_filter filter;
    char *instance, *process;
    char since[TIME_LEN + 1]; /* "" all; times of this form compare as text */
    struct {
        struct logfile *items;
        size_t len, cap;
    } files;
    bool rescan; /* there may be new files */
    /* The last N of what is there at first: lines wait here until all has been read. */
    struct {
        char **items;
        size_t len, cap;
    } kept;
    size_t kept_first;
    bool keeping;
};

uint32_t logs_release_of(const char *instance_id)
{
    /* The nearest whole number before the last part: APP-RELEASE-N, APP-RELEASE-PROCESS-N. */
    const char *end = strrchr(instance_id, '-');
    while (end != NULL && end > instance_id) {
        const char *start = end;
        uint64_t number = 0;
        while (start > instance_id && start[-1] >= '0' && start[-1] <= '9')
            start--;
        for (const char *p = start; p < end && number <= UINT32_MAX; p++)
            number = number * 10 + (uint64_t)(*p - '0');
        if (start < end && start > instance_id && start[-1] == '-' && number <= UINT32_MAX)
            return (uint32_t)number;
        do {
            end--;
        } while (end > instance_id && *end != '-');
    }
    return 0;
}

struct logs_reader *logs_reader_new(const char *dir, const struct logs_filter *filter)
{
    struct logs_reader *r = xcalloc(1, sizeof *r);
    r->dir = xstrdup(dir);
    r->dir_fd = -1;
    r->filter = *filter;
    r->instance = xstrdup(filter->instance);
    r->process = xstrdup(filter->process);
    r->rescan = true;
    r->keeping = filter->last > 0;
    if (filter->since_ms > 0) {
        time_t seconds = (time_t)(filter->since_ms / 1000);
        struct tm tm;
        char text[64];
        if (gmtime_r(&seconds, &tm) != NULL &&
            snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     (int)(filter->since_ms % 1000)) == TIME_LEN)
            memcpy(r->since, text, sizeof r->since);
    }
    return r;
}

void logs_reader_free(struct logs_reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->files.len; i++)
        logfile_release(&r->files.items[i]);
    for (size_t i = 0; i < r->kept.len; i++)
        free(r->kept.items[i]);
    vec_release(&r->files);
    vec_release(&r->kept);
    if (r->dir_fd >= 0)
        close(r->dir_fd);
    free(r->dir);
    free(r->instance);
    free(r->process);
    free(r);
}

/* "shop-7-1.log" or "shop-7-1.log.1" -> the length of the instance id; 0: no log file's name. */
static size_t instance_of(const char *name)
{
    size_t len = strlen(name);
    if (len > 6 && strcmp(name + len - 6, ".log.1") == 0)
        return len - 6;
    if (len > 4 && strcmp(name + len - 4, ".log") == 0)
        return len - 4;
    return 0;
}

static struct logfile *find_file(struct logs_reader *r, const char *instance)
{
    for (size_t i = 0; i < r->files.len; i++) {
        if (strcmp(r->files.items[i].instance, instance) == 0)
            return &r->files.items[i];
    }
    return NULL;
}

static void add_file(struct logs_reader *r, const char *name)
{
    size_t len = instance_of(name);
    if (len == 0 || (r->instance != NULL &&
                     (strlen(r->instance) != len || memcmp(r->instance, name, len) != 0)))
        return;
    cleanup_free char *instance = xstrndup(name, len);
    if ((r->filter.release != 0 && logs_release_of(instance) != r->filter.release) ||
        find_file(r, instance) != NULL)
        return;
    struct logfile *f = vec_push(&r->files);
    logfile_init(f, instance);
    /* With a process asked for, the last N of the file need not hold N of the process. */
    if (r->keeping && r->process == NULL)
        logfile_seek_last(f, r->dir_fd, r->filter.last);
}

static void scan_folder(struct logs_reader *r)
{
    if (r->dir_fd < 0)
        r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = r->dir_fd < 0 ? -1 : openat(r->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        add_file(r, e->d_name);
    closedir(d);
    r->rescan = false;
}

void logs_touched(struct logs_reader *r, const char *file)
{
    if (file == NULL) {
        r->rescan = true;
        for (size_t i = 0; i < r->files.len; i++)
            r->files.items[i].touched = true;
        return;
    }
    cleanup_free char *instance = xstrndup(file, instance_of(file));
    struct logfile *f = find_file(r, instance);
    if (f != NULL)
        f->touched = true;
    else if (*instance != '\0')
        r->rescan = true;
}

/* The time of a line as our shim writes it (first member, fixed width), or "". */
static void time_of(const char *line, size_t len, char out[TIME_LEN + 1])
{
    static const char head[] = "{\"t\":\"";
    size_t head_len = sizeof head - 1;
    out[0] = '\0';
    if (len < head_len + TIME_LEN || memcmp(line, head, head_len) != 0 ||
        line[head_len + TIME_LEN] != '"')
        return;
    memcpy(out, line + head_len, TIME_LEN);
    out[TIME_LEN] = '\0';
}

/* Appends the line as it goes out; false where the filter leaves it out. */
static bool put_line(const struct logs_reader *r, const struct logfile *f, const char *line,
                     size_t len, struct buf *out)
{
    json_t *object = json_loadb(line, len, 0, NULL);
    const char *process = json_string_value(json_object_get(object, "p"));
    bool valid = json_is_object(object) && json_object_size(object) > 0;
    bool wanted = r->process == NULL || (process != NULL && strcmp(process, r->process) == 0);
    json_decref(object);
    if (!wanted)
        return false;
    buf_puts(out, "{\"instance\":\"");
    buf_json_escape(out, f->instance, strlen(f->instance));
    buf_printf(out, "\",\"release\":%u,", (unsigned)f->release);
    if (valid) {
        buf_append(out, strchr(line, '{') + 1, len - (size_t)(strchr(line, '{') - line) - 1);
    } else {
        buf_puts(out, "\"t\":null,\"s\":\"out\",\"p\":null,\"m\":\"");
        buf_json_escape(out, line, len);
        buf_puts(out, "\"}");
    }
    buf_putc(out, '\n');
    return true;
}

static void keep_line(struct logs_reader *r, const struct buf *text)
{
    if (r->kept.len < r->filter.last) {
        *vec_push(&r->kept) = xstrdup(buf_str(text));
        return;
    }
    free(r->kept.items[r->kept_first]);
    r->kept.items[r->kept_first] = xstrdup(buf_str(text));
    r->kept_first = (r->kept_first + 1) % r->kept.len;
}

static void give_kept(struct logs_reader *r, struct buf *out)
{
    for (size_t i = 0; i < r->kept.len; i++) {
        size_t at = (r->kept_first + i) % r->kept.len;
        buf_puts(out, r->kept.items[at]);
        free(r->kept.items[at]);
    }
    vec_release(&r->kept);
    r->keeping = false;
}

/* The file whose next line is the oldest; NULL: none has one now. A line without a time goes first,
 * so that it stays with the line before it. */
static struct logfile *oldest(struct logs_reader *r, const char **line, size_t *len, size_t *read)
{
    struct logfile *best = NULL;
    char best_time[TIME_LEN + 1] = "", at[TIME_LEN + 1];
    for (size_t i = 0; i < r->files.len; i++) {
        struct logfile *f = &r->files.items[i];
        const char *candidate;
        size_t candidate_len;
        if (!f->touched && f->unread.len == f->start)
            continue;
        if (logfile_next(f, r->dir_fd, &candidate, &candidate_len, read) == 0)
            continue;
        time_of(candidate, candidate_len, at);
        if (best == NULL || strcmp(at, best_time) < 0) {
            best = f;
            memcpy(best_time, at, sizeof at);
            *line = candidate;
            *len = candidate_len;
        }
    }
    return best;
}

bool logs_read(struct logs_reader *r, struct buf *out)
{
    if (r->rescan)
        scan_folder(r);
    cleanup_buf struct buf text = BUF_INIT;
    size_t work = 0, read = 0;
    while (work + read < LOGS_STEP) {
        const char *line = NULL;
        size_t len = 0;
        struct logfile *f = oldest(r, &line, &len, &read);
        if (f == NULL) {
            if (r->keeping)
                give_kept(r, out);
            return false;
        }
        char at[TIME_LEN + 1];
        time_of(line, len, at);
        bool late_enough = r->since[0] == '\0' || at[0] == '\0' || strcmp(at, r->since) >= 0;
        buf_clear(&text);
        if (late_enough && put_line(r, f, line, len, &text)) {
            if (r->keeping)
                keep_line(r, &text);
            else
                buf_append(out, text.data, text.len);
        }
        work += len + r->files.len;
        logfile_taken(f, len);
    }
    return true;
}

static void put_plain(struct buf *out, const char *line, size_t len)
{
    enum { CUT = 1024 };
    json_t *object = json_loadb(line, len, 0, NULL);
    const char *text = json_string_value(json_object_get(object, "m"));
    cleanup_free char *raw = text == NULL ? xstrndup(line, len) : NULL;
    const char *from = text != NULL ? text : raw;
    size_t n = strnlen(from, CUT);
    while (n == CUT && (from[n] & 0xc0) == 0x80) /* not in the middle of a character */
        n--;
    for (size_t i = 0; i < n; i++)
        buf_putc(out, (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? ' ' : from[i]);
    buf_putc(out, '\n');
    json_decref(object);
}

int logs_last_lines(const char *dir, const char *instance_id, unsigned n, struct buf *out)
{
    cleanup_close int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || n == 0)
        return 0;
    struct logfile f;
    logfile_init(&f, instance_id);
    logfile_seek_last(&f, dir_fd, n);
    int lines = 0;
    const char *line;
    size_t len, read = 0;
    while (read < 256 << 10 && logfile_next(&f, dir_fd, &line, &len, &read) == 1) {
        put_plain(out, line, len);
        logfile_taken(&f, len);
        lines++;
    }
    logfile_release(&f);
    return lines;
}
