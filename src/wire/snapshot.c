#include "wire/snapshot_internal.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 16 }; /* magic, format, total length, CRC-32C */

/* X(type, field): what is written of each struct, in that order. Both directions come from these.
 */
#define SNAPSHOT_FIELDS(X)                                                                         \
    X(u64, version)                                                                                \
    X(flag, rollback_ahead)                                                                        \
    X(u32, request_slots)                                                                          \
    X(u32, instance_slots)                                                                         \
    X(u32, apps_len)                                                                               \
    X(u32, routes_len)                                                                             \
    X(u32, pools_len)                                                                              \
    X(u32, instances_len)                                                                          \
    X(u32, matches_len)                                                                            \
    X(u32, draining_len)                                                                           \
    X(u32, edits_len)                                                                              \
    X(u32, rules_len)                                                                              \
    X(u32, pages_len)                                                                              \
    X(u32, callers_len)                                                                            \
    X(u32, errors_len)                                                                             \
    X(u32, proofs_len)                                                                             \
    X(u32, fields_len)                                                                             \
    X(u32, pointers_len)
#define APP_FIELDS(X)                                                                              \
    X(text, name)                                                                                  \
    X(text, environment)                                                                           \
    X(flag, hold)                                                                                  \
    X(flag, stopped)                                                                               \
    X(u32, hold_ms)                                                                                \
    X(u32, hold_limit)                                                                             \
    X(u32, drain_ms)                                                                               \
    X(u32, slot)                                                                                   \
    X(u32, first_error)                                                                            \
    X(u32, errors)                                                                                 \
    X(u16, maintenance.status)                                                                     \
    X(u32, maintenance.retry_after_s)                                                              \
    X(u32, maintenance.hold_ms)                                                                    \
    X(u32, maintenance.page)                                                                       \
    X(u32, maintenance.first_caller)                                                               \
    X(u32, maintenance.callers)                                                                    \
    X(u32, fault.share_ppm)                                                                        \
    X(u32, fault.delay_ms)                                                                         \
    X(u16, fault.abort)                                                                            \
    X(u64, fault.until_ms)                                                                         \
    X(u32, fault.first_caller)                                                                     \
    X(u32, fault.callers)
#define POOL_FIELDS(X)                                                                             \
    X(u32, release)                                                                                \
    X(text, version)                                                                               \
    X(u32, first_instance)                                                                         \
    X(u32, instances)                                                                              \
    X(u64, slo_us)
#define INSTANCE_FIELDS(X)                                                                         \
    X(text, id)                                                                                    \
    X(u32, slot)                                                                                   \
    X(u16, port)                                                                                   \
    X(u32, keepalive_ms)                                                                           \
    X(u64, ready_at_ms)                                                                            \
    X(flag, ipv6)                                                                                  \
    X(maybe_text, socket)                                                                          \
    X(u32, socket_uid)
#define MATCH_FIELDS(X)                                                                            \
    X(u32, kind)                                                                                   \
    X(text, name)                                                                                  \
    X(maybe_text, value)
#define DRAINING_FIELDS(X)                                                                         \
    X(u32, slot)                                                                                   \
    X(u64, deadline_ms)
#define SHARE_FIELDS(X)                                                                            \
    X(u32, pool)                                                                                   \
    X(u32, weight_ppm)                                                                             \
    X(u32, slot)                                                                                   \
    X(u32, rules)                                                                                  \
    X(flag, h2c)                                                                                   \
    X(maybe_text, tls.name)                                                                        \
    X(maybe_text, tls.ca)                                                                          \
    X(maybe_text, tls.pair)
