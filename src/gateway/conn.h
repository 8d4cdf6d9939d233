/* Connections and what runs over them: a client, an upstream connection to an instance, and the
 * exchange of one request and its answer that joins the two for a while. Each belongs to one worker
 * thread for its whole life. */
#ifndef SLUICE_GATEWAY_CONN_H
#define SLUICE_GATEWAY_CONN_H

#include "gateway/pace.h"
#include "gateway/reach.h"
#include "gateway/worker.h"

/* Reads once into *in (taken from the pool when NULL). > 0 bytes; 0: nothing now, or the buffer is
 * full; READ_END; READ_BROKEN, which also says that there is no memory. */
enum { READ_END = -1, READ_BROKEN = -2 };
ssize_t endpoint_read(struct worker *w, struct endpoint *e, struct chunk **in);
/* Sends; gives how many bytes went (0: would block), or -1: the peer is gone. */
struct iovec;
ssize_t endpoint_send(struct endpoint *e, const struct iovec *parts, int len);
void endpoint_note(struct endpoint *e, uint32_t events); /* epoll's events into the flags */
/* Half-close: the peer reads to the end of what was sent. -1: it is gone. */
int endpoint_end(struct endpoint *e);
void endpoint_reset(struct endpoint *e); /* its close will be seen as a failure */

enum { ADDRESS_TEXT = 46, REPLAY_MAX = 64 << 10, TURN_STEPS = 16, REDIRECT_MAX = 8192 };

/* ---- clients (client.c)
 * --------------------------------------------------------------------------- */

enum client_state {
    CLIENT_PROXY,  /* a trusted proxy's, which says first for whom it is (proxied.c) */
    CLIENT_HEAD,   /* idle, or reading a head */
    CLIENT_BUSY,   /* an exchange runs */
    CLIENT_ANSWER, /* the gateway's own answer is being sent */
    CLIENT_LINGER, /* half-closed; what still comes is read and dropped until end of file */
    CLIENT_COPY,   /* nobody: of a copy that begins soon (mirror.h) */
    CLIENT_H2,     /* a connection for HTTP/2; its streams are clients of their own */
};

struct client {
    struct endpoint endpoint; /* first */
    uint8_t state;
    bool close_after;  /* the connection ends with the present answer */
    bool client_asked; /* ... because the client said so */
    bool trusted;      /* a trusted proxy */
    bool in_head;      /* bytes of a head have come */
    bool fresh;        /* nothing has come yet that says which HTTP it speaks */
    bool secure;       /* it came by TLS */
    bool certified;    /* ... with a certificate that was verified (client_cert.h) */
    uint8_t address_len;
    char address[ADDRESS_TEXT];
    uint8_t peer[ADDRESS_BYTES];
    uint32_t lingered; /* bytes dropped */
    struct worker *worker;
    struct link link;  /* worker.clients */
    struct link ready; /* worker.ready: goes on in the next turn */
    struct timer timer;
    uint64_t number;   /* of the connection, once it needs one; 0: not yet */
    size_t scanned;    /* of in, for the end of a head */
    struct chunk *in;  /* read, not yet consumed */
    struct chunk *out; /* heads and own answers to be sent, before what upstream.in has */
    struct exchange *exchange;
    struct h2_session *h2; /* CLIENT_H2 */
    struct peer *counted;  /* peers.h; NULL: it does not count for anybody */
};

/* tls: with a handshake first. NULL: no memory, no certificate; fd stays the caller's. It does not
 * count for its client yet. */
struct client *client_new(struct worker *w, int fd, const struct sockaddr_storage *peer,
                          enum tls_use tls);
/* One request on a connection that carries many: from the same peer, with
 * a timer of its own. s stays the caller's. NULL: no memory. */
struct client *client_of_stream(struct client *connection, struct h2_stream *s);
/* Nobody, for whom a request of this client is copied (mirror.h): what is sent to it is dropped.
 * NULL: no memory. */
struct client *client_of_copy(const struct client *of);
/* Counts the connection for its client. false: it has too many already. Trusted proxies may have
 * any number: they speak for many. */
