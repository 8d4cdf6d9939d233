/* The helper as a process of its own, against a server that answers well, badly, late or never. */
#include "base/alloc.h"
#include "base/vec.h"
#include "fetch/fetch.h"
#include "os/clock.h"
#include "wire/fetchctl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 10000 };

/* ---- the server: a thread per connection ---- */

static int server_fd;
static uint16_t server_port;
static atomic_int at_once, most_at_once;
static atomic_bool go_on; /* for /gate */

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    cleanup_free char *text = xasprintf("HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: "
                                        "close\r\n%s\r\n%s",
                                        status, strlen(body), headers, body);
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void wait_for_gate(void)
{
    int now = ++at_once, most = most_at_once;
    while (now > most && !atomic_compare_exchange_weak(&most_at_once, &most, now))
        ;
    for (int i = 0; i < WAIT_MS / 5 && !go_on; i++)
        usleep(5000);
    at_once--;
}

static void long_body(int fd, size_t bytes)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    static char block[65536];
    ssize_t n = send(fd, head, sizeof head - 1, MSG_NOSIGNAL);
    for (size_t sent = 0; n > 0 && sent < bytes; sent += (size_t)n)
        n = send(fd, block, bytes - sent < sizeof block ? bytes - sent : sizeof block,
                 MSG_NOSIGNAL);
}

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char text[8192] = "";
    size_t len = 0;
    for (ssize_t n; len < sizeof text - 1 && strstr(text, "END") == NULL &&
                    (n = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0;)
        len += (size_t)n;
    if (strstr(text, "/echo") != NULL)
        answer(fd, "200 OK", "", text);
    else if (strstr(text, "/teapot") != NULL)
        answer(fd, "418 Teapot", "", "short and stout");
    else if (strstr(text, "/away") != NULL)
        answer(fd, "302 Found", "Location: /echo\r\n", "");
    else if (strstr(text, "/most") != NULL)
        long_body(fd, FETCHCTL_BODY_MAX);
    else if (strstr(text, "/long") != NULL)
        long_body(fd, FETCHCTL_BODY_MAX + 1);
    else if (strstr(text, "/cut") != NULL)
        send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", 43, MSG_NOSIGNAL);
    else if (strstr(text, "/gate") != NULL) {
        wait_for_gate();
        answer(fd, "200 OK", "", "open");
    } else if (strstr(text, "/never") != NULL)
        recv(fd, text, sizeof text, 0); /* until it is closed */
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    (void)arg;
    for (int fd; (fd = accept(server_fd, NULL, NULL)) >= 0;) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd);
        pthread_detach(thread);
    }
    return NULL;
}

static void start_server(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    pthread_t thread;
    server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server_fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server_fd, 64), 0);
    getsockname(server_fd, (struct sockaddr *)&at, &len);
    server_port = ntohs(at.sin_port);
    pthread_create(&thread, NULL, serve, NULL);
    pthread_detach(thread);
}

/* ---- the helper ---- */

struct helper {
    pid_t pid;
    int fd;
    struct buf in;
    struct fetchctl_message m; /* the last answer; its text is in `text` */
    char text[300];
};

static int start(void **state)
{
    struct helper *h = xcalloc(1, sizeof *h);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    h->pid = fork();
    if (h->pid == 0) {
        struct boot boot;
        boot_init(&boot);
        boot.role = BOOT_FETCH;
        boot.control_fd = pair[1];
        close(pair[0]);
        _exit(fetch_main(&boot));
    }
    close(pair[1]);
    h->fd = pair[0];
    go_on = false;
    *state = h;
    return 0;
}

