/* hello: a small HTTP/1.1 server whose faults can be switched on, to show and to test deployments.
 *
 * It listens on 127.0.0.1:$PORT, or on the Unix socket $SLUICE_SOCKET, with one thread per
 * connection, and needs nothing but the C library.
 * Every option `--error-rate 5%` may also be given as the environment variable HELLO_ERROR_RATE=5%.
 * `hello --help` lists them. On SIGTERM it answers what is under way, then it exits with 0.
 *
 * clang-format off
 *   /            a greeting                     /version        JSON: version, release, instance,
 * pid /ready       200, or 503 with why           /health         200, or 503 (--unhealthy-after)
 *   /slow?ms=N   answers after N ms             /stream?ms=&bytes=  a download paced over N ms
 *   /echo        the body that was sent         /upload?ms=     reads the body slowly; its size,
 * CRC-32 /chunked?n=  n chunks                       /ws             WebSocket echo /env?name one
 * environment variable       /headers        the request's head as it came in /status?code=  that
 * status                  /bytes?n=       n bytes at once /exit?code=  ends the process /hang never
 * answers clang-format on
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 32 * 1024, ECHO_MAX = 8 * 1024 * 1024, IDLE_MS = 75 * 1000, PIECE = 16 * 1024 };

/* ---- options
 * ---------------------------------------------------------------------------------------- */

/* X(name, kind, default, what): duration (ms), share (of 2^64), number, size, flag; text. */
#define OPTIONS(X)                                                                                 \
    X(start_delay, DURATION, 0, "wait so long before listening")                                   \
    X(ready_delay, DURATION, 0, "answer /ready with 503 for so long")                              \
    X(never_ready, FLAG, 0, "answer /ready with 503 for ever")                                     \
    X(unhealthy_after, DURATION, 0, "answer /health with 503 after that time")                     \
    X(error_rate, SHARE, 0, "answer this share of the requests with 500")                          \
    X(latency, DURATION, 0, "answer so much later")                                                \
    X(latency_share, SHARE, UINT64_MAX, "... but only this share of the requests")                 \
    X(half_answers, SHARE, 0, "cut this share of the answers in the middle")                       \
    X(crash_at_start, FLAG, 0, "fail before listening")                                            \
    X(crash_after_requests, NUMBER, 0, "abort at this request")                                    \
    X(crash_after, DURATION, 0, "abort after that time")                                           \
    X(ignore_term, FLAG, 0, "do not stop on SIGTERM")                                              \
    X(stop_delay, DURATION, 0, "wait so long after SIGTERM before ending")                         \
    X(leak, SIZE, 0, "leak so many bytes per request")                                             \
    X(burn, DURATION, 0, "use so much CPU time for each request, in a thread of its own")          \
    X(listen_on, NUMBER, 0, "listen on this port instead of $PORT (1: on any other)")              \
    X(ipv6, FLAG, 0, "listen on ::1 instead of 127.0.0.1")                                         \
    X(socket_mode, NUMBER, 0, "the mode of the Unix socket, once it listens (384 is 0600)")        \
    X(worker, FLAG, 0, "do not listen: a background process that prints a line each second")       \
    X(log_requests, FLAG, 0, "print a line per request")                                           \
    X(fault_path, TEXT, NULL, "errors and latency only for this path")                             \
    X(fault_file, TEXT, NULL, "errors and latency only while this file exists")                    \
    X(seed, NUMBER, 1, "of the pseudo-random shares (0: another one each time)")

enum kind { DURATION, SHARE, NUMBER, SIZE, FLAG, TEXT };
typedef uint64_t type_DURATION, type_SHARE, type_NUMBER, type_SIZE, type_FLAG;
typedef const char *type_TEXT;

static struct options {
#define X(name, kind, preset, what) type_##kind name;
    OPTIONS(X)
#undef X
} opt = {
#define X(name, kind, preset, what) .name = (preset),
    OPTIONS(X)
#undef X
};

static const struct option_row {
    const char *name, *what;
    enum kind kind;
    void *value; /* in opt */
} option_rows[] = {
#define X(name, kind, preset, what) {#name, what, kind, &opt.name},
    OPTIONS(X)
#undef X
};
enum { OPTION_ROWS = sizeof(option_rows) / sizeof(option_rows[0]) };

