/*
 * store_suite.c - what every kind of store must do, written once and run for each.
 */
#include "tests/store/store_suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/store/sample.h"

struct fixture {
    bool in_memory;
    char *folder;
    struct store *store;
};

static int set_up(void **state) {
    struct fixture *fixture = memory_get(sizeof *fixture);
    struct error error;
    fixture->in_memory = *state != NULL;
    fixture->folder = fixture->in_memory ? NULL : folder_make();
    assert_ok(store_open(&fixture->store, fixture->in_memory ? "mem:" : fixture->folder, &error));
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    store_close(fixture->store);
    if (fixture->folder)
        folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static struct store *store_of(void **state) {
    return ((struct fixture *)*state)->store;
}

static void an_empty_store_has_nothing(void **state) {
    struct store *store = store_of(state);
    struct digest digest = digest_of("frog", 4);
    struct bytes out = BYTES_INIT;
    struct error error;
    uint64_t size = 7;
    assert_false(store_has(store, &digest));
    assert_error(store_size(&size, store, &digest, &error), ERR_NOT_FOUND, "it has no object");
    assert_int_equal(size, 7);
    assert_error(store_get(&out, store, &digest, 100, &error), ERR_NOT_FOUND, "it has no object");
    assert_error(store_read(&out, store, &digest, 0, 1, &error), ERR_NOT_FOUND, "it has no object");
    assert_int_equal(out.size, 0);
    assert_ok(store_put(store, NULL, 0, &error));
    assert_true(store_free_bytes(store) > 0);
}

static void what_is_put_is_there(void **state) {
    enum { COUNT = 40 };
    struct store *store = store_of(state);
    struct store_item items[COUNT];
    struct error error;
    for (uint64_t i = 0; i < COUNT; i++)
        items[i] = sample_item(i);
    assert_ok(store_put(store, items, COUNT, &error));
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t size;
        assert_true(store_has(store, &items[i].digest));
        assert_ok(store_size(&size, store, &items[i].digest, &error));
        assert_int_equal(size, items[i].size);
        assert_sample(store, i);
    }
    sample_release(items, COUNT);
}

static void the_empty_object_is_an_object(void **state) {
    struct store *store = store_of(state);
    struct store_item item = { digest_of("", 0), NULL, 0 };
    struct bytes out = BYTES_INIT;
    struct error error;
    assert_ok(store_put(store, &item, 1, &error));
    assert_true(store_has(store, &item.digest));
    assert_ok(store_get(&out, store, &item.digest, 0, &error));
    assert_int_equal(out.size, 0);
    bytes_release(&out);
}

static void the_same_again_is_fine(void **state) {
    struct store *store = store_of(state);
    struct store_item items[4] = { sample_item(1), sample_item(2), sample_item(1), sample_item(4) };
    struct error error;
    uint64_t checked;
    assert_ok(store_put(store, items, 3, &error)); /* twice in one group */
    assert_ok(store_put(store, items, 4, &error)); /* mostly there */
    assert_ok(store_put(store, items, 4, &error)); /* all there */
    assert_ok(store_verify(&checked, store, NULL, NULL, &error));
    assert_int_equal(checked, 3);
    sample_release(items, 4);
}

static void a_limit_is_held(void **state) {
    struct store *store = store_of(state);
    struct store_item item = { digest_of("twelve bytes", 12), "twelve bytes", 12 };
    struct bytes out = BYTES_INIT;
    struct error error;
    assert_ok(store_put(store, &item, 1, &error));
    assert_error(store_get(&out, store, &item.digest, 11, &error), ERR_LIMIT, "11", "12");
    assert_int_equal(out.size, 0);
    assert_ok(store_get(&out, store, &item.digest, 12, &error));
    assert_string_equal(bytes_text(&out), "twelve bytes");
    assert_ok(store_get(&out, store, &item.digest, 12, &error)); /* appends */
    assert_string_equal(bytes_text(&out), "twelve bytestwelve bytes");
    bytes_release(&out);
}

