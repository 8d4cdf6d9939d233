/* Paths and queries of request targets, for choosing a route only: what is passed on is what came
 * in. Pure. */
#ifndef SLUICE_WIRE_URL_H
#define SLUICE_WIRE_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The path of a target as RFC 3986 section 6.2.2 compares it: without the query, percent-encoded
 * unreserved characters decoded, other encodings in capital letters, dot segments gone (one above
 * the root stays at the root). "*" counts as "/", an empty path stays empty, which is under "/"
 * too. out holds len bytes or more. Gives the length, or -1: a malformed or NUL percent-encoding.
 */
ssize_t url_normalize_path(const char *path, size_t len, char *out);

/* prefix is "/", or matches whole segments: "/a" matches "/a" and "/a/b", not "/ab". A "/" at the
 * prefix's end says the same as none. */
bool url_path_under(const char *path, size_t len, const char *prefix, size_t prefix_len);

/* Whether a target's query has this parameter with this value (NULL: any, also none); names that
 * come again: one of them has it. Read as browsers write forms (URL Standard section 5.1): parts
 * between '&', name and value at the first '=', '+' is a space, %XX a byte; a '%' without two
 * hexadecimal digits stands for itself. */
bool url_query_has(const char *target, size_t len, const char *name, const char *value);

#endif