static int stop(void **state)
{
    struct helper *h = *state;
    int status = -1;
    close(h->fd); /* the controller is gone: so is the helper */
    for (int waited = 0; waitpid(h->pid, &status, WNOHANG) == 0; waited += 5) {
        if (waited > WAIT_MS)
            kill(h->pid, SIGKILL);
        usleep(5000);
    }
    buf_release(&h->in);
    free(h);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void send_message(struct helper *h, const struct fetchctl_message *m)
{
    cleanup_buf struct buf out = BUF_INIT;
    fetchctl_write(m, &out);
    assert_int_equal(send(h->fd, out.data, out.len, MSG_NOSIGNAL), out.len);
}

static void ask(struct helper *h, uint64_t id, uint32_t timeout_ms, const char *url)
{
    send_message(h, &(struct fetchctl_message){.kind = FETCHCTL_POST_JSON,
                                               .id = id,
                                               .number = timeout_ms,
                                               .url = url,
                                               .body = "{\"a\": 1} END",
                                               .body_len = 12});
}

static void ask_path(struct helper *h, uint64_t id, uint32_t timeout_ms, const char *path)
{
    cleanup_free char *url = xasprintf("http://127.0.0.1:%u%s", server_port, path);
    ask(h, id, timeout_ms, url);
}

/* The next answer, or false where none comes within so long. */
static bool next(struct helper *h, int wait_ms)
{
    int64_t end = clock_mono_ms() + wait_ms;
    for (;;) {
        size_t used;
        int got = fetchctl_read(buf_str(&h->in), h->in.len, &h->m, &used, NULL);
        assert_true(got >= 0);
        if (got == 1) {
            snprintf(h->text, sizeof h->text, "%s", h->m.body);
            buf_consume(&h->in, used);
            return true;
        }
        int64_t left = end - clock_mono_ms();
        if (left <= 0 || poll(&(struct pollfd){.fd = h->fd, .events = POLLIN}, 1, (int)left) <= 0)
            return false;
        buf_reserve(&h->in, 65536);
        ssize_t n = recv(h->fd, h->in.data + h->in.len, 65536, 0);
        assert_true(n > 0);
        h->in.len += (size_t)n;
    }
}

static void must_fail(struct helper *h, const char *url, const char *part)
{
    ask(h, 5, 2000, url);
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_FAILED);
    if (strstr(h->text, part) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", url, part, h->text);
}

/* ---- tests ---- */

static void it_posts_and_brings_the_answer(void **state)
{
    struct helper *h = *state;
    cleanup_free char *url = xasprintf("http://us:pa%%40ss@127.0.0.1:%u/echo?x=1", server_port);
    ask(h, 41, 5000, url);
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_ANSWER);
    assert_int_equal(h->m.id, 41);
    assert_int_equal(h->m.number, 200);
    assert_non_null(strstr(h->text, "POST /echo?x=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(h->text, "Authorization: Basic dXM6cGFAc3M=\r\n"));
    assert_non_null(strstr(h->m.body, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(h->m.body, "{\"a\": 1} END"));
    assert_null(strstr(h->m.body, "Expect"));
    ask_path(h, 42, 5000, "/teapot");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.number, 418);
    assert_string_equal(h->text, "short and stout");
}

static void a_redirect_is_an_answer_and_not_followed(void **state)
{
    struct helper *h = *state;
    ask_path(h, 1, 5000, "/away");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_ANSWER);
    assert_int_equal(h->m.number, 302);
}

static void no_other_scheme_no_broken_url(void **state)
{
    struct helper *h = *state;
    must_fail(h, "file:///etc/passwd", "not supported");
    must_fail(h, "ftp://127.0.0.1/x", "not supported");
    must_fail(h, "http://", "");
    must_fail(h, "http://127.0.0.1:1/secret-path", "connect");
    assert_null(strstr(h->text, "secret-path"));
    must_fail(h, "http://nobody.invalid/", "resolve");
    cleanup_free char *plain = xasprintf("https://127.0.0.1:%u/teapot", server_port);
    must_fail(h, plain, "");
}

static void acme_is_spoken_over_https_only(void **state)
{
    static const enum fetchctl_kind kinds[] = {FETCHCTL_ACME_GET, FETCHCTL_ACME_HEAD,
                                               FETCHCTL_ACME_POST};
    struct helper *h = *state;
    cleanup_free char *url = xasprintf("http://127.0.0.1:%u/teapot", server_port);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        send_message(h, &(struct fetchctl_message){.kind = kinds[i],
                                                   .id = i + 1,
                                                   .number = 5000,
                                                   .url = url,
                                                   .body = "{}",
                                                   .body_len = 2});
        assert_true(next(h, WAIT_MS));
        assert_int_equal(h->m.kind, FETCHCTL_FAILED);
        assert_non_null(strstr(h->text, "not supported"));
    }
}