static void pieces_are_read(void **state) {
    struct store *store = store_of(state);
    struct store_item item = { digest_of("0123456789", 10), "0123456789", 10 };
    struct bytes out = BYTES_INIT;
    struct error error;
    assert_ok(store_put(store, &item, 1, &error));
    assert_ok(store_read(&out, store, &item.digest, 3, 4, &error));
    assert_ok(store_read(&out, store, &item.digest, 8, 100, &error));
    assert_ok(store_read(&out, store, &item.digest, 10, 5, &error));
    assert_ok(store_read(&out, store, &item.digest, UINT64_MAX, SIZE_MAX, &error));
    assert_ok(store_read(&out, store, &item.digest, 0, SIZE_MAX, &error));
    assert_string_equal(bytes_text(&out), "3456890123456789");
    bytes_release(&out);
}

struct seen {
    struct digest last;
    size_t count, stop_at;
    uint64_t bytes;
};

static bool see(void *context, const struct digest *digest, uint64_t size) {
    struct seen *seen = context;
    if (seen->count)
        assert_true(digest_compare(&seen->last, digest) < 0);
    seen->last = *digest;
    seen->bytes += size;
    return ++seen->count != seen->stop_at;
}

static void a_list_is_in_order(void **state) {
    enum { COUNT = 100 };
    struct store *store = store_of(state);
    struct store_item items[COUNT];
    struct seen all = { 0 }, some = { .stop_at = 7 }, none = { 0 };
    struct error error;
    uint64_t bytes = 0;
    assert_ok(store_list(store, see, &none, &error));
    assert_int_equal(none.count, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i] = sample_item(i);
        bytes += items[i].size;
    }
    assert_ok(store_put(store, items, COUNT, &error));
    assert_ok(store_list(store, see, &all, &error));
    assert_int_equal(all.count, COUNT);
    assert_int_equal(all.bytes, bytes);
    assert_ok(store_list(store, see, &some, &error));
    assert_int_equal(some.count, 7);
    sample_release(items, COUNT);
}

static void uploads_commit_when_right(void **state) {
    struct store *store = store_of(state);
    struct store_item item = sample_item(5);
    struct store_upload *upload;
    struct error error;
    for (int again = 0; again < 2; again++) {
        assert_ok(store_upload_begin(&upload, store, &item.digest, item.size, &error));
        for (size_t at = 0; at < item.size; at += 1000) {
            size_t size = item.size - at < 1000 ? item.size - at : 1000;
            assert_ok(store_upload_add(upload, (const uint8_t *)item.data + at, size, &error));
            assert_true(again || !store_has(store, &item.digest));
        }
        assert_ok(store_upload_commit(upload, &error));
        assert_sample(store, 5);
    }
    sample_release(&item, 1);
}

static void uploads_that_are_wrong_leave_nothing(void **state) {
    struct store *store = store_of(state);
    struct store_item item = { digest_of("frogs", 5), "frogs", 5 };
    struct store_upload *upload;
    struct error error;
    assert_ok(store_upload_begin(&upload, store, &item.digest, 5, &error));
    assert_ok(store_upload_add(upload, "fro", 3, &error));
    assert_error(store_upload_add(upload, "gs!", 3, &error), ERR_LIMIT, "want 5", "6 came");
    assert_error(store_upload_commit(upload, &error), ERR_CORRUPT, "want 5", "only 3");
    assert_ok(store_upload_begin(&upload, store, &item.digest, 5, &error));
    assert_ok(store_upload_add(upload, "toads", 5, &error));
    assert_error(store_upload_commit(upload, &error), ERR_CORRUPT, "the digest");
    assert_ok(store_upload_begin(&upload, store, &item.digest, 5, &error));
    assert_ok(store_upload_add(upload, "frogs", 5, &error));
    store_upload_abort(upload);
    store_upload_abort(NULL);
    assert_false(store_has(store, &item.digest));
}

static void an_upload_may_lose_the_race(void **state) {
    struct store *store = store_of(state);
    struct store_item item = { digest_of("frogs", 5), "frogs", 5 };
    struct store_upload *a, *b;
    struct error error;
    assert_ok(store_upload_begin(&a, store, &item.digest, 5, &error));
    assert_ok(store_upload_begin(&b, store, &item.digest, 5, &error));
    assert_ok(store_upload_add(a, "frogs", 5, &error));
    assert_ok(store_upload_add(b, "frogs", 5, &error));
    assert_ok(store_put(store, &item, 1, &error));
    assert_ok(store_upload_commit(a, &error));
    assert_ok(store_upload_commit(b, &error));
    assert_true(store_has(store, &item.digest));
}