bool client_enter(struct client *c);
void client_set_peer(struct client *c, const uint8_t address[ADDRESS_BYTES]);
/* proxied.c: CLIENT_PROXY becomes CLIENT_HEAD, or is reset (true); false: more has to come. */
bool proxied_read(struct client *c);
void client_event(struct client *c, uint32_t events);
void client_run(struct client *c);    /* goes on with whatever it can */
void client_close(struct client *c);  /* at once; an exchange must be gone before */
void client_reset(struct client *c);  /* at once, so that the peer sees a failure */
void client_linger(struct client *c); /* half-close, then read until end of file */
void client_later(struct client *c);  /* puts it into worker.ready */
/* What came is no request: says so, and ends the connection. */
void client_refuse(struct client *c, unsigned status, const char *why);
/* The present answer is out: the next request, or the end. */
void client_next(struct client *c);

/* answer.c: the gateway's own answers, all with `Server: sluice`. Puts it into c->out and makes the
 * client CLIENT_ANSWER; closes the connection after it if close, or where the request's body has
 * not been read. head_only: for HEAD. */
void answer_error(struct client *c, unsigned status, const char *text, bool head_only, bool close);
/* The same with Retry-After (RFC 9110 section 10.2.3), in seconds. */
void answer_retry(struct client *c, unsigned status, const char *text, uint32_t after_s,
                  bool head_only, bool close);
/* Any other; what it points to is copied. extra: whole field lines. */
struct answer {
    unsigned status;
    const char *type, *extra, *body;
    size_t len; /* of body; CHUNK_BULK at most */
};
void answer_with(struct client *c, const struct answer *a, bool head_only, bool close);
/* A 3xx; location is whole and clean. */
void answer_redirect(struct client *c, unsigned status, const char *location, bool close);
/* A whole answer: text as it is. */
void answer_text(struct client *c, unsigned status, const char *text, bool head_only, bool close);

/* ---- upstream (upstream.c, balance.c)
 * ---------------------------------------------------------------- */

/* What a worker saw of an instance of late (outlier.c). */
struct seen {
    uint32_t row;             /* failures, one after the other */
    uint32_t answers, failed; /* failed: of answers */
    uint32_t timed, slow;     /* answers whose latency counts; later than slow_us */
    uint64_t latency_us;      /* of timed, the sum */
};

/* What one worker knows about an instance. */
struct instance {
    uint32_t slot;
    struct reach reach;
    bool listed; /* in the present table */
    uint64_t identity;
    struct link link;                     /* worker.instance_list */
    struct link idle;                     /* struct upstream, the one used last first */
    struct link h2;                       /* struct h2_origin */
    uint32_t h2_streams;                  /* at once, by what it said last */
    uint32_t connections;                 /* that refer to this */
    uint32_t keepalive_ms;                /* by the snapshot */
    uint32_t learned_ms;                  /* by a close that was seen; 0: none */
    uint64_t rest_until_ms;               /* a connect failed */
    uint64_t ejected_until_ms;            /* worse than the others */
    uint64_t ramp_from_ms, ramp_until_ms; /* its share rises: new, or back */
    uint32_t slow_start_ms;
    struct seen seen;
    uint64_t slow_us;           /* UINT64_MAX: latency is not looked at */
    uint64_t drain_deadline_ms; /* 0: not draining */
    uint64_t others_at_ms;      /* when others was summed up */
    int64_t others;             /* in flight by other workers, about */
};

struct upstream {
    struct endpoint endpoint; /* first */
    bool connecting, reused;
    struct worker *worker;
    struct instance *instance;
    struct link link;          /* instance.idle */
    struct exchange *exchange; /* NULL: idle */
    struct reach_wait wait;    /* while it is connecting */
    struct chunk *in;          /* read, not yet passed on */
    uint64_t idle_since_ms;
    uint32_t keepalive_ms; /* what the instance said; 0: nothing */
    uint64_t tls;          /* how it was made (upstream_tls.c); 0: clear text */
};

/* An idle connection of that kind (upstream.tls) that may be used for such a request, or a new one
 * without TLS; NULL: refused, or no
 * descriptor or memory is left (*local: not the instance's fault). fresh: not an idle one. */
struct upstream *upstream_open(struct worker *w, struct instance *i, uint64_t tls, bool replayable,
                               bool fresh, bool *local);
bool upstream_quiet(const struct upstream *u); /* nothing to read, and not closed */
void upstream_event(struct upstream *u, uint32_t events);
void upstream_idle_event(
    struct upstream *u);                /* something happened to a connection without exchange */
