/* The parts of a request target: percent-decoding, path segments, query parameters. Pure. */
#ifndef SLUICE_API_QUERY_H
#define SLUICE_API_QUERY_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the decoded text. -1 where an escape is malformed or a control byte comes out. plus: '+'
 * is a space (queries). */
int percent_decode(const char *text, size_t len, bool plus, struct buf *out);

enum { QUERY_MAX = 16 };
struct query {
    struct {
        char *name, *value;
    } items[QUERY_MAX];
    size_t len;
};

/* text: what stands behind '?'. allowed: comma separated names ("limit,after"); another name, or
 * one that comes twice, is an error that lists them. */
int query_parse(struct query *q, const char *text, size_t len, const char *allowed,
                struct error *err);
void query_release(struct query *q);
const char *query_get(const struct query *q, const char *name); /* NULL: not there */

#endif
