#include "shim/app.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "os/durable.h"
#include "os/pidfd.h"
#include "os/proc.h"
#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void app_init(struct app *app)
{
    *app = (struct app){.out_fd = -1, .err_fd = -1};
}

/* Made and given to the user when missing; one that is there is left as it is. */
static int make_state_dir(const struct shim_params *params, struct error *err)
{
    struct stat st;
    if (params->state_dir == NULL || stat(params->state_dir, &st) == 0)
        return 0;
    if (make_folders(AT_FDCWD, params->state_dir, 0711, err) < 0)
        return error_wrap(err, "state folder");
    if (chmod(params->state_dir, 0700) < 0 ||
        (params->has_user && chown(params->state_dir, params->uid, params->gid) < 0))
        return error_errno(err, errno, "state folder %s", params->state_dir);
    return 0;
}

static int spawn_app(const struct shim_params *params, int out, int err_out, const int *join,
                     size_t join_count, struct error *err)
{
    const struct spawn_fd fds[] = {{out, STDOUT_FILENO}, {err_out, STDERR_FILENO}};
    const struct spawn_user user = {params->uid, params->gid, params->groups.items,
                                    params->groups.len};
    const struct spawn s = {
        .argv = params->argv.items,
        .envp = params->envp.items,
        .dir = params->dir,
        .fds = fds,
        .fd_count = COUNT_OF(fds),
        .user = params->has_user ? &user : NULL,
        .join_fds = join,
        .join_count = join_count,
        .new_group = true,
        .no_new_privs = true,
        .parent_death_signal = SIGKILL,
    };
    pid_t pid = spawn(&s, err);
    if (pid < 0 && err != NULL && strncmp(err->text, "exec ./", 7) == 0) {
        size_t len = strlen(err->text);
        snprintf(err->text + len, sizeof err->text - len, " (in the release folder %s)",
                 params->dir);
    }
    return pid;
}

/* Our ends do not block; the app's do, as it expects of its stdout. */
static int make_pipe(int *ours, int *its, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *ours = ends[0];
    *its = ends[1];
    return 0;
}

static int start_in_pipes(struct app *app, const struct shim_params *params, struct error *err)
{
    cleanup_close int out = -1, err_out = -1;
    if (make_pipe(&app->out_fd, &out, err) < 0 || make_pipe(&app->err_fd, &err_out, err) < 0)
        return -1;
    int join[CGROUP_CONTROLLERS];
    int count = cgroup_join_fds(&app->cgroup, join, err);
    if (count < 0)
        return -1;
    pid_t pid = spawn_app(params, out, err_out, join, (size_t)count, err);
    while (count > 0)
        close(join[--count]);
    if (pid < 0)
        return -1;
    app->pid = pid;
    return 0;
}

int app_start(struct app *app, const struct shim_params *params, struct error *err)
{
    for (size_t i = 0; i < params->cgroups.len; i++)
        if (cgroup_parse_place(params->cgroups.items[i], &app->cgroup) < 0)
            return error_set(err, ERROR_USAGE, "cgroup %s: not of the form",
                             params->cgroups.items[i]);
    app->oom_kills_before = cgroup_oom_kills(&app->cgroup);
    if (make_state_dir(params, err) == 0 && start_in_pipes(app, params, err) == 0)
        return 0;
    close(take_fd(&app->out_fd));
    close(take_fd(&app->err_fd));
    return -1;
}

/* The group's number is sure to be ours while its leader was not waited for. */
void app_signal(const struct app *app, int signal)
{
    if (app->pid > 0 && !app->main_ended)
        kill(-app->pid, signal);
}

static void kill_descendants(void)
{
    struct proc_list all = {0};
    struct pid_list below = {0};
    if (proc_list_all(&all, NULL) == 0)
        proc_descendants(&all, getpid(), &below);
    for (size_t i = 0; i < below.len; i++) {
        for (size_t k = 0; k < all.len; k++) {
            if (all.items[k].pid != below.items[i] || all.items[k].state == 'Z')
                continue;
            cleanup_close int fd = pidfd_open_checked(below.items[i], all.items[k].start_ticks);
            if (fd >= 0)
                pidfd_signal(fd, SIGKILL);
        }
    }
    vec_release(&below);
    vec_release(&all);
}

void app_kill(const struct app *app)
{
    app_signal(app, SIGKILL);
    cgroup_kill(&app->cgroup);
    kill_descendants();
}

bool app_reap(struct app *app)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return pid < 0; /* ECHILD: nothing is left */
        if (pid == app->pid) {
            app->main_ended = true;
            app->wait_status = status;
        }
    }
}

bool app_group_left(const struct app *app)
{
    struct proc_list all = {0};
    struct pid_list below = {0};
    bool left = false;
    if (proc_list_all(&all, NULL) == 0)
        proc_descendants(&all, getpid(), &below);
    for (size_t i = 0; i < below.len && !left; i++)
        for (size_t k = 0; k < all.len; k++)
            if (all.items[k].pid == below.items[i] && all.items[k].pgrp == app->pid &&
                all.items[k].state != 'Z')
                left = true;
    vec_release(&below);
    vec_release(&all);
    return left;
}

/* A shell in front reports its child's SIGKILL as 137. */
bool app_oom_killed(const struct app *app, bool killed_by_us)
{
    ASSERT(app->main_ended);
    int s = app->wait_status;
    bool killed =
        WIFSIGNALED(s) ? WTERMSIG(s) == SIGKILL : WIFEXITED(s) && WEXITSTATUS(s) == 128 + SIGKILL;
    return killed && !killed_by_us && cgroup_oom_kills(&app->cgroup) > app->oom_kills_before;
}
