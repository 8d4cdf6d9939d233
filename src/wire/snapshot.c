#include "wire/snapshot.h"

#include "base/assert.h"
#include "base/field.h"
#include "wire/http1.h"
#include "wire/http1_chars.h"
#include "wire/jsonprint.h"
#include "wire/metrics.h"
#include "wire/runsocket.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 16, /* magic, format, total length, CRC-32C */
    MAX_ID = 255,
    MAX_HOST = 255,
    MAX_PATH = 4096,
    MAX_MATCH = 8192,
    MAX_RETRIES = 100,
};

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
    X(u32, rules)
#define ROUTE_FIELDS(X) /* then its shares and pins */                                             \
    X(u32, app)                                                                                    \
    X(text, host)                                                                                  \
    X(text, path)                                                                                  \
    X(u32, first_match)                                                                            \
    X(u32, matches)                                                                                \
    X(u32, timeout_ms)                                                                             \
    X(u32, retries)                                                                                \
    X(u32, h2c)                                                                                    \
    X(u32, redirect_https)                                                                         \
    X(u32, hsts_s)                                                                                 \
    X(flag, tls_auto)                                                                              \
    X(flag, client_cert)                                                                           \
    X(maybe_text, tls.name)                                                                        \
    X(maybe_text, tls.ca)                                                                          \
    X(maybe_text, tls.pair)                                                                        \
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
    X(u32, matches)

/* The arrays in their order on the wire: X(array, struct, least bytes of one, what one is called).
 */
#define ARRAYS(X)                                                                                  \
    X(apps, app, 23, "app")                                                                        \
    X(pools, pool, 23, "pool")                                                                     \
    X(instances, instance, 27, "instance")                                                         \
    X(matches, match, 8, "match")                                                                  \
    X(routes, route, 180, "route")                                                                 \
    X(draining, draining, 12, "draining instance")                                                 \
    X(edits, edit, 8, "edit")                                                                      \
    X(rules, rules, 15, "set of rules")                                                            \
    X(pages, page, 7, "page")                                                                      \
    X(errors, error, 6, "error")                                                                   \
    X(callers, caller, 20, "caller")                                                               \
    X(proofs, proof, 9, "proof for a CA")                                                          \
    X(fields, field, 3, "field to be compared")                                                    \
    X(pointers, pointer, 3, "JSON pointer")

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
    ARRAYS(X)
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

/* ---- what it must mean
 * ---------------------------------------------------------------------------- */

static bool range_fits(uint32_t first, uint32_t len, uint32_t all)
{
    return first <= all && len <= all - first;
}

static bool len_between(const char *text, size_t least, size_t most)
{
    size_t len = strlen(text);
    return len >= least && len <= most;
}

/* A token of RFC 9110 (header and cookie names). */
static bool is_token(const char *s, bool lower)
{
    for (; *s != '\0'; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z' && !lower);
        if (!letter && !(*s >= '0' && *s <= '9') && strchr("!#$%&'*+-.^_`|~", *s) == NULL)
            return false;
    }
    return true;
}

static bool is_host(const char *s)
{
    for (; *s != '\0'; s++)
        if ((*s >= 'A' && *s <= 'Z') || *s == ' ' || *s == '/')
            return false;
    return true;
}

/* Each check gives NULL, or what is wrong. */
static bool is_error_status(uint16_t status)
{
    return status >= 400 && status <= 599;
}

static const char *check_orders(const struct snapshot *s, const struct snapshot_app *a)
{
    const struct snapshot_maintenance *m = &a->maintenance;
    const struct snapshot_fault *f = &a->fault;
    if (m->status != 0 && !is_error_status(m->status))
        return "its maintenance's status is no error";
    if (m->page > s->pages_len)
        return "its maintenance's page is out of range";
    if (f->share_ppm > 1000000 || (f->abort != 0 && !is_error_status(f->abort)))
        return "its fault's share or status is out of range";
    if (f->share_ppm > 0 && f->delay_ms == 0 && f->abort == 0)
        return "its fault neither delays nor aborts";
    if (!range_fits(a->first_error, a->errors, s->errors_len))
        return "its errors are out of range";
    return range_fits(m->first_caller, m->callers, s->callers_len) &&
                   range_fits(f->first_caller, f->callers, s->callers_len)
               ? NULL
               : "its callers are out of range";
}

