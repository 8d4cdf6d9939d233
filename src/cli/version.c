/* `sluice version` */
#include "cli/cli.h"
#include "cli/options.h"

#include <stdio.h>

int cmd_version(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_version), argc, argv, &err) != 0)
        return cli_fail(&err);
    printf(o.given[OPTION_JSON] ? "{\"version\":\"%s\"}\n" : "sluice %s\n", SLUICE_VERSION);
    return EXIT_DONE;
}
