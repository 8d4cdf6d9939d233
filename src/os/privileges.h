/* Giving up rights for good. */
#ifndef SLUICE_OS_PRIVILEGES_H
#define SLUICE_OS_PRIVILEGES_H

#include "base/error.h"

#include <stdint.h>

/* Root becomes that user and group, with no other group; where one of them is negative, or we are
 * not root, nobody changes. No new privileges either way: a setuid program gives none. */
int privileges_drop(int64_t uid, int64_t gid, struct error *err);

#endif
