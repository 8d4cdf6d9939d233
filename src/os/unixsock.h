/* Unix sockets by folder and name, so that long paths work (bind and connect go through
 * /proc/self/fd/DIR/NAME; a plain sun_path ends at 107 bytes), and fixed-size messages with
 * descriptors on SOCK_SEQPACKET sockets.
 *
 * All descriptors that come out of here are close-on-exec and nonblocking.
 */
#ifndef SLUICE_OS_UNIXSOCK_H
#define SLUICE_OS_UNIXSOCK_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { UNIXSOCK_MAX_FDS = 64, UNIXSOCK_NAME_MAX = 80 };

/* A listening socket `name` in the folder dir_fd (an O_PATH descriptor will do), of type
 * SOCK_STREAM or SOCK_SEQPACKET, with that mode. It is made under another name and renamed, so it
 * replaces what was there and nobody ever finds it half made. */
int unixsock_listen(int dir_fd, const char *name, int type, mode_t mode, struct error *err);
int unixsock_listen_path(const char *path, int type, mode_t mode, struct error *err);

/* A connected socket. ERROR_NOT_FOUND: no such socket; ERROR_UNAVAILABLE: nobody listens on it (or
 * its queue is full); else ERROR_IO. Never waits. */
int unixsock_connect(int dir_fd, const char *name, int type, struct error *err);
int unixsock_connect_path(const char *path, int type, struct error *err);

/* A new connection of a listening socket; -1 with errno (EAGAIN: none there). */
int unixsock_accept(int fd);

/* Two connected SOCK_SEQPACKET sockets. */
int unixsock_pair(int fds[2], struct error *err);

enum unixsock_result {
    UNIXSOCK_FAILED = -1, /* *err says why; the connection is of no more use */
    UNIXSOCK_AGAIN = 0,   /* it would block */
    UNIXSOCK_OK = 1,
    UNIXSOCK_END = 2, /* received: the peer has closed; sent: the peer is gone */
};

/* Sends one message of len bytes with fds_len <= UNIXSOCK_MAX_FDS descriptors, which stay the
 * caller's. Never raises SIGPIPE. */
enum unixsock_result unixsock_send(int fd, const void *message, size_t len, const int *fds,
                                   size_t fds_len, struct error *err);

/* Receives one message of exactly len bytes. The descriptors that came with it (<= fds_max) are the
 * caller's on UNIXSOCK_OK only, close-on-exec. A message of another length, with more descriptors
 * than fds_max, or with other control data is UNIXSOCK_FAILED (ERROR_USAGE), and whatever came is
 * closed. */
enum unixsock_result unixsock_recv(int fd, void *message, size_t len, int *fds, size_t fds_max,
                                   size_t *fds_len, struct error *err);

void unixsock_close_all(int *fds, size_t len); /* closes those >= 0 and makes them -1 */

struct unixsock_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
int unixsock_peer(int fd, struct unixsock_peer *peer, struct error *err);
/* The peer (who connected, or who called listen) is root or `owner`. */
bool unixsock_peer_allowed(int fd, uid_t owner);

#endif
