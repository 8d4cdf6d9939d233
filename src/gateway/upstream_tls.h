/* TLS to instances. A connection's handshake is part of its connecting: nothing of a request was
 * sent when it fails. */
#ifndef SLUICE_GATEWAY_UPSTREAM_TLS_H
#define SLUICE_GATEWAY_UPSTREAM_TLS_H

#include "gateway/conn.h"

/* As upstream_open(). Where the CA or certificate that t names is not there, nobody is spoken to:
 * NULL, *local. */
struct upstream *upstream_tls_open(struct worker *w, struct instance *i,
                                   const struct snapshot_tls *t, bool replayable, bool fresh,
                                   bool *local);
/* The CA or certificate that t names is not there. Takes a lock: for when a connection failed. */
bool upstream_tls_missing(const struct worker *w, const struct snapshot_tls *t);
/* The controller has said which CAs there are. */
bool upstream_tls_known(const struct worker *w);

enum shake { SHAKE_WAITS, SHAKE_DONE, SHAKE_FAILED };
/* Of one that is connected: goes on with the handshake. Why it failed goes into the log. */
enum shake upstream_tls_shake(struct upstream *u);
void upstream_tls_closing(struct upstream *u); /* the log has why, where it said so */

#endif