static void the_proxy_of_the_environment_is_not_used(void **state)
{
    struct helper *h = *state; /* started with http_proxy, see main() */
    ask_path(h, 1, 5000, "/teapot");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_ANSWER);
}

static void a_body_has_a_limit(void **state)
{
    struct helper *h = *state;
    ask_path(h, 1, 5000, "/most");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_ANSWER);
    assert_int_equal(h->m.body_len, FETCHCTL_BODY_MAX);
    ask_path(h, 2, 5000, "/long");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_FAILED);
    assert_string_equal(h->text, "the answer is longer than 1 MiB");
}

static void half_an_answer_is_none(void **state)
{
    struct helper *h = *state;
    ask_path(h, 1, 5000, "/cut");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_FAILED);
}

static void time_is_up(void **state)
{
    struct helper *h = *state;
    int64_t began = clock_mono_ms();
    ask_path(h, 1, 300, "/never");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.kind, FETCHCTL_FAILED);
    assert_string_equal(h->text, "no answer within 300ms");
    assert_true(clock_mono_ms() - began >= 290);
}

/* Those that wait begin when others end; the time of those that wait runs too. */
static void so_many_at_once_and_no_more(void **state)
{
    struct helper *h = *state;
    most_at_once = 0;
    for (uint64_t id = 1; id <= 2 * FETCH_AT_ONCE; id++)
        ask_path(h, id, WAIT_MS, "/gate");
    ask_path(h, 100, 200, "/teapot");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.id, 100);
    assert_string_equal(h->text, "no answer within 200ms");
    assert_int_equal(most_at_once, FETCH_AT_ONCE);
    go_on = true;
    for (int i = 0; i < 2 * FETCH_AT_ONCE; i++) {
        assert_true(next(h, WAIT_MS));
        assert_string_equal(h->text, "open");
    }
    assert_int_equal(most_at_once, FETCH_AT_ONCE);
}

static void no_more_than_that_wait(void **state)
{
    struct helper *h = *state;
    for (uint64_t id = 1; id <= FETCH_AT_ONCE; id++)
        ask_path(h, id, WAIT_MS, "/gate");
    while (at_once < FETCH_AT_ONCE)
        usleep(1000);
    for (uint64_t id = 1; id <= FETCH_WAITING + 1; id++)
        ask_path(h, 1000 + id, WAIT_MS, "/gate");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.id, 1000 + FETCH_WAITING + 1);
    assert_string_equal(h->text, "too many requests are waiting");
    go_on = true;
    for (int i = 0; i < FETCH_AT_ONCE + FETCH_WAITING; i++)
        assert_true(next(h, WAIT_MS));
}

static void what_is_cancelled_is_not_answered(void **state)
{
    struct helper *h = *state;
    ask_path(h, 1, 400, "/never");
    send_message(h, &(struct fetchctl_message){.kind = FETCHCTL_CANCEL, .id = 1});
    send_message(h, &(struct fetchctl_message){.kind = FETCHCTL_CANCEL, .id = 99});
    ask_path(h, 2, 5000, "/teapot");
    assert_true(next(h, WAIT_MS));
    assert_int_equal(h->m.id, 2);
    assert_false(next(h, 600));
}

int main(void)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    signal(SIGPIPE, SIG_IGN);
    start_server();
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(it_posts_and_brings_the_answer),
        TEST(a_redirect_is_an_answer_and_not_followed),
        TEST(acme_is_spoken_over_https_only),
        TEST(no_other_scheme_no_broken_url),
        TEST(the_proxy_of_the_environment_is_not_used),
        TEST(a_body_has_a_limit),
        TEST(half_an_answer_is_none),
        TEST(time_is_up),
        TEST(so_many_at_once_and_no_more),
        TEST(no_more_than_that_wait),
        TEST(what_is_cancelled_is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
