/* The link to a gateway: a scripted gateway on the other end, also one that lies. */
#include "control/gateway_link.h"

#include "os/memfd.h"
#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    int hello, applied, refused, certificates, gone;
    uint64_t version;
    char text[300];
    bool free_when_gone;
};

static void on_hello(void *arg, struct gateway_link *l)
{
    (void)l;
    ((struct seen *)arg)->hello++;
}
static void on_applied(void *arg, struct gateway_link *l, uint64_t version)
{
    (void)l;
    ((struct seen *)arg)->applied++;
    ((struct seen *)arg)->version = version;
}
static void on_refused(void *arg, struct gateway_link *l, uint64_t version, const char *why)
{
    struct seen *s = arg;
    (void)l;
    s->refused++;
    s->version = version;
    snprintf(s->text, sizeof s->text, "%s", why);
}
static void on_gone(void *arg, struct gateway_link *l, const char *why)
{
    struct seen *s = arg;
    s->gone++;
    snprintf(s->text, sizeof s->text, "%s", why);
    if (s->free_when_gone)
        gateway_link_free(l);
}
static void on_certificates(void *arg, struct gateway_link *l, uint64_t version, const char *why)
{
    struct seen *s = arg;
    (void)l;
    s->certificates++;
    s->version = version;
    snprintf(s->text, sizeof s->text, "%s", why);
}
static const struct gateway_link_events EVENTS = {.hello = on_hello,
                                                  .applied = on_applied,
                                                  .refused = on_refused,
                                                  .certificates = on_certificates,
                                                  .gone = on_gone};

struct scene {
    char top[40];
    int dir, listening, peer;
    struct gateway_link *l;
    struct seen seen;
};

static struct scene begin(void)
{
    struct scene s = {.top = "/tmp/sluice-unit-XXXXXX"};
    assert_non_null(mkdtemp(s.top));
    s.dir = open(s.top, O_PATH | O_DIRECTORY);
    s.listening = unixsock_listen(s.dir, "gateway-7.sock", SOCK_SEQPACKET, 0600, NULL);
    assert_true(s.listening >= 0);
    return s;
}

static void join(struct scene *s)
{
    s->l = gateway_link_open(s->dir, 7, &EVENTS, &s->seen, NULL);
    assert_non_null(s->l);
    s->peer = unixsock_accept(s->listening);
    assert_true(s->peer >= 0);
}

static void end(struct scene *s)
{
    gateway_link_free(s->l);
    close(s->peer);
    close(s->listening);
    unlinkat(s->dir, "gateway-7.sock", 0);
    close(s->dir);
    rmdir(s->top);
}

static void say(struct scene *s, uint32_t type, uint64_t a, uint64_t b, const char *text, int fd)
{
    struct gatewayctl_message m = gatewayctl_make(type, a, b, text);
    assert_int_equal(unixsock_send(s->peer, &m, sizeof m, &fd, fd >= 0 ? 1 : 0, NULL), UNIXSOCK_OK);
}

