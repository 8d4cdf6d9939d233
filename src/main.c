/* Picks the role. The guardian starts the others under the titles "sluice: controller DATA" and
 * "sluice: gateway DATA", the controller "sluice: fetch DATA"; under any other name this is the
 * command line. */
#include "api/controller.h"
#include "base/log.h"
#include "cli/cli.h"
#include "fetch/fetch.h"
#include "gateway/gateway.h"
#include "os/boot.h"
#include "os/lockfile.h"
#include "os/title.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* One controller per data folder, whatever went wrong with the guardians: held until the process is
 * gone. The one before us may just be leaving. */
static int lock_controller(const char *data_dir)
{
    enum { WAIT_MS = 3000, AGAIN_MS = 20 };
    struct error err = ERROR_INIT;
    int lock = -1, dir = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int waited = 0; dir >= 0 && lock < 0 && waited < WAIT_MS; waited += AGAIN_MS) {
        pid_t holder;
        lock = lockfile_take(dir, "controller.lock", &holder, &err);
        if (lock < 0)
            usleep(AGAIN_MS * 1000);
    }
    if (dir < 0)
        error_errno(&err, errno, "data folder %s", data_dir);
    else
        close(dir);
    if (lock < 0)
        log_error("%s", err.text);
    return lock;
}

static int run_controller(struct boot *boot)
{
    int lock = lock_controller(boot->data_dir);
    if (lock < 0)
        return EXIT_FAILURE;
    int status = controller_main(boot);
    close(lock);
    return status;
}

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
        return run_role(run_controller, "controller");
    if (argc > 0 && title_match(argv[0], "gateway") != NULL)
        return run_role(gateway_main, "gateway");
    if (argc > 0 && title_match(argv[0], "fetch") != NULL)
        return run_role(fetch_main, "fetch");
    return cli_main(argc, argv);
}