void upstream_keep(struct upstream *u); /* the answer is whole: back to the idle ones */
void upstream_close(struct upstream *u);
void upstream_sweep(struct timer *t);

/* After a change of the table. */
void balance_sync(struct worker *w);
void balance_release(struct worker *w);
/* The better of two random instances of a pool by in-flight; not one that rests, nor `avoid` or one
 * that is ejected while there is another; limit > 0: only one with fewer in flight. NULL: none. */
struct instance *balance_choose(struct worker *w, const struct snapshot_pool *pool,
                                const struct instance *avoid, uint32_t limit);
void instance_unref(struct worker *w, struct instance *i);

/* ---- exchanges (exchange.c, dispatch.c, tunnel.c, hold.c)
 * ---------------------------------------------- */

enum exchange_state {
    EXCHANGE_HELD,
    EXCHANGE_QUEUED,  /* for a place (capacity.h) */
    EXCHANGE_DELAYED, /* by an injected fault */
    EXCHANGE_BACKOFF, /* waits before its next attempt */
    EXCHANGE_CONNECTING,
    EXCHANGE_ACTIVE,
    EXCHANGE_TUNNEL
};
enum answer_state { ANSWER_HEAD, ANSWER_BODY, ANSWER_DONE };

/* How an attempt or an exchange failed. */
enum failure { FAILED_CONNECT, FAILED_BROKEN, FAILED_BAD_ANSWER, FAILED_TIMEOUT };

struct mirror;

struct exchange {
    struct worker *worker;
    struct client *client;
    struct upstream *upstream; /* NULL while held */
    struct link link;          /* worker.exchanges */
    struct link hold_link;
    struct hold_queue *hold;
    struct capacity_queue *queue; /* its link is hold_link, too */
    uint32_t place;               /* slot + 1 of the share that it has a place in; 0: none */
    uint64_t queued_us;
    uint8_t state, answer, method;
    bool head_only; /* HEAD: no body in the answer */
    bool idempotent;
    bool replayable; /* ... and whole in what is kept */
    bool upgrade;    /* the client asked for one */
    bool http10;     /* the client speaks HTTP/1.0 */
    bool keeping;    /* what is sent is kept for a replay */
    bool sent_any;   /* in this attempt, bytes reached the kernel */
    bool sent_all;   /* the request is whole at the instance */
    bool deaf;       /* the instance takes no more of the request; its answer may still come */
    bool began;      /* answer bytes went to the client (also 1xx) */
    bool final;      /* the final head went to the client */
    bool unthanked;  /* the instance may not know yet that its last bytes have come */
    bool reusable;   /* the upstream connection, after this */
    bool head_taken; /* out of client.in, which starts with the body then */
    bool spilled, taken, was_held;
    bool fault_tried;              /* an injected fault has struck, or not */
    bool stream;                   /* of a TCP route: a connection's bytes; path is its listener */
    bool forwarded;                /* for_whom is known */
    bool h2c;                      /* the chosen instance speaks HTTP/2 */
    bool via;                      /* the answer gets a Via field */
    bool secure;                   /* came by TLS, also with a trusted proxy that ends it */
    bool certified;                /* by a client with a certificate that was verified */
    bool watched;                  /* for outliers */
    bool rescued;                  /* a retry hid a failed answer of an instance */
    bool copy;                     /* of a mirrored request (mirror.h) */
    bool drawn;                    /* whether it is mirrored was decided */
    bool printed;                  /* mirror looks at the answer's body */
    struct mirror *mirror;         /* NULL: it is not mirrored */
    uint8_t attempts, retries;     /* retries: those that the budget paid */
    bool traced, identified;       /* trace.context, trace.request_id are known */
    bool client_eof, upstream_eof; /* tunnel, stream: seen, and passed on */
    uint16_t sticky;               /* bucket to be set by Set-Cookie; STICKY_NONE */
    uint16_t status;
    uint16_t abort_after; /* EXCHANGE_DELAYED: its answer then; 0: none */
    uint16_t own_status; /* of the gateway's own answer, and why it gave that; for the access log */
    const char *own_text;
    struct chunk *access; /* access.h; NULL: no line is made */
    uint8_t fault;        /* enum sample_fault: of the last attempt that failed */
    uint8_t path_len;
    uint32_t app_slot, share_slot, instance_slot; /* UINT32_MAX: none yet */
    uint32_t rescued_slot;                        /* the share of the answer that was hidden */
    uint32_t timeout_ms, connect_ms, retries_left, hsts_s;
    uint64_t total_deadline_ms; /* 0: none */
    uint64_t slo_us;            /* of the chosen pool; UINT64_MAX: none */
    uint64_t start_us, start_ms, latency_us, deadline_ms, drain_deadline_ms, held_since_ms;
    /* In the hold, or for a fault: it is no instance's latency. */
    uint64_t waits_since_us, waited_us;
    uint64_t bytes_in, bytes_out;
    uint64_t body_limit; /* of the request's; 0: none */
    uint32_t min_rate;   /* of the client, bytes per second; 0: none */
    struct pace up_pace, down_pace;
    uint64_t taken_bytes, taken_ms; /* of the answer, when reclaim.c looked; 0: it has not */
    uint64_t slow_at_ms;            /* the client is too slow then; 0: it is not waited for */
    struct http1_body request, body;
    struct splice_pipe *pipe; /* splice.h; with bytes of the answer's body in it */
    struct chunk *kept;       /* the head as it is sent, then what was sent of the body */
    struct chunk *plain; /* the head before the share's rules, in which routes are looked up; NULL:
                            there are none, it is the first of kept */
    struct chunk *answer_edits;    /* of rules_copy_answer(); NULL: none */
    struct chunk *cursor;          /* what of kept goes next; NULL: all of it was sent */
    uint32_t cursor_at;            /* bytes of cursor that were sent */
    uint32_t kept_bytes, head_len; /* head_len: of the plain one */
    uint32_t up_ready;   /* bytes at the front of client.in that belong to the request's body */
    uint32_t down_ready; /* bytes at the front of upstream.in that belong to the answer's body */
    size_t scanned;      /* of upstream.in, for the end of a head */
    char cookie[48];     /* the name of the sticky cookie to set */
    /* Last, and not cleared. The target's beginning, and the client that a trusted proxy names: all
     * else of the request is gone by the time that an answer turns out to be a failure. */
    char path[SAMPLE_PATH_MAX + 1];
    uint8_t for_whom[ADDRESS_BYTES];
    struct trace trace;
};

