/* After 101: bytes both ways, until both sides have closed. Each side's end is passed on by itself
 * (half-close). No time-out of its own; it ends with the instance's drain deadline at the latest.
 */
#include "gateway/conn.h"

#include "gateway/relay.h"
#include "gateway/stats.h"

#include <sys/uio.h>

void tunnel_start(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->deadline_ms = TIMER_NEVER;
    x->total_deadline_ms = 0;
    x->client->close_after = true;
    stats_instance(x->worker, x->instance_slot, INSTANCE_UPGRADED, 1);
    exchange_set_timer(x);
}

static bool broken(enum relay r)
{
    return r == RELAY_SOURCE_GONE || r == RELAY_TARGET_GONE;
}

void tunnel_run(struct exchange *x)
{
    struct worker *w = x->worker;
    struct client *c = x->client;
    struct upstream *u = x->upstream;
    enum relay down = RELAY_WAIT;
    /* A reset, as long as we have not ended our side: seen also while the instance takes nothing.
     */
    if (c->endpoint.broken && !x->upstream_eof) {
        exchange_end(x, OUTCOME_WHOLE);
        client_close(c);
        return;
    }
    /* The 101 itself goes first. */
    while (c->out != NULL && c->endpoint.writable && down != RELAY_TARGET_GONE) {
        struct iovec part = {c->out->data + c->out->start, chunk_len(c->out)};
        ssize_t n = endpoint_send(&c->endpoint, &part, 1);
        if (n < 0)
            down = RELAY_TARGET_GONE;
        else
            chunk_consume(&w->chunks, &c->out, (size_t)n);
    }
    if (down != RELAY_TARGET_GONE && c->out == NULL)
        down = relay(w, &u->endpoint, &u->in, &c->endpoint, &x->upstream_eof, &x->bytes_out);
    if (down == RELAY_END)
        endpoint_end(&c->endpoint);
    enum relay up = relay(w, &c->endpoint, &c->in, &u->endpoint, &x->client_eof, &x->bytes_in);
    if (up == RELAY_END)
        endpoint_end(&u->endpoint);
    if (broken(down) || broken(up) || (x->client_eof && x->upstream_eof)) {
        exchange_end(x, OUTCOME_WHOLE);
        client_close(c);
    } else if (down == RELAY_MORE || up == RELAY_MORE) {
        client_later(c);
    }
}
