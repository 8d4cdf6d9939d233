/* HTTP fields as a user's file may name them, to be put into messages or taken out of them. The
 * routing snapshot is held to the same, since a gateway trusts nobody. RFC 9110 section 5. */
#ifndef SLUICE_BASE_FIELD_H
#define SLUICE_BASE_FIELD_H

#include <stdbool.h>
#include <stddef.h>

enum { FIELD_NAME_MAX = 200, FIELD_VALUE_MAX = 2000 };

/* A token of 1 to FIELD_NAME_MAX bytes. */
bool field_is_name(const char *name);
/* Without control characters (so without CR and LF), without white space around it. */
bool field_is_value(const char *value);
/* Names are compared without regard to case, and with '_' for '-': many apps cannot tell them
 * apart. */
bool field_same_name(const char *a, size_t a_len, const char *b, size_t b_len);
/* NULL: this field may be edited. Else why not, in words: it ends at this hop, frames or routes the
 * message, or is the gateway's own word about the client. */
const char *field_not_editable(const char *name);

#endif
