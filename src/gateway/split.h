/* Which pool a request of a split route goes to. Pure but for the counter. */
#ifndef SLUICE_GATEWAY_SPLIT_H
#define SLUICE_GATEWAY_SPLIT_H

#include "gateway/table.h"

#include <stdatomic.h>

enum { STICKY_BUCKETS = 10000, STICKY_NONE = 0xffff };

/* Request n's share: n * 0x9E3779B97F4A7C15 mod 2^64 against the weights, so that any 40 requests
 * in a row hold 1 to 3 of a 5 % share (a low-discrepancy sequence). */
uint32_t split_by_count(const struct table_route *r, uint64_t n);
/* Whether it is the turn of request n, of which a share of below / 2^64 has it; spread as evenly.
 */
bool split_takes(uint64_t n, uint64_t below);
/* A client's share by its bucket 0..9999: the last share with a weight gets the low buckets, so
 * that raising it moves clients one way only. */
uint32_t split_by_bucket(const struct table_route *r, uint16_t bucket);
/* The bucket in a sticky cookie's value; STICKY_NONE where it is none. */
uint16_t split_bucket(const char *value, size_t len);

#endif