static const char *check_error(const struct snapshot *s, const struct snapshot_error *e)
{
    if (!is_error_status(e->status))
        return "its status is no error";
    return e->page > 0 && e->page <= s->pages_len ? NULL : "its page is out of range";
}

static const char *check_page(const struct snapshot *s, const struct snapshot_page *p)
{
    (void)s;
    if (p->type[0] == '\0' || !len_between(p->type, 1, MAX_ID) || !field_is_value(p->type))
        return "its type is none";
    return p->body.len <= SNAPSHOT_MAX_PAGE ? NULL : "it is too long";
}

static const char *check_caller(const struct snapshot *s, const struct snapshot_caller *k)
{
    (void)s;
    if (k->name != NULL && (!field_is_name(k->name) || !is_token(k->name, true)))
        return "its header's name is not a lower-case token";
    return k->bits <= 128 ? NULL : "its network has more than 128 bits";
}

static const char *check_proof(const struct snapshot *s, const struct snapshot_proof *p)
{
    (void)s;
    return len_between(p->host, 1, MAX_HOST) && len_between(p->token, 1, MAX_ID) &&
                   len_between(p->answer, 1, 2 * MAX_ID)
               ? NULL
               : "its host, token or answer is empty or too long";
}

static const char *check_app(const struct snapshot *s, const struct snapshot_app *a)
{
    if (!len_between(a->name, 1, MAX_ID) || !len_between(a->environment, 1, MAX_ID))
        return "its name or environment is empty or too long";
    const char *wrong = check_orders(s, a);
    if (wrong != NULL)
        return wrong;
    return a->slot < s->request_slots ? NULL : "its slot is out of range";
}

static const char *check_pool(const struct snapshot *s, const struct snapshot_pool *p)
{
    if (!len_between(p->version, 0, MAX_ID))
        return "its version is too long";
    return range_fits(p->first_instance, p->instances, s->instances_len)
               ? NULL
               : "its instances are out of range";
}

static const char *check_instance(const struct snapshot *s, const struct snapshot_instance *i)
{
    if (!len_between(i->id, 1, MAX_ID))
        return "its id is empty or too long";
    if ((i->port == 0) == (i->socket == NULL))
        return "it has neither a port nor a socket, or both";
    if (i->socket != NULL && (i->ipv6 || !runsocket_is_place(i->socket)))
        return "its socket is not one of a run's folder";
    return i->slot < s->instance_slots ? NULL : "its slot is out of range";
}

static const char *check_match(const struct snapshot *s, const struct snapshot_match *m)
{
    (void)s;
    if (m->kind >= SNAPSHOT_MATCH_KINDS)
        return "it is of no kind that there is";
    bool header = m->kind == SNAPSHOT_MATCH_HEADER, cookie = m->kind == SNAPSHOT_MATCH_COOKIE;
    if (!len_between(m->name, 1, MAX_ID) || ((header || cookie) && !is_token(m->name, header)))
        return header   ? "its header's name is not a lower-case token"
               : cookie ? "its cookie's name is not a token"
                        : "its name is empty or too long";
    return m->value == NULL || len_between(m->value, 0, MAX_MATCH) ? NULL : "its value is too long";
}

static const char *check_draining(const struct snapshot *s, const struct snapshot_draining *d)
{
    return d->slot < s->instance_slots ? NULL : "its slot is out of range";
}

static const char *check_share(const struct snapshot *s, const struct snapshot_share *share)
{
    if (share->pool >= s->pools_len)
        return "a share's pool is out of range";
    if (share->rules > s->rules_len)
        return "a share's rules are out of range";
    return share->slot < s->request_slots ? NULL : "a share's slot is out of range";
}

static const char *check_shares(const struct snapshot *s, const struct snapshot_route *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->shares_len; i++) {
        const char *wrong = check_share(s, &r->shares[i]);
        if (wrong != NULL)
            return wrong;
        sum += r->shares[i].weight_ppm;
    }
    if (r->shares_len > 0 && sum != 1000000)
        return "its weights do not sum to 1,000,000";
    for (uint32_t i = 0; i < r->pins_len; i++) {
        const struct snapshot_pin *pin = &r->pins[i];
        const char *wrong = check_share(s, &pin->share);
        if (wrong != NULL)
            return wrong;
        if (pin->share.weight_ppm != 0)
            return "a pin has a weight";
        if (pin->matches == 0 || !range_fits(pin->first_match, pin->matches, s->matches_len))
            return "a pin's matches are out of range, or none";
    }
    return NULL;
}