static int metrics_in(uint32_t format, uint64_t generation)
{
    int fd = memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct metrics_header h = {.magic = METRICS_MAGIC,
                               .format = format,
                               .workers = 1,
                               .request_slots = METRICS_REQUEST_SLOTS,
                               .instance_slots = METRICS_INSTANCE_SLOTS,
                               .buckets = METRICS_BUCKETS,
                               .generation = generation};
    assert_int_equal(ftruncate(fd, (off_t)metrics_bytes(1)), 0);
    assert_int_equal(pwrite(fd, &h, sizeof h, 0), sizeof h);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

static int metrics_of(uint64_t generation)
{
    return metrics_in(METRICS_FORMAT, generation);
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

static void from_hello_to_the_end(void **state)
{
    (void)state;
    int before = open_fds();
    struct scene s = begin();
    join(&s);
    int fd = metrics_of(7);
    assert_null(gateway_link_metrics(s.l)->header);
    say(&s, GATEWAYCTL_HELLO, 7, 1234, "0.1.0", fd);
    close(fd);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.hello, 1);
    assert_int_equal(gateway_link_pid(s.l), 1234);
    assert_int_equal(gateway_link_generation(s.l), 7);
    assert_int_equal(gateway_link_metrics(s.l)->header->generation, 7);
    /* A snapshot reaches it, byte for byte. */
    int snapshot = gateway_link_snapshot("abcdef", 6, NULL);
    assert_int_equal(gateway_link_send(s.l, 3, snapshot, 6, NULL), 0);
    close(snapshot);
    struct gatewayctl_message m;
    int got;
    size_t n;
    char text[7] = "";
    assert_int_equal(unixsock_recv(s.peer, &m, sizeof m, &got, 1, &n, NULL), UNIXSOCK_OK);
    assert_int_equal(m.type, GATEWAYCTL_SNAPSHOT);
    assert_int_equal(m.a, 3);
    assert_int_equal(m.b, 6);
    assert_int_equal(pread(got, text, 6, 0), 6);
    assert_string_equal(text, "abcdef");
    assert_true(fcntl(got, F_GET_SEALS) & F_SEAL_WRITE);
    close(got);
    int certificates = memfd_make("certificates", "xyz", 3, NULL);
    assert_int_equal(gateway_link_send_certificates(s.l, 9, certificates, 3, NULL), 0);
    close(certificates);
    assert_int_equal(unixsock_recv(s.peer, &m, sizeof m, &got, 1, &n, NULL), UNIXSOCK_OK);
    assert_int_equal(m.type, GATEWAYCTL_CERTIFICATES);
    assert_int_equal(m.a, 9);
    assert_int_equal(m.b, 3);
    close(got);
    say(&s, GATEWAYCTL_APPLIED_CERTIFICATES, 9, 0, "not these", -1);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.certificates, 1);
    assert_int_equal(s.seen.version, 9);
    assert_string_equal(s.seen.text, "not these");
    say(&s, GATEWAYCTL_APPLIED, 3, 0, "", -1);
    say(&s, GATEWAYCTL_REFUSED, 4, 0, "the reason", -1);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.applied, 1);
    assert_int_equal(gateway_link_applied(s.l), 3);
    assert_int_equal(s.seen.refused, 1);
    assert_string_equal(s.seen.text, "the reason");
    assert_true(gateway_link_alive(s.l));
    close(s.peer);
    s.peer = -1;
    gateway_link_poll(s.l);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.gone, 1);
    assert_false(gateway_link_alive(s.l));
    assert_int_equal(gateway_link_metrics(s.l)->header->generation, 7); /* still readable */
    assert_int_equal(gateway_link_send(s.l, 5, 0, 6, NULL), -1);
    end(&s);
    assert_int_equal(open_fds(), before);
}

static void lies_end_the_link(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint64_t a, b;
        int generation; /* of the metrics sent with it; 0: none */
        const char *said;
    } LIES[] = {
        {GATEWAYCTL_HELLO, 7, 1234, 0, "without metrics"},
        {GATEWAYCTL_HELLO, 8, 1234, 8, "generation 8"},
        {GATEWAYCTL_HELLO, 7, 1234, 8, "another generation"},
        {GATEWAYCTL_HELLO, 7, 0, 7, "hello"},
        {GATEWAYCTL_HELLO, 7, UINT64_MAX, 7, "hello"},
        {GATEWAYCTL_SNAPSHOT, 1, 1, 0, "unexpected"},
        {GATEWAYCTL_TAKE_OVER, 0, 0, 0, "unexpected"},
        {0, 0, 0, 0, "not a message"},
        {999, 0, 0, 0, "not a message"},
    };
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        int before = open_fds();
        struct scene s = begin();
        s.seen.free_when_gone = true;
        join(&s);
        int fd = LIES[i].generation != 0 ? metrics_of((uint64_t)LIES[i].generation) : -1;
        say(&s, LIES[i].type, LIES[i].a, LIES[i].b, "", fd);
        if (fd >= 0)
            close(fd);
        gateway_link_poll(s.l);
        s.l = NULL; /* freed from within gone */
        assert_int_equal(s.seen.gone, 1);
        if (strstr(s.seen.text, LIES[i].said) == NULL)
            fail_msg("lie %zu: %s", i, s.seen.text);
        end(&s);
        assert_int_equal(open_fds(), before);
    }
}

