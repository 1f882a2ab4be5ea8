/* test_failures.c - who is charged for what fails: jobs, workers, or nobody. */
#include "tests/coordinator/kit_farm.h"

/* `worker` draws one job and fails it; its key. */
static struct digest fail_one(struct farm *farm, uint32_t worker) {
    struct lease *lease = farm_grant(farm, worker, 1);
    assert_non_null(lease);
    struct digest key = lease->flights[0]->key;
    schedule_fail(&farm->scheduler, farm->workers[worker - 1], lease->id, &key, ERR_NUMERIC, "not a number", farm->now_ms);
    return key;
}

static void test_three_distinct_workers(void **state) {
    struct farm farm;
    struct why why;
    (void)state;
    farm_init(&farm, 4, 1);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    farm_pages(&farm, 1);
    struct digest key = fail_one(&farm, 1);
    const struct flight *flight = schedule_find(&farm.scheduler, &key);
    assert_int_equal(flight->state, FLIGHT_BACK_OFF);
    assert_int_equal(schedule_next_ms(&farm.scheduler, farm.now_ms), farm.now_ms + 1000);
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_BACK_OFF);
    assert_int_equal(why.until_ms, farm.now_ms + 1000);
    assert_int_equal(why.failed_it, 1);
    assert_null(farm_grant(&farm, 2, 1));
    farm.now_ms += 999;
    assert_null(farm_grant(&farm, 2, 1));
    farm.now_ms += 1;
    assert_null(farm_grant(&farm, 1, 1)); /* elsewhere first */
    /* It connects again: the same worker still. */
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
    farm_here(&farm, 1, 1, 0, 0);
    assert_null(farm_grant(&farm, 1, 1));
    fail_one(&farm, 2);
    assert_int_equal(flight->distinct, 2);
    farm.now_ms += 1999; /* twice as long */
    assert_null(farm_grant(&farm, 3, 1));
    farm.now_ms += 1;
    struct lease *lease = farm_grant(&farm, 3, 1);
    schedule_trouble(&farm.scheduler, farm.workers[2], lease->id, ERR_IO, "its disk", farm.now_ms); /* no charge */
    assert_int_equal(flight->attempts, 2);
    fail_one(&farm, 3);
    assert_int_equal(farm.scheduler.loss_count, 1);
    assert_int_equal(farm.scheduler.losses[0].code, ERR_NUMERIC);
    assert_string_equal(farm.scheduler.losses[0].text, "not a number");
    assert_int_equal(farm.scheduler.flight_count, 0);
    assert_int_equal(order->running, 0);
    farm_settle(&farm);
    assert_int_equal(order->failed, 1);
    assert_true(order_is_finished(order));
    farm_release(&farm);
}

static void test_reconnecting_worker_counts_once(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 3, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    farm_pages(&farm, 1);
    struct digest key = fail_one(&farm, 1);
    for (int i = 0; i < 5; i++) { /* the only one that is here: it may try again, and counts once */
        schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms);
        schedule_worker_gone(&farm.scheduler, farm.workers[2], farm.now_ms);
        schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
        farm.now_ms += 60000;
        farm_here(&farm, 1, 1, 0, 0);
        struct lease *lease = farm_grant(&farm, 1, 1);
        farm_here(&farm, 2, 1, 0, 0);
        farm_here(&farm, 3, 1, 0, 0);
        schedule_fail(&farm.scheduler, farm.workers[0], lease->id, &key, ERR_NUMERIC, "NaN", farm.now_ms);
        assert_int_equal(farm.scheduler.loss_count, 0);
        assert_int_equal(schedule_find(&farm.scheduler, &key)->distinct, 1);
        assert_int_equal(schedule_find(&farm.scheduler, &key)->attempts, 2 + i);
    }
    farm_release(&farm);
}

static void test_single_worker_ends_a_poison_job(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 1);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    farm_pages(&farm, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(farm.scheduler.loss_count, 0);
        fail_one(&farm, 1);
        farm.now_ms += 60000;
    }
    assert_int_equal(farm.scheduler.loss_count, 1);
    assert_int_equal(farm.workers[0]->benched_until_ms, 0); /* one job is not three */
    farm_settle(&farm);
    assert_int_equal(order->failed, 1);
    farm_release(&farm);
}

