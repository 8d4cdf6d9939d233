/* A connection of HTTP/2 under libFuzzer: the bytes behind the preface, in pieces whose lengths are
 * part of the input. Beside the sanitizers' findings it checks what the gateway relies on: what is
 * read from a stream is one head of HTTP/1.1 that is whole, and a body whose framing is right and
 * that ends where it says; whatever a client says, nothing is left of it in the end. */
#include "base/alloc.h"
#include "gateway/h2.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS = 4096 };

static struct gateway *gateway;
static struct worker *worker;

/* What was read of a stream so far. */
static struct reading {
    struct client *client;
    bool head, tunnel;
    struct http1_body body;
} readings[STREAMS];
static size_t readings_len;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void set_up(void)
{
    struct error err = ERROR_INIT;
    gateway = xcalloc(1, sizeof *gateway);
    worker = xcalloc(1, sizeof *worker);
    gateway->blocks = xcalloc(1, sizeof *gateway->blocks);
    gateway->workers_len = 1;
    gateway->limits = (struct gateway_limits){.head_ms = 10000,
                                              .idle_ms = 60000,
                                              .linger_ms = 5000,
                                              .worker_memory = 64 << 20,
                                              .descriptors = 1000};
    check(worker_init(worker, gateway, 0, &err) == 0);
}

static struct reading *reading_of(struct client *c)
{
    for (size_t i = 0; i < readings_len; i++)
        if (readings[i].client == c)
            return &readings[i];
    check(readings_len < STREAMS);
    readings[readings_len] = (struct reading){.client = c};
    return &readings[readings_len++];
}

static void forget(struct client *c)
{
    struct reading *r = reading_of(c);
    *r = readings[--readings_len];
}

static void answer(struct client *c)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    };
    static size_t turn;
    char *text = xstrdup(answers[turn++ % 4]);
    struct iovec part = {text, strlen(text)};
    (void)endpoint_send(&c->endpoint, &part, 1);
    free(text);
    forget(c);
    client_next(c);
}

/* A new piece is all that c->in has. */
static bool take_piece(struct client *c, struct reading *r)
{
    struct chunk *in = c->in;
    char *p = in->data + in->start;
    size_t len = chunk_len(in), scanned = 0, keep;
    bool fine = true;
    if (!r->head) {
        struct http1_head h;
        ssize_t end = http1_head_end(p, len, &scanned);
        check(end < 0 || (size_t)end == len);
        fine = end > 0 && http1_parse_request(p, len, &h) == HTTP1_OK;
        r->head = true;
        if (fine) {
            r->tunnel = h.upgrade;
            http1_body_start(&r->body, (enum http1_framing)h.framing, h.content_length);
        }
    } else if (!r->tunnel) {
        check(!r->body.done);
        ssize_t n = http1_body_feed(&r->body, p, len, &keep);
        check(n < 0 || (size_t)n == len);
        fine = n >= 0;
    }
    chunk_consume(&worker->chunks, &c->in, len);
    return fine;
}

static void run_stream(struct client *c)
{
    if (c->state == CLIENT_ANSWER) {
        client_run(c);
        return;
    }
    struct reading *r = reading_of(c);
    for (;;) {
        ssize_t n = endpoint_read(worker, &c->endpoint, &c->in);
        if (n == 0)
            break;
        if (n < 0 || !take_piece(c, r)) {
            forget(c);
            client_close(c);
            return;
        }
    }
    if (r->head && !r->tunnel && r->body.done)
        answer(c);
}

static void turn(int peer)
{
    char nothing[65536];
    while (!link_alone(&worker->ready)) {
        struct client *c = link_owner(worker->ready.next, struct client, ready);
        link_remove(&c->ready);
        if (c->endpoint.stream != NULL)
            run_stream(c);
        else
            client_run(c);
    }
    h2_send_all(worker);
    while (recv(peer, nothing, sizeof nothing, MSG_DONTWAIT) > 0)
        ;
    while (worker->dead != NULL) {
        struct endpoint *e = worker->dead;
        worker->dead = e->next_dead;
        free(e);
    }
}

static struct client *connection(void)
{
    for (struct link *l = worker->clients.next; l != &worker->clients; l = l->next) {
        struct client *c = link_owner(l, struct client, link);
        if (c->endpoint.stream == NULL)
            return c;
    }
    return NULL;
}

static void feed(int peer, const void *data, size_t len)
{
    struct client *c = connection();
    if (c == NULL || send(peer, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        return;
    c->endpoint.readable = true;
    client_later(c);
    turn(peer);
}

static void finish(int peer)
{
    close(peer);
    while (!link_alone(&worker->clients)) {
        struct client *c = link_owner(worker->clients.next, struct client, link);
        if (c->state == CLIENT_H2) { /* what it carries goes with it */
            c->endpoint.readable = c->endpoint.writable = true;
            client_run(c);
            h2_send_all(worker);
        } else {
            if (c->endpoint.stream != NULL)
                forget(c);
            client_close(c);
        }
    }
    turn(-1);
    check(worker->chunks.bytes == 0 && readings_len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    int fds[2];
    if (gateway == NULL)
        set_up();
    if (size > 100000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
        return 0;
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    check(client_new(worker, fds[0], &peer, false) != NULL);
    feed(fds[1], preface, sizeof preface - 1);
    while (size >= 2) {
        size_t len = (size_t)data[0] | (size_t)(data[1] & 15) << 8;
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        if (len > 0)
            feed(fds[1], data, len);
        data += len;
        size -= len;
    }
    finish(fds[1]);
    return 0;
}
