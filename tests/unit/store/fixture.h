/* A store in a folder of its own, for the tests of store. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/store.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64], db[96], ballast[96];
};

static inline void folder_init(struct folder *f, const char *path)
{
    snprintf(f->path, sizeof f->path, "%s", path);
    snprintf(f->db, sizeof f->db, "%s/state.db", f->path);
    snprintf(f->ballast, sizeof f->ballast, "%s/ballast", f->path);
}

static inline void folder_make(struct folder *f)
{
    char path[] = "/tmp/sluice-store-XXXXXX";
    assert_non_null(mkdtemp(path));
    folder_init(f, path);
}

static inline void folder_remove(const struct folder *f)
{
    DIR *d = opendir(f->path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", f->path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(path) < 0)
            rmdir(path);
    }
    closedir(d);
    rmdir(f->path);
}

static inline struct store *must_open(const struct store_options *options)
{
    struct error err = ERROR_INIT;
    struct store *store = store_open(options, &err);
    if (store == NULL)
        fail_msg("%s", err.text);
    return store;
}

static inline struct store *open_in(const struct folder *f)
{
    return must_open(&(struct store_options){.path = f->db});
}

struct outcome {
    int calls;
    enum store_outcome outcome;
    struct error error;
};

static inline void note_outcome(void *context, enum store_outcome outcome, const struct error *err)
{
    struct outcome *o = context;
    o->calls++;
    o->outcome = outcome;
    o->error = *err;
}

/* Submits and waits; the outcome. */
static inline enum store_outcome submit_wait(struct store *store, struct store_batch *batch,
                                             struct error *err)
{
    struct outcome o = {0};
    store_submit(store, batch, note_outcome, &o);
    store_flush(store);
    assert_int_equal(o.calls, 1);
    if (err != NULL)
        *err = o.error;
    return o.outcome;
}

static inline void put_app(struct store_batch *batch, const char *name)
{
    char key[128];
    batch_put_app(batch,
                  &(struct store_app){.app = store_app_key(name, "production", key, sizeof key),
                                      .name = name,
                                      .environment = "production",
                                      .state_json = "{}",
                                      .extras_json = "{}",
                                      .next_release = 1,
                                      .created_ms = 1});
}

static inline void add_event(struct store *store, struct store_batch *batch, const char *app,
                             const char *text)
{
    batch_add_event(batch, &(struct store_event){.id = store_next_event_id(store),
                                                 .app = app,
                                                 .at_ms = 5,
                                                 .kind = "step",
                                                 .actor = "ada",
                                                 .text = text});
}

#endif
