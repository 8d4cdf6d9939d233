/* Where the certificate of a host comes from. */
#include "spec/types.h"

#include <string.h>

enum { TLS_AUTO_HOST_MAX = 240 }; /* it is a part of file names, too */

/* What a CA gives certificates for without a look at the DNS (RFC 8555 section 8.3, RFC 8737). */
void finish_tls(struct reader *r, const struct node *node, const struct route_spec *route)
{
    const struct node *at = tree_key(node, "host");
    const char *host = route->host;
    if (!route->tls_auto || (at != NULL && host[0] == '\0')) /* what is wrong there was said */
        return;
    if (at == NULL)
        reader_fail(r, node, "for example {host: shop.example}; or `tls: files` for this route",
                    "`tls: auto` needs a `host`: a certificate is for names");
    else if (host[0] == '*')
        reader_fail(r, at,
                    "a route for each host; or `tls: files` for this one, and a certificate for it "
                    "in DATA/certs",
                    "`tls: auto` has no certificates for `*.`: CAs want a DNS record for these");
    else if (host[0] == '[' || host[strspn(host, "0123456789.")] == '\0')
        reader_fail(r, at, "`tls: files`, and a certificate for it in DATA/certs",
                    "`tls: auto` has certificates for names only, this is an address");
    else if (strlen(host) > TLS_AUTO_HOST_MAX)
        reader_fail(r, at, NULL, "`tls: auto` takes hosts of at most %d bytes", TLS_AUTO_HOST_MAX);
}
