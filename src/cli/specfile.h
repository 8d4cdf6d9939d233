/* specfile: the sluice.yaml that a verb works on (check, plan, deploy), read from disk, with its
 * ${NAME} from the environment and its env-files from beside it. */
#ifndef SLUICE_CLI_SPECFILE_H
#define SLUICE_CLI_SPECFILE_H

#include "base/buf.h"
#include "base/error.h"
#include "spec/spec.h"

struct specfile {
    struct app_spec *spec; /* NULL: the file has errors; they are in diags */
    char *path;            /* as given: what errors call the file */
    char *folder; /* absolute folder of the file: `source` and env-files are seen from here */
    struct buf text;
    struct diagnostics diags; /* errors and warnings */
};

#define SPECFILE_INIT                                                                              \
    {                                                                                              \
        .text = BUF_INIT                                                                           \
    }

/* Reads path (NULL: ./sluice.yaml; a folder: the sluice.yaml in it) for an environment (NULL:
 * production). 0 when the file could be read: look at f->spec then. -1 with *err when not. Release
 * f in both cases. */
int specfile_read(struct specfile *f, const char *path, const char *environment, struct error *err);
/* The diagnostics as a person reads them, to stderr. */
void specfile_print(const struct specfile *f, bool color);
/* Both of them: 0 with a spec (warnings were printed), else -1 and all was said on stderr: exit 2.
 */
int specfile_load(struct specfile *f, const char *path, const char *environment, bool color);
/* The spec with another strategy (`--strategy`; NULL: its own). -1: it was said on stderr why not.
 */
int specfile_set_strategy(struct specfile *f, const char *strategy);
void specfile_release(struct specfile *f);

/* Colour on stderr: it is a terminal that can, and neither --no-color nor NO_COLOR was given. */
bool specfile_color(bool no_color);

#define cleanup_specfile __attribute__((cleanup(specfile_release)))

#endif
