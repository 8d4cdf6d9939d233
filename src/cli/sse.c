#include "cli/sse.h"

#include <string.h>

void sse_release(struct sse *s)
{
    buf_release(&s->in);
    buf_release(&s->data);
}

void sse_feed(struct sse *s, struct buf *b)
{
    buf_append(&s->in, buf_str(b), b->len);
    buf_clear(b);
    if (s->in.len > SSE_MAX_LINE && memchr(s->in.data, '\n', s->in.len) == NULL)
        buf_clear(&s->in); /* no event of ours is so long */
}

static json_t *take_event(struct sse *s)
{
    json_t *event = s->data.len > 0 ? json_loadb(s->data.data, s->data.len, 0, NULL) : NULL;
    buf_clear(&s->data);
    if (event != NULL && !json_is_object(event)) {
        json_decref(event);
        return NULL;
    }
    return event;
}

json_t *sse_next(struct sse *s)
{
    static const char field[] = "data:";
    size_t at = 0;
    json_t *event = NULL;
    while (event == NULL) {
        char *line = s->in.len > at ? s->in.data + at : NULL;
        char *end = line != NULL ? memchr(line, '\n', s->in.len - at) : NULL;
        if (end == NULL)
            break;
        size_t len = (size_t)(end - line);
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len == 0) {
            event = take_event(s);
        } else if (len >= sizeof field - 1 && memcmp(line, field, sizeof field - 1) == 0) {
            if (s->data.len > 0)
                buf_putc(&s->data, '\n');
            buf_append(&s->data, line + sizeof field - 1, len - (sizeof field - 1));
        }
    }
    buf_consume(&s->in, at);
    return event;
}
