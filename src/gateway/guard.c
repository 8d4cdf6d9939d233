#include "gateway/guard.h"

#include "gateway/stats.h"

#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>

static bool too_large(struct exchange *x, unsigned status, const char *text)
{
    stats_request(x->worker, x->app_slot, REQUESTS_TOO_LARGE, 1);
    exchange_refuse(x, OUTCOME_REFUSED, status, text);
    return false;
}

/* The value of the header, where there is exactly one: who may choose among several, or leave it
 * out, must not thereby get a bucket of its own. */
static const struct http1_field *only_field(const struct http1_head *h, const char *p,
                                            const char *name)
{
    size_t from = 0, len = strlen(name);
    const struct http1_field *f = http1_find(h, p, name, len, &from);
    return f != NULL && http1_find(h, p, name, len, &from) == NULL ? f : NULL;
}

static uint64_t key_of(const struct exchange *x, const struct table_route *r,
                       const struct http1_head *h, const char *p)
{
    const struct rates *rates = x->worker->gateway->rates;
    const char *header = r->route->guard.rate_header;
    const struct http1_field *f = header != NULL ? only_field(h, p, header) : NULL;
    if (f != NULL)
        return rates_key(rates, r->identity ^ 1, http1_at(p, f->value), f->value.len);
    struct client_identity client = client_by_address(x->forwarded ? x->for_whom : x->client->peer);
    return rates_key(rates, r->identity, &client.number, sizeof client.number);
}

static bool within_rate(struct exchange *x, const struct table_route *r, const struct http1_head *h,
                        const char *p)
{
    struct worker *w = x->worker;
    uint64_t wait_ns =
        rates_take(w->gateway->rates, key_of(x, r, h, p), &r->rate, x->start_us * 1000);
    if (wait_ns == 0)
        return true;
    stats_request(w, x->app_slot, REQUESTS_RATE_LIMITED, 1);
    exchange_refuse_for(x, OUTCOME_REFUSED, 429, "too many requests",
                        (uint32_t)((wait_ns + 999999999) / 1000000000));
    return false;
}

bool guard_admits(struct exchange *x, const struct table_route *r, const struct http1_head *h,
                  const char *p)
{
    const struct snapshot_guard *g = &r->route->guard;
    if (g->head_bytes > 0 && h->len > g->head_bytes)
        return too_large(x, 431, "the head is longer than this route takes");
    if (g->body_bytes > 0 && x->request.announced > g->body_bytes)
        return too_large(x, 413, "the body is larger than this route takes");
    x->body_limit = g->body_bytes;
    x->min_rate = g->min_rate;
    return r->rate.interval_ns == 0 || within_rate(x, r, h, p);
}

void guard_body_too_large(struct exchange *x)
{
    if (!x->final) {
        too_large(x, 413, "the body is larger than this route takes");
        return;
    }
    stats_request(x->worker, x->app_slot, REQUESTS_TOO_LARGE, 1);
    exchange_client_left(x);
}

/* ---- the least rate
 * ------------------------------------------------------------------------------------- */

uint64_t guard_taken(const struct exchange *x)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(x->client->endpoint.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return x->bytes_out;
    return info.tcpi_bytes_acked;
}

static void look(struct exchange *x, bool up)
{
    uint64_t now_ms = x->worker->now_ms;
    uint64_t at_ms = up ? pace_wait(&x->up_pace, x->bytes_in, x->min_rate, now_ms)
                        : pace_wait(&x->down_pace, guard_taken(x), x->min_rate, now_ms);
    if (x->slow_at_ms == 0 || at_ms < x->slow_at_ms)
        x->slow_at_ms = at_ms;
}

/* Both ways once more, those that are waited for. */
static void look_again(struct exchange *x)
{
    x->slow_at_ms = 0;
    if (x->up_pace.since_ms != 0)
        look(x, true);
    if (x->down_pace.since_ms != 0)
        look(x, false);
}

void guard_waits(struct exchange *x, bool up)
{
    if ((up ? &x->up_pace : &x->down_pace)->since_ms != 0)
        return; /* since before */
    look(x, up);
    exchange_set_timer(x);
}

void guard_moved(struct exchange *x, bool up)
{
    pace_go(up ? &x->up_pace : &x->down_pace, x->worker->now_ms);
    look_again(x);
}

bool guard_too_slow(struct exchange *x)
{
    struct client *c = x->client;
    look_again(x);
    if (x->slow_at_ms == 0 || x->worker->now_ms < x->slow_at_ms) {
        exchange_set_timer(x);
        return false;
    }
    stats_request(x->worker, x->app_slot, REQUESTS_TOO_SLOW, 1);
    x->own_text = "the client is too slow";
    if (!x->began) {
        exchange_refuse(x, OUTCOME_REFUSED, 408, "the request's body comes too slowly");
        return true;
    }
    exchange_end(x, OUTCOME_REFUSED);
    client_reset(c);
    return true;
}
