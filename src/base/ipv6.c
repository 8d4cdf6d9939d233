#include "base/ipv6.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool ipv6_literal(const char *text, size_t len, char out[IPV6_LITERAL_MAX])
{
    char bare[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (len < 4 || len - 2 >= sizeof bare || text[0] != '[' || text[len - 1] != ']')
        return false;
    memcpy(bare, text + 1, len - 2);
    bare[len - 2] = '\0';
    if (strlen(bare) != len - 2 || inet_pton(AF_INET6, bare, address) != 1)
        return false;
    snprintf(out, IPV6_LITERAL_MAX, "[%s]", inet_ntop(AF_INET6, address, bare, sizeof bare));
    return true;
}
