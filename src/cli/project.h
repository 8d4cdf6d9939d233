/* project: what kind of project a folder holds, and how it is built and started. For `init`. */
#ifndef SLUICE_CLI_PROJECT_H
#define SLUICE_CLI_PROJECT_H

#include "base/arena.h"
#include "spec/spec.h"

enum { PROJECT_MAX_COMMANDS = 8 };

struct project_command {
    const char *shell;       /* else argv */
    const char *const *argv; /* NULL-terminated */
};

struct project {
    const char *app;   /* a valid name, from the folder's */
    const char *found; /* "package.json and a Procfile" */
    struct project_command build[PROJECT_MAX_COMMANDS], release[PROJECT_MAX_COMMANDS];
    size_t build_len, release_len;
    struct {
        const char *name;
        struct project_command command;
    } processes[SPEC_MAX_PROCESSES];
    size_t processes_len;
    bool guessed_run; /* nothing said how it is started */
    bool routed;      /* has a web process */
    struct arena arena;
};

#define PROJECT_INIT                                                                               \
    {                                                                                              \
        .arena = ARENA_INIT                                                                        \
    }

/* Never fails: a folder of which nothing is known gets a guess. Texts are as the file must have
 * them: a ${ that is the shell's is $${ . */
void project_find(const char *folder, struct project *p);
void project_release(struct project *p);

#endif
