/* What people have ordered for an app's traffic, from outside of any release: maintenance, and
 * faults for a game day. Both are rare, so an app without them pays one branch (orders.h). */
#include "gateway/orders.h"

#include "gateway/capacity.h"
#include "gateway/pages.h"
#include "gateway/stats.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- whom it is about
 * --------------------------------------------------------------------------------- */

static bool in_network(const struct snapshot_caller *k, const uint8_t address[ADDRESS_BYTES])
{
    struct cidr network = {.bits = (uint8_t)k->bits};
    for (int i = 0; i < 8; i++) {
        network.address[i] = (uint8_t)(k->high >> (56 - 8 * i));
        network.address[8 + i] = (uint8_t)(k->low >> (56 - 8 * i));
    }
    return address_in(&network, 1, address);
}

static bool has_header(const struct snapshot_caller *k, const struct http1_head *h, const char *p)
{
    size_t from = 0, len = strlen(k->name);
    const struct http1_field *f;
    while ((f = http1_find(h, p, k->name, len, &from)) != NULL)
        if (k->value == NULL || (strlen(k->value) == f->value.len &&
                                 memcmp(k->value, http1_at(p, f->value), f->value.len) == 0))
            return true;
    return false;
}

/* One of them is enough. */
static bool is_one_of(const struct exchange *x, uint32_t first, uint32_t len,
                      const struct http1_head *h, const char *p)
{
    const struct snapshot_caller *callers = x->worker->table->snapshot->callers + first;
    const uint8_t *address = x->forwarded ? x->for_whom : x->client->peer;
    for (uint32_t i = 0; i < len; i++)
        if (callers[i].name != NULL ? has_header(&callers[i], h, p)
                                    : in_network(&callers[i], address))
            return true;
    return false;
}

/* ---- maintenance
 * -------------------------------------------------------------------------------------- */

#define PAGE_TEXT                                                                                  \
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"                              \
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Maintenance</title>\n"        \
    "<body style=\"font-family:system-ui,sans-serif;max-width:34em;margin:20vh auto;"              \
    "padding:0 1em;color:#333\">\n<h1>Back soon</h1>\n"                                            \
    "<p>This service is under maintenance. Please try again in a while.</p>\n"

/* A program gets what programs read, whatever page there is for people. */
static void answer_maintenance(struct exchange *x, const struct snapshot_maintenance *m,
                               const struct http1_head *h, const char *p)
{
    const struct snapshot *s = x->worker->table->snapshot;
    struct answer a = {.status = m->status, .type = "text/html; charset=utf-8", .body = PAGE_TEXT};
    char json[64], extra[48] = "";
    a.len = sizeof PAGE_TEXT - 1;
    if (pages_wants_json(h, p)) {
        int n =
            snprintf(json, sizeof json, "{\"error\":\"maintenance\",\"status\":%u}\n", m->status);
        a.type = "application/json";
        a.body = json;
        a.len = (size_t)n;
    } else if (m->page > 0) {
        const struct snapshot_page *page = &s->pages[m->page - 1];
        a.type = page->type;
        a.body = page->body.data;
        a.len = page->body.len;
    }
    if (m->retry_after_s > 0)
        snprintf(extra, sizeof extra, "Retry-After: %u\r\n", m->retry_after_s);
    a.extra = extra;
    exchange_answer_with(x, OUTCOME_MAINTENANCE, &a, "maintenance");
}

bool orders_hold_ended(struct exchange *x)
{
    const struct snapshot *s = x->worker->table->snapshot;
    for (uint32_t i = 0; i < s->apps_len; i++)
        if (s->apps[i].slot == x->app_slot && s->apps[i].maintenance.status != 0) {
            struct http1_head h;
            const char *p;
            exchange_parse_kept(x, &h, &p);
            answer_maintenance(x, &s->apps[i].maintenance, &h, p);
            return true;
        }
    return false;
}

/* ---- faults
 * ------------------------------------------------------------------------------------------- */

static void abort_by_fault(struct exchange *x, unsigned status)
{
    static const char text[] = "sluice: an injected fault\n";
    exchange_answer_with(x, OUTCOME_FAULT,
                         &(struct answer){.status = status,
                                          .type = "text/plain",
                                          .body = text,
                                          .len = sizeof text - 1,
                                          .extra = "X-Sluice-Fault: abort\r\n"},
                         "fault");
}

static bool strikes(struct exchange *x, const struct snapshot_fault *f, const struct http1_head *h,
                    const char *p)
{
    struct worker *w = x->worker;
    return w->now_ms + w->boot_minus_mono_ms < f->until_ms &&
           (f->callers == 0 || is_one_of(x, f->first_caller, f->callers, h, p)) &&
           worker_random(w) % 1000000 < f->share_ppm;
}

static enum orders_step fault(struct exchange *x, const struct snapshot_fault *f)
{
    stats_request(x->worker, x->app_slot, REQUESTS_FAULTS, 1);
    if (f->delay_ms == 0) {
        abort_by_fault(x, f->abort);
        return ORDERS_ANSWERED;
    }
    hold_remove(x); /* its time is the fault's now; then it comes anew */
    x->waits_since_us = worker_now_us(x->worker);
    x->state = EXCHANGE_DELAYED;
    x->abort_after = f->abort;
    x->deadline_ms = x->worker->now_ms + f->delay_ms;
    exchange_set_timer(x);
    return ORDERS_WAIT;
}

void orders_delay_ended(struct exchange *x)
{
    bool overdue = x->total_deadline_ms != 0 && x->worker->now_ms >= x->total_deadline_ms;
    x->state = EXCHANGE_HELD;
    if (x->abort_after != 0 || overdue) { /* no instance has seen it, so none is to blame */
        abort_by_fault(x, x->abort_after != 0 ? x->abort_after : 504);
        return;
    }
    x->waited_us += worker_now_us(x->worker) - x->waits_since_us;
    dispatch(x, NULL, NULL, NULL);
}

/* What is ordered counts, whether the app's own hold is longer or shorter. */
static bool held_for(struct exchange *x, const struct snapshot_app *app, uint32_t ms)
{
    if (x->hold == NULL)
        return hold_put_for(x, app, ms);
    hold_set_time(x, ms);
    return true;
}

bool orders_bar(const struct exchange *x, const struct snapshot_app *app,
                const struct http1_head *h, const char *p)
{
    const struct snapshot_maintenance *m = &app->maintenance;
    return m->status != 0 && !is_one_of(x, m->first_caller, m->callers, h, p);
}

/* ---- both
 * --------------------------------------------------------------------------------------------- */

enum orders_step orders_take(struct exchange *x, const struct snapshot_app *app,
                             const struct http1_head *h, const char *p)
{
    const struct snapshot_maintenance *m = &app->maintenance;
    bool first = !x->fault_tried;
    x->fault_tried = true;
    if (orders_bar(x, app, h, p)) {
        if (m->hold_ms > 0 && x->place != 0)
            capacity_give_back(x);
        if (m->hold_ms > 0 && held_for(x, app, m->hold_ms))
            return ORDERS_WAIT;
        answer_maintenance(x, m, h, p);
        return ORDERS_ANSWERED;
    }
    if (first && app->fault.share_ppm > 0 && strikes(x, &app->fault, h, p))
        return fault(x, &app->fault);
    return ORDERS_PASS;
}
