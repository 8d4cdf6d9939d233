/* For who holds OpenSSL's objects himself (the gateway). */
#ifndef SLUICE_TLS_OPENSSL_H
#define SLUICE_TLS_OPENSSL_H

#include "tls/tls.h"

#include <openssl/ssl.h>

/* Puts certificate, chain and key into ctx. As tls_pair_check(). */
int tls_pair_use(SSL_CTX *ctx, const char *chain, size_t chain_len, const char *key, size_t key_len,
                 struct error *err);
/* What OpenSSL's error queue says, as one line; the queue is empty then. */
void tls_openssl_error(struct error *err, const char *what);

#endif
