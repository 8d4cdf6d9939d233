/* The API's listener and its clients. */
#ifndef SLUICE_API_SERVER_H
#define SLUICE_API_SERVER_H

#include "control/control.h"

#include <stdbool.h>
#include <uv.h>

/* Clients over the first number get a 503, over the sum of both nothing. */
enum { SERVER_MAX_CLIENTS = 256, SERVER_MAX_REFUSED = 64, TOKEN_HEX = 64 };

struct connection;
struct server {
    uv_loop_t *loop;
    struct control *control;
    const struct boot *boot;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } listener;
    bool listening, is_unix, closing;
    uv_timer_t retry; /* of a listen that failed */
    uv_timer_t sweep; /* runs while there are clients */
    struct connection *connections;
    unsigned clients;
    char token[TOKEN_HEX + 1]; /* TCP only */
};

/* Starts to listen on boot->api ("unix:PATH" or "HOST:PORT"); tries again every second where that
 * fails, since the traffic does not need the API. s must stay where it is. */
void server_open(struct server *s, uv_loop_t *loop, struct control *control,
                 const struct boot *boot);
/* Ends listener, clients and timers; done when the loop has no handles left. */
void server_close(struct server *s);
/* A client has come or gone: the sweep runs while there are some. */
void server_count(struct server *s, int change);
/* Whether text ("Bearer ...") carries the token; takes the same time for any wrong one. */
bool server_token_matches(const struct server *s, const char *text, size_t len);

#endif