#define ROUTE_FIELDS(X) /* then its shares and pins */                                             \
    X(u32, app)                                                                                    \
    X(text, host)                                                                                  \
    X(text, path)                                                                                  \
    X(u32, first_match)                                                                            \
    X(u32, matches)                                                                                \
    X(u32, timeout_ms)                                                                             \
    X(u32, retries)                                                                                \
    X(u32, redirect_https)                                                                         \
    X(u32, hsts_s)                                                                                 \
    X(flag, tls_auto)                                                                              \
    X(flag, client_cert)                                                                           \
    X(u32, resilience.connect_ms)                                                                  \
    X(u32, resilience.total_ms)                                                                    \
    X(u32, resilience.retry_budget_ppm)                                                            \
    X(u32, resilience.retry_backoff_ms)                                                            \
    X(u32, resilience.retry_on)                                                                    \
    X(u32, resilience.eject_errors)                                                                \
    X(u32, resilience.eject_latency_ppm)                                                           \
    X(u32, resilience.eject_base_ms)                                                               \
    X(u32, resilience.eject_max_ms)                                                                \
    X(u32, resilience.eject_share_ppm)                                                             \
    X(u32, resilience.in_flight)                                                                   \
    X(u32, resilience.pending)                                                                     \
    X(u32, resilience.queue_ms)                                                                    \
    X(u32, resilience.slow_start_ms)                                                               \
    X(u32, observe.log_ppm)                                                                        \
    X(u32, observe.log_slower_ms)                                                                  \
    X(flag, observe.log_errors)                                                                    \
    X(flag, observe.log_query)                                                                     \
    X(flag, observe.trace)                                                                         \
    X(flag, observe.request_id)                                                                    \
    X(u32, observe.trace_ppm)                                                                      \
    X(u32, guard.rate_requests)                                                                    \
    X(u32, guard.rate_per_ms)                                                                      \
    X(u32, guard.rate_burst)                                                                       \
    X(maybe_text, guard.rate_header)                                                               \
    X(u64, guard.body_bytes)                                                                       \
    X(u32, guard.head_bytes)                                                                       \
    X(u32, guard.min_rate)                                                                         \
    X(flag, forwarded)                                                                             \
    X(flag, via)                                                                                   \
    X(text, sticky_cookie)                                                                         \
    X(maybe_text, redirect.to)                                                                     \
    X(u16, redirect.status)                                                                        \
    X(u16, redirect.keep)                                                                          \
    X(u32, mirror.share_ppm)                                                                       \
    X(u32, mirror.to.pool)                                                                         \
    X(u32, mirror.to.weight_ppm)                                                                   \
    X(u32, mirror.to.slot)                                                                         \
    X(u32, mirror.to.rules)                                                                        \
    X(flag, mirror.to.h2c)                                                                         \
    X(maybe_text, mirror.to.tls.name)                                                              \
    X(maybe_text, mirror.to.tls.ca)                                                                \
    X(maybe_text, mirror.to.tls.pair)                                                              \
    X(u32, mirror.copied_slot)                                                                     \
    X(u32, mirror.methods)                                                                         \
    X(u32, mirror.body_bytes)                                                                      \
    X(u32, mirror.compare)                                                                         \
    X(u32, mirror.first_field)                                                                     \
    X(u32, mirror.fields)                                                                          \
    X(u32, mirror.first_ignored)                                                                   \
    X(u32, mirror.ignored)                                                                         \
    X(u32, shares_len)                                                                             \
    X(u32, pins_len)
#define EDIT_FIELDS(X)                                                                             \
    X(u16, kind)                                                                                   \
    X(text, name)                                                                                  \
    X(text, value)
#define ERROR_FIELDS(X)                                                                            \
    X(u16, status)                                                                                 \
    X(u32, page)
#define PAGE_FIELDS(X)                                                                             \
    X(text, type)                                                                                  \
    X(blob, body)
#define CALLER_FIELDS(X)                                                                           \
    X(maybe_text, name)                                                                            \
    X(maybe_text, value)                                                                           \
    X(u64, high)                                                                                   \
    X(u64, low)                                                                                    \
    X(u16, bits)
#define PROOF_FIELDS(X)                                                                            \
    X(text, host)                                                                                  \
    X(text, token)                                                                                 \
    X(text, answer)
#define FIELD_FIELDS(X) X(text, name)
#define POINTER_FIELDS(X) X(text, text)
#define RULES_FIELDS(X)                                                                            \
    X(maybe_text, strip_prefix)                                                                    \
    X(maybe_text, prefix)                                                                          \
    X(maybe_text, path)                                                                            \
    X(u32, first_edit)                                                                             \
    X(u32, request_edits)                                                                          \
    X(u32, answer_edits)
#define PIN_FIELDS(X) /* behind its share */                                                       \
    X(u32, first_match)                                                                            \
    X(u32, matches)                                                                                \
    X(flag, client_cert)

/* ---- CRC-32C (Castagnoli, reflected 0x82f63b78), a nibble at a time
 * ------------------------------ */

static uint32_t crc32c(const unsigned char *data, size_t len)
{
    static const uint32_t NIBBLE[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ NIBBLE[crc & 15];
        crc = (crc >> 4) ^ NIBBLE[crc & 15];
    }
    return ~crc;
}