static const char *check_mirror(const struct snapshot *s, const struct snapshot_route *r)
{
    const struct snapshot_mirror *m = &r->mirror;
    if (m->share_ppm == 0)
        return NULL;
    if (m->share_ppm > 1000000)
        return "it mirrors more than all";
    const char *wrong = check_share(s, &m->to);
    if (wrong != NULL)
        return wrong;
    if (m->to.weight_ppm != 0)
        return "its mirror has a weight";
    if (m->copied_slot >= s->request_slots)
        return "its mirror's slot is out of range";
    if (m->methods >> HTTP1_METHOD_COUNT != 0 || (m->methods & 1 << HTTP1_M_CONNECT) != 0)
        return "it mirrors methods that cannot be";
    if (m->body_bytes > SNAPSHOT_MAX_COPIED_BODY)
        return "it mirrors bodies that are too long";
    if (m->compare > SNAPSHOT_COMPARE_ALL ||
        (m->compare & (SNAPSHOT_COMPARE_BODY | SNAPSHOT_COMPARE_JSON)) == SNAPSHOT_COMPARE_JSON)
        return "it compares something unknown";
    if (m->fields > SNAPSHOT_MAX_COMPARED || !range_fits(m->first_field, m->fields, s->fields_len))
        return "its compared fields are out of range";
    return m->ignored <= SNAPSHOT_MAX_IGNORED &&
                   range_fits(m->first_ignored, m->ignored, s->pointers_len)
               ? NULL
               : "its JSON pointers are out of range";
}

static const char *check_field(const struct snapshot *s, const struct snapshot_field *f)
{
    (void)s;
    return len_between(f->name, 1, MAX_ID) && is_token(f->name, true)
               ? NULL
               : "its name is not a lower-case token";
}

/* RFC 6901 section 3 */
static const char *check_pointer(const struct snapshot *s, const struct snapshot_pointer *p)
{
    (void)s;
    if (p->text[0] != '/' || strlen(p->text) > SNAPSHOT_MAX_POINTER)
        return "it does not begin with \"/\", or is too long";
    for (const char *at = p->text; (at = strchr(at, '~')) != NULL; at++)
        if (at[1] != '0' && at[1] != '1')
            return "its \"~\" is neither \"~0\" nor \"~1\"";
    struct jsonprint_ignored compiled;
    return jsonprint_compile(&compiled, p->text) ? NULL : "it has too many tokens";
}

static const char *check_edit(const struct snapshot *s, const struct snapshot_edit *e)
{
    (void)s;
    if (e->kind > SNAPSHOT_ADD)
        return "it neither removes nor sets nor adds";
    if (!field_is_name(e->name) || field_not_editable(e->name) != NULL)
        return "its field's name is none that may be edited";
    if (!field_is_value(e->value) || (e->kind == SNAPSHOT_REMOVE && e->value[0] != '\0'))
        return "its value is none that the field can have";
    return NULL;
}

/* NULL, or a path without anything that would end it, or the request line. */
static bool maybe_path(const char *s)
{
    if (s == NULL)
        return true;
    if (s[0] != '/' || s[1] == '/' || strlen(s) > MAX_PATH)
        return false;
    for (; *s != '\0'; s++)
        if (!char_is(*s, CHAR_TARGET) || *s == '?')
            return false;
    return true;
}

static size_t edit_bytes(const struct snapshot *s, uint32_t first, uint32_t len)
{
    size_t bytes = 0;
    for (uint32_t i = first; i < first + len; i++)
        bytes += strlen(s->edits[i].name) + strlen(s->edits[i].value);
    return bytes;
}

static const char *check_rules(const struct snapshot *s, const struct snapshot_rules *r)
{
    if (!maybe_path(r->strip_prefix) || !maybe_path(r->prefix) || !maybe_path(r->path))
        return "one of its paths is none";
    if (r->request_edits > SNAPSHOT_MAX_EDITS || r->answer_edits > SNAPSHOT_MAX_EDITS ||
        !range_fits(r->first_edit, r->request_edits + r->answer_edits, s->edits_len))
        return "its edits are out of range";
    /* One after the other, so that no edit is used twice and costs memory each time. */
    const struct snapshot_rules *before = r > s->rules ? r - 1 : NULL;
    if (r->first_edit !=
        (before != NULL ? before->first_edit + before->request_edits + before->answer_edits : 0))
        return "its edits do not follow on the ones before";
    if (edit_bytes(s, r->first_edit, r->request_edits) > SNAPSHOT_MAX_EDIT_BYTES ||
        edit_bytes(s, r->first_edit + r->request_edits, r->answer_edits) > SNAPSHOT_MAX_EDIT_BYTES)
        return "its edits are too long";
    return NULL;
}

