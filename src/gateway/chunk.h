/* Buffers, from a pool per worker: taken while bytes wait, given back when they are gone. A
 * connection that waits has none. Four sizes; memory in use is bounded, and NULL is an answer. */
#ifndef SLUICE_GATEWAY_CHUNK_H
#define SLUICE_GATEWAY_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_CLASSES = 4, CHUNK_BIG = 16384 + 1024, CHUNK_BULK = 64 << 10 };

struct chunk {
    struct chunk *next;
    uint32_t start, end, cap; /* bytes [start, end) of data wait */
    uint8_t class;
    char data[];
};

struct chunk_pool {
    struct chunk *free[CHUNK_CLASSES];
    uint32_t free_len[CHUNK_CLASSES];
    size_t bytes, limit; /* handed out, and how many may be */
};

/* A chunk with room for size bytes (<= CHUNK_BULK); NULL: no memory. */
struct chunk *chunk_get(struct chunk_pool *p, size_t size);
void chunk_put(struct chunk_pool *p, struct chunk *c); /* NULL is fine */
void chunk_put_all(struct chunk_pool *p, struct chunk *first);
void chunk_pool_release(struct chunk_pool *p);

static inline size_t chunk_len(const struct chunk *c)
{
    return c != NULL ? c->end - c->start : 0;
}
/* Takes n bytes from the front; gives the chunk back when it got empty, and *c is the next one. */
void chunk_consume(struct chunk_pool *p, struct chunk **c, size_t n);
/* Moves the bytes to the front, so that there is room behind them. */
void chunk_compact(struct chunk *c);
void chunk_add(struct chunk *c, const void *data, size_t len); /* must fit */

#endif