/* ---- writing
 * -------------------------------------------------------------------------------------- */

static void put_bytes(struct buf *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_putc(out, (char)(value >> (8 * i)));
}
static void put_u16(struct buf *out, uint16_t value)
{
    put_bytes(out, value, 2);
}
static void put_u32(struct buf *out, uint32_t value)
{
    put_bytes(out, value, 4);
}
static void put_u64(struct buf *out, uint64_t value)
{
    put_bytes(out, value, 8);
}
static void put_flag(struct buf *out, bool value)
{
    put_bytes(out, value ? 1 : 0, 1);
}
static void put_text(struct buf *out, const char *value)
{
    size_t len = strlen(value);
    ASSERT(len <= UINT16_MAX);
    put_u16(out, (uint16_t)len);
    buf_append(out, value, len + 1);
}
static void put_maybe_text(struct buf *out, const char *value)
{
    put_flag(out, value != NULL);
    if (value != NULL)
        put_text(out, value);
}

static void put_blob(struct buf *out, struct snapshot_bytes value)
{
    put_u32(out, value.len);
    buf_append(out, value.data, value.len);
}

#define X(type, field) put_##type(out, item->field);
static void put_app(struct buf *out, const struct snapshot_app *item)
{
    APP_FIELDS(X)
}
static void put_pool(struct buf *out, const struct snapshot_pool *item)
{
    POOL_FIELDS(X)
}
static void put_instance(struct buf *out, const struct snapshot_instance *item)
{
    INSTANCE_FIELDS(X)
}
static void put_match(struct buf *out, const struct snapshot_match *item)
{
    MATCH_FIELDS(X)
}
static void put_draining(struct buf *out, const struct snapshot_draining *item)
{
    DRAINING_FIELDS(X)
}
static void put_error(struct buf *out, const struct snapshot_error *item)
{
    ERROR_FIELDS(X)
}
static void put_page(struct buf *out, const struct snapshot_page *item)
{
    PAGE_FIELDS(X)
}
static void put_caller(struct buf *out, const struct snapshot_caller *item)
{
    CALLER_FIELDS(X)
}
static void put_proof(struct buf *out, const struct snapshot_proof *item)
{
    PROOF_FIELDS(X)
}
static void put_field(struct buf *out, const struct snapshot_field *item)
{
    FIELD_FIELDS(X)
}
static void put_pointer(struct buf *out, const struct snapshot_pointer *item)
{
    POINTER_FIELDS(X)
}
static void put_edit(struct buf *out, const struct snapshot_edit *item)
{
    EDIT_FIELDS(X)
}
static void put_rules(struct buf *out, const struct snapshot_rules *item)
{
    RULES_FIELDS(X)
}
static void put_share(struct buf *out, const struct snapshot_share *item)
{
    SHARE_FIELDS(X)
}
static void put_pin(struct buf *out, const struct snapshot_pin *item)
{
    put_share(out, &item->share);
    PIN_FIELDS(X)
}
static void put_route(struct buf *out, const struct snapshot_route *item)
{
    ASSERT(item->shares_len <= SNAPSHOT_MAX_SPLIT && item->pins_len <= 2);
    ROUTE_FIELDS(X)
    for (uint32_t i = 0; i < item->shares_len; i++)
        put_share(out, &item->shares[i]);
    for (uint32_t i = 0; i < item->pins_len; i++)
        put_pin(out, &item->pins[i]);
}
static void put_body(struct buf *out, const struct snapshot *item)
{
    SNAPSHOT_FIELDS(X)
}
#undef X

static void patch_u32(struct buf *out, size_t at, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        out->data[at + i] = (char)(value >> (8 * i));
}

