/* What a run's processes listen on and use. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "os/proc.h"
#include "os/proc_sockets.h"

/* The run's processes: its cgroup's members, else what is below its shim (a subreaper, so nothing
 * gets out from under it). The app first: it is the likeliest to hold the port. */
static void run_pids(const struct run *r, struct pid_list *out)
{
    if (r->status.pid > 0)
        *vec_push(out) = r->status.pid;
    if (!cgroup_none(&r->cgroup)) {
        cgroup_members(&r->cgroup, out);
        return;
    }
    struct proc_list all = {0};
    if (r->shim_alive && r->status.shim_pid > 0 && proc_list_all(&all, NULL) == 0)
        proc_descendants(&all, r->status.shim_pid, out);
    vec_release(&all);
}

static bool run_holds(const struct pid_list *pids, uint64_t inode)
{
    for (size_t i = 0; i < pids->len; i++)
        if ((i == 0 || pids->items[i] != pids->items[0]) &&
            proc_holds_socket(pids->items[i], inode))
            return true;
    return false;
}

static struct run *find_run(struct engine *engine, const char *id)
{
    return map_get(&((struct process_engine *)engine)->runs, id);
}

int process_owns_port(struct engine *engine, const char *id, uint16_t port, bool ipv6,
                      pid_t *stranger)
{
    struct run *r = find_run(engine, id);
    struct listening_list sockets = {0};
    struct pid_list pids = {0};
    int answer = 0;
    *stranger = 0;
    if (listening_sockets(&sockets, NULL) < 0)
        return 0;
    for (size_t i = 0; i < sockets.len && answer >= 0; i++) {
        const struct listening *s = &sockets.items[i];
        if (s->port != port || !(ipv6 ? s->reaches_loopback6 : s->reaches_loopback))
            continue;
        if (pids.len == 0 && r != NULL)
            run_pids(r, &pids);
        /* Of several (SO_REUSEPORT), all must be the run's: the kernel spreads over them. */
        answer = run_holds(&pids, s->inode) ? 1 : -1;
        if (answer < 0)
            *stranger = socket_holder(s->inode);
    }
    vec_release(&pids);
    vec_release(&sockets);
    return answer;
}

uint16_t process_other_port(struct engine *engine, const char *id, uint16_t port)
{
    struct run *r = find_run(engine, id);
    struct listening_list sockets = {0};
    struct pid_list pids = {0};
    uint16_t found = 0;
    if (r == NULL)
        return 0;
    run_pids(r, &pids);
    if (listening_sockets(&sockets, NULL) == 0)
        for (size_t i = 0; i < sockets.len && found == 0; i++)
            if (sockets.items[i].port != port && run_holds(&pids, sockets.items[i].inode))
                found = sockets.items[i].port;
    vec_release(&pids);
    vec_release(&sockets);
    return found;
}

int process_usage(struct engine *engine, const char *id, uint64_t *rss_bytes, uint64_t *cpu_us)
{
    struct run *r = find_run(engine, id);
    if (r == NULL || !r->shim_alive)
        return -1;
    bool memory_known = cgroup_memory(&r->cgroup, rss_bytes) == 0;
    bool cpu_known = cgroup_cpu(&r->cgroup, cpu_us) == 0;
    if (memory_known && cpu_known)
        return 0;
    uint64_t rss = 0, cpu = 0;
    struct pid_list pids = {0};
    run_pids(r, &pids);
    for (size_t i = 0; i < pids.len; i++) {
        struct proc_stat s;
        if ((i > 0 && pids.items[i] == pids.items[0]) || proc_read_stat(pids.items[i], &s) < 0)
            continue;
        rss += s.rss_bytes;
        cpu += s.cpu_us;
    }
    vec_release(&pids);
    if (!memory_known)
        *rss_bytes = rss;
    if (!cpu_known)
        *cpu_us = cpu;
    return 0;
}
