/* A process engine in a folder of its own, for tests: it is polled until something is so, with a
 * deadline, and what it reports is kept per run. */
#ifndef SLUICE_TESTS_ENGINE_RIG_H
#define SLUICE_TESTS_ENGINE_RIG_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "engine/engine.h"
#include "os/clock.h"
#include "os/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { RIG_PATIENCE_MS = 20000 };

struct rig {
    char root[64];
    char run_dir[96], log_path[96], sockets_dir[96];
    int shim_fd;
    struct engine *engine;
    unsigned changes;
};

static inline void rig_on_change(void *arg, const char *id, const struct run_status *status)
{
    (void)id;
    (void)status;
    ((struct rig *)arg)->changes++;
}

static inline void rig_open(struct rig *rig)
{
    struct error err = ERROR_INIT;
    const struct engine_config config = {
        .run_dir = rig->run_dir,
        .data_dir = rig->root,
        .sockets_dir = rig->sockets_dir,
        .sockets_gid = -1,
        .shim_fd = rig->shim_fd,
        .on_change = rig_on_change,
        .arg = rig,
    };
    rig->engine = process_engine_open(&config, &err);
    if (rig->engine == NULL)
        fail_msg("open the engine: %s", err.text);
}

static inline void rig_close(struct rig *rig)
{
    rig->engine->ops->close(rig->engine);
    rig->engine = NULL;
}

/* The shim of the same build as this test: build/unit/engine/test_x -> build/shim. */
static inline int rig_open_shim(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(path, '/') = '\0';
    strcat(path, "/shim");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("open %s: %s (make build/shim)", path, strerror(errno));
    return fd;
}

static inline int rig_setup(void **state)
{
    struct rig *rig = xcalloc(1, sizeof *rig);
    log_init("test", LOG_ERROR);
    strcpy(rig->root, "/tmp/sluice-engine-XXXXXX");
    if (mkdtemp(rig->root) == NULL)
        return -1;
    chmod(rig->root, 0755);
    snprintf(rig->run_dir, sizeof rig->run_dir, "%s/run", rig->root);
    snprintf(rig->log_path, sizeof rig->log_path, "%s/logs/app.log", rig->root);
    snprintf(rig->sockets_dir, sizeof rig->sockets_dir, "%s/sockets", rig->root);
    mkdir(rig->run_dir, 0700);
    rig->shim_fd = rig_open_shim();
    rig_open(rig);
    *state = rig;
    return 0;
}

static inline bool rig_status(struct rig *rig, const char *id, struct run_status *out)
{
    return rig->engine->ops->status(rig->engine, id, out, NULL) == 0;
}

/* One turn of the controller's loop. */
static inline void rig_turn(struct rig *rig, int wait_ms)
{
    struct pollfd p = {.fd = rig->engine->ops->fd(rig->engine), .events = POLLIN};
    if (poll(&p, 1, wait_ms) > 0)
        rig->engine->ops->poll(rig->engine);
}

#define RIG_UNTIL(rig, condition)                                                                  \
    do {                                                                                           \
        int64_t rig_end = clock_mono_ms() + RIG_PATIENCE_MS;                                       \
        while (!(condition)) {                                                                     \
            if (clock_mono_ms() > rig_end)                                                         \
                fail_msg("waited in vain for: %s", #condition);                                    \
            rig_turn(rig, 10);                                                                     \
        }                                                                                          \
    } while (0)

static inline bool rig_in_state(struct rig *rig, const char *id, enum run_state state)
{
    struct run_status s;
    return rig_status(rig, id, &s) && s.state == state;
}

static inline struct run_status rig_wait(struct rig *rig, const char *id, enum run_state state)
{
    struct run_status s = {0};
    RIG_UNTIL(rig, rig_in_state(rig, id, state));
    rig_status(rig, id, &s);
    return s;
}

/* A run of `sh -c script` with everything at its default. */
static inline struct run_spec rig_spec(struct rig *rig, const char *id, const char *script,
                                       const char *argv[4])
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "MARK=from the spec",
                                      NULL};
    argv[0] = "/bin/sh";
    argv[1] = "-c";
    argv[2] = script;
    argv[3] = NULL;
    return (struct run_spec){
        .id = id,
        .dir = rig->root,
        .argv = argv,
        .envp = env,
        .log_path = rig->log_path,
        .log_max_bytes = 1 << 20,
        .log_label = "web",
    };
}

static inline void rig_start_spec(struct rig *rig, const struct run_spec *spec)
{
    struct error err = ERROR_INIT;
    if (rig->engine->ops->start(rig->engine, spec, &err) < 0)
        fail_msg("start: %s", err.text);
}

static inline void rig_start(struct rig *rig, const char *id, const char *script)
{
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, id, script, argv);
    rig_start_spec(rig, &spec);
}

static inline void rig_stop(struct rig *rig, const char *id, int sig, int64_t grace_ms)
{
    struct error err = ERROR_INIT;
    if (rig->engine->ops->stop(rig->engine, id, sig, grace_ms, &err) < 0)
        fail_msg("stop: %s", err.text);
}

/* The file below the rig's folder, as a string; "" while there is none. The caller frees. */
static inline char *rig_read(struct rig *rig, const char *name)
{
    struct buf text = BUF_INIT;
    cleanup_free char *path = xasprintf("%s/%s", rig->root, name);
    file_read(AT_FDCWD, path, 64 << 20, &text, NULL);
    return buf_detach(&text);
}

static inline bool rig_contains(struct rig *rig, const char *name, const char *needle)
{
    cleanup_free char *text = rig_read(rig, name);
    return strstr(text, needle) != NULL;
}

/* The number in the file, 0 while there is none. */
static inline pid_t rig_pid(struct rig *rig, const char *name)
{
    cleanup_free char *text = rig_read(rig, name);
    return strchr(text, '\n') != NULL ? atoi(text) : 0;
}

static inline bool process_gone(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *bracket = n > 0 ? strrchr(text, ')') : NULL;
    return bracket == NULL || bracket[2] == 'Z';
}

static inline void rig_kill_one(void *arg, const char *id, const struct run_status *status)
{
    struct rig *rig = arg;
    if (status->state == RUN_STARTING || status->state == RUN_RUNNING)
        rig->engine->ops->stop(rig->engine, id, SIGKILL, 0, NULL);
}

static inline void rig_count_alive(void *arg, const char *id, const struct run_status *status)
{
    (void)id;
    *(unsigned *)arg += status->state != RUN_EXITED && status->state != RUN_LOST;
}

static inline unsigned rig_alive(struct rig *rig)
{
    unsigned alive = 0;
    rig->engine->ops->each(rig->engine, rig_count_alive, &alive);
    return alive;
}

/* A shim ends a little behind its run: it writes the exit record. */
static inline void rig_wait_for_shims(void)
{
    int64_t end = clock_mono_ms() + RIG_PATIENCE_MS;
    while (waitpid(-1, NULL, WNOHANG) >= 0 && clock_mono_ms() < end)
        poll(NULL, 0, 2);
}

static inline int rig_teardown(void **state)
{
    struct rig *rig = *state;
    if (rig->engine == NULL)
        rig_open(rig);
    rig->engine->ops->each(rig->engine, rig_kill_one, rig);
    RIG_UNTIL(rig, rig_alive(rig) == 0);
    rig_close(rig);
    close(rig->shim_fd);
    rig_wait_for_shims();
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", rig->root);
    int rc = system(command);
    free(rig);
    return rc;
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

#endif
