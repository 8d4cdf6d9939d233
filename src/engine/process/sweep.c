/* The shim was killed: what it held is killed too, and only when nothing of it is left is the run
 * over (RUN_LOST). In passes from the engine's timer, since dying takes time.
 *
 * Who belongs to the run, any of: a member of its cgroup; a process that carries the run's key in
 * its environment; one in the app's process group and the shim's session (some programs write over
 * their environment); a child of one of these. The key is random, so it is never another run's.
 */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/vec.h"
#include "os/pidfd.h"
#include "os/proc.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_PASS_MS = 5, PASS_MOST_MS = 500, WARN_AFTER_MS = 10000 };

void sweep_begin(struct process_engine *e, struct run *r)
{
    cleanup_close int folder = run_folder_open(e, r->id);
    if (folder >= 0)
        run_pids_read(r, folder);
    r->status.state = RUN_CLEANING;
    r->status.pid = 0;
    r->sweep.since_ms = clock_mono_ms();
    e->sweep_every_ms = FIRST_PASS_MS;
    engine_wake(e, 0);
}

struct pass {
    struct proc_list all;
    struct run **runs; /* those being cleaned */
    size_t run_count;
    uint64_t oldest_start; /* nothing that is older than all of the shims can be theirs */
    struct run **owner;    /* of all.items[i]; NULL: not ours */
};

static struct run *run_of_key(const struct pass *p, const char *key)
{
    for (size_t i = 0; i < p->run_count; i++)
        if (strcmp(p->runs[i]->key, key) == 0)
            return p->runs[i];
    return NULL;
}

/* A session's number is not given away while it has members. When its leader is there, but is not
 * the shim that we knew, the number went to someone else. */
static bool session_reused(const struct pass *p, const struct run *r)
{
    for (size_t i = 0; i < p->all.len; i++)
        if (p->all.items[i].pid == r->sweep.shim_pid)
            return p->all.items[i].start_ticks != r->sweep.shim_start;
    return false;
}

static struct run *run_of_group(const struct pass *p, const struct proc_stat *s)
{
    for (size_t i = 0; i < p->run_count; i++) {
        const struct run *r = p->runs[i];
        if (r->sweep.app_pid > 0 && s->pgrp == r->sweep.app_pid &&
            s->session == r->sweep.shim_pid && s->start_ticks >= r->sweep.app_start &&
            !session_reused(p, r))
            return p->runs[i];
    }
    return NULL;
}

static void find_owners(struct pass *p)
{
    for (size_t i = 0; i < p->all.len; i++) {
        const struct proc_stat *s = &p->all.items[i];
        char key[RUN_KEY_SIZE];
        if (s->state == 'Z' || s->pid == getpid() || s->start_ticks < p->oldest_start)
            continue;
        if (proc_environ_get(s->pid, "SLUICE_RUN_KEY", key, sizeof key) == 0)
            p->owner[i] = run_of_key(p, key);
        if (p->owner[i] == NULL)
            p->owner[i] = run_of_group(p, s);
    }
}

/* Children of what is ours, to any depth. */
static void find_children(struct pass *p)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < p->all.len; i++) {
            const struct proc_stat *s = &p->all.items[i];
            if (p->owner[i] != NULL || s->state == 'Z' || s->pid == getpid() ||
                s->start_ticks < p->oldest_start)
                continue;
            for (size_t k = 0; k < p->all.len && p->owner[i] == NULL; k++)
                if (p->owner[k] != NULL && p->all.items[k].pid == s->ppid)
                    p->owner[i] = p->owner[k];
            more = more || p->owner[i] != NULL;
        }
    }
}

static size_t kill_owned(const struct pass *p, const struct run *r)
{
    size_t n = 0;
    for (size_t i = 0; i < p->all.len; i++) {
        if (p->owner[i] != r)
            continue;
        n++;
        cleanup_close int fd = pidfd_open_checked(p->all.items[i].pid, p->all.items[i].start_ticks);
        if (fd >= 0 && pidfd_signal(fd, SIGKILL) < 0 && errno != ESRCH && !r->sweep.warned)
            log_warn("run %s: its shim was killed, and process %d cannot be: %s", r->id,
                     (int)p->all.items[i].pid, strerror(errno));
    }
    return n;
}

static void finish_or_go_on(struct process_engine *e, struct run *r, size_t left)
{
    if (left == 0) {
        cgroup_remove(&r->cgroup);
        r->status.state = RUN_LOST;
        r->status.ended_ms = clock_wall_ms();
        run_changed(e, r);
    } else if (!r->sweep.warned && clock_mono_ms() - r->sweep.since_ms > WARN_AFTER_MS) {
        r->sweep.warned = true;
        log_warn("run %s: its shim was killed; %zu of its processes do not die", r->id, left);
    }
}

static void collect(struct process_engine *e, struct pass *p)
{
    const char *id;
    void *value;
    p->oldest_start = UINT64_MAX;
    p->runs = xcalloc(e->runs.len, sizeof(struct run *));
    for (size_t i = 0; map_next(&e->runs, &i, &id, &value);) {
        struct run *r = value;
        if (r->status.state != RUN_CLEANING)
            continue;
        p->runs[p->run_count++] = r;
        if (r->sweep.shim_start < p->oldest_start)
            p->oldest_start = r->sweep.shim_start; /* 0 where it is not known */
    }
}

bool sweep_pass(struct process_engine *e)
{
    struct pass p = {0};
    collect(e, &p);
    bool listed = p.run_count > 0 && proc_list_all(&p.all, NULL) == 0;
    bool more = p.run_count > 0;
    if (listed) {
        more = false;
        p.owner = xcalloc(p.all.len, sizeof(struct run *));
        find_owners(&p);
        find_children(&p);
        for (size_t i = 0; i < p.run_count; i++) {
            struct run *r = p.runs[i];
            finish_or_go_on(e, r, cgroup_kill(&r->cgroup) + kill_owned(&p, r));
            more = more || r->status.state == RUN_CLEANING;
        }
        free(p.owner);
    }
    vec_release(&p.all);
    free(p.runs);
    if (more) {
        engine_wake(e, e->sweep_every_ms);
        e->sweep_every_ms =
            e->sweep_every_ms * 2 < PASS_MOST_MS ? e->sweep_every_ms * 2 : PASS_MOST_MS;
    }
    return more;
}