void snapshot_encode(const struct snapshot *s, struct buf *out)
{
    size_t start = out->len;
    buf_append(out, "SLSN", 4);
    put_u32(out, SNAPSHOT_FORMAT);
    put_u64(out, 0); /* length and CRC, known at the end */
    put_body(out, s);
#define X(array, kind, least, word)                                                                \
    for (uint32_t i = 0; i < s->array##_len; i++)                                                  \
        put_##kind(out, &s->array[i]);
    SNAPSHOT_ARRAYS(X)
#undef X
    size_t len = out->len - start;
    ASSERT(len <= SNAPSHOT_MAX_BYTES);
    patch_u32(out, start + 8, (uint32_t)len);
    patch_u32(out, start + 12,
              crc32c((const unsigned char *)out->data + start + HEADER_BYTES, len - HEADER_BYTES));
}

/* ---- reading
 * -------------------------------------------------------------------------------------- */

/* Where it stands in the body. The first thing that is wrong is kept in `wrong`; every read after
 * it gives zeros and "". */
struct reader {
    const char *at, *end;
    const char *wrong;
};

static void fail(struct reader *r, const char *why)
{
    if (r->wrong == NULL)
        r->wrong = why;
    r->at = r->end;
}

static uint64_t get_bytes(struct reader *r, size_t bytes)
{
    if ((size_t)(r->end - r->at) < bytes) {
        fail(r, "it ends too early");
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)r->at[i] << (8 * i);
    r->at += bytes;
    return value;
}
static void get_u16(struct reader *r, uint16_t *value)
{
    *value = (uint16_t)get_bytes(r, 2);
}
static void get_u32(struct reader *r, uint32_t *value)
{
    *value = (uint32_t)get_bytes(r, 4);
}
static void get_u64(struct reader *r, uint64_t *value)
{
    *value = get_bytes(r, 8);
}
static void get_flag(struct reader *r, bool *value)
{
    uint64_t byte = get_bytes(r, 1);
    if (byte > 1)
        fail(r, "a flag is neither 0 nor 1");
    *value = byte == 1;
}

/* Points into the body, which is kept beside the structs. Every text is free of control characters,
 * since texts go into headers, cookies and logs. */
static void get_text(struct reader *r, const char **value)
{
    *value = "";
    uint16_t len;
    get_u16(r, &len);
    if ((size_t)(r->end - r->at) < (size_t)len + 1) {
        fail(r, "it ends too early");
        return;
    }
    const char *text = r->at;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            fail(r, "a text has a control character");
            return;
        }
    if (text[len] != '\0') {
        fail(r, "a text does not end in NUL");
        return;
    }
    r->at += len + 1;
    *value = text;
}
static void get_maybe_text(struct reader *r, const char **value)
{
    bool there;
    get_flag(r, &there);
    *value = NULL;
    if (there)
        get_text(r, value);
}

static void get_blob(struct reader *r, struct snapshot_bytes *value)
{
    uint32_t len;
    get_u32(r, &len);
    *value = (struct snapshot_bytes){"", 0};
    if ((size_t)(r->end - r->at) < len) {
        fail(r, "it ends too early");
        return;
    }
    *value = (struct snapshot_bytes){r->at, len};
    r->at += len;
}

#define X(type, field) get_##type(r, &item->field);
static void get_app(struct reader *r, struct snapshot_app *item)
{
    APP_FIELDS(X)
}
static void get_pool(struct reader *r, struct snapshot_pool *item)
{
    POOL_FIELDS(X)
}
static void get_instance(struct reader *r, struct snapshot_instance *item)
{
    INSTANCE_FIELDS(X)
}
static void get_match(struct reader *r, struct snapshot_match *item)
{
    MATCH_FIELDS(X)
}
static void get_draining(struct reader *r, struct snapshot_draining *item)
{
    DRAINING_FIELDS(X)
}
static void get_error(struct reader *r, struct snapshot_error *item)
{
    ERROR_FIELDS(X)
}
static void get_page(struct reader *r, struct snapshot_page *item)
{
    PAGE_FIELDS(X)
}
static void get_caller(struct reader *r, struct snapshot_caller *item)
{
    CALLER_FIELDS(X)
}
static void get_proof(struct reader *r, struct snapshot_proof *item)
{
    PROOF_FIELDS(X)
}
static void get_field(struct reader *r, struct snapshot_field *item)
{
    FIELD_FIELDS(X)
}
static void get_pointer(struct reader *r, struct snapshot_pointer *item)
{
    POINTER_FIELDS(X)
}
static void get_edit(struct reader *r, struct snapshot_edit *item)
{
    EDIT_FIELDS(X)
}
static void get_rules(struct reader *r, struct snapshot_rules *item)
{
    RULES_FIELDS(X)
}
static void get_share(struct reader *r, struct snapshot_share *item)
{
    SHARE_FIELDS(X)
}
static void get_pin(struct reader *r, struct snapshot_pin *item)
{
    get_share(r, &item->share);
    PIN_FIELDS(X)
}
static void get_route(struct reader *r, struct snapshot_route *item)
{
    ROUTE_FIELDS(X)
    if (item->shares_len > SNAPSHOT_MAX_SPLIT || item->pins_len > 2) {
        fail(r, "a route has too many shares or pins");
        item->shares_len = item->pins_len = 0;
    }
    for (uint32_t i = 0; i < item->shares_len; i++)
        get_share(r, &item->shares[i]);
    for (uint32_t i = 0; i < item->pins_len; i++)
        get_pin(r, &item->pins[i]);
}
static void get_body(struct reader *r, struct snapshot *item)
{
    SNAPSHOT_FIELDS(X)
}
#undef X

