/* What a route tells about its requests: access log, traces, request ids. */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/meant.h"
#include "spec/types.h"

#include <string.h>

enum { WHOLE_PPM = 1000000 };

static void read_share(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint32_t ppm;
    if (text == NULL)
        return;
    if (parse_percent_ppm(text, &ppm) == 0 && ppm <= WHOLE_PPM) {
        *(uint32_t *)field_at(base, key->offset) = ppm;
        return;
    }
    bool own = strcmp(text, node->text) == 0;
    cleanup_free char *meant = own ? meant_percentage(text, 0, WHOLE_PPM) : NULL;
    cleanup_free char *hint = meant != NULL ? xasprintf("did you mean `%s`?", meant) : NULL;
    reader_expected(r, node, key->type->shape, hint);
}

static bool write_share(const struct key *key, const void *base, struct buf *out)
{
    return write_ppm(out, *(const uint32_t *)const_field_at(base, key->offset));
}

const struct value_type type_share = {
    .shape = "a percentage from 0% to 100%", .read = read_share, .write = write_share};

/* ---- trace ----------------------------------------------------------------------------------- */

static void read_trace(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    size_t faults = reader_errors(r);
    read_share(r, key, node, base);
    ((struct route_spec *)base)->observe.trace = reader_errors(r) == faults;
}

static bool write_trace(const struct key *key, const void *base, struct buf *out)
{
    return ((const struct route_spec *)base)->observe.trace && write_share(key, base, out);
}

const struct value_type type_trace = {
    .shape = "a percentage from 0% to 100%", .read = read_trace, .write = write_trace};

/* ---- access log, request ids ----------------------------------------------------------------- */

static void read_access_log(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    struct observe_spec *o = &((struct route_spec *)base)->observe;
    if (node->kind == NODE_MAP || node->kind == NODE_NULL) {
        read_mapping(r, IN_ACCESS_LOG, node, o);
    } else if (node->kind == NODE_SCALAR && strcmp(node->text, "off") == 0) {
        o->log_ppm = 0;
        o->log_slower_ms = 0;
        o->log_errors = o->log_query = false;
    } else {
        reader_expected(r, node, key->type->shape, NULL);
    }
}

static bool write_access_log(const struct key *key, const void *base, struct buf *out)
{
    const struct observe_spec *o = &((const struct route_spec *)base)->observe;
    (void)key;
    if (o->log_ppm == WHOLE_PPM && o->log_errors && o->log_slower_ms == 0 && !o->log_query)
        return false; /* as it is without the key */
    write_mapping(IN_ACCESS_LOG, o, out);
    return true;
}

const struct value_type type_access_log = {
    .shape = "`off`, or a map such as {sample: 1%, slower: 500ms}",
    .read = read_access_log,
    .nested = IN_ACCESS_LOG,
    .write = write_access_log,
    .null_is_empty = true};

static void read_request_id(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    type_boolean.read(r, key, node, base);
}

/* Left out where it is as without the key. */
static bool write_request_id(const struct key *key, const void *base, struct buf *out)
{
    return ((const struct route_spec *)base)->observe.request_id &&
           type_boolean.write(key, base, out);
}

static const char *const request_id_words[] = {"false", "true", NULL};
const struct value_type type_request_id = {.shape = "`true` or `false`",
                                           .read = read_request_id,
                                           .write = write_request_id,
                                           .words = request_id_words};
