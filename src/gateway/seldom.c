#include "gateway/seldom.h"

#include "os/clock.h"

enum { SAY_MS = 1000 };

bool seldom_may(struct seldom *s, unsigned *others)
{
    uint64_t now = (uint64_t)clock_mono_ms(), said = atomic_load(&s->said_ms);
    if ((said != 0 && now - said < SAY_MS) ||
        !atomic_compare_exchange_strong(&s->said_ms, &said, now)) {
        atomic_fetch_add(&s->unsaid, 1);
        return false;
    }
    *others = atomic_exchange(&s->unsaid, 0);
    return true;
}
