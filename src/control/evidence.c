/* What a report can name: a few of the requests that failed during a rollout, and what the probes
 * of its candidate said last.
 *
 * The gateways keep samples of failed requests (wire/samples.h); here those of each app's rollout
 * are picked out of them while it runs. A controller that starts in the middle of one reads what
 * the rings still hold. Not found again are those of instances and gateways that went away while no
 * controller was there, and those that later failures have overwritten. */
#include "control/control_internal.h"

#include "os/clock.h"
#include "wire/samples.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_MAX = 200 }; /* samples of one gateway at a time, whatever it claims to have */

/* ---- requests
 * ------------------------------------------------------------------------------------- */

/* A slot may have had other owners. */
static const struct instance *instance_of(const struct app *a, uint32_t slot, int64_t at_ms)
{
    for (size_t i = 0; slot != SAMPLE_NO_SLOT && i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->slot == slot && in->created_ms <= at_ms)
            return in;
    }
    return NULL;
}

static const struct slot *slot_of(const struct app *a, uint32_t index)
{
    for (size_t i = 0; i < a->slots.len; i++)
        if (a->slots.items[i]->index == index)
            return a->slots.items[i];
    return NULL;
}

/* Whether it is of the rollout under way: all failures of the candidate; of other releases only
 * what SPEC's `failed` counts, since a 5xx of their own has nothing to do with it. */
static bool concerns(const struct app *a, const struct sample *s, int64_t at_ms,
                     const struct instance **in)
{
    if (a->start.id == 0 || at_ms < a->start.began_ms)
        return false;
    *in = instance_of(a, s->instance_slot, at_ms);
    const struct slot *slot = slot_of(a, s->request_slot);
    if (*in == NULL && slot == NULL)
        return false;
    uint32_t pool = *in != NULL ? (*in)->pool : slot->pool;
    return (pool != 0 && pool == a->start.candidate_pool) || s->fault != SAMPLE_5XX;
}

/* Of differences the kind counts: which requests show it is by chance. */
static bool alike(const struct failed_request *a, const struct failed_request *b)
{
    if (a->sample.fault == SAMPLE_DIFFERS)
        return b->sample.fault == SAMPLE_DIFFERS && a->sample.part == b->sample.part &&
               strcmp(a->sample.where, b->sample.where) == 0;
    return strcmp(a->instance, b->instance) == 0 && a->sample.fault == b->sample.fault &&
           a->sample.status == b->sample.status && a->sample.method == b->sample.method &&
           strcmp(a->sample.path, b->sample.path) == 0;
}

static bool has_alike(const struct failed_request *list, const struct failed_request *f, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (alike(&list[i], f))
            return true;
    return false;
}

/* The first ones; later only what is of another kind, in the place of one that is like others. By
 * time, since workers are read one after the other. */
static void keep(struct failed_request list[EVIDENCE_REQUESTS], size_t *len,
                 const struct failed_request *f)
{
    size_t place = *len;
    if (place == EVIDENCE_REQUESTS) {
        if (has_alike(list, f, place))
            return;
        do {
            if (place-- == 1)
                return;
        } while (!has_alike(list, &list[place], place));
        memmove(&list[place], &list[place + 1], (EVIDENCE_REQUESTS - 1 - place) * sizeof *f);
        (*len)--;
    }
    for (place = (*len)++; place > 0 && list[place - 1].at_ms > f->at_ms; place--)
        list[place] = list[place - 1];
    list[place] = *f;
}

void evidence_add(struct control *c, const struct sample *s)
{
    uint64_t now = (uint64_t)control_now(), boot = (uint64_t)clock_boot_ms();
    uint64_t ago = s->at_boot_ms < boot ? boot - s->at_boot_ms : 0;
    int64_t at_ms = (int64_t)(now - ago);
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *a = c->apps.items[i];
        const struct instance *in;
        if (!concerns(a, s, at_ms, &in))
            continue;
        struct failed_request f = {.at_ms = at_ms, .sample = *s};
        if (in != NULL) {
            f.release = in->release;
            snprintf(f.instance, sizeof f.instance, "%s", in->id);
        }
        const struct slot *slot = slot_of(a, s->request_slot);
        if (slot != NULL && slot->role == ROLE_COPIES)
            keep(a->evidence.copies, &a->evidence.copies_len, &f);
        else if (s->fault != SAMPLE_DIFFERS)
            keep(a->evidence.requests, &a->evidence.requests_len, &f);
        return;
    }
}

