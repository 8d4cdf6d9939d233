/* Help out of the table of verbs. */
#ifndef SLUICE_CLI_HELP_H
#define SLUICE_CLI_HELP_H

#include "cli/verbs.h"

#include <stdio.h>

void help_all(FILE *out);
void help_verb(const struct verb *verb, FILE *out);

#endif
