#include "wire/snapshot_internal.h"

#include "base/field.h"
#include "wire/http1.h"
#include "wire/http1_chars.h"
#include "wire/jsonprint.h"
#include "wire/metrics.h"
#include "wire/runsocket.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_ID = 255,
    MAX_HOST = 255,
    MAX_PATH = 4096,
    MAX_MATCH = 8192,
    MAX_RETRIES = 100,
};

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

static bool maybe_id(const char *text)
{
    return text == NULL || len_between(text, 1, MAX_ID);
}

static const char *check_tls(const struct snapshot_share *share)
{
    const struct snapshot_tls *t = &share->tls;
    if (!maybe_id(t->name) || !maybe_id(t->ca) || !maybe_id(t->pair))
        return "a name of its TLS is empty or too long";
    if (t->name == NULL && (t->ca != NULL || t->pair != NULL))
        return "it has TLS without a name";
    return t->name == NULL || !share->h2c ? NULL : "it speaks HTTP/2 by TLS";
}

static const char *check_share(const struct snapshot *s, const struct snapshot_share *share)
{
    if (share->pool >= s->pools_len)
        return "a share's pool is out of range";
    if (share->rules > s->rules_len)
        return "a share's rules are out of range";
    if (share->slot >= s->request_slots)
        return "a share's slot is out of range";
    return check_tls(share);
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

/* Bytes have no head: what looks at one could not be told apart. */
static const char *check_tcp_route(const struct snapshot_route *r)
{
    bool plain = strcmp(r->path, "/") == 0 && r->matches == 0 && r->pins_len == 0 &&
                 r->sticky_cookie[0] == '\0' && r->redirect_https == 0 && r->hsts_s == 0 &&
                 !r->client_cert && r->redirect.to == NULL && r->mirror.share_ppm == 0;
    for (uint32_t i = 0; i < r->shares_len; i++)
        plain =
            plain && r->shares[i].rules == 0 && !r->shares[i].h2c && r->shares[i].tls.name == NULL;
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
    if (r->redirect_https > 1)
        return "it neither redirects nor does not";
    if (r->tls_auto && (r->host[0] == '\0' || r->host[0] == '*' || snapshot_route_is_tcp(r)))
        return "it has no host that a certificate could be for";
    if (!len_between(r->sticky_cookie, 0, MAX_ID) || !is_token(r->sticky_cookie, false))
        return "its sticky cookie's name is not a token";
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

int snapshot_check_head(const struct snapshot *s, size_t body_bytes, struct error *err)
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
    SNAPSHOT_ARRAYS(X)
#undef X
    return 0;
}

int snapshot_check_meaning(const struct snapshot *s, struct error *err)
{
    const char *wrong;
#define X(array, kind, least, word)                                                                \
    for (uint32_t i = 0; i < s->array##_len; i++)                                                  \
        if ((wrong = check_##kind(s, &s->array[i])) != NULL)                                       \
            return error_set(err, ERROR_USAGE, "snapshot: " word " %u: %s", i, wrong);
    SNAPSHOT_ARRAYS(X)
#undef X
    if ((wrong = check_slots_are_unique(s)) != NULL)
        return error_set(err, ERROR_USAGE, "snapshot: %s", wrong);
    return 0;
}
