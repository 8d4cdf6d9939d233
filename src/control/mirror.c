/* Copies of users' requests for the candidate (`strategy: shadow`): from the spec to the snapshot,
 * and what they came to, for the judge and for people. */
#include "control/control_internal.h"

#include "observe/exposition.h"
#include "wire/http1.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

_Static_assert((int)SPEC_MAX_COMPARED <= (int)SNAPSHOT_MAX_COMPARED &&
                   (int)SPEC_MAX_IGNORED <= (int)SNAPSHOT_MAX_IGNORED,
               "a gateway takes what a file may say");

/* ---- into the snapshot ------------------------------------------------------------------------
 */

static uint32_t methods_of(uint32_t copied)
{
    static const struct {
        uint32_t copied;
        enum http1_method method;
    } methods[] = {
        {COPY_GET, HTTP1_M_GET},       {COPY_HEAD, HTTP1_M_HEAD}, {COPY_OPTIONS, HTTP1_M_OPTIONS},
        {COPY_POST, HTTP1_M_POST},     {COPY_PUT, HTTP1_M_PUT},   {COPY_PATCH, HTTP1_M_PATCH},
        {COPY_DELETE, HTTP1_M_DELETE},
    };
    uint32_t bits = 0;
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if ((copied & methods[i].copied) != 0)
            bits |= 1u << methods[i].method;
    return bits;
}

static uint32_t compared(const struct compare_spec *c)
{
    uint32_t bits = c->status ? SNAPSHOT_COMPARE_STATUS : 0;
    if (c->body != COMPARED_NOTHING)
        bits |= SNAPSHOT_COMPARE_BODY;
    if (c->body == COMPARED_JSON)
        bits |= SNAPSHOT_COMPARE_JSON;
    return bits;
}

static uint32_t add_fields(const struct compare_spec *c, struct snapshot *s, struct arena *memory)
{
    uint32_t first = s->fields_len;
    if (c->headers_len == 0)
        return first;
    struct snapshot_field *grown = arena_alloc(memory, (first + c->headers_len) * sizeof *grown);
    if (first > 0)
        memcpy(grown, s->fields, first * sizeof *grown);
    for (size_t i = 0; i < c->headers_len; i++)
        grown[s->fields_len++].name = c->headers[i];
    s->fields = grown;
    return first;
}

static uint32_t add_pointers(const struct compare_spec *c, struct snapshot *s, struct arena *memory)
{
    uint32_t first = s->pointers_len;
    if (c->ignored_len == 0)
        return first;
    struct snapshot_pointer *grown = arena_alloc(memory, (first + c->ignored_len) * sizeof *grown);
    if (first > 0)
        memcpy(grown, s->pointers, first * sizeof *grown);
    for (size_t i = 0; i < c->ignored_len; i++)
        grown[s->pointers_len++].text = c->ignored[i];
    s->pointers = grown;
    return first;
}

struct snapshot_mirror mirror_build(struct app *a, struct snapshot *s, struct arena *memory)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    if (a->state.mirror_ppm == 0 || spec == NULL)
        return (struct snapshot_mirror){0};
    const struct shadow_spec *shadow = &spec->strategy.shadow;
    return (struct snapshot_mirror){
        .share_ppm = a->state.mirror_ppm,
        .methods = methods_of(shadow->methods),
        .body_bytes = (uint32_t)shadow->body_bytes,
        .compare = compared(&shadow->compare),
        .first_field = add_fields(&shadow->compare, s, memory),
        .fields = (uint32_t)shadow->compare.headers_len,
        .first_ignored = add_pointers(&shadow->compare, s, memory),
        .ignored = (uint32_t)shadow->compare.ignored_len,
    };
}

/* ---- for the judge ----------------------------------------------------------------------------
 */

bool mirror_compares(const struct app_spec *spec)
{
    const struct compare_spec *c = &spec->strategy.shadow.compare;
    return spec->strategy.kind == STRATEGY_SHADOW &&
           (c->status || c->headers_len > 0 || c->body != COMPARED_NOTHING);
}

/* What came at a slot of copies since it was judged last. */
struct judge_compared mirror_compared(const struct slot *s, const uint64_t now[REQUEST_METRICS])
{
#define SINCE(m) counted_since(now[m], s->judged[m])
    return (struct judge_compared){
        .pairs = SINCE(REQUESTS_COMPARED),
        .differed = SINCE(REQUESTS_DIFFERED),
        .status = SINCE(REQUESTS_DIFFERED_STATUS),
        .headers = SINCE(REQUESTS_DIFFERED_HEADERS),
        .body = SINCE(REQUESTS_DIFFERED_BODY),
    };
#undef SINCE
}

/* "body at /total: GET /cart" */
static void describe(const struct sample *s, struct buf *out)
{
    if (s->part == SAMPLE_STATUS)
        buf_printf(out, "status %u instead of %u", s->copy_status, s->status);
    else
        buf_puts(out, sample_part_word((enum sample_part)s->part));
    if (s->where[0] != '\0')
        buf_printf(out, s->part == SAMPLE_HEADER ? " %s" : " at %s", s->where);
    buf_printf(out, ": %s %s%s", sample_method_word(s->method), s->path_len > 0 ? s->path : "/",
               s->path_cut ? "\xe2\x80\xa6" : "");
}

