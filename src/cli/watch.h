/* Following a rollout to its end by the API's event stream. */
#ifndef SLUICE_CLI_WATCH_H
#define SLUICE_CLI_WATCH_H

#include "cli/session.h"

/* accepted: the answer of deploy, rollback or restart (borrowed). Shows the progress on stderr (a
 * block in a terminal, else lines), prints the result to stdout; gives the exit status. --timeout
 * counts from started_ms (clock_mono_ms()). */
int watch_rollout(const struct session *s, const char *word, json_t *accepted, int64_t started_ms);

/* What deploy, rollback and restart do with the answer: print it when detached or when no rollout
 * began, else watch. */
int watch_answer(const struct session *s, const char *word, json_t *accepted, int64_t started_ms);

#endif
