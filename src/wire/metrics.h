/* The shared-memory metrics: one memfd per gateway generation, made and written by the gateway,
 * read by the controller.
 *
 * Sealed against resizing. One block per worker, and only that worker writes it (relaxed atomic
 * stores, no locked instructions); the reader sums over the workers. Numbers only rise, but for
 * gauges. The layout is fixed by the header, which the reader checks in full: magic, format,
 * counts, size = metrics_bytes(). Slots are given out by the controller in snapshots. A slot that
 * is given to another owner is not zeroed: the reader keeps a base and counts differences.
 */
#ifndef SLUICE_WIRE_METRICS_H
#define SLUICE_WIRE_METRICS_H

#include "base/error.h"
#include "wire/red.h"
#include "wire/samples.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    METRICS_MAGIC = 0x534c4d58, /* "SLMX" */
    METRICS_FORMAT = 5,
    METRICS_MAX_WORKERS = 16,
    METRICS_REQUEST_SLOTS = 4096, /* app slots and route x release slots share this range */
    METRICS_INSTANCE_SLOTS = 16384,
    /* Latency histogram, log-linear in microseconds: bucket 0 is [0, 64), then 8 per octave up to
     * 2^28 us (268 s), the last is everything above. */
    METRICS_BUCKETS = 178,
};

typedef _Atomic uint64_t metric;

/* Per request slot. A request is counted once, when its answer is over or it is given up. */
enum request_metric {
    REQUESTS,             /* answered by an instance, whole, or given up after one was chosen */
    REQUESTS_5XX,         /* the instance's own 5xx */
    REQUESTS_4XX,         /* the instance's own 4xx */
    REQUESTS_FAILED,      /* the gateway's own 502/504 after an instance was chosen */
    REQUESTS_CUT,         /* cut after the head of the answer, not by the client */
    REQUESTS_CLIENT_LEFT, /* the client went away first */
    REQUESTS_SPILLED,     /* meant for another pool that had no ready instance */
    REQUESTS_RETRIED,     /* attempts beyond the first */
    REQUESTS_HELD,        /* waited in the hold (app slots) */
    REQUESTS_UNSERVED,    /* 503: no instance after the hold, or hold full (app slots) */
    REQUESTS_BAD,         /* 400 and the like, by the gateway (app slots) */
    REQUESTS_WAITING,     /* gauge: in the hold now (app slots) */
    REQUESTS_BYTES_IN,
    REQUESTS_BYTES_OUT,
    REQUESTS_ABOVE_SLO, /* answers with a head later than the pool's slo_us (snapshot.h), exactly */
    /* Of 5XX + FAILED + CUT: those of a client that had one in this app just before, whichever
     * release it was. What is left are errors that count each client once (gateway/repeats.h). */
    REQUESTS_REPEATS,
    REQUESTS_UNRETRIED, /* failed, and would have been retried but for the budget */
    REQUESTS_RESCUED,   /* an instance's 502..504 that a retry hid from the client: errors, too */
    REQUESTS_IN_FLIGHT, /* gauge: at an instance now */
    REQUESTS_QUEUED,    /* waited for their turn (capacity) */
    REQUESTS_QUEUE,     /* gauge: wait for their turn now */
    REQUESTS_REFUSED,   /* 503: over the capacity, with the queue full or after too long a wait */
    REQUESTS_RATE_LIMITED, /* 429 by the route's rate limit (app slots) */
    REQUESTS_TOO_LARGE,    /* 413 and 431 by the route's limits (app slots) */
    REQUESTS_TOO_SLOW,     /* given up below the route's least rate (app slots) */
    REQUESTS_MAINTENANCE,  /* answered by the gateway for that reason (app slots) */
    REQUESTS_FAULTS,       /* delayed or answered by an injected fault (app slots) */
    /* Of copies (snapshot_mirror.to.slot). REQUESTS is what an instance was chosen for; of those
     * COMPARED + UNCOMPARED are over. */
    REQUESTS_COMPARED,
    REQUESTS_DIFFERED,        /* of COMPARED: in anything */
    REQUESTS_DIFFERED_STATUS, /* of DIFFERED, each of these that is so */
    REQUESTS_DIFFERED_HEADERS,
    REQUESTS_DIFFERED_BODY,
    REQUESTS_UNCOMPARED, /* the user's answer or the copy's was not whole */
    REQUESTS_UNCOPIED,   /* its turn, but too many copies run, it is too long, or nobody is there */
    REQUEST_METRICS
};

enum instance_metric {
    INSTANCE_IN_FLIGHT, /* gauge; rises when the instance is chosen, before the connect */
    INSTANCE_REQUESTS,
    INSTANCE_ERRORS, /* 5xx, 502, 504, cut */
    INSTANCE_CONNECT_ERRORS,
    INSTANCE_LATENCY_US, /* sum */
    INSTANCE_UPGRADED,   /* gauge: upgraded connections, also counted in INSTANCE_IN_FLIGHT */
    INSTANCE_ABOVE_SLO,  /* as REQUESTS_ABOVE_SLO */
    INSTANCE_METRICS
};

