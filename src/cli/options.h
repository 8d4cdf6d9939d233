/* Parsing the words behind a verb by its row in the table of verbs. Pure. */
#ifndef SLUICE_CLI_OPTIONS_H
#define SLUICE_CLI_OPTIONS_H

#include "base/error.h"
#include "cli/verbs.h"

#include <stdbool.h>
#include <stddef.h>

enum { OPTIONS_MAX_ARGUMENTS = 4, OPTIONS_MAX_GIVEN = 64 };

struct options {
    bool given[OPTIONS_COUNT];
    const char *value[OPTIONS_COUNT]; /* the last one given; NULL: not given, or a switch */
    struct {
        enum option_id id;
        const char *value;
    } each[OPTIONS_MAX_GIVEN]; /* all of them in their order, for what may be given again */
    unsigned each_len;
    const char *arguments[OPTIONS_MAX_ARGUMENTS];
    unsigned arguments_len;
    char **rest; /* behind "--", NULL-terminated; NULL: there was no "--" */
    int rest_len;
};

/* argv[0] is the verb. Options may stand between the arguments; `--word=value`, `-eVALUE` and `-e
 * VALUE` all do; values point into argv. ERROR_USAGE says what is wrong and what there is instead.
 */
int options_parse(struct options *o, const struct verb *verb, int argc, char **argv,
                  struct error *err);

/* The verb nearest to `word`, when it is near enough to be meant; NULL else. */
const char *nearest_verb(const char *word);

#endif
