/* Listeners: what an address is, who gets the connections, who holds a port. */
#include "os/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses(void **state)
{
    (void)state;
    static const char *const GOOD[][2] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},   {"0.0.0.0:1", "0.0.0.0:1"},
        {"localhost:65535", "127.0.0.1:65535"}, {"[::1]:0", "[::1]:0"},
        {"[0:0::1]:443", "[::1]:443"},          {"[::]:80", "[::]:80"},
    };
    static const char *const BAD[] = {
        "",
        ":",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:80x",
        "127.0.0.1: 80",
        "127.0.0.256:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[]:80",
        "example.org:80",
        "[127.0.0.1]:80",
        "127.0.0.1:8080 ",
        "127.1:80",
        "%s:80",
        "1111111111111111111111111111111111111111111111111111111111111111111111111:80",
    };
    struct sockaddr_storage a;
    socklen_t len;
    char out[BOOT_ADDRESS_MAX];
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(listen_parse(GOOD[i][0], &a, &len, &err), 0);
        listen_format(&a, out);
        assert_string_equal(out, GOOD[i][1]);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct error err = ERROR_INIT;
        if (listen_parse(BAD[i], &a, &len, &err) != -1)
            fail_msg("taken: %s", BAD[i]);
        assert_int_equal(err.class, ERROR_USAGE);
        assert_non_null(strstr(err.text, "for example"));
    }
}

static void what_stands_before_an_address(void **state)
{
    (void)state;
    assert_true(listen_is_tcp("tcp:127.0.0.1:1") && !listen_is_tls("tcp:127.0.0.1:1"));
    assert_true(listen_is_tls("tls:127.0.0.1:1") && !listen_is_tcp("tls:127.0.0.1:1"));
    assert_string_equal(listen_bare("tcp:[::1]:1"), "[::1]:1");
    assert_string_equal(listen_bare("tls:[::1]:1"), "[::1]:1");
    assert_true(listen_is_mtls("mtls:127.0.0.1:1") && !listen_is_tls("mtls:127.0.0.1:1"));
    assert_false(listen_is_mtls("tls:127.0.0.1:1") || listen_is_mtls("127.0.0.1:1"));
    assert_string_equal(listen_bare("mtls:[::1]:1"), "[::1]:1");
    assert_string_equal(listen_bare("[::1]:1"), "[::1]:1");
    static const char *const KINDS[] = {"tcp:127.0.0.1:0", "tls:127.0.0.1:0", "mtls:[::1]:0"};
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        struct boot_listener l, twice;
        struct error err = ERROR_INIT;
        size_t kind = strcspn(KINDS[i], ":") + 1;
        assert_int_equal(listen_open(&l, KINDS[i], 1, &err), 0);
        assert_memory_equal(l.address, KINDS[i], kind);
        assert_int_equal(listen_check(&l, &err), 0);
        assert_int_equal(listen_open(&twice, l.address, 1, &err), -1);
        assert_int_equal(err.class, ERROR_CONFLICT);
        if (strstr(err.text, "listen on ") == NULL || strstr(err.text, ":127") ||
            strstr(err.text, ":["))
            fail_msg("not for people: %s", err.text);
        listen_close(&l);
    }
}

