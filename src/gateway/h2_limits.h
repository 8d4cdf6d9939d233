/* What a peer may ask of us over HTTP/2: all numbers, and why they are what they are. */
#ifndef SLUICE_GATEWAY_H2_LIMITS_H
#define SLUICE_GATEWAY_H2_LIMITS_H

#include "wire/http1.h"

enum {
    /* RFC 9113 section 6.5.2 asks for 100 at least; more would only be more memory per connection.
     */
    H2_MAX_STREAMS = 100,
    /* The same size that a head may have over HTTP/1. Fields count with 32 bytes each beside their
     * text (RFC 9113 section 6.5.2). More is answered with 431. */
    H2_MAX_HEADER_LIST = HTTP1_MAX_HEAD,
    /* A compressed head may unfold to thousands of times its size. From here on the stream is reset
     * and nothing more of the head is looked at. */
    H2_MAX_FIELDS = 1000,
    /* Frames that one head may be spread over. 16 KiB fit into the first. */
    H2_MAX_CONTINUATIONS = 8,
    /* What a client may send of a body before the instance takes it: as much as a link of 50 Mbit/s
     * carries in 10 ms. It is memory, for each of 100 streams. */
    H2_STREAM_WINDOW = 65535,
    /* For all streams together, so that one that is not taken holds up no other. What has come
     * counts only as long as it is not in a buffer (see h2_stream_data). */
    H2_CONNECTION_WINDOW = 1 << 20,
    /* What a stream keeps of an answer that the client does not take yet. */
    H2_ANSWER_KEPT = 16 << 10,
    /* 1xx heads of an instance that the client does not take: they have no flow control. */
    H2_MAX_INTERIM = 8,
    /* Frames that wait to be sent while the socket takes nothing: then nothing is read either. */
    H2_MAX_QUEUED = 200,
    /* A client pays for each frame that costs us something and brings it nothing: resets, pings,
     * settings, priorities, empty DATA, malformed heads. Browsers that leave a page reset all their
     * streams at once, gRPC pings with each measurement of the bandwidth: some 100 in a second at
     * most. DATA that goes or comes earns as much as a ping costs, so that a busy stream may
     * measure all the time. A flood is 10,000. Out of credit: GOAWAY with ENHANCE_YOUR_CALM. */
    H2_CREDIT = 1000,
    H2_CREDIT_PER_S = 100,
    /* Between the two GOAWAYs of a drain: a round trip, so that no request is lost that was on its
     * way (RFC 9113 section 6.8). */
    H2_DRAIN_NOTICE_MS = 1000,
};

#endif
