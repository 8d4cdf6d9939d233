/* HTTP/1.1 -> HEADERS: the fields of a head, or of a chunked body's trailer section, as HTTP/2 has
 * them: lower case, nothing that belongs to a connection (RFC 9113 section 8.2). */
#ifndef SLUICE_GATEWAY_H2_FIELDS_H
#define SLUICE_GATEWAY_H2_FIELDS_H

#include "wire/http1.h"

#include <nghttp2/nghttp2.h>

enum { H2_FIELDS_MAX = HTTP1_MAX_FIELDS + HTTP1_ADDED_FIELDS + 8 };

struct h2_fields {
    size_t len;
    char status[3];
    char text[200];
    nghttp2_nv items[H2_FIELDS_MAX]; /* point into the head, and into this */
};

/* An answer's: p is its head, where names become lower case. status goes out instead of its own. */
void h2_fields_answer(struct h2_fields *f, const struct http1_head *h, char *p, unsigned status);
/* A request's. scheme: of the connection to the instance. Upgrades end here. */
void h2_fields_request(struct h2_fields *f, const struct http1_head *h, char *p);
/* An answer of gRPC that has nothing but a status, and a text for people. */
void h2_fields_grpc(struct h2_fields *f, unsigned status, const char *text, size_t len);
/* Trailer lines with the empty one behind them, already checked. Those that do not fit are left
 * out. */
void h2_fields_trailers(struct h2_fields *f, char *p, size_t len);

#endif
