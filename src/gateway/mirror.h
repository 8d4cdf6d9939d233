/* Mirroring: copies of some of a route's requests go to another pool (snapshot_mirror). What comes
 * back is compared with what the user got, counted, and dropped.
 *
 * The user's exchange never waits for the copy, nor fails with it. A copy is made when the last
 * byte of the user's request is with its instance, and begins at the end of the worker's turn; it
 * is an exchange of its own whose client has neither a socket nor a stream, and takes whatever is
 * sent to it. It is never held, queued, retried after a failure or mirrored; it counts for no
 * client and has no line in the access log. Few copies run at once, and none is made where a worker
 * has much to do.
 *
 * struct mirror joins the two exchanges until both are over. */
#ifndef SLUICE_GATEWAY_MIRROR_H
#define SLUICE_GATEWAY_MIRROR_H

#include "gateway/conn.h"

#include <sys/uio.h>

/* The field that tells an instance that nobody sees its answer. Clients cannot send it, but trusted
 * proxies can. */
#define MIRROR_FIELD "Sluice-Mirror"

enum {
    MIRROR_COPIES = 128,         /* that run, per worker */
    MIRROR_PAIRS = 1024,         /* users that are answered, or copies that run */
    MIRROR_HEAD_MAX = 32 << 10,  /* of a request; rules make it longer */
    MIRROR_ANSWER_MAX = 2 << 20, /* bytes that are taken of an answer to a copy */
};

/* A request of a route with a mirror was sent to an instance of this share: its turn or not. */
void mirror_draw(struct exchange *x, const struct table_route *r, const struct snapshot_share *s,
                 const struct http1_head *h);
/* x->mirror: all of the request is with the instance. */
void mirror_sent(struct exchange *x);
/* x->mirror: the final head of the answer, which is at p. */
void mirror_head(struct exchange *x, const struct http1_head *h, const char *p);
/* x->printed: bytes behind the head, as they came. */
void mirror_body(struct exchange *x, const char *data, size_t len);
/* x->mirror: this exchange, the user's or the copy's, is over. */
void mirror_ended(struct exchange *x, enum outcome outcome);

/* CLIENT_COPY: goes on to CLIENT_BUSY, or is closed. */
void mirror_begin(struct client *c);
/* x->copy: a connection broke that the instance had closed just then. */
void mirror_again(struct exchange *x, const struct instance *avoid);
/* Takes all; -1: it was too much. */
ssize_t mirror_sink(struct endpoint *e, const struct iovec *parts, int len);
/* x->copy: instead of an answer. */
void mirror_refuse(struct exchange *x, enum outcome outcome);

/* After a change of the table: a drain never waits for copies. */
void mirror_sync(struct worker *w);
void mirror_release(struct worker *w); /* on its own thread, which has no users any more */

/* dispatch.c: a copy to an instance of r's mirror. */
enum dispatched { DISPATCHED, DISPATCH_NOBODY, DISPATCH_FAILED, DISPATCH_LOCAL, DISPATCH_GONE };
enum dispatched dispatch_copy(struct exchange *x, const struct table_route *r,
                              const struct instance *avoid);

#endif
