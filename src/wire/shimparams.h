/* What a shim is told at its start: entries "key=value", each ended by a NUL (values hold anything
 * else), the first one "sluice-shim=1". It goes through an inherited memfd, so that nothing of the
 * app's environment is ever in an argument list or a file. Read once, by a shim of the same build
 * as its writer, so an unknown key is an error. Pure.
 */
#ifndef SLUICE_WIRE_SHIMPARAMS_H
#define SLUICE_WIRE_SHIMPARAMS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SHIMPARAMS_MAX_BYTES = 8 << 20 };

/* The descriptors that a shim inherits, by number. */
enum { SHIM_PARAMS_FD = 3, SHIM_LOCK_FD = 4, SHIM_CONTROL_FD = 5 };

/* The names in a run folder. */
#define RUN_LOCK_FILE "lock" /* flock'ed from before the shim's fork until its end */
#define RUN_INFO_FILE "run"  /* written by the engine before the fork */
#define RUN_PIDS_FILE "pids" /* written by the shim: "shim PID START" and "app PID START" */
#define RUN_CONTROL_SOCKET "control"
#define RUN_EXIT_FILE "exit"        /* exitrecord.h */
#define RUN_EXIT_RESERVE "exit.tmp" /* its room on the disk, taken before the app starts */

struct shim_strings {
    const char **items; /* a NULL behind the last one */
    size_t len, cap;
};

struct shim_params {
    char *storage; /* what the decoded strings point into; NULL where they are the caller's */
    size_t storage_len;
    const char *id;
    const char *run_dir; /* absolute; so are the others */
    const char *dir;
    const char *state_dir; /* NULL: none */
    const char *log_path;
    const char *log_label;
    struct shim_strings argv, envp;
    struct shim_strings cgroups; /* as cgroup_format_place() writes them */
    bool has_user;
    uint32_t uid, gid;
    struct {
        gid_t *items;
        size_t len, cap;
    } groups;
    uint64_t log_max_bytes;
    uint64_t timeout_ms; /* 0: none */
};

void shimparams_add(struct shim_strings *list, const char *text); /* text stays the caller's */
void shimparams_encode(const struct shim_params *p, struct buf *out);
int shimparams_decode(const char *data, size_t len, struct shim_params *p, struct error *err);
void shimparams_release(struct shim_params *p); /* overwrites the storage: it may hold secrets */

#endif
