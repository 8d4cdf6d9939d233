/* The bearer token of an API on TCP: DATA/api-token, 64 hex digits, mode 0600, made at the first
 * start. */
#ifndef SLUICE_API_TOKEN_H
#define SLUICE_API_TOKEN_H

#include "api/server.h"

int token_load(const char *data_dir, char out[TOKEN_HEX + 1], struct error *err);

#endif
