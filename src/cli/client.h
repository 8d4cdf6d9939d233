/* The API's client: HTTP/1.1 over a Unix socket or TCP, one request per connection, waiting with
 * deadlines. What the server sends is checked by the strict codec. */
#ifndef SLUICE_CLI_CLIENT_H
#define SLUICE_CLI_CLIENT_H

#include "base/buf.h"
#include "base/error.h"
#include "cli/place.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { CLIENT_WAIT_MS = 60000 };

/* How far a request came. ANSWERED: the server has spoken. REACHED: it may have been carried out.
 */
enum client_stage { CLIENT_NOT_REACHED, CLIENT_REACHED, CLIENT_ANSWERED };

struct client_request {
    const char *method, *path; /* path with query, encoded */
    const json_t *body;        /* NULL: none */
    const char *idempotency_key;
    const char *accept; /* NULL: anything */
    bool impatient;     /* wait a few seconds at most, and do not try again: the caller does */
    enum client_stage *stage; /* is told how far it came; may be NULL */
};

struct client;

/* Sends the request and waits for the answer's head. A socket that exists but refuses (the
 * controller is being restarted) is tried for 3 s. ERROR_UNAVAILABLE: no controller answers; the
 * text says what to do. A status other than 2xx is an error of its class with the text of the
 * server's problem. */
struct client *client_open(const struct place *place, const struct client_request *request,
                           struct error *err);
void client_free(struct client *c);

enum client_result { CLIENT_FAILED = -1, CLIENT_AGAIN, CLIENT_DATA, CLIENT_END };
/* Appends what there is of the answer's body, waiting at most wait_ms (0: not at all; -1: for
 * ever). CLIENT_END: it is whole. CLIENT_FAILED (ERROR_UNAVAILABLE): it broke off. */
enum client_result client_read(struct client *c, struct buf *out, int wait_ms, struct error *err);
int client_fd(const struct client *c); /* to poll for reading */

/* The whole exchange: the answer's JSON, the caller's reference; NULL with *err. */
json_t *client_call(const struct place *place, const struct client_request *request,
                    struct error *err);

/* Appends text to a path or query, percent-encoded. */
void put_encoded(struct buf *out, const char *text);

#endif
