/* The two small static programs inside the main binary (src/embedded.S). Weak, so that the tests of
 * this room link without them. */
#ifndef SLUICE_CLI_EMBEDDED_H
#define SLUICE_CLI_EMBEDDED_H

#define EMBEDDED __attribute__((weak))
extern const char embedded_shim[] EMBEDDED, embedded_shim_end[] EMBEDDED;
extern const char embedded_guardian[] EMBEDDED, embedded_guardian_end[] EMBEDDED;

#endif
