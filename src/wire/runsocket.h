/* Where the Unix socket of a run is: FOLDER/sock below DATA/run/sockets. The folder is the run's
 * own, so that nothing of an earlier one is ever in the way, and its name follows from the run's
 * id, so that nobody has to remember it. */
#ifndef SLUICE_WIRE_RUNSOCKET_H
#define SLUICE_WIRE_RUNSOCKET_H

#include <stdbool.h>

enum { RUNSOCKET_FOLDER_MAX = 24, RUNSOCKET_MAX = 40 };

#define RUNSOCKET_NAME "sock" /* in its folder */

/* The run's id, or a hash of it where that is long: sun_path has room for 107 bytes. */
void runsocket_folder(const char *run_id, char out[RUNSOCKET_FOLDER_MAX + 1]);
void runsocket_place(const char *run_id, char out[RUNSOCKET_MAX]); /* FOLDER/sock */

/* Of the form of a place: two plain names, none of which leads elsewhere. */
bool runsocket_is_place(const char *text);

#endif
