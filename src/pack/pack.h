/* pack: a source folder becomes a release's folder; sealing, measuring and deleting such folders.
 *
 * In the controller; the work itself is done by child processes, so nothing here blocks. Start a
 * job, watch pack_fd() for reading, call pack_ended() each time it is readable, and pack_finish()
 * once that says true. A child dies with the controller, and holds none of its descriptors.
 *
 * What gets into a release: what git does not ignore, where the source is a git work tree (also
 * below its top, also submodules); else everything but .git. Symlinks only when they stay inside;
 * sockets, devices and fifos are an error that names them; setuid, setgid, sticky and others' write
 * bits are dropped. Others get nothing at the top: the source may stand in a private folder, and
 * its files be open to all below that. A folder at `destination` is always whole: it is written as
 * DESTINATION.tmp and renamed. A file that changes or vanishes while it is read is an error that
 * says so.
 */
#ifndef SLUICE_PACK_PACK_H
#define SLUICE_PACK_PACK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { PACK_COMMIT_MAX = 72, PACK_NAME_MAX = 128, PACK_NOTE_MAX = 256 };

struct pack_spec {
    const char *source;      /* absolute */
    const char *destination; /* absolute; its parent exists, itself does not (ERROR_CONFLICT);
                                DESTINATION.tmp of an earlier try is removed */
    /* Matter only where the caller is root: who the files are read as (and git runs as), and who
     * will own what is written. Else all is done as ourselves. */
    uid_t reader_uid;
    gid_t reader_gid;
    uid_t owner_uid;
    gid_t owner_gid;
    uint64_t max_bytes; /* 0: the default, 2 GiB */
    uint32_t max_files; /* 0: the default, 200,000 (files, folders, links) */
};

struct pack_result {
    char digest[65]; /* SHA-256 in hex over the sorted paths, kinds, executable bits and contents */
    uint64_t bytes;
    uint32_t files;
    bool git; /* the source is in a git work tree; else the fields below are empty */
    char commit[PACK_COMMIT_MAX];       /* whole hash; "" before the first commit */
    char short_commit[PACK_COMMIT_MAX]; /* git's short hash: the version when none is given */
    char author[PACK_NAME_MAX];         /* "Name <mail>" */
    char branch[PACK_NAME_MAX];         /* "" when detached */
    bool dirty;                         /* the folder has changes that are not committed */
    char note[PACK_NOTE_MAX];           /* what the user should know, or "" */
};

struct pack_job;

/* NULL only when no child could be started. Whatever is wrong with the source comes from
 * pack_finish. */
struct pack_job *pack_start(const struct pack_spec *spec, struct error *err);
/* After the build: the folder and all in it read-only (links are not followed), and on the disk for
 * sure. Runs as owner_uid where the caller is root. Its result has the one field `bytes`: what the
 * folder takes on the disk, a file with several names being counted once. */
struct pack_job *pack_seal(const char *dir, uid_t owner_uid, gid_t owner_gid, struct error *err);
/* Deletes a folder (read-only ones too, and DIR.tmp), never following a link out of it, nor into
 * another file system. Not being there is success. */
struct pack_job *pack_remove_tree(const char *dir, struct error *err);
/* What a folder takes on the disk: the result's `bytes`, as of pack_seal(). Links are not followed,
 * other file systems and what may not be read are left out; not being there is 0. At a low
 * priority: the folder may be large. */
struct pack_job *pack_measure(const char *dir, struct error *err);

int pack_fd(const struct pack_job *job); /* the job's; closed by pack_finish and pack_cancel */
pid_t pack_pid(const struct pack_job *job);
bool pack_ended(struct pack_job *job); /* reads what there is; true: call pack_finish */
/* Waits for the child (shortly, when pack_ended() said true; else until it ends) and frees the job.
 * result may be NULL. ERROR_USAGE: the source is at fault. */
int pack_finish(struct pack_job *job, struct pack_result *result, struct error *err);
/* Kills the child (and git), frees the job. What it left is DESTINATION.tmp: pack_remove_tree() or
 * the next pack_start() removes it. NULL is fine. */
void pack_cancel(struct pack_job *job);

#endif
