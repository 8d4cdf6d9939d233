/* Where the server is: the data folder and the API's address. */
#ifndef SLUICE_CLI_PLACE_H
#define SLUICE_CLI_PLACE_H

#include "base/error.h"

/* option, else SLUICE_DATA, else /var/lib/sluice for root and ~/.local/share/sluice for others;
 * made absolute (the folder need not exist). The caller frees; NULL with ERROR_USAGE where there is
 * no home. */
char *place_data_dir(const char *option, struct error *err);

#endif
