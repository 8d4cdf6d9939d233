/* Instances that gateways took out because they are worse than the others: told in events, shown in
 * answers. The gateways decide (gateway/outlier.h). */
#include "control/control_internal.h"

#include "base/units.h"
#include "os/clock.h"

#include <stdio.h>

enum { TELL_EVERY_MS = 60000 };

struct ejected outlier_of(const struct control *c, const struct instance *in)
{
    struct ejected out = {.times = 0};
    uint64_t now = (uint64_t)clock_boot_ms();
    for (size_t i = 0; in->slot != UINT32_MAX && i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        const struct metrics_view *v = gateway_link_metrics(g->link);
        if (g->dead || v->header == NULL)
            continue;
        enum ejection_reason why;
        uint64_t times = metrics_ejections(v, in->slot, &why);
        uint64_t left_ms = metrics_ejected_ms(v, in->slot, now);
        out.times += times;
        if (times > 0 && left_ms >= out.left_ms) {
            out.left_ms = left_ms;
            out.why = why;
        }
    }
    return out;
}

static const char *words(enum ejection_reason why)
{
    return why == EJECTED_LATENCY ? "it is much slower than the others"
                                  : "it fails while the others do not";
}

void outlier_tick(struct app *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->instances.len; i++) {
        struct instance *in = a->instances.items[i];
        struct ejected e = outlier_of(a->control, in);
        bool more = in->ejections_known && e.times > in->ejections;
        /* Less: another gateway, which begins anew. */
        if (more && now_ms - in->ejection_told_ms < TELL_EVERY_MS && now_ms >= in->ejection_told_ms)
            continue;
        in->ejections = e.times;
        in->ejections_known = true;
        if (!more)
            continue;
        in->ejection_told_ms = now_ms;
        cleanup_free char *text =
            xasprintf("%s gets no requests for a while: %s", in->id, words(e.why));
        event_now(a->control, a, "instance-ejected", NULL, in->release, text, NULL);
    }
}

void outlier_json(const struct app *a, const struct instance *in, json_t *out)
{
    struct ejected e = outlier_of(a->control, in);
    json_t *ejected = json_null();
    if (e.left_ms > 0)
        ejected = json_pack("{s:I,s:s,s:I}", "for_ms", (json_int_t)e.left_ms, "reason",
                            e.why == EJECTED_LATENCY ? "latency" : "errors", "times",
                            (json_int_t)e.times);
    json_object_set_new(out, "ejected", ejected);
    if (e.left_ms == 0 || in->detail[0] != '\0')
        return;
    char text[32];
    uint64_t seconds = (e.left_ms + 999) / 1000;
    cleanup_free char *detail =
        xasprintf("gets no requests for %s: %s",
                  format_duration_ms((int64_t)seconds * 1000, text, sizeof text), words(e.why));
    json_object_set_new(out, "detail", json_string(detail));
}
