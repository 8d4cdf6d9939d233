#include "gateway/ejection.h"

bool ejection_by_chance(uint32_t row, uint64_t failed, uint64_t answers)
{
    double share = ((double)failed + 1) / ((double)answers + 2), chance = 1;
    for (uint32_t i = 0; i < row && chance * EJECTION_ONE_IN > 1; i++)
        chance *= share;
    return chance * EJECTION_ONE_IN > 1;
}

uint32_t ejection_most(uint32_t instances, uint32_t share_ppm)
{
    uint32_t most = (uint32_t)((uint64_t)instances * share_ppm / 1000000);
    if (most == 0)
        most = 1;
    if (instances == 0)
        return 0;
    return most < instances ? most : instances - 1;
}

uint64_t ejection_until(uint32_t *times, uint64_t until_ms, uint64_t now_ms, uint32_t base_ms,
                        uint32_t max_ms)
{
    uint64_t base = base_ms > 0 ? base_ms : 1;
    uint64_t behaved = now_ms > until_ms ? (now_ms - until_ms) / base : 0;
    *times = *times > behaved ? *times - (uint32_t)behaved : 0;
    if (*times < UINT32_MAX)
        *times += 1;
    uint64_t length = base * *times;
    return now_ms + (length < max_ms ? length : max_ms);
}

uint32_t ramp_share(uint64_t from_ms, uint64_t until_ms, uint64_t now_ms)
{
    if (now_ms >= until_ms)
        return RAMP_WHOLE;
    uint64_t past = now_ms > from_ms ? now_ms - from_ms : 0;
    return RAMP_WHOLE / 10 +
           (uint32_t)((RAMP_WHOLE - RAMP_WHOLE / 10) * past / (until_ms - from_ms));
}
