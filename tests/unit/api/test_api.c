/* The API over its socket, with a fake control: what clients see, hostile ones first. The
 * controller runs in a thread of this program. */
#include "fake_control.c"

#include "api/connection.h"
#include "api/controller.h"
#include "os/unixsock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

static char dir[64], socket_path[100];
static struct boot boot;
static pthread_t thread;

static void *serve(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)controller_main(&boot);
}

static int try_connect(void)
{
    return unixsock_connect_path(socket_path, SOCK_STREAM, NULL);
}

static int start(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sluice-api-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/api.sock", dir);
    snprintf(fake_logs_dir, sizeof fake_logs_dir, "%s/logs", dir);
    mkdir(fake_logs_dir, 0700);
    fake_step_ms = 5;
    boot_init(&boot);
    boot_set(&boot.data_dir, dir);
    cleanup_free char *api = xasprintf("unix:%s", socket_path);
    boot_set(&boot.api, api);
    boot.log_level = 2;
    if (pthread_create(&thread, NULL, serve, NULL) != 0)
        return -1;
    for (int waited = 0; waited < PATIENCE_MS; waited += 10) {
        cleanup_close int fd = try_connect();
        if (fd >= 0)
            return 0;
        poll(NULL, 0, 10);
    }
    return -1;
}

