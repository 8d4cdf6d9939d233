#include "observe/accesslog.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/vec.h"
#include "observe/accessfile.h"
#include "wire/accessring.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BUSY_MS = 25,  /* between two looks, while lines come */
    IDLE_MS = 100, /* and while none do */
    CLOSE_MS = 2000,
};

/* One gateway generation. */
struct source {
    uint64_t generation;
    int fd; /* holds the lock */
    struct access_rings *rings;
    uint32_t count;
    bool locked, gone;
    struct access_log_counts counted; /* at the last look */
};

/* What the thread is told. */
struct order {
    uint64_t generation;
    int fd; /* -1: it is gone */
};

struct access_log {
    char *path;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct {
        struct order *items;
        size_t len, cap;
    } orders;
    bool closing;
    _Atomic uint64_t lines, dropped;
    /* The thread's own. */
    struct accessfile file;
    struct {
        struct source *items;
        size_t len, cap;
    } sources;
    uint64_t lines_before, dropped_before; /* of sources that are let go */
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the thread
 * ----------------------------------------------------------------------------------- */

static void take_up(struct access_log *log, const struct order *order)
{
    struct error err = ERROR_INIT;
    uint32_t count;
    struct access_rings *rings = access_rings_open(order->fd, &count, &err);
    if (rings == NULL) {
        log_error("gateway %llu: %s", (unsigned long long)order->generation, err.text);
        close(order->fd);
        return;
    }
    *vec_push(&log->sources) = (struct source){
        .generation = order->generation, .fd = order->fd, .rings = rings, .count = count};
}

static void obey(struct access_log *log, const struct order *order)
{
    if (order->fd >= 0) {
        take_up(log, order);
        return;
    }
    for (size_t i = 0; i < log->sources.len; i++)
        if (log->sources.items[i].generation == order->generation)
            log->sources.items[i].gone = true;
}

/* false: the file takes no more now. */
static bool drain_ring(struct access_log *log, struct access_ring *ring, bool *any)
{
    struct iovec parts[2];
    size_t len = access_ring_peek(ring, parts);
    if (len == 0)
        return true;
    size_t went = accessfile_write(&log->file, parts, now_ms());
    access_ring_take(ring, went);
    *any = *any || went > 0;
    return went == len;
}

static void count(struct source *s)
{
    s->counted = (struct access_log_counts){0, 0};
    for (uint32_t i = 0; i < s->count; i++) {
        s->counted.lines += atomic_load_explicit(&s->rings->ring[i].lines, memory_order_relaxed);
        s->counted.dropped +=
            atomic_load_explicit(&s->rings->ring[i].dropped, memory_order_relaxed);
    }
}

static void let_go(struct access_log *log, size_t i)
{
    struct source *s = &log->sources.items[i];
    log->lines_before += s->counted.lines;
    log->dropped_before += s->counted.dropped;
    access_rings_close(s->rings, s->count);
    close(s->fd);
    vec_remove(&log->sources, i);
}

/* Once over all rings. true: lines were written. */
static bool look(struct access_log *log)
{
    bool any = false, open = true;
    uint64_t lines = 0, dropped = 0;
    for (size_t i = 0; i < log->sources.len; i++) {
        struct source *s = &log->sources.items[i];
        /* An earlier controller may still read it, while it leaves. */
        s->locked = s->locked || access_rings_lock(s->fd);
        bool empty = true;
        for (uint32_t k = 0; k < s->count && s->locked && open; k++)
            open = empty = drain_ring(log, &s->rings->ring[k], &any);
        count(s);
        if (s->gone && s->locked && open && empty)
            let_go(log, i--);
    }
    for (size_t i = 0; i < log->sources.len; i++) {
        lines += log->sources.items[i].counted.lines;
        dropped += log->sources.items[i].counted.dropped;
    }
    atomic_store(&log->lines, log->lines_before + lines);
    atomic_store(&log->dropped, log->dropped_before + dropped);
    return any;
}

/* Waits for an order, or so long. */
static void rest(struct access_log *log, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (log->orders.len == 0 && !log->closing)
        pthread_cond_timedwait(&log->wake, &log->lock, &until);
}

static void *write_lines(void *arg)
{
    struct access_log *log = arg;
    bool any = false;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        rest(log, any ? BUSY_MS : IDLE_MS);
        for (size_t i = 0; i < log->orders.len; i++)
            obey(log, &log->orders.items[i]);
        log->orders.len = 0;
        bool closing = log->closing;
        pthread_mutex_unlock(&log->lock);
        any = look(log);
        if (closing && !any)
            return NULL;
        pthread_mutex_lock(&log->lock);
    }
}

/* ---- for the loop's thread
 * ------------------------------------------------------------------------ */

static void release(struct access_log *log)
{
    while (log->sources.len > 0)
        let_go(log, log->sources.len - 1);
    for (size_t i = 0; i < log->orders.len; i++)
        if (log->orders.items[i].fd >= 0)
            close(log->orders.items[i].fd);
    vec_release(&log->sources);
    vec_release(&log->orders);
    accessfile_release(&log->file);
    pthread_cond_destroy(&log->wake);
    pthread_mutex_destroy(&log->lock);
    free(log->path);
    free(log);
}

struct access_log *access_log_open(const char *path)
{
    struct access_log *log = xcalloc(1, sizeof *log);
    pthread_condattr_t attr;
    sigset_t all, before;
    log->path = xstrdup(path);
    accessfile_init(&log->file, log->path);
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&log->wake, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals are the loop's. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int why = pthread_create(&log->thread, NULL, write_lines, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (why == 0)
        return log;
    log_error("access log: no thread: %s", strerror(why));
    release(log);
    return NULL;
}

static void tell(struct access_log *log, struct order order)
{
    pthread_mutex_lock(&log->lock);
    *vec_push(&log->orders) = order;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

void access_log_add(struct access_log *log, uint64_t generation, int fd)
{
    tell(log, (struct order){generation, fd});
}

void access_log_gone(struct access_log *log, uint64_t generation)
{
    tell(log, (struct order){generation, -1});
}

struct access_log_counts access_log_counts(const struct access_log *log)
{
    struct access_log *l = (struct access_log *)log; /* atomic loads want it without const */
    return (struct access_log_counts){atomic_load(&l->lines), atomic_load(&l->dropped)};
}

void access_log_close(struct access_log *log)
{
    if (log == NULL)
        return;
    struct timespec until;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_MS / 1000;
    if (pthread_timedjoin_np(log->thread, NULL, &until) != 0)
        return; /* it waits for its file: the process ends without it */
    release(log);
}
