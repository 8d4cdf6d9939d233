#include "wire/http1.h"

#include "wire/http1_chars.h"

#include <string.h>

/* RFC 9112 section 7.1: chunked-body = *chunk last-chunk trailer-section CRLF. The states stand for
 * what the next byte belongs to. */
enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    TRAILER_END_LF,
};

void http1_body_start(struct http1_body *b, enum http1_framing framing, uint64_t content_length)
{
    memset(b, 0, sizeof *b);
    b->framing = (uint8_t)framing;
    b->left = b->announced = framing == HTTP1_BODY_LENGTH ? content_length : 0;
    b->done = framing == HTTP1_BODY_NONE || (framing == HTTP1_BODY_LENGTH && content_length == 0);
}

bool http1_body_whole_at_eof(const struct http1_body *b)
{
    return b->done || b->framing == HTTP1_BODY_CLOSE;
}

/* RFC 9110 section 6.5.1: a trailer must not carry framing, routing or connection fields; RFC 9440
 * section 2: nor a client's certificate. */
static bool trailer_forbidden(const struct http1_body *b)
{
    static const char *const names[] = {
        "content-length", "transfer-encoding", "host",        "connection",       "te",
        "trailer",        "upgrade",           "client-cert", "client-cert-chain"};
    char name[sizeof b->name];
    for (size_t i = 0; i < b->name_len; i++)
        name[i] = b->name[i] == '_' ? '-' : b->name[i];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == b->name_len && memcmp(names[i], name, b->name_len) == 0)
            return true;
    return false;
}

/* The byte behind a chunk size: CR, or ';' which starts an extension. */
static bool chunk_size_ends(struct http1_body *b, char c)
{
    if (b->digits == 0 || (c != '\r' && c != ';'))
        return false;
    b->state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_LF;
    return true;
}

static bool chunk_size(struct http1_body *b, char c)
{
    if (!char_is(c, CHAR_HEX))
        return chunk_size_ends(b, c);
    if (++b->digits > 15)
        return false;
    b->left = b->left << 4 | (uint64_t)char_hex(c);
    return true;
}

/* Extensions are passed on, but must be plain text on one line, and short. */
static bool chunk_ext(struct http1_body *b, char c)
{
    if (c == '\r') {
        b->state = CHUNK_SIZE_LF;
        return true;
    }
    return char_is(c, CHAR_VALUE) && ++b->line <= HTTP1_MAX_CHUNK_LINE;
}

static bool trailer_name(struct http1_body *b, char c)
{
    if (c == ':') {
        b->state = TRAILER_VALUE;
        return b->name_len > 0 && !trailer_forbidden(b);
    }
    if (b->name_len < sizeof b->name)
        b->name[b->name_len++] = char_lower(c);
    return char_is(c, CHAR_TOKEN);
}

/* One byte of framing. false: malformed. */
static bool step(struct http1_body *b, char c)
{
    if (b->state >= TRAILER_START && ++b->line > HTTP1_MAX_TRAILERS)
        return false;
    switch ((enum chunk_state)b->state) {
    case CHUNK_SIZE: return chunk_size(b, c);
    case CHUNK_EXT: return chunk_ext(b, c);
    case CHUNK_SIZE_LF:
        b->state = b->left > 0 ? CHUNK_DATA : TRAILER_START;
        b->announced += b->left;
        b->line = 0;
        b->digits = 0;
        return c == '\n';
    case CHUNK_DATA: return false; /* cannot happen: data is taken in spans */
    case CHUNK_DATA_CR: b->state = CHUNK_DATA_LF; return c == '\r';
    case CHUNK_DATA_LF: b->state = CHUNK_SIZE; return c == '\n';
    case TRAILER_START:
        b->name_len = 0;
        b->state = c == '\r' ? TRAILER_END_LF : TRAILER_NAME;
        return c == '\r' || (char_is(c, CHAR_TOKEN) && trailer_name(b, c));
    case TRAILER_NAME: return trailer_name(b, c);
    case TRAILER_VALUE:
        if (c == '\r')
            b->state = TRAILER_LF;
        return c == '\r' || char_is(c, CHAR_VALUE);
    case TRAILER_LF: b->state = TRAILER_START; return c == '\n';
    case TRAILER_END_LF: b->done = true; return c == '\n';
    }
    return false;
}

static ssize_t feed_chunked(struct http1_body *b, char *p, size_t n, size_t *keep)
{
    size_t at = 0, kept = 0;
    while (at < n && !b->done) {
        if (b->state == CHUNK_DATA) {
            size_t take = n - at < b->left ? n - at : (size_t)b->left;
            if (b->strip) {
                memmove(p + kept, p + at, take);
                kept += take;
            }
            at += take;
            b->left -= take;
            if (b->left == 0)
                b->state = CHUNK_DATA_CR;
        } else if (b->pause && b->state == TRAILER_START) {
            b->pause = false;
            break;
        } else if (!step(b, p[at++])) {
            return -1;
        }
    }
    *keep = b->strip ? kept : at;
    return (ssize_t)at;
}

ssize_t http1_body_feed(struct http1_body *b, char *p, size_t n, size_t *keep)
{
    *keep = 0;
    if (b->done)
        return 0;
    if (b->framing == HTTP1_BODY_CHUNKED)
        return feed_chunked(b, p, n, keep);
    if (b->framing == HTTP1_BODY_LENGTH) {
        n = n < b->left ? n : (size_t)b->left;
        b->left -= n;
        b->done = b->left == 0;
    }
    *keep = n;
    return (ssize_t)n;
}
