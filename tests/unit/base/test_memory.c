/* arena and alloc: alignment, zeroes, big pieces, and what happens when memory is out. */
#include "base/alloc.h"
#include "base/arena.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

static void pieces_are_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    cleanup_arena struct arena a = ARENA_INIT;
    unsigned char *before = NULL;
    for (size_t size = 0; size < 3000; size += 7) {
        unsigned char *p = arena_alloc(&a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xAA, size);
        if (before != NULL)
            assert_int_equal(before[0], 0xAA); /* not written over */
        before = size > 0 ? p : before;
    }
}

static void big_pieces_have_their_own_place(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    char *small = arena_strdup(&a, "small");
    char *big = arena_alloc(&a, 10 << 20);
    big[(10 << 20) - 1] = 'x';
    char *after = arena_strdup(&a, "after");
    assert_string_equal(small, "small");
    assert_string_equal(after, "after");
    arena_release(&a);
    assert_null(a.head);
    arena_release(&a);
    assert_string_equal(arena_strdup(&a, "again"), "again");
    arena_release(&a);
}

static void strings(void **state)
{
    (void)state;
    cleanup_arena struct arena a = ARENA_INIT;
    assert_null(arena_strdup(&a, NULL));
    assert_string_equal(arena_strdup(&a, ""), "");
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(&a, "", 0), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    char *long_one = arena_printf(&a, "%09000d", 1);
    assert_int_equal(strlen(long_one), 9000);
    assert_null(xstrdup(NULL));
    cleanup_free char *n = xstrndup("abc", 2);
    assert_string_equal(n, "ab");
    cleanup_free char *f = xasprintf("%d", 3);
    char *taken = take_ptr(&f);
    assert_null(f);
    assert_string_equal(taken, "3");
    free(taken);
}

/* In a process of its own: gives the signal that ended it. */
static int fate_of(void (*act)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        act();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void overflow_calloc(void)
{
    free(xcalloc(SIZE_MAX / 2, 3));
}
static void overflow_realloc(void)
{
    free(xrealloc(NULL, SIZE_MAX / 2, 3));
}
static void overflow_arena(void)
{
    struct arena a = ARENA_INIT;
    arena_alloc(&a, SIZE_MAX / 2);
}

static void too_much_aborts(void **state)
{
    (void)state;
    assert_int_not_equal(fate_of(overflow_arena), 0);
#ifndef __SANITIZE_ADDRESS__ /* which has its own word about it */
    assert_int_equal(fate_of(overflow_calloc), SIGABRT);
    assert_int_equal(fate_of(overflow_realloc), SIGABRT);
#else
    (void)overflow_calloc;
    (void)overflow_realloc;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_zeroed_and_apart),
        cmocka_unit_test(big_pieces_have_their_own_place),
        cmocka_unit_test(strings),
        cmocka_unit_test(too_much_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
