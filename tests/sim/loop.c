/* libuv's place: timers, polls, prepare, idle, on the world's clock. Descriptors are real ones, of
 * this process; what is readable is looked up when the world has moved. */
#include "sim.h"

#include <poll.h>
#include <string.h>

enum { OPEN = 1, ACTIVE = 2, CLOSING = 4 };

struct posted {
    uv_handle_t *handle;
    void (*fn)(uv_handle_t *handle);
};

static struct {
    uv_loop_t uv;
    struct {
        uv_handle_t **items;
        size_t len, cap;
    } handles, closing;
    struct {
        struct posted *items;
        size_t len, cap;
    } posted;
    uint64_t order;
} loop;

struct uv_loop_s *loop_get(void)
{
    return &loop.uv;
}

static int64_t now_ms(void)
{
    return sim_now() / SIM_MS;
}

static void open_handle(uv_loop_t *l, uv_handle_t *h, uv_handle_type type)
{
    void *data = h->data;
    h->loop = l;
    h->type = type;
    h->data = data;
    h->flags = OPEN;
    *vec_push(&loop.handles) = h;
}

bool loop_is_open(const uv_handle_t *handle)
{
    for (size_t i = 0; i < loop.handles.len; i++)
        if (loop.handles.items[i] == handle)
            return (handle->flags & CLOSING) == 0;
    return false;
}

/* ---- what the product calls ---- */

int uv_timer_init(uv_loop_t *l, uv_timer_t *t)
{
    open_handle(l, (uv_handle_t *)t, UV_TIMER);
    return 0;
}

int uv_timer_start(uv_timer_t *t, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    ASSERT((t->flags & OPEN) != 0);
    if ((t->flags & CLOSING) != 0)
        return UV_EINVAL;
    t->timer_cb = cb;
    t->timeout = (uint64_t)now_ms() + timeout;
    t->repeat = repeat;
    t->start_id = ++loop.order;
    t->flags |= ACTIVE;
    return 0;
}

int uv_timer_stop(uv_timer_t *t)
{
    t->flags &= ~(unsigned)ACTIVE;
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *t)
{
    uint64_t now = (uint64_t)now_ms();
    return t->timeout > now ? t->timeout - now : 0;
}

int uv_prepare_init(uv_loop_t *l, uv_prepare_t *p)
{
    open_handle(l, (uv_handle_t *)p, UV_PREPARE);
    return 0;
}

int uv_prepare_start(uv_prepare_t *p, uv_prepare_cb cb)
{
    p->prepare_cb = cb;
    p->flags |= ACTIVE;
    return 0;
}

int uv_idle_init(uv_loop_t *l, uv_idle_t *i)
{
    open_handle(l, (uv_handle_t *)i, UV_IDLE);
    return 0;
}

int uv_idle_start(uv_idle_t *i, uv_idle_cb cb)
{
    i->idle_cb = cb;
    i->flags |= ACTIVE;
    return 0;
}

int uv_poll_init(uv_loop_t *l, uv_poll_t *p, int fd)
{
    open_handle(l, (uv_handle_t *)p, UV_POLL);
    p->io_watcher.fd = fd;
    return 0;
}

int uv_poll_start(uv_poll_t *p, int events, uv_poll_cb cb)
{
    ASSERT(events == UV_READABLE);
    p->poll_cb = cb;
    p->flags |= ACTIVE;
    return 0;
}

int uv_poll_stop(uv_poll_t *p)
{
    p->flags &= ~(unsigned)ACTIVE;
    return 0;
}

int uv_tcp_init(uv_loop_t *l, uv_tcp_t *t)
{
    open_handle(l, (uv_handle_t *)t, UV_TCP);
    return 0;
}

int uv_is_active(const uv_handle_t *h)
{
    return (h->flags & ACTIVE) != 0 && (h->flags & CLOSING) == 0;
}

int uv_is_closing(const uv_handle_t *h)
{
    return (h->flags & CLOSING) != 0;
}

void uv_close(uv_handle_t *h, uv_close_cb cb)
{
    ASSERT((h->flags & OPEN) != 0 && (h->flags & CLOSING) == 0);
    h->close_cb = cb;
    if (h->type == UV_TCP)
        probe_closing(h);
    if (h->type == UV_POLL)
        gateway_closed(((uv_poll_t *)h)->io_watcher.fd);
    h->flags = (h->flags | CLOSING) & ~(unsigned)ACTIVE;
    *vec_push(&loop.closing) = h;
}

/* ---- a turn ---- */

void loop_post(uv_handle_t *handle, void (*fn)(uv_handle_t *handle))
{
    *vec_push(&loop.posted) = (struct posted){handle, fn};
}

