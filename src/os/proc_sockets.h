/* Who listens where: the machine's listening TCP sockets, and which process holds which.
 *
 * The list comes from the kernel's socket monitor (only listeners are looked at, so it stays cheap
 * with 100,000 connections), or from /proc/net/tcp{,6} where that is not there. */
#ifndef SLUICE_OS_PROC_SOCKETS_H
#define SLUICE_OS_PROC_SOCKETS_H

#include "base/error.h"
#include "os/proc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct listening {
    uint64_t inode;
    uint16_t port;
    bool reaches_loopback;  /* gets what is sent to 127.0.0.1:port */
    bool reaches_loopback6; /* ... to [::1]:port */
};
struct listening_list {
    struct listening *items;
    size_t len, cap;
};

/* vec_release() it. */
int listening_sockets(struct listening_list *out, struct error *err);
/* As listening_sockets, but always from the text files. */
int listening_sockets_from_files(struct listening_list *out, struct error *err);
/* Adds the listeners in the text of /proc/net/tcp or (v6) tcp6; lines of another form are skipped.
 * Pure. */
void listening_parse(const char *text, bool v6, struct listening_list *out);

/* Does this process hold that socket? False also where we may not look. */
bool proc_holds_socket(pid_t pid, uint64_t inode);
/* Some process that holds it, 0: none found (or not ours to see). Looks through all. */
pid_t socket_holder(uint64_t inode);

#endif