static const char *check_redirect(const struct snapshot_redirect *r)
{
    if (r->to == NULL)
        return NULL;
    bool known = r->status == 301 || r->status == 302 || r->status == 303 || r->status == 307 ||
                 r->status == 308;
    if (!known || r->keep > SNAPSHOT_KEEP_NOTHING)
        return "its redirect's status or form is unknown";
    bool absolute = strncmp(r->to, "http://", 7) == 0 || strncmp(r->to, "https://", 8) == 0;
    if ((!absolute && (r->to[0] != '/' || r->to[1] == '/')) || strlen(r->to) > MAX_PATH)
        return "its redirect goes neither to http(s):// nor to a path";
    for (const char *p = r->to; *p != '\0'; p++)
        if (!char_is(*p, CHAR_TARGET))
            return "its redirect's target holds what no URL has";
    return NULL;
}

static bool maybe_id(const char *text)
{
    return text == NULL || len_between(text, 1, MAX_ID);
}

static const char *check_tls(const struct snapshot_route *r)
{
    const struct snapshot_tls *t = &r->tls;
    if (!maybe_id(t->name) || !maybe_id(t->ca) || !maybe_id(t->pair))
        return "a name of its TLS is empty or too long";
    if (t->name == NULL && (t->ca != NULL || t->pair != NULL))
        return "it has TLS without a name";
    return t->name == NULL || r->h2c == 0 ? NULL : "it speaks HTTP/2 by TLS";
}

static const char *check_resilience(const struct snapshot_resilience *r)
{
    if (r->retry_budget_ppm > 1000000 || r->eject_share_ppm > 1000000)
        return "a share is more than all";
    return r->retry_on <= SNAPSHOT_RETRY_ALL ? NULL : "it retries on something unknown";
}

static const char *check_guard(const struct snapshot_guard *g)
{
    bool limited = g->rate_requests > 0;
    if (limited != (g->rate_per_ms > 0) || limited != (g->rate_burst > 0))
        return "its rate limit is incomplete";
    if (limited &&
        (uint64_t)g->rate_per_ms * g->rate_burst / g->rate_requests > SNAPSHOT_MAX_REFILL_MS)
        return "its rate limit's burst takes too long to come back";
    if (g->rate_header != NULL &&
        (!len_between(g->rate_header, 1, MAX_ID) || !is_token(g->rate_header, true)))
        return "its rate limit's header is not a lower-case token";
    return NULL;
}

bool snapshot_route_is_tcp(const struct snapshot_route *r)
{
    return strncmp(r->host, SNAPSHOT_TCP, sizeof SNAPSHOT_TCP - 1) == 0;
}

/* Bytes have no head: what looks at one could not be told apart. */
static const char *check_tcp_route(const struct snapshot_route *r)
{
    bool plain = strcmp(r->path, "/") == 0 && r->matches == 0 && r->pins_len == 0 &&
                 r->sticky_cookie[0] == '\0' && r->redirect_https == 0 && r->hsts_s == 0 &&
                 !r->client_cert && r->tls.name == NULL && r->redirect.to == NULL && !r->h2c &&
                 r->mirror.share_ppm == 0;
    for (uint32_t i = 0; i < r->shares_len; i++)
        plain = plain && r->shares[i].rules == 0;
    return plain ? NULL : "it is a TCP route and looks at requests";
}

