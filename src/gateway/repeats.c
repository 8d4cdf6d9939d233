#include "gateway/repeats.h"

#include <string.h>

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct client_identity client_by_address(const uint8_t address[ADDRESS_BYTES])
{
    struct client_identity out = {.kind = CLIENT_BY_ADDRESS};
    bool ipv4 = memcmp(address, ipv4_prefix, sizeof ipv4_prefix) == 0;
    /* As 0:ffff:a.b:c.d, which is nobody's network. */
    memcpy(&out.number, address + (ipv4 ? 8 : 0), sizeof out.number);
    return out;
}

struct client_identity client_by_connection(uint64_t number)
{
    return (struct client_identity){CLIENT_BY_CONNECTION, number};
}

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

bool repeats_add(struct repeats *r, const struct client_identity *client, uint32_t app_slot,
                 uint64_t now_ms)
{
    uint64_t where = (uint64_t)app_slot << 1 | (client->kind == CLIENT_BY_CONNECTION);
    uint64_t hash = mix(mix(r->seed ^ where) ^ client->number);
    size_t set = hash % REPEATS_SETS, oldest = 0;
    for (size_t i = 0; i < REPEATS_WAYS; i++) {
        uint64_t at_ms = r->sets[set][i].at_ms;
        bool recent = at_ms != 0 && now_ms - at_ms < REPEATS_MS;
        if (r->sets[set][i].client == hash && recent)
            return true;
        if (at_ms < r->sets[set][oldest].at_ms)
            oldest = i;
    }
    r->sets[set][oldest].client = hash;
    r->sets[set][oldest].at_ms = now_ms;
    return false;
}
