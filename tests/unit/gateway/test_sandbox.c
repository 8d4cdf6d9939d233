/* Each try in a process of its own: there is no way back out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* The wait status of a child that did this in the sandbox; 0 where it gave true. */
static int in_sandbox(bool (*what)(void))
{
    if (SANITIZED)
        skip();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error err = ERROR_INIT;
        if (sandbox_enter(&err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            _exit(100);
        }
        _exit(what() ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void *thread_main(void *arg)
{
    return arg;
}

static bool does_its_work(void)
{
    pthread_t thread;
    void *result = NULL;
    char *memory = malloc(64 << 20);
    int fds[2];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = memory != NULL && fd >= 0 && epoll_create1(EPOLL_CLOEXEC) >= 0 &&
              pipe2(fds, 0) == 0 && write(fds[1], "x", 1) == 1 && read(fds[0], memory, 1) == 1;
    ok = ok && pthread_create(&thread, NULL, thread_main, memory) == 0 &&
         pthread_join(thread, &result) == 0 && result == memory;
    free(memory);
    return ok;
}

static bool opens_nothing(void)
{
    return open("/etc/passwd", O_RDONLY) < 0 && open("/tmp/x", O_WRONLY | O_CREAT, 0600) < 0 &&
           unlink("/tmp/x") < 0 && errno == EPERM;
}

static bool reaches_nobody(void)
{
    return kill(getppid(), 0) < 0 && socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EPERM;
}

static bool listens_nowhere(void)
{
    struct sockaddr_storage any = {.ss_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) < 0 && listen(fd, 1) < 0;
}

static bool forks(void)
{
    return fork() >= 0;
}

static bool runs_a_program(void)
{
    return execl("/bin/true", "true", NULL) == 0;
}

static void test_it_can_do_what_it_is_for(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(does_its_work), 0);
}

static void test_files_processes_and_ports_are_not_there(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(opens_nothing), 0);
    assert_int_equal(in_sandbox(reaches_nobody), 0);
    assert_int_equal(in_sandbox(listens_nowhere), 0);
}

static void test_another_program_is_its_end(void **state)
{
    (void)state;
    int forked = in_sandbox(forks), ran = in_sandbox(runs_a_program);
    assert_true(WIFEXITED(forked) && WEXITSTATUS(forked) == 1);
    assert_true(WIFSIGNALED(ran) && WTERMSIG(ran) == SIGSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_can_do_what_it_is_for),
        cmocka_unit_test(test_files_processes_and_ports_are_not_there),
        cmocka_unit_test(test_another_program_is_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
