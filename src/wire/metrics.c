#include "wire/metrics.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_OCTAVE = 6, /* bucket 0 ends at 2^6 us */
    LAST_OCTAVE = 28, /* the last bucket begins at 2^28 us */
    PER_OCTAVE = 8,
};
_Static_assert(METRICS_BUCKETS == 2 + (LAST_OCTAVE - FIRST_OCTAVE) * PER_OCTAVE, "bucket count");
_Static_assert(sizeof(struct metrics_header) == 4096, "the workers begin on a page");
_Static_assert(sizeof(struct instance_slot) == 64, "instances do not share a cache line");
_Static_assert(sizeof(struct ejection_slot) == 64, "nor do ejections");
_Static_assert(sizeof(struct metrics_worker) % 64 == 0, "workers do not share a cache line");

uint32_t metrics_bucket(uint64_t us)
{
    if (us < UINT64_C(1) << FIRST_OCTAVE)
        return 0;
    if (us >= UINT64_C(1) << LAST_OCTAVE)
        return METRICS_BUCKETS - 1;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t part = (uint32_t)(us >> (octave - 3)) & (PER_OCTAVE - 1);
    return 1 + (octave - FIRST_OCTAVE) * PER_OCTAVE + part;
}

uint64_t metrics_bucket_low(uint32_t bucket)
{
    ASSERT(bucket < METRICS_BUCKETS);
    if (bucket == 0)
        return 0;
    uint32_t octave = (bucket - 1) / PER_OCTAVE + FIRST_OCTAVE;
    return (uint64_t)(PER_OCTAVE + (bucket - 1) % PER_OCTAVE) << (octave - 3);
}

uint64_t metrics_bucket_high(uint32_t bucket)
{
    ASSERT(bucket < METRICS_BUCKETS);
    return bucket == METRICS_BUCKETS - 1 ? UINT64_MAX : metrics_bucket_low(bucket + 1);
}

/* ---- reading
 * -------------------------------------------------------------------------------------- */

static int check_header(const struct metrics_header *h, uint64_t bytes, uint32_t *workers,
                        struct error *err)
{
    /* The writer may still change what it wrote: what is checked is read once. */
    *workers = *(const volatile uint32_t *)&h->workers;
    if (h->magic != METRICS_MAGIC || h->format != METRICS_FORMAT)
        return error_set(err, ERROR_USAGE, "metrics: not of this format (%08x, %u)", h->magic,
                         h->format);
    if (*workers == 0 || *workers > METRICS_MAX_WORKERS ||
        h->request_slots != METRICS_REQUEST_SLOTS || h->instance_slots != METRICS_INSTANCE_SLOTS ||
        h->buckets != METRICS_BUCKETS)
        return error_set(err, ERROR_USAGE, "metrics: unexpected counts in the header");
    if (bytes != metrics_bytes(*workers))
        return error_set(err, ERROR_USAGE, "metrics: %llu bytes, expected %zu for %u workers",
                         (unsigned long long)bytes, metrics_bytes(*workers), *workers);
    return 0;
}

/* The one thing that all versions agree on, before what their sizes are. */
static int check_format(int fd, struct error *err)
{
    struct {
        uint32_t magic, format;
    } h = {0, METRICS_FORMAT};
    if (pread(fd, &h, sizeof h, 0) == sizeof h && h.magic == METRICS_MAGIC &&
        h.format != METRICS_FORMAT)
        return error_set(err, ERROR_CONFLICT, "metrics: format %u, this version reads %d", h.format,
                         METRICS_FORMAT);
    return 0;
}

int metrics_view_open(struct metrics_view *v, int fd, struct error *err)
{
    *v = (struct metrics_view){.header = NULL};
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0)
        return error_set(err, ERROR_USAGE, "metrics: not a memfd sealed against resizing");
    if (check_format(fd, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "metrics: fstat");
    if (st.st_size < (off_t)metrics_bytes(1) ||
        st.st_size > (off_t)metrics_bytes(METRICS_MAX_WORKERS))
        return error_set(err, ERROR_USAGE, "metrics: %lld bytes are not a possible size",
                         (long long)st.st_size);
    size_t bytes = (size_t)st.st_size;
    const char *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return error_errno(err, errno, "metrics: mmap");
    uint32_t workers;
    if (check_header((const struct metrics_header *)map, bytes, &workers, err) < 0) {
        munmap((void *)map, bytes);
        return -1;
    }
    *v = (struct metrics_view){
        .header = (const struct metrics_header *)map,
        .workers = (const struct metrics_worker *)(map + sizeof(struct metrics_header)),
        .workers_len = workers,
        .ejections =
            (const struct ejection_slot *)(map + bytes -
                                           METRICS_INSTANCE_SLOTS * sizeof(struct ejection_slot)),
        .bytes = bytes,
    };
    return 0;
}

