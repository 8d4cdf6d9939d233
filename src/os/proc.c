#include "os/proc.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/vec.h"
#include "os/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct proc_walk {
    DIR *dir;
};

struct proc_walk *proc_walk_open(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return NULL;
    struct proc_walk *w = xmalloc(sizeof *w);
    w->dir = dir;
    return w;
}

int proc_walk_next(struct proc_walk *w)
{
    for (struct dirent *e; (e = readdir(w->dir)) != NULL;) {
        int value = 0;
        const char *c = e->d_name;
        while (*c >= '0' && *c <= '9' && value < 100000000)
            value = value * 10 + (*c++ - '0');
        if (*c == '\0' && c != e->d_name)
            return value;
    }
    return -1;
}

void proc_walk_close(struct proc_walk *w)
{
    if (w == NULL)
        return;
    closedir(w->dir);
    free(w);
}

int proc_parse_stat(const char *text, struct proc_stat *out)
{
    /* The name in brackets is the process's own choice and may hold anything, brackets and
     * newlines too: the last bracket ends it. */
    const char *rest = strrchr(text, ')');
    int pid;
    if (rest == NULL || sscanf(text, "%d (", &pid) != 1)
        return -1;
    int ppid, pgrp, session;
    char state;
    unsigned long long user, system, start;
    long long child_user, child_system, rss_pages;
    if (sscanf(rest + 1,
               " %c %d %d %d %*s %*s %*s %*s %*s %*s %*s %llu %llu %lld %lld %*s %*s %*s %*s %llu "
               "%*s %lld",
               &state, &ppid, &pgrp, &session, &user, &system, &child_user, &child_system, &start,
               &rss_pages) != 10)
        return -1;
    uint64_t ticks = user + system + (uint64_t)child_user + (uint64_t)child_system;
    *out = (struct proc_stat){
        .pid = pid,
        .ppid = ppid,
        .pgrp = pgrp,
        .session = session,
        .state = state,
        .start_ticks = start,
        .cpu_us = ticks * (1000000 / (uint64_t)sysconf(_SC_CLK_TCK)),
        .rss_bytes = (uint64_t)rss_pages * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    return 0;
}

int proc_read_stat(pid_t pid, struct proc_stat *out)
{
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    return proc_parse_stat(text, out);
}

int proc_list_all(struct proc_list *out, struct error *err)
{
    struct proc_walk *w = proc_walk_open("/proc");
    if (w == NULL)
        return error_errno(err, errno, "open /proc");
    for (int pid; (pid = proc_walk_next(w)) >= 0;) {
        struct proc_stat st;
        if (proc_read_stat(pid, &st) == 0)
            *vec_push(out) = st;
    }
    proc_walk_close(w);
    return 0;
}

/* In rounds of "children of whom we have": as many as the tree is deep. Not by pid order, since
 * pids wrap around. */
void proc_descendants(const struct proc_list *all, pid_t root, struct pid_list *out)
{
    size_t first = out->len, done = first;
    pid_t parent = root;
    for (;;) {
        for (size_t i = 0; i < all->len; i++)
            if (all->items[i].ppid == parent && all->items[i].pid != root)
                *vec_push(out) = all->items[i].pid;
        if (done == out->len || out->len - first > all->len)
            return;
        parent = out->items[done++];
    }
}

int proc_environ_get(pid_t pid, const char *name, char *value, size_t size)
{
    enum { MOST = 4 << 20 }; /* the kernel's own bound is a quarter of the stack limit, 2 MiB */
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    cleanup_buf struct buf env = BUF_INIT;
    if (file_read(AT_FDCWD, path, MOST, &env, NULL) < 0)
        return -1;
    size_t len = strlen(name);
    const char *at = buf_str(&env), *end = at + env.len;
    for (; at < end; at += strlen(at) + 1)
        if (strncmp(at, name, len) == 0 && at[len] == '=' && strlen(at + len + 1) < size)
            return strcpy(value, at + len + 1), 0;
    return -1;
}
