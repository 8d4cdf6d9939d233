/* Where the server is: the data folder and the API's address. */
#ifndef SLUICE_CLI_PLACE_H
#define SLUICE_CLI_PLACE_H

#include "base/error.h"

/* option, else SLUICE_DATA, else /var/lib/sluice for root and ~/.local/share/sluice for others;
 * made absolute (the folder need not exist). The caller frees; NULL with ERROR_USAGE where there is
 * no home. */
char *place_data_dir(const char *option, struct error *err);

/* The API's address. */
struct place {
    char *text;        /* "unix:/var/lib/sluice/api.sock" or "127.0.0.1:7000": what messages say */
    char *path;        /* of the Unix socket; NULL: TCP */
    char *host, *port; /* TCP */
    char *token;       /* TCP: SLUICE_TOKEN, else DATA/api-token; NULL: none is known */
};

/* From --api, else SLUICE_API, else unix:DATA/api.sock; data is --data. */
int place_find(struct place *p, const char *api, const char *data, struct error *err);
void place_release(struct place *p);

#endif
