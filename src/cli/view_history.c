/* history, releases. */
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <string.h>

static const char *text_or_dash(const json_t *object, const char *key)
{
    const char *text = json_text(object, key);
    return *text != '\0' ? text : NULL;
}

int64_t json_bytes(const json_t *object, const char *key)
{
    return json_is_integer(json_object_get(object, key)) ? json_whole(object, key) : -1;
}

void view_history(const json_t *rollouts, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *r;
    struct table t;
    char text[FORMAT_SIZE];
    if (json_array_size(rollouts) == 0) {
        buf_puts(out, "no rollouts yet\n");
        return;
    }
    table_init(&t, term, "STARTED|>RELEASE|VERSION|KIND|RESULT|>TOOK|BY|REASON");
    json_array_foreach((json_t *)rollouts, i, r)
    {
        const char *result = json_text(r, "result");
        if (*result == '\0')
            result = "running";
        table_cell(&t, STYLE_NONE, format_date(json_text(r, "started"), text));
        table_cellf(&t, STYLE_NONE, "%lld", (long long)json_whole(r, "release"));
        table_cell(&t, STYLE_BOLD, text_or_dash(r, "version"));
        table_cell(&t, STYLE_NONE, text_or_dash(r, "kind"));
        table_cell(&t, style_of_state(result), result);
        table_cell(&t, STYLE_NONE,
                   json_is_number(json_object_get(r, "duration_ms"))
                       ? format_elapsed(json_whole(r, "duration_ms"), text)
                       : NULL);
        table_cell(&t, STYLE_NONE, text_or_dash(r, "actor"));
        table_cell(&t, STYLE_NONE, json_text(json_object_get(r, "reason"), "text"));
    }
    table_finish(&t, "", out);
}

void view_releases(const json_t *releases, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *r;
    struct table t;
    char text[FORMAT_SIZE];
    int64_t sum = 0;
    if (json_array_size(releases) == 0) {
        buf_puts(out, "no releases yet\n");
        return;
    }
    table_init(&t, term, ">RELEASE|VERSION|STATUS|USE|CREATED|>SIZE|BY|COMMIT|AUTHOR");
    json_array_foreach((json_t *)releases, i, r)
    {
        const char *status = json_text(r, "status");
        table_cellf(&t, STYLE_NONE, "%lld", (long long)json_whole(r, "release"));
        table_cell(&t, STYLE_BOLD, text_or_dash(r, "version"));
        table_cell(&t, style_of_state(status), *status != '\0' ? status : NULL);
        table_cell(&t, STYLE_NONE, text_or_dash(r, "use"));
        table_cell(&t, STYLE_NONE, format_date(json_text(r, "created"), text));
        int64_t bytes = json_bytes(r, "bytes");
        if (bytes > 0 && bytes <= INT64_MAX - sum)
            sum += bytes;
        table_cell(&t, STYLE_NONE, format_bytes(bytes, text));
        table_cell(&t, STYLE_NONE, text_or_dash(r, "created_by"));
        const char *commit = text_or_dash(r, "commit");
        table_cellf(&t, STYLE_NONE, "%.12s%s", commit != NULL ? commit : "-",
                    json_is_true(json_object_get(r, "dirty")) ? " (dirty)" : "");
        table_cell(&t, STYLE_NONE, text_or_dash(r, "author"));
    }
    table_finish(&t, "", out);
    size_t n = json_array_size(releases);
    buf_printf(out, "\n%zu release%s, %s\n", n, n == 1 ? "" : "s", format_bytes(sum, text));
}
