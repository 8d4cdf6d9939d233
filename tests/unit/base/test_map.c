#include "base/alloc.h"
#include "base/map.h"
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void put_get_replace_remove(void **state)
{
    (void)state;
    struct map m = MAP_INIT;
    int one = 1, two = 2;
    assert_null(map_get(&m, "a"));
    assert_null(map_remove(&m, "a"));
    assert_null(map_put(&m, "a", &one));
    assert_null(map_put(&m, "", &two)); /* a key like any other */
    assert_ptr_equal(map_get(&m, "a"), &one);
    assert_ptr_equal(map_get(&m, ""), &two);
    assert_ptr_equal(map_put(&m, "a", &two), &one);
    assert_int_equal(m.len, 2);
    assert_ptr_equal(map_remove(&m, "a"), &two);
    assert_null(map_get(&m, "a"));
    assert_null(map_remove(&m, "a"));
    assert_int_equal(m.len, 1);
    map_release(&m);
    map_release(&m);
    assert_null(map_get(&m, "a"));
}

static void keys_are_copied(void **state)
{
    (void)state;
    struct map m = MAP_INIT;
    char key[] = "abc";
    map_put(&m, key, key);
    key[0] = 'X';
    assert_non_null(map_get(&m, "abc"));
    assert_null(map_get(&m, "Xbc"));
    map_release(&m);
}

static void it_walks_all_once(void **state)
{
    (void)state;
    struct map m = MAP_INIT;
    size_t at = 0;
    assert_false(map_next(&m, &at, NULL, NULL));
    char seen[500] = {0};
    for (uintptr_t i = 0; i < sizeof seen; i++) {
        char key[16];
        snprintf(key, sizeof key, "%zu", (size_t)i);
        map_put(&m, key, &seen[i]);
    }
    const char *key;
    void *value;
    size_t n = 0;
    for (size_t i = 0; map_next(&m, &i, &key, &value); n++) {
        assert_ptr_equal(value, &seen[atoi(key)]);
        (*(char *)value)++;
    }
    assert_int_equal(n, sizeof seen);
    for (size_t i = 0; i < sizeof seen; i++)
        assert_int_equal(seen[i], 1);
    map_release(&m);
}

/* Against a plain array: removing closes gaps, in runs that wrap around the end too. */
static void any_order_of_puts_and_removes(void **state)
{
    (void)state;
    enum { KEYS = 60 };
    void *model[KEYS] = {0};
    struct map m = MAP_INIT;
    uint32_t seed = 4711;
    size_t len = 0;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 1664525 + 1013904223;
        unsigned k = (seed >> 8) % KEYS;
        char key[16];
        snprintf(key, sizeof key, "key-%u", k);
        if ((seed >> 20) % 2 == 0) {
            assert_ptr_equal(map_put(&m, key, &model[i % KEYS]), model[k]);
            len += model[k] == NULL;
            model[k] = &model[i % KEYS];
        } else {
            assert_ptr_equal(map_remove(&m, key), model[k]);
            len -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_int_equal(m.len, len);
    }
    for (unsigned k = 0; k < KEYS; k++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", k);
        assert_ptr_equal(map_get(&m, key), model[k]);
    }
    map_release(&m);
}

static void a_growing_array(void **state)
{
    (void)state;
    struct {
        int *items;
        size_t len, cap;
    } v = {0};
    for (int i = 0; i < 1000; i++) {
        int *new = vec_push(&v);
        assert_int_equal(*new, 0);
        *new = i;
    }
    vec_remove(&v, 0);
    vec_remove(&v, v.len - 1);
    vec_remove(&v, 10);
    assert_int_equal(v.len, 997);
    assert_int_equal(v.items[0], 1);
    assert_int_equal(v.items[9], 10);
    assert_int_equal(v.items[10], 12);
    assert_int_equal(v.items[996], 998);
    vec_release(&v);
    assert_null(v.items);
    assert_int_equal(v.cap, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get_replace_remove), cmocka_unit_test(keys_are_copied),
        cmocka_unit_test(it_walks_all_once),      cmocka_unit_test(any_order_of_puts_and_removes),
        cmocka_unit_test(a_growing_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
