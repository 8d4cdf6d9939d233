/* What a route takes from clients: rate-limit and limits. */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/types.h"

#include <ctype.h>
#include <string.h>

enum { MAX_RATE = 1000000, LEAST_HEAD = 256, MOST_HEAD = 16384 };

/* ---- rate-limit ------------------------------------------------------------------------------ */

static void read_rate(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t value;
    if (text == NULL)
        return;
    if (parse_u64(text, MAX_RATE, &value) < 0 || value == 0)
        reader_expected(r, node, key->type->shape, NULL);
    else
        *(uint32_t *)field_at(base, key->offset) = (uint32_t)value;
}

static bool write_rate(const struct key *key, const void *base, struct buf *out)
{
    buf_printf(out, "%u", *(const uint32_t *)const_field_at(base, key->offset));
    return true;
}

static bool is_header_name(const char *s) /* RFC 9110 section 5.6.2 */
{
    size_t len = 0;
    for (; s[len] != '\0'; len++)
        if (!isalnum((unsigned char)s[len]) && strchr("!#$%&'*+-.^_`|~", s[len]) == NULL)
            return false;
    return len > 0 && len <= 200;
}

/* `address`, or {header: NAME}. */
static void read_rate_by(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    struct rate_limit_spec *limit = base;
    limit->header = NULL;
    if (node->kind == NODE_SCALAR && strcmp(node->text, "address") == 0)
        return;
    if (node->kind != NODE_MAP || node->len != 1 ||
        strcmp(node->pairs[0].key->text, "header") != 0) {
        bool named = node->kind == NODE_SCALAR && strchr(node->text, '-') != NULL &&
                     is_header_name(node->text);
        cleanup_free char *hint =
            named ? xasprintf("did you mean {header: %s}?", node->text) : NULL;
        reader_expected(r, node, key->type->shape, hint);
        return;
    }
    const char *name = read_text(r, key, node->pairs[0].value, EXPAND_VALUE);
    if (name == NULL)
        return;
    if (!is_header_name(name)) {
        reader_fail(r, node->pairs[0].value, NULL, "this is no name for a header");
        return;
    }
    char *lower = arena_strdup(r->arena, name);
    for (char *p = lower; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    limit->header = lower;
}

static bool write_rate_by(const struct key *key, const void *base, struct buf *out)
{
    const struct rate_limit_spec *limit = base;
    (void)key;
    if (limit->header == NULL)
        return write_quoted_word(out, "address");
    buf_puts(out, "{\"header\":");
    write_string(out, limit->header);
    buf_putc(out, '}');
    return true;
}

static void read_rate_limit(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    struct rate_limit_spec *limit = field_at(base, key->offset);
    size_t faults = reader_errors(r);
    read_mapping(r, IN_RATE_LIMIT, node, limit);
    if (r->partial || reader_errors(r) != faults)
        return;
    if (limit->requests == 0) {
        reader_fail(r, node, "for example {requests: 100, per: 1s}", "`requests` is missing");
        return;
    }
    if (limit->burst == 0)
        limit->burst = limit->requests;
    if ((uint64_t)limit->per_ms * limit->burst / limit->requests > (uint64_t)MAX_DURATION_MS)
        reader_fail(r, node, "a smaller burst, or more requests",
                    "a burst that is used up would take longer than 30d to come back");
}

static bool write_rate_limit(const struct key *key, const void *base, struct buf *out)
{
    const struct rate_limit_spec *limit = const_field_at(base, key->offset);
    if (limit->requests > 0)
        write_mapping(IN_RATE_LIMIT, limit, out);
    return limit->requests > 0;
}

const struct value_type type_rate = {
    .shape = "a whole number from 1 to 1000000", .read = read_rate, .write = write_rate};
const struct value_type type_rate_by = {.shape = "`address`, or a map such as {header: X-Api-Key}",
                                        .read = read_rate_by,
                                        .write = write_rate_by};
const struct value_type type_rate_limit = {.shape = "a map such as {requests: 100, per: 1s}",
                                           .read = read_rate_limit,
                                           .write = write_rate_limit,
                                           .nested = IN_RATE_LIMIT};

/* ---- limits ---------------------------------------------------------------------------------- */

/* min and max of the type are in bytes. */
static void read_bytes(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t bytes;
    if (text == NULL)
        return;
    if (parse_size_bytes(text, &bytes) < 0 || bytes < key->type->min || bytes > key->type->max)
        reader_expected_size(r, key, node, text, key->type->min, key->type->max);
    else
        *(uint64_t *)field_at(base, key->offset) = bytes;
}

static bool write_bytes(const struct key *key, const void *base, struct buf *out)
{
    uint64_t bytes = *(const uint64_t *)const_field_at(base, key->offset);
    char text[32];
    if (bytes != 0)
        buf_printf(out, "\"%s\"", format_size_bytes(bytes, text, sizeof text));
    return bytes != 0;
}

static bool write_limits(const struct key *key, const void *base, struct buf *out)
{
    const struct limits_spec *l = const_field_at(base, key->offset);
    bool any = l->body_bytes != 0 || l->head_bytes != 0 || l->min_rate != 0;
    if (any)
        write_mapping(IN_LIMITS, l, out);
    return any;
}

const struct value_type type_body_limit = {.shape = "a size from 1 to 1Pi, such as 10Mi",
                                           .read = read_bytes,
                                           .write = write_bytes,
                                           .min = 1,
                                           .max = UINT64_C(1) << 50};
const struct value_type type_copied_body = {.shape = "a size from 1 to 32Ki",
                                            .read = read_bytes,
                                            .write = write_bytes,
                                            .min = 1,
                                            .max = 32 << 10};
const struct value_type type_head_limit = {.shape = "a size from 256 to 16Ki",
                                           .read = read_bytes,
                                           .write = write_bytes,
                                           .min = LEAST_HEAD,
                                           .max = MOST_HEAD};
const struct value_type type_min_rate = {.shape = "a size per second from 1 to 1Gi, such as 500",
                                         .read = read_bytes,
                                         .write = write_bytes,
                                         .min = 1,
                                         .max = 1 << 30};
const struct value_type type_limits = {.shape = "a map such as {body: 10Mi, headers: 8Ki}",
                                       .nested = IN_LIMITS,
                                       .write = write_limits};

/* ---- forwarded, via -------------------------------------------------------------------------- */

static void read_named_hop(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    type_boolean.read(r, key, node, base);
}

/* What is not asked for is left out of the canonical form. */
static bool write_named_hop(const struct key *key, const void *base, struct buf *out)
{
    bool wanted = *(const bool *)const_field_at(base, key->offset);
    if (wanted)
        buf_puts(out, "true");
    return wanted;
}

static const char *const no_or_yes[] = {"false", "true", NULL};

const struct value_type type_named_hop = {.shape = "`true` or `false`",
                                          .read = read_named_hop,
                                          .write = write_named_hop,
                                          .words = no_or_yes};
