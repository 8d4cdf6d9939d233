/* Starting a run. The order matters: whatever is needed to find and kill what the shim will start
 * is in the run folder before the fork, and the lock is held from then on without a gap. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/vec.h"
#include "os/memfd.h"
#include "os/pidfd.h"
#include "os/spawn.h"
#include "os/title.h"
#include "os/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char KEY_NAME[] = "SLUICE_RUN_KEY=", ID_NAME[] = "SLUICE_RUN=";

static int check_spec(const struct process_engine *e, const struct run_spec *s, struct error *err)
{
    if (!run_id_valid(s->id))
        return error_set(err, ERROR_USAGE,
                         "run id %.64s: should be 1 to %d of A-Z a-z 0-9 . _ -, no dot in front",
                         s->id, RUN_ID_MAX);
    if (map_get(&e->runs, s->id) != NULL)
        return error_set(err, ERROR_CONFLICT, "run %s: there is one already", s->id);
    if (s->argv == NULL || s->argv[0] == NULL || s->argv[0][0] == '\0')
        return error_set(err, ERROR_USAGE, "run %s: no command", s->id);
    if (s->dir == NULL || s->dir[0] != '/' || s->log_path == NULL || s->log_path[0] != '/' ||
        (s->state_dir != NULL && s->state_dir[0] != '/'))
        return error_set(err, ERROR_USAGE, "run %s: its paths should be absolute", s->id);
    return 0;
}

static void make_key(struct run *r)
{
    unsigned char bytes[(RUN_KEY_SIZE - 1) / 2];
    ssize_t n = getrandom(bytes, sizeof bytes, 0);
    ASSERT(n == (ssize_t)sizeof bytes); /* up to 256 bytes are never cut */
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(r->key + 2 * i, 3, "%02x", bytes[i]);
}

/* Limits that cannot be had are no error: the app runs without, and missing_limits() says so. */
static void make_cgroup(struct process_engine *e, struct run *r, const struct run_spec *spec)
{
    struct error err = ERROR_INIT;
    cleanup_free char *name = xasprintf("%s%s", e->cgroup_prefix, r->id);
    if (cgroup_none(&e->cgroup))
        return;
    if (cgroup_make(&e->cgroup, name, &r->cgroup, &err) < 0 ||
        cgroup_limit(&r->cgroup, spec->cpu_milli, spec->memory_bytes, spec->pids_max, &err) < 0)
        log_warn("run %s: %s", r->id, err.text);
}

/* The folder with the lock and everything that a sweep needs. Gives the locked descriptor. */
static int make_folder(struct process_engine *e, struct run *r, struct error *err)
{
    cleanup_close int folder = run_folder_open(e, r->id);
    if (folder < 0)
        return error_errno(err, errno, "open run folder");
    cleanup_close int lock =
        openat(folder, RUN_LOCK_FILE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
        return error_errno(err, errno, "lock run folder");
    if (run_info_write(e, r, folder, err) < 0)
        return -1;
    return take_fd(&lock);
}

/* The app's environment: the spec's, less what would forge our marks, and the marks. */
static void fill_environment(struct shim_params *params, const struct run_spec *spec,
                             const char *id_mark, const char *key_mark)
{
    shimparams_add(&params->envp, id_mark);
    shimparams_add(&params->envp, key_mark);
    for (const char *const *v = spec->envp; v != NULL && *v != NULL; v++)
        if (strncmp(*v, ID_NAME, sizeof ID_NAME - 1) != 0 &&
            strncmp(*v, KEY_NAME, sizeof KEY_NAME - 1) != 0)
            shimparams_add(&params->envp, *v);
}

static int encode_params(const struct process_engine *e, const struct run *r,
                         const struct run_spec *spec, struct shim_params *params, struct error *err)
{
    cleanup_free char *id_mark = xasprintf("%s%s", ID_NAME, r->id);
    cleanup_free char *key_mark = xasprintf("%s%s", KEY_NAME, r->key);
    cleanup_free char *folder = xasprintf("%s/%s", e->run_dir, r->id);
    struct buf places[CGROUP_CONTROLLERS] = {0};
    params->id = r->id;
    params->run_dir = folder;
    params->dir = spec->dir;
    params->state_dir = spec->state_dir;
    params->log_path = spec->log_path;
    params->log_label = spec->log_label != NULL ? spec->log_label : "";
    params->log_max_bytes = spec->log_max_bytes;
    params->timeout_ms = spec->timeout_ms > 0 ? (uint64_t)spec->timeout_ms : 0;
    for (const char *const *v = spec->argv; *v != NULL; v++)
        shimparams_add(&params->argv, *v);
    fill_environment(params, spec, id_mark, key_mark);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (r->cgroup.at[c].dir == NULL)
            continue;
        cgroup_format_place(&r->cgroup, (enum cgroup_controller)c, &places[c]);
        shimparams_add(&params->cgroups, buf_str(&places[c]));
    }
    struct buf text = BUF_INIT;
    shimparams_encode(params, &text);
    int fd = text.len > SHIMPARAMS_MAX_BYTES
                 ? error_set(err, ERROR_USAGE, "command and environment are over %d bytes",
                             SHIMPARAMS_MAX_BYTES)
                 : memfd_make("sluice-params", text.data, text.len, err);
    explicit_bzero(text.data, text.len);
    buf_release(&text);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        buf_release(&places[c]);
    return fd;
}

