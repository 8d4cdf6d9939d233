/* What one worker thread owns, and the little that all of them share. */
#ifndef SLUICE_GATEWAY_WORKER_H
#define SLUICE_GATEWAY_WORKER_H

#include "base/network.h"
#include "gateway/address.h"
#include "gateway/budget.h"
#include "gateway/chunk.h"
#include "gateway/link.h"
#include "gateway/overload.h"
#include "gateway/repeats.h"
#include "gateway/seldom.h"
#include "gateway/table.h"
#include "gateway/timers.h"
#include "gateway/trace.h"
#include "os/boot.h"
#include "wire/gatewayctl.h"
#include "wire/metrics.h"

#include <netinet/in.h>
#include <pthread.h>

/* The times of DESIGN; in one place, so that tests can shorten them. */
struct gateway_limits {
    uint32_t head_ms;     /* a request's head must be complete: 10 s */
    uint32_t idle_ms;     /* keep-alive without a request: 60 s */
    uint32_t connect_ms;  /* 2 s: instances are on loopback */
    uint32_t rest_ms;     /* an instance rests after a failed connect: 1 s */
    uint32_t linger_ms;   /* reading on after the last answer: 5 s without anything */
    uint32_t fresh_ms;    /* non-idempotent requests use connections idle for less: 1 s */
    size_t worker_memory; /* bytes of chunks per worker */
    uint32_t descriptors; /* accepting stops near this */
};

enum { GATEWAY_MAX_TRUSTED = NETWORK_LIST_MAX };

/* Shared by all threads of the process. */
struct gateway {
    _Atomic(struct table *) table;
    metric *applied_version;
    struct metrics_header *metrics; /* the shared memory; the blocks follow */
    int metrics_fd;
    struct metrics_worker *blocks;
    struct access_rings *access; /* NULL: no access log */
    int access_fd;
    struct worker *workers;
    uint32_t workers_len;
    uint64_t generation;
    struct gateway_limits limits;
    struct cidr trusted[GATEWAY_MAX_TRUSTED];
    uint32_t trusted_len;
    atomic_uint ready, running; /* workers */
    atomic_bool draining;
    atomic_uint open_fds; /* of clients and instances, about */
    /* Touched only while a route is split, or requests are held. By request slot. */
    _Atomic uint64_t split_count[METRICS_REQUEST_SLOTS];
    _Atomic uint32_t held[METRICS_REQUEST_SLOTS];
    /* Of routes with a capacity, by the slot of the share. */
    _Atomic uint32_t places_taken[METRICS_REQUEST_SLOTS];
    _Atomic uint32_t queued[METRICS_REQUEST_SLOTS];
    struct ejection_slot *ejections; /* shared memory; changed under the lock */
    pthread_mutex_t ejections_lock;
    _Atomic uint64_t ejections_made;
    /* Of what follows: listeners come and go while it runs. A place whose address is "" is free. */
    pthread_mutex_t listeners_lock;
    struct boot_listener *listeners;
    size_t listeners_len;
    uint32_t listener_users[BOOT_MAX_LISTENERS]; /* a bit per worker that has not let go of it */
    bool listener_closing[BOOT_MAX_LISTENERS];
    pthread_mutex_t certificates_lock;
    struct certificates *certificates; /* NULL: there is none */
    atomic_bool certificates_known;    /* the controller has said */
    atomic_bool routes_known;          /* so has it, or a file, or there was none */
    atomic_uint certificates_taken;    /* how often they were others */
    struct seldom refused_clients, untrusted_instances; /* their lines in the log */
    struct rates *rates;
    struct peers *peers;      /* NULL: a client may have any number of connections */
    bool proxy_protocol;      /* trusted peers begin with a header */
    uint32_t max_connections; /* of clients; 0: as the descriptors allow */
};

enum endpoint_kind {
    ENDPOINT_LISTENER,
    ENDPOINT_WAKE,
    ENDPOINT_CLIENT,
    ENDPOINT_UPSTREAM,
    ENDPOINT_H2
};

