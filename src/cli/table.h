/* Aligned tables: rows of cells, columns as wide as their widest cell, two spaces between. Pure. */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include "cli/term.h"

enum { TABLE_MAX_COLUMNS = 12 };

struct table {
    const struct term *term;
    unsigned columns;
    bool right[TABLE_MAX_COLUMNS]; /* numbers */
    struct {
        char **items; /* styled text; row by row */
        size_t len, cap;
    } cells;
};

/* headings: "APP|STATE|>REQ/S": '>' for a column that is aligned to the right. All empty ("|>||"):
 * no line for them. */
void table_init(struct table *t, const struct term *term, const char *headings);
void table_cell(struct table *t, enum style style,
                const char *text);                    /* text is cleaned; NULL: "-" */
void table_styled(struct table *t, const char *text); /* as it is: out of put_styled() */
void table_cellf(struct table *t, enum style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends the lines; the last column is cut to the terminal's width where there is one. Releases t.
 */
void table_finish(struct table *t, const char *indent, struct buf *out);

#endif
