#include "fixture.h"

static int64_t number(sqlite3 *db, const char *sql)
{
    int64_t value = -1;
    assert_int_equal(schema_number(db, "x.db", sql, -1, &value, NULL), 0);
    return value;
}

static sqlite3 *memory(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    return db;
}

static void from_nothing_to_the_last_version(void **state)
{
    (void)state;
    sqlite3 *db = memory();
    assert_int_equal(schema_migrate(db, "x.db", schema_migrations(), NULL), 0);
    assert_int_equal(number(db, "PRAGMA user_version"), schema_migrations().len);
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND "
                                "name NOT LIKE 'sqlite_%' AND sql NOT LIKE '%STRICT'"),
                     0);
    assert_int_equal(schema_migrate(db, "x.db", schema_migrations(), NULL), 0); /* again: nothing */
    sqlite3_close(db);
}

/* Every column that the code knows is one of the schema, and the other way round. */
static void the_tables_are_those_of_the_schema(void **state)
{
    (void)state;
    sqlite3 *db = memory();
    assert_int_equal(schema_migrate(db, "x.db", schema_migrations(), NULL), 0);
    for (int t = 0; t < TABLES_COUNT; t++) {
        const struct table *table = table_of((enum table_id)t);
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s')", table->name);
        assert_int_equal(number(db, sql), table->columns_len);
        cleanup_buf struct buf text = BUF_INIT;
        sqlite3_stmt *statement = NULL;
        table_select_sql(table, &text);
        assert_int_equal(sqlite3_prepare_v2(db, buf_str(&text), -1, &statement, NULL), SQLITE_OK);
        sqlite3_finalize(statement);
        buf_clear(&text);
        table_put_sql(table, &text);
        assert_int_equal(sqlite3_prepare_v2(db, buf_str(&text), -1, &statement, NULL), SQLITE_OK);
        sqlite3_finalize(statement);
    }
    static const char *const fixed[] = {
#define X(name, sql, must_change) sql,
        STATEMENTS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        sqlite3_stmt *statement = NULL;
        if (sqlite3_prepare_v2(db, fixed[i], -1, &statement, NULL) != SQLITE_OK)
            fail_msg("%s: %s", fixed[i], sqlite3_errmsg(db));
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
}

static void a_step_that_fails_leaves_the_version_before_it(void **state)
{
    (void)state;
    static const char *const first[] = {"CREATE TABLE a (x); INSERT INTO a VALUES (1)"};
    static const char *const all[] = {
        "CREATE TABLE a (x); INSERT INTO a VALUES (1)",
        "ALTER TABLE a ADD COLUMN y DEFAULT 7",
        "CREATE TABLE b (x); INSERT INTO b VALUES (1); INSERT INTO none VALUES (1)",
    };
    sqlite3 *db = memory();
    assert_int_equal(schema_migrate(db, "x.db", (struct migrations){first, 1}, NULL), 0);
    struct error err = ERROR_INIT;
    assert_int_equal(schema_migrate(db, "x.db", (struct migrations){all, 3}, &err), -1);
    assert_non_null(strstr(err.text, "schema 3"));
    assert_non_null(strstr(err.text, "x.db"));
    assert_int_equal(number(db, "PRAGMA user_version"), 2); /* the second went through */
    assert_int_equal(number(db, "SELECT y FROM a"), 7);
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'"), 0);
    assert_true(sqlite3_get_autocommit(db));
    assert_int_equal(schema_migrate(db, "x.db", (struct migrations){first, 1}, &err), -1);
    assert_non_null(strstr(err.text, "newer sluice"));
    sqlite3_close(db);
}

/* A data folder of the first schema: its rows stay, what they could not hold yet is "not known". */
static void a_database_of_the_first_schema_is_brought_up(void **state)
{
    (void)state;
    struct folder f;
    struct error err = ERROR_INIT;
    folder_make(&f);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f.db, &db), SQLITE_OK);
    struct migrations first = {schema_migrations().steps, 1};
    assert_int_equal(schema_migrate(db, f.db, first, &err), 0);
    assert_int_equal(
        sqlite3_exec(db,
                     "INSERT INTO app VALUES ('shop@production', 'shop', 'production', '{}', '{}',"
                     " 8, 1);"
                     "INSERT INTO release VALUES ('shop@production', 7, '1.0', '{}', 'aa', '', '',"
                     " '', 0, 5, 'ada', 'promoted', '/x/7')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    struct store *store = open_in(&f);
    cleanup_arena struct arena arena = ARENA_INIT;
    struct store_release r;
    assert_int_equal(store_read_release(store, "shop@production", 7, &arena, &r, &err), 1);
    assert_string_equal(r.version, "1.0");
    assert_int_equal(r.status, RELEASE_PROMOTED);
    assert_string_equal(r.dir, "/x/7");
    assert_int_equal(r.bytes, -1);
    struct store_batch *batch = store_batch_new(store);
    r.bytes = 4096;
    batch_put_release(batch, &r);
    assert_int_equal(submit_wait(store, batch, NULL), STORE_OK);
    assert_int_equal(store_read_release(store, "shop@production", 7, &arena, &r, &err), 1);
    assert_int_equal(r.bytes, 4096);
    store_close(store);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_nothing_to_the_last_version),
        cmocka_unit_test(the_tables_are_those_of_the_schema),
        cmocka_unit_test(a_database_of_the_first_schema_is_brought_up),
        cmocka_unit_test(a_step_that_fails_leaves_the_version_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
