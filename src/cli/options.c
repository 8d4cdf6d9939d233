#include "cli/options.h"

#include "base/nearest.h"

#include <string.h>

const char *nearest_verb(const char *word)
{
    const char *known[VERBS_COUNT + 1] = {NULL};
    for (unsigned i = 0; i < VERBS_COUNT; i++)
        known[i] = verb_get((enum verb_id)i)->word;
    return nearest_word(word, known);
}

static int unknown_option(const struct verb *verb, const char *word, struct error *err)
{
    if (word[1] >= '0' && word[1] <= '9')
        return error_set(err, ERROR_USAGE, "%s %.80s: a number below 0 makes no sense here",
                         verb->word, word);
    const char *known[OPTIONS_COUNT + 1] = {NULL};
    size_t len = 0;
    for (unsigned i = 0; i < OPTIONS_COUNT; i++) {
        if (verb->options & (UINT64_C(1) << i))
            known[len++] = option_get((enum option_id)i)->word;
    }
    const char *nearest = word[0] == '-' && word[1] == '-' ? nearest_word(word + 2, known) : NULL;
    return error_set(err, ERROR_USAGE, "%s has no option %.80s%s%s%s (see `sluice %s --help`)",
                     verb->word, word, nearest != NULL ? "; did you mean --" : "",
                     nearest != NULL ? nearest : "", nearest != NULL ? "?" : "", verb->word);
}

/* The verb's option of this long word (len bytes) or letter; OPTIONS_COUNT: none. */
static enum option_id find_option(const struct verb *verb, const char *word, size_t len,
                                  char letter)
{
    for (unsigned i = 0; i < OPTIONS_COUNT; i++) {
        const struct verb_option *o = option_get((enum option_id)i);
        if ((verb->options & (UINT64_C(1) << i)) == 0)
            continue;
        if (letter != 0 ? o->letter == letter
                        : strlen(o->word) == len && memcmp(o->word, word, len) == 0)
            return (enum option_id)i;
    }
    return OPTIONS_COUNT;
}

/* argv[*i] starts with '-' and is longer than that. */
static int parse_option(struct options *o, const struct verb *verb, int argc, char **argv, int *i,
                        struct error *err)
{
    const char *word = argv[*i], *value = NULL;
    bool is_long = word[1] == '-';
    const char *equals = is_long ? strchr(word, '=') : NULL;
    size_t len = equals != NULL ? (size_t)(equals - word) - 2 : is_long ? strlen(word) - 2 : 0;
    enum option_id id = find_option(verb, word + 2, len, is_long ? 0 : word[1]);
    if (id == OPTIONS_COUNT)
        return unknown_option(verb, word, err);
    const struct verb_option *found = option_get(id);
    if (equals != NULL)
        value = equals + 1;
    else if (!is_long && word[2] != '\0')
        value = word + 2;
    if (found->value == NULL && value != NULL)
        return error_set(err, ERROR_USAGE, "--%s takes no value", found->word);
    if (found->value != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return error_set(err, ERROR_USAGE, "--%s needs a value: %s", found->word, found->value);
        value = argv[++*i];
    }
    if (found->value != NULL && *value == '\0')
        return error_set(err, ERROR_USAGE, "--%s needs a value that is not empty: %s", found->word,
                         found->value);
    if (o->each_len == OPTIONS_MAX_GIVEN)
        return error_set(err, ERROR_USAGE, "%s: more than %d options", verb->word,
                         OPTIONS_MAX_GIVEN);
    o->given[id] = true;
    o->value[id] = value;
    o->each[o->each_len].id = id;
    o->each[o->each_len++].value = value;
    return 0;
}

int options_parse(struct options *o, const struct verb *verb, int argc, char **argv,
                  struct error *err)
{
    memset(o, 0, sizeof *o);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--") == 0) {
            o->rest = argv + i + 1;
            o->rest_len = argc - i - 1;
            break;
        }
        if (word[0] == '-' && word[1] != '\0') {
            if (parse_option(o, verb, argc, argv, &i, err) != 0)
                return -1;
            continue;
        }
        if (o->arguments_len == verb->most)
            return error_set(err, ERROR_USAGE, "%s has no use for `%.80s` (usage: sluice %s%s%s)",
                             verb->word, word, verb->word, *verb->arguments != '\0' ? " " : "",
                             verb->arguments);
        o->arguments[o->arguments_len++] = word;
    }
    if (o->arguments_len < verb->least)
        return error_set(err, ERROR_USAGE, "%s needs more: sluice %s %s", verb->word, verb->word,
                         verb->arguments);
    if (o->rest != NULL && strstr(verb->arguments, "--") == NULL)
        return error_set(err, ERROR_USAGE, "%s takes nothing behind `--`", verb->word);
    return 0;
}
