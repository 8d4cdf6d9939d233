/* Titles: which role argv[0] asks for, and whether a process is who it is said to be. */
#include "os/title.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void roles_by_title(void **state)
{
    (void)state;
    cleanup_free char *title = title_make("gateway", "/var/lib/sluice");
    assert_string_equal(title, "sluice: gateway /var/lib/sluice");
    assert_string_equal(title_match(title, "gateway"), "/var/lib/sluice");
    assert_null(title_match(title, "gate"));
    assert_null(title_match(title, "controller"));
    assert_null(title_match("sluice: gateway", "gateway"));
    assert_null(title_match("sluice", "gateway"));
    assert_null(title_match("", "gateway"));
    assert_null(title_match(NULL, "gateway"));
    assert_null(title_match("/usr/bin/sluice: gateway /x", "gateway"));
}

static void a_process_is_who_it_says(void **state)
{
    (void)state;
    int started[2];
    assert_int_equal(pipe2(started, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        /* Its end of the pipe is closed by the exec: then it has its title. */
        execl("/bin/sleep", "sluice: gateway /d", "60", (char *)NULL);
        _exit(1);
    }
    close(started[1]);
    char c;
    assert_int_equal(read(started[0], &c, 1), 0);
    close(started[0]);
    assert_false(title_is(pid, "gateway", "/d"));    /* it has one argument more */
    assert_false(title_is(pid, "gateway", "/d 60")); /* which is no part of the title */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(title_is(getpid(), "gateway", "/d"));
    assert_false(title_is(0, "gateway", "/d"));
    assert_false(title_is(-1, "gateway", "/d"));
}

static void a_title_alone_is_enough(void **state)
{
    (void)state;
    int started[2], hold[2];
    assert_int_equal(pipe2(started, O_CLOEXEC), 0);
    assert_int_equal(pipe(hold), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(hold[0], 0); /* cat waits for its end */
        close(hold[1]);
        execl("/bin/cat", "sluice: gateway /d", (char *)NULL);
        _exit(1);
    }
    close(started[1]);
    char c;
    assert_int_equal(read(started[0], &c, 1), 0);
    assert_true(title_is(pid, "gateway", "/d"));
    assert_false(title_is(pid, "gateway", "/"));
    assert_false(title_is(pid, "gateway", "/d/e"));
    assert_false(title_is(pid, "controller", "/d"));
    close(hold[1]);
    waitpid(pid, NULL, 0);
    close(hold[0]);
    close(started[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_by_title),
        cmocka_unit_test(a_process_is_who_it_says),
        cmocka_unit_test(a_title_alone_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
