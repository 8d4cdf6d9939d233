/* HEADERS -> HTTP/1.1: takes the fields of one header block as HPACK gives them, and makes a head
 * (or the trailer section of a chunked body) out of them. Strict as RFC 9113 section 8 wants it,
 * and without trust in whoever decoded the fields: no byte of a name or a value can end a line. */
#ifndef SLUICE_GATEWAY_H2_HEAD_H
#define SLUICE_GATEWAY_H2_HEAD_H

#include "gateway/chunk.h"

struct h2_text {
    uint32_t at, len; /* in lines; len 0: not there */
};

struct h2_block {
    struct chunk_pool *pool;
    struct chunk *lines;   /* the pseudo-fields' values, then field lines */
    struct chunk *cookies; /* crumbs, joined (RFC 9113 section 8.2.3) */
    struct h2_text method, path, authority, protocol, scheme, code, host;
    uint32_t fields_at;  /* of lines: behind the pseudo-fields */
    uint32_t list_bytes; /* as of RFC 9113 section 6.5.2 */
    uint32_t fields;
    uint32_t status; /* what to refuse it with; 0: it is fine so far */
    bool has_length, regular;
    const char *why;
    bool grpc;          /* its content is gRPC's */
    int8_t grpc_status; /* enum grpc_status; of a head or of trailers */
};

void h2_block_init(struct h2_block *b, struct chunk_pool *pool);
void h2_block_release(struct h2_block *b);
/* One field. What is wrong with it is noted; later ones do not change that. */
void h2_block_field(struct h2_block *b, const char *name, size_t name_len, const char *value,
                    size_t value_len);
/* The whole head of a request; bodiless: END_STREAM came with it. NULL with b->status where it must
 * be refused, with status 0 where there is no memory. */
struct chunk *h2_block_request(struct h2_block *b, bool bodiless);
/* A head of an answer: the last one, or 1xx. As above; a NULL with a status is no HTTP. */
struct chunk *h2_block_answer(struct h2_block *b, bool bodiless, bool to_head);
/* "0", the fields, an empty line. NULL as above. */
struct chunk *h2_block_trailers(struct h2_block *b);
static inline bool h2_block_is_head(const struct h2_block *b) /* the method is HEAD */
{
    return b->method.len == 4 && __builtin_memcmp(b->lines->data + b->method.at, "HEAD", 4) == 0;
}

#endif