static struct {
    const char *version, *release, *instance;
    int64_t started_ms;
    int stop_fd; /* readable for ever once SIGTERM came */
    atomic_uint_fast64_t requests;
    atomic_int connections;
    atomic_bool stopping;
    sem_t to_burn; /* requests */
} app;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&t, &t) < 0 && errno == EINTR)
        continue;
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("hello: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

/* "250ms" "2s" "5%" "0.05" "64Ki" "7": one reader for all kinds, since the unit says which it is.
 */
static uint64_t parse_value(const char *name, enum kind kind, const char *text)
{
    char *unit;
    errno = 0;
    double number = strtod(text, &unit);
    if (unit == text || errno || number < 0)
        die("%s: \"%s\" is not a number", name, text);
    static const struct {
        const char *unit;
        enum kind kind;
        double factor;
    } units[] = {
        {"ms", DURATION, 1}, {"s", DURATION, 1000}, {"m", DURATION, 60000},
        {"%", SHARE, 0.01},  {"", SHARE, 1},        {"", NUMBER, 1},
        {"", SIZE, 1},       {"Ki", SIZE, 1024},    {"Mi", SIZE, 1 << 20},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].kind != kind || strcmp(units[i].unit, unit) != 0)
            continue;
        number *= units[i].factor;
        if (kind != SHARE)
            return (uint64_t)number;
        return number >= 1 ? UINT64_MAX : (uint64_t)(number * 18446744073709551616.0);
    }
    die("%s: \"%s\" has no unit that fits (250ms, 2s, 5%%, 64Ki)", name, text);
}

static bool option_is(const char *argument, const char *name)
{
    for (; *name; argument++, name++)
        if (*argument != (*name == '_' ? '-' : *name))
            return false;
    return *argument == '\0';
}

static void set_option(const struct option_row *row, const char *name, const char *text)
{
    if (row->kind == TEXT)
        *(const char **)row->value = text;
    else if (row->kind == FLAG)
        *(uint64_t *)row->value = strcmp(text, "0") != 0 && strcmp(text, "false") != 0;
    else
        *(uint64_t *)row->value = parse_value(name, row->kind, text);
}

static void read_environment(void)
{
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        char name[64] = "HELLO_";
        size_t len = strlen(name);
        for (const char *c = option_rows[i].name; *c; c++)
            name[len++] = (char)(*c == '_' ? '_' : *c - 'a' + 'A');
        const char *text = getenv(name);
        if (!text || !*text)
            continue;
        set_option(&option_rows[i], name, text);
    }
}

static void usage(void)
{
    puts("usage: PORT=8081 hello [OPTION]...");
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        char name[64] = "--";
        size_t len = 2;
        for (const char *c = option_rows[i].name; *c; c++)
            name[len++] = (char)(*c == '_' ? '-' : *c);
        name[len] = '\0';
        printf("  %-24s %s\n", name, option_rows[i].what);
    }
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage();
            exit(0);
        }
        const struct option_row *row = NULL;
        for (size_t j = 0; j < OPTION_ROWS && !row; j++)
            if (strncmp(argv[i], "--", 2) == 0 && option_is(argv[i] + 2, option_rows[j].name))
                row = &option_rows[j];
        if (!row)
            die("no option \"%s\"; see hello --help", argv[i]);
        if (row->kind == FLAG) {
            set_option(row, argv[i], "1");
        } else if (i + 1 < argc) {
            set_option(row, argv[i], argv[i + 1]);
            i++;
        } else {
            die("%s needs a value", argv[i]);
        }
    }
}

/* ---- checksums and base64, for /upload and the WebSocket handshake
 * ------------------------------------ */

