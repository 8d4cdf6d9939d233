/* The app and everything that it started: started, signalled, waited for.
 *
 * The shim is the subreaper, so whatever loses its parent becomes our child, daemons too: nothing
 * of the run is left exactly when we have no child any more.
 */
#ifndef SLUICE_SHIM_APP_H
#define SLUICE_SHIM_APP_H

#include "base/error.h"
#include "os/cgroup.h"
#include "wire/shimparams.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct app {
    pid_t pid; /* also its process group */
    bool main_ended;
    int wait_status; /* once main_ended, as of wait(2) */
    struct cgroup cgroup;
    uint64_t oom_kills_before;
    int out_fd, err_fd; /* our ends of its stdout and stderr, nonblocking; -1: closed */
};

void app_init(struct app *app);

/* On an error nothing runs. The error reads as a reason: "exec ./shop: no such file or directory
 * (in the release folder /x)". */
int app_start(struct app *app, const struct shim_params *params, struct error *err);

/* To the main process's group, as long as that is ours for sure. */
void app_signal(const struct app *app, int signal);

/* KILL to all that is left; to be repeated until app_reap says that nothing is. */
void app_kill(const struct app *app);

/* Waits, without blocking, for whatever has ended. True: nothing is left. */
bool app_reap(struct app *app);

/* Is something left, besides zombies, in the main process's group (and not only outside of it)? */
bool app_group_left(const struct app *app);

/* Was it the kernel that ended the main process, over the memory limit? */
bool app_oom_killed(const struct app *app, bool killed_by_us);

#endif
