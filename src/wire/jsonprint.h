/* A fingerprint of what a JSON text (RFC 8259) says, made while it passes: the same however it is
 * written. White space, the order of an object's members, escapes in strings, and the notation of
 * numbers (1, 1.0, 10e-1) do not count; the order of an array's elements does. Values at ignored
 * pointers are left out, also whether they are there. Pure, bounded, nothing is allocated. Made to
 * find differences, not to withstand somebody who looks for collisions (digest.h).
 *
 *   jsonprint_start(), jsonprint_feed() for each piece, jsonprint_end().
 */
#ifndef SLUICE_WIRE_JSONPRINT_H
#define SLUICE_WIRE_JSONPRINT_H

#include "wire/digest.h"
#include "wire/jsonnumber.h"

#include <stdbool.h>

enum {
    JSONPRINT_DEPTH = 64,   /* a text that is nested deeper has no print, nor with longer numbers */
    JSONPRINT_IGNORED = 32, /* pointers at most */
    JSONPRINT_TOKENS = 16,  /* of one pointer */
    JSONPRINT_WHERE = 61,   /* bytes of a pointer that is told */
    JSONPRINT_PLACES = 16,  /* remembered, of each kind */
};

/* A compiled JSON pointer. */
struct jsonprint_ignored {
    uint8_t len;
    uint32_t any; /* bits: these tokens are "*", which stands for any member or element */
    uint64_t tokens[JSONPRINT_TOKENS];
};
/* text: RFC 6901. false: it is empty, or has too many tokens. */
bool jsonprint_compile(struct jsonprint_ignored *i, const char *text);

/* A member or element: the way to it, what it says, and how it is called (perhaps cut). */
struct jsonprint_place {
    uint64_t path, value;
    uint8_t where_len;
    char where[JSONPRINT_WHERE];
};

struct jsonprint_frame {
    uint64_t path, sum;
    uint64_t key;  /* of the member that is read */
    uint32_t open; /* bits of ignored: pointers that lead here so far */
    uint32_t next; /* the next element's index */
    bool is_object, ignored;
    uint8_t where_len;
};

struct jsonprint {
    const struct jsonprint_ignored *ignored;
    uint32_t ignored_len;
    uint8_t state, depth;
    bool in_key;
    uint64_t value; /* of the whole text, once it is there */
    /* The value that is read now: as in a frame. */
    struct jsonprint_frame at;
    struct jsonprint_frame frames[JSONPRINT_DEPTH];
    struct digest text;  /* of a string */
    uint32_t code, high; /* of \uXXXX; a surrogate that waits for its other half */
    uint8_t hex_left, number_len, word_at;
    const char *word; /* true, false, null */
    char number[JSONNUMBER_MAX];
    uint8_t where_len; /* of what is in it; at.where_len and frames say how much counts */
    char where[JSONPRINT_WHERE];
    /* The first ones of the text itself, and of what is deeper; more: there are others. */
    struct jsonprint_place top[JSONPRINT_PLACES], deep[JSONPRINT_PLACES];
    uint8_t top_len, deep_len;
    bool more_top, more_deep;
};

/* ignored: must stay there until the end; len <= JSONPRINT_IGNORED. */
void jsonprint_start(struct jsonprint *j, const struct jsonprint_ignored *ignored, uint32_t len);
void jsonprint_feed(struct jsonprint *j, const char *data, size_t len);
/* Nothing more comes. false: it is no JSON text, or one that has no print. */
bool jsonprint_end(struct jsonprint *j);

/* Of two that ended well and differ in value: a JSON pointer to something that does, the deepest
 * that is known; its length, 0: none is known. */
size_t jsonprint_where(const struct jsonprint *a, const struct jsonprint *b,
                       char where[JSONPRINT_WHERE]);

#endif