static uint32_t crc32_add(uint32_t crc, const unsigned char *data, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const unsigned char *p)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20)
            f = (b & c) | (~b & d), k = 0x5A827999;
        else if (i < 40)
            f = b ^ c ^ d, k = 0x6ED9EBA1;
        else if (i < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
        else
            f = b ^ c ^ d, k = 0xCA62C1D6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* Of a short text (at most 119 bytes: two blocks with the padding). */
static void sha1_short(const char *text, size_t len, unsigned char out[20])
{
    unsigned char block[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(block, text, len);
    block[len] = 0x80;
    size_t end = len + 9 <= 64 ? 64 : 128;
    block[end - 2] = (unsigned char)(len * 8 >> 8);
    block[end - 1] = (unsigned char)(len * 8);
    sha1_block(h, block);
    if (end == 128)
        sha1_block(h, block + 64);
    for (int i = 0; i < 20; i++)
        out[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64(const unsigned char *in, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0) |
                     (i + 2 < len ? in[i + 2] : 0);
        *out++ = digits[v >> 18 & 63];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *out = '\0';
}

/* ---- one connection
 * ----------------------------------------------------------------------------------- */

struct request {
    char method[16], target[2048]; /* target: with its query */
    char *query;                   /* within target; "" where there is none */
    const char *fields;            /* within the buffer: the header lines */
    size_t fields_len;
    int64_t length; /* -1: no Content-Length */
    bool chunked, expect, close, old;
    char websocket_key[64];
};

struct connection {
    int fd;
    char in[HEAD_MAX];
    size_t start, end; /* what was read and not used */
    struct request request;
    bool body_read, broken;
};

static bool send_all(struct connection *c, const void *data, size_t len)
{
    const char *p = data;
    while (len && !c->broken) {
        ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);
        if (n > 0)
            p += n, len -= (size_t)n;
        else if (n < 0 && errno != EINTR)
            c->broken = true;
    }
    return !c->broken;
}

/* Reads more into the buffer. False at the end of the connection; while `idle`, also when the
 * server stops and no request has begun. */
static bool read_more(struct connection *c, bool idle)
{
    if (c->start == c->end)
        c->start = c->end = 0;
    if (c->end == sizeof(c->in) && c->start) {
        memmove(c->in, c->in + c->start, c->end - c->start);
        c->end -= c->start, c->start = 0;
    }
    if (c->end == sizeof(c->in))
        return false;
    for (;;) {
        struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN},
                                {.fd = app.stop_fd, .events = POLLIN}};
        int n = poll(fds, idle ? 2 : 1, IDLE_MS);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !fds[0].revents)
            return false;
        ssize_t got = recv(c->fd, c->in + c->end, sizeof(c->in) - c->end, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        c->end += (size_t)got;
        return true;
    }
}

static bool read_line(struct connection *c, char *line, size_t size)
{
    for (;;) {
        char *eol = memchr(c->in + c->start, '\n', c->end - c->start);
        if (eol) {
            size_t len = (size_t)(eol - c->in) - c->start;
            size_t text = len && eol[-1] == '\r' ? len - 1 : len;
            if (text >= size)
                return false;
            memcpy(line, c->in + c->start, text);
            line[text] = '\0';
            c->start += len + 1;
            return true;
        }
        if (!read_more(c, false))
            return false;
    }
}

static void parse_field(struct request *r, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return;
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "content-length") == 0)
        r->length = strtoll(value, NULL, 10);
    else if (strcasecmp(line, "transfer-encoding") == 0)
        r->chunked = strcasecmp(value, "chunked") == 0;
    else if (strcasecmp(line, "expect") == 0)
        r->expect = strcasecmp(value, "100-continue") == 0;
    else if (strcasecmp(line, "connection") == 0 && strcasestr(value, "close"))
        r->close = true;
    else if (strcasecmp(line, "sec-websocket-key") == 0)
        snprintf(r->websocket_key, sizeof(r->websocket_key), "%s", value);
}

/* Reads one head. False: the connection is over (or what came is no HTTP: this server only ever
 * stands behind one that checks). */
static bool read_request(struct connection *c)
{
    struct request *r = &c->request;
    *r = (struct request){.length = -1};
    char *end;
    for (;;) {
        bool begun = c->start < c->end;
        if (begun && (end = memmem(c->in + c->start, c->end - c->start, "\r\n\r\n", 4)))
            break;
        if (!read_more(c, !begun))
            return false;
    }
    char *head = c->in + c->start;
    c->start = (size_t)(end + 4 - c->in);
    *end = '\0';
    char *eol = strstr(head, "\r\n");
    char version[16] = "";
    if (sscanf(head, "%15s %2047s %15s", r->method, r->target, version) != 3)
        return false;
    r->old = strcmp(version, "HTTP/1.1") != 0;
    r->close = r->old;
    r->fields = eol ? eol + 2 : end;
    r->fields_len = (size_t)(end - r->fields);
    char line[4096];
    for (const char *p = r->fields; p < end;) {
        const char *next = strstr(p, "\r\n");
        size_t len = next ? (size_t)(next - p) : (size_t)(end - p);
        snprintf(line, sizeof(line), "%.*s", (int)len, p);
        parse_field(r, line);
        p += len + 2;
    }
    char *mark = strchr(r->target, '?');
    r->query = mark ? mark + 1 : r->target + strlen(r->target);
    if (mark)
        *mark = '\0';
    c->body_read = !r->chunked && r->length <= 0;
    return true;
}

