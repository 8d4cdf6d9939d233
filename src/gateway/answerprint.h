/* What is remembered of an answer so that it can be compared with another one: made while it
 * passes, nothing of it is kept. Bodies are compared as they are sent, without transfer codings and
 * with content codings. */
#ifndef SLUICE_GATEWAY_ANSWERPRINT_H
#define SLUICE_GATEWAY_ANSWERPRINT_H

#include "wire/http1.h"
#include "wire/jsonprint.h"
#include "wire/samples.h"
#include "wire/snapshot.h"

/* Longer bodies are not compared. */
enum { ANSWERPRINT_BODY = 1 << 20 };

/* What of answers counts. */
struct answerprint_rules {
    uint32_t compare; /* SNAPSHOT_COMPARE_... */
    uint32_t fields, ignored_len;
    const char *const *names; /* of fields, lower case */
    const struct jsonprint_ignored *ignored;
};

struct answerprint {
    bool began; /* its head has come */
    bool lost;  /* it cannot be compared: too long, no memory */
    uint16_t status;
    uint64_t bytes;            /* of the body as it came, framed */
    struct http1_body decoder; /* takes the framing off */
    struct digest body;
    struct jsonprint *json; /* owned; NULL: it is compared by its bytes */
    uint64_t fields[SNAPSHOT_MAX_COMPARED];
};

/* A final head at p. An earlier one of the same request (it was retried) is forgotten. */
void answerprint_head(struct answerprint *a, const struct answerprint_rules *r,
                      const struct http1_head *h, const char *p);
/* Bytes behind the head as they came; what is behind the body's end is not looked at. false: no
 * more of it is needed. */
bool answerprint_body(struct answerprint *a, const struct answerprint_rules *r, const char *data,
                      size_t len);
/* It cannot be compared any more. */
void answerprint_lose(struct answerprint *a);

/* How two whole answers differ. */
struct answerprint_difference {
    bool status, header, body;
    enum sample_part part; /* the first of them; SAMPLE_NOTHING: they do not */
    char where[JSONPRINT_WHERE];
    size_t where_len; /* the field's name; a JSON pointer, if one is known */
};
/* Both began, and are not lost. */
void answerprint_compare(struct answerprint *a, struct answerprint *b,
                         const struct answerprint_rules *r, struct answerprint_difference *d);

#endif
