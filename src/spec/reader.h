/* reader: a tree of nodes -> struct app_spec -> canonical JSON, driven by the one table of keys
 * (keys.def). Inside src/spec only.
 *
 * A mapping is a set of keys; a key has a type; a type reads a node into the struct that the
 * mapping fills in, and writes it back as JSON. Defaults are read from the table by the same code.
 */
#ifndef SLUICE_SPEC_READER_H
#define SLUICE_SPEC_READER_H

#include "base/buf.h"
#include "base/map.h"
#include "spec/report.h"
#include "spec/tree.h"

/* X(name, words, struct): the mappings of the file; words: how errors call one. */
#define MAPPINGS(X)                                                                                \
    X(IN_TOP, "sluice.yaml")                                                                       \
    X(IN_RESOURCES, "resources")                                                                   \
    X(IN_PROBES, "probes")                                                                         \
    X(IN_PROBE, "a probe")                                                                         \
    X(IN_STOP, "stop")                                                                             \
    X(IN_ROUTE, "a route")                                                                         \
    X(IN_RETRIES, "retries")                                                                       \
    X(IN_OUTLIER, "outlier")                                                                       \
    X(IN_CAPACITY, "capacity")                                                                     \
    X(IN_TCP, "tcp")                                                                               \
    X(IN_MATCH, "match")                                                                           \
    X(IN_HEADERS, "headers")                                                                       \
    X(IN_EDITS, "headers.request and headers.response")                                            \
    X(IN_REWRITE, "rewrite")                                                                       \
    X(IN_UPSTREAM_TLS, "upstream-tls")                                                             \
    X(IN_REDIRECT, "redirect")                                                                     \
    X(IN_ACCESS_LOG, "access-log")                                                                 \
    X(IN_RATE_LIMIT, "rate-limit")                                                                 \
    X(IN_LIMITS, "limits")                                                                         \
    X(IN_HOLD, "hold")                                                                             \
    X(IN_STRATEGY, "strategy")                                                                     \
    X(IN_RECREATE, "strategy.recreate")                                                            \
    X(IN_ROLLING, "strategy.rolling")                                                              \
    X(IN_BLUE_GREEN, "strategy.blue-green")                                                        \
    X(IN_CANARY, "strategy.canary")                                                                \
    X(IN_STEP, "a canary step")                                                                    \
    X(IN_SHADOW, "strategy.shadow")                                                                \
    X(IN_COMPARE, "strategy.shadow.compare")                                                       \
    X(IN_JUDGE, "strategy.canary.judge and strategy.shadow.judge")                                 \
    X(IN_SLO, "slo")                                                                               \
    X(IN_METRIC, "a metric")                                                                       \
    X(IN_BAKE, "bake")

enum mapping {
    IN_NONE,
#define X(name, words) name,
    MAPPINGS(X)
#undef X
        MAPPINGS_COUNT
};
const char *mapping_words(enum mapping mapping);

struct reader;
struct key;

struct value_type {
    const char *shape; /* what is expected: "a duration such as 10s" */
    void (*read)(struct reader *r, const struct key *key, const struct node *node, void *base);
    /* JSON of the value; false: it is left out (absent, or folded into another key). NULL: always.
     */
    bool (*write)(const struct key *key, const void *base, struct buf *out);
    enum mapping nested;      /* read and written as that mapping; else IN_NONE */
    bool null_is_empty;       /* a key without a value is an empty list or map */
    bool secret;              /* never shown in a difference */
    bool hidden;              /* only in the canonical JSON; a file must not have it */
    const char *const *words; /* enumerations: what it may be, NULL-terminated */
    uint64_t min, max;        /* numbers and durations (ms) */
    const char *hint;         /* what to do about a wrong one */
};

struct key {
    enum mapping in;
    const char *name;
    const struct value_type *type;
    size_t offset, len_offset; /* in the mapping's struct; len_offset: lists */
    const char *preset;        /* the default as the file would say it; NULL: none */
    const char *about;
};
extern const struct key spec_keys[];
extern const size_t spec_keys_len;

