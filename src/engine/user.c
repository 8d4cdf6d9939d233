#include "engine/user.h"

#include "base/alloc.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>

int os_user_find(struct os_user *user, const char *name, struct error *err)
{
    char space[16384];
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, space, sizeof space, &found);
    if (error != 0)
        return error_errno(err, error, "look up user %s", name);
    if (found == NULL)
        return error_set(err, ERROR_NOT_FOUND, "user %s: there is no such user on this machine",
                         name);
    *user = (struct os_user){.uid = entry.pw_uid, .gid = entry.pw_gid};
    int n = 64;
    user->groups = xcalloc((size_t)n, sizeof *user->groups);
    if (getgrouplist(name, entry.pw_gid, user->groups, &n) < 0) {
        user->groups = xrealloc(user->groups, (size_t)n, sizeof *user->groups);
        if (getgrouplist(name, entry.pw_gid, user->groups, &n) < 0)
            n = 0;
    }
    user->groups_len = (size_t)n;
    user->home = xstrdup(entry.pw_dir);
    return 0;
}

void os_user_release(struct os_user *user)
{
    free(user->groups);
    free(user->home);
    memset(user, 0, sizeof *user);
}