static void test_absence_fails_no_job(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    farm_pages(&farm, 1);
    struct digest key = fail_one(&farm, 1);
    schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms);
    farm.now_ms += 60000;
    struct lease *lease = farm_grant(&farm, 1, 1);
    farm_here(&farm, 2, 1, 0, 0);
    schedule_fail(&farm.scheduler, farm.workers[0], lease->id, &key, ERR_NUMERIC, "NaN", farm.now_ms);
    schedule_find(&farm.scheduler, &key)->attempts = ATTEMPTS_LIMIT; /* and the other one has yet to try */
    farm.now_ms += 60000;
    assert_non_null(farm_grant(&farm, 2, 1));
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms); /* the network is gone, for all */
    schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms);
    assert_int_equal(farm.scheduler.loss_count, 0);
    farm_here(&farm, 2, 1, 0, 0);
    assert_non_null(farm_grant(&farm, 2, 1));
    farm_release(&farm);
}

static void test_bench_and_probation(void **state) {
    struct farm farm;
    struct why why;
    struct digest keys[3];
    (void)state;
    farm_init(&farm, 2, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 100, &frog_model));
    farm_pages(&farm, 100);
    struct worker *bad = farm.workers[0];
    for (int i = 0; i < 3; i++) {
        assert_false(worker_is_benched(bad, farm.now_ms));
        keys[i] = fail_one(&farm, 1);
    }
    assert_true(worker_is_benched(bad, farm.now_ms));
    assert_int_equal(bad->benched_until_ms, farm.now_ms + 10000);
    assert_string_equal(bad->bench_reason, "not a number");
    for (int i = 0; i < 3; i++)
        assert_int_equal(schedule_find(&farm.scheduler, &keys[i])->attempts, 0); /* not to blame */
    assert_null(farm_grant(&farm, 1, 1));
    schedule_why_worker(&why, &farm.scheduler, bad, farm.now_ms);
    assert_int_equal(why.rule, WHY_BENCHED);
    assert_int_equal(why.until_ms, farm.now_ms + 10000);
    assert_int_equal(schedule_next_ms(&farm.scheduler, farm.now_ms), farm.now_ms + 1000); /* the back-offs */
    /* Gone and back: benched still. */
    schedule_worker_gone(&farm.scheduler, bad, farm.now_ms);
    farm_here(&farm, 1, 1, 0, 0);
    farm.now_ms += 9999;
    assert_null(farm_grant(&farm, 1, 1));
    farm.now_ms += 1;
    /* Probation: one job at a time; it fails: twice as long, and the job is charged. */
    struct lease *lease = farm_grant(&farm, 1, 64);
    assert_int_equal(lease->count, 1);
    assert_null(farm_grant(&farm, 1, 64));
    schedule_why_worker(&why, &farm.scheduler, bad, farm.now_ms);
    assert_int_equal(why.rule, WHY_PROBATION);
    struct digest key = lease->flights[0]->key;
    schedule_fail(&farm.scheduler, bad, lease->id, &key, ERR_NUMERIC, "again", farm.now_ms);
    assert_int_equal(bad->benched_until_ms, farm.now_ms + 20000);
    assert_int_equal(schedule_find(&farm.scheduler, &key)->attempts, 1);
    farm.now_ms += 20000;
    lease = farm_grant(&farm, 1, 64);
    key = lease->flights[0]->key;
    farm_deliver(&farm, 1, &key, 10); /* a success ends it all */
    assert_false(bad->probation);
    assert_null(bad->bench_reason);
    for (int i = 0; i < 3; i++)
        fail_one(&farm, 1);
    assert_int_equal(bad->benched_until_ms, farm.now_ms + 10000); /* and the next time is the first time */
    for (int i = 0; i < 10; i++) {
        farm.now_ms = bad->benched_until_ms;
        fail_one(&farm, 1);
    }
    assert_int_equal(bad->benched_until_ms, farm.now_ms + BENCH_MOST_MS);
    farm_release(&farm);
}

static void test_success_between_keeps_off_the_bench(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 4, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 100, &frog_model));
    farm_pages(&farm, 100);
    for (int i = 0; i < 4; i++) {
        fail_one(&farm, 1);
        fail_one(&farm, 1);
        struct digest key = farm_grant(&farm, 1, 1)->flights[0]->key;
        farm_deliver(&farm, 1, &key, 10);
    }
    assert_int_equal(farm.workers[0]->benched_until_ms, 0);
    farm_release(&farm);
}

