/* Which errors are a client's repeats. One client that tries again and again makes many errors out
 * of one fault; the judge's comparison counts them once. Looked at when an error is counted, never
 * for a request that goes well.
 *
 * A client's first error of a second counts for the arm where it happened, and what it adds to
 * either arm within the second is a repeat: so its chance to be the candidate's is the candidate's
 * share. (Were each arm to count its own first error, a client with many would give both arms one,
 * and the smaller arm would look worse.)
 *
 * Bounds: each worker knows only its own clients, so a client with connections to W workers may
 * count W times. A full table forgets the oldest: errors are then counted more often, never less.
 */
#ifndef SLUICE_GATEWAY_REPEATS_H
#define SLUICE_GATEWAY_REPEATS_H

#include "gateway/address.h"

enum { REPEATS_MS = 1000, REPEATS_WAYS = 4, REPEATS_SETS = 1024 };

struct repeats {
    uint64_t seed; /* random, or clients could choose where they fall */
    struct {
        uint64_t client; /* a hash of client and app */
        uint64_t at_ms;  /* of the error that counted; 0: empty */
    } sets[REPEATS_SETS][REPEATS_WAYS];
};

/* Who failed. */
enum client_kind { CLIENT_BY_ADDRESS, CLIENT_BY_CONNECTION };
struct client_identity {
    enum client_kind kind;
    uint64_t number; /* of the connection, or the address' network; see the functions */
};
/* An IPv4 address, or an IPv6 network of 64 bits: that is what one user gets. */
struct client_identity client_by_address(const uint8_t address[ADDRESS_BYTES]);
/* number: never that of another connection of this worker. */
struct client_identity client_by_connection(uint64_t number);

/* An error of this client in this app. true: a repeat of one that counted less than REPEATS_MS ago.
 * now_ms > 0 never goes back. */
bool repeats_add(struct repeats *r, const struct client_identity *client, uint32_t app_slot,
                 uint64_t now_ms);

#endif
