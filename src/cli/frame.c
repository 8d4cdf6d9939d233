#include "cli/frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Rows that the drawn lines take in a terminal of that width: one that became narrower has wrapped
 * them. */
static unsigned rows_taken(const struct frame *f, unsigned columns)
{
    unsigned rows = 0;
    for (unsigned i = 0; i < f->lines; i++)
        rows += f->widths[i] <= columns ? 1 : (f->widths[i] + columns - 1) / columns;
    return rows;
}

void frame_render(struct frame *f, const struct term *t, const char *above, const char *text,
                  struct buf *out)
{
    unsigned columns = t->columns > 1 ? t->columns : 80;
    unsigned most = t->rows > 2 ? t->rows - 1 : 2, up = rows_taken(f, columns);
    if (most > FRAME_MAX_LINES)
        most = FRAME_MAX_LINES;
    buf_puts(out, "\033[?2026h");
    if (up > 0)
        buf_printf(out, "\r\033[%uA", up);
    if (*above != '\0') {
        for (const char *p = above; *p != '\0';) {
            size_t len = strcspn(p, "\n");
            buf_append(out, p, len);
            buf_puts(out, "\033[K\n");
            p += len + (p[len] == '\n');
        }
    }
    f->lines = 0;
    for (const char *p = text; *p != '\0' && f->lines < most;) {
        size_t len = strcspn(p, "\n"), width = text_columns(p, len);
        put_cut(out, p, len, columns - 1);
        buf_puts(out, "\033[K\n");
        f->widths[f->lines++] = (unsigned short)(width < columns ? width : columns - 1);
        p += len + (p[len] == '\n');
    }
    buf_puts(out, "\033[J\033[?2026l");
}

void frame_draw(struct frame *f, const struct term *t, const char *above, const char *text)
{
    cleanup_buf struct buf out = BUF_INIT;
    frame_render(f, t, above, text, &out);
    for (size_t at = 0; at < out.len;) {
        ssize_t n = write(f->fd, out.data + at, out.len - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {f->fd, POLLOUT, 0};
            poll(&p, 1, 1000);
        } else if (n < 0 && errno != EINTR) {
            return; /* the terminal is gone: the rollout is not */
        }
    }
}