static uint64_t query_number(const struct request *r, const char *name, uint64_t absent)
{
    size_t len = strlen(name);
    for (const char *p = r->query; *p;) {
        if (strncmp(p, name, len) == 0 && p[len] == '=')
            return strtoull(p + len + 1, NULL, 10);
        p += strcspn(p, "&");
        p += *p == '&';
    }
    return absent;
}

/* Calls `piece` for each part of the request's body. */
typedef void body_fn(void *arg, const char *data, size_t len);

static bool read_exactly(struct connection *c, uint64_t len, body_fn *piece, void *arg)
{
    while (len) {
        if (c->start == c->end && !read_more(c, false))
            return false;
        size_t n = c->end - c->start;
        if (n > len)
            n = (size_t)len;
        if (piece)
            piece(arg, c->in + c->start, n);
        c->start += n;
        len -= n;
    }
    return true;
}

static bool read_body(struct connection *c, body_fn *piece, void *arg)
{
    struct request *r = &c->request;
    if (c->body_read)
        return true;
    c->body_read = true;
    if (r->expect && !send_all(c, "HTTP/1.1 100 Continue\r\n\r\n", 25))
        return false;
    if (!r->chunked)
        return read_exactly(c, (uint64_t)r->length, piece, arg);
    char line[1024];
    for (;;) {
        if (!read_line(c, line, sizeof(line)))
            return false;
        uint64_t len = strtoull(line, NULL, 16);
        if (len == 0)
            break;
        if (!read_exactly(c, len, piece, arg) || !read_line(c, line, sizeof(line)))
            return false;
    }
    do { /* trailers */
        if (!read_line(c, line, sizeof(line)))
            return false;
    } while (line[0]);
    return true;
}

/* The head of an answer. length -1: chunked. */
static bool send_head(struct connection *c, int status, const char *type, int64_t length)
{
    struct request *r = &c->request;
    if (atomic_load(&app.stopping))
        r->close = true;
    char head[1024], framing[64];
    if (length < 0)
        snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n");
    else
        snprintf(framing, sizeof(framing), "Content-Length: %" PRId64 "\r\n", length);
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d %s\r\nServer: hello\r\nX-Version: %s\r\nX-Release: %s\r\n"
                     "X-Instance: %s\r\nContent-Type: %s\r\n%s%s\r\n",
                     status, status < 400 ? "OK" : "Failed", app.version, app.release, app.instance,
                     type, framing, r->close ? "Connection: close\r\n" : "");
    return send_all(c, head, (size_t)n);
}

static bool answer(struct connection *c, int status, const char *type, const char *body, size_t len)
{
    if (!read_body(c, NULL, NULL))
        return false;
    return send_head(c, status, type, (int64_t)len) &&
           (strcmp(c->request.method, "HEAD") == 0 || send_all(c, body, len));
}

__attribute__((format(printf, 3, 4))) static bool answer_text(struct connection *c, int status,
                                                              const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1;
    return answer(c, status, text[0] == '{' ? "application/json" : "text/plain", text, len);
}

/* ---- what is answered
 * ----------------------------------------------------------------------------------- */

static bool serve_ready(struct connection *c)
{
    if (opt.never_ready)
        return answer_text(c, 503, "waiting for the database at db.internal:5432\n");
    if (now_ms() - app.started_ms < (int64_t)opt.ready_delay)
        return answer_text(c, 503, "warming up\n");
    return answer_text(c, 200, "ready\n");
}

static bool serve_health(struct connection *c)
{
    if (opt.unhealthy_after && now_ms() - app.started_ms >= (int64_t)opt.unhealthy_after)
        return answer_text(c, 503, "the event loop is stuck\n");
    return answer_text(c, 200, "healthy\n");
}

static bool serve_slow(struct connection *c)
{
    sleep_ms((int64_t)query_number(&c->request, "ms", 1000));
    return answer_text(c, 200, "slow answer of version %s\n", app.version);
}

/* The byte at place i of a download, so that the receiver can check every one of them. */
static char pattern(uint64_t i)
{
    return (char)('a' + i % 26);
}

