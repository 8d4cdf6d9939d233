/* Bodies for the gateway's own answers: pages of the app, or what programs read. */
#ifndef SLUICE_GATEWAY_PAGES_H
#define SLUICE_GATEWAY_PAGES_H

#include "gateway/conn.h"

enum { PAGES_JSON_MAX = 256 };

/* The request accepts JSON and not HTML. */
bool pages_wants_json(const struct http1_head *h, const char *p);
/* The body in place of a text that says the same: the app's page for that status, or the text as
 * JSON (in json). false: neither is called for, which is so wherever no app has pages. Before the
 * exchange ends; fills in type, body and len. */
bool pages_for(const struct exchange *x, unsigned status, const char *text,
               char json[PAGES_JSON_MAX], struct answer *a);

#endif
