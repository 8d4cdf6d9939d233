/* What certificates.c (from the folders to the gateways) and certificates_view.c share. Inside
 * control only. */
#ifndef SLUICE_CONTROL_CERTIFICATES_H
#define SLUICE_CONTROL_CERTIFICATES_H

#include "control/control_internal.h"
#include "tls/tls.h"
#include "wire/certs.h"

struct certificate {
    char name[CERTS_NAME_MAX + 1];
    bool automatic;     /* by ACME: for the host `name` */
    bool seen;          /* in this look */
    uint64_t signature; /* of its files, when they were read */
    struct buf chain, key;
    struct tls_pair_info info;
    char trouble[256]; /* what is wrong with its files now; "" nothing */
};

struct certificate_folder {
    int64_t looked_ms;
    uint64_t signature;   /* of all names, sizes and times; 0: never read */
    uint64_t version;     /* of what was sent */
    size_t served;        /* certificates in that */
    struct map automatic; /* by ACME: host -> struct certificate */
    bool changed;         /* all of it is due to be sent, whatever the folders say */
    int fd;               /* that as a memfd; -1: there is none */
    size_t bytes;
    struct {
        struct certificate **items;
        size_t len, cap;
    } all;
};

#endif