static bool idle_runs(void)
{
    for (size_t i = 0; i < loop.handles.len; i++)
        if (loop.handles.items[i]->type == UV_IDLE && uv_is_active(loop.handles.items[i]))
            return true;
    return false;
}

int64_t loop_due_us(void)
{
    if (loop.posted.len > 0 || loop.closing.len > 0 || idle_runs())
        return sim_now();
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < loop.handles.len; i++) {
        const uv_timer_t *t = (const uv_timer_t *)loop.handles.items[i];
        if (t->type == UV_TIMER && uv_is_active((const uv_handle_t *)t) && t->timeout < due)
            due = t->timeout;
    }
    return due == UINT64_MAX ? INT64_MAX : (int64_t)due * SIM_MS;
}

static uv_timer_t *due_timer(uint64_t before_order)
{
    uv_timer_t *first = NULL;
    for (size_t i = 0; i < loop.handles.len; i++) {
        uv_timer_t *t = (uv_timer_t *)loop.handles.items[i];
        if (t->type != UV_TIMER || !uv_is_active((uv_handle_t *)t) ||
            t->timeout > (uint64_t)now_ms() || t->start_id > before_order)
            continue;
        if (first == NULL || t->timeout < first->timeout ||
            (t->timeout == first->timeout && t->start_id < first->start_id))
            first = t;
    }
    return first;
}

/* One that is started again with 0 is for the next turn, or it would never end. */
static bool run_timers(void)
{
    uint64_t order = loop.order;
    bool any = false;
    for (uv_timer_t *t; (t = due_timer(order)) != NULL; any = true) {
        uv_timer_stop(t);
        if (t->repeat != 0)
            uv_timer_start(t, t->timer_cb, t->repeat, t->repeat);
        t->timer_cb(t);
    }
    return any;
}

static bool run_kind(uv_handle_type type)
{
    bool any = false;
    for (size_t i = 0; i < loop.handles.len; i++) {
        uv_handle_t *h = loop.handles.items[i];
        if (h->type != type || !uv_is_active(h))
            continue;
        any = true;
        if (type == UV_IDLE)
            ((uv_idle_t *)h)->idle_cb((uv_idle_t *)h);
        else
            ((uv_prepare_t *)h)->prepare_cb((uv_prepare_t *)h);
    }
    return any;
}

static size_t ready_polls(uv_poll_t **found, size_t max)
{
    struct pollfd fds[64];
    uv_poll_t *polls[64];
    size_t n = 0, ready = 0;
    for (size_t i = 0; i < loop.handles.len && n < COUNT_OF(fds); i++) {
        uv_poll_t *p = (uv_poll_t *)loop.handles.items[i];
        if (p->type != UV_POLL || !uv_is_active((uv_handle_t *)p))
            continue;
        polls[n] = p;
        fds[n++] = (struct pollfd){.fd = p->io_watcher.fd, .events = POLLIN};
    }
    if (n == 0 || poll(fds, n, 0) <= 0)
        return 0;
    for (size_t i = 0; i < n && ready < max; i++)
        if (fds[i].revents != 0)
            found[ready++] = polls[i];
    return ready;
}

bool loop_is_readable(void)
{
    uv_poll_t *one;
    return ready_polls(&one, 1) > 0;
}

static bool run_polls(void)
{
    uv_poll_t *polls[64];
    size_t n = ready_polls(polls, COUNT_OF(polls));
    for (size_t i = 0; i < n; i++)
        if (loop_is_open((uv_handle_t *)polls[i]) && uv_is_active((uv_handle_t *)polls[i]))
            polls[i]->poll_cb(polls[i], 0, UV_READABLE);
    size_t posted = loop.posted.len;
    bool any = n > 0 || posted > 0;
    for (size_t i = 0; i < posted; i++) {
        struct posted p = loop.posted.items[i];
        if (loop_is_open(p.handle))
            p.fn(p.handle);
    }
    while (posted-- > 0)
        vec_remove(&loop.posted, 0);
    return any;
}

static bool run_closing(void)
{
    size_t n = loop.closing.len;
    for (size_t i = 0; i < n; i++) {
        uv_handle_t *h = loop.closing.items[i];
        for (size_t k = 0; k < loop.handles.len; k++)
            if (loop.handles.items[k] == h) {
                vec_remove(&loop.handles, k);
                break;
            }
        if (h->close_cb != NULL)
            h->close_cb(h);
    }
    for (size_t i = 0; i < n; i++)
        vec_remove(&loop.closing, 0);
    return n > 0;
}

bool loop_turn(void)
{
    bool any = run_timers();
    any = run_kind(UV_IDLE) || any;
    run_kind(UV_PREPARE);
    any = run_polls() || any;
    return run_closing() || any;
}

void loop_abandon(void)
{
    loop.handles.len = loop.closing.len = loop.posted.len = 0;
    probe_abandon();
}