static int make_params(const struct process_engine *e, const struct run *r,
                       const struct run_spec *spec, struct error *err)
{
    struct shim_params params = {0};
    int fd = -1;
    if (spec->user == NULL || user_look_up(spec->user, &params, err) == 0)
        fd = encode_params(e, r, spec, &params, err);
    shimparams_release(&params);
    return fd;
}

/* "sluice: shim INSTANCE DATA": a run's id without the number of its start. */
static char *make_title(const struct process_engine *e, const char *id)
{
    const char *dot = strrchr(id, '.');
    bool numbered =
        dot != NULL && dot > id && dot[1] != '\0' && dot[1 + strspn(dot + 1, "0123456789")] == '\0';
    cleanup_free char *rest =
        xasprintf("%.*s %s", numbered ? (int)(dot - id) : (int)strlen(id), id, e->data_dir);
    return title_make("shim", rest);
}

static pid_t spawn_shim(const struct process_engine *e, const struct run *r, int params, int lock,
                        int control, struct error *err)
{
    cleanup_free char *title = make_title(e, r->id);
    const char *const argv[] = {title, NULL}, *const envp[] = {NULL};
    const struct spawn_fd fds[] = {
        {params, SHIM_PARAMS_FD}, {lock, SHIM_LOCK_FD}, {control, SHIM_CONTROL_FD}};
    const struct spawn s = {
        .argv = argv,
        .envp = envp,
        .program = "sluice-shim",
        .program_fd = e->config.shim_fd,
        .dir = "/",
        .fds = fds,
        .fd_count = COUNT_OF(fds),
        .new_session = true,
    };
    return spawn(&s, err);
}

static int launch(struct process_engine *e, struct run *r, const struct run_spec *spec,
                  struct error *err)
{
    int ends[2];
    make_cgroup(e, r, spec);
    cleanup_close int lock = make_folder(e, r, err);
    if (lock < 0)
        return -1;
    cleanup_close int params = make_params(e, r, spec, err);
    if (params < 0 || unixsock_pair(ends, err) < 0)
        return -1;
    cleanup_close int ours = ends[0], theirs = ends[1];
    if (spec->socket && socket_folder_make(e, spec, err) < 0)
        return -1;
    pid_t pid = spawn_shim(e, r, params, lock, theirs, err);
    if (pid < 0) {
        if (spec->socket)
            socket_folder_remove(e, r->id);
        return -1;
    }
    r->shim_alive = true;
    r->status.shim_pid = pid;
    r->pidfd = pidfd_open_pid(pid); /* our child, not waited for: it is the one */
    if (r->pidfd < 0)
        error_errno(err, errno, "pidfd_open");
    if (r->pidfd < 0 || run_watch_shim(e, r, err) < 0 || link_take(e, r, ours, err) < 0) {
        log_error("run %s: started, but cannot be watched: %s", r->id,
                  err != NULL ? err->text : "");
        run_unwatch_shim(e, r);
        engine_wake(e, 20); /* the run is under way; the timer links to it */
        return 0;
    }
    take_fd(&ours);
    return 0;
}

int process_start(struct engine *engine, const struct run_spec *spec, struct error *err)
{
    struct process_engine *e = (struct process_engine *)engine;
    if (check_spec(e, spec, err) < 0)
        return -1;
    if (mkdirat(e->run_dir_fd, spec->id, 0700) < 0) {
        if (errno == EEXIST)
            return error_set(err, ERROR_CONFLICT, "run %s: there was one already", spec->id);
        return error_errno(err, errno, "make run folder %s/%s", e->run_dir, spec->id);
    }
    struct run *r = run_new(e, spec->id);
    make_key(r);
    struct error why = ERROR_INIT;
    if (launch(e, r, spec, &why) == 0)
        return 0;
    cgroup_remove(&r->cgroup);
    run_folder_remove(e, r->id, NULL);
    run_delete(e, r);
    error_wrap(&why, "run %s", spec->id);
    if (err != NULL)
        *err = why;
    return -1;
}