/* The header; gives the length of the body, or -1. */
static int64_t check_frame(const char *data, size_t len, struct error *err)
{
    if (len < HEADER_BYTES || memcmp(data, "SLSN", 4) != 0)
        return error_set(err, ERROR_USAGE, "snapshot: it does not begin like one");
    struct reader r = {.at = data + 4, .end = data + HEADER_BYTES};
    uint32_t format, total, crc;
    get_u32(&r, &format);
    get_u32(&r, &total);
    get_u32(&r, &crc);
    if (format != SNAPSHOT_FORMAT)
        return error_set(err, ERROR_USAGE, "snapshot: format %u, this version reads %d", format,
                         SNAPSHOT_FORMAT);
    if (total != len || len > SNAPSHOT_MAX_BYTES)
        return error_set(err, ERROR_USAGE, "snapshot: %zu bytes, its header says %u", len, total);
    if (crc32c((const unsigned char *)data + HEADER_BYTES, len - HEADER_BYTES) != crc)
        return error_set(err, ERROR_USAGE, "snapshot: wrong checksum");
    return (int64_t)(len - HEADER_BYTES);
}

static size_t align_up(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

/* One block: the struct, the arrays, then the body, into which the texts point. */
static struct snapshot *allocate(const struct snapshot *head, const char *body, size_t body_len,
                                 char **body_copy)
{
    size_t bytes = align_up(sizeof *head) + body_len;
#define X(array, kind, least, word)                                                                \
    bytes += align_up((size_t)head->array##_len * sizeof *head->array);
    SNAPSHOT_ARRAYS(X)
#undef X
    struct snapshot *s = calloc(1, bytes);
    if (s == NULL)
        return NULL;
    *s = *head;
    char *at = (char *)s + align_up(sizeof *s);
#define X(array, kind, least, word)                                                                \
    s->array = (void *)at;                                                                         \
    at += align_up((size_t)s->array##_len * sizeof *s->array);
    SNAPSHOT_ARRAYS(X)
#undef X
    memcpy(at, body, body_len);
    *body_copy = at;
    return s;
}

struct snapshot *snapshot_decode(const void *data, size_t len, struct error *err)
{
    int64_t body_len = check_frame(data, len, err);
    if (body_len < 0)
        return NULL;
    const char *body = (const char *)data + HEADER_BYTES;
    struct snapshot head = {.version = 0};
    struct reader peek = {.at = body, .end = body + body_len};
    get_body(&peek, &head);
    if (peek.wrong != NULL) {
        error_set(err, ERROR_USAGE, "snapshot: %s", peek.wrong);
        return NULL;
    }
    if (snapshot_check_head(&head, (size_t)body_len, err) < 0)
        return NULL;
    char *copy;
    struct snapshot *s = allocate(&head, body, (size_t)body_len, &copy);
    if (s == NULL) {
        error_set(err, ERROR_FAILED, "snapshot: out of memory");
        return NULL;
    }
    struct reader r = {.at = copy + (peek.at - body), .end = copy + body_len};
#define X(array, kind, least, word)                                                                \
    for (uint32_t i = 0; i < s->array##_len; i++)                                                  \
        get_##kind(&r, &s->array[i]);
    SNAPSHOT_ARRAYS(X)
#undef X
    if (r.wrong == NULL && r.at != r.end)
        r.wrong = "there are bytes behind its end";
    if (r.wrong != NULL)
        error_set(err, ERROR_USAGE, "snapshot: %s", r.wrong);
    if (r.wrong != NULL || snapshot_check_meaning(s, err) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void snapshot_free(struct snapshot *s)
{
    free(s);
}

bool snapshot_route_is_tcp(const struct snapshot_route *r)
{
    return strncmp(r->host, SNAPSHOT_TCP, sizeof SNAPSHOT_TCP - 1) == 0;
}
