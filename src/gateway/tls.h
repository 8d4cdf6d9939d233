/* TLS on a client's connection: the same reads and writes as on a plain one (conn.h), and a
 * handshake that happens within them. */
#ifndef SLUICE_GATEWAY_TLS_H
#define SLUICE_GATEWAY_TLS_H

#include "gateway/certificates.h"
#include "gateway/worker.h"

#include <sys/types.h>
#include <sys/uio.h>

struct tls;

bool tls_possible(struct gateway *g, enum tls_use use); /* there are certificates, and CAs */
/* Where clients find TLS: 443 where one listens there, or none at all does. */
unsigned tls_port(struct gateway *g);
/* With the certificates of this moment. TLS_MUTUAL: nothing is ever read from a client that has no
 * certificate of the CAs of this moment. NULL: there are none, or no memory. */
struct tls *tls_new(struct gateway *g, int fd, enum tls_use use);
/* To an instance; ssl becomes its own, also where there is no memory (NULL). Once the endpoint has
 * it, tls_shake() comes first. */
struct tls *tls_outgoing(SSL *ssl);
/* The handshake of such a one: 1 it is over, 0 it waits, -1 it failed, *why (static). */
int tls_shake(struct endpoint *e, const char **why);
const char *tls_alert(const struct tls *t); /* what it said behind the handshake; NULL: nothing */
bool tls_quiet(const struct tls *t);        /* nothing waits in it to be read */
void tls_free(struct tls *t);               /* NULL is fine */

const char *tls_version(const struct tls *t); /* "TLSv1.3" */

/* Of TLS_MUTUAL, once something was read: the value of Client-Cert. NULL else. */
const char *tls_client_cert(const struct tls *t);

/* As endpoint_read() and endpoint_send(): bytes, 0 would block (readable, writable are kept),
 * READ_END, READ_BROKEN or -1. */
ssize_t tls_read(struct endpoint *e, void *data, size_t room);
ssize_t tls_send(struct endpoint *e, const struct iovec *parts, int len);
/* Once something was read: HTTP/2 was agreed on (RFC 9113 section 3.2). */
bool tls_speaks_h2(const struct tls *t);
/* Tells the peer that nothing more comes (RFC 8446 section 6.1), as far as that goes at once. */
void tls_end(struct endpoint *e);

#endif
