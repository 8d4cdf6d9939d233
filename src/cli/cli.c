#include "cli/cli.h"

#include "cli/help.h"
#include "cli/options.h"

#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int cli_fail(const struct error *err)
{
    fflush(stdout);
    fprintf(stderr, "sluice: %s\n", err->text);
    switch (err->class) {
    case ERROR_USAGE: return EXIT_USAGE;
    case ERROR_UNAVAILABLE: return EXIT_NO_CONTROLLER;
    default: return EXIT_FAILED;
    }
}

/* X(word, why): verbs that SPEC names and this version does not have. */
#define LATER(X) X("exec", "`sluice run APP -- CMD` runs a command beside the instances")

static int unknown(const char *word)
{
#define X(name, why)                                                                               \
    if (strcmp(word, name) == 0) {                                                                 \
        fprintf(stderr, "sluice: " name " is not in this version; " why "\n");                     \
        return EXIT_USAGE;                                                                         \
    }
    LATER(X)
#undef X
    const char *nearest = nearest_verb(word);
    if (nearest != NULL)
        fprintf(stderr, "sluice: unknown verb `%.80s`; did you mean `%s`?\n", word, nearest);
    else
        fprintf(stderr, "sluice: unknown verb `%.80s` (see `sluice help`)\n", word);
    return EXIT_USAGE;
}

/* --help or -h among the verb's own words (not behind "--"). */
static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

int cli_main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        word = "version";
    const struct verb *verb = verb_find(word);
    if (verb == NULL)
        return unknown(word);
    if (asks_for_help(argc - 1, argv + 1)) {
        help_verb(verb, stdout);
        return EXIT_DONE;
    }
    int status = verb->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == EXIT_DONE)
        status = EXIT_FAILED; /* a full disk behind a redirection; the reader of a pipe left */
    return status;
}