static void where_apps_may_listen(void **state)
{
    (void)state;
    static const struct {
        const char *list, *address;
        int answer;
    } cases[] = {
        {LISTEN_ALLOWED_DEFAULT, "127.0.0.1:1024", 1},
        {LISTEN_ALLOWED_DEFAULT, "127.0.0.1:1023", 0},
        {LISTEN_ALLOWED_DEFAULT, "tcp:[::1]:65535", 1},
        {LISTEN_ALLOWED_DEFAULT, "127.0.0.2:5432", 0},
        {LISTEN_ALLOWED_DEFAULT, "0.0.0.0:5432", 0},
        {LISTEN_ALLOWED_DEFAULT, "[::]:5432", 0},
        {"0.0.0.0:5432", "0.0.0.0:5432", 1},
        {"0.0.0.0:5432", "10.1.1.1:5432", 1},
        {"0.0.0.0:5432", "10.1.1.1:5433", 0},
        {"0.0.0.0:5432", "[::1]:5432", 0},
        {"[::]:1-65535", "[2001:db8::1]:443", 1},
        {"127.0.0.1:80,127.0.0.1:90-91", "127.0.0.1:91", 1},
        {"127.0.0.1:80,127.0.0.1:90-91", "127.0.0.1:92", 0},
        {"none", "127.0.0.1:5432", 0},
        {"", "127.0.0.1:5432", -1},
        {"127.0.0.1", "127.0.0.1:5432", -1},
        {"127.0.0.1:0", "127.0.0.1:5432", -1},
        {"127.0.0.1:90-80", "127.0.0.1:85", -1},
        {"127.0.0.1:80-65536", "127.0.0.1:85", -1},
        {"127.0.0.1:80-", "127.0.0.1:85", -1},
        {"127.0.0.1:80, 127.0.0.1:81", "127.0.0.1:80", -1},
        {"127.0.0.1:80,", "127.0.0.1:80", -1},
        {"all", "127.0.0.1:80", -1},
        {"tcp:127.0.0.1:80", "127.0.0.1:80", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;
        int answer = listen_allowed(cases[i].list, cases[i].address, &err);
        if (answer != cases[i].answer)
            fail_msg("%s in \"%s\": %d", cases[i].address, cases[i].list, answer);
        assert_int_equal(err.class, answer < 0 ? ERROR_USAGE : ERROR_NONE);
        assert_int_equal(listen_allowed(cases[i].list, NULL, &err), answer < 0 ? -1 : 0);
    }
}

static int connect_to(const char *text)
{
    struct sockaddr_storage a;
    socklen_t len;
    assert_int_equal(listen_parse(text, &a, &len, NULL), 0);
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* How many connections wait on socket i; they are taken and closed. */
static int take_from(const struct boot_listener *l, size_t i)
{
    int n = 0, fd;
    while ((fd = accept(l->fds[i], NULL, NULL)) >= 0) {
        close(fd);
        n++;
    }
    assert_int_equal(errno, EAGAIN);
    return n;
}

static void only_the_first_m_get_connections(void **state)
{
    (void)state;
    struct boot_listener l;
    struct error err = ERROR_INIT;
    assert_int_equal(listen_open(&l, "127.0.0.1:0", 3, &err), 0);
    assert_null(strstr(l.address, ":0\0"));
    for (int round = 0; round < 2; round++) {
        size_t m = round == 0 ? 3 : 1;
        assert_int_equal(listen_steer(&l, (uint32_t)m, &err), 0);
        for (int i = 0; i < 90; i++) {
            int fd = connect_to(l.address);
            assert_true(fd >= 0);
            close(fd);
        }
        int sum = 0;
        for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
            int n = take_from(&l, i);
            if (i < m)
                assert_true(n > 0);
            else
                assert_int_equal(n, 0);
            sum += n;
        }
        assert_int_equal(sum, 90);
    }
    listen_close(&l);
}

static void ipv6_too(void **state)
{
    (void)state;
    struct boot_listener l;
    struct error err = ERROR_INIT;
    if (listen_open(&l, "[::1]:0", 1, &err) < 0) {
        assert_int_equal(err.class, ERROR_USAGE); /* a machine without IPv6 */
        return;
    }
    assert_memory_equal(l.address, "[::1]:", 6);
    int fd = connect_to(l.address);
    assert_true(fd >= 0);
    assert_int_equal(take_from(&l, 0), 1);
    assert_int_equal(listen_check(&l, &err), 0);
    close(fd);
    listen_close(&l);
}

/* Regression: a second server of the same user would have joined the first one's group, and taken a
 * part of its connections, without any error. */
static void a_port_that_is_held_is_a_conflict(void **state)
{
    (void)state;
    struct boot_listener l, second;
    struct error err = ERROR_INIT;
    struct sockaddr_storage a;
    socklen_t len;
    char name[64];
    assert_int_equal(listen_open(&l, "127.0.0.1:0", 1, &err), 0);
    assert_int_equal(listen_open(&second, l.address, 1, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    assert_int_equal(second.fds[0], -1);
    assert_int_equal(listen_parse(l.address, &a, &len, NULL), 0);
    assert_int_equal(listen_holder(&a, name, sizeof name), getpid());
    assert_non_null(strstr(name, "test_listen"));
    listen_close(&l);
    assert_int_equal(listen_holder(&a, name, sizeof name), 0);
    /* Free again at once, also with connections in TIME_WAIT. */
    assert_int_equal(listen_open(&second, l.address, 1, &err), 0);
    listen_close(&second);
    assert_int_equal(listen_open(&l, "192.0.2.7:80", 1, &err), -1);
    assert_non_null(strstr(err.text, "no such address"));
}

/* Regression: shut down sockets that listen again are no group any more, so connections would go to
 * sockets that nobody polls. */
static void what_was_shut_down_is_not_taken_over(void **state)
{
    (void)state;
    struct boot_listener l, fresh;
    struct error err = ERROR_INIT;
    assert_int_equal(listen_open(&l, "127.0.0.1:0", 2, &err), 0);
    assert_int_equal(listen_check(&l, &err), 0);
    listen_shutdown(&l);
    assert_int_equal(connect_to(l.address), -1);
    assert_int_equal(listen_check(&l, &err), -1);
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    /* The old ones are still open in a process that drains. */
    assert_int_equal(listen_open(&fresh, l.address, 2, &err), 0);
    for (int i = 0; i < 20; i++) {
        int fd = connect_to(l.address);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_int_equal(take_from(&fresh, 0) + take_from(&fresh, 1), 20);
    listen_close(&fresh);
    listen_close(&l);
}

static void sockets_that_are_not_what_they_say(void **state)
{
    (void)state;
    struct boot_listener l;
    struct error err = ERROR_INIT;
    assert_int_equal(listen_open(&l, "127.0.0.1:0", 1, &err), 0);
    char real[BOOT_ADDRESS_MAX];
    strcpy(real, l.address);
    strcpy(l.address, "127.0.0.1:1");
    assert_int_equal(listen_check(&l, &err), -1);
    assert_non_null(strstr(err.text, real));
    strcpy(l.address, real);
    int kept = l.fds[3];
    l.fds[3] = STDERR_FILENO;
    assert_int_equal(listen_check(&l, &err), -1);
    l.fds[3] = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(listen_check(&l, &err), -1);
    assert_non_null(strstr(err.text, "not a TCP socket"));
    close(l.fds[3]);
    l.fds[3] = kept;
    listen_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(what_stands_before_an_address),
        cmocka_unit_test(where_apps_may_listen),
        cmocka_unit_test(only_the_first_m_get_connections),
        cmocka_unit_test(ipv6_too),
        cmocka_unit_test(a_port_that_is_held_is_a_conflict),
        cmocka_unit_test(what_was_shut_down_is_not_taken_over),
        cmocka_unit_test(sockets_that_are_not_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
