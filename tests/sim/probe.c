/* The connections of readiness, liveness and startup probes: who answers is the simulated run that
 * has the port. */
#include "sim.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum stage { CONNECTING, CONNECTED, ANSWERED };

struct connection {
    uint64_t serial;
    uv_tcp_t *tcp;
    uv_connect_t *connect;
    uv_connect_cb on_connect;
    int64_t began_us;
    uint16_t port;
    struct sim_run *run; /* who accepted it */
    enum stage stage;
    int status;
    bool readiness; /* what it asks for; liveness probes have another path */
    bool good;
    uv_alloc_cb alloc;
    uv_read_cb read;
};

static struct {
    struct connection **items;
    size_t len, cap;
} connections;
static uint64_t serial;

static struct connection *of_tcp(const uv_tcp_t *tcp)
{
    for (size_t i = 0; i < connections.len; i++)
        if (connections.items[i]->tcp == tcp)
            return connections.items[i];
    return NULL;
}

static struct connection *of_number(uint64_t number)
{
    for (size_t i = 0; i < connections.len; i++)
        if (connections.items[i]->serial == number)
            return connections.items[i];
    return NULL;
}

static void drop(struct connection *c)
{
    for (size_t i = 0; i < connections.len; i++)
        if (connections.items[i] == c) {
            vec_remove(&connections, i);
            break;
        }
    free(c);
}

/* A readiness probe of its instance has this result now: what the checks hold traffic to. */
static void note_result(const struct connection *c, bool good)
{
    struct sim_run *run = c->run;
    if (run == NULL || !c->readiness)
        return;
    run->good = good ? run->good + 1 : 0;
    run->bad = good ? 0 : run->bad + 1;
    if (good)
        run->was_ready = true;
}

static void on_connected(uv_handle_t *handle)
{
    struct connection *c = of_tcp((uv_tcp_t *)handle);
    if (c == NULL || c->stage != CONNECTING)
        return;
    c->stage = CONNECTED;
    c->connect->handle = (uv_stream_t *)c->tcp;
    c->on_connect(c->connect, c->status);
}

static void on_arrived(void *arg, uint64_t number)
{
    struct connection *c = of_number(number);
    (void)arg;
    if (c == NULL)
        return;
    c->run = c->port != 0 ? engine_by_port(c->port) : NULL;
    c->status = c->run != NULL && c->run->listening ? 0 : UV_ECONNREFUSED;
    loop_post((uv_handle_t *)c->tcp, on_connected);
}

static void on_answer(uv_handle_t *handle)
{
    struct connection *c = of_tcp((uv_tcp_t *)handle);
    if (c == NULL || c->stage != CONNECTED || c->read == NULL)
        return;
    c->stage = ANSWERED;
    uv_buf_t buf = {0};
    c->alloc(handle, 2048, &buf);
    int n = snprintf(buf.base, buf.len, "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok\n",
                     c->good ? "200 OK" : "503 Service Unavailable");
    note_result(c, c->good);
    c->read((uv_stream_t *)c->tcp, n, &buf);
}

static void on_reset(uv_handle_t *handle)
{
    struct connection *c = of_tcp((uv_tcp_t *)handle);
    if (c == NULL || c->stage != CONNECTED || c->read == NULL)
        return;
    c->stage = ANSWERED;
    uv_buf_t buf = {0};
    c->alloc(handle, 2048, &buf);
    note_result(c, false);
    c->read((uv_stream_t *)c->tcp, UV_EOF, &buf);
}

static void on_answered(void *arg, uint64_t number)
{
    struct connection *c = of_number(number);
    (void)arg;
    if (c == NULL)
        return;
    if (!run_alive(c->run)) {
        loop_post((uv_handle_t *)c->tcp, on_reset);
        return;
    }
    c->good = c->run->ready;
    loop_post((uv_handle_t *)c->tcp, on_answer);
}

/* ---- what the product calls ---- */

int uv_tcp_connect(uv_connect_t *request, uv_tcp_t *tcp, const struct sockaddr *address,
                   uv_connect_cb cb)
{
    struct connection *c = xcalloc(1, sizeof *c);
    c->serial = ++serial;
    c->began_us = sim_now();
    c->tcp = tcp;
    c->connect = request;
    c->on_connect = cb;
    c->readiness = true;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    c->port = v4->sin_family == AF_INET ? ntohs(v4->sin_port) : 0; /* nobody listens on ::1 */
    *vec_push(&connections) = c;
    sim_at(sim_between(20, 400), on_arrived, NULL, c->serial);
    return 0;
}

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read)
{
    struct connection *c = of_tcp((uv_tcp_t *)stream);
    ASSERT(c != NULL);
    c->alloc = alloc;
    c->read = read;
    return 0;
}

int uv_write(uv_write_t *write, uv_stream_t *stream, const uv_buf_t *bufs, unsigned n,
             uv_write_cb cb)
{
    struct connection *c = of_tcp((uv_tcp_t *)stream);
    (void)write, (void)n, (void)cb; /* it fits into the socket, and is never told */
    ASSERT(c != NULL && c->run != NULL);
    c->readiness = strncmp(bufs[0].base, "GET /ready", 10) == 0;
    int64_t slow = sim.faults.instances && !sim.calm && sim_chance(3) ? 3 * SIM_SECOND : 0;
    sim_at(sim_between(100, 3000) + slow, on_answered, NULL, c->serial);
    return 0;
}

void probe_closing(uv_handle_t *handle)
{
    struct connection *c = of_tcp((uv_tcp_t *)handle);
    if (c == NULL)
        return;
    /* Closed before there was an answer: its time was up, or nobody wants to know. */
    if (c->stage != ANSWERED && sim_now() - c->began_us >= SIM_SECOND)
        note_result(c, false);
    else if (c->stage == CONNECTED && c->status == 0 && c->read == NULL)
        note_result(c, true);
    drop(c);
}

void probe_abandon(void)
{
    while (connections.len > 0)
        drop(connections.items[0]);
}

uv_buf_t uv_buf_init(char *base, unsigned len)
{
    return (uv_buf_t){.base = base, .len = len};
}

int uv_try_write(uv_stream_t *stream, const uv_buf_t *bufs, unsigned n)
{
    (void)stream, (void)bufs, (void)n;
    return UV_ENOSYS; /* no simulated app speaks TLS */
}

int uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc)
{
    (void)loop, (void)pipe, (void)ipc;
    return UV_ENOSYS; /* no simulated app has a socket */
}

int uv_pipe_open(uv_pipe_t *pipe, uv_file fd)
{
    (void)pipe, (void)fd;
    return UV_ENOSYS;
}

const char *uv_strerror(int error)
{
    return strerror(-error);
}
