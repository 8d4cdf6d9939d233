#include "os/cgroup.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "os/cgroup_internal.h"
#include "os/durable.h"
#include "os/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const cgroup_names[CGROUP_CONTROLLERS] = {
#define X(name, text) text,
    CGROUP_CONTROLLERS_X(X)
#undef X
};

void cgroup_release(struct cgroup *g)
{
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        free(g->at[c].dir);
    *g = (struct cgroup)CGROUP_INIT;
}

bool cgroup_none(const struct cgroup *g)
{
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (g->at[c].dir != NULL)
            return false;
    return true;
}

/* Is at[c] the first with this folder? In version 2 all controllers share one. */
static bool is_first(const struct cgroup *g, int c)
{
    if (g->at[c].dir == NULL)
        return false;
    for (int i = 0; i < c; i++)
        if (g->at[i].dir != NULL && strcmp(g->at[i].dir, g->at[c].dir) == 0)
            return false;
    return true;
}

int cgroup_write(const char *dir, const char *file, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, file);
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

int cgroup_read(const char *dir, const char *file, struct buf *out)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, file);
    buf_clear(out);
    return file_read(AT_FDCWD, path, 16 << 20, out, NULL);
}

int cgroup_make(const struct cgroup *parent, const char *name, struct cgroup *out,
                struct error *err)
{
    *out = (struct cgroup)CGROUP_INIT;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (parent->at[c].dir == NULL)
            continue;
        out->at[c].dir = xasprintf("%s/%s", parent->at[c].dir, name);
        out->at[c].version = parent->at[c].version;
        if (mkdir(out->at[c].dir, 0755) < 0 && errno != EEXIST) {
            error_errno(err, errno, "make cgroup %s", out->at[c].dir);
            cgroup_remove(out);
            cgroup_release(out);
            return -1;
        }
    }
    return 0;
}

/* ---- limits --------------------------------------------------------------------------------- */

static int limit_cpu(const char *dir, int version, uint64_t milli)
{
    char text[48];
    enum { PERIOD_US = 100000, LEAST_US = 1000 };
    uint64_t quota = milli * (PERIOD_US / 1000);
    if (quota < LEAST_US)
        quota = LEAST_US; /* the kernel refuses less */
    if (version == 2) {
        snprintf(text, sizeof text, "%llu %d", (unsigned long long)quota, PERIOD_US);
        return cgroup_write(dir, "cpu.max", text);
    }
    snprintf(text, sizeof text, "%d", PERIOD_US);
    if (cgroup_write(dir, "cpu.cfs_period_us", text) < 0)
        return -1;
    snprintf(text, sizeof text, "%llu", (unsigned long long)quota);
    return cgroup_write(dir, "cpu.cfs_quota_us", text);
}

static int limit_memory(const char *dir, int version, uint64_t bytes)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    if (version == 2) {
        cgroup_write(dir, "memory.swap.max", "0"); /* not there without swap accounting */
        return cgroup_write(dir, "memory.max", text);
    }
    if (cgroup_write(dir, "memory.limit_in_bytes", text) < 0)
        return -1;
    cgroup_write(dir, "memory.memsw.limit_in_bytes", text); /* the same: memory + swap */
    return 0;
}

static int limit_pids(const char *dir, int version, uint64_t most)
{
    (void)version;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)most);
    return cgroup_write(dir, "pids.max", text);
}

static int limit_one(const struct cgroup *g, enum cgroup_controller c, uint64_t value,
                     int (*set)(const char *dir, int version, uint64_t value), struct error *err)
{
    if (value == 0)
        return 0;
    if (g->at[c].dir == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "no %s limit: no %s cgroup that we may use",
                         cgroup_names[c], cgroup_names[c]);
    if (set(g->at[c].dir, g->at[c].version, value) < 0) {
        error_errno(err, errno, "no %s limit: %s", cgroup_names[c], g->at[c].dir);
        if (err != NULL)
            err->class = ERROR_UNAVAILABLE;
        return -1;
    }
    return 0;
}

int cgroup_limit(const struct cgroup *g, uint32_t cpu_milli, uint64_t memory_bytes,
                 uint32_t pids_max, struct error *err)
{
    int cpu = limit_one(g, CGROUP_CPU, cpu_milli, limit_cpu, err);
    int pids = limit_one(g, CGROUP_PIDS, pids_max, limit_pids, err);
    int memory = limit_one(g, CGROUP_MEMORY, memory_bytes, limit_memory, err);
    return cpu < 0 || pids < 0 || memory < 0 ? -1 : 0;
}

/* ---- members -------------------------------------------------------------------------------- */

int cgroup_join_fds(const struct cgroup *g, int fds[CGROUP_CONTROLLERS], struct error *err)
{
    int n = 0;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (!is_first(g, c))
            continue;
        cleanup_free char *path = xasprintf("%s/cgroup.procs", g->at[c].dir);
        fds[n] = open(path, O_WRONLY | O_CLOEXEC);
        if (fds[n] < 0) {
            error_errno(err, errno, "open %s", path);
            while (n > 0)
                close(fds[--n]);
            return -1;
        }
        n++;
    }
    return n;
}

static bool list_has(const struct pid_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->len; i++)
        if (list->items[i] == pid)
            return true;
    return false;
}