static void test_jobs_that_fail_everywhere_bench_nobody(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 4, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
    farm_pages(&farm, 4);
    /* Two workers fail two jobs each, then each other's: the jobs are to blame, and the rows are empty again. */
    fail_one(&farm, 1);
    fail_one(&farm, 1);
    fail_one(&farm, 2);
    fail_one(&farm, 2);
    assert_int_equal(farm.workers[0]->row_count, 2);
    farm.now_ms += 1000;
    fail_one(&farm, 1);
    fail_one(&farm, 1);
    assert_int_equal(farm.workers[0]->row_count, 2);
    assert_int_equal(farm.workers[1]->row_count, 0);
    fail_one(&farm, 2);
    fail_one(&farm, 2);
    assert_int_equal(farm.workers[0]->row_count, 0);
    farm.now_ms += 2000;
    for (int i = 0; i < 4; i++)
        fail_one(&farm, 3);
    assert_int_equal(farm.scheduler.loss_count, 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(farm.workers[i]->benches, 0);
    farm_release(&farm);
}

static void test_own_trouble_benches_too(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 100, &frog_model));
    farm_pages(&farm, 100);
    struct worker *bad = farm.workers[0];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bad->benches, 0);
        struct lease *one = farm_grant(&farm, 1, 4), *two = farm_grant(&farm, 1, 4);
        struct digest key = one->flights[0]->key;
        uint64_t ids[] = { one->id, two->id };
        schedule_trouble(&farm.scheduler, bad, ids[0], ERR_IO, "the device is gone", farm.now_ms);
        schedule_trouble(&farm.scheduler, bad, ids[1], ERR_IO, "the device is gone", farm.now_ms); /* the same trouble */
        assert_int_equal(schedule_find(&farm.scheduler, &key)->attempts, 0);
        assert_int_equal(schedule_find(&farm.scheduler, &key)->state, FLIGHT_READY);
        farm.now_ms += 10;
    }
    assert_int_equal(bad->benches, 1);
    assert_string_equal(bad->bench_reason, "the device is gone");
    /* Losing leases with its connection counts; leaving without one does not. */
    for (int i = 0; i < 5; i++) {
        schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms += 10);
        farm_here(&farm, 2, 4, 0, 0);
    }
    assert_int_equal(farm.workers[1]->row_count, 0);
    farm_grant(&farm, 2, 4);
    farm_grant(&farm, 2, 4);
    schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms += 10);
    assert_int_equal(farm.workers[1]->row_count, 1);
    assert_int_equal(farm.scheduler.leases.count, 0);
    assert_int_equal(farm.workers[1]->leased, 0);
    assert_int_equal(farm.scheduler.revoke_count, 0); /* there is nobody to tell */
    farm_release(&farm);
}

/* Whoever dies of what it has reported dies with a lease more in its hands. */
static void test_reason_outlives_the_connection(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 100, &frog_model));
    farm_pages(&farm, 100);
    struct worker *bad = farm.workers[0];
    for (int i = 0; i < 3; i++) {
        struct lease *one = farm_grant(&farm, 1, 4);
        assert_non_null(farm_grant(&farm, 1, 4));
        if (i == 0)
            schedule_trouble(&farm.scheduler, bad, one->id, ERR_DEVICE, "the device is gone", farm.now_ms);
        schedule_worker_gone(&farm.scheduler, bad, farm.now_ms += 10);
        farm_here(&farm, 1, 4, 0, 0);
        if (bad->benches)
            break;
    }
    assert_int_equal(bad->benches, 1);
    assert_string_equal(bad->bench_reason, "it was lost with its leases; before that: the device is gone");
    worker_success(bad);
    assert_null(bad->bench_reason);
    for (int i = 0; i < 3; i++) {
        assert_non_null(farm_grant(&farm, 1, 4));
        schedule_worker_gone(&farm.scheduler, bad, farm.now_ms += 10);
        farm_here(&farm, 1, 4, 0, 0);
    }
    assert_string_equal(bad->bench_reason, "it was lost with its leases");
    farm_release(&farm);
}

