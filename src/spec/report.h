/* report: adding to diagnostics (inside src/spec only). */
#ifndef SLUICE_SPEC_REPORT_H
#define SLUICE_SPEC_REPORT_H

#include "base/nearest.h"
#include "spec/spec.h"

#include <stdarg.h>

enum { REPORT_MAX = 100 }; /* diagnostics kept for one file */

struct spot {
    uint32_t line, column, length;
};

/* Adds one; text and hint (NULL: none) are copied. An equal one at the same spot is not added again
 * (a node behind an anchor is read once per alias). */
void report_add(struct diagnostics *d, bool warning, struct spot at, const char *text,
                const char *hint);
/* By place, then in the order of arrival. */
void report_sort(struct diagnostics *d);

/* Length of the longest valid UTF-8 prefix of s without NUL. */
size_t utf8_valid_prefix(const char *s, size_t len);

#endif
