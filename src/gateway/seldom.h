/* Lines of the log that many peers could cause: one a second at most, that counts the others. */
#ifndef SLUICE_GATEWAY_SELDOM_H
#define SLUICE_GATEWAY_SELDOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct seldom {
    _Atomic uint64_t said_ms;
    atomic_uint unsaid; /* since then */
};

/* From any thread. true: say it, and that there were *others which were not said. */
bool seldom_may(struct seldom *s, unsigned *others);

#endif
