/* Starting a program, as data: one struct says everything about the child.
 *
 * What the child gets is what stands here and nothing else: descriptors that are not named are
 * closed, 0, 1 and 2 are /dev/null where not named, every signal is at its default and unblocked.
 * All descriptors in the struct stay the caller's, also on an error. Safe in a process with
 * threads: between fork and exec the child uses only system calls and what was prepared before.
 */
#ifndef SLUICE_OS_SPAWN_H
#define SLUICE_OS_SPAWN_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_fd {
    int from; /* in the caller */
    int to;   /* in the child, < SPAWN_FD_MAX; each named once */
};
enum { SPAWN_FD_MAX = 16 };

struct spawn_limit {
    int resource; /* RLIMIT_... */
    uint64_t soft, hard;
};

/* Numbers, not a name: looking one up needs the name service, which a static program has not. */
struct spawn_user {
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* the supplementary ones, all of them */
    size_t group_count;
};

struct spawn {
    const char *const *argv; /* NULL-terminated, one element at least */
    const char *const *envp; /* NULL-terminated; the whole environment */
    const char *program;     /* NULL: argv[0]. Without a slash: searched in PATH of envp. With one
                                and relative: relative to dir */
    int program_fd;          /* > 0: this open file is the program, whatever `program` says */
    const char *dir;         /* NULL: stays */
    const struct spawn_fd *fds;
    size_t fd_count;
    const struct spawn_limit *limits;
    size_t limit_count;
    const struct spawn_user *user; /* NULL: stays. Needs root. */
    const int *join_fds; /* open cgroup.procs files that the child joins, as who the caller is */
    size_t join_count;
    bool new_session; /* setsid: session and process group of its own */
    bool new_group;   /* setpgid only */
    bool no_new_privs;
    int parent_death_signal; /* > 0: the child gets it when the calling *thread* ends */
};

/* Returns the child's pid when it has exec'd. Otherwise -1, the child is gone and reaped, and *err
 * says which step failed: "exec ./shop: no such file or directory", "enter folder /x: permission
 * denied". Waits for as long as the exec takes. The child is the caller's to wait for. */
pid_t spawn(const struct spawn *s, struct error *err);

#endif
