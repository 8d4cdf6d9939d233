/* Another attempt: what may be sent again, how often, when. */
#include "gateway/conn.h"

#include "gateway/mirror.h"
#include "gateway/stats.h"

enum { MAX_ATTEMPTS = 16, BACKOFF_MAX_MS = 5000 };

/* Both sides of a pool's traffic have their own budget: a candidate that fails does not take
 * stable's. Without a route (a newer table has none) nothing is known of it but what was left. */
static bool budget_allows(struct exchange *x)
{
    struct worker *w = x->worker;
    const struct table_route *r = table_route_of_share(w->table, x->share_slot);
    metric *counted = &w->metrics->requests[x->share_slot].counters[REQUESTS];
    if (r == NULL ||
        budget_take(&w->budgets[x->share_slot], r->route->resilience.retry_budget_ppm,
                    atomic_load_explicit(counted, memory_order_relaxed), w->started_ms, w->now_ms))
        return true;
    stats_request(w, x->share_slot, REQUESTS_UNRETRIED, 1);
    return false;
}

static bool retried_on(const struct exchange *x, uint32_t what)
{
    const struct table_route *r = table_route_of_share(x->worker->table, x->share_slot);
    return ((r != NULL ? r->route->resilience.retry_on : SNAPSHOT_RETRY_RESET) & what) != 0;
}

/* The request may have been carried out: only what may be carried out twice, and what is kept. */
static bool take_retry(struct exchange *x, uint32_t what)
{
    if (x->copy || x->began || x->attempts >= MAX_ATTEMPTS || !x->idempotent || !x->keeping ||
        x->retries_left == 0 || !retried_on(x, what) || !budget_allows(x))
        return false;
    x->retries_left--;
    return true;
}

static void start_anew(struct exchange *x)
{
    stats_request(x->worker, x->share_slot, REQUESTS_RETRIED, 1);
    x->cursor = x->kept;
    x->cursor_at = 0;
    x->sent_any = x->sent_all = x->deaf = false;
    x->answer = ANSWER_HEAD;
    x->scanned = 0;
    x->down_ready = 0;
    x->drain_deadline_ms = 0;
}

void retry_now(struct exchange *x, const struct instance *avoid)
{
    start_anew(x);
    if (x->copy)
        mirror_again(x, avoid);
    else
        dispatch(x, NULL, NULL, avoid);
}

/* Exponential back-off with full jitter: those who failed together do not come back together. */
static void retry_later(struct exchange *x, const struct instance *avoid)
{
    struct worker *w = x->worker;
    const struct table_route *r = table_route_of_share(w->table, x->share_slot);
    uint64_t most = r != NULL ? r->route->resilience.retry_backoff_ms : 0;
    most <<= x->retries < MAX_ATTEMPTS ? x->retries : MAX_ATTEMPTS;
    if (most > BACKOFF_MAX_MS)
        most = BACKOFF_MAX_MS;
    x->retries++;
    uint64_t wait = worker_random(w) % (most + 1);
    if (wait == 0) {
        retry_now(x, avoid);
        return;
    }
    x->state = EXCHANGE_BACKOFF;
    x->drain_deadline_ms = 0;
    x->deadline_ms = w->now_ms + wait;
    exchange_set_timer(x);
}

bool retry_failure(struct exchange *x, enum failure why, bool reused, const struct instance *avoid)
{
    if (x->began || x->attempts >= MAX_ATTEMPTS)
        return false;
    bool unseen = why == FAILED_CONNECT || (why == FAILED_BROKEN && !x->sent_any);
    /* The instance closed it just then: no fault of anybody (RFC 9112 section 9.3.1). */
    bool stale = why == FAILED_BROKEN && reused && x->idempotent && x->keeping;
    if (unseen || stale) {
        retry_now(x, avoid);
        return true;
    }
    if (why != FAILED_BROKEN || !take_retry(x, SNAPSHOT_RETRY_RESET))
        return false;
    retry_later(x, avoid);
    return true;
}

bool retry_answer(struct exchange *x, uint16_t status)
{
    if (status < 502 || status > 504 || !take_retry(x, SNAPSHOT_RETRY_502 << (status - 502)))
        return false;
    const struct instance *i = x->upstream->instance;
    bool listed = i->listed;
    x->rescued = true;
    x->rescued_slot = x->share_slot;
    exchange_drop_attempt(x);
    retry_later(x, listed ? i : NULL);
    return true;
}
