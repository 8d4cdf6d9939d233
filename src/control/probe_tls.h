/* The TLS of a probe, for an app whose routes say `protocol: https`: known by the same certificates
 * as the gateway knows it, so that who would not be spoken to is never ready. Bytes in, bytes out;
 * the socket is the attempt's. Inside control only. */
#ifndef SLUICE_CONTROL_PROBE_TLS_H
#define SLUICE_CONTROL_PROBE_TLS_H

#include "base/buf.h"
#include "control/control_internal.h"

struct probe_tls;

/* The instance's, where it speaks TLS: *out. NULL there: it speaks clear text. -1: it does, and it
 * cannot be spoken to (no such CA). */
int probe_tls_new(const struct instance *in, struct probe_tls **out, struct error *err);
void probe_tls_free(struct probe_tls *t); /* NULL is fine */

/* Of the other side. */
void probe_tls_take(struct probe_tls *t, const char *data, size_t len);
/* What is to be sent, if anything: whole, and taken out of it. */
void probe_tls_give(struct probe_tls *t, struct buf *out);

/* 1: the handshake is over; 0: not yet; -1: it failed, *why (static). */
int probe_tls_shake(struct probe_tls *t, const char **why);
void probe_tls_write(struct probe_tls *t, const char *data, size_t len);
/* How many bytes of the answer; 0: none now; -1: there are no more. */
ssize_t probe_tls_read(struct probe_tls *t, char *data, size_t room);

#endif
