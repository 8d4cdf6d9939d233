/* HTTP/2 (RFC 9113) with clients and instances. A client's connection that speaks it is a session
 * (CLIENT_H2); each of its requests is a struct client of its own, whose endpoint has no socket but
 * a stream of the session: what is read from it is an HTTP/1.1 request, what is sent to it is an
 * HTTP/1.1 answer. So routes, retries, holds and counting are the same for both versions, and know
 * nothing of this one. The other way round with instances: a struct upstream takes an HTTP/1.1
 * request for its stream, and gives an HTTP/1.1 answer.
 *
 *   socket -> h2_session.c -> nghttp2 -> h2_frames.c -> h2_head.c -> h2_stream.c -> client.c
 *   client.c, flow.c -> h2_send.c -> h2_fields.c -> nghttp2 -> h2_session.c -> socket
 *
 * Streams only leave their bytes with the session. It sends what all of them left in one turn of
 * the worker with as few writes as there are buffers to fill (h2_send_all). */
#ifndef SLUICE_GATEWAY_H2_H
#define SLUICE_GATEWAY_H2_H

#include "gateway/conn.h"

struct h2_session;
struct h2_stream;

/* ---- connections of clients (h2_session.c)
 * ---------------------------------------------------------------------------------- */

/* By ALPN over TLS, by the preface on clear text (RFC 9113 sections 3.2, 3.3). c->in is not empty.
 */
enum h2_sign { H2_NO, H2_MAYBE, H2_YES };
enum h2_sign h2_sign(const struct client *c);
/* Makes c CLIENT_H2; what was read goes over. Without memory c is closed. */
void h2_begin(struct client *c);
void h2_run(struct client *c);
void h2_timeout(struct client *c);
/* Says good-bye to a connection without streams that has been idle for so long. */
bool h2_leave_if_idle(struct client *c, uint32_t idle_ms);
void h2_drain(struct worker *w);    /* the worker takes no new requests: tells all clients */
void h2_send_all(struct worker *w); /* the end of a turn */

/* ---- to instances (h2_origin.c)
 * ---------------------------------------------------------------------------------- */

/* As upstream_open(): a stream of a connection that is there, or of a new one. */
struct upstream *h2_upstream_open(struct worker *w, struct instance *i, bool *local);
void h2_origin_event(struct endpoint *e, uint32_t events); /* ENDPOINT_H2 */
/* The connection of that stream did not come to stand in time: it goes, so that nobody else waits
 * for it. */
void h2_origin_gave_up(struct h2_stream *stream);
/* i gets no new requests: idle connections go, or all. */
void h2_origin_unlist(struct instance *i, bool all);

/* ---- a stream as an endpoint (h2_stream.c): see conn.h for what these are
 * ------------------------------------------------------ */

ssize_t h2_stream_read(struct h2_stream *s, struct chunk **in);
ssize_t h2_stream_send(struct h2_stream *s, const struct iovec *parts, int len);
int h2_stream_end(struct h2_stream *s);
/* Whose socket it is; NULL: it is gone. */
const struct client *h2_stream_connection(const struct h2_stream *s);
/* The endpoint goes. A stream that was not ended is reset. */
void h2_stream_leave(struct h2_stream *s);
/* The peer did nothing with it: REFUSED_STREAM, or behind the last stream of a GOAWAY. */
bool h2_stream_refused(const struct h2_stream *s);
bool h2_stream_lost(const struct h2_stream *s); /* its connection is gone */
/* What an answer with this status counts as that came by it: another one for gRPC's failures. */
uint16_t h2_stream_counts_as(const struct h2_stream *s, uint16_t status);

#endif
