/* The certificates of a gateway, ready for handshakes: made in the control thread, used by workers.
 * A new set takes the place of the old one for connections that are accepted from then on. */
#ifndef SLUICE_GATEWAY_CERTIFICATES_H
#define SLUICE_GATEWAY_CERTIFICATES_H

#include "base/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certificates;

/* data: as certs_encode() writes it. What cannot be used is said in the log and left out. -1 where
 * nothing of it can be; *out is NULL where there is nothing in it. */
int certificates_make(const void *data, size_t bytes, struct certificates **out, struct error *err);
struct certificates *certificates_ref(struct certificates *c);
void certificates_unref(struct certificates *c); /* NULL is fine */

bool certificates_serve(const struct certificates *c); /* some connection over TLS can come of it */
/* The connection is one of a CA that looks (RFC 8737 section 3): nothing else is said on it. */
bool certificates_only_prove(const struct certificates *c, const SSL *ssl);

bool certificates_know_clients(const struct certificates *c); /* there are CAs for them */

/* By name, for connections to instances; NULL: there is none. */
X509_STORE *certificates_trust(const struct certificates *c, const char *name);
SSL_CTX *certificates_pair(const struct certificates *c, const char *name);

/* The server's side of a connection; it keeps what it needs of the set. mutual: only for clients
 * with a certificate of those CAs. NULL: no memory, no CAs. */
SSL *certificates_accept(struct certificates *c, bool mutual);

#endif
