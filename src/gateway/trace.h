/* Trace context and request ids, for routes that ask for them (spec: trace, request-id). Others
 * pass both on as they came.
 *
 * A traced request continues the client's trace, or begins one; the instance sees the gateway as
 * the parent. traceparent of a client that is wrong or comes twice begins a new trace, and its
 * tracestate goes (W3C Trace Context, sections 3.2 to 3.4); else tracestate is passed on as it
 * came.
 */
#ifndef SLUICE_GATEWAY_TRACE_H
#define SLUICE_GATEWAY_TRACE_H

#include "wire/http1.h"
#include "wire/snapshot.h"
#include "wire/traceparent.h"

#include <stdbool.h>
#include <stdint.h>

struct exchange;

/* Random, not secret: xoshiro256++, seeded by the kernel. */
struct trace_random {
    uint64_t s[4];
};
void trace_seed(struct trace_random *r);
uint64_t trace_next(struct trace_random *r);

enum { REQUEST_ID_MAX = 64 }; /* of a client's that is believed; a longer one is replaced */

/* What an exchange keeps: where it is traced, or identified. */
struct trace {
    struct traceparent context; /* span: the gateway's own */
    char parent[SPAN_ID_LEN];   /* the client's, where it had one */
    bool has_parent;
    uint8_t request_id_len;
    char request_id[REQUEST_ID_MAX];
};

/* Once per request, with the head (h at p) as it came, before anything of x->kept was sent: puts
 * the fields into x->kept. Without memory the request goes as it came. */
void trace_apply(struct exchange *x, const struct http1_head *h, const char *p,
                 const struct snapshot_observe *wanted);

#endif
