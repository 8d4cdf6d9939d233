/* Where the controllers are: pure parsing of what /proc/self says. For cgroup_find.c and its tests.
 */
#ifndef SLUICE_OS_CGROUP_INTERNAL_H
#define SLUICE_OS_CGROUP_INTERNAL_H

#include "os/cgroup.h"

/* Our own group per controller, as a folder that should exist. */
struct cgroup_place {
    char *own;  /* NULL: not mounted */
    char *root; /* the top that we can see of this tree */
    int version;
};

/* Fills places from the texts of /proc/self/mountinfo and /proc/self/cgroup. A controller in a
 * version 1 tree is only there; what is in none of those may be in the version 2 tree (which of
 * them, its cgroup.controllers says). */
void cgroup_places(const char *mountinfo, const char *self_cgroup,
                   struct cgroup_place places[CGROUP_CONTROLLERS]);

/* Writes text into dir/file, which must exist. -1 with errno. */
int cgroup_write(const char *dir, const char *file, const char *text);
/* The file's text, into out (cleared first); -1 where it cannot be read. */
int cgroup_read(const char *dir, const char *file, struct buf *out);

#endif
