/* The machine's part: clocks, the boot's id, ports, chance, pack's children, the ballast. */
#include "sim.h"

#include "os/clock.h"
#include "os/fdio.h"
#include "os/unixsock.h"
#include "store/store_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- clocks ---- */

int64_t clock_mono_us(void)
{
    return sim_now();
}

int64_t clock_mono_ms(void)
{
    return sim_now() / SIM_MS;
}

int64_t clock_boot_ms(void)
{
    return (sim_now() - sim.rebooted_us) / SIM_MS;
}

int64_t clock_wall_ms(void)
{
    return sim_now() / SIM_MS + sim.wall_offset_ms;
}

int boot_id_read(char out[BOOT_ID_SIZE], struct error *err)
{
    (void)err;
    snprintf(out, BOOT_ID_SIZE, "00000000-0000-4000-8000-%012u", sim.reboots);
    return 0;
}

char *clock_format_wall(int64_t wall_ms, char out[WALL_TEXT_SIZE])
{
    snprintf(out, WALL_TEXT_SIZE, "%lld.%03d", (long long)(wall_ms / 1000), (int)(wall_ms % 1000));
    return out;
}

/* ---- system calls of the controller itself (wrapped by the linker) ---- */

int __real_bind(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len);
ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags);
enum unixsock_result __real_unixsock_send(int fd, const void *message, size_t len, const int *fds,
                                          size_t fds_len, struct error *err);
enum unixsock_result __wrap_unixsock_send(int fd, const void *message, size_t len, const int *fds,
                                          size_t fds_len, struct error *err);
int __wrap_unixsock_connect(int dir_fd, const char *name, int type, struct error *err);
int __wrap_statvfs(const char *path, struct statvfs *out);
int __real_write_all(int fd, const void *data, size_t len);
int __wrap_write_all(int fd, const void *data, size_t len);

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
    if (address->sa_family != AF_INET)
        return __real_bind(fd, address, len);
    if (!port_is_taken(ntohs(((const struct sockaddr_in *)address)->sin_port)))
        return 0;
    errno = EADDRINUSE;
    return -1;
}

ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < len; i++)
        ((unsigned char *)out)[i] = (unsigned char)sim_pick(256);
    return (ssize_t)len;
}

enum unixsock_result __wrap_unixsock_send(int fd, const void *message, size_t len, const int *fds,
                                          size_t fds_len, struct error *err)
{
    sim_boundary("a message");
    enum unixsock_result result = __real_unixsock_send(fd, message, len, fds, fds_len, err);
    gateway_sent(fd);
    sim_boundary("a message that was sent");
    return result;
}

int __wrap_unixsock_connect(int dir_fd, const char *name, int type, struct error *err)
{
    (void)dir_fd, (void)type;
    int fd = gateway_connection(name);
    return fd >= 0 ? fd : error_set(err, ERROR_UNAVAILABLE, "%s: nobody listens", name);
}

int __wrap_statvfs(const char *path, struct statvfs *out)
{
    (void)path;
    memset(out, 0, sizeof *out);
    out->f_frsize = 4096;
    out->f_blocks = 1 << 26;
    out->f_bavail = disk_failing() ? 0 : 1 << 25;
    return 0;
}

/* The files of the routes (memfds go through it as well, and never fail). */
int __wrap_write_all(int fd, const void *data, size_t len)
{
    struct stat st;
    bool file = fstat(fd, &st) == 0 && st.st_nlink > 0;
    if (file) {
        struct snapshot *s = snapshot_decode(data, len, NULL);
        if (s != NULL)
            check_published(s);
        snapshot_free(s);
        sim_boundary("a file");
    }
    if (file && disk_failing()) {
        errno = ENOSPC;
        return -1;
    }
    return __real_write_all(fd, data, len);
}

/* ---- pack: folders are made and deleted by nobody, later ---- */

enum job_kind { JOB_REMOVE, JOB_SEAL, JOB_MEASURE };

struct pack_job {
    enum job_kind kind;
    int fd;
    uint64_t number;
    bool ended;
    char dir[300];
};

static struct {
    struct pack_job **items;
    size_t len, cap;
} jobs;
static uint64_t job_numbers;

static void on_job_over(void *arg, uint64_t number)
{
    uint64_t one = 1;
    (void)arg;
    for (size_t i = 0; i < jobs.len; i++) {
        struct pack_job *job = jobs.items[i];
        if (job->number != number)
            continue;
        job->ended = true;
        if (job->kind == JOB_REMOVE)
            rmdir(job->dir);
        (void)!write(job->fd, &one, sizeof one);
    }
}

static struct pack_job *begin_job(enum job_kind kind, const char *dir)
{
    sim_boundary("a pack job");
    struct pack_job *job = xcalloc(1, sizeof *job);
    job->kind = kind;
    job->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    job->number = ++job_numbers;
    snprintf(job->dir, sizeof job->dir, "%s", dir);
    *vec_push(&jobs) = job;
    sim_at(sim_between(500, 50000), on_job_over, NULL, job->number);
    return job;
}

static void end_job(struct pack_job *job)
{
    for (size_t i = 0; i < jobs.len; i++)
        if (jobs.items[i] == job)
            vec_remove(&jobs, i);
    close(job->fd);
    free(job);
}

/* Its children die with a controller. */
void pack_abandon(void);
void pack_abandon(void)
{
    while (jobs.len > 0)
        end_job(jobs.items[0]);
}

struct pack_job *pack_start(const struct pack_spec *spec, struct error *err)
{
    (void)spec;
    error_set(err, ERROR_FAILED, "the simulator has no sources");
    return NULL;
}

struct pack_job *pack_seal(const char *dir, uid_t uid, gid_t gid, struct error *err)
{
    (void)uid, (void)gid, (void)err;
    return begin_job(JOB_SEAL, dir);
}

struct pack_job *pack_remove_tree(const char *dir, struct error *err)
{
    (void)err;
    return begin_job(JOB_REMOVE, dir);
}

struct pack_job *pack_measure(const char *dir, struct error *err)
{
    (void)err;
    return begin_job(JOB_MEASURE, dir);
}

int pack_fd(const struct pack_job *job)
{
    return job->fd;
}

bool pack_ended(struct pack_job *job)
{
    return job->ended;
}

int pack_finish(struct pack_job *job, struct pack_result *result, struct error *err)
{
    (void)err;
    if (result != NULL)
        memset(result, 0, sizeof *result);
    end_job(job);
    return 0;
}

void pack_cancel(struct pack_job *job)
{
    if (job != NULL)
        end_job(job);
}

/* ---- the ballast ---- */

enum { BALLAST_GIVES = 256 << 10 };

bool ballast_make(const char *path, uint64_t bytes)
{
    (void)path, (void)bytes;
    return !disk_failing();
}

bool ballast_give_up(const char *path)
{
    static uint64_t given_up_in;
    (void)path;
    if (given_up_in == sim.life) /* it has to be made again first */
        return false;
    given_up_in = sim.life;
    disk_free(BALLAST_GIVES);
    return true;
}