static int stop(void **state)
{
    char command[128];
    (void)state;
    kill(getpid(), SIGTERM);
    pthread_join(thread, NULL);
    boot_release(&boot);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static int dial(void)
{
    int fd = try_connect();
    assert_true(fd >= 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct pollfd p = {fd, POLLOUT, 0};
        assert_true(poll(&p, 1, PATIENCE_MS) > 0);
        ssize_t n = send(fd, (const char *)bytes + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return; /* it has its opinion already */
        assert_true(n > 0 || errno == EAGAIN);
        at += n > 0 ? (size_t)n : 0;
    }
}

static void put_text(int fd, const char *text)
{
    put(fd, text, strlen(text));
}

/* Reads until `until` is there (NULL: until the end). 0, or -1 at the end without it. */
static int get(int fd, struct buf *out, const char *until)
{
    for (;;) {
        if (until != NULL && strstr(buf_str(out), until) != NULL)
            return 0;
        struct pollfd p = {fd, POLLIN, 0};
        char bytes[65536];
        if (poll(&p, 1, PATIENCE_MS) <= 0)
            fail_msg("nothing comes; so far: %s", buf_str(out));
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            return until == NULL ? 0 : -1;
        buf_append(out, bytes, (size_t)n);
    }
}

/* One request on a connection of its own: the whole answer, the caller's. */
static char *ask(const char *request)
{
    cleanup_close int fd = dial();
    struct buf out = BUF_INIT;
    put_text(fd, request);
    get(fd, &out, NULL);
    return buf_detach(&out);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"
#define JSON CLOSE "Content-Type: application/json\r\n"

static void expect(const char *request, const char *status, const char *part)
{
    cleanup_free char *answer = ask(request);
    if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strncmp(answer + 9, status, 3) != 0)
        fail_msg("%s\n-> %s", request, answer);
    if (strstr(answer, part) == NULL)
        fail_msg("%s\n-> %s\nhas no %s", request, answer, part);
    if (status[0] >= '4' && strstr(answer, "application/problem+json") == NULL)
        fail_msg("%s\n-> %s\nis no problem", request, answer);
}

static void post(const char *path, const char *body, const char *status, const char *part)
{
    cleanup_free char *request = xasprintf(
        "POST %s HTTP/1.1\r\n" JSON "Content-Length: %zu\r\n\r\n%s", path, strlen(body), body);
    expect(request, status, part);
}

static void questions_are_answered(void **state)
{
    (void)state;
    expect("GET /v1/server HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"controller\":11");
    expect("GET /v1/apps HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"state\":\"steady\"");
    expect("GET /v1/apps/shop?environment=production HTTP/1.1\r\n" CLOSE "\r\n", "200", "shop-1-1");
    expect("GET /v1/apps/shop/history?limit=5 HTTP/1.1\r\n" CLOSE "\r\n", "200", "promoted");
    expect("GET /v1/apps/shop/verdict HTTP/1.1\r\n" CLOSE "\r\n", "200",
           "\"asked_for_history\":false");
    expect("GET /v1/apps/shop/verdict?history=1 HTTP/1.1\r\n" CLOSE "\r\n", "200",
           "\"asked_for_history\":true");
    expect("GET /v1/apps/shop/verdict?history=yes HTTP/1.1\r\n" CLOSE "\r\n", "400", "history");
    expect("GET /v1/apps/shop/traffic HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"of\":1440");
    expect("GET /v1/apps/shop/traffic?window=1h HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"of\":60");
    expect("GET /v1/apps/shop/traffic?window=30d HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"of\":1440");
    expect("GET /v1/apps/shop/traffic?window=59s HTTP/1.1\r\n" CLOSE "\r\n", "400", "from 1m on");
    expect("GET /v1/apps/shop/traffic?window=x HTTP/1.1\r\n" CLOSE "\r\n", "400", "duration");
    expect("GET /v1/apps/shop/releases HTTP/1.1\r\n" CLOSE "\r\n", "200", "\"use\"");
    expect("GET /health HTTP/1.0\r\n\r\n", "200", "ok");
    expect("GET /ready HTTP/1.1\r\n" CLOSE "\r\n", "200", "ready");
    expect("GET /metrics HTTP/1.1\r\n" CLOSE "\r\n", "200", "sluice_apps 1\n");
    expect("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.5,"
           "text/plain;q=0.3\r\n" CLOSE "\r\n",
           "200", "# EOF\n");
    expect("GET /v1/openapi.json HTTP/1.1\r\n" CLOSE "\r\n", "200", "/v1/apps/{app}/deploy");
}

static void wrong_questions_are_problems(void **state)
{
    (void)state;
    expect("GET /nowhere HTTP/1.1\r\n" CLOSE "\r\n", "404", "\"status\":404");
    expect("GET /v1/apps/../server HTTP/1.1\r\n" CLOSE "\r\n", "404", "");
    expect("GET /v1/apps/%00 HTTP/1.1\r\n" CLOSE "\r\n", "404", "");
    expect("GET /v1/apps/nope HTTP/1.1\r\n" CLOSE "\r\n", "404", "no app nope");
    expect("GET /v1/apps/%22%5c HTTP/1.1\r\n" CLOSE "\r\n", "404", "\\\"\\\\");
    expect("GET /v1/apps/shop?environment=staging HTTP/1.1\r\n" CLOSE "\r\n", "404", "staging");
    expect("GET /v1/apps/shop?enviroment=x HTTP/1.1\r\n" CLOSE "\r\n", "400",
           "there is: environment");
    expect("GET /v1/apps/shop/history?limit=-1 HTTP/1.1\r\n" CLOSE "\r\n", "400", "limit");
    expect("GET /v1/apps/shop/history?limit=1&limit=2 HTTP/1.1\r\n" CLOSE "\r\n", "400", "twice");
    expect("GET /v1/apps/shop/logs?since=soon HTTP/1.1\r\n" CLOSE "\r\n", "400", "10m");
    expect("GET /v1/events?environment=x HTTP/1.1\r\n" CLOSE "\r\n", "400", "app");
    expect("GET /v1/events HTTP/1.1\r\n" CLOSE "Last-Event-ID: x\r\n\r\n", "400", "Last-Event-ID");
    expect("HEAD /v1/events HTTP/1.1\r\n" CLOSE "\r\n", "405", "Allow: GET");
    expect("PUT /v1/apps HTTP/1.1\r\n" CLOSE "\r\n", "405", "Allow: GET, HEAD\r\n");
    expect("BREW /v1/apps/shop/deploy HTTP/1.1\r\n" CLOSE "\r\n", "405", "Allow: POST\r\n");
}

static void bad_messages_are_refused(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\nHost: x\n\n", "400", "CRLF");
    expect("GET / HTTP/3.7\r\n" CLOSE "\r\n", "505", "");
    expect("GET /\x01 HTTP/1.1\r\n" CLOSE "\r\n", "400", "");
    expect("GET / HTTP/1.1\r\n\r\n", "400", "Host");
    expect("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400", "Host");
    expect("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "400", "folded");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON
           "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
           "400", "");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON
           "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
           "400", "");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
           "400", "");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON "Transfer-Encoding: gzip\r\n\r\n", "400",
           "");
    expect("CONNECT x:1 HTTP/1.1\r\n" CLOSE "\r\n", "501", "");
    expect("\x16\x03\x01\x02\r\n\r\n", "400", ""); /* TLS */
    cleanup_buf struct buf large = BUF_INIT;
    buf_puts(&large, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    for (int i = 0; i < 20000; i++)
        buf_putc(&large, 'a');
    buf_puts(&large, "\r\n\r\n");
    expect(buf_str(&large), "431", "");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON "Content-Length: 4194305\r\n\r\n", "413",
           "4 MiB");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" CLOSE
           "Content-Type: text/plain\r\nContent-Length: "
           "2\r\n\r\n{}",
           "415", "application/json");
    expect("POST /v1/apps/shop/stop HTTP/1.1\r\n" CLOSE "Content-Length: 2\r\n\r\n{}", "415", "");
}

