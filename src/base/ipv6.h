/* IPv6 addresses in brackets, as they stand in authorities (RFC 3986 section 3.2.2). */
#ifndef SLUICE_BASE_IPV6_H
#define SLUICE_BASE_IPV6_H

#include <stdbool.h>
#include <stddef.h>

enum { IPV6_LITERAL_MAX = 48 }; /* with the brackets and NUL */

/* "[0:0::1]" as it is usually written: "[::1]" (RFC 5952). false: it is none. */
bool ipv6_literal(const char *text, size_t len, char out[IPV6_LITERAL_MAX]);

#endif
