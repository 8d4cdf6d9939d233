/* Resources, users, ports, and a full disk. What needs root or cgroups is skipped, and says so,
 * where they are not to be had. */
#include "engine/rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/mount.h>
#include <sys/socket.h>

static bool limits_missing(struct rig *rig)
{
    const char *missing = rig->engine->ops->missing_limits(rig->engine);
    if (missing[0] == '\0')
        return false;
    print_message("skipped: %s\n", missing);
    return true;
}

static const char EAT[] = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";

static void over_its_memory_is_told_apart(void **state)
{
    struct rig *rig = *state;
    const char *argv[4];
    if (limits_missing(rig))
        skip();
    struct run_spec spec = rig_spec(rig, "a.1", EAT, argv);
    spec.memory_bytes = 16 << 20;
    rig_start_spec(rig, &spec);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_true(s.oom_killed);
    assert_int_equal(s.exit_signal, SIGKILL);
    assert_non_null(strstr(s.reason, "memory limit"));
    /* Behind a shell, which says 137. */
    cleanup_free char *script = xasprintf("sh -c '%s'; exit $?", EAT);
    spec = rig_spec(rig, "a.2", script, argv);
    spec.memory_bytes = 16 << 20;
    rig_start_spec(rig, &spec);
    s = rig_wait(rig, "a.2", RUN_EXITED);
    assert_true(s.oom_killed);
    /* Within it, a KILL from elsewhere is no such thing. */
    spec = rig_spec(rig, "a.3", "kill -KILL $$", argv);
    spec.memory_bytes = 16 << 20;
    rig_start_spec(rig, &spec);
    s = rig_wait(rig, "a.3", RUN_EXITED);
    assert_false(s.oom_killed);
}

static void processes_are_bounded(void **state)
{
    struct rig *rig = *state;
    const char *argv[4];
    if (limits_missing(rig))
        skip();
    struct run_spec spec =
        rig_spec(rig, "a.1", "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done", argv);
    spec.pids_max = 8;
    rig_start_spec(rig, &spec);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_not_equal(s.exit_code, 0);
    assert_true(rig_contains(rig, "logs/app.log", "fork"));
}

static void use_is_measured(void **state)
{
    struct rig *rig = *state;
    uint64_t rss = 0, cpu = 0;
    rig_start(rig, "a.1", "while :; do :; done");
    rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, rig->engine->ops->usage(rig->engine, "a.1", &rss, &cpu) == 0 && cpu > 50000);
    RIG_UNTIL(rig, rig->engine->ops->usage(rig->engine, "a.1", &rss, &cpu) == 0 && rss > 4096);
    rig_stop(rig, "a.1", SIGKILL, 0);
    rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(rig->engine->ops->usage(rig->engine, "a.x", &rss, &cpu), -1);
}

static void no_cgroup_is_left_behind(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "leftover.1", "cat /proc/self/cgroup > groups");
    rig_wait(rig, "leftover.1", RUN_EXITED);
    assert_int_equal(system("! find /sys/fs/cgroup -name '*-leftover.1' 2>/dev/null | grep -q ."),
                     0);
}

static void runs_as_the_user(void **state)
{
    struct rig *rig = *state;
    const char *argv[4];
    if (geteuid() != 0 || getpwnam("nobody") == NULL) {
        print_message("skipped: not root, or no user nobody\n");
        skip();
    }
    cleanup_free char *state_dir = xasprintf("%s/state/of/app", rig->root);
    cleanup_free char *script = xasprintf(
        "id -u; id -g; id -G; cat /proc/self/status | grep NoNew; "
        "echo kept > '%s/file' && echo wrote; ls '%s' || echo closed; kill -9 $PPID || echo safe",
        state_dir, rig->run_dir);
    struct run_spec spec = rig_spec(rig, "a.1", script, argv);
    spec.user = "nobody";
    spec.state_dir = state_dir;
    rig_start_spec(rig, &spec);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 0);
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"65534\""));
    assert_false(rig_contains(rig, "logs/app.log", "\"m\":\"0\""));
    assert_true(rig_contains(rig, "logs/app.log", "NoNewPrivs:\\t1"));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"wrote\""));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"closed\""));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"safe\""));
    spec = rig_spec(rig, "a.2", "cat file", argv); /* there already: as it is */
    spec.user = "nobody";
    spec.state_dir = spec.dir = state_dir;
    rig_start_spec(rig, &spec);
    assert_int_equal(rig_wait(rig, "a.2", RUN_EXITED).exit_code, 0);
    /* A killed shim's app of another user is cleaned up as well. */
    spec = rig_spec(rig, "a.3", "setsid sleep 1000 & exec sleep 1000", argv);
    spec.user = "nobody";
    rig_start_spec(rig, &spec);
    s = rig_wait(rig, "a.3", RUN_RUNNING);
    kill(s.shim_pid, SIGKILL);
    rig_wait(rig, "a.3", RUN_LOST);
    assert_true(process_gone(s.pid));
}

