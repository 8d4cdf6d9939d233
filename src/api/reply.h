/* Answers: one reply or one stream per request. Each ends the request; the next one of the
 * connection is read then. Errors are application/problem+json (RFC 9457). */
#ifndef SLUICE_API_REPLY_H
#define SLUICE_API_REPLY_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;

void reply_json(struct connection *c, unsigned status, json_t *body); /* takes the reference */
void reply_text(struct connection *c, unsigned status, const char *type,
                struct buf *body); /* takes */
void reply_error(struct connection *c, const struct error *err);
/* header: another field line "Allow: GET\r\n", or NULL. */
void reply_problem(struct connection *c, unsigned status, const char *header, const char *detail);

unsigned status_of(enum error_class class);
const char *status_title(unsigned status);
void problem_json(struct buf *out, unsigned status, const char *title, const char *detail);

/* An answer that comes later, perhaps when the client has left: the handle to give to control as
 * `arg` with reply_done() as the command_done. Answers exactly once, then the handle is gone. */
struct pending;
struct pending *reply_later(struct connection *c, unsigned status);
void reply_done(void *pending, const struct error *err, json_t *body);

/* ---- streams
 * ------------------------------------------------------------------------------------- */

enum { STREAM_FULL = 256 << 10, STREAM_LOST = 1 << 20 };

struct stream_ops {
    void (*drained)(void *state); /* what was written is with the kernel: more may come */
    void (*tick)(void *state);    /* about every second; may be NULL */
    void (*closed)(void *state);  /* over, for whatever reason: free the state */
};
/* endless: ends only with the client. After stream_begin() all three may be called, not from
 * within. */
void stream_begin(struct connection *c, const char *type, bool endless,
                  const struct stream_ops *ops, void *state);
/* Bytes that the client has yet to take. Over STREAM_FULL a writer should wait for drained(). */
size_t stream_backlog(const struct connection *c);
/* Over STREAM_LOST the client is dropped (closed() comes later). Empties b. */
void stream_write(struct connection *c, struct buf *b);
void stream_end(struct connection *c); /* closed() comes from within */

#endif