static bool send_pattern(struct connection *c, uint64_t from, uint64_t len)
{
    char piece[PIECE];
    while (len) {
        size_t n = len < sizeof(piece) ? (size_t)len : sizeof(piece);
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(from + i);
        if (!send_all(c, piece, n))
            return false;
        from += n, len -= n;
    }
    return true;
}

static bool serve_stream(struct connection *c)
{
    uint64_t bytes = query_number(&c->request, "bytes", 100000);
    int64_t ms = (int64_t)query_number(&c->request, "ms", 0), began = now_ms();
    if (!read_body(c, NULL, NULL) || !send_head(c, 200, "application/octet-stream", (int64_t)bytes))
        return false;
    uint64_t sent = 0;
    while (sent < bytes) {
        int64_t spent = now_ms() - began;
        uint64_t due = spent >= ms ? bytes : bytes * (uint64_t)spent / (uint64_t)ms;
        if (due > sent && !send_pattern(c, sent, due - sent))
            return false;
        if (due > sent)
            sent = due;
        if (sent < bytes)
            sleep_ms(20);
    }
    return true;
}

static bool serve_chunked(struct connection *c)
{
    uint64_t n = query_number(&c->request, "n", 5), ms = query_number(&c->request, "ms", 0);
    if (!read_body(c, NULL, NULL) || !send_head(c, 200, "text/plain", -1))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        char text[64], chunk[96];
        int len = snprintf(text, sizeof(text), "chunk %" PRIu64 "\n", i);
        len = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n", len, text);
        if (!send_all(c, chunk, (size_t)len))
            return false;
        sleep_ms((int64_t)ms);
    }
    return send_all(c, "0\r\n\r\n", 5);
}

struct collected {
    char *data;
    size_t len;
    bool over;
};

static void collect(void *arg, const char *data, size_t len)
{
    struct collected *all = arg;
    char *grown = all->len + len <= ECHO_MAX ? realloc(all->data, all->len + len) : NULL;
    if (!grown) {
        all->over = true;
        return;
    }
    memcpy(grown + all->len, data, len);
    all->data = grown;
    all->len += len;
}

static bool serve_echo(struct connection *c)
{
    struct collected all = {0};
    bool going = read_body(c, collect, &all);
    if (going && all.over)
        going = answer_text(c, 413, "this echo takes at most %d bytes\n", ECHO_MAX);
    else if (going)
        going = answer(c, 200, "application/octet-stream", all.data, all.len);
    free(all.data);
    return going;
}

struct upload {
    uint64_t bytes, length;
    int64_t began, ms;
    uint32_t crc;
};

static void take_upload(void *arg, const char *data, size_t len)
{
    struct upload *u = arg;
    u->crc = crc32_add(u->crc, (const unsigned char *)data, len);
    u->bytes += len;
    if (u->ms && u->length) {
        int64_t due = (int64_t)((double)u->bytes / (double)u->length * (double)u->ms);
        sleep_ms(due - (now_ms() - u->began));
    }
}

static bool serve_upload(struct connection *c)
{
    struct upload u = {.length = c->request.length > 0 ? (uint64_t)c->request.length : 0,
                       .began = now_ms(),
                       .ms = (int64_t)query_number(&c->request, "ms", 0)};
    if (!read_body(c, take_upload, &u))
        return false;
    return answer_text(c, 200, "{\"bytes\":%" PRIu64 ",\"crc32\":\"%08" PRIx32 "\"}\n", u.bytes,
                       u.crc);
}

static bool serve_env(struct connection *c)
{
    const char *value = getenv(c->request.query);
    return value ? answer_text(c, 200, "%s", value) : answer_text(c, 404, "not set\n");
}

static bool serve_headers(struct connection *c)
{
    size_t len = c->request.fields_len;
    char *copy = malloc(len + 1); /* reading a body may overwrite the buffer */
    if (!copy)
        return false;
    memcpy(copy, c->request.fields, len);
    bool going = answer(c, 200, "text/plain", copy, len);
    free(copy);
    return going;
}

static bool serve_bytes(struct connection *c)
{
    uint64_t n = query_number(&c->request, "n", 1024);
    return read_body(c, NULL, NULL) && send_head(c, 200, "application/octet-stream", (int64_t)n) &&
           send_pattern(c, 0, n);
}

