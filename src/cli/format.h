/* Numbers and times as people read them. Pure but for the local time zone. */
#ifndef SLUICE_CLI_FORMAT_H
#define SLUICE_CLI_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum { FORMAT_SIZE = 48 };

/* Each fills out (FORMAT_SIZE bytes) and returns it. Negative numbers: "-". */
char *format_rate(double per_s, char *out);   /* "0.3" "12.5" "1,204" */
char *format_share(double share, char *out);  /* 0..1: "0%" "0.10%" "5.1%" "25%" */
char *format_latency(double ms, char *out);   /* "0.8 ms" "12 ms" "1.24 s" */
char *format_elapsed(int64_t ms, char *out);  /* "35 ms" "1.2 s" "42 s" "3 min 5 s" "2 h 10 min" */
char *format_bytes(int64_t bytes, char *out); /* "512 B" "12.3 MiB" */
char *format_count(int64_t n, char *out);     /* "1,234,567" */
char *format_clock(const char *rfc3339, char *out); /* local "08:00:12"; as it is when malformed */
char *format_date(const char *rfc3339, char *out);  /* local "2026-11-21 08:00:12" */

#endif