void evidence_read(struct gateway *g)
{
    const struct metrics_view *v = gateway_link_metrics(g->link);
    unsigned left = LOOK_MAX;
    struct sample s;
    for (uint32_t w = 0; v->header != NULL && w < v->workers_len; w++) {
        for (; left > 0 && samples_next(&v->workers[w].samples, &g->samples_seen[w], &s); left--)
            evidence_add(g->control, &s);
        for (; left > 0 && samples_next(&v->workers[w].copies, &g->copies_seen[w], &s); left--)
            evidence_add(g->control, &s);
    }
}

/* ---- probes
 * --------------------------------------------------------------------------------------- */

static const char *failing(const struct instance *in)
{
    for (int role = 0; role < PROBE_ROLES; role++)
        if (in->probes[role].error[0] != '\0')
            return in->probes[role].error;
    return NULL;
}

/* As long as one of the candidate's instances is up: the last word counts. */
static void note_probes(struct app *a)
{
    struct evidence *e = &a->evidence;
    bool up = false;
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->pool != a->start.candidate_pool || in->life != LIFE_RUNNING || in->stopping)
            continue;
        if (!up)
            e->probe[0] = e->probed[0] = '\0';
        up = true;
        const char *error = failing(in);
        if (error == NULL)
            continue;
        snprintf(e->probe, sizeof e->probe, "%s", error);
        snprintf(e->probed, sizeof e->probed, "%s", in->id);
        return;
    }
}

/* ---- looking and telling
 * -------------------------------------------------------------------------- */

void evidence_look(struct control *c)
{
    bool any = false;
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *a = c->apps.items[i];
        if (a->start.id == 0)
            continue;
        any = true;
        note_probes(a);
    }
    for (size_t i = 0; any && i < c->gateways.len; i++)
        if (!c->gateways.items[i]->dead)
            evidence_read(c->gateways.items[i]);
}

void evidence_forget(struct app *a)
{
    memset(&a->evidence, 0, sizeof a->evidence);
}

static json_t *request_json(const struct failed_request *f)
{
    const struct sample *s = &f->sample;
    char at[WALL_TEXT_SIZE], path[SAMPLE_PATH_MAX + 8];
    const uint64_t tenths = s->took_us / 100;
    snprintf(path, sizeof path, "%s%s", s->path_len > 0 ? s->path : "/",
             s->path_cut ? "\xe2\x80\xa6" : "");
    json_t *out =
        json_pack("{s:s,s:s?,s:s,s:i,s:s,s:s,s:f}", "at", clock_format_wall(f->at_ms, at),
                  "instance", f->instance[0] != '\0' ? f->instance : NULL, "fault",
                  sample_fault_word((enum sample_fault)s->fault), "status", (int)s->status,
                  "method", sample_method_word(s->method), "path", path, "ms", (double)tenths / 10);
    if (s->fault == SAMPLE_DIFFERS) {
        json_object_set_new(out, "copy_status", json_integer(s->copy_status));
        json_object_set_new(out, "part", json_string(sample_part_word((enum sample_part)s->part)));
        json_object_set_new(out, "where",
                            s->where[0] != '\0' ? json_string(s->where) : json_null());
    }
    return out;
}

static json_t *list_json(const struct failed_request *list, size_t len)
{
    json_t *out = json_array();
    for (size_t i = 0; i < len; i++)
        json_array_append_new(out, request_json(&list[i]));
    return out;
}

json_t *evidence_requests(const struct app *a)
{
    return list_json(a->evidence.requests, a->evidence.requests_len);
}

json_t *evidence_copies(const struct app *a)
{
    return list_json(a->evidence.copies, a->evidence.copies_len);
}

const char *evidence_instance(const struct app *a)
{
    const struct evidence *e = &a->evidence;
    for (size_t i = 0; i < e->requests_len; i++)
        if (e->requests[i].instance[0] != '\0' && e->requests[i].release == a->start.release)
            return e->requests[i].instance;
    return e->probed[0] != '\0' ? e->probed : NULL;
}
