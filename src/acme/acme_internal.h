/* acme, inside: jose.c keys, JWK, JWS; x509.c requests and challenge certificates; problem.c what
 * the CA says when it says no; reply.c headers; order.c the machine. */
#ifndef SLUICE_ACME_INTERNAL_H
#define SLUICE_ACME_INTERNAL_H

#include "acme/acme.h"

#include <jansson.h>

/* RFC 4648 section 5, without padding; appends. */
void base64url(const void *data, size_t len, struct buf *out);
/* RFC 7638, as base64url. */
int jwk_thumbprint(EVP_PKEY *key, struct buf *out, struct error *err);
/* RFC 7515 section 7.2.2, by ES256. kid NULL: the key itself is in it. payload NULL: POST-as-GET.
 */
struct jws {
    EVP_PKEY *key;
    const char *kid, *nonce, *url, *payload;
};
int jws_write(const struct jws *j, struct buf *out, struct error *err);

/* A request for that host, DER as base64url (section 7.4). */
int csr_write(EVP_PKEY *key, const char *host, struct buf *out, struct error *err);

/* Section 6.7. Of a body or of an object in one. */
struct problem {
    char type[64];              /* without "urn:ietf:params:acme:error:"; "" none */
    char detail[ACME_TEXT_MAX]; /* clean */
};
void problem_read(const json_t *object, struct problem *out);
/* Fills in blame and advice; `what` is what we were doing. */
void problem_tell(const struct problem *p, const char *what, const char *host,
                  enum acme_challenge challenge, struct acme_failure *out);

#endif
