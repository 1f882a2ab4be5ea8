/* test_queue.c - taking, states, chunks, names, rates; ten million places. */
#include "tests/coordinator/kit.h"

#include <string.h>

#include "base/clock.h"

static const struct digest model = { { 1 } };

static void test_take_in_order(void **state) {
    struct queue queue;
    uint32_t index, budget = 1000;
    (void)state;
    queue_init(&queue);
    struct order *order = kit_order(&queue, 1, "a", kit_sweep("a frog", 0, 10, &model));
    order_set_done(order, 0);
    order_set_done(order, 1);
    order_set_failed(order, 3);
    assert_true(order_take(&index, order, &budget));
    assert_int_equal(index, 2);
    for (uint32_t want = 4; want < 10; want++) {
        assert_true(order_take(&index, order, &budget));
        assert_int_equal(index, want);
    }
    assert_false(order_take(&index, order, &budget));
    assert_false(order_may_have_untaken(order));
    assert_int_equal(order_waiting(order), 7);
    order_set_leased(order, 5, true);
    order_set_leased(order, 5, true);
    assert_int_equal(order->running, 1);
    assert_int_equal(order_job_state(order, 5), JOB_RUNNING);
    assert_true(order_set_done(order, 5));
    assert_false(order_set_done(order, 5)); /* twice is once */
    assert_int_equal(order->running, 0);
    assert_int_equal(order->done, 3);
    assert_true(order_set_done(order, 3)); /* a late picture of a failed job */
    assert_int_equal(order->failed, 0);
    assert_int_equal(order_waiting_before(order, 4), 1);
    order_untake(order);
    budget = 1000;
    assert_true(order_take(&index, order, &budget));
    assert_int_equal(index, 2);
    queue_release(&queue);
}

static void test_names(void **state) {
    struct queue queue;
    struct order *found;
    struct error error;
    char hex[DIGEST_HEX_SIZE];
    (void)state;
    queue_init(&queue);
    struct order *first = kit_order(&queue, 1, "frog", kit_sweep("a frog", 0, 10, &model));
    struct order *second = kit_order(&queue, 2, "frog", kit_sweep("a frog", 0, 20, &model));
    assert_ok(queue_find_word(&found, &queue, "frog", &error), error);
    assert_ptr_equal(found, second);
    first->touched = 3;
    assert_ok(queue_find_word(&found, &queue, "frog", &error), error);
    assert_ptr_equal(found, first);
    digest_hex(&second->id, hex);
    assert_ok(queue_find_word(&found, &queue, hex, &error), error);
    assert_ptr_equal(found, second);
    hex[8] = 0;
    assert_ok(queue_find_word(&found, &queue, hex, &error), error);
    assert_ptr_equal(found, second);
    hex[5] = 0;
    assert_int_equal(queue_find_word(&found, &queue, hex, &error), ERR_NOT_FOUND);
    assert_int_equal(queue_find_word(&found, &queue, "owl", &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "\"owl\""));
    assert_int_equal(queue.waiting, 30);
    first->state = SWEEP_CANCELLED;
    order_recount(first);
    assert_int_equal(queue.waiting, 20);
    second->job_cost = 3;
    order_recount(second);
    assert_true(queue.waiting_cost == 60);
    order_set_leased(second, 3, true);
    order_set_done(second, 4);
    order_set_failed(second, 5);
    assert_int_equal(queue.waiting, 17);
    assert_true(queue.waiting_cost == 51);
    order_untake(second);
    assert_int_equal(queue.waiting, 18);
    queue_release(&queue);
}

static void test_states_are_found(void **state) {
    struct queue queue;
    uint32_t budget = 1000;
    (void)state;
    queue_init(&queue);
    struct order *order = kit_order(&queue, 1, "a", kit_sweep("a frog", 0, 100, &model));
    order_set_done(order, 40);
    order_set_failed(order, 50);
    order_set_leased(order, 60, true);
    assert_int_equal(order_find_state(order, 0, JOB_DONE, &budget), 40);
    assert_int_equal(order_find_state(order, 41, JOB_DONE, &budget), 100);
    assert_int_equal(order_find_state(order, 0, JOB_FAILED, &budget), 50);
    assert_int_equal(order_find_state(order, 0, JOB_RUNNING, &budget), 60);
    assert_int_equal(order_find_state(order, 40, JOB_WAITING, &budget), 41);
    assert_int_equal(order_find_state(order, 40, 0, &budget), 40);
    budget = 5;
    assert_int_equal(order_find_state(order, 0, JOB_CANCELLED, &budget), 5);
    order->state = SWEEP_CANCELLED;
    budget = 5;
    assert_int_equal(order_find_state(order, 40, JOB_CANCELLED, &budget), 41);
    queue_release(&queue);
}