static inline bool request_metric_is_gauge(enum request_metric m)
{
    return m == REQUESTS_WAITING || m == REQUESTS_QUEUE || m == REQUESTS_IN_FLIGHT;
}

struct request_slot {
    metric counters[REQUEST_METRICS];
    metric latency_us_sum;
    metric
        buckets[METRICS_BUCKETS]; /* time to the end of the answer's head, answers of instances */
};

struct instance_slot {
    metric counters[INSTANCE_METRICS];
    metric pad[1];
};

enum ejection_reason { EJECTED_ERRORS = 1, EJECTED_LATENCY = 2 };

/* Per instance slot, one for all workers of a gateway: written under a lock by the worker that
 * takes an instance out (gateway/outlier.h). It begins anew when the slot is given to another
 * instance. */
struct ejection_slot {
    metric identity;      /* the gateway's own word for whose it is */
    metric until_boot_ms; /* CLOCK_BOOTTIME; later than now: it is out */
    metric length_ms;     /* of the last time */
    metric times;         /* in a row */
    metric count;         /* ever */
    metric why;           /* enum ejection_reason, of the last time */
    metric pad[2];
};

struct metrics_worker {
    /* The table version that this worker has seen at the top of its loop; METRICS_OFFLINE while it
     * waits for events (it holds no pointer into any table then). Sequentially consistent. */
    metric seen_version;
    metric connections, connections_total; /* clients: gauge, counter */
    metric connections_refused;            /* one more than a client may have, or no PROXY header */
    metric connections_reclaimed;          /* that waited for their client, closed to make room */
    metric shed; /* requests that were answered 503 because this worker had too much to do */
    metric pad[2];
    struct request_slot requests[METRICS_REQUEST_SLOTS];
    struct instance_slot instances[METRICS_INSTANCE_SLOTS];
    struct red_slot red[METRICS_REQUEST_SLOTS];
    struct exemplars exemplars; /* of red, from traced requests */
    struct sample_ring samples; /* of requests that failed */
    struct sample_ring copies;  /* of copies that failed without an answer, or differ */
};
#define METRICS_OFFLINE UINT64_MAX

struct metrics_header {
    uint32_t magic, format, workers, request_slots, instance_slots, buckets;
    uint64_t generation;
    metric applied_version; /* the table that is current in this gateway */
    char pad[4096 - 40];
};

static inline size_t metrics_bytes(uint32_t workers)
{
    return sizeof(struct metrics_header) + (size_t)workers * sizeof(struct metrics_worker) +
           METRICS_INSTANCE_SLOTS * sizeof(struct ejection_slot);
}

/* The bucket of a latency, and the bounds of a bucket: [low, high) in microseconds. */
uint32_t metrics_bucket(uint64_t us);
uint64_t metrics_bucket_low(uint32_t bucket);
uint64_t metrics_bucket_high(uint32_t bucket); /* of the last: UINT64_MAX */

/* ---- reading (controller)
 * ------------------------------------------------------------------------- */

struct metrics_view {
    const struct metrics_header *header; /* NULL: none */
    const struct metrics_worker *workers;
    uint32_t workers_len;
    const struct ejection_slot *ejections;
    size_t bytes;
};
/* Maps fd read-only after checking seals (SHRINK and GROW must be set), size and header. fd stays
 * the caller's. ERROR_CONFLICT: those of a gateway of another version, in another format. */
int metrics_view_open(struct metrics_view *v, int fd, struct error *err);
void metrics_view_close(struct metrics_view *v);
/* Sums over the workers. */
uint64_t metrics_request(const struct metrics_view *v, uint32_t slot, enum request_metric m);
void metrics_buckets(const struct metrics_view *v, uint32_t slot, uint64_t out[METRICS_BUCKETS]);
uint64_t metrics_latency_us(const struct metrics_view *v, uint32_t slot);       /* sum */
void metrics_red(const struct metrics_view *v, uint32_t slot, struct red *sum); /* adds */
/* Gauges may be negative in one worker for a moment, not in the sum; a negative sum reads as 0. */
uint64_t metrics_instance(const struct metrics_view *v, uint32_t slot, enum instance_metric m);
/* Instances that are out: how many ms longer, 0: not; and how often so far, *why for the last time.
 */
uint64_t metrics_ejected_ms(const struct metrics_view *v, uint32_t slot, uint64_t now_boot_ms);
uint64_t metrics_ejections(const struct metrics_view *v, uint32_t slot, enum ejection_reason *why);
/* Every worker has seen this version (or a later one), or is offline. */
bool metrics_seen(const struct metrics_view *v, uint64_t version);

#endif
