/* The disk: what the data folder's file system has left, and what each app takes of it beside its
 * releases, whose sizes are known since they were sealed. Folders are measured in a child process,
 * one at a time. */
#include "control/control_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

enum { LOOK_MS = 60000, MEASURE_AGAIN_MS = 600000 };

/* ---- what is left
 * ---------------------------------------------------------------------------------- */

/* Less than 5 %, where that is between 256 MiB and 10 GiB; on a small disk less than a quarter. */
bool disk_is_low(uint64_t free_bytes, uint64_t total_bytes)
{
    const uint64_t least = (uint64_t)256 << 20, most = (uint64_t)10 << 30;
    uint64_t limit = total_bytes / 20;
    limit = limit < least ? least : limit > most ? most : limit;
    if (limit > total_bytes / 4)
        limit = total_bytes / 4;
    return free_bytes < limit;
}

int disk_look(const struct control *c, struct disk_space *out, struct error *err)
{
    struct statvfs fs;
    if (statvfs(c->data, &fs) < 0)
        return error_errno(err, errno, "space of %s", c->data);
    out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    out->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    out->low = disk_is_low(out->free_bytes, out->total_bytes);
    return 0;
}

static void look(struct control *c)
{
    struct disk_space space;
    struct error err = ERROR_INIT;
    c->disk_looked_ms = control_now();
    if (disk_look(c, &space, &err) < 0) {
        log_warn("%s", err.text);
        return;
    }
    if (space.low == c->disk_low)
        return;
    c->disk_low = space.low;
    cleanup_free char *text = xasprintf(
        "%llu MiB of %llu MiB are free on the disk of %s%s",
        (unsigned long long)space.free_bytes >> 20, (unsigned long long)space.total_bytes >> 20,
        c->data, space.low ? ": it is nearly full, deploys and logs may fail" : " again");
    if (space.low)
        log_warn("%s", text);
    if (c->store != NULL)
        event_now(c, NULL, space.low ? "disk-low" : "disk-ok", NULL, 0, text, NULL);
}

/* ---- what apps take
 * -------------------------------------------------------------------------------- */

struct measuring {
    struct control *control;
    struct app_ref *app;
    bool state; /* its logs were measured before */
    struct pack_watch *watch;
};

static void measure(struct app *a, bool state);

static void measuring_free(struct measuring *m)
{
    m->control->measuring = NULL;
    free(m);
}

static void on_measured(void *arg, const struct pack_result *result, const struct error *err)
{
    struct measuring *m = arg;
    struct app *a = app_ref_take(m->app);
    bool state = m->state;
    measuring_free(m);
    if (a == NULL)
        return;
    if (result == NULL)
        log_warn("app %s: %s", a->key, err->text);
    int64_t *bytes = state ? &a->disk.state_bytes : &a->disk.logs_bytes;
    *bytes = result != NULL ? (int64_t)result->bytes : -1;
    if (!state)
        measure(a, true);
}

static void measure(struct app *a, bool state)
{
    struct control *c = a->control;
    struct error err = ERROR_INIT;
    cleanup_free char *dir = app_path(a, state ? "state" : "logs");
    ASSERT(c->measuring == NULL);
    struct pack_job *job = pack_measure(dir, &err);
    if (job == NULL) {
        log_warn("app %s: %s", a->key, err.text);
        return;
    }
    struct measuring *m = c->measuring = xcalloc(1, sizeof *m);
    m->control = c;
    m->app = app_ref_new(a);
    m->state = state;
    m->watch = pack_watch_start(c, job, on_measured, m);
}

/* The one that was measured the longest ago, where that is long. */
static struct app *next_app(const struct control *c, int64_t now)
{
    struct app *oldest = NULL;
    for (size_t i = 0; i < c->apps.len; i++) {
        struct app *a = c->apps.items[i];
        if (now - a->disk.measured_ms >= MEASURE_AGAIN_MS &&
            (oldest == NULL || a->disk.measured_ms < oldest->disk.measured_ms))
            oldest = a;
    }
    return oldest;
}

void disk_tick(struct control *c)
{
    int64_t now = control_now();
    if (now - c->disk_looked_ms >= LOOK_MS)
        look(c);
    struct app *a = c->measuring == NULL ? next_app(c, now) : NULL;
    if (a == NULL)
        return;
    a->disk.measured_ms = now;
    measure(a, false);
}

void disk_release(struct control *c)
{
    struct measuring *m = c->measuring;
    if (m == NULL)
        return;
    pack_watch_cancel(m->watch);
    app_ref_take(m->app);
    measuring_free(m);
}
