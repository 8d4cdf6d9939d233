/* What certificates.c (from the folders to the gateways), certificate_order.c,
 * certificate_copies.c, authorities.c and certificates_view.c share. Inside control only. */
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
    unsigned rank;     /* as certificates_order() left it */
    bool replaced;     /* has expired, and others name all its hosts: gateways do not get it */
};

/* NAME.ca and NAME.crl. */
enum { AUTHORITIES_MAX = 64 };
struct authority {
    char name[CERTS_NAME_MAX + 1];
    bool seen;          /* in this look */
    uint64_t signature; /* of its files, when they were read */
    struct buf ca, crl; /* ca empty: there is none that can be used */
    struct tls_trust_info info;
    char trouble[256]; /* what is wrong with its files now; "" nothing */
};

struct certificate_folder {
    int64_t looked_ms;
    uint64_t signature;   /* of all names, sizes and times; 0: never read */
    uint64_t version;     /* of what was sent */
    size_t served;        /* certificates in that */
    int64_t expires_ms;   /* the next of them does */
    struct map automatic; /* by ACME: host -> struct certificate */
    bool changed;         /* all of it is due to be sent, whatever the folders say */
    int fd;               /* that as a memfd; -1: there is none */
    size_t bytes;
    struct {
        struct certificate **items;
        size_t len, cap;
    } all;
    struct {
        struct authority **items;
        size_t len, cap;
    } authorities;
    bool clients_missing; /* was said in the log */
};

/* Into out, behind what is there; larger files are refused. Links are followed: certbot's folders
 * are made of them. */
int certificates_read_pem(int dir, const char *name, struct buf *out, struct error *err);
/* The pair that gateways know by that name: the first. NULL: none that can be used. */
const struct certificate *certificates_named(const struct control *c, const char *name);
/* h and what tells one version of a file from another. */
uint64_t certificates_sign(uint64_t h, int dir, const char *name);

/* certificate_order.c */
void certificates_order(struct control *c, int64_t now_ms); /* as gateways are to get them */
bool certificate_names(const struct certificate *k, const char *host); /* also by a wildcard */
/* Of one by ACME: a route's host has no other. */
bool certificate_needed(const struct control *c, const struct certificate *k, int64_t now_ms);

/* certificate_copies.c */
void certificate_copies_read(const struct control *c); /* for what cannot be used */
void certificate_copies_write(const struct control *c);

enum { CERTIFICATES_CLOSED = -2 }; /* in place of a folder's descriptor */

/* authorities.c */
/* dir -1: there is none; CERTIFICATES_CLOSED: it cannot be read. */
void authorities_read(struct certificate_folder *f, int dir);
size_t
authorities_put(const struct certificate_folder *f,
                struct cert *out); /* for gateways: gives how many, AUTHORITIES_MAX at most */
/* Its certificates and lists from now on, once they are checked; a copy of them is made. */
int authority_set(struct authority *a, const struct cert *to, struct error *err);
const struct authority *authorities_named(const struct control *c,
                                          const char *name); /* NULL: none that can be used */
void authorities_release(struct certificate_folder *f);
void authorities_look(struct control *c); /* says in the log what is missing */

#endif
