#include "cli/help.h"

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/session.h"

#include <string.h>

void help_all(FILE *out)
{
    fputs("sluice puts a new version of a service in front of its users, and takes it away again "
          "if it is worse.\n\nusage: sluice VERB [OPTION...] [ARGUMENT...]\n\n",
          out);
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        fprintf(out, "  %-11s %s\n", v->word, v->summary);
    }
    fputs("\n`sluice VERB --help` shows the options of a verb.\n"
          "Exit status: 0 done, 1 it failed, 2 usage or spec error, 3 no controller answers, 4 the "
          "time given was up.\n",
          out);
}

void help_verb(const struct verb *verb, FILE *out)
{
    fprintf(out, "sluice %s: %s\n\nusage: sluice %s [OPTION...]%s%s\n\n", verb->word, verb->summary,
            verb->word, *verb->arguments != '\0' ? " " : "", verb->arguments);
    for (unsigned i = 0; i < OPTIONS_COUNT; i++) {
        const struct verb_option *o = option_get((enum option_id)i);
        char left[64];
        if ((verb->options & (UINT64_C(1) << i)) == 0)
            continue;
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ',
                 o->letter ? o->letter : ' ', o->letter ? "," : " ", o->word,
                 o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        fprintf(out, "  %-30s %s\n", left, o->text);
    }
}

/* The tables as one JSON document: what the manual is made of (packaging/make-manual). */
static void print_tables(void)
{
    json_t *verbs = json_array();
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        json_t *list = json_array();
        for (unsigned k = 0; k < OPTIONS_COUNT; k++) {
            const struct verb_option *o = option_get((enum option_id)k);
            if ((v->options & (UINT64_C(1) << k)) == 0)
                continue;
            json_array_append_new(list, json_pack("{s:s#, s:s, s:s?, s:s}", "letter", &o->letter,
                                                  o->letter != 0 ? 1 : 0, "word", o->word, "value",
                                                  o->value, "text", o->text));
        }
        json_array_append_new(verbs,
                              json_pack("{s:s, s:s, s:s, s:o}", "verb", v->word, "arguments",
                                        v->arguments, "summary", v->summary, "options", list));
    }
    json_t *all = json_pack("{s:s, s:o}", "version", SLUICE_VERSION, "verbs", verbs);
    print_json(all);
    json_decref(all);
}

int cmd_help(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_help), argc, argv, &err) != 0)
        return cli_fail(&err);
    if (o.given[OPTION_JSON]) {
        print_tables();
        return EXIT_DONE;
    }
    if (o.arguments_len == 0) {
        help_all(stdout);
        return EXIT_DONE;
    }
    const struct verb *verb = verb_find(o.arguments[0]);
    if (verb == NULL) {
        const char *nearest = nearest_verb(o.arguments[0]);
        error_set(&err, ERROR_USAGE, "there is no verb `%.80s`%s%s%s", o.arguments[0],
                  nearest != NULL ? "; did you mean `" : "", nearest != NULL ? nearest : "",
                  nearest != NULL ? "`?" : "");
        return cli_fail(&err);
    }
    help_verb(verb, stdout);
    return EXIT_DONE;
}
