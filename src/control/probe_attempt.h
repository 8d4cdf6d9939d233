/* One attempt of a probe: a TCP connect, an HTTP GET, or a command. */
#ifndef SLUICE_CONTROL_PROBE_ATTEMPT_H
#define SLUICE_CONTROL_PROBE_ATTEMPT_H

#include <stdbool.h>

struct probe;
struct probe_attempt;

/* error: one sentence, "" when ok. Called once, never from within probe_attempt_start(), and not at
 * all after probe_attempt_abandon(). */
typedef void probe_result_fn(struct probe *probe, bool ok, const char *error);

struct probe_attempt *probe_attempt_start(struct probe *probe, probe_result_fn *result);
void probe_attempt_timeout(struct probe_attempt *attempt); /* its time is up: gives a result */
void probe_attempt_abandon(struct probe_attempt *attempt);

#endif
