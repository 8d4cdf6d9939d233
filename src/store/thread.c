/* The thread that makes the writer's steps. */
#include "store/store_internal.h"

#include <signal.h>

/* False: it is to stop, and all is done. */
static bool wait_for_work(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->queue == NULL && !store->maintain && !store->stop)
        pthread_cond_wait(&store->work, &store->lock);
    bool more = store->queue != NULL || store->maintain;
    pthread_mutex_unlock(&store->lock);
    return more;
}

static void *thread_main(void *argument)
{
    struct store *store = argument;
    writer_begin(store);
    while (wait_for_work(store))
        writer_step(store);
    return NULL;
}

int thread_start(struct store *store, struct error *err)
{
    /* Signals are the loop thread's: a new thread inherits the mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)1 << 20);
    int failed = pthread_create(&store->thread, &attributes, thread_main, store);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return error_errno(err, failed, "start the thread that writes %s", store->path);
    pthread_setname_np(store->thread, "store");
    store->thread_runs = true;
    return 0;
}

void thread_wake(struct store *store)
{
    pthread_cond_signal(&store->work);
}

void thread_wait(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->done == NULL)
        pthread_cond_wait(&store->finished, &store->lock);
    pthread_mutex_unlock(&store->lock);
}

void thread_stop(struct store *store)
{
    if (!store->thread_runs)
        return;
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    pthread_cond_signal(&store->work);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->thread, NULL);
    store->thread_runs = false;
}
