#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

void answer_begin(struct answer *a, bool head_request,
                  bool (*check)(void *arg, uint64_t at, const char *data, size_t len), void *arg)
{
    memset(a, 0, offsetof(struct answer, head));
    a->head_len = a->line_len = 0;
    a->chunk_phase = CHUNK_SIZE;
    a->head_request = head_request;
    a->length = -1;
    a->check = check;
    a->check_arg = arg;
    a->wrong = false;
}

static void take_field(struct answer *a, const char *name, const char *value)
{
    if (strcasecmp(name, "content-length") == 0)
        a->length = strtoll(value, NULL, 10);
    else if (strcasecmp(name, "transfer-encoding") == 0)
        a->chunked = strcasecmp(value, "chunked") == 0;
    else if (strcasecmp(name, "connection") == 0)
        a->close = a->close || strcasestr(value, "close");
    else if (strcasecmp(name, "server") == 0)
        a->by_gateway = strncmp(value, "sluice", 6) == 0;
    else if (strcasecmp(name, "x-version") == 0)
        snprintf(a->version, sizeof(a->version), "%.*s", LABEL_MAX - 1, value);
    else if (strcasecmp(name, "x-instance") == 0)
        snprintf(a->instance, sizeof(a->instance), "%.*s", LABEL_MAX - 1, value);
}

/* The head is whole: what does it say? A 1xx is dropped, and the next head awaited. */
static void take_head(struct answer *a)
{
    a->head[a->head_len] = '\0';
    int minor;
    if (sscanf(a->head, "HTTP/1.%d %d", &minor, &a->status) != 2 || a->status < 100) {
        a->phase = ANSWER_MALFORMED;
        return;
    }
    if (a->status < 200) {
        a->head_len = 0;
        return;
    }
    a->close = minor == 0;
    char *rest = NULL;
    for (char *line = strtok_r(a->head, "\r\n", &rest); line;
         line = strtok_r(NULL, "\r\n", &rest)) {
        char *colon = strchr(line, ':');
        if (!colon)
            continue;
        *colon = '\0';
        take_field(a, line, colon + 1 + strspn(colon + 1, " \t"));
    }
    if (a->head_request || a->status == 204 || a->status == 304)
        a->length = 0, a->chunked = false;
    a->until_close = !a->chunked && a->length < 0;
    a->phase = !a->chunked && a->length == 0 ? ANSWER_DONE : ANSWER_BODY;
}

static void take_data(struct answer *a, const char *data, size_t len)
{
    size_t room = sizeof(a->text) - 1 - a->text_len, n = len < room ? len : room;
    memcpy(a->text + a->text_len, data, n);
    a->text_len += n;
    a->text[a->text_len] = '\0';
    if (a->check && a->status < 300 && !a->check(a->check_arg, a->body_bytes, data, len))
        a->wrong = true;
    a->body_bytes += len;
}

/* A line of the chunked framing is whole. */
static void take_chunk_line(struct answer *a)
{
    char *end;
    a->line[a->line_len] = '\0';
    size_t len = a->line_len;
    a->line_len = 0;
    switch (a->chunk_phase) {
    case CHUNK_SIZE:
        a->chunk_left = strtoull(a->line, &end, 16);
        if (end == a->line)
            a->phase = ANSWER_MALFORMED;
        a->chunk_phase = a->chunk_left ? CHUNK_DATA : CHUNK_TRAILER;
        break;
    case CHUNK_END:
        if (len)
            a->phase = ANSWER_MALFORMED;
        a->chunk_phase = CHUNK_SIZE;
        break;
    default:
        if (!len)
            a->phase = ANSWER_DONE;
    }
}

static size_t take_chunked(struct answer *a, const char *data, size_t len)
{
    if (a->chunk_phase == CHUNK_DATA) {
        size_t n = len < a->chunk_left ? len : (size_t)a->chunk_left;
        take_data(a, data, n);
        a->chunk_left -= n;
        if (!a->chunk_left)
            a->chunk_phase = CHUNK_END;
        return n;
    }
    if (*data == '\n') {
        if (a->line_len && a->line[a->line_len - 1] == '\r')
            a->line_len--;
        take_chunk_line(a);
    } else if (a->line_len < sizeof(a->line) - 1) {
        a->line[a->line_len++] = *data;
    } else {
        a->phase = ANSWER_MALFORMED;
    }
    return 1;
}

static size_t take_sized(struct answer *a, const char *data, size_t len)
{
    if (!a->until_close && (uint64_t)a->length - a->body_bytes < len)
        len = (size_t)((uint64_t)a->length - a->body_bytes);
    take_data(a, data, len);
    if (!a->until_close && a->body_bytes == (uint64_t)a->length)
        a->phase = ANSWER_DONE;
    return len;
}

size_t answer_take(struct answer *a, const char *data, size_t len)
{
    size_t used = 0;
    while (used < len && a->phase < ANSWER_DONE) {
        a->begun = true;
        if (a->phase == ANSWER_BODY) {
            used += a->chunked ? take_chunked(a, data + used, len - used)
                               : take_sized(a, data + used, len - used);
            continue;
        }
        if (a->head_len == sizeof(a->head) - 1) {
            a->phase = ANSWER_MALFORMED;
            break;
        }
        a->head[a->head_len++] = data[used++];
        if (a->head_len >= 4 && memcmp(a->head + a->head_len - 4, "\r\n\r\n", 4) == 0)
            take_head(a);
    }
    return used;
}

void answer_eof(struct answer *a)
{
    if (a->phase == ANSWER_BODY && a->until_close)
        a->phase = ANSWER_DONE;
}
