#include "os/proc.h"
#include "os/proc_sockets.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "os/spawn.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void stat_lines(void **state)
{
    (void)state;
    struct proc_stat s;
    /* A name that tries to look like the rest of the line. */
    assert_int_equal(
        proc_parse_stat("77 (x) Z 1 1 1 (\n) S 5 6 7 0 -1 4194560 1 2 3 4 100 50 20 10 "
                        "20 0 1 0 99 1000 3 18446744073709551615 1 1",
                        &s),
        0);
    assert_int_equal(s.pid, 77);
    assert_int_equal(s.state, 'S');
    assert_int_equal(s.ppid, 5);
    assert_int_equal(s.pgrp, 6);
    assert_int_equal(s.session, 7);
    assert_int_equal(s.start_ticks, 99);
    assert_int_equal(s.cpu_us, 180ULL * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK));
    assert_int_equal(s.rss_bytes, 3 * sysconf(_SC_PAGESIZE));
    assert_int_equal(proc_parse_stat("", &s), -1);
    assert_int_equal(proc_parse_stat("77 (x", &s), -1);
    assert_int_equal(proc_parse_stat("77 (x) S 5 6", &s), -1);
}

static void we_are_in_the_list(void **state)
{
    (void)state;
    struct proc_list all = {0};
    bool found = false;
    assert_int_equal(proc_list_all(&all, NULL), 0);
    for (size_t i = 0; i < all.len; i++)
        found = found || (all.items[i].pid == getpid() && all.items[i].ppid == getppid());
    assert_true(found);
    vec_release(&all);
}

static void descendants_of_a_made_up_tree(void **state)
{
    (void)state;
    struct proc_stat procs[] = {
        {.pid = 9, .ppid = 1},  {.pid = 5, .ppid = 12}, /* its parent has the higher pid */
        {.pid = 12, .ppid = 9}, {.pid = 13, .ppid = 1},
        {.pid = 14, .ppid = 5}, {.pid = 1, .ppid = 0},
    };
    struct proc_list all = {procs, COUNT_OF(procs), COUNT_OF(procs)};
    struct pid_list out = {0};
    proc_descendants(&all, 9, &out);
    assert_int_equal(out.len, 3);
    assert_int_equal(out.items[0], 12);
    assert_int_equal(out.items[1], 5);
    assert_int_equal(out.items[2], 14);
    proc_descendants(&all, 14, &out);
    assert_int_equal(out.len, 3);
    vec_release(&out);
}

static void environments(void **state)
{
    (void)state;
    const char *const argv[] = {"/bin/sleep", "1000", NULL};
    const char *const env[] = {"XMARK=no", "MARK=one two\nthree", "MARKER=x", NULL};
    const struct spawn s = {.argv = argv, .envp = env};
    char value[32];
    pid_t pid = spawn(&s, NULL);
    assert_int_equal(proc_environ_get(pid, "MARK", value, sizeof value), 0);
    assert_string_equal(value, "one two\nthree");
    assert_int_equal(proc_environ_get(pid, "NONE", value, sizeof value), -1);
    assert_int_equal(proc_environ_get(pid, "MARK", value, 5), -1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(proc_environ_get(pid, "MARK", value, sizeof value), -1);
}

static const struct listening *find(const struct listening_list *list, uint16_t port,
                                    uint64_t inode)
{
    for (size_t i = 0; i < list->len; i++)
        if (list->items[i].port == port && list->items[i].inode == inode)
            return &list->items[i];
    return NULL;
}

/* Both ways of asking must know the same sockets. */
static void check_socket(int family, const void *address, socklen_t len, bool v6_only, bool reaches)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    socklen_t bound_len = sizeof bound;
    if (fd < 0)
        return; /* no IPv6 on this machine */
    if (v6_only)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address, len) < 0) {
        close(fd);
        return;
    }
    assert_int_equal(getsockname(fd, &bound.any, &bound_len), 0);
    uint16_t port = ntohs(family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    struct listening_list a = {0}, b = {0};
    assert_int_equal(listening_sockets(&a, NULL), 0);
    assert_null(find(&a, port, st.st_ino)); /* bound, but not listening */
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(listening_sockets(&a, NULL), 0);
    assert_int_equal(listening_sockets_from_files(&b, NULL), 0);
    const struct listening *by_monitor = find(&a, port, st.st_ino),
                           *by_file = find(&b, port, st.st_ino);
    assert_non_null(by_monitor);
    assert_non_null(by_file);
    assert_int_equal(by_monitor->reaches_loopback, reaches);
    if (!v6_only) /* the files do not say so */
        assert_int_equal(by_file->reaches_loopback, reaches);
    assert_true(proc_holds_socket(getpid(), st.st_ino));
    assert_int_equal(socket_holder(st.st_ino), getpid());
    vec_release(&a);
    vec_release(&b);
    close(fd);
    assert_false(proc_holds_socket(getpid(), st.st_ino));
    assert_int_equal(socket_holder(st.st_ino), 0);
}

static void listening_sockets_are_found(void **state)
{
    (void)state;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check_socket(AF_INET, &v4, sizeof v4, false, true);
    v4.sin_addr.s_addr = htonl(INADDR_ANY);
    check_socket(AF_INET, &v4, sizeof v4, false, true);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    check_socket(AF_INET, &v4, sizeof v4, false, false);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    check_socket(AF_INET6, &v6, sizeof v6, false, true);
    check_socket(AF_INET6, &v6, sizeof v6, true, false);
    v6.sin6_addr = in6addr_loopback;
    check_socket(AF_INET6, &v6, sizeof v6, false, false);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6.sin6_addr);
    check_socket(AF_INET6, &v6, sizeof v6, false, true);
}

static void odd_lines_are_skipped(void **state)
{
    (void)state;
    struct listening_list list = {0};
    listening_parse("  sl  local_address rem_address   st tx_queue\n"
                    "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  "
                    "   0        0 4242 1 0\n"
                    "   1: 00000000:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000  "
                    "   0        0 4243 1 0\n"
                    "   2: 00000000:1F92 00000000:0000 0A\n"
                    "rubbish\n\n",
                    false, &list);
    assert_int_equal(list.len, 1);
    assert_int_equal(list.items[0].port, 8080);
    assert_int_equal(list.items[0].inode, 4242);
    assert_true(list.items[0].reaches_loopback);
    vec_release(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_lines),
        cmocka_unit_test(we_are_in_the_list),
        cmocka_unit_test(descendants_of_a_made_up_tree),
        cmocka_unit_test(environments),
        cmocka_unit_test(listening_sockets_are_found),
        cmocka_unit_test(odd_lines_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
