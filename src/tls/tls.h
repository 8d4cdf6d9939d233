/* tls: certificates and their keys, as the controller finds them and the gateway uses them. Pure
 * but for OpenSSL's random numbers; no files, no sockets. */
#ifndef SLUICE_TLS_TLS_H
#define SLUICE_TLS_TLS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger files are none of ours. */
enum { TLS_PEM_MAX = 1 << 20, TLS_NAMES_MAX = 128, TLS_NAME_MAX = 253, TLS_TRUST_MAX = 1024 };

/* What a pair of PEM texts is, once it is known to fit together. */
struct tls_pair_info {
    bool serves; /* it may be a server's: not only a client's, by its extended key usage */
    size_t names_len;
    char names[TLS_NAMES_MAX]
              [TLS_NAME_MAX + 1];        /* lower case: DNS names and addresses of the SAN */
    int64_t not_before_ms, not_after_ms; /* wall clock */
};

/* chain: the certificate, then what signed it (RFC 8446 section 4.4.2); key: PKCS #8, PKCS #1 or
 * SEC 1, without a passphrase. Both may stand in one text. ERROR_USAGE says what is wrong with it:
 * no certificate, no key, another certificate's key, a key that is too weak. */
int tls_pair_check(const char *chain, size_t chain_len, const char *key, size_t key_len,
                   struct tls_pair_info *out, struct error *err);

/* Whom the other side's certificate must come from. */
struct tls_trust {
    const char *ca;  /* PEM: roots, or intermediate CAs (RFC 5280 section 6.1.1 (d)) */
    const char *crl; /* PEM: revocation lists of all of them and of those below; len 0: none */
    size_t ca_len, crl_len;
};
struct tls_trust_info {
    size_t certificates, lists;
    int64_t not_after_ms;   /* of the certificate that ends first; wall clock */
    int64_t next_update_ms; /* of the list that does; nobody is let in then. 0: there is none */
};
/* ERROR_USAGE says what is wrong: nothing in it, damaged, too many. */
int tls_trust_check(const struct tls_trust *t, struct tls_trust_info *out, struct error *err);

#endif
