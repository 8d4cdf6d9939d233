/* The link to the guardian, and what a new guardian asks: a scripted guardian on the other ends. */
#include "control/guardian_link.h"

#include "base/log.h"
#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What the callbacks said, one line each. */
static void note(void *arg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(void *arg, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t len = strlen(arg);
    vsnprintf((char *)arg + len, 1000 - len, fmt, ap);
    va_end(ap);
}
static void on_up(void *arg, uint64_t generation, pid_t pid, bool previous)
{
    note(arg, "up %d %d%s;", (int)generation, (int)pid, previous ? " previous" : "");
}
static void on_ready(void *arg, uint64_t generation, pid_t pid)
{
    note(arg, "ready %d %d;", (int)generation, (int)pid);
}
static void on_down(void *arg, uint64_t generation, pid_t pid, const char *how)
{
    (void)pid;
    note(arg, "down %d%s%s;", (int)generation, how[0] != '\0' ? " " : "", how);
}
static void on_leave(void *arg, bool stop_apps, bool hurry)
{
    note(arg, "leave%s%s;", stop_apps ? " apps" : "", hurry ? " hurry" : "");
}
static void on_opened(void *arg, const char *address)
{
    note(arg, "opened %s;", address);
}
static void on_listener_refused(void *arg, const struct error *why)
{
    note(arg, "no listener, class %d: %s;", (int)why->class, why->text);
}
static void on_refused(void *arg, const char *why)
{
    note(arg, "refused %s;", why);
}
static void on_gone(void *arg)
{
    note(arg, "gone;");
}
static const struct guardian_link_events EVENTS = {
    on_up, on_ready, on_down, on_leave, on_opened, on_listener_refused, on_refused, on_gone};

struct scene {
    char top[40], seen[1000];
    int dir, channel, new_guardian;
    struct guardian_link *l;
};

static int null_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void begin(struct scene *s)
{
    *s = (struct scene){.top = "/tmp/sluice-unit-XXXXXX", .new_guardian = -1};
    int pair[2];
    struct boot b;
    boot_init(&b);
    assert_non_null(mkdtemp(s->top));
    s->dir = open(s->top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(unixsock_pair(pair, NULL), 0);
    s->channel = pair[0];
    b.guardian_fd = pair[1];
    b.control_fd = unixsock_listen(s->dir, "controller.sock", SOCK_SEQPACKET, 0600, NULL);
    b.owner_uid = geteuid();
    b.listeners_len = 2;
    for (size_t i = 0; i < 2; i++) {
        snprintf(b.listeners[i].address, BOOT_ADDRESS_MAX, "127.0.0.1:%zu", 80 + i);
        for (size_t k = 0; k < BOOT_LISTENER_SOCKETS; k++)
            b.listeners[i].fds[k] = null_fd();
    }
    s->l = guardian_link_open(&b, &EVENTS, s->seen, NULL);
    assert_non_null(s->l);
    boot_release(&b);
}

static void end(struct scene *s)
{
    guardian_link_free(s->l);
    unixsock_close_all(&s->channel, 1);
    unixsock_close_all(&s->new_guardian, 1);
    unlinkat(s->dir, "controller.sock", 0);
    close(s->dir);
    rmdir(s->top);
}

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void say(int fd, uint32_t type, uint64_t a, uint64_t b, const char *text, const int *fds,
                size_t fds_len)
{
    struct gatewayctl_message m = gatewayctl_make(type, a, b, text);
    assert_int_equal(unixsock_send(fd, &m, sizeof m, fds, fds_len, NULL), UNIXSOCK_OK);
}

static struct gatewayctl_message hear(int fd, size_t fds_expected)
{
    struct gatewayctl_message m;
    int fds[LISTENER_SOCKETS];
    size_t n;
    assert_int_equal(unixsock_recv(fd, &m, sizeof m, fds, LISTENER_SOCKETS, &n, NULL), UNIXSOCK_OK);
    assert_true(gatewayctl_valid(&m));
    assert_int_equal(n, fds_expected);
    unixsock_close_all(fds, n);
    return m;
}

static void what_the_guardian_says(void **state)
{
    (void)state;
    int before = open_fds();
    struct scene s;
    begin(&s);
    assert_int_equal(guardian_link_guardian_pid(s.l), getpid());
    say(s.channel, GUARDIANCTL_GATEWAY_UP, 4, 100, "", NULL, 0);
    say(s.channel, GUARDIANCTL_GATEWAY_READY, 4, 100, "", NULL, 0);
    say(s.channel, GUARDIANCTL_GATEWAY_UP, 5, 101, "previous", NULL, 0);
    say(s.channel, GUARDIANCTL_GATEWAY_DOWN, 4, 100, "", NULL, 0);
    say(s.channel, GUARDIANCTL_GATEWAY_DOWN, 5, 101, "died while serving: signal 9", NULL, 0);
    say(s.channel, GUARDIANCTL_LEAVE, 0, 0, "", NULL, 0);
    say(s.channel, GUARDIANCTL_LEAVE, 1, 1, "", NULL, 0);
    guardian_link_poll(s.l);
    assert_string_equal(s.seen, "up 4 100;ready 4 100;up 5 101 previous;down 4;"
                                "down 5 died while serving: signal 9;leave;leave apps hurry;");
    end(&s);
    assert_int_equal(open_fds(), before);
}

static void what_the_guardian_is_asked(void **state)
{
    (void)state;
    struct scene s;
    struct error err = ERROR_INIT;
    begin(&s);
    guardian_link_ready(s.l);
    assert_int_equal(hear(s.channel, 0).type, GUARDIANCTL_READY);
    assert_int_equal(guardian_link_restart_gateway(s.l, &err), 0);
    assert_int_equal(hear(s.channel, 0).type, GUARDIANCTL_RESTART_GATEWAY);
    int fd = null_fd();
    assert_int_equal(guardian_link_upgrade(s.l, fd, &err), 0);
    assert_int_equal(hear(s.channel, 1).type, GUARDIANCTL_UPGRADE);
    close(fd);
    assert_int_equal(guardian_link_open_listener(s.l, "[::1]:0", &err), 0);
    assert_string_equal(hear(s.channel, 0).text, "[::1]:0");
    int fds[LISTENER_SOCKETS];
    for (size_t i = 0; i < LISTENER_SOCKETS; i++)
        fds[i] = null_fd();
    say(s.channel, GUARDIANCTL_LISTENER, 0, 0, "[::1]:4711", fds, LISTENER_SOCKETS);
    say(s.channel, GUARDIANCTL_REFUSED, 1, ERROR_CONFLICT, "in use", NULL, 0);
    say(s.channel, GUARDIANCTL_REFUSED, 1, 4711, "what", NULL, 0);
    say(s.channel, GUARDIANCTL_REFUSED, 0, 0, "no binary", NULL, 0);
    guardian_link_poll(s.l);
    assert_string_equal(s.seen, "opened [::1]:4711;no listener, class 3: in use;"
                                "no listener, class 7: what;refused no binary;");
    assert_int_equal(guardian_link_listeners(s.l), 3);
    assert_string_equal(guardian_link_listener(s.l, 2), "[::1]:4711");
    assert_int_equal(guardian_link_close_listener(s.l, "[::1]:4711", &err), 0);
    assert_int_equal(hear(s.channel, 0).type, GUARDIANCTL_CLOSE_LISTENER);
    assert_int_equal(guardian_link_listeners(s.l), 2);
    char long_one[100];
    memset(long_one, '1', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    assert_int_equal(guardian_link_open_listener(s.l, long_one, &err), -1);
    assert_int_equal(err.class, ERROR_USAGE);
    unixsock_close_all(fds, LISTENER_SOCKETS);
    end(&s);
}

static void without_a_guardian_it_goes_on(void **state)
{
    (void)state;
    struct scene s;
    struct error err = ERROR_INIT;
    begin(&s);
    unixsock_close_all(&s.channel, 1);
    guardian_link_poll(s.l);
    guardian_link_poll(s.l);
    assert_string_equal(s.seen, "gone;");
    assert_int_equal(guardian_link_guardian_pid(s.l), 0);
    guardian_link_ready(s.l);
    assert_int_equal(guardian_link_restart_gateway(s.l, &err), -1);
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    assert_int_equal(guardian_link_listeners(s.l), 2);
    end(&s);
}

static void a_new_guardian_gets_all_listeners(void **state)
{
    (void)state;
    int before = open_fds();
    struct scene s;
    begin(&s);
    unixsock_close_all(&s.channel, 1);
    s.new_guardian = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
    guardian_link_poll(s.l);
    struct gatewayctl_message m = hear(s.new_guardian, 0);
    assert_int_equal(m.type, GUARDIANCTL_HELLO);
    assert_int_equal(m.b, getpid());
    say(s.new_guardian, GATEWAYCTL_TAKE_OVER, 0, 0, "", NULL, 0);
    guardian_link_poll(s.l);
    m = hear(s.new_guardian, LISTENER_SOCKETS);
    assert_int_equal(m.type, GATEWAYCTL_LISTENER);
    assert_string_equal(m.text, "127.0.0.1:80");
    assert_string_equal(hear(s.new_guardian, LISTENER_SOCKETS).text, "127.0.0.1:81");
    assert_int_equal(hear(s.new_guardian, 0).type, GATEWAYCTL_DONE);
    say(s.new_guardian, GUARDIANCTL_LEAVE, 0, 0, "", NULL, 0);
    guardian_link_poll(s.l);
    assert_string_equal(s.seen, "gone;leave;");
    end(&s);
    assert_int_equal(open_fds(), before);
}

static bool is_closed(int fd)
{
    struct gatewayctl_message m;
    size_t n;
    enum unixsock_result r;
    while ((r = unixsock_recv(fd, &m, sizeof m, NULL, 0, &n, NULL)) == UNIXSOCK_OK)
        continue;
    return r == UNIXSOCK_END;
}

static void peers_that_talk_nonsense_are_dropped(void **state)
{
    (void)state;
    static const uint32_t NONSENSE[] = {0, 99, GUARDIANCTL_READY, GATEWAYCTL_SNAPSHOT, 12345};
    struct scene s;
    begin(&s);
    for (size_t i = 0; i < sizeof NONSENSE / sizeof NONSENSE[0]; i++) {
        int fd = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
        guardian_link_poll(s.l);
        say(fd, NONSENSE[i], 0, 0, "", NULL, 0);
        guardian_link_poll(s.l);
        assert_true(is_closed(fd));
        close(fd);
    }
    /* With a descriptor; of a wrong length; without a magic. */
    int null = null_fd(), before = open_fds();
    int fd = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
    say(fd, GATEWAYCTL_TAKE_OVER, 0, 0, "", &null, 1);
    guardian_link_poll(s.l);
    assert_true(is_closed(fd));
    close(fd);
    fd = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    guardian_link_poll(s.l);
    assert_true(is_closed(fd));
    close(fd);
    assert_int_equal(open_fds(), before);
    assert_string_equal(s.seen, "");
    close(null);
    end(&s);
}

static void too_many_peers_are_turned_away(void **state)
{
    (void)state;
    struct scene s;
    int fds[12];
    begin(&s);
    for (size_t i = 0; i < 12; i++) {
        fds[i] = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
        guardian_link_poll(s.l);
    }
    assert_false(is_closed(fds[0]));
    assert_true(is_closed(fds[11]));
    unixsock_close_all(fds, 12);
    guardian_link_poll(s.l);
    /* Their places are free again. */
    s.new_guardian = unixsock_connect(s.dir, "controller.sock", SOCK_SEQPACKET, NULL);
    guardian_link_poll(s.l);
    assert_int_equal(hear(s.new_guardian, 0).type, GUARDIANCTL_HELLO);
    end(&s);
}

static void a_listener_that_is_none_is_not_kept(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    int null = null_fd(), before = open_fds();
    say(s.channel, GUARDIANCTL_LISTENER, 0, 0, "127.0.0.1:1", &null, 1);
    say(s.channel, GUARDIANCTL_GATEWAY_DOWN, 1, 0, "", &null, 1);
    guardian_link_poll(s.l);
    assert_string_equal(s.seen, "down 1;");
    assert_int_equal(guardian_link_listeners(s.l), 2);
    assert_int_equal(open_fds(), before);
    close(null);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_guardian_says),
        cmocka_unit_test(what_the_guardian_is_asked),
        cmocka_unit_test(without_a_guardian_it_goes_on),
        cmocka_unit_test(a_new_guardian_gets_all_listeners),
        cmocka_unit_test(peers_that_talk_nonsense_are_dropped),
        cmocka_unit_test(too_many_peers_are_turned_away),
        cmocka_unit_test(a_listener_that_is_none_is_not_kept),
    };
    log_init("test", LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
