#include "gateway/pace.h"

static void pay(struct pace *p, uint64_t bytes, uint32_t rate)
{
    if (bytes <= p->bytes)
        return;
    uint64_t more = bytes - p->bytes;
    uint64_t paid_ms = more / rate * 1000 + more % rate * 1000 / rate;
    p->owed_ms = p->owed_ms > paid_ms ? p->owed_ms - paid_ms : 0;
    p->bytes = bytes;
}

uint64_t pace_wait(struct pace *p, uint64_t bytes, uint32_t rate, uint64_t now_ms)
{
    if (bytes > p->bytes) {
        pace_go(p, now_ms);
        pay(p, bytes, rate);
    }
    if (p->since_ms == 0)
        p->since_ms = now_ms;
    return p->since_ms + (p->owed_ms < PACE_GRACE_MS ? PACE_GRACE_MS - p->owed_ms : 0);
}

void pace_go(struct pace *p, uint64_t now_ms)
{
    if (p->since_ms != 0)
        p->owed_ms += now_ms - p->since_ms;
    p->since_ms = 0;
}
