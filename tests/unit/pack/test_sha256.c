/* The vectors of FIPS 180-4 (and NIST's longer ones), whole and in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sha256.h"

#include <string.h>

static void expect(const char *text, size_t times, size_t piece, const char *digest)
{
    struct sha256 s;
    char hex[SHA256_HEX];
    size_t len = strlen(text);
    sha256_init(&s);
    for (size_t n = 0; n < times; n++)
        for (size_t at = 0; at < len; at += piece)
            sha256_add(&s, text + at, len - at < piece ? len - at : piece);
    sha256_end_hex(&s, hex);
    assert_string_equal(hex, digest);
}

static void the_vectors_of_the_standard(void **state)
{
    (void)state;
    expect("", 1, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect("abc", 1, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    const char *long_one =
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnop"
        "jklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    for (size_t piece = 1; piece <= 64; piece++) {
        expect(two_blocks, 1, piece,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        expect(long_one, 1, piece,
               "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    }
    expect("aaaaaaaaaa", 100000, 10,
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_vectors_of_the_standard)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
