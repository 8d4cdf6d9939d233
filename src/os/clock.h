/* The clocks, in milliseconds. Three, because each answers another question:
 * mono: how long within this process's life (stands still while the machine sleeps);
 * boot: as mono, but goes on during sleep: for deadlines and for numbers that are compared between
 *       processes of one boot;
 * wall: what to show and to store; it may jump either way. */
#ifndef SLUICE_OS_CLOCK_H
#define SLUICE_OS_CLOCK_H

#include "base/error.h"

#include <stdint.h>

enum { BOOT_ID_SIZE = 37 }; /* 36 characters and the NUL */

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_boot_ms(void);
int64_t clock_wall_ms(void);

/* This boot's id, as the kernel writes it. Two files that carry the same one were written in the
 * same boot, so pids and boot-clock times of the one mean something to the other. */
int boot_id_read(char out[BOOT_ID_SIZE], struct error *err);

/* "2026-11-21T08:00:00.123Z", UTC; returns out. */
enum { WALL_TEXT_SIZE = 32 };
char *clock_format_wall(int64_t wall_ms, char out[WALL_TEXT_SIZE]);

#endif
