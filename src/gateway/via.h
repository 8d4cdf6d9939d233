/* Forwarded (RFC 7239) and Via (RFC 9110 section 7.6.3), for routes that ask for them. */
#ifndef SLUICE_GATEWAY_VIA_H
#define SLUICE_GATEWAY_VIA_H

#include "gateway/conn.h"

/* "Via: 1.1 sluice\r\n" and less. */
enum { VIA_LINE_MAX = 24 };

/* Once per request, with the head as it came (h at p), before anything of x->kept was sent. Both
 * come behind what others have put in. Without memory the request goes as it came. */
void via_apply(struct exchange *x, const struct snapshot_route *r, const struct http1_head *h,
               const char *p);
/* The field line of an answer whose head is h. Gives its length. */
size_t via_answer(const struct exchange *x, const struct http1_head *h, char line[VIA_LINE_MAX]);

#endif