void mirror_name_differences(const struct app *a, size_t most, struct buf *out)
{
    const struct evidence *e = &a->evidence;
    const char *before = "; for example ";
    for (size_t i = 0; i < e->copies_len && most > 0; i++) {
        if (e->copies[i].sample.fault != SAMPLE_DIFFERS)
            continue;
        buf_puts(out, before);
        describe(&e->copies[i].sample, out);
        before = ", ";
        most--;
    }
}

void mirror_tick(struct app *a)
{
    uint64_t differed = a->judging ? a->judge.differences.seen.differed : 0;
    if (differed == 0 || a->difference_told)
        return;
    cleanup_buf struct buf text = BUF_INIT;
    a->difference_told = true;
    buf_puts(&text, "an answer of the new release differs from stable's");
    mirror_name_differences(a, 1, &text);
    event_now(a->control, a, "difference", NULL, a->start.release, buf_str(&text), NULL);
}

/* ---- for people -------------------------------------------------------------------------------
 */

static uint64_t sum(const struct app *a, enum request_metric m)
{
    uint64_t all = 0;
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (s->role == ROLE_COPIES && s->pool == a->start.candidate_pool)
            all += slot_value(a->control, s, m);
    }
    return all;
}

bool mirror_came(const struct app *a)
{
    return sum(a, REQUESTS) > 0;
}

bool mirror_unanswered(const struct app *a)
{
    return !mirror_came(a) && sum(a, REQUESTS_IN_FLIGHT) > 0;
}

/* While copies go, and behind that as long as the rollout lasts. */
static bool has_mirrored(const struct app *a)
{
    for (size_t i = 0; a->start.id != 0 && i < a->slots.len; i++)
        if (a->slots.items[i]->role == ROLE_COPIES &&
            a->slots.items[i]->pool == a->start.candidate_pool)
            return true;
    return a->start.id != 0 && a->state.mirror_ppm > 0;
}

json_t *mirror_json(const struct app *a)
{
    if (!has_mirrored(a))
        return json_null();
    static const struct {
        const char *name;
        enum request_metric metric;
    } counts[] = {
        {"copies", REQUESTS},
        {"errors_5xx", REQUESTS_5XX},
        {"failed", REQUESTS_FAILED},
        {"cut", REQUESTS_CUT},
        {"compared", REQUESTS_COMPARED},
        {"differed", REQUESTS_DIFFERED},
        {"uncompared", REQUESTS_UNCOMPARED},
        {"uncopied", REQUESTS_UNCOPIED},
    };
    json_t *out = json_pack("{s:f}", "share", a->state.mirror_ppm / 10000.0);
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        json_object_set_new(out, counts[i].name,
                            json_integer((json_int_t)sum(a, counts[i].metric)));
    json_object_set_new(out, "differed_in",
                        json_pack("{s:I,s:I,s:I}", "status",
                                  (json_int_t)sum(a, REQUESTS_DIFFERED_STATUS), "headers",
                                  (json_int_t)sum(a, REQUESTS_DIFFERED_HEADERS), "body",
                                  (json_int_t)sum(a, REQUESTS_DIFFERED_BODY)));
    json_object_set_new(out, "samples", evidence_copies(a));
    return out;
}

void mirror_expose(struct exposition *e, const struct app *a, uint32_t pool, const char *labels)
{
    static const struct {
        enum exposition_family family;
        enum request_metric metric;
    } counters[] = {
        {FAMILY_MIRROR_COPIES, REQUESTS},
        {FAMILY_MIRROR_5XX, REQUESTS_5XX},
        {FAMILY_MIRROR_FAILED, REQUESTS_FAILED},
        {FAMILY_MIRROR_CUT, REQUESTS_CUT},
        {FAMILY_MIRROR_COMPARED, REQUESTS_COMPARED},
        {FAMILY_MIRROR_DIFFERED, REQUESTS_DIFFERED},
        {FAMILY_MIRROR_DIFFERED_STATUS, REQUESTS_DIFFERED_STATUS},
        {FAMILY_MIRROR_DIFFERED_HEADERS, REQUESTS_DIFFERED_HEADERS},
        {FAMILY_MIRROR_DIFFERED_BODY, REQUESTS_DIFFERED_BODY},
        {FAMILY_MIRROR_UNCOMPARED, REQUESTS_UNCOMPARED},
        {FAMILY_MIRROR_UNCOPIED, REQUESTS_UNCOPIED},
    };
    uint64_t values[COUNT_OF(counters)] = {0};
    bool any = false;
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (s->role != ROLE_COPIES || s->pool != pool)
            continue;
        any = true;
        for (size_t k = 0; k < COUNT_OF(counters); k++)
            values[k] += slot_value(a->control, s, counters[k].metric);
    }
    for (size_t k = 0; any && k < COUNT_OF(counters); k++)
        exposition_count(e, counters[k].family, labels, values[k]);
}
