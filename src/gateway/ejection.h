/* When an instance is an outlier, and for how long it is taken out. Pure. */
#ifndef SLUICE_GATEWAY_EJECTION_H
#define SLUICE_GATEWAY_EJECTION_H

#include <stdbool.h>
#include <stdint.h>

enum {
    EJECTION_ONE_IN = 1000000, /* chance of a row of failures that is no evidence any more */
    RAMP_WHOLE = 1 << 16,      /* ramp_share(): all of it */
};

/* Whether `row` failures one after the other may be what all instances of the pool have: the others
 * had `failed` of `answers` of late. Where nothing is known of them half is assumed. */
bool ejection_by_chance(uint32_t row, uint64_t failed, uint64_t answers);

/* How many of a pool may be out at once; 0: none, since one must stay. */
uint32_t ejection_most(uint32_t instances, uint32_t share_ppm);

/* Until when an instance is out that was out `times` times in a row, the last time until until_ms
 * (0: never was). Each base_ms that it behaved meanwhile forgives one. Gives the new *times. */
uint64_t ejection_until(uint32_t *times, uint64_t until_ms, uint64_t now_ms, uint32_t base_ms,
                        uint32_t max_ms);

/* What an instance gets of what it would get otherwise, of RAMP_WHOLE: rises evenly from a tenth at
 * from_ms to all at until_ms. */
uint32_t ramp_share(uint64_t from_ms, uint64_t until_ms, uint64_t now_ms);

#endif
