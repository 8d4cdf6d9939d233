#include "base/alloc.h"
#include "base/assert.h"
#include "pack/pack_internal.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static void find_groups(struct identity *id)
{
    const struct passwd *user = getpwuid(id->reader);
    int len = 0;
    if (user == NULL)
        return; /* a uid without a name: its gid alone */
    getgrouplist(user->pw_name, id->reader_gid, NULL, &len);
    if (len <= 0)
        return;
    id->groups = xcalloc((size_t)len, sizeof id->groups[0]);
    len = getgrouplist(user->pw_name, id->reader_gid, id->groups, &len);
    id->groups_len = len > 0 ? (size_t)len : 0;
}

int identity_init(struct identity *id, const struct pack_spec *spec, struct error *err)
{
    *id = (struct identity){.root = geteuid() == 0};
    if (!id->root)
        return 0;
    id->reader = spec->reader_uid;
    id->reader_gid = spec->reader_gid;
    id->owner = spec->owner_uid;
    id->owner_gid = spec->owner_gid;
    id->switches = id->reader != 0;
    if (!id->switches)
        return 0;
    find_groups(id);
    if (setgroups(id->groups_len, id->groups) < 0 || setegid(id->reader_gid) < 0)
        return error_errno(err, errno, "take the groups of uid %u", (unsigned)id->reader);
    return 0;
}

void identity_release(struct identity *id)
{
    free(id->groups);
    id->groups = NULL;
}

static void become(uid_t uid)
{
    if (geteuid() == uid)
        return;
    /* Going on as the wrong user would be worse than any end. */
    ASSERT(seteuid(uid) == 0);
    /* A change of user takes this away. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void identity_read(const struct identity *id)
{
    if (id->switches)
        become(id->reader);
}

void identity_write(const struct identity *id)
{
    if (id->switches)
        become(0);
}