static unsigned long pss_kib(pid_t pid)
{
    char path[64];
    cleanup_buf struct buf text = BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    if (file_read(AT_FDCWD, path, 1 << 16, &text, NULL) < 0)
        return 0;
    char *at = strstr(buf_str(&text), "\nPss:");
    return at == NULL ? 0 : strtoul(at + 5, NULL, 10);
}

/* The bar of the design: at most 1 MiB each, also behind much and nasty output. */
static void a_shim_stays_small(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "head -c 3000000 /dev/urandom; head -c 3000000 /dev/zero; yes | head -c 3000000 >&2; "
              "echo; echo done; exec sleep 1000");
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, rig_contains(rig, "logs/app.log", "\"m\":\"done\""));
    assert_true(pss_kib(s.shim_pid) > 0);
    assert_true(pss_kib(s.shim_pid) <= 1024);
    print_message("shim: %lu KiB\n", pss_kib(s.shim_pid));
}

/* ---- ports ---------------------------------------------------------------------------------- */

static int listen_on(uint32_t address, uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

static const char LISTEN[] =
    "exec /usr/bin/python3 -c \"import socket,time,sys\n"
    "s=socket.socket(socket.%s); s.bind(('%s',0)); s.listen(8)\n"
    "open('port','w').write(str(s.getsockname()[1])+'\\\\n'); time.sleep(1000)\"";

static void whose_port_it_is(void **state)
{
    struct rig *rig = *state;
    pid_t stranger = -1;
    uint16_t mine, theirs;
    char script[512], shell[600];
    snprintf(script, sizeof script, LISTEN, "AF_INET", "127.0.0.1");
    rig_start(rig, "a.1", script);
    RIG_UNTIL(rig, rig_pid(rig, "port") != 0);
    rig_wait(rig, "a.1", RUN_RUNNING);
    theirs = (uint16_t)rig_pid(rig, "port");
    const struct engine_ops *ops = rig->engine->ops;
    assert_int_equal(ops->owns_port(rig->engine, "a.1", theirs, false, &stranger), 1);
    assert_int_equal(stranger, 0);
    int fd = listen_on(INADDR_LOOPBACK, &mine);
    assert_int_equal(ops->owns_port(rig->engine, "a.1", mine, false, &stranger), -1);
    assert_int_equal(stranger, getpid());
    assert_int_equal(ops->other_port(rig->engine, "a.1", mine), theirs);
    assert_int_equal(ops->other_port(rig->engine, "a.1", theirs), 0);
    close(fd);
    assert_int_equal(ops->owns_port(rig->engine, "a.1", mine, false, &stranger), 0);
    fd = listen_on(INADDR_ANY, &mine); /* the wildcard gets what goes to 127.0.0.1, too */
    assert_int_equal(ops->owns_port(rig->engine, "a.1", mine, false, &stranger), -1);
    close(fd);
    /* By a child of the app, on IPv6's wildcard. */
    snprintf(script, sizeof script, LISTEN, "AF_INET6", "::");
    snprintf(shell, sizeof shell, "rm port; (%s) & wait", script);
    rig_start(rig, "b.1", shell);
    RIG_UNTIL(rig, rig_pid(rig, "port") != 0 && rig_pid(rig, "port") != theirs);
    theirs = (uint16_t)rig_pid(rig, "port");
    assert_int_equal(ops->owns_port(rig->engine, "b.1", theirs, false, &stranger), 1);
    assert_int_equal(ops->owns_port(rig->engine, "a.1", theirs, false, &stranger), -1);
    assert_true(stranger > 0);
    assert_int_equal(ops->owns_port(rig->engine, "no.1", theirs, false, &stranger), -1);
    assert_int_equal(ops->owns_port(rig->engine, "b.1", theirs, true, &stranger), 1);
    assert_int_equal(ops->owns_port(rig->engine, "a.1", theirs, true, &stranger), -1);
}

/* Both families have ports of their own. */
static void whose_port_of_which_family_it_is(void **state)
{
    struct rig *rig = *state;
    pid_t stranger = -1;
    char script[512];
    snprintf(script, sizeof script, LISTEN, "AF_INET6", "::1");
    rig_start(rig, "a.1", script);
    RIG_UNTIL(rig, rig_pid(rig, "port") != 0);
    rig_wait(rig, "a.1", RUN_RUNNING);
    uint16_t port = (uint16_t)rig_pid(rig, "port");
    const struct engine_ops *ops = rig->engine->ops;
    assert_int_equal(ops->owns_port(rig->engine, "a.1", port, false, &stranger), 0);
    assert_int_equal(ops->owns_port(rig->engine, "a.1", port, true, &stranger), 1);
    assert_int_equal(ops->owns_port(rig->engine, "no.1", port, true, &stranger), -1);
}

/* ---- a full disk ---------------------------------------------------------------------------- */

struct small_disk {
    char path[96];
    bool mounted;
};

static bool mount_small(struct rig *rig, const char *name, const char *options,
                        struct small_disk *d)
{
    snprintf(d->path, sizeof d->path, "%s/%s", rig->root, name);
    mkdir(d->path, 0755);
    d->mounted = mount("tmpfs", d->path, "tmpfs", 0, options) == 0;
    if (!d->mounted)
        print_message("skipped: cannot mount a small tmpfs: %s\n", strerror(errno));
    return d->mounted;
}

static void fill_disk(const struct small_disk *d)
{
    cleanup_free char *path = xasprintf("%s/filler", d->path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char block[4096] = {1};
    while (write(fd, block, sizeof block) > 0)
        continue;
    close(fd);
}

static void empty_disk(const struct small_disk *d)
{
    cleanup_free char *path = xasprintf("%s/filler", d->path);
    assert_int_equal(unlink(path), 0);
}

static void a_full_disk_does_not_stop_the_app(void **state)
{
    struct rig *rig = *state;
    struct small_disk disk;
    const char *argv[4];
    struct run_status s;
    if (!mount_small(rig, "logs", "size=256k", &disk))
        skip();
    fill_disk(&disk);
    struct run_spec spec = rig_spec(rig, "a.1",
                                    "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done;"
                                    "echo > full; while ! [ -e go ]; do sleep 0.02; done;"
                                    "echo after; exit 0",
                                    argv);
    rig_start_spec(rig, &spec);
    RIG_UNTIL(rig, rig_contains(rig, "full", "\n")); /* more than a pipe holds: it was drained */
    assert_int_equal(rig->engine->ops->status(rig->engine, "a.1", &s, NULL), 0);
    assert_int_equal(s.state, RUN_RUNNING);
    empty_disk(&disk);
    cleanup_free char *go = xasprintf("%s/go", rig->root);
    assert_int_equal(durable_write(AT_FDCWD, go, 0600, "", 0, NULL), 0);
    s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 0);
    assert_true(s.log_dropped_lines > 0 && s.log_dropped_lines <= 3000);
    assert_true(
        rig_contains(rig, "logs/app.log", "log lines were dropped here: No space left on device"));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"after\"}\n"));
    umount(disk.path);
}

