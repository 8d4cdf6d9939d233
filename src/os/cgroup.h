/* Control groups: limits, memory use, and "all processes of this run" that no fork escapes.
 *
 * Each controller is found on its own, in version 1 (one tree per controller) or 2 (one for all): a
 * machine may have memory in one and cpu in the other, or none that we may write to. Then there is
 * simply no limit, and the caller says so once. A controller's subtree is made below the group that
 * this process is in, so it lives in what systemd or a container has given us.
 */
#ifndef SLUICE_OS_CGROUP_H
#define SLUICE_OS_CGROUP_H

#include "base/buf.h"
#include "base/error.h"
#include "os/proc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_CONTROLLERS_X(X)                                                                    \
    X(CPU, "cpu")                                                                                  \
    X(MEMORY, "memory")                                                                            \
    X(PIDS, "pids")

enum cgroup_controller {
#define X(name, text) CGROUP_##name,
    CGROUP_CONTROLLERS_X(X)
#undef X
        CGROUP_CONTROLLERS
};
extern const char *const cgroup_names[CGROUP_CONTROLLERS];

/* One group: its folder per controller. In version 2 all are the same folder. */
struct cgroup {
    struct {
        char *dir;   /* NULL: this controller is not to be had */
        int version; /* 1 or 2 */
    } at[CGROUP_CONTROLLERS];
};
#define CGROUP_INIT                                                                                \
    {                                                                                              \
        {                                                                                          \
            {                                                                                      \
                NULL, 0                                                                            \
            }                                                                                      \
        }                                                                                          \
    }

void cgroup_release(struct cgroup *g); /* frees the strings; the group stays */
#define cleanup_cgroup __attribute__((cleanup(cgroup_release)))
bool cgroup_none(const struct cgroup *g); /* no controller at all */

/* Makes (or finds) the subtree `name` for each controller. *missing, unless NULL, names those that
 * there are none of, and why: "memory: /sys/fs/cgroup/x: permission denied"; "" when all are there.
 * Returns how many were found. In version 2, a group whose every process is a process of sluice is
 * made a parent by moving them to its child "sluice-serve" (a parent may have none). */
int cgroup_find(const char *name, struct cgroup *out, struct error *missing);

/* Makes the child `name` in each of the parent's folders; an existing one is taken. On an error
 * what was made is removed. */
int cgroup_make(const struct cgroup *parent, const char *name, struct cgroup *out,
                struct error *err);

/* 0: no limit. A limit whose controller is missing is an error of class ERROR_UNAVAILABLE that
 * names it; the others are set all the same. */
int cgroup_limit(const struct cgroup *g, uint32_t cpu_milli, uint64_t memory_bytes,
                 uint32_t pids_max, struct error *err);

/* Opens the files through which a process joins (spawn.join_fds), into fds; returns how many, or -1
 * with none open. The caller closes them. */
int cgroup_join_fds(const struct cgroup *g, int fds[CGROUP_CONTROLLERS], struct error *err);

/* Adds the members, each once. */
void cgroup_members(const struct cgroup *g, struct pid_list *out);

/* Kills every member, and stops new ones from being forked where it can. Returns how many there
 * were: call it again until 0. */
size_t cgroup_kill(const struct cgroup *g);

/* How many of its processes the kernel killed for want of memory. */
uint64_t cgroup_oom_kills(const struct cgroup *g);

/* Resident memory and CPU time since it was made; each -1 where it is not known (*out untouched).
 */
int cgroup_memory(const struct cgroup *g, uint64_t *bytes);
int cgroup_cpu(const struct cgroup *g, uint64_t *cpu_us);

/* Removes the folders; 0 also where they are gone already, -1 while there are members. */
int cgroup_remove(const struct cgroup *g);

/* "memory 1 /sys/fs/cgroup/memory/sluice/x", both ways: how a group is told to another process. */
void cgroup_format_place(const struct cgroup *g, enum cgroup_controller c, struct buf *out);
int cgroup_parse_place(const char *text, struct cgroup *g); /* -1: not of that form */

#endif
