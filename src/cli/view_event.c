/* Events and log lines. */
#include "cli/format.h"
#include "cli/session.h"
#include "cli/view.h"

#include <string.h>

static enum style style_of_kind(const char *kind)
{
    static const struct {
        const char *part;
        enum style style;
    } styles[] = {
        {"promoted", STYLE_GREEN}, {"ready", STYLE_GREEN},   {"crashed", STYLE_RED},
        {"failed", STYLE_RED},     {"roll", STYLE_RED},      {"unready", STYLE_RED},
        {"abort", STYLE_YELLOW},   {"paused", STYLE_YELLOW}, {"superseded", STYLE_YELLOW},
        {"output", STYLE_DIM},
    };
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++) {
        if (strstr(kind, styles[i].part) != NULL)
            return styles[i].style;
    }
    return STYLE_NONE;
}

void view_event(const json_t *event, const struct term *t, bool with_app, struct buf *out)
{
    char text[FORMAT_SIZE];
    const char *kind = json_text(event, "kind"), *app = json_text(event, "app");
    put_clean_in(out, t, STYLE_DIM, format_date(json_text(event, "at"), text));
    buf_puts(out, "  ");
    if (with_app) {
        cleanup_buf struct buf name = BUF_INIT;
        put_clean(&name, *app != '\0' ? app : "(server)");
        const char *environment = json_text(event, "environment");
        if (*environment != '\0' && strcmp(environment, "production") != 0) {
            buf_putc(&name, '@');
            put_clean(&name, environment);
        }
        put_styled(out, t, STYLE_BOLD, buf_str(&name));
        size_t columns = text_columns(buf_str(&name), name.len);
        buf_printf(out, "%*s", columns < 12 ? (int)(14 - columns) : 2, "");
    }
    put_clean_in(out, t, style_of_kind(kind), kind);
    buf_printf(out, "%*s", strlen(kind) < 16 ? (int)(18 - strlen(kind)) : 2, "");
    put_clean(out, json_text(event, "text"));
    if (*json_text(event, "actor") != '\0') {
        buf_puts(out, " (");
        put_clean(out, json_text(event, "actor"));
        buf_putc(out, ')');
    }
    buf_putc(out, '\n');
    if (strcmp(kind, "ended") == 0)
        view_result_note(json_object_get(event, "data"), t, out);
}

void view_progress_line(const json_t *event, const struct term *t, struct buf *out)
{
    char text[FORMAT_SIZE];
    const char *kind = json_text(event, "kind"), *said = json_text(event, "text");
    put_clean_in(out, t, STYLE_DIM, format_clock(json_text(event, "at"), text));
    buf_putc(out, ' ');
    if (strstr(kind, "-output") != NULL)
        buf_puts(out, "| ");
    put_clean_in(out, t, style_of_kind(kind), *said != '\0' ? said : kind);
    buf_putc(out, '\n');
}

static enum style style_of_instance(const char *id)
{
    static const enum style styles[] = {STYLE_CYAN, STYLE_GREEN, STYLE_YELLOW, STYLE_MAGENTA,
                                        STYLE_BLUE};
    unsigned hash = 5381;
    for (const char *p = id; *p != '\0'; p++)
        hash = hash * 33 + (unsigned char)*p;
    return styles[hash % (sizeof styles / sizeof styles[0])];
}

void view_log_line(const json_t *line, const struct term *t, struct buf *out)
{
    char text[FORMAT_SIZE];
    const char *instance = json_text(line, "instance"), *at = json_text(line, "t");
    put_clean_in(out, t, STYLE_DIM, *at != '\0' ? format_clock(at, text) : "        ");
    buf_putc(out, ' ');
    put_clean_in(out, t, style_of_instance(instance), instance);
    bool is_error = strcmp(json_text(line, "s"), "err") == 0;
    buf_puts(out, t->color ? "  " : is_error ? " ! " : "   ");
    put_clean_in(out, t, is_error ? STYLE_RED : STYLE_NONE, json_text(line, "m"));
    buf_putc(out, '\n');
}