static void a_chunked_body_is_bounded(void **state)
{
    (void)state;
    cleanup_close int fd = dial();
    cleanup_buf struct buf chunk = BUF_INIT, out = BUF_INIT;
    put_text(fd, "POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n");
    buf_puts(&chunk, "10000\r\n");
    for (int i = 0; i < 65536; i++)
        buf_putc(&chunk, ' ');
    buf_puts(&chunk, "\r\n");
    for (int i = 0; i < 80; i++)
        put(fd, chunk.data, chunk.len);
    get(fd, &out, NULL);
    assert_non_null(strstr(buf_str(&out), "HTTP/1.1 413"));
}

static void bodies_are_checked(void **state)
{
    (void)state;
    post("/v1/apps/shop/deploy", "{", "400", "JSON");
    post("/v1/apps/shop/deploy", "[]", "400", "no JSON object");
    post("/v1/apps/shop/deploy", "{\"spec\":{},\"spec\":{}}", "400", "");
    post("/v1/apps/shop/deploy", "{}", "400", "spec");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"other\"}}", "400", "other");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"sauce\":1}", "400", "sauce");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"source\":\"here\"}", "400",
         "absolute");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"version\":\"\"}", "400",
         "version");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"version\":\"1\\n2\"}", "400",
         "version");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"version\":\"a b\"}", "400",
         "version");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"},\"source\":7}", "400", "string");
    post("/v1/apps/shop/scale", "{\"replicas\":-1}", "400", "replicas");
    post("/v1/apps/shop/scale", "{\"replicas\":\"3\"}", "400", "replicas");
    post("/v1/apps/shop/rollback", "{\"to\":0}", "400", "release");
    post("/v1/apps/shop/run", "{\"command\":[]}", "400", "command");
    post("/v1/apps/shop/run", "{\"command\":[\"a\",1]}", "400", "command");
    post("/v1/apps/shop/pause", "{\"why\":\"x\"}", "400", "why");
    post("/v1/apps/shop/promote", "{}", "409", "no rollout");
    cleanup_buf struct buf deep = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_puts(&deep, "{\"a\":");
    post("/v1/apps/shop/deploy", buf_str(&deep), "400", "");
}

