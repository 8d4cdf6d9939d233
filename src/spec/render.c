/* Diagnostics as people read them: the place, what is wrong, the line with the spot underlined,
 * what to do. What comes from the file is shown without control characters: it goes to a terminal.
 */
#include "base/alloc.h"
#include "spec/report.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_WIDTH = 100, SHOWN_BEFORE = 60 };

struct style {
    const char *bold, *red, *yellow, *blue, *green, *reset;
};
static const struct style plain = {"", "", "", "", "", ""};
static const struct style colored = {"\x1b[1m",  "\x1b[1;31m", "\x1b[1;33m",
                                     "\x1b[34m", "\x1b[32m",   "\x1b[0m"};

/* One character at s (left > 0) into out, what is not printable as '?'; gives its length. */
static size_t put_character(struct buf *out, const char *s, size_t left)
{
    unsigned char c = (unsigned char)*s;
    if (c < 0x80) {
        buf_putc(out, c == '\t' ? ' ' : c < 0x20 || c == 0x7F ? '?' : (char)c);
        return 1;
    }
    size_t n = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (left < n || utf8_valid_prefix(s, n) != n) {
        buf_putc(out, '?');
        return 1;
    }
    if (c == 0xC2 && (unsigned char)s[1] < 0xA0) /* C1 controls */
        buf_putc(out, '?');
    else
        buf_append(out, s, n);
    return n;
}

static void put_text(struct buf *out, const char *s)
{
    for (size_t left = strlen(s); left > 0;) {
        size_t n = put_character(out, s, left);
        s += n;
        left -= n;
    }
}

/* Line number `line` of the text, without its end. */
static bool find_line(const char *text, size_t len, uint32_t line, const char **start, size_t *size)
{
    size_t at = 0;
    for (uint32_t now = 1; now < line; now++) {
        const char *end = at < len ? memchr(text + at, '\n', len - at) : NULL;
        if (end == NULL)
            return false;
        at = (size_t)(end - text) + 1;
    }
    const char *end = at < len ? memchr(text + at, '\n', len - at) : NULL;
    *start = text + at;
    *size = end != NULL ? (size_t)(end - *start) : len - at;
    if (*size > 0 && (*start)[*size - 1] == '\r')
        --*size;
    return true;
}

/* The line, cut around the spot where it is long, and the row of ^~~ below it. */
static void put_excerpt(const struct diagnostic *d, const char *line, size_t size,
                        const struct style *style, struct buf *out)
{
    uint32_t first = d->column > SHOWN_BEFORE + 1 ? d->column - SHOWN_BEFORE : 1;
    uint32_t column = 1, shown = 0;
    cleanup_buf struct buf character = BUF_INIT;
    buf_printf(out, "  %s%u |%s ", style->blue, d->line, style->reset);
    if (first > 1)
        buf_puts(out, "...");
    for (size_t i = 0; i < size && shown < SHOWN_WIDTH; column++) {
        buf_clear(&character);
        i += put_character(&character, line + i, size - i);
        if (column >= first) {
            buf_append(out, character.data, character.len);
            shown++;
        }
        if (shown == SHOWN_WIDTH && i < size)
            buf_puts(out, "...");
    }
    char digits[16];
    int indent = snprintf(digits, sizeof digits, "%u", d->line);
    buf_printf(out, "\n  %s%*s |%s ", style->blue, indent, "", style->reset);
    uint32_t before = d->column - first + (first > 1 ? 3 : 0);
    for (uint32_t i = 0; i < before; i++)
        buf_putc(out, ' ');
    const char *mark = d->warning ? style->yellow : style->red;
    buf_printf(out, "%s^", mark);
    uint32_t room = SHOWN_WIDTH > d->column - first ? SHOWN_WIDTH - (d->column - first) : 1;
    for (uint32_t i = 1; i < d->length && i < room; i++)
        buf_putc(out, '~');
    buf_printf(out, "%s\n", style->reset);
}

void diagnostics_render(const struct diagnostics *d, const char *filename, const char *text,
                        size_t len, bool color, struct buf *out)
{
    const struct style *style = color ? &colored : &plain;
    for (size_t i = 0; i < d->len; i++) {
        const struct diagnostic *item = &d->items[i];
        buf_puts(out, style->bold);
        put_text(out, filename);
        if (item->line != 0)
            buf_printf(out, ":%u:%u", item->line, item->column);
        buf_printf(out, ":%s %s%s:%s %s", style->reset, item->warning ? style->yellow : style->red,
                   item->warning ? "warning" : "error", style->reset, style->bold);
        put_text(out, item->text);
        buf_printf(out, "%s\n", style->reset);
        const char *line;
        size_t size;
        if (item->line != 0 && text != NULL && find_line(text, len, item->line, &line, &size))
            put_excerpt(item, line, size, style, out);
        if (item->hint != NULL) {
            buf_printf(out, "  %s", style->green);
            put_text(out, item->hint);
            buf_printf(out, "%s\n", style->reset);
        }
    }
}
