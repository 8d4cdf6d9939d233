/* cli: the command line. Talks only to the API (but for check, init, serve), one file per verb.
 *
 * The table of verbs (verbs.h) is the one source of dispatch, help, completion and the manual page.
 * Results go to stdout, progress and errors to stderr.
 */
#ifndef SLUICE_CLI_CLI_H
#define SLUICE_CLI_CLI_H

#include "base/error.h"

/* Runs the verb of argv[1]; gives the exit status of SPEC. */
int cli_main(int argc, char **argv);

enum cli_exit {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_CONTROLLER = 3,
    EXIT_TIME_UP = 4
};

/* Prints "sluice: TEXT" to stderr; gives the exit status that belongs to the error's class. */
int cli_fail(const struct error *err);

#endif
