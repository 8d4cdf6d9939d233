/* Which rows and records are there when an instance or an app goes. Each of these went wrong in the
 * simulator (tests/sim) once. */
#include "rig.h"

#define SHOP "{\"app\":\"shop\",\"run\":[\"./shop\"],\"routes\":[{\"path\":\"/\"}]"
static const char shop[] = SHOP "}";

/* An instance is removed and one of the same id is made in one decision: its row was deleted behind
 * its being put, and the next controller killed it as nobody's. */
static void a_new_instance_of_an_old_id_has_its_row(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-1-1.1", FATE_STAYS, 0);
    rig_rule(&r, "shop-1-1.3", FATE_DEAF, 0); /* becoming ready puts the row again */
    rig_deploy(&r, shop);
    RIG_UNTIL(&r, rig_find(&r, "shop-1-1.1")->stopped > 0);
    rig_order(&r, COMMAND_ABORT, "shop");
    assert_int_equal(r.answer_error.class, ERROR_NONE);
    rig_end_run(&r, rig_find(&r, "shop-1-1.1"), 0, 0);
    RIG_UNTIL(&r, rig_run(&r, "shop-1-1.3") != NULL && store_pending(r.c->store) == 0);
    assert_int_equal(rig_count(&r, "SELECT run FROM instance WHERE id = 'shop-1-1'"), 3);
    rig_end(&r);
}

/* The app was forgotten although its rows could not be deleted. */
static void a_delete_that_cannot_be_stored_is_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    rig_rule(&r, "shop-1-1", FATE_STAYS, 0);
    rig_order(&r, COMMAND_DELETE, "shop");
    assert_int_equal(r.answer_error.class, ERROR_NONE);
    RIG_UNTIL(&r, rig_find(&r, "shop-1-1")->stopped > 0);
    rig_break_store(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1"), 0, 0);
    RIG_UNTIL(&r, r.c->store_failing);
    rig_spin(&r, 300);
    assert_non_null(rig_app(&r, "shop@production"));
    rig_order(&r, COMMAND_START, "shop");
    assert_int_equal(r.answer_error.class, ERROR_CONFLICT);
    rig_mend_store(&r);
    RIG_UNTIL(&r, rig_app(&r, "shop@production") == NULL);
    RIG_UNTIL(&r, store_pending(r.c->store) == 0);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM app"), 0);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'deleting'"), 1);
    assert_int_equal(rig_count(&r, "SELECT count(*) FROM event WHERE kind = 'deleted'"), 1);
    rig_end(&r);
}

/* The record of a run that was over was thrown away before the store knew: the controller after the
 * next one took it for one that was never started, and started it under the same id. */
static void a_record_stays_until_its_end_is_stored(void **state)
{
    (void)state;
    struct rig r;
    rig_begin(&r);
    assert_string_equal(rig_deploy_whole(&r, shop), "promoted");
    RIG_UNTIL(&r, rig_quiet(&r));
    rig_break_store(&r);
    rig_end_run(&r, rig_find(&r, "shop-1-1.1"), 1, 0);
    RIG_UNTIL(&r, r.c->store_failing);
    for (int i = 0; i < 2; i++) {
        rig_kill(&r);
        rig_open(&r);
        RIG_UNTIL(&r, r.c->store_failing);
        assert_non_null(rig_run(&r, "shop-1-1.1"));
    }
    rig_mend_store(&r);
    RIG_UNTIL(&r, rig_quiet(&r) && rig_alive(&r, "shop-1-1.") == 1);
    assert_int_equal(rig_started(&r, "shop-1-1.1"), 1);
    assert_null(rig_run(&r, "shop-1-1.1"));
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_instance_of_an_old_id_has_its_row),
        cmocka_unit_test(a_delete_that_cannot_be_stored_is_tried_again),
        cmocka_unit_test(a_record_stays_until_its_end_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
