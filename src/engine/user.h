/* A user of the machine by name, with all that is needed to become that user. Not in src/os,
 * because the name service does not work in the small static programs. */
#ifndef SLUICE_ENGINE_USER_H
#define SLUICE_ENGINE_USER_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

struct os_user {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* the supplementary ones, the primary included */
    size_t groups_len;
    char *home;
};

/* ERROR_NOT_FOUND: no such user. */
int os_user_find(struct os_user *user, const char *name, struct error *err);
void os_user_release(struct os_user *user);

#endif
