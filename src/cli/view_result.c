/* The end of a deploy: what became of it, why, and what somebody looks at next. */
#include "base/alloc.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <stdio.h>
#include <string.h>

enum { COMMIT_SHOWN = 12, LABEL_COLUMNS = 10 };

static void put_item(struct buf *out, const struct term *t, const char *label, const char *text)
{
    char indent[LABEL_COLUMNS + 3];
    snprintf(indent, sizeof indent, "%*s", LABEL_COLUMNS + 2, "");
    buf_puts(out, "  ");
    put_styled(out, t, STYLE_DIM, label);
    buf_puts(out, indent + 2 + strlen(label));
    put_wrapped(out, t, strlen(indent), indent, text);
}

static void put_heading(struct buf *out, const struct term *t, const char *heading)
{
    buf_puts(out, "\n  ");
    put_styled(out, t, STYLE_BOLD, heading);
    buf_putc(out, '\n');
}

static void put_counts(const json_t *result, const struct term *t, struct buf *out)
{
    char a[FORMAT_SIZE], b[FORMAT_SIZE], c[FORMAT_SIZE];
    const json_t *requests = json_object_get(result, "requests");
    cleanup_buf struct buf text = BUF_INIT;
    buf_printf(&text, "%s to stable, %s to the new release; %s failed because of the deploy",
               format_count(json_whole(requests, "stable"), a),
               format_count(json_whole(requests, "candidate"), b),
               format_count(json_whole(result, "failed"), c));
    uint64_t cut = json_whole(result, "cut_connections");
    if (cut > 0)
        buf_printf(&text, "; %s connection%s cut when their drain time was over",
                   format_count(cut, c), cut == 1 ? " was" : "s were");
    put_item(out, t, "requests", buf_str(&text));
}

static void put_commit(const json_t *result, struct buf *out)
{
    cleanup_buf struct buf commit = BUF_INIT;
    put_clean(&commit, json_text(result, "commit"));
    put_cut(out, buf_str(&commit), commit.len, COMMIT_SHOWN);
    if (json_is_true(json_object_get(result, "dirty")))
        buf_puts(out, " with uncommitted changes");
    const char *author = json_text(result, "author"), *mail = strstr(author, " <");
    if (*author != '\0') {
        cleanup_free char *name =
            xstrndup(author, mail != NULL ? (size_t)(mail - author) : strlen(author));
        buf_puts(out, " by ");
        put_clean(out, name);
    }
    if (*json_text(result, "branch") != '\0') {
        buf_puts(out, ", branch ");
        put_clean(out, json_text(result, "branch"));
    }
}

/* "500", "502 broke off" */
static void put_fault(const json_t *request, struct buf *out)
{
    static const struct {
        const char *fault, *words;
    } faults[] = {
        {"5xx", ""},
        {"connect-failed", " no connection"},
        {"broke-off", " broke off"},
        {"bad-answer", " bad answer"},
        {"timed-out", " timed out"},
        {"cut", " cut short"},
        {"unserved", " no instance"},
    };
    const char *fault = json_text(request, "fault");
    buf_printf(out, "%lld", (long long)json_whole(request, "status"));
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strcmp(faults[i].fault, fault) == 0) {
            buf_puts(out, faults[i].words);
            return;
        }
    buf_putc(out, ' ');
    put_clean(out, fault);
}

static void put_failed(const json_t *requests, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *r;
    struct table t;
    char text[FORMAT_SIZE];
    if (json_array_size(requests) == 0)
        return;
    put_heading(out, term, "requests that failed, for example");
    table_init(&t, term, "AT|INSTANCE|ANSWER|>TOOK|REQUEST");
    json_array_foreach((json_t *)requests, i, r)
    {
        cleanup_buf struct buf fault = BUF_INIT;
        const char *instance = json_text(r, "instance");
        const json_t *ms = json_object_get(r, "ms");
        put_fault(r, &fault);
        table_cell(&t, STYLE_DIM, format_clock(json_text(r, "at"), text));
        table_cell(&t, STYLE_NONE, *instance != '\0' ? instance : NULL);
        table_cell(&t, STYLE_RED, buf_str(&fault));
        table_cell(&t, STYLE_NONE,
                   format_latency(json_is_number(ms) ? json_number_value(ms) : -1, text));
        table_cellf(&t, STYLE_NONE, "%s %s", json_text(r, "method"), json_text(r, "path"));
    }
    table_finish(&t, "    ", out);
}

