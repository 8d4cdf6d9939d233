/* The digest: the same for the same bytes however they come, another for others. */
#include "wire/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint64_t of(const char *data, size_t len)
{
    struct digest d = {0};
    digest_add(&d, data, len);
    return digest_of(&d);
}

static void pieces_do_not_count(void **state)
{
    (void)state;
    char data[64];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 37);
    for (size_t a = 0; a <= sizeof data; a++)
        for (size_t b = a; b <= sizeof data; b++) {
            struct digest d = {0};
            digest_add(&d, data, a);
            digest_add(&d, data + a, b - a);
            digest_add(&d, data + b, sizeof data - b);
            assert_true(digest_of(&d) == of(data, sizeof data));
        }
}

static void any_byte_counts(void **state)
{
    (void)state;
    char data[40] = {0};
    uint64_t zeros = of(data, sizeof data);
    for (size_t i = 0; i < sizeof data; i++)
        for (int bit = 0; bit < 8; bit++) {
            data[i] = (char)(1 << bit);
            assert_true(of(data, sizeof data) != zeros);
            data[i] = 0;
        }
    for (size_t len = 0; len < sizeof data; len++)
        assert_true(of(data, len) != zeros); /* zeros at the end, too */
}

static void the_order_counts(void **state)
{
    (void)state;
    assert_true(of("abcdefgh12345678", 16) != of("12345678abcdefgh", 16));
    assert_true(digest_join(1, 2) != digest_join(2, 1));
    assert_true(digest_join(0, 0) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_count),
        cmocka_unit_test(any_byte_counts),
        cmocka_unit_test(the_order_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
