/* Controllers come and go: started by the guardian, killed anywhere, asked to leave, lost with the
 * machine. */
#include "sim.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void sim_start_controller(int64_t in_us);
void sim_as_controller(void (*part)(void));
void gateways_abandon(void);
void pack_abandon(void);

static struct {
    bool left;
    struct control_listener listener;
} life;

bool life_runs(void)
{
    return sim.control != NULL && sim.control->store != NULL && !sim.control->leaving;
}

static void on_leave(void *arg)
{
    (void)arg;
    life.left = true;
}

static void on_event(void *arg, const struct control_event *event)
{
    (void)arg;
    check_event(event);
}

void life_start(void)
{
    struct boot *boot = xcalloc(1, sizeof *boot); /* the controller's, as its memory */
    struct error err = ERROR_INIT;
    sim.life++;
    sim_note("controller %llu starts", (unsigned long long)sim.life);
    life.left = false;
    boot_init(boot);
    boot_set(&boot->data_dir, sim.data);
    boot->role = BOOT_CONTROLLER;
    boot->guardian_fd = guardian_channel();
    struct control_config config = {.boot = boot, .loop = loop_get(), .on_leave = on_leave};
    struct control *c = control_open(&config, &err);
    if (c == NULL)
        sim_fail("the controller cannot start: %s", err.text);
    if (c->store == NULL && !disk_failing())
        sim_fail("the store cannot be opened: %s", c->degraded);
    life.listener = (struct control_listener){.on_event = on_event};
    control_listen(c, &life.listener);
    control_api_listens(c);
    if (c->store != NULL)
        expect_restored();
}

/* What is left of it is memory that nobody will look at again. */
void life_kill(const char *why)
{
    struct control *c = sim.control;
    if (why != NULL)
        sim_note("KILLED: %s", why);
    sim_kill_after(0);
    sim.control = NULL;
    gateways_abandon();
    if (c != NULL) {
        close(c->run_dir_fd);
        if (c->snapshot_fd >= 0)
            close(c->snapshot_fd);
        if (c->store != NULL)
            close(store_fd(c->store));
        if (c->guardian != NULL)
            close(guardian_link_fd(c->guardian));
    }
    guardian_abandon();
    engine_abandon();
    loop_abandon();
    writer_abandon();
    disk_abandon();
    pack_abandon();
    sim_start_controller(sim_between(10 * SIM_MS, sim.calm ? 100 * SIM_MS : 2 * SIM_SECOND));
}

static void leave(void)
{
    control_leave(sim.control, false);
}

void life_leave(void)
{
    if (!life_runs())
        return;
    sim_note("the controller is asked to leave");
    sim_as_controller(leave);
}

/* Behind each turn of the loop. */
void life_after_turn(void);
void life_after_turn(void)
{
    if (!life.left || sim.control == NULL)
        return;
    struct control *c = sim.control;
    sim_note("the controller has left");
    sim.control = NULL; /* it may be killed in the middle of this */
    control_free(c);
    if (loop_due_us() != INT64_MAX)
        sim_fail("the controller has left handles open");
    guardian_abandon();
    engine_abandon();
    loop_abandon();
    writer_abandon();
    disk_abandon();
    sim_start_controller(sim_between(10, 500) * SIM_MS);
}

static void on_booted(void *arg, uint64_t boot)
{
    (void)arg;
    if (boot == sim.reboots) /* else it went down again at once */
        guardian_begin();
}

void life_reboot(void)
{
    sim_note("THE HOST RESTARTS");
    if (sim.control != NULL)
        life_kill("with the host");
    engine_reboot();
    gateways_reboot();
    disk_power_cut();
    sim.reboots++;
    sim.rebooted_us = sim_now();
    check_rebooted();
    for (int i = 0; i < 2; i++) { /* the routes are not synced: whole, torn or gone */
        char path[160];
        snprintf(path, sizeof path, "%s/run/snapshot-%d", sim.data, i);
        if (sim_chance(20))
            (void)!truncate(path, sim_between(0, 200));
        else if (sim_chance(10))
            unlink(path);
    }
    sim_at(5 * SIM_MS, on_booted, NULL, sim.reboots); /* before any controller */
}
