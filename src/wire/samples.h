/* Samples of failed requests, and of copies whose answers differ, in the gateway's shared memory
 * (metrics.h): for each worker a ring of the last few. Only that worker writes it, only when a
 * request failed, with plain stores: a flood of errors is not slowed down. The controller reads
 * while it is written, and believes none of it: a sample that was being written is left out, one
 * with a value out of range too.
 */
#ifndef SLUICE_WIRE_SAMPLES_H
#define SLUICE_WIRE_SAMPLES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SAMPLES_KEPT = 64, /* per worker */
    SAMPLE_PATH_MAX = 120,
    SAMPLE_WHERE_MAX = 61,
};
#define SAMPLE_NO_SLOT UINT32_MAX

/* X(name, word): what went wrong. */
#define SAMPLE_FAULTS(X)                                                                           \
    X(SAMPLE_5XX, "5xx")                /* the app's own answer */                                 \
    X(SAMPLE_CONNECT, "connect-failed") /* 502 */                                                  \
    X(SAMPLE_BROKE_OFF, "broke-off")    /* 502: before the head of an answer was whole */          \
    X(SAMPLE_BAD_ANSWER, "bad-answer")  /* 502: not HTTP */                                        \
    X(SAMPLE_TIMEOUT, "timed-out")      /* 504 */                                                  \
    X(SAMPLE_CUT, "cut")                /* the answer ended in the middle */                       \
    X(SAMPLE_UNSERVED, "unserved") /* 503: no instance was ready in time; has no instance slot */  \
    X(SAMPLE_DIFFERS, "differs")   /* the answer to a copy of the request, from the user's */

enum sample_fault {
#define X(name, word) name,
    SAMPLE_FAULTS(X)
#undef X
        SAMPLE_FAULTS_COUNT
};
const char *sample_fault_word(enum sample_fault f);

/* X(name, word): in what the two differ; the first of these that is so. */
#define SAMPLE_PARTS(X)                                                                            \
    X(SAMPLE_NOTHING, "nothing")                                                                   \
    X(SAMPLE_STATUS, "status")                                                                     \
    X(SAMPLE_HEADER, "header")                                                                     \
    X(SAMPLE_BODY, "body")

enum sample_part {
#define X(name, word) name,
    SAMPLE_PARTS(X)
#undef X
        SAMPLE_PARTS_COUNT
};
const char *sample_part_word(enum sample_part p);

/* enum http1_method; one that is not known: "?". */
const char *sample_method_word(uint8_t method);

struct sample {
    uint64_t at_boot_ms;    /* CLOCK_BOOTTIME: when it had failed */
    uint64_t took_us;       /* to the head of the answer; where none came, until it was given up */
    uint32_t request_slot;  /* the share's, or (unserved) the app's */
    uint32_t instance_slot; /* SAMPLE_NO_SLOT: none */
    uint16_t status;        /* what the client was answered with */
    uint8_t fault;          /* enum sample_fault */
    uint8_t method;         /* enum http1_method */
    uint8_t path_len;
    bool path_cut;                  /* it was longer */
    char path[SAMPLE_PATH_MAX + 2]; /* without the query, which may hold secrets */
    /* Only of SAMPLE_DIFFERS; else 0. Slots are those of the copy, status is the user's. */
    uint16_t copy_status;
    uint8_t part; /* enum sample_part */
    uint8_t where_len;
    /* The field's name; a JSON pointer (RFC 6901) where the bodies are JSON and the first
     * difference is known, perhaps cut. Never a value. */
    char where[SAMPLE_WHERE_MAX + 1];
};

enum { SAMPLE_WORDS = sizeof(struct sample) / sizeof(uint64_t) };

struct sample_cell {
    _Atomic uint64_t number; /* of the sample, from 1; 0: none, or being written */
    _Atomic uint64_t words[SAMPLE_WORDS];
};

struct sample_ring {
    _Atomic uint64_t written; /* samples ever */
    _Atomic uint64_t pad[7];
    struct sample_cell cells[SAMPLES_KEPT];
};

/* The path up to its query or fragment, as much as there is room for. */
void sample_set_path(struct sample *s, const char *path, uint32_t len);
void sample_set_where(struct sample *s, const char *where, size_t len); /* as much as fits */
/* By the ring's worker only. */
void samples_add(struct sample_ring *r, const struct sample *s);

/* The next sample behind *seen (0 at first), which is moved on; false: there is none now. What was
 * overwritten meanwhile is skipped. All values are in their ranges, path and where are
 * printable ASCII (other bytes became '?') and end in NUL. Ends also where the memory's writer is
 * hostile: a loop over it gives at most SAMPLES_KEPT for each change of the ring. */
bool samples_next(const struct sample_ring *r, uint64_t *seen, struct sample *out);

#endif
