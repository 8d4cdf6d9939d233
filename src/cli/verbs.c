#include "cli/verbs.h"

#include "base/vec.h"

#include <string.h>

static const struct verb verbs[] = {
#define X(name, arguments, least, most, options, summary)                                          \
    {#name, arguments, least, most, options, summary, cmd_##name},
    VERBS(X)
#undef X
};

static const struct verb_option options[] = {
#define X(id, letter, word, value, text) {letter, word, value, text},
    OPTIONS(X)
#undef X
};

_Static_assert(OPTIONS_COUNT <= 64, "a verb's options are a 64 bit mask");

const struct verb *verb_get(enum verb_id id)
{
    return &verbs[id];
}

const struct verb *verb_find(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].word, word) == 0)
            return &verbs[i];
    }
    return NULL;
}

const struct verb_option *option_get(enum option_id id)
{
    return &options[id];
}
