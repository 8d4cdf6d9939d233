#include "shim/record.h"

#include "base/alloc.h"
#include "os/durable.h"
#include "os/proc.h"
#include "wire/shimparams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void record_reserve(int run_dir_fd)
{
    cleanup_close int fd =
        openat(run_dir_fd, RUN_EXIT_RESERVE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        (void)!posix_fallocate(fd, 0, EXITRECORD_MAX_BYTES);
}

/* Not durable_write(): that truncates first, which gives the reserved room away. */
static int write_in_place(int fd, const struct buf *text)
{
    size_t done = 0;
    while (done < text->len) {
        ssize_t n = pwrite(fd, text->data + done, text->len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return ftruncate(fd, (off_t)text->len) < 0 || fsync(fd) < 0 ? -1 : 0;
}

int record_write(int run_dir_fd, const struct exit_record *record, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    exitrecord_encode(record, &text);
    cleanup_close int fd =
        openat(run_dir_fd, RUN_EXIT_RESERVE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write_in_place(fd, &text) < 0 ||
        renameat(run_dir_fd, RUN_EXIT_RESERVE, run_dir_fd, RUN_EXIT_FILE) < 0)
        return error_errno(err, errno, "write exit record");
    return durable_sync_folder(run_dir_fd, RUN_EXIT_FILE, err);
}

int record_pids(int run_dir_fd, pid_t app, struct error *err)
{
    struct proc_stat shim_stat, app_stat = {0};
    cleanup_buf struct buf text = BUF_INIT;
    if (proc_read_stat(getpid(), &shim_stat) < 0)
        return error_set(err, ERROR_IO, "read /proc/%d/stat", (int)getpid());
    buf_printf(&text, "shim %d %llu\n", (int)getpid(), (unsigned long long)shim_stat.start_ticks);
    if (app > 0 && proc_read_stat(app, &app_stat) == 0)
        buf_printf(&text, "app %d %llu\n", (int)app, (unsigned long long)app_stat.start_ticks);
    cleanup_close int fd = openat(run_dir_fd, RUN_PIDS_FILE,
                                  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len)
        return error_errno(err, errno, "write %s", RUN_PIDS_FILE);
    return 0;
}
