/* test_lease.c - granting, renewing by progress, running out. */
#include "tests/coordinator/kit.h"

#include "coordinator/lease.h"

static struct flight *flight(uintptr_t number) {
    return (struct flight *)number; /* only compared, never looked into */
}

static void test_progress_renews(void **state) {
    struct lease_table table;
    struct worker *one = worker_create(1, "one"), *two = worker_create(2, "two");
    struct flight *flights[] = { flight(16), flight(32) };
    struct error error;
    (void)state;
    lease_table_init(&table, 7);
    struct lease *lease = lease_grant(&table, one, 3, flights, 2, 1000);
    assert_int_equal(lease->id, 7);
    uint64_t first_ms = lease->deadline_ms;
    assert_int_equal(first_ms, 1000 + lease_allowance_ms(PHASE_FETCH, 2));
    struct lease_progress progress = { 7, 3, PHASE_STEP, 1, 20 };
    assert_ok(lease_progress(&table, lease, &progress, 5000, &error), error);
    uint64_t second_ms = lease->deadline_ms;
    assert_int_equal(second_ms, 5000 + lease_allowance_ms(PHASE_STEP, 2));
    assert_ok(lease_progress(&table, lease, &progress, 9000, &error), error);
    assert_int_equal(lease->deadline_ms, second_ms); /* the same step again is no progress */
    progress.step = 2;
    assert_ok(lease_progress(&table, lease, &progress, 9000, &error), error);
    assert_int_equal(lease->deadline_ms, 4000 + second_ms);
    progress.epoch = 2;
    assert_int_equal(lease_progress(&table, lease, &progress, 9000, &error), ERR_STALE);
    assert_string_equal(error.message, "lease 7: it is at epoch 3, progress is of epoch 2");
    lease_table_release(&table);
    worker_destroy(one);
    worker_destroy(two);
}

static void test_waiting_leases_do_not_hang(void **state) {
    struct lease_table table;
    struct worker *one = worker_create(1, "one"), *two = worker_create(2, "two");
    struct flight *flights[] = { flight(16) };
    struct error error;
    (void)state;
    lease_table_init(&table, 1);
    struct lease *drawn = lease_grant(&table, one, 1, flights, 1, 1000);
    struct lease *behind = lease_grant(&table, one, 1, flights, 1, 2000);
    struct lease *other = lease_grant(&table, two, 1, flights, 1, 2000);
    uint64_t other_ms = other->deadline_ms;
    struct lease_progress progress = { drawn->id, 1, PHASE_STEP, 1, 20 };
    assert_ok(lease_progress(&table, drawn, &progress, 100000, &error), error);
    lease_extend_waiting(&table, one, 100000);
    assert_int_equal(behind->deadline_ms, drawn->deadline_ms);
    assert_int_equal(other->deadline_ms, other_ms);
    uint64_t until_ms = behind->deadline_ms;
    lease_extend_waiting(&table, one, 200000); /* nothing has moved since */
    assert_int_equal(behind->deadline_ms, until_ms);
    lease_table_release(&table);
    worker_destroy(one);
    worker_destroy(two);
}

static void test_runs_out(void **state) {
    struct lease_table table;
    struct worker *one = worker_create(1, "one"), *two = worker_create(2, "two");
    struct flight *flights[] = { flight(16) };
    (void)state;
    lease_table_init(&table, 1);
    assert_int_equal(lease_next_deadline_ms(&table), UINT64_MAX);
    struct lease *early = lease_grant(&table, one, 1, flights, 1, 1000);
    struct lease *late = lease_grant(&table, two, 1, flights, 1, 3000);
    assert_int_equal(lease_next_deadline_ms(&table), early->deadline_ms);
    assert_null(lease_expired(&table, early->deadline_ms - 1));
    assert_ptr_equal(lease_expired(&table, early->deadline_ms), early);
    assert_ptr_equal(lease_find(&table, late->id), late);
    lease_end(&table, early);
    assert_int_equal(lease_next_deadline_ms(&table), late->deadline_ms);
    assert_null(lease_find(&table, 1));
    lease_drop_flight(late, flight(99));
    assert_int_equal(late->count, 1);
    lease_drop_flight(late, flight(16));
    assert_int_equal(late->count, 0);
    lease_table_release(&table);
    worker_destroy(one);
    worker_destroy(two);
}

static void test_ids_and_workers(void **state) {
    enum { LEASES = 1000 };
    struct lease_table table;
    struct worker *one = worker_create(1, "one"), *two = worker_create(2, "two");
    struct lease *leases[LEASES];
    (void)state;
    lease_table_init(&table, 1);
    for (uintptr_t i = 0; i < LEASES; i++) {
        struct flight *flights[] = { flight(16 * (i + 1)), flight(16 * (i + 1) + 8) };
        leases[i] = lease_grant(&table, i % 4 ? one : two, 1, flights, 2, 1000 + (i * 7919) % 1000);
    }
    assert_int_equal(one->lease_count, 750);
    assert_int_equal(one->leased, 1500);
    assert_ptr_equal(two->leases, leases[0]);
    assert_ptr_equal(two->leases->next, leases[4]);
    for (uint64_t id = 1; id <= LEASES; id++)
        assert_ptr_equal(lease_find(&table, id), leases[id - 1]);
    struct flight *held[] = { flight(8) };
    struct lease *adopted = lease_adopt(&table, two, UINT64_C(5) << 40, 9, held, 1, 0);
    assert_ptr_equal(lease_find(&table, UINT64_C(5) << 40), adopted);
    assert_int_equal(adopted->epoch, 9);
    uint64_t last_ms = 0;
    for (size_t left = LEASES + 1; left; left--) { /* the earliest is the next to end */
        struct lease *first = lease_expired(&table, UINT64_MAX);
        assert_true(first->deadline_ms >= last_ms);
        assert_int_equal(lease_next_deadline_ms(&table), first->deadline_ms);
        last_ms = first->deadline_ms;
        lease_end(&table, first);
        assert_int_equal(table.count, left - 1);
    }
    assert_int_equal(one->leased + two->leased, 0);
    assert_null(one->leases);
    lease_table_release(&table);
    worker_destroy(one);
    worker_destroy(two);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_progress_renews), cmocka_unit_test(test_waiting_leases_do_not_hang),
                                        cmocka_unit_test(test_runs_out),
                                        cmocka_unit_test(test_ids_and_workers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
