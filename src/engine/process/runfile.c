/* A run's folder: names, the lock, what the engine writes before the fork, what the shim leaves. */
#include "engine/process/process_internal.h"

#include "base/alloc.h"
#include "os/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char HEAD[] = "sluice-run 1";
enum { INFO_MAX_BYTES = 32 << 10 };

bool run_id_valid(const char *id)
{
    size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n <= RUN_ID_MAX && id[n] == '\0' && id[0] != '.';
}

int run_folder_open(const struct process_engine *e, const char *id)
{
    return openat(e->run_dir_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Flat: shim and engine make files and a socket, nothing else is ever in there. */
int run_folder_remove(const struct process_engine *e, const char *id, struct error *err)
{
    int fd = run_folder_open(e, id);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "run folder %s", id);
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return error_errno(err, errno, "run folder %s", id);
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    if (unlinkat(e->run_dir_fd, id, AT_REMOVEDIR) < 0)
        return error_errno(err, errno, "remove run folder %s", id);
    return 0;
}

int run_lock_held(int folder_fd)
{
    cleanup_close int fd = openat(folder_fd, RUN_LOCK_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0; /* and free again with the close */
    return errno == EWOULDBLOCK ? 1 : -1;
}

/* Not durable: it is for another engine in this boot; after a power cut there is nothing to find.
 */
int run_info_write(const struct process_engine *e, const struct run *r, int folder_fd,
                   struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    buf_printf(&text, "%s\nboot %s\nkey %s\n", HEAD, e->boot_id, r->key);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (r->cgroup.at[c].dir == NULL)
            continue;
        buf_puts(&text, "cgroup ");
        cgroup_format_place(&r->cgroup, (enum cgroup_controller)c, &text);
        buf_putc(&text, '\n');
    }
    buf_puts(&text, "end\n");
    cleanup_close int fd =
        openat(folder_fd, RUN_INFO_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "create %s", RUN_INFO_FILE);
    ssize_t n = write(fd, text.data, text.len);
    if (n != (ssize_t)text.len)
        return error_errno(err, n < 0 ? errno : ENOSPC, "write %s", RUN_INFO_FILE);
    return 0;
}

/* Cuts the next line off *at; NULL at the end. */
static char *next_line(char **at)
{
    char *line = *at, *end = line == NULL ? NULL : strchr(line, '\n');
    if (end == NULL)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

int run_info_read(const struct process_engine *e, struct run *r, int folder_fd, bool *same_boot)
{
    cleanup_buf struct buf text = BUF_INIT;
    *same_boot = false;
    if (file_read(folder_fd, RUN_INFO_FILE, INFO_MAX_BYTES, &text, NULL) < 0)
        return -1;
    char *at = text.data, *line = next_line(&at);
    if (line == NULL || strcmp(line, HEAD) != 0)
        return -1;
    while ((line = next_line(&at)) != NULL) {
        if (strncmp(line, "boot ", 5) == 0)
            *same_boot = strcmp(line + 5, e->boot_id) == 0;
        else if (strncmp(line, "key ", 4) == 0)
            snprintf(r->key, sizeof r->key, "%s", line + 4);
        else if (strncmp(line, "cgroup ", 7) == 0)
            cgroup_parse_place(line + 7, &r->cgroup);
        else if (strcmp(line, "end") == 0)
            return r->key[0] != '\0' ? 0 : -1;
    }
    return -1;
}

void run_pids_read(struct run *r, int folder_fd)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (file_read(folder_fd, RUN_PIDS_FILE, INFO_MAX_BYTES, &text, NULL) < 0)
        return;
    char *at = text.data;
    for (char *line; (line = next_line(&at)) != NULL;) {
        int pid;
        unsigned long long start;
        if (sscanf(line, "shim %d %llu", &pid, &start) == 2) {
            r->sweep.shim_pid = pid;
            r->sweep.shim_start = start;
        } else if (sscanf(line, "app %d %llu", &pid, &start) == 2) {
            r->sweep.app_pid = pid;
            r->sweep.app_start = start;
        }
    }
}

void run_status_from_end(struct run_status *status, const struct exit_record *end)
{
    status->exit_code = end->code;
    status->exit_signal = end->signal;
    status->oom_killed = end->oom_killed;
    status->start_failed = end->start_failed;
    status->timed_out = end->timed_out;
    status->started_ms = end->started_ms;
    status->ended_ms = end->ended_ms;
    status->log_dropped_lines = end->dropped_lines;
    snprintf(status->reason, sizeof status->reason, "%s", end->reason);
}

int run_exit_read(struct run *r, int folder_fd, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    struct exit_record end;
    if (file_read(folder_fd, RUN_EXIT_FILE, EXITRECORD_MAX_BYTES, &text, err) < 0 ||
        exitrecord_decode(buf_str(&text), &end, err) < 0)
        return -1;
    run_status_from_end(&r->status, &end);
    return 0;
}
