/* Listeners: per address a fixed group of SO_REUSEPORT sockets, of which a BPF program gives each
 * new connection to one of the first M (M = workers).
 *
 * Never close one of a group while others listen: what is queued on it is reset, and a socket that
 * nobody polls starves its share. A change of M is one listen_steer().
 */
#ifndef SLUICE_OS_LISTEN_H
#define SLUICE_OS_LISTEN_H

#include "base/error.h"
#include "os/boot.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { LISTEN_BACKLOG = 4096 };

/* Before an address, wherever one stands ("tls:0.0.0.0:443"): what comes there speaks TLS. */
#define LISTEN_TLS "tls:"
/* "mtls:0.0.0.0:8443": TLS, and only with a client's certificate. */
#define LISTEN_MTLS "mtls:"
/* "tcp:127.0.0.1:5432": what comes there is not looked into. Opened for apps' TCP routes, not for
 * --listen. */
#define LISTEN_TCP "tcp:"
bool listen_is_tls(const char *text); /* LISTEN_TLS, not LISTEN_MTLS */
bool listen_is_mtls(const char *text);
bool listen_is_tcp(const char *text);
const char *listen_bare(const char *text); /* into it, behind what stands before the address */

/* "127.0.0.1:8080", "0.0.0.0:80", "[::1]:8080", "localhost:8080" (IPv4); port 0: the kernel picks.
 * What stands before it is passed over. ERROR_USAGE with what was expected. */
int listen_parse(const char *text, struct sockaddr_storage *address, socklen_t *len,
                 struct error *err);
/* The other way: "127.0.0.1:8080", "[::1]:8080". */
void listen_format(const struct sockaddr_storage *address, char out[BOOT_ADDRESS_MAX]);

/* Opens the group: nonblocking, close-on-exec, listening. l->address is the real one. An address
 * that someone listens on: ERROR_CONFLICT. IPv6 sockets are IPv6 only. */
int listen_open(struct boot_listener *l, const char *text, uint32_t workers, struct error *err);
/* The same beside groups of ours that have the same port: one of a single host gets what is sent to
 * that host, one of all hosts the rest. */
int listen_open_beside(struct boot_listener *l, const char *text, uint32_t workers,
                       struct error *err);
/* Gives new connections to the first `workers` sockets of the group. */
int listen_steer(const struct boot_listener *l, uint32_t workers, struct error *err);
/* The sockets that came from another process: are they listening ones of that address? Not those
 * that were shut down (ERROR_UNAVAILABLE): the address is free then. */
int listen_check(const struct boot_listener *l, struct error *err);
/* New connections are refused from now on, in every process that has duplicates. What is queued is
 * reset. */
void listen_shutdown(const struct boot_listener *l);
void listen_close(struct boot_listener *l);

/* Where apps may listen: "HOST:PORT[-PORT]" with commas between; 0.0.0.0 and [::] are any host of
 * that family, "none" is none. 1: `address` is among them; 0: not; -1: the list is none (*err).
 * address NULL: the list is looked at only, 0. */
#define LISTEN_ALLOWED_DEFAULT "127.0.0.1:1024-65535,[::1]:1024-65535"
int listen_allowed(const char *list, const char *address, struct error *err);

/* Who listens on that address: its pid, and its name into name (as in ps, cut); 0 where it cannot
 * be found. Reads /proc. */
pid_t listen_holder(const struct sockaddr_storage *address, char *name, size_t size);

#endif
