#include "os/title.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

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

void title_short(const char *role)
{
    char name[16];
    snprintf(name, sizeof name, "sluice-%s", role);
    prctl(PR_SET_NAME, name);
}
