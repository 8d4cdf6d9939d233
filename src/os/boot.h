/* The boot file: what one process of `sluice serve` tells the next one that it starts.
 *
 * A memfd of key=value lines at descriptor BOOT_FD. serve writes it for the guardian, the guardian
 * for the controller and for each gateway, the controller for its fetch helper. The descriptors
 * that it names are inherited under their own numbers. It is read once, at the start of the
 * process; the reader and the writer are always of the same build, so an unknown key is an error.
 *
 *   struct boot b;  boot_init(&b);  b.role = ...;  ...
 *   int fd = boot_write(&b, err);                                                     the parent
 *   boot_inherit(&b, fd, err);  fexecve(...)                                   its forked child
 *   boot_read(&b, BOOT_FD, err)                                                 the new program
 */
#ifndef SLUICE_OS_BOOT_H
#define SLUICE_OS_BOOT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BOOT_FD = 3,
    BOOT_MAX_LISTENERS = 64,
    BOOT_LISTENER_SOCKETS = 16, /* the same as LISTENER_SOCKETS of wire/gatewayctl.h */
    BOOT_ADDRESS_MAX = 64,
    BOOT_MAX_OLD_GATEWAYS = 8,
    BOOT_MAX_BYTES = 64 << 10,
};

enum boot_role { BOOT_GUARDIAN, BOOT_CONTROLLER, BOOT_GATEWAY, BOOT_FETCH, BOOT_ROLES };

struct boot_listener {
    char address[BOOT_ADDRESS_MAX]; /* "127.0.0.1:8080", "[::1]:8080"; the real port, never 0 */
    int fds[BOOT_LISTENER_SOCKETS]; /* in the order of the group: [0..workers) get connections */
};

/* X(name): text without control characters; "" where there is nothing to say. */
#define BOOT_STRINGS(X)                                                                            \
    X(data_dir)        /* absolute */                                                              \
    X(api)             /* "unix:/absolute/path" or "127.0.0.1:7000" */                             \
    X(trusted_proxies) /* "10.0.0.0/8,::1/128" */                                                  \
    X(access_log)      /* absolute path or "-"; "": none */                                        \
    X(tcp_routes)      /* where apps may listen: listen_allowed() */                               \
    X(app_user)        /* who apps run as: "sluice-app" where the server is root, else "" */       \
    X(acme_directory)  /* URL */                                                                   \
    X(acme_email)                                                                                  \
    X(acme_ca) /* controller, fetch: absolute path of the root that the ACME server is checked by, \
                  "" the system's */

/* X(name, least, most). */
#define BOOT_NUMBERS(X)                                                                            \
    X(workers, 1, 16)                                                                              \
    X(generation, 0, INT64_MAX) /* of a gateway; for the guardian: the last one that there was */  \
    X(log_level, 0, 3)                                                                             \
    X(owner_uid, 0, UINT32_MAX)    /* of the data folder: who may use the control sockets */       \
    X(gateway_uid, -1, UINT32_MAX) /* who the gateway drops to; -1: stays who it is */             \
    X(gateway_gid, -1, UINT32_MAX)                                                                 \
    X(proxy_protocol, 0, 1)           /* trusted proxies begin with a header (wire/proxy.h) */     \
    X(max_connections, 0, UINT32_MAX) /* of clients, in a gateway; 0: as its descriptors allow */  \
    X(max_connections_per_client, 0, UINT32_MAX) /* 0: no limit */                                 \
    X(stop_apps, 0, 1)                           /* guardian: apps end with the server */          \
    X(use_previous_snapshot, 0, 1) /* gateway: the newest snapshot is suspected of killing it */

/* X(name): -1 where there is none. */
#define BOOT_FDS(X)                                                                                \
    X(control_fd)   /* listening SOCK_SEQPACKET: gateway-G.sock, controller.sock; nonblocking.     \
                       fetch: its end of the pair (wire/fetchctl.h) */                             \
    X(guardian_fd)  /* controller: the channel to the guardian (wire/guardianctl.h) */             \
    X(snapshot0_fd) /* gateway: DATA/run/snapshot-0, read-only */                                  \
    X(snapshot1_fd)                                                                                \
    X(binary_fd)           /* the main binary */                                                   \
    X(shim_fd)             /* the shim program */                                                  \
    X(guardian_program_fd) /* the guardian program */                                              \
    X(lock_fd)             /* guardian: guardian.lock, held */                                     \
    X(old_controller_fd)   /* guardian: connected controller.sock of a server that is taken over */

struct boot {
    enum boot_role role;
#define X(name) char *name;
    BOOT_STRINGS(X)
#undef X
#define X(name, least, most) int64_t name;
    BOOT_NUMBERS(X)
#undef X
#define X(name) int name;
    BOOT_FDS(X)
#undef X
    struct boot_listener listeners[BOOT_MAX_LISTENERS];
    size_t listeners_len;
    int old_gateway_fds[BOOT_MAX_OLD_GATEWAYS]; /* guardian: connected gateway-G.sock's */
    size_t old_gateways_len;
};

void boot_init(struct boot *b);    /* strings "", descriptors -1, numbers their least */
void boot_release(struct boot *b); /* frees the strings; closes nothing */

/* Replaces one of the BOOT_STRINGS: boot_set(&b.api, "unix:/x"). */
void boot_set(char **field, const char *value);

/* A memfd (close-on-exec, the caller's) with the boot file. ERROR_USAGE where a string has a
 * control character. */
int boot_write(const struct boot *b, struct error *err);

/* In a child before its exec: puts `fd` at BOOT_FD and lets every descriptor that b names be
 * inherited. Async-signal-safe but for its error. */
int boot_inherit(const struct boot *b, int fd, struct error *err);

/* Fills *b from the boot file at fd, checks that each descriptor is open and named once, sets
 * close-on-exec on each. fd itself is left open (so that its number stays taken), set
 * close-on-exec. On an error *b is as after boot_release. */
int boot_read(struct boot *b, int fd, struct error *err);

#endif
