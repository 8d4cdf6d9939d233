/* The HTTP/1 codec: bytes in, facts out. Pure: no sockets, no allocation, no clock. Runs in the
 * gateway's hot path and in the controller's API. What it accepts is deliberately narrow, since
 * every message that two parsers can read in two ways is a way to smuggle a request (RFC 9112
 * section 11.2): lines end in CRLF only, no obs-fold, no space before a colon, one length at most,
 * `chunked` as the only transfer coding, one Host, no byte outside of what the grammar allows.
 *
 * Heads: look for the end with http1_head_end() as bytes come, then parse the whole in one go. All
 * places are offsets from the head's first byte, so that the buffer may move afterwards. Bodies:
 * http1_body_feed() on every span read; it says how many bytes belong to the body and checks them,
 * so that they can be passed on as they are.
 */
#ifndef SLUICE_WIRE_HTTP1_H
#define SLUICE_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HTTP1_MAX_HEAD = 16384,
    HTTP1_MAX_FIELDS = 100,
    HTTP1_ADDED_FIELDS = 32, /* room for what a proxy adds, and a route's rules */
    HTTP1_MAX_HOST = 255,
    HTTP1_MAX_TRAILERS = 8192,
    HTTP1_MAX_CHUNK_LINE = 256,
};

/* What can be wrong: name, the status that a server answers with (RFC 9110 section 15), the reason.
 */
#define HTTP1_ERRORS(X)                                                                            \
    X(BARE_LF, 400, "a line does not end in CRLF")                                                 \
    X(REQUEST_LINE, 400, "malformed request line")                                                 \
    X(METHOD, 400, "malformed method")                                                             \
    X(TARGET, 400, "malformed request target")                                                     \
    X(VERSION, 400, "malformed protocol version")                                                  \
    X(VERSION_UNSUPPORTED, 505, "this protocol version is not supported")                          \
    X(STATUS_LINE, 400, "malformed status line")                                                   \
    X(FIELD_NAME, 400, "malformed field name")                                                     \
    X(FIELD_VALUE, 400, "a field value has a control character")                                   \
    X(OBS_FOLD, 400, "a folded field line")                                                        \
    X(TOO_LONG, 431, "the head is too long")                                                       \
    X(TOO_MANY_FIELDS, 431, "too many fields")                                                     \
    X(NO_HOST, 400, "no Host field")                                                               \
    X(HOST, 400, "malformed or repeated Host field")                                               \
    X(CONTENT_LENGTH, 400, "malformed or repeated Content-Length")                                 \
    X(TRANSFER_ENCODING, 400, "malformed Transfer-Encoding")                                       \
    X(CODING_UNSUPPORTED, 501, "this transfer coding is not supported")                            \
    X(BOTH_LENGTHS, 400, "Content-Length together with Transfer-Encoding")                         \
    X(CONNECT_UNSUPPORTED, 501, "CONNECT is not supported")                                        \
    X(EXPECTATION, 417, "unknown expectation")                                                     \
    X(CHUNK, 400, "malformed chunk")                                                               \
    X(TRAILER, 400, "malformed trailer")

enum http1_error {
    HTTP1_OK = 0,
#define X(name, status, text) HTTP1_E_##name,
    HTTP1_ERRORS(X)
#undef X
        HTTP1_ERROR_COUNT
};
unsigned http1_error_status(enum http1_error e);
const char *http1_error_text(enum http1_error e);

/* Field names that mean something to a proxy. What apps believe of it (X-Forwarded-*, Client-Cert,
 * Sluice-Mirror) is known with '_' for '-' too, since CGI-like applications cannot tell the two
 * apart. */
#define HTTP1_NAMES(X)                                                                             \
    X(TE, "te")                                                                                    \
    X(HOST, "host")                                                                                \
    X(COOKIE, "cookie")                                                                            \
    X(EXPECT, "expect")                                                                            \
    X(UPGRADE, "upgrade")                                                                          \
    X(FORWARDED, "forwarded")                                                                      \
    X(CONNECTION, "connection")                                                                    \
    X(CLIENT_CERT, "client-cert")                                                                  \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(HTTP2_SETTINGS, "http2-settings")                                                            \
    X(SLUICE_MIRROR, "sluice-mirror")                                                              \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(CLIENT_CERT_CHAIN, "client-cert-chain")                                                      \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")

enum http1_name {
    HTTP1_N_OTHER = 0,
#define X(name, text) HTTP1_N_##name,
    HTTP1_NAMES(X)
#undef X
        HTTP1_NAME_COUNT
};

/* Methods; `idempotent` as of RFC 9110 section 9.2.2. Others are passed on as they are. */
#define HTTP1_METHODS(X)                                                                           \
    X(GET, "GET", true)                                                                            \
    X(HEAD, "HEAD", true)                                                                          \
    X(POST, "POST", false)                                                                         \
    X(PUT, "PUT", true)                                                                            \
    X(DELETE, "DELETE", true)                                                                      \
    X(OPTIONS, "OPTIONS", true)                                                                    \
    X(TRACE, "TRACE", true)                                                                        \
    X(PATCH, "PATCH", false)                                                                       \
    X(CONNECT, "CONNECT", false)

