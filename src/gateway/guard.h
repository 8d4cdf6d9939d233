/* What a route takes from clients: how often each may ask, how large a head and a body may be.
 * Decided when the route is known, before an instance is chosen. */
#ifndef SLUICE_GATEWAY_GUARD_H
#define SLUICE_GATEWAY_GUARD_H

#include "gateway/conn.h"

/* A request that comes to a guarded route, h parsed from p. false: it was answered with 413, 429 or
 * 431, x is gone. */
bool guard_admits(struct exchange *x, const struct table_route *r, const struct http1_head *h,
                  const char *p);
/* A chunked body turned out to be larger than x->body_limit: 413, or the end where an answer has
 * begun. x is gone. */
void guard_body_too_large(struct exchange *x);

/* For exchanges with a least rate: the client is waited for, to send (up) or to take; it did. */
void guard_waits(struct exchange *x, bool up);
void guard_moved(struct exchange *x, bool up);
/* Bytes of answers that the client's kernel has acknowledged: what lies in ours may be megabytes,
 * and says that it can be written to only when a third of that has gone. Rises only. */
uint64_t guard_taken(const struct exchange *x);
/* x->slow_at_ms has come. true: it was waited for too long; 408, or a reset where an answer has
 * begun; x is gone. */
bool guard_too_slow(struct exchange *x);

#endif
