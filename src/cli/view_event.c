/* Events, log lines, and the end of a deploy. */
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

static void put_tail(const json_t *lines, const struct term *t, struct buf *out)
{
    size_t i;
    json_t *line;
    if (json_array_size(lines) == 0)
        return;
    buf_puts(out, "  last log lines:\n");
    json_array_foreach((json_t *)lines, i, line)
    {
        buf_puts(out, t->unicode ? "    \xe2\x94\x82 " : "    | ");
        put_clean(out, json_string_value(line));
        buf_putc(out, '\n');
    }
}

/* Requests that failed because of the deploy, where the server kept examples. */
static void put_failed(const json_t *requests, const struct term *t, struct buf *out)
{
    size_t i;
    json_t *request;
    (void)t;
    if (json_array_size(requests) == 0)
        return;
    buf_puts(out, "  requests that failed, for example:\n");
    json_array_foreach((json_t *)requests, i, request)
    {
        const char *text = json_string_value(request);
        buf_puts(out, "    ");
        put_clean(out, text != NULL ? text : json_text(request, "text"));
        buf_putc(out, '\n');
    }
}

static void put_advice(const json_t *result, const char *word, struct buf *out)
{
    const char *app = json_text(result, "app"), *environment = json_text(result, "environment");
    bool elsewhere = *environment != '\0' && strcmp(environment, "production") != 0;
    cleanup_buf struct buf name = BUF_INIT;
    put_clean(&name, app);
    if (elsewhere) {
        buf_puts(&name, " -e ");
        put_clean(&name, environment);
    }
    if (strcmp(word, "paused") == 0)
        buf_printf(out, "  it waits: `sluice resume %s` goes on, `sluice abort %s` goes back\n",
                   buf_str(&name), buf_str(&name));
    else if (strcmp(word, "promoted") != 0 && strcmp(word, "superseded") != 0)
        buf_printf(out, "  more: sluice logs %s --release %lld\n", buf_str(&name),
                   (long long)json_whole(result, "release"));
}

void view_result(const json_t *result, const struct term *t, struct buf *out)
{
    char a[FORMAT_SIZE], b[FORMAT_SIZE], c[FORMAT_SIZE];
    const char *word = json_text(result, "result");
    const char *reason = json_text(json_object_get(result, "reason"), "text");
    const json_t *requests = json_object_get(result, "requests");
    bool good = strcmp(word, "promoted") == 0;
    put_clean_in(out, t, STYLE_BOLD, json_text(result, "app"));
    buf_putc(out, ' ');
    put_clean(out, json_text(result, "version"));
    buf_printf(out, " (release %lld): ", (long long)json_whole(result, "release"));
    put_clean_in(out, t, style_of_state(word), word);
    buf_printf(out, " after %s", format_elapsed(json_whole(result, "duration_ms"), a));
    if (*reason != '\0') {
        buf_puts(out, ": ");
        put_clean(out, reason);
    }
    buf_printf(out,
               "\n  requests: %s to stable, %s to the new release; %s failed because of the "
               "deploy\n",
               format_count(json_whole(requests, "stable"), a),
               format_count(json_whole(requests, "candidate"), b),
               format_count(json_whole(result, "failed"), c));
    if (good)
        return;
    if (*json_text(result, "probe") != '\0') {
        buf_puts(out, "  probe: ");
        put_clean(out, json_text(result, "probe"));
        buf_putc(out, '\n');
    }
    put_failed(json_object_get(result, "failed_requests"), t, out);
    put_tail(json_object_get(result, "log_tail"), t, out);
    put_advice(result, word, out);
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
