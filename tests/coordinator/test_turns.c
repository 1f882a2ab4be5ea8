/* test_turns.c - a model at hand against other users' turns; whom no job waits for; lives of the coordinator that do not mix. */
#include "tests/coordinator/kit_farm.h"

#include <math.h>
#include <stdlib.h>

/* Two users, two models, one worker: it changes its model seldom, and nobody falls behind by more than AFFINITY_MS. */
static void test_model_at_hand_before_another_user(void **state) {
    enum { JOB_MS = 100, ROUNDS = 2000 };
    struct farm farm;
    double ms[2] = { 0 };
    uint32_t loads = 0, last = 2;
    (void)state;
    farm_init(&farm, 1, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 10000, &frog_model));
    farm_order(&farm, "bob", kit_sweep("an owl", 0, 10000, &owl_model));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        farm_pages(&farm, 64);
        struct lease *lease = farm_grant(&farm, 1, 4);
        assert_non_null(lease);
        uint32_t who = digest_equal(&lease->flights[0]->spec.model, &owl_model);
        loads += who != last;
        last = who;
        ms[who] += JOB_MS * lease->count;
        farm.now_ms += JOB_MS * lease->count;
        farm_deliver_lease(&farm, 1, lease, JOB_MS);
        assert_true(fabs(ms[0] - ms[1]) <= AFFINITY_MS + 2 * 4 * JOB_MS);
    }
    assert_true(loads <= 1 + (ms[0] + ms[1]) / AFFINITY_MS);
    farm_release(&farm);
}

/* Two have failed the job; the third has been benched again and again, and would not draw it: it has failed for good. */
static void test_nobody_waits_for_the_hopeless(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 3, 1);
    const struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    for (int i = 0; i < HOPELESS_BENCHES; i++)
        worker_bench(farm.workers[2], "it hangs", false, farm.now_ms);
    for (int i = 0; i < ATTEMPTS_LIMIT; i++) {
        struct lease *lease = NULL;
        farm_pages(&farm, 4);
        for (uint32_t worker = 1; worker <= 2 && !lease; worker++) {
            lease = farm_grant(&farm, worker, 1);
            if (lease) {
                struct digest key = lease->flights[0]->key;
                schedule_fail(&farm.scheduler, lease->worker, lease->id, &key, ERR_NUMERIC, "not a number", farm.now_ms);
                break;
            }
        }
        assert_non_null(lease);
        farm.now_ms += BACK_OFF_MOST_MS;
    }
    assert_int_equal(farm.scheduler.loss_count, 1);
    farm_settle(&farm);
    assert_int_equal(order->failed, 1);
    farm_release(&farm);
}

static struct held_job held(const struct order *order, uint64_t index) {
    struct held_job job = { .key = farm_key(order, index) };
    struct bytes canonical = BYTES_INIT;
    struct error error;
    assert_ok(sweep_job(&job.spec, order->sweep, index, &error), error);
    spec_canonical(&canonical, &job.spec);
    job.canonical = text_copy(bytes_text(&canonical));
    bytes_release(&canonical);
    return job;
}

/* A lease of an earlier life stands beside one of this life as its copy: other id, smaller epoch. */
static void test_lives_do_not_mix(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 0, 1);
    schedule_release(&farm.scheduler);
    schedule_init(&farm.scheduler, &farm.queue, farm.bloom, 5, LIMIT_BATCH);
    farm_here(&farm, 1, 4, 0, 0);
    farm_here(&farm, 2, 4, 0, 0);
    farm_here(&farm, 3, 4, 0, 0);
    const struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    farm_pages(&farm, 4);
    const struct lease *lease = farm_grant(&farm, 1, 1);
    uint32_t epoch = lease->epoch;
    assert_int_equal(lease->id, (UINT64_C(5) << LEASE_ID_BITS) + 1);
    assert_int_equal(epoch, (5u << EPOCH_BITS) + 1);
    struct held_job job = held(order, 0);
    assert_false(schedule_adopt(&farm.scheduler, farm.workers[1], 7, epoch, &job, 1, farm.now_ms)); /* the very same epoch */
    job = held(order, 0);
    assert_false(schedule_adopt(&farm.scheduler, farm.workers[1], 7, 6u << EPOCH_BITS, &job, 1, farm.now_ms)); /* never given */
    job = held(order, 0);
    assert_true(schedule_adopt(&farm.scheduler, farm.workers[1], 7, (4u << EPOCH_BITS) + 1, &job, 1, farm.now_ms));
    assert_int_equal(farm.scheduler.leases.count, 2);
    assert_int_equal(lease->epoch, epoch);
    farm_release(&farm);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_model_at_hand_before_another_user),
                                        cmocka_unit_test(test_nobody_waits_for_the_hopeless),
                                        cmocka_unit_test(test_lives_do_not_mix) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
