#include "gateway/chunk.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

/* Most request heads fit into the first, nearly all into the second; the third takes any head with
 * what is added to it, and is what is read into; the fourth is for streams that fill it. */
static const uint32_t sizes[CHUNK_CLASSES] = {1024, 4096, CHUNK_BIG, CHUNK_BULK};
/* How many free ones are kept: enough for the hot path, little for an idle process. */
static const uint32_t kept[CHUNK_CLASSES] = {256, 32, 16, 4};

struct chunk *chunk_get(struct chunk_pool *p, size_t size)
{
    uint8_t class = 0;
    ASSERT(size <= CHUNK_BULK);
    while (size > sizes[class])
        class ++;
    if (p->bytes + sizes[class] > p->limit)
        return NULL;
    struct chunk *c = p->free[class];
    if (c != NULL) {
        p->free[class] = c->next;
        p->free_len[class]--;
    } else {
        c = malloc(sizeof *c + sizes[class]);
        if (c == NULL)
            return NULL;
        c->class = class;
        c->cap = sizes[class];
    }
    p->bytes += sizes[class];
    c->next = NULL;
    c->start = c->end = 0;
    return c;
}

void chunk_put(struct chunk_pool *p, struct chunk *c)
{
    if (c == NULL)
        return;
    ASSERT(p->bytes >= c->cap);
    p->bytes -= c->cap;
    if (p->free_len[c->class] >= kept[c->class]) {
        free(c);
        return;
    }
    c->next = p->free[c->class];
    p->free[c->class] = c;
    p->free_len[c->class]++;
}

void chunk_put_all(struct chunk_pool *p, struct chunk *first)
{
    while (first != NULL) {
        struct chunk *next = first->next;
        chunk_put(p, first);
        first = next;
    }
}

void chunk_pool_release(struct chunk_pool *p)
{
    for (size_t i = 0; i < CHUNK_CLASSES; i++)
        while (p->free[i] != NULL) {
            struct chunk *c = p->free[i];
            p->free[i] = c->next;
            free(c);
        }
    memset(p->free_len, 0, sizeof p->free_len);
}

void chunk_consume(struct chunk_pool *p, struct chunk **c, size_t n)
{
    ASSERT(n <= chunk_len(*c));
    if (*c == NULL)
        return;
    (*c)->start += (uint32_t)n;
    if ((*c)->start < (*c)->end)
        return;
    struct chunk *next = (*c)->next;
    chunk_put(p, *c);
    *c = next;
}

void chunk_compact(struct chunk *c)
{
    if (c->start == 0)
        return;
    memmove(c->data, c->data + c->start, c->end - c->start);
    c->end -= c->start;
    c->start = 0;
}

void chunk_add(struct chunk *c, const void *data, size_t len)
{
    ASSERT(len <= c->cap - c->end);
    memcpy(c->data + c->end, data, len);
    c->end += (uint32_t)len;
}
