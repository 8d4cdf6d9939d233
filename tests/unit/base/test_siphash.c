/* The vectors of the authors (key 00 01 .. 0f, message 00 01 .. of each length). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/siphash.h"

static void the_vectors(void **state)
{
    (void)state;
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    static const uint64_t first = UINT64_C(0x0706050403020100);
    unsigned char rest[56];
    for (size_t i = 0; i < sizeof rest; i++)
        rest[i] = (unsigned char)(8 + i);
    static const struct {
        size_t len; /* of the whole message */
        uint64_t want;
    } cases[] = {
        {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)},
        {16, UINT64_C(0x3f2acc7f57c29bdb)},
        {63, UINT64_C(0x958a324ceb064572)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(siphash(key, first, rest, cases[i].len - 8), cases[i].want);
}

static void each_part_counts(void **state)
{
    (void)state;
    uint64_t key[2] = {1, 2}, other[2] = {1, 3};
    uint64_t h = siphash(key, 7, "abc", 3);
    assert_int_not_equal(h, siphash(other, 7, "abc", 3));
    assert_int_not_equal(h, siphash(key, 8, "abc", 3));
    assert_int_not_equal(h, siphash(key, 7, "abd", 3));
    assert_int_not_equal(h, siphash(key, 7, "abc\0", 4));
    assert_int_not_equal(h, siphash(key, 7, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors),
        cmocka_unit_test(each_part_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
