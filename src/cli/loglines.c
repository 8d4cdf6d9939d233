#include "cli/loglines.h"

#include "cli/view.h"

#include <stdio.h>
#include <string.h>

static void print_line(struct loglines *l, const char *line, size_t len, struct buf *out)
{
    json_t *object = len > 0 ? json_loadb(line, len, 0, NULL) : NULL;
    if (!json_is_object(object)) { /* a heartbeat */
        json_decref(object);
        return;
    }
    if (l->skip > 0) {
        l->skip--;
        json_decref(object);
        return;
    }
    const char *at = json_text(object, "t");
    if (strcmp(at, l->last) != 0)
        l->at_last = 0;
    snprintf(l->last, sizeof l->last, "%.31s", at);
    l->at_last++;
    l->lines++;
    if (l->s->json) {
        buf_append(out, line, len);
        buf_putc(out, '\n');
    } else if (l->text_only) {
        put_clean(out, json_text(object, "m"));
        buf_putc(out, '\n');
    } else {
        view_log_line(object, &l->s->out, out);
    }
    json_decref(object);
}

int loglines_feed(struct loglines *l, struct buf *b)
{
    cleanup_buf struct buf out = BUF_INIT;
    size_t at = 0;
    buf_append(&l->in, buf_str(b), b->len);
    buf_clear(b);
    while (at < l->in.len) {
        const char *line = l->in.data + at, *end = memchr(line, '\n', l->in.len - at);
        if (end == NULL)
            break;
        print_line(l, line, (size_t)(end - line), &out);
        at += (size_t)(end - line) + 1;
    }
    buf_consume(&l->in, at);
    return out.len > 0 ? print_buf(&out) : 0;
}

void loglines_release(struct loglines *l)
{
    buf_release(&l->in);
}
