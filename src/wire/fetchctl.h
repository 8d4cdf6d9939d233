/* What the controller and its fetch helper say to each other. Pure.
 *
 * A SOCK_STREAM pair; both ends are of the same build. The controller sends requests and cancels,
 * the helper answers each request that was not cancelled exactly once, in any order. Text is
 * NUL-terminated in the message and holds no other NUL; a body may hold anything.
 */
#ifndef SLUICE_WIRE_FETCHCTL_H
#define SLUICE_WIRE_FETCHCTL_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FETCHCTL_BODY_MAX = 1 << 20, /* of a request or an answer */
    FETCHCTL_URL_MAX = 4096,
    FETCHCTL_FIELDS_MAX = 4096, /* of an answer */
};

/* X(name, word) */
#define FETCHCTL_KINDS(X)                                                                          \
    X(FETCHCTL_POST_FORM, "post-form") /* body: application/x-www-form-urlencoded */               \
    X(FETCHCTL_POST_JSON, "post-json")                                                             \
    X(FETCHCTL_ACME_GET, "acme-get") /* these three: https only, the CA's own root counts */       \
    X(FETCHCTL_ACME_HEAD, "acme-head")                                                             \
    X(FETCHCTL_ACME_POST, "acme-post") /* body: application/jose+json */                           \
    X(FETCHCTL_CANCEL, "cancel")                                                                   \
    X(FETCHCTL_ANSWER, "answer") /* number: the HTTP status, body: what came with it */            \
    X(FETCHCTL_FAILED, "failed") /* no answer; body: a sentence that says why, without the URL */

enum fetchctl_kind {
#define X(name, word) name,
    FETCHCTL_KINDS(X)
#undef X
        FETCHCTL_KINDS_COUNT
};

struct fetchctl_message {
    enum fetchctl_kind kind;
    uint64_t id;     /* of the request; the controller's choice, never repeated */
    uint32_t number; /* request: all of it is over within so many ms; answer: the status */
    const char *url; /* request; else "" */
    /* Answer to one of ACME's: "name: value" lines, names in lower case, of replay-nonce, location
     * and retry-after; else "". */
    const char *fields;
    const char *body;
    size_t body_len;
};

static inline bool fetchctl_is_acme(enum fetchctl_kind kind)
{
    return kind == FETCHCTL_ACME_GET || kind == FETCHCTL_ACME_HEAD || kind == FETCHCTL_ACME_POST;
}

/* Appends one message. The caller sees to the limits. */
void fetchctl_write(const struct fetchctl_message *m, struct buf *out);

/* The first message in data: 1 (*m points into data, *used is its length), 0 it is not whole yet,
 * -1 this is no message of ours: the connection is of no more use. */
int fetchctl_read(const char *data, size_t len, struct fetchctl_message *m, size_t *used,
                  struct error *err);

#endif
