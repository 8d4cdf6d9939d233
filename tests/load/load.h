/* load: puts HTTP/1.1 requests on a server and accounts for every single one.
 *
 * One thread, epoll. Closed loop (each connection asks again at once) or open loop (--rate:
 * requests are due at fixed times, and their latency counts from then). Each request ends in
 * exactly one of: ok, or one of the classes of failure below. Nothing is retried, but for the one
 * thing that HTTP allows any client: a GET whose reused connection the server had closed before a
 * byte of the answer came is sent once more on a new connection, and counted in stale_retries.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* X(name, what): how a request may fail. */
#define FAILURES(X)                                                                                \
    X(refused, "the connection was refused")                                                       \
    X(connect, "no connection for another reason")                                                 \
    X(reset, "reset before the answer began")                                                      \
    X(closed, "closed before the answer began")                                                    \
    X(cut, "reset or closed within the answer")                                                    \
    X(timeout, "no whole answer in time")                                                          \
    X(gateway_5xx, "5xx with `Server: sluice`")                                                    \
    X(app_5xx, "5xx of the app")                                                                   \
    X(gateway_4xx, "4xx with `Server: sluice`")                                                    \
    X(app_4xx, "4xx of the app")                                                                   \
    X(malformed, "not HTTP")                                                                       \
    X(wrong_body, "the body was not what it should be")

enum failure {
#define X(name, what) FAILED_##name,
    FAILURES(X)
#undef X
        FAILURES_COUNT,
    NOT_FAILED = FAILURES_COUNT
};

enum check { CHECK_NONE, CHECK_ECHO, CHECK_CRC, CHECK_PATTERN };

/* One kind of request of the mix: 'POST /echo size=1000 weight=3'. */
struct kind {
    char text[256];
    char method[16], path[200];
    size_t body_bytes;
    int64_t pace_ms; /* the body is sent over this time */
    unsigned weight;
    enum check check;
};

enum { KINDS_MAX = 16 };

struct options {
    char host[64], host_header[128];
    uint16_t port;
    unsigned connections;
    double rate; /* requests per second; 0: closed loop */
    int64_t duration_ms, timeout_ms;
    uint64_t requests; /* 0: no limit */
    uint64_t reuse;    /* requests per connection at most; 0: no limit */
    bool keepalive, live;
    const char *events_path;
    char headers[4096]; /* extra ones, with their CRLFs */
    struct kind kinds[KINDS_MAX];
    size_t kinds_len;
    unsigned weights;
};

/* Reads the command line; prints what is wrong and exits with 2. */
void options_parse(struct options *o, int argc, char **argv);

/* ---- answer.c: the answer of one request, bytes in
 * ----------------------------------------------------- */

enum { ANSWER_HEAD_MAX = 32 * 1024, ANSWER_TEXT_MAX = 240, LABEL_MAX = 64 };

enum answer_phase { ANSWER_HEAD, ANSWER_BODY, ANSWER_DONE, ANSWER_MALFORMED };

struct answer {
    enum answer_phase phase;
    bool begun;        /* a byte came */
    bool head_request; /* no body, whatever the head says */
    int status;
    bool by_gateway, close, chunked, until_close;
    int64_t length; /* -1: unknown */
    uint64_t body_bytes;
    char version[LABEL_MAX], instance[LABEL_MAX];
    char text[ANSWER_TEXT_MAX]; /* the body's beginning */
    size_t text_len;
    char head[ANSWER_HEAD_MAX];
    size_t head_len;
    int chunk_phase;
    uint64_t chunk_left;
    char line[128];
    size_t line_len;
    /* Where the body goes, in pieces; false: it is not the right one. */
    bool (*check)(void *arg, uint64_t at, const char *data, size_t len);
    void *check_arg;
    bool wrong;
};

void answer_begin(struct answer *a, bool head_request,
                  bool (*check)(void *arg, uint64_t at, const char *data, size_t len), void *arg);
/* Takes bytes until the answer is done; gives how many it used. */
size_t answer_take(struct answer *a, const char *data, size_t len);
/* The connection's end: for a body without a length that is its end. */
void answer_eof(struct answer *a);

/* ---- body.c: bodies that can be told apart
 * ---------------------------------------------------------------- */

/* Byte i of the body of request n. */
char body_byte(uint64_t request, uint64_t i);
void body_fill(uint64_t request, uint64_t from, char *to, size_t len);
uint32_t body_crc(uint64_t request, uint64_t len);

/* ---- report.c
 * ------------------------------------------------------------------------------------------------
 */

struct outcome {
    uint64_t number;
    const struct kind *kind;
    size_t kind_index;
    enum failure failure;
    int64_t due_us, end_us; /* monotonic */
    const char *version, *instance, *what;
    uint64_t request_of_connection;
};

struct report;
struct report *report_new(const struct options *o, int64_t start_us);
void report_free(struct report *r);
void report_add(struct report *r, const struct outcome *outcome);
void report_stale_retry(struct report *r);
void report_connection(struct report *r);
/* A line about the second that ended, to stderr. */
void report_second(struct report *r, int64_t now_us);
/* The JSON object. */
void report_print(struct report *r, FILE *out, uint64_t sent, int64_t now_us);

#endif
