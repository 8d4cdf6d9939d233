/* The access log, as the data path sees it: one JSON line per request into the worker's ring
 * (wire/accessring.h). The gateway has no file: the controller takes the lines to theirs. Nothing
 * here waits; what finds no room is dropped and counted.
 *
 * An exchange keeps what its line will say (struct chunk *access): the head is gone by the time
 * that the answer is over. Where there is no log, x->access is NULL and stays so.
 */
#ifndef SLUICE_GATEWAY_ACCESS_H
#define SLUICE_GATEWAY_ACCESS_H

#include "gateway/conn.h"
#include "wire/accessring.h"

/* Longest line: everything at its bound, every byte of it escaped. */
enum { ACCESS_TARGET_MAX = 2048, ACCESS_AGENT_MAX = 256, ACCESS_LINE_MAX = 24 << 10 };

/* One worker's. */
struct access_writer {
    struct access_ring *ring;
    int64_t second; /* whose text this is: "2026-11-21T08:00:00" */
    char text[20];
    char line[ACCESS_LINE_MAX];
};

/* NULL: no memory. ring: the gateway's. */
struct access_writer *access_writer_new(struct access_ring *ring);

/* In this order; each but the first only while x->access is not NULL. */
void access_begin(struct exchange *x, const struct http1_head *h, const char *p);
void access_routed(struct exchange *x, const struct table_route *r);
/* With each attempt: pool and instance of the present table. */
void access_chosen(struct exchange *x, const struct snapshot_pool *pool, uint32_t instance_slot);
void access_end(struct exchange *x, enum outcome outcome);

/* A head that was none: answered by the gateway, no exchange. */
void access_refused(struct client *c, unsigned status, const char *why);

/* Appends s as the inside of a JSON string (RFC 8259 section 7) at to, at most 6 * len bytes; gives
 * the end. Valid UTF-8 stays as it is, but for control characters, also U+0080 to U+009F; those and
 * bytes that are no UTF-8 become \u00XX. */
char *access_escape(char *to, const char *s, size_t len);

#endif
