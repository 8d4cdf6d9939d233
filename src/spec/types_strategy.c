/* The strategies and the steps of a canary. */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/units.h"
#include "spec/types.h"

#include <string.h>

/* X(kind, word, mapping, type) */
#define STRATEGIES(X)                                                                              \
    X(STRATEGY_ROLLING, "rolling", IN_ROLLING, type_rolling)                                       \
    X(STRATEGY_RECREATE, "recreate", IN_RECREATE, type_recreate)                                   \
    X(STRATEGY_BLUE_GREEN, "blue-green", IN_BLUE_GREEN, type_blue_green)                           \
    X(STRATEGY_CANARY, "canary", IN_CANARY, type_canary)                                           \
    X(STRATEGY_SHADOW, "shadow", IN_SHADOW, type_shadow)

static const struct {
    enum strategy_kind kind;
    const char *word;
    enum mapping mapping;
} strategies[] = {
#define X(kind, word, mapping, type) {kind, word, mapping},
    STRATEGIES(X)
#undef X
};
static const char *const strategy_words[] = {
#define X(kind, word, mapping, type) word,
    STRATEGIES(X)
#undef X
        NULL};
enum { STRATEGIES_LEN = sizeof strategies / sizeof strategies[0] };
_Static_assert((int)STRATEGIES_LEN == (int)STRATEGY_KINDS, "a row for each");

const char *strategy_name(enum strategy_kind kind)
{
    for (size_t i = 0; i < STRATEGIES_LEN; i++)
        if (strategies[i].kind == kind)
            return strategies[i].word;
    UNREACHABLE();
}

/* The judge works in every strategy; only those that are about it can tell it how. */
static void default_judge(struct reader *r, struct strategy_spec *s)
{
    if (!r->partial)
        read_mapping(r, IN_JUDGE, &(struct node){.kind = NODE_MAP}, &s->judge);
}

static void read_one_strategy(struct reader *r, const struct key *key, const struct node *node,
                              void *base)
{
    struct strategy_spec *s = base;
    for (size_t i = 0; i < STRATEGIES_LEN; i++)
        if (strcmp(strategies[i].word, key->name) == 0) {
            s->kind = strategies[i].kind;
            r->strategy_known = true;
            if (s->kind != STRATEGY_CANARY && s->kind != STRATEGY_SHADOW)
                default_judge(r, s);
            read_mapping(r, strategies[i].mapping, node, s);
        }
}

static bool write_one_strategy(const struct key *key, const void *base, struct buf *out)
{
    const struct strategy_spec *s = base;
    for (size_t i = 0; i < STRATEGIES_LEN; i++)
        if (strategies[i].kind == s->kind && strcmp(strategies[i].word, key->name) == 0) {
            write_mapping(strategies[i].mapping, base, out);
            return true;
        }
    return false;
}

#define X(kind, word, mapping, type)                                                               \
    const struct value_type type = {.shape = "a map of what " word " may say",                     \
                                    .read = read_one_strategy,                                     \
                                    .write = write_one_strategy,                                   \
                                    .null_is_empty = true};
STRATEGIES(X)
#undef X

static void read_strategy(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    void *strategy = field_at(base, key->offset);
    if (node->kind == NODE_SCALAR) {
        const char *word = read_text(r, key, node, EXPAND_VALUE);
        size_t i = 0;
        while (word != NULL && i < STRATEGIES_LEN && strcmp(word, strategies[i].word) != 0)
            i++;
        if (word == NULL)
            return;
        if (i == STRATEGIES_LEN) {
            reader_expected_word(r, node, word, strategy_words);
            return;
        }
        struct node name = *node, nothing = *node;
        name.text = strategies[i].word;
        nothing.kind = NODE_NULL;
        struct pair only = {&name, &nothing};
        struct node map = *node;
        map.kind = NODE_MAP;
        map.pairs = &only;
        map.len = 1;
        read_mapping(r, IN_STRATEGY, &map, strategy);
    } else if (node->kind == NODE_MAP && node->len == 1) {
        read_mapping(r, IN_STRATEGY, node, strategy);
    } else {
        reader_expected(r, node, key->type->shape,
                        node->kind == NODE_MAP ? "exactly one strategy" : NULL);
    }
}

const struct value_type type_strategy = {
    .shape =
        "`rolling`, `recreate`, `blue-green`, `canary` or `shadow`, or a map with that one key",
    .read = read_strategy,
    .nested = IN_STRATEGY};

/* ---- canary ---------------------------------------------------------------------------------- */

