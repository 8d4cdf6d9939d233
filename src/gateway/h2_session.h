/* Inside of HTTP/2: what session, frames and streams share. */
#ifndef SLUICE_GATEWAY_H2_SESSION_H
#define SLUICE_GATEWAY_H2_SESSION_H

#include "gateway/h2.h"
#include "gateway/h2_head.h"

#include <nghttp2/nghttp2.h>

enum h2_phase {
    H2_OPEN,
    H2_NOTICED, /* a GOAWAY is out that names no stream: requests that are on their way still count
                 */
    H2_LEAVING, /* ... one that names the last: it ends with its streams */
    H2_ENDING,  /* it ends with the GOAWAY */
};

struct h2_session {
    nghttp2_session *ng;
    struct worker *worker;
    struct endpoint *endpoint; /* the socket */
    struct timer *timer;
    struct client *client; /* whose socket it is; NULL: an instance's (h2_origin.c) */
    struct link link;      /* worker.h2_sessions */
    struct link unsent;    /* worker.h2_unsent */
    struct link streams;
    uint32_t streams_len;
    uint8_t phase;  /* enum h2_phase */
    bool head_open; /* a header block has begun, and is not whole yet */
    bool greeted;   /* a first request has come */
    uint32_t credit;
    uint64_t credit_ms;    /* when it was counted */
    uint64_t sent_ms;      /* the socket took something, or nothing waited for it */
    uint64_t idle_from_ms; /* no stream since */
    uint64_t head_from_ms;
    uint64_t phase_until_ms; /* of H2_NOTICED and H2_ENDING */
    struct h2_block
        block; /* the header block that comes in: one at a time (RFC 9113 section 4.3) */
    struct chunk *in, *out;
};

/* Beside the codes of RFC 9113 section 7: a stream goes with its connection. */
#define H2_LOST UINT32_MAX

enum h2_sent {
    H2_SENT_NOTHING, /* a head comes first, perhaps after others (1xx) */
    H2_SENT_HEAD,    /* in the body */
    H2_SENT_BODY,    /* in the trailer section */
    H2_SENT_SWITCH,  /* after 101: bytes as they are */
    H2_SENT_ALL,
};

/* Lives until both sides are through with it. */
struct h2_stream {
    struct h2_session *session; /* NULL: closed */
    struct endpoint *owner;     /* a client's or an upstream's; NULL: has left */
    struct worker *worker;
    struct link link; /* session.streams */
    int32_t id;       /* 0: not yet */
    /* From the peer. */
    struct chunk *head;     /* whole, not yet read; of an answer perhaps several (1xx) */
    struct chunk *in;       /* of the body, without framing */
    struct chunk *trailers; /* the end of a chunked body, as HTTP/1.1 has it */
    uint32_t owed;          /* of in: the connection's window does not have it back yet */
    bool chunked;           /* no length was said: framed when it is read */
    bool ended;             /* END_STREAM came */
    bool broken, refused;
    bool head_only, connect;
    bool lost;          /* with its connection */
    bool grpc;          /* the request, or the instance's answer, is gRPC's */
    int8_t grpc_status; /* of the answer */
    /* To the peer. */
    uint8_t sent; /* enum h2_sent */
    bool waits;   /* nghttp2 has asked for data, and got none */
    struct http1_body body;
    struct chunk *out;         /* of the body, without framing */
    struct chunk *out_trailer; /* lines */
    uint32_t out_bytes;
    uint64_t moved_ms; /* the peer took something of out */
};

/* h2_frames.c */
nghttp2_session *h2_frames_session(struct h2_session *s); /* NULL: no memory */

/* h2_origin.c: a session with an instance */
void h2_origin_close(struct h2_session *s);
void h2_origin_settled(struct h2_session *s);      /* its settings came */
bool h2_origin_wanted(const struct h2_session *s); /* the instance is still in the table */
void h2_origin_later(struct h2_session *s);        /* goes on in the next turn */

/* h2_session.c */
/* endpoint, timer and client are set, all else is 0. -1: no memory. */
int h2_session_init(struct h2_session *s, struct worker *w);
void h2_session_release(struct h2_session *s); /* what still runs on it has lost its peer */
void h2_session_read(struct h2_session *s);    /* and what follows from it */
void h2_look(struct h2_session *s);            /* at its times */
void h2_unsent(struct h2_session *s);          /* something is to be sent at the end of the turn */
void h2_earn(struct h2_session *s);            /* DATA went or came */
void h2_pay(struct h2_session *s); /* takes credit (h2_limits.h); without any it says good-bye */

/* h2_stream.c, for h2_frames.c and h2_session.c */
/* A request out of session.block: the head is the stream's from now on; NULL: the block says with
 * what it is refused. -1: no memory, the head stays the caller's. */
int h2_stream_new(struct h2_session *s, int32_t id, struct chunk *head, bool ended);
/* A request to an instance, whose head comes by h2_stream_send(). -1: no memory. */
int h2_stream_open(struct h2_session *s, struct endpoint *owner);
void h2_stream_connected(struct h2_stream *s);
/* A head of the answer; ended: without a body. */
void h2_stream_answer(struct h2_stream *s, struct chunk *head, bool ended);
int h2_stream_data(struct h2_stream *s, const uint8_t *data, size_t len);
void h2_stream_ended(struct h2_stream *s, struct chunk *trailers);
/* nghttp2 knows it no more. */
void h2_stream_closed(struct h2_stream *s, uint32_t code);
/* The owner left long ago, and the peer still does not take the rest. */
void h2_stream_give_up(struct h2_stream *s);
void h2_stream_wake(struct h2_stream *s); /* its exchange goes on soon */
bool h2_stream_to_instance(const struct h2_stream *s);

/* h2_send.c */
/* For DATA frames: how much there is up to most, and then its bytes. */
ssize_t h2_stream_ready(struct h2_stream *s, size_t most, uint32_t *flags);
void h2_stream_take(struct h2_stream *s, struct chunk *to, size_t len);

#endif
