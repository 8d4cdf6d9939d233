#include "gateway/grpc.h"

unsigned grpc_counts_as(int status)
{
    switch (status) {
    case GRPC_NONE:
    case GRPC_UNKNOWN:
    case GRPC_INTERNAL:
    case GRPC_DATA_LOSS: return 500;
    case GRPC_UNAVAILABLE: return 503;
    case GRPC_DEADLINE_EXCEEDED: return 504;
    default: return 200;
    }
}

enum grpc_status grpc_of_http(unsigned status)
{
    switch (status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}
