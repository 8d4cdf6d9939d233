#include "gateway/relay.h"

#include "gateway/conn.h"

#include <sys/uio.h>

enum relay relay(struct worker *w, struct endpoint *from, struct chunk **in, struct endpoint *to,
                 bool *ended, uint64_t *bytes)
{
    for (int i = 0; i < TURN_STEPS; i++) {
        if (*in != NULL) {
            if (!to->writable)
                return RELAY_WAIT;
            struct iovec part = {(*in)->data + (*in)->start, chunk_len(*in)};
            ssize_t n = endpoint_send(to, &part, 1);
            if (n < 0)
                return RELAY_TARGET_GONE;
            *bytes += (uint64_t)n;
            chunk_consume(&w->chunks, in, (size_t)n);
            continue;
        }
        if (*ended || !from->readable)
            return RELAY_WAIT;
        ssize_t n = endpoint_read(w, from, in);
        if (n == 0)
            return RELAY_WAIT;
        if (n == READ_BROKEN)
            return RELAY_SOURCE_GONE;
        if (n == READ_END) {
            *ended = true;
            return RELAY_END;
        }
    }
    return RELAY_MORE;
}
