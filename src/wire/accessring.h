/* The access log's way out of a gateway: one memfd per generation with a ring of whole lines per
 * worker. The worker writes and never waits: a line that does not fit is dropped and counted. The
 * controller reads; what it has taken is noted in the memory itself, so that the next controller
 * goes on where it ended (one that was killed between writing a batch and noting it: the batch
 * comes twice). While no controller reads, ACCESS_RING_BYTES per worker wait; they outlive the
 * gateway as long as somebody maps them.
 *
 * One reader at a time: access_rings_lock(). Both sides check what the other one wrote; a reader
 * never gets bytes outside of a ring, or more than a ring's size at a time.
 */
#ifndef SLUICE_WIRE_ACCESSRING_H
#define SLUICE_WIRE_ACCESSRING_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    ACCESS_RING_MAGIC = 0x534c4152, /* "SLAR" */
    ACCESS_RING_FORMAT = 1,
    ACCESS_RING_BYTES = 4 << 20, /* a power of two; pages are touched when used */
    ACCESS_MAX_RINGS = 16,
};

struct access_ring {
    _Atomic uint64_t head; /* bytes written ever; the end of a line */
    _Atomic uint64_t lines, dropped;
    uint64_t pad[5];
    _Atomic uint64_t tail; /* bytes taken ever; the reader's */
    uint64_t pad2[7];
    char data[ACCESS_RING_BYTES];
};

struct access_rings {
    uint32_t magic, format, count, bytes;
    char pad[4096 - 16];
    struct access_ring ring[];
};

static inline size_t access_rings_bytes(uint32_t count)
{
    return sizeof(struct access_rings) + (size_t)count * sizeof(struct access_ring);
}

/* A new memfd (close-on-exec, sealed against resizing) and its mapping, both the caller's. NULL
 * with *err. */
struct access_rings *access_rings_make(uint32_t count, int *fd, struct error *err);
/* Maps what another process made, after checking seals, size and header. fd stays the caller's.
 * *count: how many rings there are, whatever the memory says later. */
struct access_rings *access_rings_open(int fd, uint32_t *count, struct error *err);
void access_rings_close(struct access_rings *r, uint32_t count); /* NULL is fine */
/* This process is the reader from now on, until fd (or any other descriptor of the memory in this
 * process) is closed. false: another process is. */
bool access_rings_lock(int fd);

/* The worker of this ring: adds whole lines, or drops them. false: dropped. */
bool access_ring_put(struct access_ring *r, const char *line, size_t len);
/* Counts a line that could not even be made. */
void access_ring_drop(struct access_ring *r);

/* The reader: what waits, as one or two parts; gives the number of bytes, 0: none. A ring whose
 * numbers cannot be is emptied. */
size_t access_ring_peek(struct access_ring *r, struct iovec parts[2]);
void access_ring_take(struct access_ring *r, size_t len); /* of what peek gave, from its front */

#endif
