#include "gateway/peers.h"

#include "base/assert.h"
#include "base/siphash.h"
#include "gateway/repeats.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

enum { SHARDS = 64, BUCKETS = 256 };

struct peer {
    struct peer *next;
    uint64_t network;
    uint32_t connections;
    uint16_t shard, bucket;
};

struct shard {
    pthread_mutex_t lock;
    struct peer *buckets[BUCKETS];
};

struct peers {
    uint64_t secret[2]; /* or clients could choose where they fall */
    uint32_t most;
    struct shard shards[SHARDS];
};

struct peers *peers_new(uint32_t most)
{
    struct peers *p = calloc(1, sizeof *p);
    if (p == NULL || getrandom(p->secret, sizeof p->secret, 0) != sizeof p->secret) {
        free(p);
        return NULL;
    }
    p->most = most;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&p->shards[i].lock, NULL);
    return p;
}

void peers_free(struct peers *p)
{
    for (size_t i = 0; p != NULL && i < SHARDS; i++) {
        for (size_t k = 0; k < BUCKETS; k++)
            while (p->shards[i].buckets[k] != NULL) {
                struct peer *first = p->shards[i].buckets[k];
                p->shards[i].buckets[k] = first->next;
                free(first);
            }
        pthread_mutex_destroy(&p->shards[i].lock);
    }
    free(p);
}

static struct peer *find(const struct shard *s, size_t bucket, uint64_t network)
{
    struct peer *peer = s->buckets[bucket];
    while (peer != NULL && peer->network != network)
        peer = peer->next;
    return peer;
}

struct peer *peers_enter(struct peers *p, const uint8_t address[ADDRESS_BYTES])
{
    uint64_t network = client_by_address(address).number;
    uint64_t hash = siphash(p->secret, network, "", 0);
    uint16_t shard = hash % SHARDS, bucket = hash / SHARDS % BUCKETS;
    struct shard *s = &p->shards[shard];
    pthread_mutex_lock(&s->lock);
    struct peer *peer = find(s, bucket, network);
    if (peer != NULL && peer->connections >= p->most) {
        peer = NULL;
    } else if (peer != NULL) {
        peer->connections++;
    } else if ((peer = malloc(sizeof *peer)) != NULL) {
        *peer = (struct peer){s->buckets[bucket], network, 1, shard, bucket};
        s->buckets[bucket] = peer;
    }
    pthread_mutex_unlock(&s->lock);
    return peer;
}

void peers_leave(struct peers *p, struct peer *peer)
{
    struct shard *s = &p->shards[peer->shard];
    pthread_mutex_lock(&s->lock);
    ASSERT(peer->connections > 0);
    if (--peer->connections == 0) {
        struct peer **at = &s->buckets[peer->bucket];
        while (*at != peer)
            at = &(*at)->next;
        *at = peer->next;
        free(peer);
    }
    pthread_mutex_unlock(&s->lock);
}
