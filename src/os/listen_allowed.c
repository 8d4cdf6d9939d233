/* Which addresses apps may listen on. */
#include "os/listen.h"

#include "base/alloc.h"
#include "base/units.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct place {
    struct sockaddr_storage host;
    uint16_t port;
};

static uint16_t port_of(const struct sockaddr_storage *a)
{
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

/* The same host, or `range` is any of its family. */
static bool covers(const struct sockaddr_storage *range, const struct sockaddr_storage *host)
{
    if (range->ss_family != host->ss_family)
        return false;
    if (range->ss_family == AF_INET6) {
        const struct in6_addr *x = &((const struct sockaddr_in6 *)range)->sin6_addr;
        const struct in6_addr *y = &((const struct sockaddr_in6 *)host)->sin6_addr;
        return IN6_IS_ADDR_UNSPECIFIED(x) || IN6_ARE_ADDR_EQUAL(x, y);
    }
    in_addr_t x = ((const struct sockaddr_in *)range)->sin_addr.s_addr;
    in_addr_t y = ((const struct sockaddr_in *)host)->sin_addr.s_addr;
    return x == htonl(INADDR_ANY) || x == y;
}

/* "HOST:PORT[-PORT]". */
static int read_range(char *item, struct sockaddr_storage *host, uint64_t *first, uint64_t *last,
                      struct error *err)
{
    socklen_t len;
    char *colon = strrchr(item, ':');
    char *dash = colon != NULL ? strchr(colon, '-') : NULL;
    if (colon == NULL || listen_bare(item) != item)
        return error_set(err, ERROR_USAGE,
                         "\"%s\": expected HOST:PORT or HOST:PORT-PORT, such as "
                         "127.0.0.1:5432-5440",
                         item);
    if (dash != NULL)
        *dash = '\0';
    if (listen_parse(item, host, &len, err) < 0)
        return -1;
    *first = *last = port_of(host);
    if (dash != NULL && parse_u64(dash + 1, 65535, last) < 0)
        return error_set(err, ERROR_USAGE,
                         "\"%s-%s\" is no range of ports: expected HOST:PORT-PORT", item, dash + 1);
    if (*last < *first)
        return error_set(err, ERROR_USAGE, "\"%s-%s\": the range of ports ends before it begins",
                         item, dash + 1);
    if (*first == 0)
        return error_set(err, ERROR_USAGE, "\"%s\": there is no port 0", item);
    return 0;
}

int listen_allowed(const char *list, const char *address, struct error *err)
{
    struct sockaddr_storage wanted;
    socklen_t len;
    int found = 0;
    if (address != NULL && listen_parse(address, &wanted, &len, err) < 0)
        return -1;
    if (strcmp(list, "none") == 0)
        return 0;
    cleanup_free char *copy = xstrdup(list);
    char *rest = copy;
    for (char *item; (item = strsep(&rest, ",")) != NULL;) {
        struct sockaddr_storage host;
        uint64_t first = 0, last = 0;
        if (read_range(item, &host, &first, &last, err) < 0)
            return -1;
        if (address != NULL && covers(&host, &wanted) && port_of(&wanted) >= first &&
            port_of(&wanted) <= last)
            found = 1;
    }
    return found;
}
