/* SHA-256 (FIPS 180-4). Plain data: a copy of the struct is a copy of the hash so far. */
#ifndef SLUICE_BASE_SHA256_H
#define SLUICE_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

struct sha256 {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64]; /* bytes % 64 of it are filled */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_BYTES]); /* s must be initialised again */
void sha256_end_hex(struct sha256 *s, char hex[SHA256_HEX]);

#endif