static const char *check_route(const struct snapshot *s, const struct snapshot_route *r)
{
    const char *wrong = check_redirect(&r->redirect);
    if (wrong != NULL)
        return wrong;
    if (r->app >= s->apps_len)
        return "its app is out of range";
    if (!len_between(r->host, 0, MAX_HOST) || !is_host(r->host))
        return "its host is too long or not lower case";
    if (!len_between(r->path, 1, MAX_PATH) || r->path[0] != '/')
        return "its path does not begin with \"/\", or is too long";
    if (!range_fits(r->first_match, r->matches, s->matches_len))
        return "its matches are out of range";
    if (r->retries > MAX_RETRIES)
        return "it has too many retries";
    if (r->observe.log_ppm > 1000000 || r->observe.trace_ppm > 1000000)
        return "a share of it is more than all";
    if (r->h2c > 1)
        return "its instances speak something unknown";
    if (r->redirect_https > 1)
        return "it neither redirects nor does not";
    if (r->tls_auto && (r->host[0] == '\0' || r->host[0] == '*' || snapshot_route_is_tcp(r)))
        return "it has no host that a certificate could be for";
    if (!len_between(r->sticky_cookie, 0, MAX_ID) || !is_token(r->sticky_cookie, false))
        return "its sticky cookie's name is not a token";
    wrong = check_tls(r);
    if (wrong == NULL)
        wrong = check_resilience(&r->resilience);
    if (wrong == NULL)
        wrong = check_guard(&r->guard);
    if (wrong == NULL && snapshot_route_is_tcp(r))
        wrong = check_tcp_route(r);
    if (wrong == NULL)
        wrong = check_mirror(s, r);
    return wrong != NULL ? wrong : check_shares(s, r);
}

/* Two owners of one slot would mix their in-flight gauges, and so a drain would never be over, or
 * too early. */
static const char *check_slots_are_unique(const struct snapshot *s)
{
    uint64_t taken[METRICS_INSTANCE_SLOTS / 64] = {0};
    for (uint64_t i = 0; i < (uint64_t)s->instances_len + s->draining_len; i++) {
        uint32_t slot =
            i < s->instances_len ? s->instances[i].slot : s->draining[i - s->instances_len].slot;
        uint64_t bit = UINT64_C(1) << (slot % 64);
        if ((taken[slot / 64] & bit) != 0)
            return "two instances have the same slot";
        taken[slot / 64] |= bit;
    }
    return NULL;
}

static int check_head(const struct snapshot *s, size_t body_bytes, struct error *err)
{
    /* 0 is what a gateway has that never got one: nothing. */
    bool empty = s->apps_len == 0 && s->routes_len == 0 && s->instances_len == 0;
    if ((s->version == 0 && !empty) || s->version == METRICS_OFFLINE)
        return error_set(err, ERROR_USAGE, "snapshot: version %llu is not a possible one",
                         (unsigned long long)s->version);
    if (s->request_slots > METRICS_REQUEST_SLOTS || s->instance_slots > METRICS_INSTANCE_SLOTS)
        return error_set(err, ERROR_USAGE,
                         "snapshot: %u request slots or %u instance slots are "
                         "more than there are (%d, %d)",
                         s->request_slots, s->instance_slots, METRICS_REQUEST_SLOTS,
                         METRICS_INSTANCE_SLOTS);
        /* Before any memory is taken: as many items as it says must fit into its bytes. */
#define X(array, kind, least, word)                                                                \
    if (s->array##_len > body_bytes / (least))                                                     \
        return error_set(err, ERROR_USAGE,                                                         \
                         "snapshot: more " #array " (%u) than fit into its bytes",                 \
                         s->array##_len);
    ARRAYS(X)
#undef X
    return 0;
}

static int check_meaning(const struct snapshot *s, struct error *err)
{
    const char *wrong;
#define X(array, kind, least, word)                                                                \
    for (uint32_t i = 0; i < s->array##_len; i++)                                                  \
        if ((wrong = check_##kind(s, &s->array[i])) != NULL)                                       \
            return error_set(err, ERROR_USAGE, "snapshot: " word " %u: %s", i, wrong);
    ARRAYS(X)
#undef X
    if ((wrong = check_slots_are_unique(s)) != NULL)
        return error_set(err, ERROR_USAGE, "snapshot: %s", wrong);
    return 0;
}

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
    ARRAYS(X)
#undef X
    struct snapshot *s = calloc(1, bytes);
    if (s == NULL)
        return NULL;
    *s = *head;
    char *at = (char *)s + align_up(sizeof *s);
#define X(array, kind, least, word)                                                                \
    s->array = (void *)at;                                                                         \
    at += align_up((size_t)s->array##_len * sizeof *s->array);
    ARRAYS(X)
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
    if (check_head(&head, (size_t)body_len, err) < 0)
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
    ARRAYS(X)
#undef X
    if (r.wrong == NULL && r.at != r.end)
        r.wrong = "there are bytes behind its end";
    if (r.wrong != NULL)
        error_set(err, ERROR_USAGE, "snapshot: %s", r.wrong);
    if (r.wrong != NULL || check_meaning(s, err) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void snapshot_free(struct snapshot *s)
{
    free(s);
}