static bool serve_status(struct connection *c)
{
    int code = (int)query_number(&c->request, "code", 200);
    if (code == 204 || code == 304) { /* no body, and no Content-Length either */
        char head[256];
        int n =
            snprintf(head, sizeof(head), "HTTP/1.1 %d OK\r\nServer: hello\r\nX-Version: %s\r\n\r\n",
                     code, app.version);
        return read_body(c, NULL, NULL) && send_all(c, head, (size_t)n);
    }
    return answer_text(c, code, "status %d\n", code);
}

static bool serve_exit(struct connection *c)
{
    int code = (int)query_number(&c->request, "code", 0);
    c->request.close = true;
    answer_text(c, 200, "ending with %d\n", code);
    fprintf(stderr, "hello: ending with %d, as /exit asked\n", code);
    shutdown(c->fd, SHUT_WR);
    sleep_ms(20); /* so that the answer leaves before the process does */
    _exit(code);
}

static bool serve_hang(struct connection *c)
{
    while (read_more(c, false))
        c->start = c->end;
    return false;
}

static bool serve_version(struct connection *c)
{
    return answer_text(c, 200,
                       "{\"version\":\"%s\",\"release\":\"%s\",\"instance\":\"%s\",\"pid\":%d}\n",
                       app.version, app.release, app.instance, (int)getpid());
}

static bool serve_root(struct connection *c)
{
    return answer_text(c, 200, "Hello from version %s\n", app.version);
}

/* ---- WebSocket: echoes text, binary and ping, fragmented or not
 * ------------------------------------------ */

static bool frame_take(struct connection *c, void *to, size_t len)
{
    char *p = to;
    while (len) {
        if (c->start == c->end && !read_more(c, false))
            return false;
        size_t n = c->end - c->start < len ? c->end - c->start : len;
        memcpy(p, c->in + c->start, n);
        c->start += n, p += n, len -= n;
    }
    return true;
}

static bool websocket_frame(struct connection *c, char *payload, bool *over)
{
    unsigned char h[14];
    if (!frame_take(c, h, 2))
        return false;
    uint64_t len = h[1] & 127;
    if (len >= 126) {
        size_t extra = len == 126 ? 2 : 8;
        if (!frame_take(c, h + 2, extra))
            return false;
        len = 0;
        for (size_t i = 0; i < extra; i++)
            len = len << 8 | h[2 + i];
    }
    unsigned char mask[4] = {0};
    if (len > ECHO_MAX / 8 || ((h[1] & 128) && !frame_take(c, mask, 4)) ||
        !frame_take(c, payload, len))
        return false;
    for (uint64_t i = 0; i < len; i++)
        payload[i] = (char)(payload[i] ^ mask[i % 4]);
    int opcode = h[0] & 15;
    *over = opcode == 8;
    unsigned char out[10] = {(unsigned char)((h[0] & 0x80) | (opcode == 9 ? 10 : opcode))};
    size_t n = 2;
    if (len < 126) {
        out[1] = (unsigned char)len;
    } else {
        out[1] = len < 65536 ? 126 : 127;
        for (int shift = len < 65536 ? 8 : 56; shift >= 0; shift -= 8)
            out[n++] = (unsigned char)(len >> shift);
    }
    return opcode == 10 || (send_all(c, out, n) && send_all(c, payload, len));
}

static bool serve_websocket(struct connection *c)
{
    struct request *r = &c->request;
    if (!r->websocket_key[0])
        return answer_text(c, 426, "this is a WebSocket\n");
    char text[160], accept[32];
    unsigned char digest[20];
    int n =
        snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", r->websocket_key);
    sha1_short(text, (size_t)n, digest);
    base64(digest, sizeof(digest), accept);
    char head[512];
    n = snprintf(head, sizeof(head),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\nX-Version: %s\r\nX-Instance: %s\r\n\r\n",
                 accept, app.version, app.instance);
    if (!send_all(c, head, (size_t)n))
        return false;
    char *payload = malloc(ECHO_MAX / 8);
    for (bool over = false; payload && !over;)
        if (!websocket_frame(c, payload, &over))
            break;
    free(payload);
    return false;
}

/* ---- faults and choice
 * ----------------------------------------------------------------------------------- */

