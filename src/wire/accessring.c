#include "wire/accessring.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct access_rings) == 4096, "the rings begin on a page");
_Static_assert((ACCESS_RING_BYTES & (ACCESS_RING_BYTES - 1)) == 0, "a power of two");
_Static_assert(offsetof(struct access_ring, tail) == 64, "the two sides share no cache line");
_Static_assert(offsetof(struct access_ring, data) == 128, "the two sides share no cache line");

struct access_rings *access_rings_make(uint32_t count, int *fd, struct error *err)
{
    ASSERT(count > 0 && count <= ACCESS_MAX_RINGS);
    size_t bytes = access_rings_bytes(count);
    *fd = memfd_create("sluice-access", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct access_rings *r = MAP_FAILED;
    if (*fd >= 0 && ftruncate(*fd, (off_t)bytes) == 0 &&
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        r = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (r == MAP_FAILED) {
        error_errno(err, errno, "the access log's memory");
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        return NULL;
    }
    r->format = ACCESS_RING_FORMAT;
    r->count = count;
    r->bytes = ACCESS_RING_BYTES;
    r->magic = ACCESS_RING_MAGIC;
    return r;
}

struct access_rings *access_rings_open(int fd, uint32_t *count, struct error *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0) {
        error_set(err, ERROR_USAGE, "access log: not a memfd sealed against resizing");
        return NULL;
    }
    if (fstat(fd, &st) < 0) {
        error_errno(err, errno, "access log: fstat");
        return NULL;
    }
    uint32_t n = 1;
    while (n < ACCESS_MAX_RINGS && st.st_size != (off_t)access_rings_bytes(n))
        n++;
    if (st.st_size != (off_t)access_rings_bytes(n)) {
        error_set(err, ERROR_USAGE, "access log: %lld bytes are not a possible size",
                  (long long)st.st_size);
        return NULL;
    }
    struct access_rings *r =
        mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (r == MAP_FAILED) {
        error_errno(err, errno, "access log: mmap");
        return NULL;
    }
    if (r->magic != ACCESS_RING_MAGIC || r->format != ACCESS_RING_FORMAT || r->count != n ||
        r->bytes != ACCESS_RING_BYTES) {
        error_set(err, ERROR_USAGE, "access log: not of this format (%08x, %u)", r->magic,
                  r->format);
        access_rings_close(r, n);
        return NULL;
    }
    *count = n;
    return r;
}

void access_rings_close(struct access_rings *r, uint32_t count)
{
    if (r != NULL)
        munmap(r, access_rings_bytes(count));
}

bool access_rings_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &whole) == 0;
}

/* ---- the worker
 * ----------------------------------------------------------------------------------- */

static void count_one(_Atomic uint64_t *n)
{
    uint64_t v = atomic_load_explicit(n, memory_order_relaxed);
    atomic_store_explicit(n, v + 1, memory_order_relaxed);
}

void access_ring_drop(struct access_ring *r)
{
    count_one(&r->dropped);
}

bool access_ring_put(struct access_ring *r, const char *line, size_t len)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t waits = head - atomic_load_explicit(&r->tail, memory_order_acquire);
    /* More waits than there is room for: the reader's number is wrong. */
    if (waits > ACCESS_RING_BYTES || len > ACCESS_RING_BYTES - waits) {
        access_ring_drop(r);
        return false;
    }
    size_t at = head & (ACCESS_RING_BYTES - 1);
    size_t first = len < ACCESS_RING_BYTES - at ? len : ACCESS_RING_BYTES - at;
    memcpy(r->data + at, line, first);
    memcpy(r->data, line + first, len - first);
    count_one(&r->lines);
    atomic_store_explicit(&r->head, head + len, memory_order_release);
    return true;
}

/* ---- the reader
 * ----------------------------------------------------------------------------------- */

size_t access_ring_peek(struct access_ring *r, struct iovec parts[2])
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    if (head - tail > ACCESS_RING_BYTES) {
        atomic_store_explicit(&r->tail, head, memory_order_release);
        return 0;
    }
    size_t len = (size_t)(head - tail), at = tail & (ACCESS_RING_BYTES - 1);
    size_t first = len < ACCESS_RING_BYTES - at ? len : ACCESS_RING_BYTES - at;
    parts[0] = (struct iovec){r->data + at, first};
    parts[1] = (struct iovec){r->data, len - first};
    return len;
}

void access_ring_take(struct access_ring *r, size_t len)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    atomic_store_explicit(&r->tail, tail + len, memory_order_release);
}
