/* Field lines that a route adds to the head of a request, once it is known and before anything of
 * x->kept was sent. */
#ifndef SLUICE_GATEWAY_KEPT_H
#define SLUICE_GATEWAY_KEPT_H

#include "gateway/conn.h"

/* Room for so many bytes more in x->kept, which is the head alone. false: no memory. */
bool kept_room(struct exchange *x, size_t more);
/* name: value, behind all other fields; there must be room for it and 4 bytes. */
void kept_add(struct exchange *x, const char *name, size_t name_len, const char *value, size_t len);

#endif
