/* What certificates.c (from the folders to the gateways), authorities.c and certificates_view.c
 * share. Inside control only. */
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
/* h and what tells one version of a file from another. */
uint64_t certificates_sign(uint64_t h, int dir, const char *name);

/* authorities.c */
void authorities_read(struct certificate_folder *f, int dir); /* dir -1: there is none */
size_t
authorities_put(const struct certificate_folder *f,
                struct cert *out); /* for gateways: gives how many, AUTHORITIES_MAX at most */
void authorities_release(struct certificate_folder *f);
void authorities_look(struct control *c); /* says in the log what is missing */

#endif
