#include "gateway/kept.h"

#include "base/assert.h"

bool kept_room(struct exchange *x, size_t more)
{
    struct chunk *old = x->kept;
    ASSERT(old != NULL && old->next == NULL && !x->sent_any);
    if (old->cap - old->end >= more)
        return true;
    size_t size = chunk_len(old) + more;
    struct chunk *c = size <= CHUNK_BULK ? chunk_get(&x->worker->chunks, size) : NULL;
    if (c == NULL)
        return false;
    chunk_add(c, old->data + old->start, chunk_len(old));
    chunk_put(&x->worker->chunks, old);
    x->kept = x->cursor = c;
    return true;
}

void kept_add(struct exchange *x, const char *name, size_t name_len, const char *value, size_t len)
{
    struct chunk *head = x->kept;
    head->end -= 2; /* the empty line */
    chunk_add(head, name, name_len);
    chunk_add(head, ": ", 2);
    chunk_add(head, value, len);
    chunk_add(head, "\r\n\r\n", 4);
    x->head_len = x->kept_bytes = (uint32_t)chunk_len(head);
}
