/* meant: what somebody meant who wrote a value as other tools take it, or a bit wrong. Pure; inside
 * src/spec only. Never asked about what a ${} gave: it may be a secret, and answers repeat it.
 *
 * char *: as the file would say it, to be freed; NULL: no idea, or nothing that is within the
 * bounds. */
#ifndef SLUICE_SPEC_MEANT_H
#define SLUICE_SPEC_MEANT_H

#include <stdint.h>

/* One of the words (NULL-terminated) that a key of this name takes; NULL: none is near. */
const char *meant_word(const char *key, const char *text, const char *const *words);

char *meant_duration(const char *text, uint64_t min_ms, uint64_t max_ms); /* 30sec, 10 minutes */
char *meant_size(const char *text, uint64_t min, uint64_t max);           /* 10MB, 10m, 500/s */
char *meant_percentage(const char *text, uint64_t min_ppm, uint64_t max_ppm); /* 20, 0.2 */

/* What to do instead of a key that is none; NULL: nothing is known of it. */
const char *meant_command(const char *key);

#endif
