/* observe/logs: reading the log files of an app.
 *
 * In the controller, on the loop's thread: every call does a bounded amount of work. A folder holds
 * INSTANCE.log.1 (older) and INSTANCE.log of each instance, JSON lines
 * {"t":"2026-11-21T08:00:00.123Z","s":"out"|"err","p":"web","m":"text"}, written and rotated by
 * shims while they are read. Files are input: a line that is no JSON object is given as its text.
 *
 * A line that comes out is {"instance":"shop-7-1","release":7,"t":..,"s":..,"p":..,"m":..} and a
 * newline. Lines of one instance keep their order; instances are merged by time.
 */
#ifndef SLUICE_OBSERVE_LOGS_H
#define SLUICE_OBSERVE_LOGS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOGS_MAX_LINE = 256 << 10 }; /* longer lines are left out */

/* The text ("m") of the last n lines of one instance, oldest first, each with a newline; control
 * bytes are replaced and a text is cut at 1 KiB, so that it may go into an answer or onto a
 * terminal. Gives the number of lines; 0 where there is no file. Reads at most 256 KiB. */
int logs_last_lines(const char *dir, const char *instance_id, unsigned n, struct buf *out);

/* The release's number in an instance id ("my-shop-7-1" and "my-shop-7-worker-1": 7); 0: none. */
uint32_t logs_release_of(const char *instance_id);

struct logs_filter {
    int64_t since_ms;     /* wall clock; lines before it are left out; 0: all */
    uint32_t release;     /* 0: all */
    const char *instance; /* NULL: all */
    const char *process;  /* NULL: all */
    uint32_t last;        /* of what is there at first only the last so many lines; 0: all */
};

struct logs_reader;
/* dir need not exist (yet). Strings are copied. Never NULL. */
struct logs_reader *logs_reader_new(const char *dir, const struct logs_filter *filter);
void logs_reader_free(struct logs_reader *r);

/* Appends lines to out. Gives true while there is more to read at once (call again, from the loop's
 * next turn), false when all that the files hold now was given. Reads at most LOGS_STEP bytes. */
enum { LOGS_STEP = 512 << 10 };
bool logs_read(struct logs_reader *r, struct buf *out);

/* A file of the folder (its name alone) changed, or NULL: perhaps any: the next logs_read() looks.
 */
void logs_touched(struct logs_reader *r, const char *file);

#endif
