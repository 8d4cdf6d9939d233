/* How many of what: replicas, `scale`, surge. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <string.h>

int routed_process(const struct app_spec *spec)
{
    for (size_t i = 0; i < spec->processes_len; i++)
        if (spec->processes[i].routed)
            return (int)i;
    return -1;
}

uint32_t stable_replicas(const struct app_spec *spec, const uint32_t *override, size_t process)
{
    ASSERT(process < SPEC_MAX_PROCESSES);
    if (process >= spec->processes_len)
        return 0;
    if (override != NULL && override[process] != 0)
        return override[process] - 1;
    return spec->processes[process].replicas;
}

void overrides_carry(const struct app_spec *stable, const struct app_spec *candidate,
                     const uint32_t *old, uint32_t *new)
{
    memset(new, 0, SPEC_MAX_PROCESSES * sizeof *new);
    if (stable == NULL || old == NULL)
        return;
    for (size_t c = 0; c < candidate->processes_len; c++)
        for (size_t k = 0; k < stable->processes_len; k++)
            if (strcmp(candidate->processes[c].name, stable->processes[k].name) == 0 &&
                candidate->processes[c].replicas == stable->processes[k].replicas)
                new[c] = old[k];
    /* A fixed port has room for one. */
    for (size_t c = 0; candidate->port != 0 && c < candidate->processes_len; c++)
        if (new[c] > 2)
            new[c] = 0;
}

static uint32_t share_of(const struct amount *a, uint32_t n, bool up)
{
    if (!a->percent)
        return a->value;
    uint64_t parts = (uint64_t)a->value * n;
    return (uint32_t)((parts + (up ? 99 : 0)) / 100);
}

struct limits rolling_limits(const struct app_spec *spec, uint32_t n)
{
    static const struct amount quarter = {true, 25};
    struct limits l = {share_of(&quarter, n, true), 0};
    if (spec->strategy.kind == STRATEGY_ROLLING) {
        l.surge = share_of(&spec->strategy.max_surge, n, true);
        l.unavailable = share_of(&spec->strategy.max_unavailable, n, false);
    }
    if (l.unavailable > n)
        l.unavailable = n;
    if (l.surge == 0 && l.unavailable == 0)
        l.surge = 1;
    return l;
}

bool spec_is_exclusive(const struct app_spec *spec)
{
    return spec->strategy.kind == STRATEGY_RECREATE;
}
