/* What the codec of the routing snapshot (snapshot.c) and the checks of what it means
 * (snapshot_check.c) share. */
#ifndef SLUICE_WIRE_SNAPSHOT_INTERNAL_H
#define SLUICE_WIRE_SNAPSHOT_INTERNAL_H

#include "wire/snapshot.h"

/* The arrays in their order on the wire: X(array, struct, least bytes of one, what one is called).
 */
#define SNAPSHOT_ARRAYS(X)                                                                         \
    X(apps, app, 23, "app")                                                                        \
    X(pools, pool, 23, "pool")                                                                     \
    X(instances, instance, 27, "instance")                                                         \
    X(matches, match, 8, "match")                                                                  \
    X(routes, route, 180, "route")                                                                 \
    X(draining, draining, 12, "draining instance")                                                 \
    X(edits, edit, 8, "edit")                                                                      \
    X(rules, rules, 15, "set of rules")                                                            \
    X(pages, page, 7, "page")                                                                      \
    X(errors, error, 6, "error")                                                                   \
    X(callers, caller, 20, "caller")                                                               \
    X(proofs, proof, 9, "proof for a CA")                                                          \
    X(fields, field, 3, "field to be compared")                                                    \
    X(pointers, pointer, 3, "JSON pointer")

/* Both give -1 with *err (ERROR_USAGE). */
/* Before any memory is taken: could it be one of body_bytes? */
int snapshot_check_head(const struct snapshot *s, size_t body_bytes, struct error *err);
/* Every count, index, range and text is what the header says. */
int snapshot_check_meaning(const struct snapshot *s, struct error *err);

#endif