/* What epoll knows. Sockets are registered once, edge-triggered; these flags remember the edges. */
struct endpoint {
    int fd;
    uint8_t kind; /* enum endpoint_kind */
    bool readable, writable;
    bool hangup;     /* the peer sends no more (seen as an event, maybe not yet as end of file) */
    bool broken;     /* reset or closed in both directions */
    bool bulk;       /* the last read filled its buffer */
    bool dead;       /* closed; freed at the end of the turn, since events may still name it */
    struct tls *tls; /* NULL: the bytes go as they are */
    struct h2_stream *stream; /* not NULL: no socket of its own, but a stream of one (h2.h) */
    struct endpoint *next_dead;
};

/* What connections begin with. */
enum tls_use { TLS_NONE, TLS_SERVER, TLS_MUTUAL };

struct listener {
    struct endpoint endpoint;
    uint8_t tls; /* enum tls_use */
    bool watched;
    const char *tcp; /* its address, where it is of a TCP route; NULL: HTTP */
    uint32_t place;  /* in gateway.listeners */
    struct link link;
};

struct worker {
    struct gateway *gateway;
    uint32_t index;
    int epoll, wake;
    pthread_t thread;
    struct endpoint wake_endpoint;
    struct table *table; /* of this turn */
    uint64_t table_version;
    struct metrics_worker *metrics;
    _Atomic uint64_t turns; /* of its loop, so far; the control thread looks at it */
    uint64_t now_ms, now_us,
        boot_minus_mono_ms; /* of this turn; now_us is refreshed where it counts */
    uint64_t random;
    struct chunk_pool chunks;
    struct timers timers;
    struct link clients, exchanges, ready, listeners;
    struct link pipes;  /* splice.h: those that are empty */
    uint32_t pipes_len; /* all of them */
    struct link holds;  /* struct hold_queue of apps that have requests waiting here */
    struct link h2_sessions, h2_unsent; /* struct h2_session: all; those with something to send */
    struct link copies;                 /* clients of mirror.h */
    uint32_t copies_len, pairs_len;     /* struct mirror: of which those have a copy that runs */
    struct link queues; /* struct capacity_queue of shares that have requests waiting here */
    _Atomic uint64_t
        queue_heads[METRICS_REQUEST_SLOTS]; /* since when the first waits, us; 0: none */
    bool queues_changed;                    /* a place got free */
    struct link reach_waits; /* struct reach_wait, the one that came first in front */
    struct timer reach_timer;
    struct timer queue_timer, hold_timer, sweep_timer, accept_timer;
    bool listens[BOOT_MAX_LISTENERS]; /* has taken it up: the places of gateway.listeners */
    bool accepting, draining;
    bool holds_changed; /* something ended: held requests may go */
    struct endpoint *dead;
    struct instance *instances[METRICS_INSTANCE_SLOTS]; /* by slot; pages are touched when used */
    struct link instance_list;
    struct access_writer *access; /* NULL: no access log */
    int64_t date_s;               /* wall clock: whose text `date` is (answer.c) */
    char date[32];
    struct trace_random trace;
    struct repeats repeats;
    struct overload overload;
    struct budget budgets[METRICS_REQUEST_SLOTS]; /* of retries, by share */
    uint64_t started_ms;
    uint64_t ejections_seen;   /* of gateway.ejections_made */
    uint64_t clients_numbered; /* so far: those that had an error and no address of their own */
};

/* Prepares a worker (descriptors, lists); worker_main is its thread. */
int worker_init(struct worker *w, struct gateway *g, uint32_t index, struct error *err);
void worker_release(struct worker *w);
void *worker_main(void *worker);
void worker_wake(struct worker *w); /* from any thread */

int worker_watch(struct worker *w, struct endpoint *e, uint32_t events);
/* Closes the descriptor, keeps the memory until the end of the turn. */
void worker_retire(struct worker *w, struct endpoint *e);
uint64_t worker_now_us(struct worker *w); /* reads the clock */
uint32_t worker_random(struct worker *w);

/* accept.c */
void accept_sync(struct worker *w); /* takes up listeners that are new, lets go of closing ones */
void accept_event(struct worker *w, struct listener *l);
void accept_pause(struct worker *w); /* out of descriptors or memory: for a moment */
void accept_stop(struct worker *w);  /* for good: drain */
void accept_resume(struct timer *t);

/* reclaim.c: closes some connections that wait for their client, idle ones and stalled ones, those
 * that came first before others. false: there is none. */
bool reclaim(struct worker *w);
/* No descriptor is left for one more client, or as many are open as may be. */
bool accept_full(const struct gateway *g);

#endif
