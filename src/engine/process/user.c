#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

int user_look_up(const char *name, struct shim_params *params, struct error *err)
{
    struct passwd entry, *found = NULL;
    char data[16384];
    int failed = getpwnam_r(name, &entry, data, sizeof data, &found);
    if (failed != 0)
        return error_errno(err, failed, "look up user %s", name);
    if (found == NULL)
        return error_set(err, ERROR_USAGE, "user %s: there is no such user on this machine", name);
    if (geteuid() != 0 && found->pw_uid != geteuid())
        return error_set(err, ERROR_DENIED, "run as user %s: only a server that is root can", name);
    if (geteuid() != 0)
        return 0; /* who we are already */
    gid_t groups[GROUPS_MAX];
    int count = GROUPS_MAX;
    if (getgrouplist(name, found->pw_gid, groups, &count) < 0)
        return error_set(err, ERROR_USAGE, "user %s: in more than %d groups", name, GROUPS_MAX);
    params->has_user = true;
    params->uid = found->pw_uid;
    params->gid = found->pw_gid;
    for (int i = 0; i < count; i++)
        *vec_push(&params->groups) = groups[i];
    return 0;
}