enum { WHOLE_PPM = 1000000 };

static bool parse_weight(const char *text, uint32_t *ppm)
{
    cleanup_free char *with_sign =
        strchr(text, '%') != NULL ? xstrdup(text) : xasprintf("%s%%", text);
    return parse_percent_ppm(with_sign, ppm) == 0 && *ppm > 0 && *ppm <= WHOLE_PPM;
}

static void read_step_weight(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    struct canary_step *step = base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text != NULL && !parse_weight(text, &step->weight_ppm)) {
        step->weight_ppm = 0;
        reader_expected(r, node, key->type->shape, NULL);
    }
}

static bool write_step_weight(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    return write_ppm(out, ((const struct canary_step *)base)->weight_ppm);
}

const struct value_type type_step_weight = {.shape = "a percentage above 0 and up to 100",
                                            .read = read_step_weight,
                                            .write = write_step_weight};

/* A step's own hold is filled in by read_step_hold, which comes after; -1 until then. */
static bool read_step(struct reader *r, const struct key *key, const struct node *node,
                      struct canary_step *step)
{
    *step = (struct canary_step){.hold_ms = -1};
    if (node->kind == NODE_MAP) {
        read_mapping(r, IN_STEP, node, step);
    } else if (node->kind == NODE_SCALAR) {
        struct key weight = *key;
        weight.type = &type_step_weight;
        read_step_weight(r, &weight, node, step);
    } else {
        reader_expected(r, node, "a weight such as 25, or a map such as {weight: 25, hold: 2m}",
                        NULL);
    }
    return step->weight_ppm != 0;
}

static void read_steps(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct strategy_spec *s = base;
    const struct node *const *items;
    size_t len;
    if (!read_items(r, key, node, SPEC_MAX_STEPS - 1, &items, &len))
        return;
    uint32_t last = 0;
    s->steps_len = 0;
    for (size_t i = 0; i < len; i++) {
        struct canary_step *step = &s->steps[s->steps_len];
        if (!read_step(r, key, items[i], step))
            continue;
        if (step->weight_ppm <= last) {
            char text[32];
            reader_fail(r, items[i], "each step's weight is above the one before",
                        "the weights must rise: it was %s before",
                        format_percent_ppm(last, text, sizeof text));
            continue;
        }
        last = step->weight_ppm;
        s->steps_len++;
    }
    if (last < WHOLE_PPM)
        s->steps[s->steps_len++] = (struct canary_step){.weight_ppm = WHOLE_PPM, .hold_ms = -1};
}

static bool write_steps(const struct key *key, const void *base, struct buf *out)
{
    const struct strategy_spec *s = base;
    (void)key;
    for (size_t i = 0; i < s->steps_len; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        write_mapping(IN_STEP, &s->steps[i], out);
    }
    buf_putc(out, ']');
    return true;
}

const struct value_type type_steps = {.shape = "a list of weights such as [5, 25, 100]",
                                      .read = read_steps,
                                      .write = write_steps,
                                      .null_is_empty = true};

static void read_step_hold(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    struct strategy_spec *s = base;
    struct canary_step all = {.hold_ms = -1};
    struct key hold = *key;
    hold.offset = offsetof(struct canary_step, hold_ms);
    type_duration.read(r, &hold, node, &all);
    for (size_t i = 0; i < s->steps_len && all.hold_ms >= 0; i++)
        if (s->steps[i].hold_ms < 0)
            s->steps[i].hold_ms = all.hold_ms;
}

const struct value_type type_step_hold = {.shape = "a duration such as 60s",
                                          .read = read_step_hold};

static void read_canary_instances(struct reader *r, const struct key *key, const struct node *node,
                                  void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t value = 0;
    if (text == NULL)
        return;
    if (strcmp(text, "proportional") == 0 ||
        (parse_u64(text, MAX_REPLICAS, &value) == 0 && value > 0))
        ((struct strategy_spec *)base)->instances = (uint32_t)value;
    else
        reader_expected(r, node, key->type->shape, NULL);
}

static bool write_canary_instances(const struct key *key, const void *base, struct buf *out)
{
    uint32_t n = ((const struct strategy_spec *)base)->instances;
    (void)key;
    if (n == 0)
        return write_quoted_word(out, "proportional");
    buf_printf(out, "%u", n);
    return true;
}

const struct value_type type_canary_instances = {.shape =
                                                     "`proportional`, or a number from 1 to 1000",
                                                 .read = read_canary_instances,
                                                 .write = write_canary_instances};
