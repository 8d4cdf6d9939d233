/* What our processes are called: "sluice: ROLE DATA" in ps (argv[0], set by who starts them), and
 * the short name (prctl) that top shows. */
#ifndef SLUICE_OS_TITLE_H
#define SLUICE_OS_TITLE_H

#include <stdbool.h>
#include <sys/types.h>

/* "sluice: guardian /var/lib/sluice"; the caller frees. */
char *title_make(const char *role, const char *rest);
/* The rest of argv0 behind "sluice: ROLE " where it is the title of that role, else NULL. */
const char *title_match(const char *argv0, const char *role);
/* The process pid has exactly that title. For a pid that someone else told us, before it is
 * signalled: whoever lies can name only another process of that role. */
bool title_is(pid_t pid, const char *role, const char *rest);
void title_short(const char *role); /* "sluice-gateway" */
/* In a forked child that does not exec: no longer shown as the role that it was forked from. Gives
 * the title a shorter role in place, since the room for it is that of the old one; does nothing
 * where this process has no title. */
void title_become(const char *old_role, const char *role);

#endif