void cgroup_members(const struct cgroup *g, struct pid_list *out)
{
    cleanup_buf struct buf text = BUF_INIT;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (!is_first(g, c) || cgroup_read(g->at[c].dir, "cgroup.procs", &text) < 0)
            continue;
        for (char *at = text.data; at != NULL && *at != '\0';) {
            pid_t pid = (pid_t)strtol(at, &at, 10);
            if (pid > 0 && !list_has(out, pid))
                *vec_push(out) = pid;
            while (*at != '\0' && (*at < '0' || *at > '9'))
                at++;
        }
    }
}

/* The pid may be another's by the time that we hold it, so membership is read again behind that. */
static void kill_members(const struct cgroup *g, const struct pid_list *members)
{
    int *held = xcalloc(members->len, sizeof *held);
    for (size_t i = 0; i < members->len; i++)
        held[i] = pidfd_open_pid(members->items[i]);
    struct pid_list still = {0};
    cgroup_members(g, &still);
    for (size_t i = 0; i < members->len; i++) {
        if (held[i] >= 0 && list_has(&still, members->items[i]))
            pidfd_signal(held[i], SIGKILL);
        if (held[i] >= 0)
            close(held[i]);
    }
    vec_release(&still);
    free(held);
}

size_t cgroup_kill(const struct cgroup *g)
{
    if (g->at[CGROUP_PIDS].dir != NULL)
        cgroup_write(g->at[CGROUP_PIDS].dir, "pids.max", "0");
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (g->at[c].version == 2 && is_first(g, c))
            cgroup_write(g->at[c].dir, "cgroup.kill", "1"); /* Linux 5.14 */
    struct pid_list members = {0};
    cgroup_members(g, &members);
    size_t n = members.len;
    if (n > 0)
        kill_members(g, &members);
    vec_release(&members);
    return n;
}

/* ---- what it used --------------------------------------------------------------------------- */

/* The value of "key N" on a line of its own. */
static int read_key(const char *dir, const char *file, const char *key, uint64_t *value)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (cgroup_read(dir, file, &text) < 0)
        return -1;
    size_t n = strlen(key);
    for (const char *at = buf_str(&text); *at != '\0';) {
        size_t len = strcspn(at, "\n");
        if (len > n + 1 && memcmp(at, key, n) == 0 && at[n] == ' ') {
            *value = strtoull(at + n + 1, NULL, 10);
            return 0;
        }
        at += len + (at[len] == '\n');
    }
    return -1;
}

uint64_t cgroup_oom_kills(const struct cgroup *g)
{
    const char *dir = g->at[CGROUP_MEMORY].dir;
    uint64_t n = 0;
    if (dir != NULL)
        read_key(dir, g->at[CGROUP_MEMORY].version == 2 ? "memory.events" : "memory.oom_control",
                 "oom_kill", &n);
    return n;
}

int cgroup_memory(const struct cgroup *g, uint64_t *bytes)
{
    const char *dir = g->at[CGROUP_MEMORY].dir;
    bool v2 = g->at[CGROUP_MEMORY].version == 2;
    uint64_t anon, mapped;
    if (dir == NULL || read_key(dir, "memory.stat", v2 ? "anon" : "total_rss", &anon) < 0 ||
        read_key(dir, "memory.stat", v2 ? "file_mapped" : "total_mapped_file", &mapped) < 0)
        return -1;
    *bytes = anon + mapped;
    return 0;
}

int cgroup_cpu(const struct cgroup *g, uint64_t *cpu_us)
{
    const char *dir = g->at[CGROUP_CPU].dir;
    if (dir == NULL)
        return -1;
    if (g->at[CGROUP_CPU].version == 2)
        return read_key(dir, "cpu.stat", "usage_usec", cpu_us);
    /* Version 1 counts in cpuacct, which most systems mount together with cpu. */
    cleanup_buf struct buf text = BUF_INIT;
    if (cgroup_read(dir, "cpuacct.usage", &text) < 0)
        return -1;
    *cpu_us = strtoull(buf_str(&text), NULL, 10) / 1000;
    return 0;
}

int cgroup_remove(const struct cgroup *g)
{
    int rc = 0;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (is_first(g, c) && rmdir(g->at[c].dir) < 0 && errno != ENOENT)
            rc = -1;
    return rc;
}

/* ---- told to another process ---------------------------------------------------------------- */

void cgroup_format_place(const struct cgroup *g, enum cgroup_controller c, struct buf *out)
{
    ASSERT(g->at[c].dir != NULL);
    buf_printf(out, "%s %d %s", cgroup_names[c], g->at[c].version, g->at[c].dir);
}

int cgroup_parse_place(const char *text, struct cgroup *g)
{
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        size_t n = strlen(cgroup_names[c]);
        if (strncmp(text, cgroup_names[c], n) != 0 || text[n] != ' ')
            continue;
        const char *version = text + n + 1;
        if ((version[0] != '1' && version[0] != '2') || version[1] != ' ' || version[2] != '/' ||
            g->at[c].dir != NULL)
            return -1;
        g->at[c].version = version[0] - '0';
        g->at[c].dir = xstrdup(version + 2);
        return 0;
    }
    return -1;
}
