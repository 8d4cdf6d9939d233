/* One client of the API: bytes -> request -> handler -> answer, one request at a time. api's own.
 *
 *   AWAIT_HEAD -> READ_BODY -> HANDLING -> (STREAMING ->) AWAIT_HEAD ... -> LINGERING -> CLOSED
 *
 * While a request is being handled, what comes behind it waits in `in`, bounded. A connection is
 * freed in libuv's close callback; until then its memory stays, and writing to it does nothing. */
#ifndef SLUICE_API_CONNECTION_H
#define SLUICE_API_CONNECTION_H

#include "api/reply.h"
#include "api/request.h"
#include "wire/http1.h"

#include <uv.h>

enum connection_state { AWAIT_HEAD, READ_BODY, HANDLING, STREAMING, LINGERING, CLOSED };

enum {
    API_MAX_BODY = 4 << 20,
    API_MAX_WAITING = 64 << 10, /* pipelined bytes behind a request that is being handled */
    IDLE_MS = 75000,            /* between two requests */
    HEAD_MS = 15000,            /* from a request's first byte to the end of its head */
    BODY_MS = 60000,
    STALL_MS = 30000, /* the client takes no byte of an answer */
    LINGER_MS = 2000,
};

struct connection {
    struct server *server;
    struct connection *next, *previous; /* in server->connections */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } uv;
    enum connection_state state;
    bool needs_token;
    struct caller caller;
    struct buf in;
    size_t scanned;
    bool reading, ended; /* ended: the client has closed its side */
    bool advancing;      /* connection_advance() is on the stack */

    /* the present request */
    struct request request;
    struct http1_body body;
    struct buf body_data;
    bool head_only, keep_alive, chunked;
    struct pending *pending;
    const struct stream_ops *ops;
    void *stream_state;
    bool endless;

    uint64_t since_ms; /* loop time of entering the state (AWAIT_HEAD: of the first byte) */
    size_t queue_seen;
    uint64_t queue_since_ms;
};

/* Takes over a handle that was just accepted. */
void connection_start(struct connection *c);
void connection_close(struct connection *c);
/* Parses and handles what is in `in`, as far as the state allows. */
void connection_advance(struct connection *c);
/* Writes the bytes; empties b. */
void connection_write(struct connection *c, struct buf *b);
/* The answer to the present request is complete. */
void connection_finish(struct connection *c);
/* reply.c: the client has left, the answer goes nowhere. */
void pending_forget(struct pending *p);
/* About every second: time limits, ticks of streams. */
void connection_sweep(struct connection *c, uint64_t now_ms);

#endif
