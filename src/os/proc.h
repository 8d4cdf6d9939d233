/* What /proc says about processes. All of it may be out of date when it is read: who kills by it
 * must hold a pidfd and check the start time (pidfd_open_checked). */
#ifndef SLUICE_OS_PROC_H
#define SLUICE_OS_PROC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
    pid_t pid, ppid, pgrp, session;
    char state;           /* R S D Z ... */
    uint64_t start_ticks; /* since boot; with the pid it names a process within this boot */
    uint64_t cpu_us;      /* user and system, of itself and of the children that it waited for */
    uint64_t rss_bytes;
};

struct proc_list {
    struct proc_stat *items;
    size_t len, cap;
};

struct pid_list {
    pid_t *items;
    size_t len, cap;
};

int proc_read_stat(pid_t pid, struct proc_stat *out); /* -1: there is none */
/* The text of /proc/PID/stat; -1 when it is not of that form. Pure. */
int proc_parse_stat(const char *text, struct proc_stat *out);

/* Every process that we can see, by pid. vec_release() it. */
int proc_list_all(struct proc_list *out, struct error *err);

/* Adds root's descendants (not root) to out. Children of a subreaper that lost their parents are
 * found as its children. */
void proc_descendants(const struct proc_list *all, pid_t root, struct pid_list *out);

/* The value of an environment variable of the process, as it was at its exec; -1 where it has none,
 * for what we may not read, for zombies, for kernel threads, and where it does not fit. A process
 * may have written over its environment, so "none" proves nothing. */
int proc_environ_get(pid_t pid, const char *name, char *value, size_t size);

/* Walks the numeric names of an open /proc (or /proc/PID/fd) folder; -1 at the end. Internal to the
 * proc_*.c files and their tests. */
struct proc_walk;
struct proc_walk *proc_walk_open(const char *path);
int proc_walk_next(struct proc_walk *w);
void proc_walk_close(struct proc_walk *w);

#endif
