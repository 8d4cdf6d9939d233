/* Allocation that cannot fail from the caller's view: on exhaustion the process says so and aborts.
 *
 * That is the policy of the controller, the command line and the small processes (a supervisor
 * restarts them, and their state is on disk). The gateway's per-connection memory does not come
 * from here: it refuses the connection instead.
 */
#ifndef SLUICE_BASE_ALLOC_H
#define SLUICE_BASE_ALLOC_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);           /* zeroed; aborts on overflow of n*size */
void *xrealloc(void *p, size_t n, size_t size); /* to n*size bytes; aborts on overflow */
char *xstrdup(const char *s);                   /* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Cleanup by attribute: `cleanup_free char *path = ...;`, `cleanup_close int fd = -1;` */
static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_fn(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_close __attribute__((cleanup(cleanup_close_fn)))

/* Takes the value out of an owner: `return take_ptr(&path);`, `*out = take_fd(&fd);` */
#define take_ptr(pp) ((__typeof__(*(pp)))take_ptr_fn((void *)(pp)))
static inline void *take_ptr_fn(void *pp)
{
    void **slot = pp;
    void *p = *slot;
    *slot = NULL;
    return p;
}
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
