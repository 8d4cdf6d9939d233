/* The parts of `sluice serve`: serve.c (arguments, folders, lock), serve_take_over.c (listeners,
 * from a server before us or new), serve_users.c (who the gateway and the apps run as). */
#ifndef SLUICE_CLI_SERVE_H
#define SLUICE_CLI_SERVE_H

#include "base/error.h"
#include "os/boot.h"

struct serve {
    struct boot boot; /* of the guardian */
    const char *data_option, *api_option;
    struct {
        char text[BOOT_ADDRESS_MAX]; /* as listen_format() writes it */
    } wanted[BOOT_MAX_LISTENERS];    /* --listen; none: what is taken over, else the default */
    size_t wanted_len;
    int data_fd, run_fd;
};

/* Fills the boot file's listeners, old_gateway_fds, old_controller_fd and generation. */
int serve_take_over(struct serve *s, struct error *err);

/* As root: the system users sluice-app and sluice-gw, made when they do not exist; where they
 * cannot be made, nobody, with a warning. */
int serve_find_users(struct boot *b, struct error *err);

#endif