struct reader {
    struct arena *arena;   /* the spec's */
    struct arena *scratch; /* freed when parsing ends */
    struct diagnostics *diags;
    const struct spec_source *source;
    struct app_spec *spec;
    struct buf path;     /* "probes.readiness" */
    bool strategy_known; /* false: it is wrong itself, and no ground for other rules */
    bool partial; /* an environment that was not chosen: no defaults, no ${}, no cross rules */
    struct {
        struct env_var *items;
        size_t len, cap;
    } env;
    struct map env_index; /* name -> position in env + 1 */
};

/* What happens to ${NAME} in a text. */
enum expand_mode {
    EXPAND_VALUE, /* resolved; other forms are errors */
    EXPAND_ARGV,  /* resolved, but ${PORT} and ${SLUICE_...} stay for the start */
    EXPAND_SH,    /* as EXPAND_ARGV; the shell's other forms stay too */
};

/* ---- reading, for types ---------------------------------------------------------------------- */

static inline void *field_at(void *base, size_t offset)
{
    return (char *)base + offset;
}
static inline const void *const_field_at(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

void read_mapping(struct reader *r, enum mapping in, const struct node *node, void *base);
/* The text of a scalar with ${} resolved, in the spec's arena. NULL: no scalar or not resolved;
 * that was reported. */
const char *read_text(struct reader *r, const struct key *key, const struct node *node,
                      enum expand_mode mode);
/* "`path`: text" at the node. */
void reader_fail(struct reader *r, const struct node *at, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void reader_warn(struct reader *r, const struct node *at, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A file of somebody's; false: our canonical JSON, which says all defaults and was warned of. */
bool reader_of_file(const struct reader *r);
/* So many until now, warnings left out: did reading this find any? */
size_t reader_errors(const struct reader *r);
/* "`path`: expected SHAPE, got `text`" */
void reader_expected(struct reader *r, const struct node *at, const char *shape, const char *hint);
/* The same, with "did you mean" where text is near one of the words. */
void reader_expected_word(struct reader *r, const struct node *at, const char *text,
                          const char *const *words);
size_t path_push(struct reader *r, const char *name);
void path_pop(struct reader *r, size_t mark);
struct spot node_spot(const struct node *n);

/* A list's items, or the one scalar as a list of one; false (reported) for a map or too long ones.
 */
bool read_items(struct reader *r, const struct key *key, const struct node *node, size_t max,
                const struct node *const **items, size_t *len);
bool read_command(struct reader *r, const struct key *key, const struct node *node,
                  struct command *out);
void read_match(struct reader *r, const struct node *node, struct match_spec *out);

/* Resolves ${} in text; NULL: reported (or silent where r->partial). */
const char *expand(struct reader *r, const struct node *node, enum expand_mode mode);
/* Names like PORT and SLUICE_RELEASE, which an instance is given by sluice. */
bool is_instance_variable(const char *name, size_t len);
bool is_variable_name(const char *name, size_t len);
/* [a-z][a-z0-9-]{0,62} */
bool is_name(const char *text);

/* Adds the variables of a dotenv file; errors are reported at `at` with the file's own line. */
void read_dotenv(struct reader *r, const struct node *at, const char *path, const char *text,
                 size_t len);
void env_put(struct reader *r, const char *name, const char *value);

/* ---- rules ----------------------------------------------------------------------------------- */

/* After the keys of one mapping were read: what they must be together. */
void finish_mapping(struct reader *r, enum mapping in, const struct node *node, void *base);
/* The whole spec, once it was read without errors. */
void check_rules(struct reader *r, const struct node *root);
void finish_route(struct reader *r, const struct node *node, const struct route_spec *route);
void finish_tls(struct reader *r, const struct node *node, const struct route_spec *route);
void finish_upstream(struct reader *r, const struct node *node, const struct route_spec *route);

/* ---- writing --------------------------------------------------------------------------------- */

void write_mapping(enum mapping in, const void *base, struct buf *out);
bool write_value(const struct key *key, const void *base, struct buf *out); /* false: left out */
/* With this JSON as the value of the key `other` (NULL: none). */
void write_mapping_with(enum mapping in, const void *base, const char *other, const char *json,
                        struct buf *out);
void write_string(struct buf *out, const char *text);
bool write_match(const struct match_spec *m, struct buf *out);
void write_command(struct buf *out, const struct command *c);
void write_commands(struct buf *out, const struct command *c, size_t len);

#endif
