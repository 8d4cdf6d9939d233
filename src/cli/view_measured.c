/* What a rollout measured besides its traffic: queries, commands, webhooks. A line for each. */
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <stdio.h>
#include <string.h>

static enum style style_of(const char *last)
{
    static const struct {
        const char *word;
        enum style style;
    } styles[] = {{"good", STYLE_GREEN},
                  {"bad", STYLE_RED},
                  {"error", STYLE_YELLOW},
                  {"inconclusive", STYLE_YELLOW},
                  {"no data", STYLE_DIM}};
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++)
        if (strcmp(styles[i].word, last) == 0)
            return styles[i].style;
    return STYLE_NONE;
}

/* A number, or "+Inf" as text. */
static void value_cell(struct table *t, const json_t *value)
{
    char text[32];
    if (json_is_number(value))
        snprintf(text, sizeof text, "%.6g", json_number_value(value));
    table_cell(t, STYLE_NONE, json_is_number(value) ? text : json_string_value(value));
}

/* "6: 2 bad, 1 error" */
static void count_cell(struct table *t, const json_t *m)
{
    static const struct {
        const char *key, *word;
    } kinds[] = {{"failures", "bad"}, {"errors", "error"}, {"inconclusive", "inconclusive"}};
    cleanup_buf struct buf out = BUF_INIT;
    buf_printf(&out, "%lld", (long long)json_whole(m, "measurements"));
    const char *between = ": ";
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int64_t n = json_whole(m, kinds[i].key);
        if (n == 0)
            continue;
        bool several = n != 1 && strcmp(kinds[i].word, "error") == 0;
        buf_printf(&out, "%s%lld %s%s", between, (long long)n, kinds[i].word, several ? "s" : "");
        between = ", ";
    }
    table_cell(t, STYLE_NONE, buf_str(&out));
}

/* The column beside it has it. */
static const char *without_name(const char *text, const char *name)
{
    size_t n = strlen(name);
    return strncmp(text, name, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

void view_measured(const json_t *list, const struct term *term, const char *indent, struct buf *out)
{
    size_t i;
    json_t *m;
    struct table t;
    if (json_array_size(list) == 0)
        return;
    table_init(&t, term, "METRIC|LAST|>VALUE|>STABLE|MEASURED|SAYS");
    json_array_foreach((json_t *)list, i, m)
    {
        const char *last = json_text(m, "last");
        table_cell(&t, STYLE_BOLD, json_text(m, "name"));
        table_cell(&t, style_of(last), *last != '\0' ? last : NULL);
        /* Bytes and microseconds are for programs; the text has them as people say them. */
        bool raw = strcmp(json_text(m, "source"), "instances") == 0;
        value_cell(&t, raw ? NULL : json_object_get(m, "value"));
        value_cell(&t, raw ? NULL : json_object_get(m, "stable_value"));
        count_cell(&t, m);
        table_cell(&t, STYLE_NONE, without_name(json_text(m, "text"), json_text(m, "name")));
    }
    table_finish(&t, indent, out);
}
