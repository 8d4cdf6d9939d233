/* The lock that a process holds for its life. */
#include "os/lockfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64];
static int dir = -1;

static int make_folder(void **state)
{
    (void)state;
    strcpy(top, "/tmp/sluice-unit-XXXXXX");
    dir = mkdtemp(top) == NULL ? -1 : open(top, O_PATH | O_DIRECTORY);
    return dir < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlinkat(dir, "x.lock", 0);
    close(dir);
    return rmdir(top);
}

static void one_holder_and_its_pid(void **state)
{
    (void)state;
    pid_t holder;
    struct error err = ERROR_INIT;
    int fd = lockfile_take(dir, "x.lock", &holder, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    /* flock belongs to the open file, so a second open by the same process is refused too. */
    assert_int_equal(lockfile_take(dir, "x.lock", &holder, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    assert_int_equal(holder, getpid());
    close(fd);
    fd = lockfile_take(dir, "x.lock", &holder, &err);
    assert_true(fd >= 0);
    close(fd);
}

static void it_goes_with_a_killed_process(void **state)
{
    (void)state;
    int ready[2];
    char c;
    pid_t holder;
    struct error err = ERROR_INIT;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = lockfile_take(dir, "x.lock", &holder, NULL);
        if (write(ready[1], fd >= 0 ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    assert_int_equal(lockfile_take(dir, "x.lock", &holder, &err), -1);
    assert_int_equal(holder, pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    int fd = lockfile_take(dir, "x.lock", &holder, &err);
    assert_true(fd >= 0);
    close(fd);
    close(ready[0]);
    close(ready[1]);
}

static void it_is_held_through_an_inherited_descriptor(void **state)
{
    (void)state;
    pid_t holder;
    int fd = lockfile_take(dir, "x.lock", &holder, NULL);
    int copy = dup(fd);
    close(fd);
    assert_int_equal(lockfile_take(dir, "x.lock", &holder, NULL), -1);
    close(copy);
}

static void nonsense_in_the_file_is_an_unknown_pid(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"", "beer\n", "-5\n", "99999999999999999999999999\n",
                                        "12 34\n"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        pid_t holder = -1;
        int fd = lockfile_take(dir, "x.lock", &holder, NULL);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, TEXTS[i], strlen(TEXTS[i]), 0), strlen(TEXTS[i]));
        assert_int_equal(lockfile_take(dir, "x.lock", &holder, NULL), -1);
        assert_int_equal(holder, 0);
        close(fd);
    }
}

static void a_symbolic_link_is_not_followed(void **state)
{
    (void)state;
    pid_t holder;
    struct error err = ERROR_INIT;
    unlinkat(dir, "x.lock", 0);
    assert_int_equal(symlinkat("/tmp/sluice-unit-elsewhere", dir, "x.lock"), 0);
    assert_int_equal(lockfile_take(dir, "x.lock", &holder, &err), -1);
    assert_int_equal(err.class, ERROR_IO);
    assert_int_equal(access("/tmp/sluice-unit-elsewhere", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holder_and_its_pid),
        cmocka_unit_test(it_goes_with_a_killed_process),
        cmocka_unit_test(it_is_held_through_an_inherited_descriptor),
        cmocka_unit_test(nonsense_in_the_file_is_an_unknown_pid),
        cmocka_unit_test(a_symbolic_link_is_not_followed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
