/* Text for terminals: columns, colours, what may be shown. */
#ifndef SLUICE_CLI_TERM_H
#define SLUICE_CLI_TERM_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* X(id, code) */
#define STYLES(X)                                                                                  \
    X(STYLE_NONE, "")                                                                              \
    X(STYLE_BOLD, "1")                                                                             \
    X(STYLE_DIM, "2")                                                                              \
    X(STYLE_RED, "31")                                                                             \
    X(STYLE_GREEN, "32")                                                                           \
    X(STYLE_YELLOW, "33")                                                                          \
    X(STYLE_BLUE, "34")                                                                            \
    X(STYLE_MAGENTA, "35")                                                                         \
    X(STYLE_CYAN, "36")

enum style {
#define X(id, code) id,
    STYLES(X)
#undef X
        STYLES_COUNT
};

/* How one stream is written to. */
struct term {
    bool is_terminal, color, unicode;
    unsigned columns, rows; /* 80 x 24 where it is none */
};
/* Looks at fd, NO_COLOR, TERM and the locale. */
void term_look(struct term *t, int fd, bool no_color);

void put_styled(struct buf *out, const struct term *t, enum style style, const char *text);
/* text from outside, on one line: control bytes become spaces, broken UTF-8 U+FFFD. */
void put_clean(struct buf *out, const char *text);
void put_clean_in(struct buf *out, const struct term *t, enum style style, const char *text);
/* Columns that text takes (escape sequences of put_styled() take none). */
size_t text_columns(const char *text, size_t len);
/* Words of a text from outside, from `column` on, on as many lines as the terminal's width takes;
 * further lines begin with `indent`. Ends with a line break. */
void put_wrapped(struct buf *out, const struct term *t, size_t column, const char *indent,
                 const char *text);
/* Appends text cut to so many columns (never inside of an escape sequence; styles are closed). */
void put_cut(struct buf *out, const char *text, size_t len, size_t columns);

#endif