static void test_chunks_come_back(void **state) {
    struct queue queue;
    struct bytes done = BYTES_INIT, failed = BYTES_INIT;
    struct error error;
    const uint32_t also[] = { 65536 + 9, 65536 + 11 };
    (void)state;
    queue_init(&queue);
    struct order *order = kit_order(&queue, 1, "a", kit_sweep("a frog", 0, 200000, &model));
    for (uint32_t i = 65530; i < 65545; i++)
        order_set_done(order, i);
    order_chunk(&done, &failed, order, 1, also, 2, also, 0);
    assert_int_equal(failed.size, 0);
    struct order *copy = kit_order(&queue, 2, "b", kit_sweep("a frog", 0, 200000, &model));
    assert_ok(order_load_chunk(copy, 1, done.data, done.size, failed.data, failed.size, &error), error);
    assert_int_equal(copy->done, 11);
    assert_int_equal(order_job_state(copy, 65535), JOB_WAITING);
    assert_int_equal(order_job_state(copy, 65536), JOB_DONE);
    assert_int_equal(order_job_state(copy, 65536 + 9), JOB_DONE);
    assert_int_equal(order_job_state(copy, 65536 + 10), JOB_WAITING);
    struct order *small = kit_order(&queue, 3, "c", kit_sweep("a frog", 0, 65540, &model));
    assert_int_equal(order_load_chunk(small, 1, done.data, done.size, NULL, 0, &error), ERR_CORRUPT);
    assert_int_equal(order_load_chunk(copy, 1, "nonsense", 8, NULL, 0, &error), ERR_CORRUPT);
    bytes_release(&done);
    bytes_release(&failed);
    queue_release(&queue);
}

static void test_ten_million(void **state) {
    struct queue queue;
    uint32_t index, budget = UINT32_MAX;
    (void)state;
    queue_init(&queue);
    struct order *order = kit_order(&queue, 1, "a", kit_sweep("a frog", 0, 10000000, &model));
    for (uint32_t i = 0; i < 9999999; i++)
        if (i % 65536 != 7)
            order_set_done(order, i);
    uint64_t begin_ms = clock_monotonic_ms();
    for (uint32_t i = 7; i < 9999999; i += 65536) {
        assert_true(order_take(&index, order, &budget));
        assert_int_equal(index, i);
    }
    assert_true(order_take(&index, order, &budget));
    assert_int_equal(index, 9999999);
    assert_true(clock_monotonic_ms() - begin_ms < 20000); /* a bound that sanitizers keep too; measured 0.3 s */
    order_untake(order);
    for (uint32_t i = 7; i < 9999999; i += 65536)
        order_set_done(order, i);
    uint32_t before = budget = 70000; /* full chunks are passed over, not walked */
    while (order_take(&index, order, &budget))
        assert_true(index >= 9999999 - 9999999 % 65536);
    assert_true(budget < before && budget > 0);
    queue_release(&queue);
}

static void test_rate(void **state) {
    struct rate rate = { 0 };
    (void)state;
    assert_true(rate_per_second(&rate, 5000) == 0);
    for (uint64_t now_ms = 1000; now_ms <= 61000; now_ms += 100)
        rate_add(&rate, 1, now_ms);
    assert_true(rate_per_second(&rate, 61000) > 9.5 && rate_per_second(&rate, 61000) < 10.5);
    assert_true(rate_per_second(&rate, 101000) < 2.5);
    assert_true(rate_per_second(&rate, 1000000) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_in_order),    cmocka_unit_test(test_names),       cmocka_unit_test(test_states_are_found),
        cmocka_unit_test(test_chunks_come_back), cmocka_unit_test(test_ten_million), cmocka_unit_test(test_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