static void test_expired_lease(void **state) {
    struct farm farm;
    struct error error;
    (void)state;
    farm_init(&farm, 1, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 8, &frog_model));
    farm_pages(&farm, 8);
    struct lease *lease = farm_grant(&farm, 1, 4);
    uint64_t id = lease->id;
    struct lease_progress progress = { id, 1, PHASE_STEP, 1, 20 };
    assert_ok(schedule_progress(&farm.scheduler, farm.workers[0], &progress, farm.now_ms, &error), error);
    uint64_t deadline_ms = farm.now_ms + lease_allowance_ms(PHASE_STEP, 4);
    assert_int_equal(schedule_next_ms(&farm.scheduler, farm.now_ms), deadline_ms);
    farm.now_ms = deadline_ms - 1;
    assert_ok(schedule_progress(&farm.scheduler, farm.workers[0], &progress, farm.now_ms, &error), error); /* the same step */
    assert_null(schedule_expired(&farm.scheduler, farm.now_ms));
    farm.now_ms++;
    assert_ptr_equal(schedule_expired(&farm.scheduler, farm.now_ms), lease);
    schedule_trouble(&farm.scheduler, farm.workers[0], id, ERR_STALE, "no progress", farm.now_ms);
    assert_null(schedule_expired(&farm.scheduler, farm.now_ms));
    assert_int_equal(schedule_progress(&farm.scheduler, farm.workers[0], &progress, farm.now_ms, &error), ERR_STALE);
    lease = farm_grant(&farm, 1, 4);
    progress = (struct lease_progress){ lease->id, lease->epoch - 1, PHASE_STEP, 2, 20 };
    assert_int_equal(schedule_progress(&farm.scheduler, farm.workers[0], &progress, farm.now_ms, &error), ERR_STALE);
    farm_release(&farm);
}

/* Time goes on to whatever comes next; every worker fails everything. */
static void fail_all(struct farm *farm, uint32_t workers, struct order *order) {
    for (uint32_t turn = 0; !order_is_finished(order); turn++) {
        bool any = false;
        farm_pages(farm, workers);
        for (uint32_t i = 1; i <= workers; i++) {
            struct lease *lease = farm_grant(farm, i, 4);
            uint64_t id = lease ? lease->id : 0;
            any = any || lease;
            while (lease_find(&farm->scheduler.leases, id)) {
                struct digest key = lease->flights[0]->key;
                schedule_fail(&farm->scheduler, farm->workers[i - 1], id, &key, ERR_NUMERIC, "NaN", farm->now_ms);
            }
        }
        farm_settle(farm);
        if (!any && !order_is_finished(order)) {
            uint64_t next_ms = schedule_next_ms(&farm->scheduler, farm->now_ms);
            assert_true(next_ms != UINT64_MAX); /* somebody must be waited for */
            farm->now_ms = next_ms > farm->now_ms ? next_ms : farm->now_ms + 1;
        }
        assert_true(turn < 100000);
    }
}

static void test_all_poison_ends(void **state) {
    (void)state;
    for (uint32_t workers = 1; workers <= 5; workers++) {
        struct farm farm;
        farm_init(&farm, workers, 4);
        struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 40, &frog_model));
        fail_all(&farm, workers, order);
        assert_int_equal(order->failed, 40);
        assert_int_equal(farm.scheduler.flight_count, 0);
        farm_release(&farm);
    }
}

/* A few jobs that fail wherever they are drawn do not keep a lone worker from the others. */
static void test_poison_among_others(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1000, &frog_model));
    uint64_t begin_ms = farm.now_ms, good_ms = 0;
    while (!order_is_finished(order)) {
        farm_pages(&farm, 16);
        struct lease *lease = farm_grant(&farm, 1, 4);
        uint64_t id = lease ? lease->id : 0;
        if (!lease)
            farm.now_ms = schedule_next_ms(&farm.scheduler, farm.now_ms);
        while (lease_find(&farm.scheduler.leases, id)) {
            struct digest key = lease->flights[0]->key;
            farm.now_ms += 10;
            if (key.bytes[3] % 16 == 0) {
                schedule_fail(&farm.scheduler, farm.workers[0], id, &key, ERR_NUMERIC, "NaN", farm.now_ms);
            } else {
                farm_deliver(&farm, 1, &key, 10);
                good_ms = farm.now_ms;
            }
        }
        farm_settle(&farm);
    }
    assert_true(order->failed > 30);
    assert_int_equal(order->done + order->failed, 1000);
    assert_true(good_ms - begin_ms < 30000);                     /* drawing all of them takes 10 s */
    assert_true(farm.now_ms - begin_ms < 3 * 10000 * order->failed); /* and what is left costs a short bench an attempt at most */
    farm_release(&farm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_distinct_workers),
        cmocka_unit_test(test_reconnecting_worker_counts_once),
        cmocka_unit_test(test_single_worker_ends_a_poison_job),
        cmocka_unit_test(test_absence_fails_no_job),
        cmocka_unit_test(test_bench_and_probation),
        cmocka_unit_test(test_success_between_keeps_off_the_bench),
        cmocka_unit_test(test_jobs_that_fail_everywhere_bench_nobody),
        cmocka_unit_test(test_own_trouble_benches_too),
        cmocka_unit_test(test_reason_outlives_the_connection),
        cmocka_unit_test(test_expired_lease),
        cmocka_unit_test(test_all_poison_ends),
        cmocka_unit_test(test_poison_among_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
