#include "cli/bar.h"

/* Eighths of a column where the terminal has them. */
static const char *const eighths[] = {"",
                                      "\xe2\x96\x8f",
                                      "\xe2\x96\x8e",
                                      "\xe2\x96\x8d",
                                      "\xe2\x96\x8c",
                                      "\xe2\x96\x8b",
                                      "\xe2\x96\x8a",
                                      "\xe2\x96\x89"};

void put_bar(struct buf *out, const struct term *t, enum style style, double share,
             unsigned columns)
{
    struct buf full = BUF_INIT, rest = BUF_INIT;
    unsigned parts = t->unicode ? 8 : 1;
    double part = share > 0 ? share < 1 ? share : 1 : 0;
    unsigned filled = (unsigned)(part * columns * parts + .5);
    if (filled == 0 && share > 0)
        filled = 1;
    for (unsigned i = 0; i < filled / parts; i++)
        buf_puts(&full, t->unicode ? "\xe2\x96\x88" : "#");
    buf_puts(&full, eighths[filled % parts]);
    for (unsigned i = (filled + parts - 1) / parts; i < columns; i++)
        buf_puts(&rest, t->unicode ? "\xe2\x94\x80" : "-");
    if (full.len > 0)
        put_styled(out, t, style, buf_str(&full));
    if (rest.len > 0)
        put_styled(out, t, STYLE_DIM, buf_str(&rest));
    buf_release(&full);
    buf_release(&rest);
}
