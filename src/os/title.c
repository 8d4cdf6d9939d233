#include "os/title.h"

#include "base/alloc.h"

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
