/* What a number of JSON (RFC 8259 section 6) says, without regard to how it is written. */
#ifndef SLUICE_WIRE_JSONNUMBER_H
#define SLUICE_WIRE_JSONNUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSONNUMBER_MAX = 64 }; /* bytes of its text */

/* The same print for 1, 1.0 and 10e-1, for 0 and -0; another one for another number: nothing is
 * rounded, but that exponents beyond 10^15 are as good as each other. len <= JSONNUMBER_MAX. false:
 * it is no number. */
bool jsonnumber_print(const char *text, size_t len, uint64_t *print);

#endif
