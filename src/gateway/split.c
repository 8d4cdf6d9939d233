#include "gateway/split.h"

static uint32_t share_at(const struct table_route *r, uint64_t x)
{
    for (uint32_t i = r->route->shares_len; i-- > 1;)
        if (x < r->upto[i])
            return i;
    return 0;
}

static uint64_t spread(uint64_t n)
{
    return n * UINT64_C(0x9E3779B97F4A7C15);
}

uint32_t split_by_count(const struct table_route *r, uint64_t n)
{
    return share_at(r, spread(n));
}

bool split_takes(uint64_t n, uint64_t below)
{
    return spread(n) < below;
}

uint32_t split_by_bucket(const struct table_route *r, uint16_t bucket)
{
    /* In whole buckets, as DESIGN says: bucket < weight; the others follow in the same order. */
    uint32_t end = 0;
    for (uint32_t i = r->route->shares_len; i-- > 1;) {
        end += r->route->shares[i].weight_ppm / 100;
        if (bucket < end)
            return i;
    }
    return 0;
}

uint16_t split_bucket(const char *value, size_t len)
{
    uint32_t n = 0;
    if (len == 0 || len > 4 || (len > 1 && value[0] == '0'))
        return STICKY_NONE;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return STICKY_NONE;
        n = n * 10 + (uint32_t)(value[i] - '0');
    }
    return (uint16_t)n;
}
