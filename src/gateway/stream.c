/* TCP routes: a client's connection is joined with one to an instance and bytes go both ways,
 * looked at by nobody. The listener says which route it is. From there it is an exchange as any
 * other: split, balance, hold, drain; it is one request, which ends when both sides have.
 *
 * Its latency is from when the instance owes a word (it was connected, or the client's first byte
 * was sent) to its first byte. It failed when it was reset by the instance before the client had
 * ended, or ended by the instance without a word before the client had.
 */
#include "gateway/conn.h"

#include "gateway/relay.h"
#include "gateway/stats.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { KEEP_IDLE_S = 60, KEEP_EVERY_S = 15, KEEP_TIMES = 4 };
enum { ANSWERED = 200, WORDLESS = 502 }; /* what HTTP would say, for counts and samples */

_Static_assert((int)BOOT_ADDRESS_MAX <= (int)SAMPLE_PATH_MAX,
               "the listener stands where a path would");

void stream_keep_alive(int fd)
{
    int idle = KEEP_IDLE_S, every = KEEP_EVERY_S, times = KEEP_TIMES;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

int stream_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
                  const char *listener)
{
    struct client *c = client_new(w, fd, peer, TLS_NONE);
    if (c == NULL)
        return -1;
    if (!client_enter(c)) {
        stats_add(&w->metrics->connections_refused, 1);
        client_reset(c);
        return 0;
    }
    if (overload_memory(&w->chunks)) {
        stats_add(&w->metrics->shed, 1);
        reclaim(w);
        client_reset(c);
        return 0;
    }
    struct exchange *x = exchange_make(c);
    if (x == NULL) {
        client_reset(c);
        return 0;
    }
    x->stream = true;
    x->path_len = (uint8_t)strlen(listener);
    memcpy(x->path, listener, (size_t)x->path_len + 1);
    c->state = CLIENT_BUSY;
    c->exchange = x;
    dispatch(x, NULL, NULL, NULL);
    if (!c->endpoint.dead && c->exchange == x)
        exchange_run(x);
    return 0;
}

const struct table_route *stream_route(const struct exchange *x)
{
    return table_tcp_route(x->worker->table, x->path);
}

static void start(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->start_us = worker_now_us(x->worker);
    x->waited_us = 0;
    stats_instance(x->worker, x->instance_slot, INSTANCE_UPGRADED, 1);
    exchange_progress(x);
}

/* Nobody has said anything: another instance can have the connection, as if this one had refused
 * it. Not later than a connect may take: an instance that is tired of waiting means the client. */
static bool as_good_as_refused(struct exchange *x)
{
    uint64_t waited_us = worker_now_us(x->worker) - x->start_us;
    if (x->began || x->sent_any || x->client_eof || x->retries_left == 0 ||
        waited_us >= x->worker->gateway->limits.connect_ms * UINT64_C(1000))
        return false;
    x->retries_left--;
    x->upstream_eof = false;
    exchange_failed(x, FAILED_BROKEN);
    return true;
}

/* The instance has reset it. */
static void lost(struct exchange *x)
{
    struct client *c = x->client;
    if (as_good_as_refused(x))
        return;
    if (x->client_eof || x->upstream_eof) { /* one of them was through with it */
        exchange_end(x, OUTCOME_WHOLE);
        client_reset(c);
        return;
    }
    x->sent_any = true; /* nobody else gets it */
    exchange_failed(x, FAILED_BROKEN);
}

static void client_gone(struct exchange *x)
{
    endpoint_reset(&x->upstream->endpoint);
    exchange_client_left(x);
}

/* false: the exchange is gone. */
static bool ended_by_instance(struct exchange *x)
{
    if (!x->began && !x->client_eof) {
        if (as_good_as_refused(x))
            return false;
        x->status = WORDLESS;
        x->final = true;
    }
    endpoint_end(&x->client->endpoint);
    return true;
}

static void answered(struct exchange *x)
{
    x->began = x->final = true;
    x->status = ANSWERED;
    exchange_count_latency(x);
}

/* false: the exchange is gone. */
static bool run_down(struct exchange *x, enum relay *r)
{
    struct upstream *u = x->upstream;
    *r = relay(x->worker, &u->endpoint, &u->in, &x->client->endpoint, &x->upstream_eof,
               &x->bytes_out);
    if (!x->began && x->bytes_out > 0)
        answered(x);
    switch (*r) {
    case RELAY_WAIT:
    case RELAY_MORE: return true;
    case RELAY_END:
        if (!x->deaf)
            return ended_by_instance(x);
        x->upstream_eof = false; /* its reset was seen by a send; this is what is left of it */
        lost(x);
        return false;
    case RELAY_SOURCE_GONE: lost(x); return false;
    case RELAY_TARGET_GONE: client_gone(x); return false;
    }
    return true;
}

static bool run_up(struct exchange *x, enum relay *r)
{
    struct client *c = x->client;
    *r = relay(x->worker, &c->endpoint, &c->in, &x->upstream->endpoint, &x->client_eof,
               &x->bytes_in);
    if (!x->sent_any && x->bytes_in > 0) {
        x->sent_any = true;
        if (!x->began)
            x->start_us = worker_now_us(x->worker);
    }
    switch (*r) {
    case RELAY_WAIT:
    case RELAY_MORE: return true;
    case RELAY_END: endpoint_end(&x->upstream->endpoint); return true;
    case RELAY_SOURCE_GONE: client_gone(x); return false;
    case RELAY_TARGET_GONE:
        if (x->upstream_eof) {
            lost(x);
            return false;
        }
        /* What it said before is still to be read, and then the end. */
        x->deaf = true;
        x->upstream->endpoint.readable = true;
        *r = RELAY_MORE;
        return true;
    }
    return true;
}

void stream_run(struct exchange *x)
{
    struct client *c = x->client;
    if (x->state != EXCHANGE_TUNNEL)
        start(x);
    /* A reset, as long as we have not ended our side: seen also while the instance takes nothing.
     */
    if (c->endpoint.broken && !x->upstream_eof) {
        client_gone(x);
        return;
    }
    uint64_t before = x->bytes_in + x->bytes_out;
    enum relay down, up = RELAY_WAIT;
    if (!run_down(x, &down) || (!x->deaf && !run_up(x, &up)))
        return;
    if (x->client_eof && x->upstream_eof) {
        exchange_end(x, OUTCOME_WHOLE);
        client_close(c);
        return;
    }
    if (x->bytes_in + x->bytes_out != before)
        exchange_progress(x);
    if (down == RELAY_MORE || up == RELAY_MORE)
        client_later(c);
}

void stream_refuse(struct exchange *x, enum outcome outcome)
{
    struct client *c = x->client;
    exchange_end(x, outcome);
    client_reset(c);
}

void stream_timeout(struct exchange *x)
{
    endpoint_reset(&x->upstream->endpoint);
    stream_refuse(x, OUTCOME_WHOLE);
}
