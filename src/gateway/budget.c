#include "gateway/budget.h"

#define RETRY UINT64_C(1000000)
#define FLOOR_PER_MS (BUDGET_PER_S * RETRY / 1000)

static void fill(struct budget *b, uint32_t ppm, uint64_t requests, uint64_t now_ms)
{
    uint64_t past = now_ms - b->at_ms;
    uint64_t more = requests > b->requests ? requests - b->requests : 0;
    uint64_t deposit = more * ppm + past * FLOOR_PER_MS;
    /* As if they had come evenly: those of the last span are what counts. */
    uint64_t most = deposit / past * BUDGET_SPAN_MS;
    b->tokens = b->tokens + deposit < most ? b->tokens + deposit : most;
    b->at_ms = now_ms;
    b->requests = requests;
}

bool budget_take(struct budget *b, uint32_t ppm, uint64_t requests, uint64_t since_ms,
                 uint64_t now_ms)
{
    if (b->at_ms == 0) {
        b->at_ms = since_ms;
        b->tokens = BUDGET_SPAN_MS * FLOOR_PER_MS;
    }
    if (now_ms - b->at_ms >= BUDGET_LOOK_MS)
        fill(b, ppm, requests, now_ms);
    if (b->tokens < RETRY)
        return false;
    b->tokens -= RETRY;
    return true;
}