static void memory_that_is_no_metrics_ends_the_link(void **state)
{
    (void)state;
    struct scene s = begin();
    join(&s);
    int fd = memfd_make("small", "xyz", 3, NULL);
    say(&s, GATEWAYCTL_HELLO, 7, 1, "", fd);
    close(fd);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.hello, 0);
    assert_int_equal(s.seen.gone, 1);
    assert_null(gateway_link_metrics(s.l)->header);
    end(&s);
}

/* It is heard, though what it counts cannot be read. */
static void a_gateway_of_another_version(void **state)
{
    (void)state;
    struct scene s = begin();
    join(&s);
    int fd = metrics_in(METRICS_FORMAT + 1, 7);
    say(&s, GATEWAYCTL_HELLO, 7, 1234, "0.1.0", fd);
    say(&s, GATEWAYCTL_REFUSED, 4, 0, "another format", -1);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.hello, 1);
    assert_int_equal(s.seen.refused, 1);
    assert_int_equal(s.seen.gone, 0);
    assert_true(gateway_link_is_foreign(s.l));
    assert_int_equal(gateway_link_pid(s.l), 1234);
    assert_null(gateway_link_metrics(s.l)->header);
    say(&s, GATEWAYCTL_HELLO, 7, 1234, "0.1.0", fd);
    close(fd);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.hello, 1);
    assert_int_equal(s.seen.gone, 1);
    end(&s);
}

static void a_second_hello_and_wrong_sizes(void **state)
{
    (void)state;
    struct scene s = begin();
    join(&s);
    for (int i = 0; i < 2; i++) {
        int fd = metrics_of(7);
        say(&s, GATEWAYCTL_HELLO, 7, 1, "", fd);
        close(fd);
    }
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.hello, 1);
    assert_int_equal(s.seen.gone, 1);
    end(&s);
    s = begin();
    join(&s);
    assert_int_equal(send(s.peer, "short", 5, 0), 5);
    gateway_link_poll(s.l);
    assert_int_equal(s.seen.gone, 1);
    end(&s);
}

/* A gateway that does not read: the sender does not block, and the newest snapshot arrives. */
static void a_gateway_that_does_not_read_gets_the_newest(void **state)
{
    (void)state;
    struct scene s = begin();
    join(&s);
    int before = open_fds();
    uint64_t last = 5000;
    struct rlimit all, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    for (uint64_t v = 1; v <= last; v++) {
        int fd = gateway_link_snapshot(&v, sizeof v, NULL);
        none = (struct rlimit){(rlim_t)fd + 1, all.rlim_max}; /* also where no descriptor is left */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        assert_int_equal(gateway_link_send(s.l, v, fd, sizeof v, NULL), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
        close(fd);
    }
    assert_int_equal(open_fds(), before);
    uint64_t got = 0;
    for (int turn = 0; turn < 10 && got != last; turn++) {
        struct gatewayctl_message m;
        int fd;
        size_t n;
        while (unixsock_recv(s.peer, &m, sizeof m, &fd, 1, &n, NULL) == UNIXSOCK_OK) {
            assert_true(m.a > got);
            got = m.a;
            close(fd);
        }
        say(&s, GATEWAYCTL_APPLIED, got, 0, "", -1); /* makes it readable */
        gateway_link_poll(s.l);
    }
    assert_int_equal(got, last);
    end(&s);
}

static void nobody_there(void **state)
{
    (void)state;
    struct scene s = begin();
    struct error err = ERROR_INIT;
    assert_null(gateway_link_open(s.dir, 8, &EVENTS, &s.seen, &err));
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    close(s.listening);
    assert_null(gateway_link_open(s.dir, 7, &EVENTS, &s.seen, &err));
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    s.listening = s.peer = -1;
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_hello_to_the_end),
        cmocka_unit_test(lies_end_the_link),
        cmocka_unit_test(memory_that_is_no_metrics_ends_the_link),
        cmocka_unit_test(a_gateway_of_another_version),
        cmocka_unit_test(a_second_hello_and_wrong_sizes),
        cmocka_unit_test(a_gateway_that_does_not_read_gets_the_newest),
        cmocka_unit_test(nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
