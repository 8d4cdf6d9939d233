/* What a gateway shows a CA that looks at hosts before it gives certificates for them (ACME): the
 * certificates of TLS-ALPN-01 (RFC 8737), part of a set of certificates (certificates.h) and as
 * constant; the answers to HTTP-01 (RFC 8555 section 8.3) are in the routing snapshot, so that a
 * gateway knows them from its first request on. */
#ifndef SLUICE_GATEWAY_PROOFS_H
#define SLUICE_GATEWAY_PROOFS_H

#include "base/error.h"
#include "wire/certs.h"

#include <openssl/ssl.h>
#include <stdbool.h>

struct proofs;

/* NULL: there are none among these. */
struct proofs *proofs_new(const struct cert *certs, size_t len);
int proofs_add(struct proofs *p, const struct cert *cert, struct error *err);
void proofs_free(struct proofs *p);         /* NULL is fine */
bool proofs_by_tls(const struct proofs *p); /* there are some */

/* For contexts that connections begin with: proofs_wanted() is known by the time that the name is.
 */
void proofs_watch(SSL_CTX *ctx);
bool proofs_wanted(SSL *ssl);
/* An answer for SSL_CTX_set_tlsext_servername_callback(). */
int proofs_show(const struct proofs *p, SSL *ssl, const char *host, int *alert);
bool proofs_is_one(const SSL *ssl);

#endif
