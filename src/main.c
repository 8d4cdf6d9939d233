/* Picks the role. The guardian starts the others under the titles "sluice: controller DATA" and
 * "sluice: gateway DATA"; under any other name this is the command line. */
#include "api/controller.h"
#include "base/log.h"
#include "cli/cli.h"
#include "gateway/gateway.h"
#include "os/boot.h"
#include "os/title.h"

#include <stdlib.h>

static int run_role(int (*role_main)(struct boot *), const char *role)
{
    struct boot boot;
    struct error err = ERROR_INIT;
    log_init(role, LOG_INFO);
    if (boot_read(&boot, BOOT_FD, &err) < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    log_init(role, (enum log_level)boot.log_level);
    title_short(role);
    int status = role_main(&boot);
    boot_release(&boot);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 0 && title_match(argv[0], "controller") != NULL)
        return run_role(controller_main, "controller");
    if (argc > 0 && title_match(argv[0], "gateway") != NULL)
        return run_role(gateway_main, "gateway");
    return cli_main(argc, argv);
}