static const struct endpoint {
    const char *path;
    bool (*serve)(struct connection *c);
    bool exempt; /* faults leave it alone */
} endpoints[] = {
    {"/ready", serve_ready, true},     {"/health", serve_health, true},
    {"/version", serve_version, true}, {"/exit", serve_exit, true},
    {"/env", serve_env, true},         {"/slow", serve_slow, false},
    {"/stream", serve_stream, false},  {"/chunked", serve_chunked, false},
    {"/echo", serve_echo, false},      {"/upload", serve_upload, false},
    {"/headers", serve_headers, true}, {"/bytes", serve_bytes, false},
    {"/status", serve_status, true},   {"/hang", serve_hang, false},
    {"/ws", serve_websocket, true},    {"/", serve_root, false},
};

/* A share of the requests, the same ones for the same seed: mixes the request's number well. */
static bool falls_on(uint64_t request, uint64_t salt, uint64_t share)
{
    uint64_t x = request * 0x9E3779B97F4A7C15u + opt.seed * 0xD1B54A32D192ED03u + salt;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return share && (share == UINT64_MAX || (x ^ x >> 31) < share);
}

static bool half_answer(struct connection *c)
{
    if (read_body(c, NULL, NULL) && send_head(c, 200, "text/plain", 1000))
        send_all(c, "only half of it", 15);
    return false;
}

static bool faults_apply(const char *path)
{
    return (!opt.fault_path || strcmp(path, opt.fault_path) == 0) &&
           (!opt.fault_file || access(opt.fault_file, F_OK) == 0);
}

/* Beside the answers, as collecting garbage is: they need not wait for it. */
static void *burn_for_each_request(void *arg)
{
    (void)arg;
    for (;;) {
        struct timespec until, now;
        while (sem_wait(&app.to_burn) < 0)
            continue;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &until);
        until.tv_nsec += (long)(opt.burn % 1000 * 1000000);
        until.tv_sec += (time_t)(opt.burn / 1000) + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        do
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        while (now.tv_sec < until.tv_sec ||
               (now.tv_sec == until.tv_sec && now.tv_nsec < until.tv_nsec));
    }
    return NULL;
}

static bool serve(struct connection *c)
{
    const struct endpoint *e = endpoints;
    while (strcmp(e->path, "/") != 0 && strcmp(e->path, c->request.target) != 0)
        e++;
    if (e->exempt)
        return e->serve(c);
    uint64_t n = atomic_fetch_add(&app.requests, 1) + 1;
    if (opt.log_requests) {
        printf("request %" PRIu64 " %s %s\n", n, c->request.method, c->request.target);
        fflush(stdout);
    }
    if (opt.leak) {
        char *leaked = malloc(opt.leak);
        if (leaked)
            memset(leaked, (int)n, opt.leak); /* touched, or it would cost nothing */
    }
    if (opt.burn)
        sem_post(&app.to_burn);
    if (opt.crash_after_requests && n >= opt.crash_after_requests) {
        fprintf(stderr, "hello: crashing at request %" PRIu64 "\n", n);
        abort();
    }
    bool at_fault = faults_apply(c->request.target);
    if (at_fault && opt.latency && falls_on(n, 1, opt.latency_share))
        sleep_ms((int64_t)opt.latency);
    if (at_fault && falls_on(n, 2, opt.error_rate)) {
        fprintf(stderr, "hello: request %" PRIu64 " failed: no rows in result set\n", n);
        return answer_text(c, 500, "no rows in result set\n");
    }
    if (falls_on(n, 3, opt.half_answers))
        return half_answer(c);
    return e->serve(c);
}

static void *run_connection(void *arg)
{
    struct connection *c = arg;
    while (read_request(c) && serve(c) && read_body(c, NULL, NULL) && !c->request.close &&
           !c->broken)
        continue;
    shutdown(c->fd, SHUT_WR);
    close(c->fd);
    free(c);
    atomic_fetch_sub(&app.connections, 1);
    return NULL;
}

/* ---- the process
 * -------------------------------------------------------------------------------------------- */

static void on_term(int signal_number)
{
    (void)signal_number;
    if (opt.ignore_term)
        return;
    uint64_t one = 1;
    atomic_store(&app.stopping, true);
    if (write(app.stop_fd, &one, sizeof(one)) < 0)
        _exit(1);
}

static int listen_on(uint16_t port)
{
    int family = opt.ipv6 ? AF_INET6 : AF_INET, one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (opt.ipv6)
        a.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const char *host = opt.ipv6 ? "[::1]" : "127.0.0.1";
    socklen_t len = opt.ipv6 ? sizeof(a.v6) : sizeof(a.v4);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, &a.any, len) < 0 || listen(fd, 4096) < 0)
        die("cannot listen on %s:%u: %s", host, port, strerror(errno));
    getsockname(fd, &a.any, &len);
    printf("hello %s listens on %s:%u\n", app.version, host,
           ntohs(opt.ipv6 ? a.v6.sin6_port : a.v4.sin_port));
    fflush(stdout);
    return fd;
}

