/* Connections that wait for nothing but their client make room when there is none left: idle ones,
 * and those whose client sends or takes nothing. What waits for an instance is never touched. */
#include "gateway/conn.h"

#include "gateway/guard.h"
#include "gateway/h2.h"
#include "gateway/stats.h"

/* LOOKS: at so many connections at once; those that stay go to the end of the list, so that all
 * have their turn. SILENT_MS: it has sent nothing yet, or it is half-closed already. IDLE_MS: it
 * was here before, and may come back any moment. */
enum { LOOKS = 64, ENOUGH = 16, SILENT_MS = 1000, IDLE_MS = 5000 };
/* So little in such a time is nothing. */
enum { STALLED_MS = 5000, STALLED_BYTES = 1024 };

/* Since when, of a deadline that was set for `limit` ms. */
static bool waits_for(const struct client *c, uint32_t limit, uint32_t ms)
{
    uint64_t due = c->timer.due_ms;
    return due != TIMER_NEVER && c->worker->now_ms + limit >= due + ms;
}

/* Nothing moved for a while that we could see, and it is the client's turn. */
static bool its_turn(const struct client *c)
{
    const struct exchange *x = c->exchange;
    if (x->state == EXCHANGE_TUNNEL) /* which may have no deadline */
        return x->final && x->upstream->in != NULL && !c->endpoint.writable;
    bool waits = x->final ? !c->endpoint.writable : !x->request.done && c->in == NULL;
    return x->state == EXCHANGE_ACTIVE && waits &&
           c->worker->now_ms + x->timeout_ms >= x->deadline_ms + STALLED_MS;
}

/* One that takes its answer may be slow beyond our sight: it is looked at twice. */
static bool stalled(const struct client *c)
{
    struct exchange *x = c->exchange;
    uint64_t now_ms = c->worker->now_ms;
    if (!its_turn(c) || !x->final)
        return its_turn(c);
    uint64_t taken = guard_taken(x);
    if (x->taken_ms == 0 || taken >= x->taken_bytes + STALLED_BYTES) {
        x->taken_ms = now_ms;
        x->taken_bytes = taken;
    }
    return now_ms >= x->taken_ms + STALLED_MS;
}

static bool give_up(struct client *c)
{
    const struct gateway_limits *limits = &c->worker->gateway->limits;
    switch ((enum client_state)c->state) {
    case CLIENT_PROXY: return waits_for(c, limits->head_ms, STALLED_MS);
    case CLIENT_HEAD:
        if (c->in != NULL)
            return c->in_head && waits_for(c, limits->head_ms, STALLED_MS);
        return c->fresh ? waits_for(c, limits->head_ms, SILENT_MS)
                        : waits_for(c, limits->idle_ms, IDLE_MS);
    case CLIENT_BUSY: return stalled(c);
    case CLIENT_ANSWER: return waits_for(c, limits->head_ms, STALLED_MS);
    case CLIENT_LINGER: return waits_for(c, limits->linger_ms, SILENT_MS);
    case CLIENT_COPY:
    case CLIENT_H2: break;
    }
    return false;
}

static bool close_one(struct client *c)
{
    if (c->state == CLIENT_H2)
        return h2_leave_if_idle(c, IDLE_MS);
    if (c->endpoint.stream != NULL || !give_up(c))
        return false;
    if (c->state == CLIENT_BUSY) {
        exchange_end(c->exchange, OUTCOME_CLIENT_LEFT);
        client_reset(c);
    } else {
        client_close(c);
    }
    return true;
}

bool reclaim(struct worker *w)
{
    struct link kept, *first;
    int closed = 0;
    link_init(&kept);
    for (int i = 0; i < LOOKS && closed < ENOUGH && !link_alone(&w->clients); i++) {
        first = w->clients.next;
        struct client *c = link_owner(first, struct client, link);
        if (close_one(c)) {
            closed++;
            continue;
        }
        link_remove(first);
        link_before(&kept, first);
    }
    while (!link_alone(&kept)) {
        first = kept.next;
        link_remove(first);
        link_before(&w->clients, first);
    }
    stats_add(&w->metrics->connections_reclaimed, closed);
    return closed > 0;
}
