/* After 101: bytes both ways, until both sides have closed. Each side's end is passed on by itself
 * (half-close). No time-out of its own; it ends with the instance's drain deadline at the latest.
 */
#include "gateway/conn.h"

#include "gateway/stats.h"

#include <sys/socket.h>
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

enum relay { RELAY_WAIT, RELAY_MORE, RELAY_BROKEN };

/* One direction, as far as it goes; never more than one buffer in between. */
static enum relay relay(struct worker *w, struct endpoint *from, struct chunk **in,
                        struct endpoint *to, bool *eof, uint64_t *bytes)
{
    for (int i = 0; i < TURN_STEPS; i++) {
        if (*in != NULL) {
            if (!to->writable)
                return RELAY_WAIT;
            struct iovec part = {(*in)->data + (*in)->start, chunk_len(*in)};
            ssize_t n = endpoint_send(to, &part, 1);
            if (n < 0)
                return RELAY_BROKEN;
            *bytes += (uint64_t)n;
            chunk_consume(&w->chunks, in, (size_t)n);
            continue;
        }
        if (*eof || !from->readable)
            return RELAY_WAIT;
        ssize_t n = endpoint_read(w, from, in);
        if (n == 0)
            return RELAY_WAIT;
        if (n == READ_BROKEN)
            return RELAY_BROKEN;
        if (n == READ_END) {
            *eof = true;
            endpoint_end(to);
            return RELAY_WAIT;
        }
    }
    return RELAY_MORE;
}

void tunnel_run(struct exchange *x)
{
    struct worker *w = x->worker;
    struct client *c = x->client;
    struct upstream *u = x->upstream;
    enum relay down = RELAY_WAIT;
    /* The 101 itself goes first. */
    while (c->out != NULL && c->endpoint.writable && down != RELAY_BROKEN) {
        struct iovec part = {c->out->data + c->out->start, chunk_len(c->out)};
        ssize_t n = endpoint_send(&c->endpoint, &part, 1);
        if (n < 0)
            down = RELAY_BROKEN;
        else
            chunk_consume(&w->chunks, &c->out, (size_t)n);
    }
    if (down != RELAY_BROKEN && c->out == NULL)
        down = relay(w, &u->endpoint, &u->in, &c->endpoint, &x->upstream_eof, &x->bytes_out);
    enum relay up = relay(w, &c->endpoint, &c->in, &u->endpoint, &x->client_eof, &x->bytes_in);
    if (down == RELAY_BROKEN || up == RELAY_BROKEN || (x->client_eof && x->upstream_eof)) {
        exchange_end(x, OUTCOME_WHOLE);
        client_close(c);
    } else if (down == RELAY_MORE || up == RELAY_MORE) {
        client_later(c);
    }
}
