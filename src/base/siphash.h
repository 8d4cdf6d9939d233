/* SipHash-2-4 (Aumasson, Bernstein 2012): a hash of what comes from outside for tables whose places
 * nobody may choose. The key is random and secret. */
#ifndef SLUICE_BASE_SIPHASH_H
#define SLUICE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* Of the message that begins with the 8 bytes of `first` (little endian), then len bytes of data.
 */
uint64_t siphash(const uint64_t key[2], uint64_t first, const void *data, size_t len);

#endif
