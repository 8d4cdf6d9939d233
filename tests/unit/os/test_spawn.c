#include "os/spawn.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "os/pidfd.h"
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const no_env[] = {NULL};

/* Runs the shell script with its stdout in a pipe; gives the wait status. */
static int run_shell(struct spawn s, const char *script, char *out, size_t size)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    int ends[2];
    struct error err = ERROR_INIT;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const struct spawn_fd fds[] = {{ends[1], 1}};
    s.argv = argv;
    s.envp = s.envp != NULL ? s.envp : no_env;
    s.fds = fds;
    s.fd_count = 1;
    pid_t pid = spawn(&s, &err);
    if (pid < 0)
        fail_msg("%s", err.text);
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], out + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    out[len] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void only_named_descriptors_get_through(void **state)
{
    (void)state;
    char out[2048];
    int inherited = open("/dev/zero", O_RDONLY); /* not close-on-exec, and not named */
    assert_true(inherited >= 0);
    run_shell((struct spawn){0}, "for i in 0 2 3 4 5 6 7 8 9; do readlink /proc/$$/fd/$i; done",
              out, sizeof out);
    assert_string_equal(out, "/dev/null\n/dev/null\n");
    close(inherited);
}

/* Each target is another one's source: they must not run over each other. */
static void descriptors_may_change_places(void **state)
{
    (void)state;
    int ends[2], zero = open("/dev/zero", O_RDWR | O_CLOEXEC), full = open("/dev/full", O_RDWR);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const struct spawn_fd fds[] = {{ends[1], 1}, {zero, full}, {full, zero}};
    char script[128], out[64] = "";
    snprintf(script, sizeof script, "readlink /proc/$$/fd/%d /proc/$$/fd/%d", zero, full);
    const char *const argv[] = {"sh", "-c", script, NULL}, *const env[] = {"PATH=/nope:/bin", NULL};
    const struct spawn s = {.argv = argv, .envp = env, .fds = fds, .fd_count = 3};
    assert_true(zero < SPAWN_FD_MAX && full < SPAWN_FD_MAX);
    pid_t pid = spawn(&s, NULL);
    assert_true(pid > 0);
    waitpid(pid, NULL, 0);
    assert_true(read(ends[0], out, sizeof out - 1) > 0);
    assert_string_equal(out, "/dev/full\n/dev/zero\n");
    close(ends[0]);
    close(ends[1]);
    close(zero);
    close(full);
}

static void session_group_limits_folder(void **state)
{
    (void)state;
    char out[256];
    const struct spawn_limit limit = {RLIMIT_NOFILE, 123, 456};
    struct spawn s = {.dir = "/usr", .limits = &limit, .limit_count = 1, .new_session = true};
    run_shell(s,
              "ulimit -n; ulimit -Hn; pwd; set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] "
              "&& echo leader",
              out, sizeof out);
    assert_string_equal(out, "123\n456\n/usr\nleader\n");
}

static void on_signal(int n)
{
    (void)n;
}

static void signals_are_reset(void **state)
{
    (void)state;
    char out[512];
    sigset_t set, before;
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    run_shell((struct spawn){.no_new_privs = true},
              "while read k v; do case $k in SigBlk:|SigIgn:|NoNewPrivs:) echo $k $v;; esac; done "
              "< /proc/$$/status",
              out, sizeof out);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_non_null(strstr(out, "NoNewPrivs: 1"));
    assert_non_null(strstr(out, "SigBlk: 0000000000000000"));
    assert_non_null(strstr(out, "SigIgn: 0000000000000000"));
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

static void failures_name_the_step(void **state)
{
    (void)state;
    static const struct {
        const char *program, *dir, *text;
    } cases[] = {
        {"./nope", "/usr", "exec ./nope: no such file or directory"},
        {"/etc/passwd", NULL, "exec /etc/passwd: permission denied"},
        {"no-such-program", NULL, "exec no-such-program: no such program in PATH"},
        {"/bin/sh", "/no/folder", "enter folder /no/folder: no such file or directory"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct error err = ERROR_INIT;
        const char *const argv[] = {cases[i].program, NULL};
        const struct spawn s = {.argv = argv, .envp = no_env, .dir = cases[i].dir};
        assert_int_equal(spawn(&s, &err), -1);
        assert_string_equal(err.text, cases[i].text);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none of them is left as a zombie */
    assert_int_equal(errno, ECHILD);
}

static void a_user_needs_root(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char out[128];
    const gid_t groups[] = {65534};
    const struct spawn_user user = {65534, 65534, groups, 1};
    struct spawn s = {.user = &user};
    if (geteuid() == 0) {
        run_shell(s, "id -u; id -g; id -G", out, sizeof out);
        assert_string_equal(out, "65534\n65534\n65534\n");
        return;
    }
    const char *const argv[] = {"/bin/true", NULL};
    s.argv = argv;
    s.envp = no_env;
    assert_int_equal(spawn(&s, &err), -1);
    assert_non_null(strstr(err.text, "become user 65534"));
}

static void a_program_by_descriptor(void **state)
{
    (void)state;
    int fd = open("/bin/true", O_RDONLY | O_CLOEXEC), status;
    const char *const argv[] = {"any title", NULL};
    const struct spawn s = {.argv = argv, .envp = no_env, .program_fd = fd};
    pid_t pid = spawn(&s, NULL);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
}

static void pidfds_hold_and_reap(void **state)
{
    (void)state;
    int status = -1;
    struct proc_stat st;
    const char *const argv[] = {"/bin/sleep", "1000", NULL};
    const struct spawn s = {.argv = argv, .envp = no_env};
    pid_t pid = spawn(&s, NULL);
    assert_int_equal(proc_read_stat(pid, &st), 0);
    assert_int_equal(st.ppid, getpid());
    assert_int_equal(pidfd_open_checked(pid, st.start_ticks + 1), -1);
    assert_int_equal(errno, ESRCH);
    int fd = pidfd_open_checked(pid, st.start_ticks);
    assert_true(fd >= 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_false(pidfd_ended(fd));
    assert_int_equal(pidfd_reap(fd, &status), 0);
    assert_int_equal(pidfd_signal(fd, SIGKILL), 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(pidfd_ended(fd));
    assert_int_equal(pidfd_reap(fd, &status), 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(pidfd_reap(fd, &status), -1);
    assert_int_equal(pidfd_signal(fd, SIGTERM), -1);
    assert_int_equal(errno, ESRCH);
    close(fd);
    assert_int_equal(pidfd_open_pid(pid), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_named_descriptors_get_through),
        cmocka_unit_test(descriptors_may_change_places),
        cmocka_unit_test(session_group_limits_folder),
        cmocka_unit_test(signals_are_reset),
        cmocka_unit_test(failures_name_the_step),
        cmocka_unit_test(a_user_needs_root),
        cmocka_unit_test(a_program_by_descriptor),
        cmocka_unit_test(pidfds_hold_and_reap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
