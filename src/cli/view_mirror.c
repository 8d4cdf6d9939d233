/* Copies of requests, and what their answers came to next to those that users got. */
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <stdio.h>
#include <string.h>

/* ", 12 differ (2 in the status, 12 in the body)" */
static void put_differences(const json_t *mirror, struct buf *out)
{
    static const struct {
        const char *key, *words;
    } parts[] = {{"status", "the status"}, {"headers", "header fields"}, {"body", "the body"}};
    char text[FORMAT_SIZE];
    const json_t *in = json_object_get(mirror, "differed_in");
    const char *before = " (";
    int64_t differed = json_whole(mirror, "differed");
    buf_printf(out, ", %s differ%s", format_count(differed, text), differed == 1 ? "s" : "");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int64_t n = json_whole(in, parts[i].key);
        if (n == 0)
            continue;
        buf_printf(out, "%s%s in %s", before, format_count(n, text), parts[i].words);
        before = ", ";
    }
    if (before[0] == ',')
        buf_putc(out, ')');
}

static void put_some(int64_t n, const char *words, struct buf *out)
{
    char text[FORMAT_SIZE];
    if (n > 0)
        buf_printf(out, ", %s %s", format_count(n, text), words);
}

static void put_counts(const json_t *mirror, struct buf *out)
{
    char text[FORMAT_SIZE];
    double share = json_real_or(mirror, "share", 0);
    if (share > 0)
        buf_printf(out, "%s of the requests: ", format_share(share / 100, text));
    buf_printf(out, "%s copies", format_count(json_whole(mirror, "copies"), text));
    put_some(json_whole(mirror, "errors_5xx"), "answered with 5xx", out);
    put_some(json_whole(mirror, "failed"), "failed", out);
    put_some(json_whole(mirror, "cut"), "cut short", out);
    buf_printf(out, "; %s compared", format_count(json_whole(mirror, "compared"), text));
    put_differences(mirror, out);
    put_some(json_whole(mirror, "uncompared"), "not comparable", out);
    put_some(json_whole(mirror, "uncopied"), "could not be copied", out);
}

/* "status 500 instead of 200", "body at /total", "timed-out" */
static void put_what(const json_t *sample, struct buf *out)
{
    const char *part = json_text(sample, "part"), *where = json_text(sample, "where");
    if (*part == '\0') {
        put_clean(out, json_text(sample, "fault"));
        return;
    }
    put_clean(out, part);
    if (strcmp(part, "status") == 0)
        buf_printf(out, " %lld instead of %lld", (long long)json_whole(sample, "copy_status"),
                   (long long)json_whole(sample, "status"));
    if (*where != '\0') {
        buf_puts(out, strcmp(part, "header") == 0 ? " " : " at ");
        put_clean(out, where);
    }
}

void view_mirror(const json_t *mirror, const struct term *term, const char *indent, size_t samples,
                 struct buf *out)
{
    char text[FORMAT_SIZE], inner[16];
    const json_t *list = json_object_get(mirror, "samples");
    struct table t;
    if (!json_is_object(mirror))
        return;
    buf_puts(out, indent);
    put_styled(out, term, STYLE_DIM, "mirror   ");
    put_counts(mirror, out);
    buf_putc(out, '\n');
    if (samples == 0 || json_array_size(list) == 0)
        return;
    snprintf(inner, sizeof inner, "%s  ", indent);
    table_init(&t, term, "AT|COPY|REQUEST|INSTANCE");
    for (size_t i = 0; i < json_array_size(list) && i < samples; i++) {
        const json_t *sample = json_array_get(list, i);
        const char *instance = json_text(sample, "instance");
        cleanup_buf struct buf what = BUF_INIT;
        put_what(sample, &what);
        table_cell(&t, STYLE_DIM, format_clock(json_text(sample, "at"), text));
        table_cell(&t, STYLE_RED, buf_str(&what));
        table_cellf(&t, STYLE_NONE, "%s %s", json_text(sample, "method"),
                    json_text(sample, "path"));
        table_cell(&t, STYLE_NONE, *instance != '\0' ? instance : NULL);
    }
    table_finish(&t, inner, out);
}
