/* `fake_server DATA`: the API on DATA/api.sock over a fake control, to try the command line by
 * hand. */
#include "fake_control.c"

#include "api/controller.h"

int main(int argc, char **argv)
{
    struct boot boot;
    boot_init(&boot);
    boot.role = BOOT_CONTROLLER;
    boot_set(&boot.data_dir, argc > 1 ? argv[1] : "/tmp");
    cleanup_free char *api = xasprintf("unix:%s/api.sock", boot.data_dir);
    boot_set(&boot.api, argc > 2 ? argv[2] : api);
    boot.owner_uid = getuid();
    snprintf(fake_logs_dir, sizeof fake_logs_dir, "%.150s/logs", boot.data_dir);
    if (getenv("FAKE_STEP_MS") != NULL)
        fake_step_ms = (unsigned)atoi(getenv("FAKE_STEP_MS"));
    int status = controller_main(&boot);
    boot_release(&boot);
    return status;
}
