/* Inside of pack: what runs in the child process. */
#ifndef SLUICE_PACK_PACK_INTERNAL_H
#define SLUICE_PACK_PACK_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "pack/pack.h"

#include <stddef.h>
#include <time.h>

enum {
    PACK_DEPTH_MAX = 256,    /* folders in folders of a source */
    PACK_PATH_MAX = 3500,    /* bytes of a path in a source: the release's own path comes before */
    PACK_GIT_NESTED_MAX = 8, /* repositories in repositories */
    PACK_SYNC_ONE_BY_ONE = 1000, /* more files than that: the whole file system is synced instead */
};
#define PACK_BYTES_DEFAULT ((uint64_t)2 << 30)
#define PACK_FILES_DEFAULT 200000u

/* ---- identity.c: who reads, who owns
 * ---------------------------------------------------------------- */

/* A child of root opens the source's files with the effective uid of the reader, so that the kernel
 * decides what that user may read, and writes as root into a folder that nobody else can enter.
 * Only the effective uid changes; the groups are the reader's all the time, root does not need any.
 */
struct identity {
    bool root;     /* we are: what is written is given to the owner */
    bool switches; /* and the reader is somebody else */
    uid_t reader, owner;
    gid_t reader_gid, owner_gid;
    gid_t *groups;
    size_t groups_len;
};
int identity_init(struct identity *id, const struct pack_spec *spec, struct error *err);
void identity_release(struct identity *id);
void identity_read(const struct identity *id);  /* from here on as the reader */
void identity_write(const struct identity *id); /* from here on as ourselves */

/* ---- beneath.c: paths below a folder, no link ever followed -------------------------------------
 */

struct beneath {
    int root;   /* the caller's */
    int parent; /* the folder opened last, or -1 */
    char *path; /* its path below root */
};
#define BENEATH_INIT(root_fd)                                                                      \
    {                                                                                              \
        (root_fd), -1, NULL                                                                        \
    }
/* The open folder that holds path, and the last part of path in *name. -1 with errno. The
 * descriptor stays b's, until the next call. */
int beneath_parent(struct beneath *b, const char *path, const char **name);
void beneath_release(struct beneath *b);
#define cleanup_beneath __attribute__((cleanup(beneath_release)))

/* ---- list.c: what is to be copied
 * ------------------------------------------------------------------- */

enum entry_kind { ENTRY_FILE, ENTRY_FOLDER, ENTRY_LINK };
struct entry {
    const char *path; /* below the source, no leading or trailing slash */
    enum entry_kind kind;
    mode_t mode; /* of the copy */
    uint64_t size;
    const char *target; /* of a link */
};
struct listing {
    const char *source; /* for errors */
    int root;
    uint64_t max_bytes;
    uint32_t max_files;
    struct entry *items;
    size_t len, cap;
    uint64_t bytes;
    struct arena arena;
    struct map folders; /* those that are in items */
};
#define cleanup_listing __attribute__((cleanup(listing_release)))
void listing_release(struct listing *l);
/* Everything but .git. */
int list_all(struct listing *l, struct error *err);
/* The file at path, its folders before it. missing_ok: one that is not there is left out. A folder
 * is added, but not what is in it: *is_folder says so. */
int list_path(struct listing *l, struct beneath *at, const char *path, bool missing_ok,
              bool *is_folder, struct error *err);
/* Sorted by bytes, each path once; a folder comes before what is in it. */
void list_sort(struct listing *l);

/* ---- git.c
 * -------------------------------------------------------------------------------------------- */

/* What git says about the source. Not in a work tree, or ignored by it: result->git stays false. */
int git_describe(const struct pack_spec *spec, const struct identity *id,
                 struct pack_result *result, struct error *err);
int git_list(const struct pack_spec *spec, const struct identity *id, struct listing *l,
             struct error *err);

/* ---- copy.c
 * ------------------------------------------------------------------------------------------- */

/* Copies the listing into the new folder `to`; fills digest, bytes and files. */
int copy_listing(const struct listing *l, const struct identity *id, int to,
                 struct pack_result *result, struct error *err);

/* ---- tree.c
 * ------------------------------------------------------------------------------------------- */

/* *bytes: what it takes on the disk. */
int tree_seal(const char *dir, uint64_t *bytes, struct error *err);
/* *bytes: what it takes on the disk; 0 where it is not there. */
int tree_measure(const char *dir, uint64_t *bytes, struct error *err);
/* Deletes dir/name whatever it is; not being there is success. shown: the path for errors. */
int tree_remove(int dir, const char *name, const char *shown, struct error *err);

#endif
