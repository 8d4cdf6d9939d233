/* Rules of a share, compiled: what is changed in heads on their way to the app and back. Immutable,
 * owned by the table; what an answer needs is copied, since an exchange outlives its table. */
#ifndef SLUICE_GATEWAY_RULES_H
#define SLUICE_GATEWAY_RULES_H

#include "gateway/chunk.h"
#include "wire/http1.h"
#include "wire/snapshot.h"

/* At data: the names of fields that go, each behind a byte with its length; then whole field lines
 * that come. */
struct edits {
    const char *data;
    uint32_t names_len, lines_len;
};

struct rules {
    struct edits request, answer;
    const char *strip_prefix, *prefix, *path; /* NULL: none; they point into the snapshot */
};

/* One for each of snapshot.rules, in one block; NULL where there are none. */
struct rules *rules_make(const struct snapshot *s);

bool edits_drop(const struct edits *e, const char *name, size_t len);

/* The head at p as the app gets it, from the one that forward_request() made. NULL: no memory. */
struct chunk *rules_request(const struct rules *r, struct chunk_pool *pool,
                            const struct http1_head *h, const char *p);
/* A copy of the edits of answers, to be read with rules_answer(). NULL: no memory. */
struct chunk *rules_copy_answer(const struct rules *r, struct chunk_pool *pool);
struct edits rules_answer(const struct chunk *copy);

#endif
