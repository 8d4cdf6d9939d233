/* The traceparent field of W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/,
 * section 3.2): 00-TRACE-PARENT-FLAGS, lower-case hex. Pure. */
#ifndef SLUICE_WIRE_TRACEPARENT_H
#define SLUICE_WIRE_TRACEPARENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRACE_ID_LEN = 32, SPAN_ID_LEN = 16, TRACEPARENT_LEN = 55 };

struct traceparent {
    char trace[TRACE_ID_LEN]; /* hex, never all zeros; no NUL */
    char span[SPAN_ID_LEN];   /* of who sends it: the parent of who gets it */
    bool sampled;             /* the only flag of level 1 */
};

/* A field's value, without white space around it. Of a version above 00 what is known of 00 is read
 * (section 4.3). false: it is none, and a new trace begins; *out is undefined then. */
bool traceparent_parse(const char *value, size_t len, struct traceparent *out);
/* As version 00; no NUL. */
void traceparent_write(const struct traceparent *t, char out[TRACEPARENT_LEN]);
/* n 64-bit numbers as 16 hex digits each. All zeros, which no id may be, become 1. */
void trace_hex(const uint64_t *numbers, size_t n, char *out);

#endif
