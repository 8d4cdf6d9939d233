/* A pack job (packing, sealing, deleting) watched in the loop. */
#include "control/control_internal.h"

struct pack_watch {
    struct control *control;
    struct pack_job *job; /* NULL: over or cancelled */
    uv_poll_t poll;
    pack_watch_done *done;
    void *arg;
};

static void on_closed(uv_handle_t *handle)
{
    struct pack_watch *w = handle->data;
    control_handle_closed(w->control);
    free(w);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct pack_watch *w = poll->data;
    (void)status, (void)events;
    if (w->job == NULL || !pack_ended(w->job))
        return;
    struct pack_job *job = w->job;
    struct error err = ERROR_INIT;
    struct pack_result result = {0};
    w->job = NULL;
    uv_poll_stop(&w->poll); /* before its descriptor is closed */
    int failed = pack_finish(job, &result, &err);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    w->done(w->arg, failed < 0 ? NULL : &result, &err);
}

struct pack_watch *pack_watch_start(struct control *c, struct pack_job *job, pack_watch_done *done,
                                    void *arg)
{
    ASSERT(job != NULL);
    struct pack_watch *w = xcalloc(1, sizeof *w);
    w->control = c;
    w->job = job;
    w->done = done;
    w->arg = arg;
    uv_poll_init(c->loop, &w->poll, pack_fd(job));
    w->poll.data = w;
    control_handle_opened(c);
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    return w;
}

void pack_watch_cancel(struct pack_watch *w)
{
    if (w == NULL || w->job == NULL)
        return;
    uv_poll_stop(&w->poll);
    pack_cancel(w->job);
    w->job = NULL;
    uv_close((uv_handle_t *)&w->poll, on_closed);
}
