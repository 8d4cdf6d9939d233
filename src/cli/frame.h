/* A block of lines at the bottom of what a terminal shows, redrawn in place.
 *
 * No line wraps (each is cut to the width), the block is never higher than the terminal, and one
 * redraw is one write, marked as one update where the terminal knows that: nothing flickers. The
 * cursor is not hidden, so nothing is left behind when the program is killed. After a resize the
 * rows that the old lines take now are computed from their widths. */
#ifndef SLUICE_CLI_FRAME_H
#define SLUICE_CLI_FRAME_H

#include "cli/term.h"

enum { FRAME_MAX_LINES = 60 };

struct frame {
    int fd;
    unsigned lines;                         /* drawn now */
    unsigned short widths[FRAME_MAX_LINES]; /* their columns */
};

/* text: whole lines. Replaces the block; above: lines that stay, put above it ("" none). */
void frame_draw(struct frame *f, const struct term *t, const char *above, const char *text);
/* Pure: what frame_draw() writes. */
void frame_render(struct frame *f, const struct term *t, const char *above, const char *text,
                  struct buf *out);

#endif
