#include "control/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of all pages in one snapshot: far below what it may hold, far above what anybody has. */
enum { PAGES_BYTES = 16 << 20 };

struct release_pages {
    size_t len;
    struct {
        uint16_t status;
        struct snapshot_page page;
        char *data;
    } items[SPEC_MAX_ERRORS];
};

/* ---- out of a release's folder
 * ------------------------------------------------------------------------------- */

/* No link is followed, at no part of the path: the folder's content is the app's, and what is read
 * here is shown to everybody. */
static int open_beneath(const char *folder, const char *path)
{
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0) {
        const char *slash = strchr(path, '/');
        cleanup_free char *part = slash != NULL ? xstrndup(path, (size_t)(slash - path)) : NULL;
        int next = slash != NULL ? openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                                 : openat(at, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        int why = errno;
        close(at);
        errno = why;
        if (slash == NULL)
            return next;
        at = next;
        path = slash + 1;
    }
    return -1;
}

static int read_whole(int fd, char *data, size_t len)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = read(fd, data + have, len - have);
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return 0;
}

static int read_page(const char *folder, const struct error_page *page, char **data, uint32_t *len,
                     struct error *err)
{
    struct stat st;
    cleanup_close int fd = open_beneath(folder, page->path);
    if (fd < 0)
        return error_set(err, ERROR_USAGE, "errors.%u: %s: %s", page->status, page->path,
                         errno == ELOOP || errno == ENOTDIR
                             ? "links are not followed, since everybody gets to see the page"
                             : strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, ERROR_USAGE, "errors.%u: %s: is no file", page->status, page->path);
    if (st.st_size > SNAPSHOT_MAX_PAGE)
        return error_set(err, ERROR_USAGE, "errors.%u: %s: is larger than %d KiB", page->status,
                         page->path, SNAPSHOT_MAX_PAGE >> 10);
    *len = (uint32_t)st.st_size;
    *data = xcalloc(1, *len + 1u);
    if (read_whole(fd, *data, *len) == 0)
        return 0;
    free(*data);
    return error_set(err, ERROR_USAGE, "errors.%u: %s: cannot be read", page->status, page->path);
}

static const char *type_of(const char *path)
{
    const char *end = strrchr(path, '.');
    return strcmp(end, ".json") == 0  ? "application/json"
           : strcmp(end, ".txt") == 0 ? "text/plain; charset=utf-8"
                                      : "text/html; charset=utf-8";
}

int pages_read(struct app *a, struct release *r, struct error *err)
{
    const struct app_spec *spec = release_spec(a, r);
    if (r->pages != NULL || spec == NULL || spec->errors_len == 0)
        return 0;
    struct release_pages *pages = xcalloc(1, sizeof *pages);
    r->pages = pages;
    for (size_t i = 0; i < spec->errors_len; i++) {
        const struct error_page *from = &spec->errors[i];
        uint32_t len = 0;
        char *data = NULL;
        if (read_page(r->dir, from, &data, &len, err) < 0)
            return -1; /* those before it are there, and it is not tried again */
        pages->items[pages->len].status = from->status;
        pages->items[pages->len].data = data;
        pages->items[pages->len++].page = (struct snapshot_page){type_of(from->path), {data, len}};
    }
    return 0;
}

void pages_release(struct release *r)
{
    for (size_t i = 0; r->pages != NULL && i < r->pages->len; i++)
        free(r->pages->items[i].data);
    free(r->pages);
    r->pages = NULL;
}

/* ---- into the snapshot
 * --------------------------------------------------------------------------------------- */

uint32_t pages_add(struct snapshot *s, const struct snapshot_page *page, struct arena *memory)
{
    size_t bytes = page->body.len;
    for (uint32_t i = 0; i < s->pages_len; i++) {
        const struct snapshot_page *have = &s->pages[i];
        if (have->body.len == page->body.len && strcmp(have->type, page->type) == 0 &&
            memcmp(have->body.data, page->body.data, page->body.len) == 0)
            return i + 1;
        bytes += have->body.len;
    }
    if (bytes > PAGES_BYTES) {
        log_warn("there are more than %d MiB of pages: one is left out", PAGES_BYTES >> 20);
        return 0;
    }
    struct snapshot_page *grown = arena_alloc(memory, (s->pages_len + 1) * sizeof *grown);
    if (s->pages_len > 0)
        memcpy(grown, s->pages, s->pages_len * sizeof *grown);
    grown[s->pages_len] = *page;
    s->pages = grown;
    return ++s->pages_len;
}

static void add_error(struct snapshot *s, uint16_t status, const struct snapshot_page *page,
                      struct arena *memory)
{
    uint32_t index = pages_add(s, page, memory);
    if (index == 0)
        return;
    struct snapshot_error *grown = arena_alloc(memory, (s->errors_len + 1) * sizeof *grown);
    if (s->errors_len > 0)
        memcpy(grown, s->errors, s->errors_len * sizeof *grown);
    grown[s->errors_len++] = (struct snapshot_error){status, index};
    s->errors = grown;
}

void pages_route(struct app *a, struct release *r, struct snapshot *s, struct snapshot_app *out,
                 struct arena *memory)
{
    struct error err = ERROR_INIT;
    if (r == NULL)
        return;
    if (pages_read(a, r, &err) < 0)
        log_warn("app %s: release %u: %s", a->key, r->number, err.text);
    out->first_error = s->errors_len;
    for (size_t i = 0; r->pages != NULL && i < r->pages->len; i++)
        add_error(s, r->pages->items[i].status, &r->pages->items[i].page, memory);
    out->errors = s->errors_len - out->first_error;
}

void pages_keep(const struct snapshot *from, struct snapshot *s, struct snapshot_app *out,
                struct arena *memory)
{
    uint32_t first = out->first_error, len = out->errors;
    out->first_error = s->errors_len;
    for (uint32_t i = first; i < first + len; i++)
        add_error(s, from->errors[i].status, &from->pages[from->errors[i].page - 1], memory);
    out->errors = s->errors_len - out->first_error;
}