/* Its room was reserved, so the record is written on a disk that is full by the end. */
static void a_full_disk_still_gets_the_exit_record(void **state)
{
    struct rig *rig = *state;
    struct small_disk disk;
    rig_close(rig);
    if (!mount_small(rig, "run", "size=256k,mode=0700", &disk)) {
        rig_open(rig);
        skip();
    }
    rig_open(rig);
    rig_start(rig, "a.1", "while ! [ -e go ]; do sleep 0.02; done; exit 8");
    rig_wait(rig, "a.1", RUN_RUNNING);
    fill_disk(&disk);
    cleanup_free char *go = xasprintf("%s/go", rig->root);
    assert_int_equal(durable_write(AT_FDCWD, go, 0600, "", 0, NULL), 0);
    rig_wait(rig, "a.1", RUN_EXITED);
    RIG_UNTIL(rig, rig_contains(rig, "run/a.1/exit", "code 8\n"));
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_code, 8);
    empty_disk(&disk);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", NULL), 0);
    rig_close(rig);
    rig_wait_for_shims();
    umount(disk.path);
    rig_open(rig);
}

/* The reserve is gone and the disk is full: the shim holds the record, tells it to whoever asks,
 * and ends when it could be written or is not wanted any more. */
static void a_record_without_room_is_held(void **state)
{
    struct rig *rig = *state;
    struct small_disk disk;
    struct run_status s;
    rig_close(rig);
    if (!mount_small(rig, "run", "size=256k,mode=0700", &disk)) {
        rig_open(rig);
        skip();
    }
    rig_open(rig);
    static const char *const ids[] = {"a.1", "b.1"};
    for (int i = 0; i < 2; i++) {
        rig_start(rig, ids[i], "while ! [ -e go ]; do sleep 0.02; done; exit 8");
        rig_wait(rig, ids[i], RUN_RUNNING);
        cleanup_free char *reserve = xasprintf("%s/%s/exit.tmp", rig->run_dir, ids[i]);
        assert_int_equal(unlink(reserve), 0);
    }
    fill_disk(&disk);
    cleanup_free char *go = xasprintf("%s/go", rig->root);
    assert_int_equal(durable_write(AT_FDCWD, go, 0600, "", 0, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig_wait(rig, ids[i], RUN_EXITED).exit_code, 8);
    rig_close(rig);
    rig_open(rig); /* another controller hears it from the shims */
    for (int i = 0; i < 2; i++) {
        s = rig_wait(rig, ids[i], RUN_EXITED);
        assert_int_equal(s.exit_code, 8);
        assert_false(process_gone(s.shim_pid));
    }
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", NULL), 0);
    RIG_UNTIL(rig, access(disk.path, F_OK) == 0 && !rig_contains(rig, "run/a.1/run", "sluice-run"));
    empty_disk(&disk);
    RIG_UNTIL(rig, rig_contains(rig, "run/b.1/exit", "code 8\n"));
    RIG_UNTIL(rig, process_gone(s.shim_pid));
    assert_int_equal(rig->engine->ops->forget(rig->engine, "b.1", NULL), 0);
    rig_close(rig);
    rig_wait_for_shims();
    umount(disk.path);
    rig_open(rig);
}

static void a_run_that_cannot_have_a_folder_is_refused(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    const char *argv[4];
    if (geteuid() == 0) /* root writes everywhere: take the folder away instead */
        assert_int_equal(rmdir(rig->run_dir), 0);
    else
        assert_int_equal(chmod(rig->run_dir, 0500), 0);
    struct run_spec spec = rig_spec(rig, "a.1", "true", argv);
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_int_equal(err.class, ERROR_IO);
    assert_non_null(strstr(err.text, "make run folder"));
    rig_close(rig);
    mkdir(rig->run_dir, 0700);
    chmod(rig->run_dir, 0700);
    rig_open(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(over_its_memory_is_told_apart),
        RIG_TEST(processes_are_bounded),
        RIG_TEST(use_is_measured),
        RIG_TEST(no_cgroup_is_left_behind),
        RIG_TEST(runs_as_the_user),
        RIG_TEST(a_shim_stays_small),
        RIG_TEST(whose_port_it_is),
        RIG_TEST(whose_port_of_which_family_it_is),
        RIG_TEST(a_full_disk_does_not_stop_the_app),
        RIG_TEST(a_full_disk_still_gets_the_exit_record),
        RIG_TEST(a_record_without_room_is_held),
        RIG_TEST(a_run_that_cannot_have_a_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