/* With nothing of a request yet. NULL: no memory. */
struct exchange *exchange_make(struct client *c);
/* A request's head is complete at p (in c->in, already known to be h->len bytes). Takes it out of
 * c->in and starts the exchange. */
void exchange_start(struct client *c, const struct http1_head *h, const char *p);
void exchange_run(struct exchange *x);         /* both directions, as far as it goes */
void exchange_client_left(struct exchange *x); /* and the client */
void exchange_timeout(struct exchange *x);
void exchange_failed(struct exchange *x, enum failure why);
enum outcome {
    OUTCOME_WHOLE,
    OUTCOME_FAILED,
    OUTCOME_CUT,
    OUTCOME_CLIENT_LEFT,
    OUTCOME_UNSERVED,
    OUTCOME_REDIRECTED, /* by the gateway: no instance, no failure */
    OUTCOME_REFUSED, /* the client asked for more than its route takes (guard.h): its own fault */
    OUTCOME_MAINTENANCE,
    OUTCOME_FAULT /* injected; counted when it struck */
};
/* red.c: counts it by its route, once an instance was chosen. */
void red_count(struct exchange *x, enum outcome outcome);
/* sample.c: leaves a sample of a request that ends as a failure in the metrics. */
void sample_take(struct exchange *x, enum outcome outcome);
/* Ends and counts it; the upstream connection is kept or closed. Of the client only c->exchange is
 * touched. */
void exchange_end(struct exchange *x, enum outcome outcome);
void exchange_redirect(struct exchange *x, unsigned status, const char *location);
void exchange_answer(struct exchange *x, unsigned status, const char *text); /* no failure */
/* Ends it with an answer of the gateway's own; why: static, for the access log. */
void exchange_answer_with(struct exchange *x, enum outcome outcome, const struct answer *a,
                          const char *why);
void exchange_refuse(struct exchange *x, enum outcome outcome, unsigned status, const char *text);
/* The same with Retry-After. */
void exchange_refuse_for(struct exchange *x, enum outcome outcome, unsigned status,
                         const char *text, uint32_t after_s);
