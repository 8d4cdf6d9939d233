#include "cli/table.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"

#include <stdarg.h>
#include <string.h>

void table_cell(struct table *t, enum style style, const char *text)
{
    cleanup_buf struct buf clean = BUF_INIT;
    struct buf cell = BUF_INIT;
    put_clean(&clean, text != NULL ? text : "-");
    put_styled(&cell, t->term, clean.len > 0 ? style : STYLE_NONE, buf_str(&clean));
    *vec_push(&t->cells) = buf_detach(&cell);
}

void table_styled(struct table *t, const char *text)
{
    *vec_push(&t->cells) = xstrdup(text);
}

void table_cellf(struct table *t, enum style style, const char *fmt, ...)
{
    cleanup_buf struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    table_cell(t, style, buf_str(&text));
}

void table_init(struct table *t, const struct term *term, const char *headings)
{
    memset(t, 0, sizeof *t);
    t->term = term;
    for (const char *p = headings; *p != '\0';) {
        ASSERT(t->columns < TABLE_MAX_COLUMNS);
        size_t len = strcspn(p, "|");
        t->right[t->columns++] = *p == '>';
        cleanup_free char *word = xstrndup(p + (*p == '>'), len - (*p == '>'));
        table_cell(t, STYLE_DIM, word);
        p += len + (p[len] == '|');
    }
}

static void put_row(const struct table *t, size_t row, const size_t *widths, const char *indent,
                    struct buf *out)
{
    cleanup_buf struct buf line = BUF_INIT;
    buf_puts(&line, indent);
    for (unsigned i = 0; i < t->columns; i++) {
        const char *cell = t->cells.items[row * t->columns + i];
        size_t pad = widths[i] - text_columns(cell, strlen(cell));
        if (i > 0)
            buf_puts(&line, "  ");
        if (t->right[i])
            buf_printf(&line, "%*s", (int)pad, "");
        buf_puts(&line, cell);
        if (!t->right[i] && i + 1 < t->columns)
            buf_printf(&line, "%*s", (int)pad, "");
    }
    while (line.len > 0 && line.data[line.len - 1] == ' ')
        line.data[--line.len] = '\0';
    put_cut(out, buf_str(&line), line.len, t->term->is_terminal ? t->term->columns : (size_t)-1);
    buf_putc(out, '\n');
}

void table_finish(struct table *t, const char *indent, struct buf *out)
{
    size_t widths[TABLE_MAX_COLUMNS] = {0};
    ASSERT(t->cells.len % t->columns == 0);
    for (size_t i = 0; i < t->cells.len; i++) {
        size_t n = text_columns(t->cells.items[i], strlen(t->cells.items[i]));
        if (n > widths[i % t->columns])
            widths[i % t->columns] = n;
    }
    bool headed = false;
    for (size_t i = 0; i < t->columns; i++)
        headed = headed || text_columns(t->cells.items[i], strlen(t->cells.items[i])) > 0;
    for (size_t row = headed ? 0 : 1; row < t->cells.len / t->columns; row++)
        put_row(t, row, widths, indent, out);
    for (size_t i = 0; i < t->cells.len; i++)
        free(t->cells.items[i]);
    vec_release(&t->cells);
}
