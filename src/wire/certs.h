/* The certificates that a gateway serves, as the controller sends them: a sealed memfd, encoded.
 *
 *   "SCT1", count (4 bytes), then per certificate: length of name, chain and key (4 bytes each),
 *   and these three. Little endian. The first one serves hosts that none is for. */
#ifndef SLUICE_WIRE_CERTS_H
#define SLUICE_WIRE_CERTS_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { CERTS_MAX = 4096, CERTS_MAX_BYTES = 64 << 20, CERTS_NAME_MAX = 255 };

struct cert {
    const char *name; /* of its file, for errors; of no meaning else */
    size_t name_len;
    const char *chain, *key; /* PEM */
    size_t chain_len, key_len;
};

void certs_encode(const struct cert *certs, size_t len, struct buf *out);
/* They point into data; the caller frees. NULL with *err (ERROR_USAGE) where it is not valid. */
struct cert *certs_decode(const void *data, size_t bytes, size_t *len, struct error *err);

#endif