void exchange_progress(struct exchange *x); /* bytes went somewhere: the deadline moves */
void exchange_set_timer(struct exchange *x);
/* From start_us until now, without waited_us. */
uint64_t exchange_latency(const struct exchange *x);
void exchange_count_latency(struct exchange *x);
void exchange_drain_deadlines(struct worker *w); /* after a change of the table */
/* Ends the present attempt, which the instance failed, and closes its connection. */
void exchange_drop_attempt(struct exchange *x);

/* retry.c */
/* After a failure of an attempt whose connection is gone: sends the request again, now or a little
 * later, if it may be. false: it may not. avoid: the instance, NULL: it is gone. */
bool retry_failure(struct exchange *x, enum failure why, bool reused, const struct instance *avoid);
/* An answer that is retried instead of passed on; true: the exchange was started anew. */
bool retry_answer(struct exchange *x, uint16_t status);
void retry_now(struct exchange *x, const struct instance *avoid);

/* flow.c: one direction each, as far as it goes. false: the exchange is gone, or was started anew.
 */
bool flow_up(struct exchange *x);
bool flow_down(struct exchange *x);
void exchange_forget_kept(struct exchange *x);
/* The head in which routes are looked up, parsed once more; of a TCP route an empty one. */
void exchange_parse_kept(const struct exchange *x, struct http1_head *h, const char **p);

/* dispatch.c: chooses route, pool and instance, and opens a connection; or holds; or answers (then
 * x is gone). head: already parsed from p; NULL: x->kept is parsed again. */
void dispatch(struct exchange *x, const struct http1_head *head, const char *p,
              const struct instance *avoid);
/* For a held one, with at most `limit` in flight per instance. false: still nothing for it; true:
 * it left the hold, one way or the other. */
bool dispatch_held(struct exchange *x, uint32_t limit);

/* rewrite.c */
/* Before anything is sent in an attempt: the head as these rules (index + 1) want it; 0: as it
 * came. false: no memory. */
bool rewrite_request(struct exchange *x, uint32_t rules);
/* The Location for a request target; its length, or -1: it does not fit. */
ssize_t redirect_location(const struct snapshot_route *r, const char *target, size_t len, char *out,
                          size_t size);
void redirect_answer(struct exchange *x, const struct snapshot_route *r, const struct http1_head *h,
                     const char *p);
/* proofs.c: answers a CA that looks at this host (proofs.h); x is gone then. */
bool proofs_answer(struct exchange *x, const struct http1_head *h, const char *p);

/* For one that waited longest in its queue. false: still no place; true: it left the queue, one way
 * or the other. */
bool dispatch_queued(struct exchange *x);

/* tunnel.c */
void tunnel_start(struct exchange *x);
void tunnel_run(struct exchange *x);

/* stream.c */
void stream_keep_alive(int fd); /* a listener, whose connections inherit it */
/* A connection that came by that listener of a TCP route. -1: no memory; fd stays the caller's. */
int stream_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
                  const char *listener);
const struct table_route *stream_route(const struct exchange *x); /* NULL: none any more */
void stream_run(struct exchange *x);                              /* its instance is connected */
void stream_refuse(struct exchange *x, enum outcome outcome);     /* ends it by a reset */
void stream_timeout(struct exchange *x); /* idle for too long, or its instance's drain is over */

/* hold.c */
/* Waits for as long as the app says, or for `ms` since it began to; false: too many wait, or what
 * it would wait for is stopped. */
bool hold_put(struct exchange *x, const struct snapshot_app *app);
bool hold_put_for(struct exchange *x, const struct snapshot_app *app, uint32_t ms);
/* Of one that waits. */
void hold_set_time(struct exchange *x, uint32_t ms);
void hold_remove(struct exchange *x);
bool hold_waiting(struct worker *w,
                  uint32_t app_slot); /* somebody of this app waits in this worker */
void hold_release(struct worker *w);  /* lets go whom it can, first come first served */
void hold_tick(struct timer *t);

/* forward.c: heads for the other side. NULL: no memory. */
struct chunk *forward_request(const struct client *c, const struct http1_head *h, const char *p);
struct chunk *forward_answer(struct exchange *x, const struct http1_head *h, const char *p);

#endif
