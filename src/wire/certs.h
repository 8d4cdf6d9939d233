/* The certificates that a gateway serves, and those that it shows a CA that wants proof of a host
 * (ACME), as the controller sends them: a sealed memfd, encoded.
 *
 *   "SCT2", count (4 bytes), then per entry: kind, length of name, chain and key (4 bytes each),
 *   and these three. Little endian. The first CERT_PAIR serves hosts that none is for. */
#ifndef SLUICE_WIRE_CERTS_H
#define SLUICE_WIRE_CERTS_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { CERTS_MAX = 4096, CERTS_MAX_BYTES = 64 << 20, CERTS_NAME_MAX = 255 };

/* The CERT_TRUST of this name is for the clients' certificates. */
#define CERTS_CLIENTS "client"

enum cert_kind {
    CERT_PAIR,        /* name: of its file. chain, key: PEM */
    CERT_TLS_ALPN_01, /* the same for ALPN "acme-tls/1" (RFC 8737); name: the host */
    CERT_TRUST,       /* chain: certificates of CAs; key: their revocation lists, may be empty */
    CERT_KINDS
};

struct cert {
    enum cert_kind kind;
    const char *name;
    size_t name_len;
    const char *chain, *key;
    size_t chain_len, key_len;
};

void certs_encode(const struct cert *certs, size_t len, struct buf *out);
/* They point into data; the caller frees. NULL with *err (ERROR_USAGE) where it is not valid. */
struct cert *certs_decode(const void *data, size_t bytes, size_t *len, struct error *err);

#endif
