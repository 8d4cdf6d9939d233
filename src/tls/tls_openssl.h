/* For who holds OpenSSL's objects himself (the gateway). */
#ifndef SLUICE_TLS_OPENSSL_H
#define SLUICE_TLS_OPENSSL_H

#include "tls/tls.h"

#include <openssl/ssl.h>

/* TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 section 4.2). */
#define TLS_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

/* Puts certificate, chain and key into ctx. As tls_pair_check(). */
int tls_pair_use(SSL_CTX *ctx, const char *chain, size_t chain_len, const char *key, size_t key_len,
                 struct error *err);
/* As tls_trust_check(), to be verified against. NULL with *err; else the caller frees. */
X509_STORE *tls_trust_make(const struct tls_trust *t, struct tls_trust_info *out,
                           struct error *err);
/* Of its certificates, to be said to clients. NULL: too many to be said, or no memory. */
STACK_OF(X509_NAME) * tls_trust_names(X509_STORE *store);

BIO *tls_reader(const char *text, size_t len); /* NULL: too long, or no memory */
int64_t tls_wall_ms(const ASN1_TIME *time);    /* 0: it says none */
/* What OpenSSL's error queue says, as one line; the queue is empty then. */
void tls_openssl_error(struct error *err, const char *what);

#endif
