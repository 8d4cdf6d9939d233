/* Dotenv files: NAME=value lines, comments, `export`, quotes. What a line holds is never shown. */
#include "base/alloc.h"
#include "spec/reader.h"

#include <ctype.h>
#include <string.h>

struct dotenv {
    struct reader *r;
    const struct node *at;
    const char *path;
    const char *p, *end;
    uint32_t line;
};

static void fail(struct dotenv *d, uint32_t line, const char *what, const char *hint)
{
    reader_fail(d->r, d->at, hint, "%s:%u: %s", d->path, line, what);
}

static void skip_blanks(struct dotenv *d)
{
    while (d->p < d->end && (*d->p == ' ' || *d->p == '\t' || *d->p == '\r'))
        d->p++;
}

static void skip_line(struct dotenv *d)
{
    while (d->p < d->end && *d->p != '\n')
        d->p++;
    if (d->p < d->end) {
        d->p++;
        d->line++;
    }
}

/* Behind its opening quote up to the closing one; \n \r \t \" \\ \$ in double quotes only. */
static bool quoted(struct dotenv *d, char quote, struct buf *out)
{
    uint32_t start = d->line;
    for (; d->p < d->end && *d->p != quote; d->p++) {
        char c = *d->p;
        if (c == '\n')
            d->line++;
        if (quote == '"' && c == '\\' && d->p + 1 < d->end) {
            static const char from[] = "nrt\"\\$", to[] = "\n\r\t\"\\$";
            const char *known = strchr(from, d->p[1]);
            if (known != NULL && *known != '\0') {
                c = to[known - from];
                d->p++;
            }
        }
        buf_putc(out, c);
    }
    if (d->p == d->end) {
        fail(d, start, "a quote is never closed", NULL);
        return false;
    }
    d->p++;
    skip_blanks(d);
    if (d->p == d->end || *d->p == '\n' || *d->p == '#')
        return true;
    fail(d, d->line, "text behind the closing quote", "put all of the value into the quotes");
    return false;
}

static void bare(struct dotenv *d, struct buf *out)
{
    const char *start = d->p;
    while (d->p < d->end && *d->p != '\n' &&
           !(*d->p == '#' && (d->p == start || isspace((unsigned char)d->p[-1]))))
        d->p++;
    const char *stop = d->p;
    while (stop > start && isspace((unsigned char)stop[-1]))
        stop--;
    buf_append(out, start, (size_t)(stop - start));
}

static void read_line(struct dotenv *d)
{
    skip_blanks(d);
    if (d->p == d->end || *d->p == '\n' || *d->p == '#')
        return;
    if (d->end - d->p > 7 && memcmp(d->p, "export", 6) == 0 &&
        (d->p[6] == ' ' || d->p[6] == '\t')) {
        d->p += 6;
        skip_blanks(d);
    }
    const char *name = d->p;
    while (d->p < d->end && (isalnum((unsigned char)*d->p) || *d->p == '_'))
        d->p++;
    size_t len = (size_t)(d->p - name);
    skip_blanks(d);
    if (!is_variable_name(name, len) || d->p == d->end || *d->p != '=') {
        fail(d, d->line, "expected NAME=value", "comments start with #");
        return;
    }
    d->p++;
    skip_blanks(d);
    cleanup_buf struct buf value = BUF_INIT;
    if (d->p < d->end && (*d->p == '"' || *d->p == '\'')) {
        char quote = *d->p++;
        if (!quoted(d, quote, &value))
            return;
    } else {
        bare(d, &value);
    }
    cleanup_free char *key = xstrndup(name, len);
    if (is_instance_variable(key, len))
        reader_warn(d->r, d->at, "sluice sets it for each instance", "%s:%u: %s is left out",
                    d->path, d->line, key);
    else
        env_put(d->r, key, arena_strndup(d->r->arena, buf_str(&value), value.len));
}

void read_dotenv(struct reader *r, const struct node *at, const char *path, const char *text,
                 size_t len)
{
    struct dotenv d = {.r = r, .at = at, .path = path, .p = text, .end = text + len, .line = 1};
    if (len > TREE_MAX_BYTES) {
        reader_fail(r, at, NULL, "%s: larger than %d KiB", path, TREE_MAX_BYTES / 1024);
        return;
    }
    if (utf8_valid_prefix(text, len) != len) {
        reader_fail(r, at, NULL, "%s: this is no UTF-8 text", path);
        return;
    }
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        d.p += 3;
    while (d.p < d.end) {
        read_line(&d);
        skip_line(&d);
    }
}