void metrics_view_close(struct metrics_view *v)
{
    if (v->header != NULL)
        munmap((void *)v->header, v->bytes);
    *v = (struct metrics_view){.header = NULL};
}

static uint64_t read_metric(const metric *m)
{
    return atomic_load_explicit((metric *)m, memory_order_relaxed);
}

static uint64_t never_negative(uint64_t sum)
{
    return (int64_t)sum < 0 ? 0 : sum;
}

uint64_t metrics_request(const struct metrics_view *v, uint32_t slot, enum request_metric m)
{
    ASSERT(slot < METRICS_REQUEST_SLOTS && m < REQUEST_METRICS);
    uint64_t sum = 0;
    for (uint32_t w = 0; w < v->workers_len; w++)
        sum += read_metric(&v->workers[w].requests[slot].counters[m]);
    return request_metric_is_gauge(m) ? never_negative(sum) : sum;
}

uint64_t metrics_latency_us(const struct metrics_view *v, uint32_t slot)
{
    ASSERT(slot < METRICS_REQUEST_SLOTS);
    uint64_t sum = 0;
    for (uint32_t w = 0; w < v->workers_len; w++)
        sum += read_metric(&v->workers[w].requests[slot].latency_us_sum);
    return sum;
}

void metrics_buckets(const struct metrics_view *v, uint32_t slot, uint64_t out[METRICS_BUCKETS])
{
    ASSERT(slot < METRICS_REQUEST_SLOTS);
    for (uint32_t b = 0; b < METRICS_BUCKETS; b++) {
        out[b] = 0;
        for (uint32_t w = 0; w < v->workers_len; w++)
            out[b] += read_metric(&v->workers[w].requests[slot].buckets[b]);
    }
}

void metrics_red(const struct metrics_view *v, uint32_t slot, struct red *sum)
{
    ASSERT(slot < METRICS_REQUEST_SLOTS);
    for (uint32_t w = 0; w < v->workers_len; w++)
        red_add(sum, &v->workers[w].red[slot]);
}

uint64_t metrics_instance(const struct metrics_view *v, uint32_t slot, enum instance_metric m)
{
    ASSERT(slot < METRICS_INSTANCE_SLOTS && m < INSTANCE_METRICS);
    uint64_t sum = 0;
    for (uint32_t w = 0; w < v->workers_len; w++)
        sum += read_metric(&v->workers[w].instances[slot].counters[m]);
    return m == INSTANCE_IN_FLIGHT || m == INSTANCE_UPGRADED ? never_negative(sum) : sum;
}

uint64_t metrics_ejected_ms(const struct metrics_view *v, uint32_t slot, uint64_t now_boot_ms)
{
    ASSERT(slot < METRICS_INSTANCE_SLOTS);
    uint64_t until = read_metric(&v->ejections[slot].until_boot_ms);
    return until > now_boot_ms ? until - now_boot_ms : 0;
}

uint64_t metrics_ejections(const struct metrics_view *v, uint32_t slot, enum ejection_reason *why)
{
    ASSERT(slot < METRICS_INSTANCE_SLOTS);
    *why =
        read_metric(&v->ejections[slot].why) == EJECTED_LATENCY ? EJECTED_LATENCY : EJECTED_ERRORS;
    return read_metric(&v->ejections[slot].count);
}

bool metrics_seen(const struct metrics_view *v, uint64_t version)
{
    for (uint32_t w = 0; w < v->workers_len; w++) {
        /* Pairs with the worker's own sequentially consistent store at the top of its loop: a
         * worker that is not seen here as online loads the new table pointer afterwards. */
        uint64_t seen =
            atomic_load_explicit((metric *)&v->workers[w].seen_version, memory_order_seq_cst);
        if (seen != METRICS_OFFLINE && seen < version)
            return false;
    }
    return true;
}
