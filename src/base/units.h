/* Durations, sizes, percentages and counts as users write them, both ways.
 *
 * Parsers take the whole of text (a NUL-terminated string), return 0, or -1 when it is not of the
 * form or does not fit; they say nothing about why, since the caller knows the place and the key.
 */
#ifndef SLUICE_BASE_UNITS_H
#define SLUICE_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

int parse_duration_ms(const char *text, int64_t *ms); /* 250ms 10s 5m 2h 30d; also 1m30s; 0 alone */
int parse_size_bytes(const char *text, uint64_t *bytes); /* 256Mi 1Gi 500M 64k 1024 */
int parse_percent_ppm(const char *text,
                      uint32_t *ppm); /* 5% 0.1% 100%; parts per million, <= 10^8 */
int parse_cpu_milli(const char *text, uint32_t *milli);         /* 500m 1 1.5 */
int parse_u64(const char *text, uint64_t max, uint64_t *value); /* decimal digits only */

/* Shortest exact form, into out; returns out. 32 bytes are always enough. */
char *format_duration_ms(int64_t ms, char *out, size_t size);
char *format_size_bytes(uint64_t bytes, char *out, size_t size);
char *format_percent_ppm(uint32_t ppm, char *out, size_t size);

#endif
