/* plan: what a deploy would change, what the judge could find, steps that could. */
#include "base/alloc.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <string.h>

static void put_list(const json_t *list, const char *heading, const struct term *t,
                     enum style style, struct buf *out)
{
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0)
        return;
    put_styled(out, t, STYLE_BOLD, heading);
    buf_putc(out, '\n');
    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);
        struct buf line = BUF_INIT;
        put_clean(&line, text != NULL ? text : json_text(item, "text"));
        buf_puts(out, "  ");
        put_styled(out, t, style, buf_str(&line));
        buf_putc(out, '\n');
        buf_release(&line);
    }
}

/* What each judged hold can find. */
static void put_detects(const json_t *detects, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *step;
    struct table t;
    char text[FORMAT_SIZE], errors[FORMAT_SIZE];
    const json_t *steps = json_object_get(detects, "steps");
    if (json_array_size(steps) == 0)
        return;
    buf_putc(out, '\n');
    put_styled(out, term, STYLE_BOLD, "what the judge can find");
    buf_printf(out, " at %s req/s, where stable has %s errors\n",
               format_rate(json_real_or(detects, "requests_per_s", -1), text),
               format_share(json_real_or(detects, "stable_errors", -1), errors));
    table_init(&t, term, ">TRAFFIC|>FOR|>REQUESTS|>ERRORS FOUND FROM");
    json_array_foreach((json_t *)steps, i, step)
    {
        double found = json_real_or(step, "error_rate", -1);
        table_cell(&t, STYLE_NONE, format_share(json_real_or(step, "weight", -100) / 100, text));
        table_cell(&t, STYLE_NONE, format_elapsed(json_whole(step, "hold_ms"), text));
        table_cell(&t, STYLE_NONE, format_count(json_whole(step, "requests"), text));
        table_cell(&t, found < 0 ? STYLE_RED : STYLE_NONE,
                   found < 0 ? "nothing" : format_share(found, text));
    }
    table_finish(&t, "  ", out);
}

static void put_suggestion(const json_t *suggestion, const struct term *t, struct buf *out)
{
    if (!json_is_object(suggestion))
        return;
    buf_putc(out, '\n');
    put_styled(out, t, STYLE_BOLD, "suggestion");
    buf_puts(out, ": ");
    put_clean(out, json_text(suggestion, "text"));
    buf_putc(out, '\n');
    const char *yaml = json_text(suggestion, "yaml");
    if (*yaml != '\0')
        buf_putc(out, '\n');
    for (const char *line = yaml; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        cleanup_free char *one = xstrndup(line, len);
        put_clean(out, one);
        buf_putc(out, '\n');
        line += len + (line[len] == '\n');
    }
}

void view_plan(const json_t *plan, const struct term *t, struct buf *out)
{
    char text[FORMAT_SIZE];
    const json_t *steps = json_object_get(plan, "steps");
    const json_t *changes = json_object_get(plan, "changes");
    int64_t from = json_whole(plan, "from");
    if (from > 0)
        buf_printf(out, "a deploy would go from release %lld, ", (long long)from);
    else
        buf_puts(out, "a deploy would be the first one, ");
    put_clean(out, json_text(plan, "strategy"));
    buf_printf(out, ", in %s at least\n\n", format_elapsed(json_whole(plan, "least_ms"), text));
    if (json_array_size(changes) == 0 && from > 0)
        buf_puts(out, "the spec does not change\n");
    put_list(changes, from > 0 ? "changes" : "the spec", t, STYLE_NONE, out);
    if (json_array_size(changes) > 0 || from > 0)
        buf_putc(out, '\n');
    put_styled(out, t, STYLE_BOLD, "steps");
    buf_putc(out, '\n');
    for (size_t i = 0; i < json_array_size(steps); i++) {
        buf_printf(out, "  %2zu  ", i + 1);
        put_clean(out, json_text(json_array_get(steps, i), "text"));
        buf_putc(out, '\n');
    }
    put_detects(json_object_get(plan, "detects"), t, out);
    if (json_array_size(json_object_get(plan, "warnings")) > 0)
        buf_putc(out, '\n');
    put_list(json_object_get(plan, "warnings"), "warnings", t, STYLE_YELLOW, out);
    put_suggestion(json_object_get(plan, "suggestion"), t, out);
}
