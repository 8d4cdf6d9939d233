/* Networks as people write them: 10.0.0.0/8, 2001:db8::/32, or one address. Pure. */
#ifndef SLUICE_BASE_NETWORK_H
#define SLUICE_BASE_NETWORK_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NETWORK_LIST_MAX = 64, NETWORK_TEXT_SIZE = 52 };

struct network {
    uint8_t address[16]; /* IPv4: ::ffff:a.b.c.d */
    uint8_t bits;        /* that count, of 128 */
};

/* 0, or -1 with an ERROR_USAGE that repeats the text. Bits behind the length are kept. */
int network_parse(const char *text, struct network *out, struct error *err);
/* Between commas or blanks, at most NETWORK_LIST_MAX. */
int network_parse_list(const char *list, struct network out[NETWORK_LIST_MAX], size_t *len,
                       struct error *err);
/* Is nothing set behind its bits? */
bool network_is_exact(const struct network *n);
/* As it is usually written, what is behind its bits cleared. Returns out. */
char *network_format(const struct network *n, char out[NETWORK_TEXT_SIZE]);

#endif
