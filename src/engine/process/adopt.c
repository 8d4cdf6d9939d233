/* What an engine finds when it opens: runs that went on without a controller, runs that ended
 * meanwhile, and runs whose shim was killed. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 300 }; /* for all answers together, once, at open */

static bool is_absent(int folder_fd, const char *name)
{
    return faccessat(folder_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* Its controller was killed on the way to the fork. A shim makes its socket before it starts
 * anything, and the lock goes from controller to shim without a gap: nothing of it ever ran. */
static bool never_began(int folder_fd)
{
    return is_absent(folder_fd, RUN_EXIT_FILE) && is_absent(folder_fd, RUN_CONTROL_SOCKET);
}

/* No shim holds it: it ended, or was killed, or never began. That last one is as if it had never
 * been asked for: its id is free. */
static void adopt_dead(struct process_engine *e, struct run *r, int folder_fd)
{
    bool same_boot = false;
    struct error err = ERROR_INIT;
    bool whole = run_info_read(e, r, folder_fd, &same_boot) == 0;
    if (never_began(folder_fd)) {
        if (run_remove_traces(e, r, &err) == 0) {
            run_delete(e, r);
            return;
        }
        log_warn("%s", err.text);
    }
    if (run_exit_read(r, folder_fd, &err) == 0) {
        r->status.state = RUN_EXITED;
        return;
    }
    if (err.class != ERROR_NOT_FOUND)
        log_warn("run %s: %s", r->id, err.text);
    if (!whole || !same_boot) {
        r->status.state = RUN_LOST; /* before its fork, or before a reboot: nothing is left of it */
        return;
    }
    sweep_begin(e, r);
}

static void adopt_one(struct process_engine *e, const char *id)
{
    cleanup_close int folder = run_folder_open(e, id);
    if (folder < 0) {
        log_warn("run folder %s: %s", id, strerror(errno));
        return;
    }
    struct run *r = run_new(e, id);
    if (run_lock_held(folder) != 1) {
        adopt_dead(e, r, folder);
        return;
    }
    bool same_boot;
    run_info_read(e, r, folder, &same_boot);
    r->shim_alive = true;
    if (link_adopt(e, r) < 1)
        engine_wake(e, 0); /* gone meanwhile, or not listening yet: the timer looks again */
}

/* A shim answers at once; a caller of each() right behind open() shall see the answers. */
static void wait_for_answers(struct process_engine *e)
{
    struct {
        struct pollfd *items;
        size_t len, cap;
    } fds = {0};
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    for (;;) {
        const char *id;
        void *value;
        fds.len = 0;
        for (size_t i = 0; map_next(&e->runs, &i, &id, &value);) {
            struct run *r = value;
            link_read(e, r);
            if (r->control_fd >= 0 && r->status.state == RUN_STARTING)
                *vec_push(&fds) = (struct pollfd){.fd = r->control_fd, .events = POLLIN};
        }
        int64_t left = end - clock_mono_ms();
        if (fds.len == 0 || left <= 0)
            break;
        poll(fds.items, fds.len, (int)left);
    }
    vec_release(&fds);
}

int adopt_all(struct process_engine *e, struct error *err)
{
    int fd = openat(e->run_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL)
        return error_errno(err, errno, "read %s", e->run_dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (run_id_valid(d->d_name))
            adopt_one(e, d->d_name);
    closedir(dir);
    wait_for_answers(e);
    return 0;
}