static int listen_on_socket(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        die("cannot listen on %s: longer than %zu bytes", path, sizeof(a.sun_path) - 1);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0 ||
        (opt.socket_mode && chmod(path, (mode_t)opt.socket_mode) < 0))
        die("cannot listen on %s: %s", path, strerror(errno));
    printf("hello %s listens on %s\n", app.version, path);
    fflush(stdout);
    return fd;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct connection *c = calloc(1, sizeof(*c));
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 128 * 1024);
        atomic_fetch_add(&app.connections, 1);
        if (c)
            c->fd = fd;
        if (!c || pthread_create(&thread, &attributes, run_connection, c) != 0) {
            close(fd);
            free(c);
            atomic_fetch_sub(&app.connections, 1);
        }
        pthread_attr_destroy(&attributes);
    }
}

/* How long until the next thing that time brings: the crash. */
static int next_timer(void)
{
    if (!opt.crash_after)
        return -1;
    int64_t left = app.started_ms + (int64_t)opt.crash_after - now_ms();
    if (left > 0)
        return left > 1000 ? 1000 : (int)left;
    fputs("hello: crashing, the time has come\n", stderr);
    abort();
}

static void serve_until_stopped(int listener)
{
    while (!atomic_load(&app.stopping)) {
        struct pollfd fds[2] = {{.fd = listener, .events = POLLIN},
                                {.fd = app.stop_fd, .events = POLLIN}};
        if (poll(fds, 2, next_timer()) > 0 && fds[0].revents)
            accept_all(listener);
    }
    accept_all(listener); /* who came before the signal is answered */
    close(listener);
    while (atomic_load(&app.connections) > 0)
        sleep_ms(5);
}

static void work_until_stopped(void)
{
    for (uint64_t n = 1; !atomic_load(&app.stopping); n++) {
        printf("worker of version %s: job %" PRIu64 " done\n", app.version, n);
        fflush(stdout);
        struct pollfd stop = {.fd = app.stop_fd, .events = POLLIN};
        next_timer();
        poll(&stop, 1, 1000);
    }
}

static const char *env_or(const char *name, const char *absent)
{
    const char *value = getenv(name);
    return value && *value ? value : absent;
}

int main(int argc, char **argv)
{
    read_environment();
    read_arguments(argc, argv);
    app.version = env_or("SLUICE_VERSION", "dev");
    app.release = env_or("SLUICE_RELEASE", "0");
    app.instance = env_or("SLUICE_INSTANCE", "hello");
    app.started_ms = now_ms();
    if (opt.seed == 0 && getrandom(&opt.seed, sizeof(opt.seed), 0) < 0)
        die("no random seed: %s", strerror(errno));
    app.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (opt.crash_at_start) {
        fputs("hello: cannot connect to the database at db.internal:5432: connection refused\n",
              stderr);
        return 1;
    }
    pthread_t burner;
    if (opt.burn && (sem_init(&app.to_burn, 0, 0) < 0 ||
                     pthread_create(&burner, NULL, burn_for_each_request, NULL) != 0))
        die("--burn: %s", strerror(errno));
    struct pollfd stop = {.fd = app.stop_fd, .events = POLLIN};
    if (opt.start_delay)
        poll(&stop, 1, (int)opt.start_delay);
    const char *socket_path = getenv("SLUICE_SOCKET");
    if (opt.worker) {
        work_until_stopped();
    } else if (socket_path && !opt.listen_on) {
        serve_until_stopped(listen_on_socket(socket_path));
    } else {
        unsigned long port = strtoul(env_or("PORT", "0"), NULL, 10);
        if (opt.listen_on)
            port = opt.listen_on == 1 ? 0 : opt.listen_on;
        else if (!getenv("PORT"))
            die("PORT is not set: which port shall I listen on?");
        if (port > 65535)
            die("PORT: %lu is not a port", port);
        serve_until_stopped(listen_on((uint16_t)port));
    }
    sleep_ms((int64_t)opt.stop_delay);
    printf("hello %s ends\n", app.version);
    return 0;
}
