/* `sluice completion SHELL`: out of the tables of verbs and options. */
#include "cli/cli.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

/* The verb's options as words: "--json --no-color". */
static void put_options(const struct verb *v, const char *before)
{
    for (unsigned i = 0; i < OPTIONS_COUNT; i++)
        if (v->options & (UINT64_C(1) << i))
            printf("%s--%s", before, option_get((enum option_id)i)->word);
}

static void put_verbs(void)
{
    for (unsigned i = 0; i < VERBS_COUNT; i++)
        printf("%s%s", i > 0 ? " " : "", verb_get((enum verb_id)i)->word);
}

static void put_apps_case(const char *separator)
{
    bool first = true;
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        if (strstr(v->arguments, "APP") != NULL) {
            printf("%s%s", first ? "" : separator, v->word);
            first = false;
        }
    }
}

/* The names of the apps, asked of the server at completion time. */
#define APPS_COMMAND                                                                               \
    "sluice status --json 2>/dev/null | grep -o '\"app\":\"[^\"]*\"' | cut -d'\"' -f4"

static void bash(void)
{
    printf("_sluice() {\n  local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
           "  if [ \"$COMP_CWORD\" = 1 ]; then\n    COMPREPLY=($(compgen -W '");
    put_verbs();
    printf("' -- \"$cur\"))\n    return\n  fi\n  if [[ $cur == -* ]]; then\n    case $verb in\n");
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        printf("      %s) COMPREPLY=($(compgen -W '", v->word);
        put_options(v, " ");
        printf("' -- \"$cur\")) ;;\n");
    }
    printf("    esac\n    return\n  fi\n  case $verb in\n    ");
    put_apps_case("|");
    printf(") COMPREPLY=($(compgen -W \"$(" APPS_COMMAND ")\" -- \"$cur\")) ;;\n"
           "    help) COMPREPLY=($(compgen -W '");
    put_verbs();
    printf("' -- \"$cur\")) ;;\n    *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n  esac\n}\n"
           "complete -F _sluice sluice\n");
}

static void zsh(void)
{
    printf("#compdef sluice\n_sluice() {\n  if (( CURRENT == 2 )); then\n    local -a verbs=(\n");
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        printf("      \"%s:%s\"\n", v->word, v->summary);
    }
    printf("    )\n    _describe verb verbs\n    return\n  fi\n"
           "  if [[ ${words[CURRENT]} == -* ]]; then\n    case ${words[2]} in\n");
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        printf("      %s) compadd --", v->word);
        put_options(v, " ");
        printf(" ;;\n");
    }
    printf("    esac\n    return\n  fi\n  case ${words[2]} in\n    ");
    put_apps_case("|");
    printf(") compadd -- $(" APPS_COMMAND ") ;;\n    *) _files ;;\n  esac\n}\n"
           "if [ \"$funcstack[1]\" = _sluice ]; then _sluice; else compdef _sluice sluice; fi\n");
}

static void fish(void)
{
    for (unsigned i = 0; i < VERBS_COUNT; i++) {
        const struct verb *v = verb_get((enum verb_id)i);
        printf("complete -c sluice -n __fish_use_subcommand -f -a %s -d \"%s\"\n", v->word,
               v->summary);
        for (unsigned k = 0; k < OPTIONS_COUNT; k++) {
            const struct verb_option *o = option_get((enum option_id)k);
            if ((v->options & (UINT64_C(1) << k)) == 0)
                continue;
            printf("complete -c sluice -n '__fish_seen_subcommand_from %s' -l %s", v->word,
                   o->word);
            if (o->letter != 0)
                printf(" -s %c", o->letter);
            printf("%s -d \"%s\"\n", o->value != NULL ? " -r" : "", o->text);
        }
    }
    printf("complete -c sluice -n '__fish_seen_subcommand_from ");
    put_apps_case(" ");
    printf("' -f -a \"(" APPS_COMMAND ")\"\n");
}

int cmd_completion(int argc, char **argv)
{
    static const struct {
        const char *shell;
        void (*write)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_completion), argc, argv, &err) != 0)
        return cli_fail(&err);
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(shells[i].shell, o.arguments[0]) == 0) {
            shells[i].write();
            return EXIT_DONE;
        }
    }
    error_set(&err, ERROR_USAGE, "completion: there is bash, zsh and fish, not %.40s",
              o.arguments[0]);
    return cli_fail(&err);
}