enum http1_method {
    HTTP1_M_OTHER = 0,
#define X(name, text, idempotent) HTTP1_M_##name,
    HTTP1_METHODS(X)
#undef X
        HTTP1_METHOD_COUNT
};
bool http1_idempotent(enum http1_method m);

enum http1_framing {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_CLOSE, /* answers only: until the connection closes */
};

struct http1_span {
    uint16_t at, len;
};

struct http1_field {
    struct http1_span name, value; /* the value without white space around it */
    uint16_t line_end;             /* behind the CRLF */
    uint8_t id;                    /* enum http1_name */
    bool named;                    /* named by a Connection field: ends at this hop */
};

struct http1_head {
    uint16_t len;          /* with the empty line */
    uint16_t fields_at;    /* where the first field line starts */
    uint8_t minor;         /* HTTP/1.minor: 0 or 1 */
    uint8_t method;        /* enum http1_method; requests */
    uint16_t status;       /* answers */
    uint8_t framing;       /* enum http1_framing */
    bool close;            /* Connection: close was there */
    bool keep_alive;       /* Connection: keep-alive was there */
    bool upgrade;          /* Connection: upgrade was there, and an Upgrade field other than h2c */
    bool expect_continue;  /* Expect: 100-continue */
    bool has_host;         /* a Host field, or an absolute target */
    uint32_t keep_alive_s; /* Keep-Alive: timeout=N of an answer; 0: none */
    uint64_t content_length;
    struct http1_span method_text;
    struct http1_span target;    /* as sent */
    struct http1_span path;      /* the target without scheme and authority; with the query */
    struct http1_span authority; /* Host's value (or the target's, which must be the same) */
    struct http1_span host;      /* without the port */
    struct http1_span upgrade_to;
    uint16_t fields_len;
    struct http1_field fields[HTTP1_MAX_FIELDS + HTTP1_ADDED_FIELDS];
};

/* The bytes of a span. */
static inline const char *http1_at(const char *head, struct http1_span s)
{
    return head + s.at;
}

/* Looks for the end of a head in the len bytes at p. *scanned (0 at first) keeps the place between
 * calls with more bytes of the same head. Gives the head's length, 0: more bytes are needed, or
 * -(enum http1_error). */
ssize_t http1_head_end(const char *p, size_t len, size_t *scanned);
/* RFC 9112 section 2.2: a client's stray CRLF before a request line is skipped. Gives how many
 * bytes. */
size_t http1_empty_lines(const char *p, size_t len);

/* p: a whole head of len bytes as found by http1_head_end(). HTTP1_OK, or what is wrong with it. */
enum http1_error http1_parse_request(const char *p, size_t len, struct http1_head *h);
/* For a head that this process made out of one that it had parsed: what was added to it does not
 * count for the limits of length and number. */
enum http1_error http1_parse_own_request(const char *p, size_t len, struct http1_head *h);
/* to: the method of the request, since an answer to HEAD has no body (RFC 9112 section 6.3). */
enum http1_error http1_parse_response(const char *p, size_t len, enum http1_method to,
                                      struct http1_head *h);

/* As http1_parse_own_request(). */
enum http1_error http1_parse_own_response(const char *p, size_t len, enum http1_method to,
                                          struct http1_head *h);

/* The first field with this (lower-case) name at or behind *from; NULL: none. *from is moved on. */
const struct http1_field *http1_find(const struct http1_head *h, const char *p, const char *name,
                                     size_t name_len, size_t *from);
/* The value of a cookie out of all Cookie fields; NULL: not there. */
const char *http1_cookie(const struct http1_head *h, const char *p, const char *name, size_t *len);

/* ---- bodies
 * --------------------------------------------------------------------------------------- */

struct http1_body {
    uint8_t framing;
    uint8_t state;
    bool done;
    bool strip;     /* chunked: give the payload without the framing (for HTTP/1.0 peers) */
    bool pause;     /* chunked: take nothing of the trailer section; cleared when it begins there */
    uint16_t line;  /* bytes in the present chunk line or trailer section */
    uint8_t digits; /* of the chunk size */
    uint8_t name_len;
    uint64_t left;      /* of the content length, or of the present chunk */
    uint64_t announced; /* the content length, or the sum of the chunks up to the present one */
    char name[18];      /* the present trailer's name, lower case, cut */
};

void http1_body_start(struct http1_body *b, enum http1_framing framing, uint64_t content_length);
/* Takes what belongs to the body from the n bytes at p: gives how many bytes that were, or -1 for
 * malformed framing (error CHUNK or TRAILER). b->done: the body ended there. *keep: how many bytes
 * at p are to be passed on: the same, or (strip) fewer, moved to the front of p. With b->pause it
 * stops in front of the trailer section and clears it: what is fed from there on are the trailers'
 * lines and the empty one. */
ssize_t http1_body_feed(struct http1_body *b, char *p, size_t n, size_t *keep);
/* The peer closed: whether the body was whole. */
bool http1_body_whole_at_eof(const struct http1_body *b);

#endif
