/* The two small static programs inside the main binary (embedded.S). */
#ifndef SLUICE_EMBEDDED_H
#define SLUICE_EMBEDDED_H

extern const char embedded_shim[], embedded_shim_end[];
extern const char embedded_guardian[], embedded_guardian_end[];

#endif
