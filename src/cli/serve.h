/* The parts of `sluice serve`: serve.c (arguments, folders, lock), serve_take_over.c (listeners,
 * from a server before us or new), serve_acme.c (the CA for certificates), serve_users.c (who the
 * gateway and the apps run as), serve_reach.c (whether these get to the data folder). */
#ifndef SLUICE_CLI_SERVE_H
#define SLUICE_CLI_SERVE_H

#include "base/error.h"
#include "cli/verbs.h"
#include "os/boot.h"

#include <pwd.h>
#include <stdbool.h>

#define SERVE_ACME_DIRECTORY "https://acme-v02.api.letsencrypt.org/directory"

struct serve {
    struct boot boot; /* of the guardian */
    const char *data_option, *api_option;
    struct {
        char text[BOOT_ADDRESS_MAX]; /* as listen_format() writes it */
    } wanted[BOOT_MAX_LISTENERS];    /* --listen; none: what is taken over, else the default */
    size_t wanted_len;
    int data_fd, run_fd;
    bool check; /* only whether it could start: a guardian asks before it becomes this binary */
};

/* One of --acme-directory, --acme-email, --acme-ca. */
int serve_read_acme(enum option_id id, const char *value, struct boot *b, struct error *err);

/* Fills the boot file's listeners, old_gateway_fds, old_controller_fd and generation. */
int serve_take_over(struct serve *s, struct error *err);

/* As root: the system users sluice-app and sluice-gw, made when they do not exist; where they
 * cannot be made, nobody, with a warning. */
int serve_find_users(struct boot *b, struct error *err);

/* As root: the first folder of an absolute path that this user may not enter, malloc'ed; NULL: it
 * may enter all of them. */
char *serve_closed_folder(const char *path, const struct passwd *user);
void serve_check_reach(const char *data, const struct passwd *user); /* warns of it */

#endif
