/* test_keys.c - the index against a plain sorted array: 200,000 keys, lookups in between, undone transactions, restarts. */
#include "tests/coordinator/kit.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/keys.h"
#include "coordinator/sql.h"

enum { COUNT = 200000, GROUP = 500 };

static struct digest key_at(uint32_t i) {
    return digest_of(&i, sizeof i);
}

static void check(struct keys *keys, uint32_t i, bool want) {
    struct digest key = key_at(i);
    struct error error;
    bool found;
    uint64_t place = 0;
    assert_ok(keys_find(&found, &place, keys, &key, &error), error);
    assert_int_equal(found, want);
    if (want)
        assert_int_equal(place, (uint64_t)i * 3);
}

static void add_group(struct keys *keys, sqlite3 *db, uint32_t first, uint64_t batch, bool keep) {
    struct error error;
    assert_ok(sql_run(db, "BEGIN", &error), error);
    for (uint32_t i = first; i < first + GROUP; i++) {
        struct digest key = key_at(i);
        keys_add(keys, &key, (uint64_t)i * 3);
    }
    assert_ok(keys_settle(keys, batch, &error), error);
    assert_ok(sql_run(db, keep ? "COMMIT" : "ROLLBACK", &error), error);
    if (keep)
        keys_keep(keys);
    else
        keys_undo(keys);
}

static int key_order(const void *a, const void *b) {
    return digest_compare(a, b);
}

struct collected {
    struct digest *keys;
    size_t count;
};

static void collect(void *context, const struct digest *key) {
    struct collected *collected = context;
    assert_true(collected->count < COUNT);
    collected->keys[collected->count++] = *key;
}

static void check_all(struct keys *keys) {
    struct collected have = { memory_get_array(COUNT, sizeof(struct digest)), 0 };
    struct digest *want = memory_get_array(COUNT, sizeof *want);
    struct error error;
    assert_ok(keys_each(keys, collect, &have, &error), error);
    assert_int_equal(have.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        want[i] = key_at(i);
    qsort(want, COUNT, sizeof *want, key_order);
    qsort(have.keys, COUNT, sizeof *want, key_order);
    assert_memory_equal(want, have.keys, COUNT * sizeof *want);
    free(want);
    free(have.keys);
}

static uint64_t runs_of(sqlite3 *db) {
    sqlite3_stmt *statement;
    struct error error;
    bool row;
    assert_ok(sql_prepare(&statement, db, "SELECT count(*) FROM runs", &error), error);
    assert_ok(sql_step(&row, statement, &error), error);
    uint64_t count = sql_u64(statement, 0);
    sqlite3_finalize(statement);
    return count;
}

/* What the ledger does after opening: keys of batches behind the last run. */
static struct keys *open_keys(sqlite3 *db, uint32_t up_to) {
    struct keys *keys;
    struct error error;
    assert_ok(keys_open(&keys, db, 2000, 8, &error), error);
    for (uint32_t i = (uint32_t)keys_covered(keys) * GROUP; i < up_to; i++) {
        struct digest key = key_at(i);
        keys_add(keys, &key, (uint64_t)i * 3);
    }
    keys_keep(keys);
    return keys;
}

static void test_against_a_plain_array(void **state) {
    sqlite3 *db;
    struct error error;
    uint64_t random = 5;
    bool more;
    (void)state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_ok(sql_run(db, keys_schema, &error), error);
    struct keys *keys = open_keys(db, 0);
    for (uint32_t group = 0; group < COUNT / GROUP; group++) {
        if (kit_random(&random, 5) == 0) {
            add_group(keys, db, group * GROUP, group + 1, false);
            check(keys, group * GROUP + (uint32_t)kit_random(&random, GROUP), false);
        }
        add_group(keys, db, group * GROUP, group + 1, true);
        if (kit_random(&random, 2))
            assert_ok(keys_tidy(&more, keys, &error), error);
        if (kit_random(&random, 25) == 0) { /* killed, perhaps in the middle of a merge */
            keys_close(keys);
            keys = open_keys(db, (group + 1) * GROUP);
        }
        for (int i = 0; i < 10; i++)
            check(keys, (uint32_t)kit_random(&random, (group + 1) * GROUP), true);
        check(keys, COUNT + group, false);
    }
    assert_int_equal(keys_count(keys), COUNT);
    do
        assert_ok(keys_tidy(&more, keys, &error), error);
    while (more);
    assert_true(runs_of(db) < 4 * KEYS_FANOUT);
    for (uint32_t i = 0; i < COUNT; i += 5)
        check(keys, i, true);
    check_all(keys);
    keys_close(keys);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_against_a_plain_array) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
