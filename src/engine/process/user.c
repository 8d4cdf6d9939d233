#include "engine/process/process_internal.h"

#include "base/vec.h"
#include "engine/user.h"

#include <unistd.h>

int user_look_up(const char *name, struct shim_params *params, struct error *err)
{
    struct os_user user;
    if (os_user_find(&user, name, err) < 0)
        return -1;
    int result = 0;
    if (geteuid() != 0 && user.uid != geteuid()) {
        result =
            error_set(err, ERROR_DENIED, "run as user %s: only a server that is root can", name);
    } else if (geteuid() == 0) { /* else: who we are already */
        params->has_user = true;
        params->uid = user.uid;
        params->gid = user.gid;
        for (size_t i = 0; i < user.groups_len; i++)
            *vec_push(&params->groups) = user.groups[i];
    }
    os_user_release(&user);
    return result;
}
