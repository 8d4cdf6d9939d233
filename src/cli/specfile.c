#include "cli/specfile.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 1 << 20 };

/* Reads at most a byte more than the parser takes, so that it is the one who says "too large". A
 * pipe
 * (-f <(...)) is as good as a file. */
static int read_all(const char *path, struct buf *out, struct error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s cannot be read", path);
    while (out->len <= MAX_FILE_BYTES) {
        buf_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "%s cannot be read", path);
        if (n == 0)
            break;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
    }
    return 0;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int missing(const char *path, bool chosen, struct error *err)
{
    if (chosen)
        return error_set(err, ERROR_USAGE, "there is no file %s; `sluice init` writes one", path);
    if (access("sluice.yml", F_OK) == 0)
        return error_set(err, ERROR_USAGE,
                         "no sluice.yaml here, but a sluice.yml: rename it, or use -f sluice.yml");
    return error_set(err, ERROR_USAGE, "no sluice.yaml here; `sluice init` writes one");
}

/* The absolute folder that holds path. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    cleanup_free char *folder =
        slash == NULL ? xstrdup(".") : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    char *absolute = realpath(folder, NULL);
    return absolute != NULL ? absolute : take_ptr(&folder);
}

static const char *from_environment(void *arg, const char *name)
{
    (void)arg;
    return getenv(name);
}

static int read_env_file(void *arg, const char *path, struct buf *out, struct error *err)
{
    const struct specfile *f = arg;
    cleanup_free char *full = path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", f->folder, path);
    return read_all(full, out, err);
}

int specfile_read(struct specfile *f, const char *path, const char *environment, struct error *err)
{
    bool chosen = path != NULL;
    if (chosen && is_folder(path))
        f->path = xasprintf("%s%ssluice.yaml", path, path[strlen(path) - 1] == '/' ? "" : "/");
    else
        f->path = xstrdup(chosen ? path : "sluice.yaml");
    f->folder = folder_of(f->path);
    if (access(f->path, F_OK) < 0 && errno == ENOENT)
        return missing(f->path, chosen, err);
    if (read_all(f->path, &f->text, err) < 0)
        return -1;
    struct spec_source source = {
        .text = buf_str(&f->text),
        .len = f->text.len,
        .environment = environment,
        .getenv = from_environment,
        .read_file = read_env_file,
        .arg = f,
    };
    f->spec = spec_parse(&source, &f->diags);
    return 0;
}

void specfile_print(const struct specfile *f, bool color)
{
    cleanup_buf struct buf out = BUF_INIT;
    diagnostics_render(&f->diags, f->path, f->text.data, f->text.len, color, &out);
    fwrite(buf_str(&out), 1, out.len, stderr);
}

int specfile_load(struct specfile *f, const char *path, const char *environment, bool color)
{
    struct error err = ERROR_INIT;
    if (specfile_read(f, path, environment, &err) < 0) {
        fprintf(stderr, "sluice: %s\n", err.text);
        return -1;
    }
    specfile_print(f, color);
    return f->spec != NULL ? 0 : -1;
}

int specfile_set_strategy(struct specfile *f, const char *strategy)
{
    if (strategy == NULL)
        return 0;
    struct diagnostics wrong = {0};
    struct app_spec *other = spec_with_strategy(f->spec, strategy, &wrong);
    for (size_t i = 0; other == NULL && i < wrong.len; i++)
        fprintf(stderr, "sluice: --strategy %s: %s%s%s\n", strategy, wrong.items[i].text,
                wrong.items[i].hint != NULL ? ": " : "",
                wrong.items[i].hint != NULL ? wrong.items[i].hint : "");
    diagnostics_release(&wrong);
    if (other == NULL)
        return -1;
    spec_free(f->spec);
    f->spec = other;
    return 0;
}

void specfile_release(struct specfile *f)
{
    spec_free(f->spec);
    f->spec = NULL;
    free(f->path);
    free(f->folder);
    f->path = f->folder = NULL;
    buf_release(&f->text);
    diagnostics_release(&f->diags);
}

bool specfile_color(bool no_color)
{
    const char *never = getenv("NO_COLOR"), *term = getenv("TERM");
    return !no_color && (never == NULL || *never == '\0') && isatty(STDERR_FILENO) == 1 &&
           (term == NULL || strcmp(term, "dumb") != 0);
}
