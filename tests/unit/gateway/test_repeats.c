/* Each client once a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "gateway/repeats.h"

static struct repeats *table(void **state)
{
    struct repeats *r = *state;
    memset(r, 0, sizeof *r);
    r->seed = 0x5eed;
    return r;
}

static bool again(struct repeats *r, uint64_t connection, uint32_t app, uint64_t now_ms)
{
    struct client_identity client = client_by_connection(connection);
    return repeats_add(r, &client, app, now_ms);
}

static bool again_from(struct repeats *r, const char *text, uint64_t now_ms)
{
    uint8_t address[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    assert_true(inet_pton(AF_INET, text, address + 12) == 1 ||
                inet_pton(AF_INET6, text, address) == 1);
    struct client_identity client = client_by_address(address);
    return repeats_add(r, &client, 0, now_ms);
}

static void one_a_second(void **state)
{
    struct repeats *r = table(state);
    assert_false(again(r, 1, 0, 1));
    assert_true(again(r, 1, 0, 1));
    assert_true(again(r, 1, 0, REPEATS_MS));
    assert_false(again(r, 1, 0, REPEATS_MS + 1)); /* from the one that counted on */
    assert_true(again(r, 1, 0, 2 * REPEATS_MS));
    assert_false(again(r, 1, 0, 2 * REPEATS_MS + 1));
    assert_false(again(r, 1, 0, 1000000));
    /* A burst of 50 each tenth of a second, for ten seconds. */
    r = table(state);
    int counted = 0;
    for (uint64_t ms = 5000; ms < 15000; ms += 100)
        for (int i = 0; i < 50; i++)
            counted += !again(r, 7, 3, ms);
    assert_int_equal(counted, 10);
}

static void clients_and_apps_are_told_apart(void **state)
{
    struct repeats *r = table(state);
    for (uint64_t c = 1; c <= 50; c++)
        assert_false(again(r, c, 0, 5000));
    for (uint64_t c = 1; c <= 50; c++) {
        assert_true(again(r, c, 0, 5100));
        assert_false(again(r, c, 1, 5100)); /* another app */
    }
    /* A connection's number is no address. */
    uint8_t address[ADDRESS_BYTES] = {0};
    for (uint64_t c = 1; c <= 50; c++) {
        memcpy(address, &c, sizeof c);
        struct client_identity client = client_by_address(address);
        assert_int_equal(client.number, c);
        assert_false(repeats_add(r, &client, 0, 5100));
    }
}

static void addresses_are_told_by_what_one_user_has(void **state)
{
    struct repeats *r = table(state);
    assert_false(again_from(r, "192.0.2.1", 5000));
    assert_false(again_from(r, "192.0.2.2", 5000));
    assert_false(again_from(r, "193.0.2.1", 5000));
    assert_true(again_from(r, "::ffff:192.0.2.1", 5000));
    assert_false(again_from(r, "2001:db8:1:2::1", 5000));
    assert_true(again_from(r, "2001:db8:1:2:aaaa:bbbb:cccc:dddd", 5000)); /* a /64 is one */
    assert_false(again_from(r, "2001:db8:1:3::1", 5000));
    assert_false(again_from(r, "2001:db8:2:2::1", 5000));
}

/* What does not fit is counted more often; nobody is ever taken for another. */
static void a_full_table_counts_more(void **state)
{
    struct repeats *r = table(state);
    enum { MANY = REPEATS_SETS * REPEATS_WAYS * 2 };
    for (uint64_t c = 1; c <= MANY; c++)
        assert_false(again(r, c, 0, 5000));
    int known = 0;
    for (uint64_t c = 1; c <= MANY; c++)
        known += again(r, c, 0, 5500);
    assert_true(known < MANY);
    assert_false(again(r, MANY + 1, 0, 5500));
    assert_true(again(r, MANY + 1, 0, 5500));
}

/* The ways of a set: as many clients as it has are known at once, whatever they share. */
static void the_oldest_gives_way(void **state)
{
    struct repeats *r = table(state);
    uint64_t same_set[REPEATS_WAYS + 1], found = 0;
    size_t set = REPEATS_SETS;
    for (uint64_t c = 1; found < REPEATS_WAYS + 1; c++) {
        memset(r->sets, 0, sizeof r->sets);
        again(r, c, 0, 5000);
        size_t at = 0;
        while (r->sets[at][0].at_ms == 0)
            at++;
        if (set == REPEATS_SETS)
            set = at;
        if (at == set)
            same_set[found++] = c;
    }
    memset(r->sets, 0, sizeof r->sets);
    for (size_t i = 0; i <= REPEATS_WAYS; i++)
        assert_false(again(r, same_set[i], 0, 5000 + i));
    for (size_t i = 1; i <= REPEATS_WAYS; i++)
        assert_true(again(r, same_set[i], 0, 5100));
    assert_false(again(r, same_set[0], 0, 5100)); /* it had to go */
}

/* Where a client falls depends on the seed: nobody can choose to push others out. */
static void the_seed_moves_everybody(void **state)
{
    struct repeats *r = table(state);
    uint64_t first[8];
    for (uint64_t c = 0; c < 8; c++) {
        memset(r->sets, 0, sizeof r->sets);
        again(r, c, 0, 5000);
        for (first[c] = 0; r->sets[first[c]][0].at_ms == 0;)
            first[c]++;
    }
    r->seed = 0xdeed;
    int moved = 0;
    for (uint64_t c = 0; c < 8; c++) {
        memset(r->sets, 0, sizeof r->sets);
        again(r, c, 0, 5000);
        moved += r->sets[first[c]][0].at_ms == 0;
    }
    assert_true(moved >= 7);
}

static int setup(void **state)
{
    *state = malloc(sizeof(struct repeats));
    return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_a_second),
        cmocka_unit_test(clients_and_apps_are_told_apart),
        cmocka_unit_test(addresses_are_told_by_what_one_user_has),
        cmocka_unit_test(a_full_table_counts_more),
        cmocka_unit_test(the_oldest_gives_way),
        cmocka_unit_test(the_seed_moves_everybody),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
