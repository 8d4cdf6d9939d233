/* The compiled routing table: immutable once made, shared by all workers through one pointer. Made
 * from a snapshot by the control thread; freed by it when no worker can hold it any more. */
#ifndef SLUICE_GATEWAY_TABLE_H
#define SLUICE_GATEWAY_TABLE_H

#include "gateway/rate.h"
#include "gateway/rules.h"
#include "wire/http1.h"
#include "wire/snapshot.h"

struct table_route {
    const struct snapshot_route *route;
    const struct snapshot_app *app;
    uint16_t path_len;
    /* Cumulative thresholds of the shares for x = n * golden mod 2^64: the last share gets x below
     * upto[len - 1], the one before it up to upto[len - 2], ... the first one all the rest. */
    uint64_t upto[SNAPSHOT_MAX_SPLIT];
    bool split;         /* more than one share has a weight */
    uint32_t whole;     /* the share that has all of it while not split */
    uint32_t candidate; /* the last share with a weight */
    bool guarded;       /* it has limits for clients (guard.h) */
    bool mirrored;      /* some of its requests are copied (mirror.h): of 2^64 so many */
    uint64_t copies_below;
    struct rate_limit rate;
    uint64_t identity; /* of app, host, path and matches; the same in the tables after this one */
};

struct table_host {
    const char *name; /* "" any, "*.example.org", "a.example.org" */
    size_t name_len;
    uint32_t first, len; /* range of table.routes: longest path first, then most matches */
};

struct table {
    uint64_t version;
    struct snapshot *snapshot; /* owned */
    struct table_route *routes;
    struct table_host *hosts; /* open addressing; name NULL: free */
    uint32_t routes_len, hosts_cap;
    struct rules *rules;  /* by index in snapshot.rules */
    uint64_t *identities; /* of the snapshot's instances: who has a slot */
    uint32_t *by_slot;    /* instance index + 1, 0: none; by_slot_len of them */
    uint32_t by_slot_len;
    uint32_t *slow_start_ms; /* of each pool: the longest of its routes */
    uint32_t *route_by_slot; /* of a share: index in routes + 1, 0: none; snapshot.request_slots */
    struct table *next;      /* control thread: waiting to be freed */
};

/* Takes the snapshot over, also when it fails (NULL, *err). */
struct table *table_make(struct snapshot *s, struct error *err);
void table_free(struct table *t);

/* The route of a request whose head is at p: exact host, then the longest wildcard, then any host;
 * within a host the longest path, then the most matches. A host whose routes do not match leaves
 * the request to the next one. NULL: none. bad: the path is malformed. */
const struct table_route *table_route(const struct table *t, const struct http1_head *h,
                                      const char *p, bool *bad);
/* The route with this share (not a pin's); NULL: none, or not in this table. */
const struct table_route *table_route_of_share(const struct table *t, uint32_t slot);
/* The TCP route of a listener ("tcp:127.0.0.1:5432"); NULL: none. */
const struct table_route *table_tcp_route(const struct table *t, const char *listener);
/* All of a range of the snapshot's matches hold. */
bool table_matches(const struct table *t, const struct http1_head *h, const char *p, uint32_t first,
                   uint32_t len);

#endif
