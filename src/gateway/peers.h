/* How many connections each client has, over all workers: an IPv4 address, or an IPv6 network of 64
 * bits. Exact; a lock per shard, taken once when a connection comes and once when it goes. */
#ifndef SLUICE_GATEWAY_PEERS_H
#define SLUICE_GATEWAY_PEERS_H

#include "gateway/address.h"

struct peers;
struct peer;

struct peers *peers_new(uint32_t most); /* NULL: no memory */
void peers_free(struct peers *p);       /* NULL is fine */
/* One more connection of this client; NULL: it has `most`, or there is no memory. */
struct peer *peers_enter(struct peers *p, const uint8_t address[ADDRESS_BYTES]);
void peers_leave(struct peers *p, struct peer *peer);

#endif
