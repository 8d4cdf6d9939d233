#include "os/title.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char PREFIX[] = "sluice: ";

char *title_make(const char *role, const char *rest)
{
    return xasprintf("%s%s %s", PREFIX, role, rest);
}

const char *title_match(const char *argv0, const char *role)
{
    size_t len = strlen(role);
    if (argv0 == NULL || strncmp(argv0, PREFIX, sizeof PREFIX - 1) != 0)
        return NULL;
    const char *word = argv0 + sizeof PREFIX - 1;
    if (strncmp(word, role, len) != 0 || word[len] != ' ')
        return NULL;
    return word + len + 1;
}

bool title_is(pid_t pid, const char *role, const char *rest)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    cleanup_free char *wanted = title_make(role, rest);
    size_t len = strlen(wanted) + 1; /* with its NUL */
    cleanup_free char *real = xcalloc(1, len + 1);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, real, len + 1) == (ssize_t)len && memcmp(real, wanted, len) == 0;
}

void title_short(const char *role)
{
    char name[16];
    snprintf(name, sizeof name, "sluice-%s", role);
    prctl(PR_SET_NAME, name);
}

void title_become(const char *old_role, const char *role)
{
    char *argv0 = program_invocation_name; /* argv[0] itself: what the kernel shows */
    const char *rest = title_match(argv0, old_role);
    title_short(role);
    if (rest == NULL || strlen(role) > strlen(old_role))
        return;
    size_t room = strlen(argv0) + 1;
    cleanup_free char *title = title_make(role, rest); /* rest is a part of argv0 */
    memset(argv0, '\0', room);
    snprintf(argv0, room, "%s", title);
}
