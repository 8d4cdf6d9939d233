/* gRPC's statuses (the gRPC project's statuscodes.md, http-grpc-status-mapping.md) and HTTP's. */
#ifndef SLUICE_GATEWAY_GRPC_H
#define SLUICE_GATEWAY_GRPC_H

#include <stdbool.h>

enum grpc_status {
    GRPC_NONE = -1, /* no status came */
    GRPC_OK = 0,
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
    GRPC_STATUS_MAX = GRPC_UNAUTHENTICATED,
};

/* What an answer of gRPC counts as: 5xx where the server is at fault, 200 otherwise. At fault it is
 * for UNKNOWN (what an exception becomes), DEADLINE_EXCEEDED (its own, or one behind it),
 * INTERNAL, UNAVAILABLE, DATA_LOSS, and where it says nothing. RESOURCE_EXHAUSTED is a quota more
 * often than a full disk and like 429, UNIMPLEMENTED is what a client gets that asks for what never
 * was, like 404: neither says that a release is worse. */
unsigned grpc_counts_as(int status);
/* What a client of gRPC is told where the gateway answers with this status of HTTP. */
enum grpc_status grpc_of_http(unsigned status);

#endif
