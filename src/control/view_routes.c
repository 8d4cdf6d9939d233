/* GET /metrics, by route: rate, errors and durations. A route is its host and path here; what else
 * it matches may be secret. Bounded: of an app's routes the first EXPOSED_ROUTES are told apart. */
#include "control/control_internal.h"

#include "observe/exposition.h"

#include <string.h>

enum { EXPOSED_ROUTES = 32, EXEMPLAR_MAX_AGE_MS = 10 * 60 * 1000 };
#define OTHER_ROUTES "(other)"

/* Of one pool. */
struct exposed {
    const char *name; /* not NUL-terminated */
    size_t len;
    struct red red;
    uint64_t in_flight, bytes_in, bytes_out;
    struct exemplar exemplars[RED_CLASSES_COUNT][RED_STEPS]; /* wall_ms 0: none */
};

/* The one of this name; the last one where there is no room for it. */
static struct exposed *find(struct exposed *all, size_t *len, const char *route)
{
    size_t n = strcspn(route, " ");
    for (size_t i = 0; i < *len; i++)
        if (all[i].len == n && memcmp(all[i].name, route, n) == 0)
            return &all[i];
    struct exposed *e = &all[*len < EXPOSED_ROUTES ? (*len)++ : EXPOSED_ROUTES];
    e->name = e == &all[EXPOSED_ROUTES] ? OTHER_ROUTES : route;
    e->len = e == &all[EXPOSED_ROUTES] ? strlen(OTHER_ROUTES) : n;
    return e;
}

/* The newest of the live gateways', since the slot is this one's. */
static void look_for_exemplar(const struct control *c, const struct slot *s, int class, int step,
                              int64_t since_ms, struct exemplar *newest)
{
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        const struct metrics_view *v = gateway_link_metrics(g->link);
        for (uint32_t w = 0; !g->dead && v->header != NULL && w < v->workers_len; w++) {
            struct exemplar e;
            if (exemplars_get(&v->workers[w].exemplars, s->index, (enum red_class) class,
                              (uint32_t)step, &e) &&
                e.wall_ms >= (uint64_t)since_ms && e.wall_ms > newest->wall_ms)
                *newest = e;
        }
    }
}

static void add_exemplars(const struct control *c, const struct slot *s, const struct red *red,
                          struct exposed *out)
{
    int64_t since = control_now() - EXEMPLAR_MAX_AGE_MS;
    if (since < s->began_ms)
        since = s->began_ms;
    for (int class = 0; class < RED_CLASSES_COUNT; class ++)
        for (int step = 0; step < RED_STEPS; step++)
            if (red->classes[class].steps[step] > 0)
                look_for_exemplar(c, s, class, step, since, &out->exemplars[class][step]);
}

static void add_slot(const struct control *c, const struct slot *s, bool exemplars,
                     struct exposed *out)
{
    struct red red;
    slot_red(c, s, &red);
    for (int class = 0; class < RED_CLASSES_COUNT; class ++) {
        out->red.classes[class].us += red.classes[class].us;
        for (int step = 0; step < RED_STEPS; step++)
            out->red.classes[class].steps[step] += red.classes[class].steps[step];
    }
    out->in_flight += slot_value(c, s, REQUESTS_IN_FLIGHT);
    out->bytes_in += slot_value(c, s, REQUESTS_BYTES_IN);
    out->bytes_out += slot_value(c, s, REQUESTS_BYTES_OUT);
    if (exemplars)
        add_exemplars(c, s, &red, out);
}

static void expose_one(struct exposition *e, const char *pool_labels, const struct exposed *r)
{
    cleanup_buf struct buf labels = BUF_INIT, name = BUF_INIT;
    buf_append(&name, r->name, r->len);
    buf_puts(&labels, pool_labels);
    exposition_label(&labels, "route", buf_str(&name));
    exposition_count(e, FAMILY_ROUTE_IN_FLIGHT, buf_str(&labels), r->in_flight);
    exposition_count(e, FAMILY_ROUTE_BYTES_IN, buf_str(&labels), r->bytes_in);
    exposition_count(e, FAMILY_ROUTE_BYTES_OUT, buf_str(&labels), r->bytes_out);
    size_t before = labels.len;
    for (int class = 0; class < RED_CLASSES_COUNT; class ++) {
        uint64_t any = 0;
        for (int step = 0; step < RED_STEPS; step++)
            any += r->red.classes[class].steps[step];
        if (any == 0)
            continue;
        labels.len = before;
        exposition_label(&labels, "code", red_class_word((enum red_class) class));
        exposition_steps(e, FAMILY_ROUTE_DURATION, buf_str(&labels), r->red.classes[class].steps,
                         r->red.classes[class].us, r->exemplars[class]);
    }
}

void expose_routes(struct exposition *e, const struct app *a, uint32_t pool, const char *labels)
{
    struct exposed *all = xcalloc(EXPOSED_ROUTES + 1, sizeof *all);
    size_t len = 0;
    for (size_t i = 0; i < a->slots.len; i++) {
        const struct slot *s = a->slots.items[i];
        if (s->pool == pool && s->route[0] != '\0' && slot_is_of_users(s))
            add_slot(a->control, s, e->openmetrics, find(all, &len, s->route));
    }
    for (size_t i = 0; i <= EXPOSED_ROUTES; i++)
        if (all[i].name != NULL)
            expose_one(e, labels, &all[i]);
    free(all);
}
