/* tree: YAML text -> a tree of nodes that know their place. Inside src/spec only.
 *
 * Anchors and merge keys (<<) are resolved here: an alias is the same node again, so the tree is a
 * graph without cycles whose size, were it written out, is bounded (TREE_MAX_NODES). Nodes are
 * never changed after tree_parse(). All memory is the arena's.
 */
#ifndef SLUICE_SPEC_TREE_H
#define SLUICE_SPEC_TREE_H

#include "base/arena.h"
#include "spec/spec.h"

enum { TREE_MAX_BYTES = 1 << 20, TREE_MAX_DEPTH = 32, TREE_MAX_NODES = 200000 };

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node;
struct pair {
    const struct node *key, *value; /* key: always a scalar */
};

struct node {
    enum node_kind kind;
    bool quoted;                   /* scalar in quotes, or a block: never null, true or a number */
    uint32_t line, column, length; /* from 1, in characters */
    const char *text;              /* scalar: UTF-8 without NUL */
    const struct node **items;     /* list */
    struct pair *pairs;            /* map */
    size_t len;                    /* of items or pairs */
    uint32_t weight;               /* nodes below and itself, aliases counted each time */
};

/* The root, or NULL with errors in diags. An empty file gives a NODE_NULL. */
const struct node *tree_parse(const char *text, size_t len, struct arena *arena,
                              struct diagnostics *diags);

/* The value of key in a map; NULL: not there, or not a map. */
const struct node *tree_get(const struct node *map, const char *key);
/* The key's own node, for its place. */
const struct node *tree_key(const struct node *map, const char *key);

/* `over` laid over `base`: maps by key, deeply; all else is replaced. Of keys that exclude each
 * other (the kinds of a probe, the strategies) the ones of `over` displace those of `base`. */
const struct node *tree_merge(const struct node *base, const struct node *over,
                              struct arena *arena);

#endif
