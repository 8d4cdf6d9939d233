#include "os/privileges.h"

#include <errno.h>
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

int privileges_drop(int64_t uid, int64_t gid, struct error *err)
{
    if (geteuid() == 0 && uid >= 0 && gid >= 0) {
        uid_t u = (uid_t)uid;
        gid_t g = (gid_t)gid;
        if (setgroups(0, NULL) < 0 || setresgid(g, g, g) < 0 || setresuid(u, u, u) < 0)
            return error_errno(err, errno, "drop to user %u", (unsigned)u);
        if (u != 0 && setuid(0) == 0)
            return error_set(err, ERROR_FAILED, "dropping to user %u did not hold", (unsigned)u);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_errno(err, errno, "no new privileges");
    return 0;
}