static void head_has_no_body(void **state)
{
    (void)state;
    cleanup_free char *answer = ask("HEAD /v1/server HTTP/1.1\r\n" CLOSE "\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    assert_string_equal(end, "\r\n\r\n");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    cleanup_close int fd = dial();
    cleanup_buf struct buf out = BUF_INIT;
    put_text(fd,
             "\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
             "POST /v1/apps/shop/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
             "GET /v1/apps/nope HTTP/1.1\r\nHost: x\r\n\r\n"
             "GET /metrics HTTP/1.1\r\n" CLOSE "\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    get(fd, &out, NULL);
    const char *first = strstr(buf_str(&out), "\"ok\""), *second = strstr(buf_str(&out), "{}");
    const char *third = strstr(buf_str(&out), "nope"),
               *fourth = strstr(buf_str(&out), "sluice_apps");
    assert_true(first != NULL && second > first && third > second && fourth > third);
    assert_null(strstr(fourth, "HTTP/1.1"));
}

static void bytes_may_come_one_by_one(void **state)
{
    (void)state;
    static const char text[] = "POST /v1/apps/shop/start HTTP/1.1\r\nHost: x\r\nContent-Type: "
                               "application/json; charset=utf-8\r\nContent-Length: 2\r\n"
                               "Connection: close\r\n\r\n{}";
    cleanup_close int fd = dial();
    cleanup_buf struct buf out = BUF_INIT;
    for (size_t i = 0; i < sizeof text - 1; i++)
        put(fd, text + i, 1);
    get(fd, &out, NULL);
    assert_non_null(strstr(buf_str(&out), "HTTP/1.1 200 OK"));
}

static void a_client_that_waits_for_continue_gets_it(void **state)
{
    (void)state;
    cleanup_close int fd = dial();
    cleanup_buf struct buf out = BUF_INIT;
    put_text(fd, "POST /v1/apps/shop/start HTTP/1.1\r\n" JSON
                 "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(get(fd, &out, "100 Continue\r\n\r\n"), 0);
    put_text(fd, "{}");
    get(fd, &out, NULL);
    assert_non_null(strstr(buf_str(&out), "HTTP/1.1 200 OK"));
}

static void a_client_that_closed_its_side_is_answered(void **state)
{
    (void)state;
    cleanup_close int fd = dial();
    cleanup_buf struct buf out = BUF_INIT;
    put_text(fd, "GET /v1/apps/shop/logs HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    get(fd, &out, NULL);
    assert_non_null(strstr(buf_str(&out), "0\r\n\r\n"));
}

static void the_same_key_does_it_once(void **state)
{
    (void)state;
    static const char request[] = "POST /v1/apps/shop/deploy HTTP/1.1\r\n" JSON
                                  "Idempotency-Key: k1\r\nContent-Length: 23\r\n\r\n"
                                  "{\"spec\":{\"app\":\"shop\"}}";
    unsigned before = fake_control->f.deploys;
    expect(request, "202", "\"event\":");
    expect(request, "202", "\"event\":");
    assert_int_equal(fake_control->f.deploys, before + 1);
}

/* Opens an event stream and reads it until `until`. */
static int open_events(const char *query, const char *fields, struct buf *out, const char *until)
{
    int fd = dial();
    cleanup_free char *request =
        xasprintf("GET /v1/events%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, fields);
    put_text(fd, request);
    assert_int_equal(get(fd, out, until), 0);
    return fd;
}

static void events_resume_without_a_gap(void **state)
{
    (void)state;
    cleanup_buf struct buf first = BUF_INIT, second = BUF_INIT, live = BUF_INIT;
    cleanup_close int new_fd = open_events("", "", &live, "retry: 1000\n\n");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"}}", "202", "");
    cleanup_close int all_fd = open_events("?after=0&app=shop", "", &first, "event: ended\n");
    unsigned long last = strtoul(strstr(buf_str(&first), "id: ") + 4, NULL, 10);
    cleanup_free char *field = xasprintf("Last-Event-ID: %lu\r\n", last);
    cleanup_close int fd =
        open_events("?app=shop&environment=production", field, &second, "event: ended\n");
    cleanup_free char *again = xasprintf("id: %lu\n", last),
                      *next = xasprintf("id: %lu\n", last + 1);
    assert_null(strstr(buf_str(&second), again));
    assert_non_null(strstr(buf_str(&second), next));
    assert_int_equal(get(new_fd, &live, "event: ended\n"), 0);
    assert_null(strstr(buf_str(&live), "id: 1\n")); /* from now on */
    post("/v1/apps/shop/restart", "{}", "200", "");
    assert_int_equal(get(fd, &second, "event: promoted\n"), 0);
}

static void every_id_comes_once_in_order(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    post("/v1/apps/shop/scale", "{\"replicas\":450}", "200", ""); /* more than two pages */
    unsigned long last = (unsigned long)fake_control->f.next_event;
    cleanup_free char *until = xasprintf("\nid: %lu\n", last);
    cleanup_close int fd = open_events("?after=0", "", &out, until);
    unsigned long expected = 1;
    for (const char *p = buf_str(&out); (p = strstr(p, "\nid: ")) != NULL; p += 5)
        assert_int_equal(strtoul(p + 5, NULL, 10), expected++);
    assert_true(expected > last);
}

static void a_page_of_events_is_json(void **state)
{
    (void)state;
    expect("GET /v1/events?after=0&limit=2 HTTP/1.1\r\n" CLOSE "Accept: application/json\r\n\r\n",
           "200", "[{\"id\":1,");
    expect("GET /v1/apps/shop/events?after=1&limit=1 HTTP/1.1\r\n" CLOSE "\r\n", "200",
           "[{\"id\":2,");
    expect("GET /v1/events?limit=5000 HTTP/1.1\r\n" CLOSE "Accept: application/json\r\n\r\n", "400",
           "limit");
}

static void a_slow_reader_of_events_is_dropped(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    cleanup_close int fd = open_events("", "", &out, "retry: 1000\n\n");
    post("/v1/apps/shop/scale", "{\"replicas\":2000}", "200", ""); /* 8 MiB, and nobody reads */
    get(fd, &out, NULL);
    assert_true(out.len < 4 << 20);
    expect("GET /health HTTP/1.1\r\n" CLOSE "\r\n", "200", "ok");
}

static void write_log(const char *file, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", fake_logs_dir, file);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fprintf(f, "{\"t\":\"2026-11-21T08:00:00.000Z\",\"s\":\"out\",\"p\":\"web\",\"m\":\"%s\"}\n",
            text);
    fclose(f);
}

static void logs_are_followed_over_a_rotation(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    write_log("shop-1-1.log", "first");
    expect("GET /v1/apps/shop/logs?release=1&limit=1 HTTP/1.1\r\n" CLOSE "\r\n", "200", "first");
    cleanup_close int fd = dial();
    put_text(fd, "GET /v1/apps/shop/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(get(fd, &out, "first"), 0);
    write_log("shop-1-1.log", "second");
    assert_int_equal(get(fd, &out, "second"), 0);
    cleanup_free char *from = xasprintf("%s/shop-1-1.log", fake_logs_dir);
    cleanup_free char *to = xasprintf("%s/shop-1-1.log.1", fake_logs_dir);
    rename(from, to);
    write_log("shop-1-1.log", "third");
    write_log("shop-2-1.log", "fourth");
    assert_int_equal(get(fd, &out, "third"), 0);
    assert_int_equal(get(fd, &out, "fourth"), 0);
}

static void a_degraded_server_says_so(void **state)
{
    (void)state;
    fake_degraded = true;
    expect("GET /v1/apps/shop HTTP/1.1\r\n" CLOSE "\r\n", "503", "disk I/O error");
    expect("GET /ready HTTP/1.1\r\n" CLOSE "\r\n", "503", "Retry-After: 1\r\n");
    expect("GET /health HTTP/1.1\r\n" CLOSE "\r\n", "200", "ok");
    post("/v1/apps/shop/deploy", "{\"spec\":{\"app\":\"shop\"}}", "503", "disk full");
    fake_degraded = false;
}

static void clients_are_bounded(void **state)
{
    (void)state;
    enum { CLIENTS = 300 };
    int fds[CLIENTS];
    cleanup_buf struct buf out = BUF_INIT;
    /* Each one shows that it was accepted, or is answered 503 at once. */
    int served = 0, refused = 0;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = dial();
        put_text(fds[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        buf_clear(&out);
        get(fds[i], &out, "\r\n\r\n");
        served += strstr(buf_str(&out), "HTTP/1.1 200") != NULL;
        refused += strstr(buf_str(&out), "HTTP/1.1 503") != NULL;
    }
    assert_true(served >= 240 && served <= 256);
    assert_int_equal(served + refused, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    for (int waited = 0;; waited += 10) { /* and there is room again */
        cleanup_free char *answer = ask("GET /health HTTP/1.1\r\n" CLOSE "\r\n");
        if (strncmp(answer, "HTTP/1.1 200", 12) == 0)
            break;
        assert_true(waited < PATIENCE_MS);
        poll(NULL, 0, 10);
    }
}

static void clients_that_leave_leave_nothing(void **state)
{
    (void)state;
    static const char *const halves[] = {
        "",
        "GET",
        "GET /health HTTP/1.1\r\nHos",
        "POST /v1/apps/shop/stop HTTP/1.1\r\n" JSON "Content-Length: 10\r\n\r\n{",
        "GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/apps/shop/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) {
            int fd = dial();
            put_text(fd, halves[i]);
            close(fd);
        }
    }
    expect("GET /health HTTP/1.1\r\n" CLOSE "\r\n", "200", "ok");
    for (int waited = 0; fake_control->f.listeners != NULL; waited += 10) {
        assert_true(waited < PATIENCE_MS);
        poll(NULL, 0, 10);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_answered),
        cmocka_unit_test(wrong_questions_are_problems),
        cmocka_unit_test(bad_messages_are_refused),
        cmocka_unit_test(a_chunked_body_is_bounded),
        cmocka_unit_test(bodies_are_checked),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(a_client_that_waits_for_continue_gets_it),
        cmocka_unit_test(a_client_that_closed_its_side_is_answered),
        cmocka_unit_test(the_same_key_does_it_once),
        cmocka_unit_test(events_resume_without_a_gap),
        cmocka_unit_test(every_id_comes_once_in_order),
        cmocka_unit_test(a_page_of_events_is_json),
        cmocka_unit_test(a_slow_reader_of_events_is_dropped),
        cmocka_unit_test(logs_are_followed_over_a_rotation),
        cmocka_unit_test(a_degraded_server_says_so),
        cmocka_unit_test(clients_are_bounded),
        cmocka_unit_test(clients_that_leave_leave_nothing),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