/* ---- threads ---------------------------------------------------------------------------------------------------------- */

enum { POOL = 48, WRITERS = 3, READERS = 3, ROUNDS = 25, GROUP = 6 };

struct crowd {
    struct store *store;
    struct store_item pool[POOL];
    atomic_bool written[POOL]; /* some put of it has returned */
    atomic_uint next, failures;
};

static void *write_some(void *context) {
    struct crowd *crowd = context;
    unsigned random = atomic_fetch_add(&crowd->next, 1) * 7919;
    for (int round = 0; round < ROUNDS; round++) {
        struct store_item group[GROUP];
        unsigned which[GROUP];
        for (int i = 0; i < GROUP; i++) {
            random = random * 1103515245 + 12345;
            which[i] = (random >> 16) % POOL;
            group[i] = crowd->pool[which[i]];
        }
        if (store_put(crowd->store, group, GROUP, NULL))
            crowd->failures++;
        for (int i = 0; i < GROUP; i++)
            crowd->written[which[i]] = true;
    }
    return NULL;
}

static void *upload_some(void *context) {
    struct crowd *crowd = context;
    for (int i = 0; i < ROUNDS; i++) {
        const struct store_item *item = &crowd->pool[i % POOL];
        struct store_upload *upload;
        if (store_upload_begin(&upload, crowd->store, &item->digest, item->size, NULL)) {
            crowd->failures++;
            continue;
        }
        if (store_upload_add(upload, item->data, item->size, NULL))
            crowd->failures++;
        if (store_upload_commit(upload, NULL))
            crowd->failures++;
        crowd->written[i % POOL] = true;
    }
    return NULL;
}

static void *read_some(void *context) {
    struct crowd *crowd = context;
    unsigned random = atomic_fetch_add(&crowd->next, 1) * 7919;
    for (int round = 0; round < 20 * ROUNDS; round++) {
        struct bytes out = BYTES_INIT;
        random = random * 1103515245 + 12345;
        unsigned which = (random >> 16) % POOL;
        const struct store_item *item = &crowd->pool[which];
        bool written = crowd->written[which];
        enum err err = store_get(&out, crowd->store, &item->digest, 1 << 20, NULL);
        if (err != ERR_OK && (written || err != ERR_NOT_FOUND))
            crowd->failures++;
        if (err == ERR_OK && (out.size != item->size || memcmp(out.data, item->data, out.size) != 0))
            crowd->failures++;
        bytes_release(&out);
    }
    return NULL;
}

static void threads_share_a_store(void **state) {
    struct crowd *crowd = memory_get(sizeof *crowd);
    pthread_t threads[WRITERS + READERS + 1];
    struct seen seen = { 0 };
    struct error error;
    crowd->store = store_of(state);
    for (uint64_t i = 0; i < POOL; i++)
        crowd->pool[i] = sample_item(i);
    for (int i = 0; i < WRITERS + READERS + 1; i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < WRITERS ? write_some : i < WRITERS + READERS ? read_some : upload_some, crowd), 0);
    for (int i = 0; i < WRITERS + READERS + 1; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(crowd->failures, 0);
    for (uint64_t i = 0; i < POOL; i++)
        if (crowd->written[i])
            assert_sample(crowd->store, i);
    assert_ok(store_list(crowd->store, see, &seen, &error));
    assert_true(seen.count > POOL / 2 && seen.count <= POOL);
    sample_release(crowd->pool, POOL);
    free(crowd);
}

int store_suite_run(bool in_memory) {
    static char memory_wanted;
    struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_store_has_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_put_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_empty_object_is_an_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_again_is_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pieces_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_is_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(uploads_commit_when_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(uploads_that_are_wrong_leave_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_upload_may_lose_the_race, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_share_a_store, set_up, tear_down),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = in_memory ? &memory_wanted : NULL;
    return cmocka_run_group_tests_name(in_memory ? "store mem" : "store fs", tests, NULL, NULL);
}
