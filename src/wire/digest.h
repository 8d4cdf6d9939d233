/* A 64-bit digest of bytes, for telling two messages apart: the same however the bytes are cut into
 * pieces. Not for anything where somebody could gain by a collision. */
#ifndef SLUICE_WIRE_DIGEST_H
#define SLUICE_WIRE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct digest {
    uint64_t h, len;
    uint64_t word; /* the last len % 8 bytes */
};

/* All zeros is one of nothing, too. */
void digest_add(struct digest *d, const void *data, size_t len);
uint64_t digest_of(const struct digest *d); /* of what was added; more may follow */

/* Of two digests in this order. */
uint64_t digest_join(uint64_t a, uint64_t b);

#endif