static void put_tail(const json_t *result, const struct term *t, struct buf *out)
{
    size_t i;
    json_t *line;
    const json_t *lines = json_object_get(result, "log_tail");
    cleanup_buf struct buf heading = BUF_INIT;
    if (json_array_size(lines) == 0)
        return;
    buf_puts(&heading, "last log lines");
    if (*json_text(result, "log_instance") != '\0') {
        buf_puts(&heading, " of ");
        put_clean(&heading, json_text(result, "log_instance"));
    }
    put_heading(out, t, buf_str(&heading));
    const char *bar = t->unicode ? "\xe2\x94\x82" : "|";
    char indent[16];
    snprintf(indent, sizeof indent, "    %s   ", bar);
    json_array_foreach((json_t *)lines, i, line)
    {
        const char *text = json_string_value(line);
        buf_printf(out, "    %s ", bar);
        put_wrapped(out, t, strlen("    | "), indent, text != NULL ? text : "");
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
        buf_printf(out, "\n  it waits: `sluice resume %s` goes on, `sluice abort %s` goes back\n",
                   buf_str(&name), buf_str(&name));
    else if (strcmp(word, "superseded") != 0)
        buf_printf(out, "\n  more: sluice logs %s --release %lld\n", buf_str(&name),
                   (long long)json_whole(result, "release"));
}

void view_result(const json_t *result, const struct term *t, struct buf *out)
{
    char text[FORMAT_SIZE];
    const char *word = json_text(result, "result"), *probe = json_text(result, "probe");
    const char *reason = json_text(json_object_get(result, "reason"), "text");
    bool good = strcmp(word, "promoted") == 0;
    put_clean_in(out, t, STYLE_BOLD, json_text(result, "app"));
    buf_putc(out, ' ');
    put_clean(out, json_text(result, "version"));
    buf_printf(out, " (release %lld): ", (long long)json_whole(result, "release"));
    put_clean_in(out, t, style_of_state(word), word);
    buf_printf(out, " after %s\n", format_elapsed(json_whole(result, "duration_ms"), text));
    if (*reason != '\0') {
        buf_puts(out, "  ");
        put_wrapped(out, t, 2, "  ", reason);
    }
    if (!good)
        buf_putc(out, '\n');
    put_counts(result, t, out);
    view_mirror(json_object_get(result, "mirror"), t, "  ", good ? 0 : MIRROR_SAMPLES, out);
    view_measured(json_object_get(result, "metrics"), t, "    ", out);
    if (good) {
        put_failed(json_object_get(result, "failed_requests"), t, out);
        return;
    }
    if (*json_text(result, "commit") != '\0') {
        cleanup_buf struct buf commit = BUF_INIT;
        put_commit(result, &commit);
        put_item(out, t, "commit", buf_str(&commit));
    }
    if (*probe != '\0')
        put_item(out, t, "probe", probe);
    put_failed(json_object_get(result, "failed_requests"), t, out);
    put_tail(result, t, out);
    put_advice(result, word, out);
}

void view_result_note(const json_t *result, const struct term *t, struct buf *out)
{
    const json_t *requests = json_object_get(result, "failed_requests");
    const json_t *first = json_array_get(requests, 0);
    bool commit = *json_text(result, "commit") != '\0';
    cleanup_buf struct buf note = BUF_INIT;
    if (strcmp(json_text(result, "result"), "promoted") == 0 || (first == NULL && !commit))
        return;
    if (first != NULL) {
        put_fault(first, &note);
        buf_puts(&note, " to ");
        put_clean(&note, json_text(first, "method"));
        buf_putc(&note, ' ');
        put_clean(&note, json_text(first, "path"));
        if (*json_text(first, "instance") != '\0') {
            buf_puts(&note, " from ");
            put_clean(&note, json_text(first, "instance"));
        }
    }
    if (commit) {
        buf_puts(&note, first != NULL ? "; commit " : "commit ");
        put_commit(result, &note);
    }
    buf_puts(out, "    ");
    put_styled(out, t, STYLE_DIM, buf_str(&note));
    buf_putc(out, '\n');
}
