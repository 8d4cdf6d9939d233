/* scalar: the text of a YAML scalar in quotes. Inside src/spec only.
 *
 * Our own, because libfyaml 0.7.12 (Debian 12) gets these wrong: two '' in a row are read as three
 * quotes (and leak), a tab in front of a line break in double quotes stays and costs the last
 * character. libfyaml finds where a scalar starts and ends, and refuses unknown escapes. */
#ifndef SLUICE_SPEC_SCALAR_H
#define SLUICE_SPEC_SCALAR_H

#include "base/buf.h"

#include <stdbool.h>

/* What stands between the quotes (YAML 1.2 sections 7.3.1 and 7.3.2), appended to out. An escape
 * that is no character ("\0" stays a NUL, half a surrogate pair) becomes a byte that is not UTF-8.
 */
void scalar_unquote(const char *raw, size_t len, bool double_quoted, struct buf *out);

#endif
