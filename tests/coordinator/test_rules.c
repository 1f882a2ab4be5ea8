/* test_rules.c - whose turn it is, who may take what, and who is charged for what fails. */
#include "tests/coordinator/kit_farm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- whose turn --------------------------------------------------------------------------------------------------------- */

static uint64_t done_of(const struct farm *farm, const char *user) {
    uint64_t done = 0;
    for (size_t i = 0; i < farm->queue.count; i++)
        if (strcmp(farm->queue.orders[i]->user, user) == 0)
            done += farm->queue.orders[i]->done;
    return done;
}

/* One worker draws `leases` leases of 10 ms a job. */
static void work(struct farm *farm, uint32_t worker, uint32_t leases) {
    for (; leases; leases--) {
        farm_pages(farm, 64);
        struct lease *lease = farm_grant(farm, worker, 4);
        assert_non_null(lease);
        farm->now_ms += 10 * lease->count;
        farm_deliver_lease(farm, worker, lease, 10);
    }
}

static void test_ten_users_of_weights_1_to_10(void **state) {
    struct farm farm;
    char user[8];
    (void)state;
    farm_init(&farm, 1, 4);
    for (uint32_t i = 1; i <= 10; i++) {
        char prompt[32];
        snprintf(user, sizeof user, "u%u", i);
        snprintf(prompt, sizeof prompt, "frog %u", i);
        /* Other sizes, so that no batch is filled up with another's. Cheap and dear jobs: shares are of time, not of jobs. */
        char size[16];
        snprintf(size, sizeof size, "%ux8", 8 * i);
        farm_order(&farm, user, kit_sized_sweep(prompt, 0, 100000, &frog_model, size));
        schedule_set_weight(&farm.scheduler, user, i);
    }
    double total_ms = 0, ms[11] = { 0 };
    for (uint32_t round = 0; round < 20000; round++) {
        farm_pages(&farm, 64);
        struct lease *lease = farm_grant(&farm, 1, 4);
        assert_non_null(lease);
        uint32_t job_ms = lease->flights[0]->spec.width;
        uint32_t who = job_ms / 8;
        ms[who] += job_ms * lease->count;
        total_ms += job_ms * lease->count;
        farm.now_ms += job_ms * lease->count;
        farm_deliver_lease(&farm, 1, lease, job_ms);
    }
    for (uint32_t i = 1; i <= 10; i++) {
        double share = ms[i] / total_ms, fair = i / 55.0;
        if (share < 0.95 * fair || share > 1.05 * fair)
            fail_msg("user of weight %u: want %.4f of the time, has %.4f", i, fair, share);
    }
    assert_true(share_find(&farm.scheduler.share, "u10")->device_ms == (uint64_t)ms[10]);
    farm_release(&farm);
}

static void test_small_user_beside_a_big_one(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    farm_order(&farm, "big", kit_sized_sweep("a frog", 0, 10000, &frog_model, "16x8"));
    work(&farm, 1, 500);
    assert_int_equal(done_of(&farm, "big"), 2000);
    farm_order(&farm, "small", kit_sized_sweep("an owl", 0, 100, &frog_model, "8x16"));
    work(&farm, 1, 51); /* turn and turn about: 25 batches are 51 leases at most */
    assert_int_equal(done_of(&farm, "small"), 100);
    assert_true(done_of(&farm, "big") >= 2000 + 4 * 24);
    /* It was away: no credit for that. */
    work(&farm, 1, 100);
    uint64_t before = done_of(&farm, "big");
    farm_order(&farm, "small", kit_sized_sweep("two owls", 0, 100, &frog_model, "8x16"));
    work(&farm, 1, 40);
    assert_in_range(done_of(&farm, "small"), 100 + 4 * 19, 100 + 4 * 21);
    assert_in_range(done_of(&farm, "big") - before, 4 * 19, 4 * 21);
    farm_release(&farm);
}

static const struct order *next_order(struct farm *farm, uint32_t worker) {
    farm_pages(farm, 8);
    struct lease *lease = farm_grant(farm, worker, 4);
    assert_non_null(lease);
    const struct order *order = lease->flights[0]->docket->order;
    farm_deliver_lease(farm, worker, lease, 10);
    return order;
}

static void test_priority(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *low = farm_order(&farm, "ann", kit_sized_sweep("low", 0, 5000, &frog_model, "16x8"));
    assert_ptr_equal(next_order(&farm, 1), low);
    struct order *high = farm_order(&farm, "ann", kit_sized_sweep("high", 0, 12, &frog_model, "8x16"));
    high->priority = 5;
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(next_order(&farm, 1), high);
    assert_ptr_equal(next_order(&farm, 1), low);
    /* Changed while both are under way. */
    struct order *third = farm_order(&farm, "ann", kit_sized_sweep("third", 0, 5000, &frog_model, "8x24"));
    assert_ptr_equal(next_order(&farm, 1), low);
    struct why why;
    third->priority = -7;
    low->priority = -6;
    schedule_order_changed(&farm.scheduler, third);
    schedule_order_changed(&farm.scheduler, low);
    schedule_why_order(&why, &farm.scheduler, third, farm.now_ms);
    assert_int_equal(why.rule, WHY_PRIORITY);
    assert_ptr_equal(why.first, low);
    assert_int_equal(why.priority, -6);
    assert_int_equal(why.before, low->jobs - low->done);
    third->priority = 1;
    schedule_order_changed(&farm.scheduler, third);
    assert_ptr_equal(next_order(&farm, 1), third);
    /* Another user's sweeps are another matter. */
    struct order *other = farm_order(&farm, "bob", kit_sized_sweep("other", 0, 5000, &frog_model, "24x8"));
    other->priority = -100;
    const struct order *one = next_order(&farm, 1), *two = next_order(&farm, 1);
    assert_true((one == other) != (two == other));
    farm_release(&farm);
}

static void test_model_at_hand_and_ageing(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *owls = farm_order(&farm, "ann", kit_sweep("an owl", 0, 5000, &owl_model));
    assert_ptr_equal(next_order(&farm, 1), owls);
    owls->state = SWEEP_PAUSED;
    schedule_order_changed(&farm.scheduler, owls);
    struct order *frogs = farm_order(&farm, "ann", kit_sweep("a frog", 0, 5000, &frog_model));
    assert_ptr_equal(next_order(&farm, 1), frogs);
    owls->state = SWEEP_ACTIVE; /* older, but the frogs' model is loaded */
    schedule_order_changed(&farm.scheduler, owls);
    assert_ptr_equal(next_order(&farm, 1), frogs);
    farm.now_ms += AGEING_MS - 1;
    assert_ptr_equal(next_order(&farm, 1), frogs);
    farm.now_ms += 1;
    assert_ptr_equal(next_order(&farm, 1), owls);
    assert_ptr_equal(next_order(&farm, 1), owls); /* now that one's is loaded, and it is the older one */
    frogs->priority = 1; /* a priority is more than a model */
    schedule_order_changed(&farm.scheduler, frogs);
    assert_ptr_equal(next_order(&farm, 1), frogs);
    farm_release(&farm);
}

static void test_batch_is_filled_up(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 8);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 3, &frog_model));
    farm_order(&farm, "ann", kit_sweep("an owl", 0, 2, &owl_model));
    struct order *two = farm_order(&farm, "bob", kit_sweep("a toad", 0, 4, &frog_model));
    struct order *paused = farm_order(&farm, "bob", kit_sweep("a newt", 0, 4, &frog_model));
    farm_pages(&farm, 8);
    paused->state = SWEEP_PAUSED;
    schedule_order_changed(&farm.scheduler, paused);
    struct lease *lease = farm_grant(&farm, 1, 8);
    assert_int_equal(lease->count, 7);
    assert_int_equal(one->running, 3);
    assert_int_equal(two->running, 4);
    farm_release(&farm);
}

/* ---- who may take what --------------------------------------------------------------------------------------------------- */

static void test_memory(void **state) {
    struct farm farm;
    struct digest keys[8];
    struct why why;
    (void)state;
    farm_init(&farm, 0, 0);
    farm_here(&farm, 1, 8, 8 << 20, 0);
    farm_here(&farm, 2, 8, 8 << 20, 0);
    farm_here(&farm, 3, 8, 9 << 20, 0);
    schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms);
    schedule_worker_gone(&farm.scheduler, farm.workers[2], farm.now_ms);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 200, &frog_model));
    farm_order(&farm, "ann", kit_sized_sweep("a frog", 0, 8, &frog_model, "8x16"));
    farm_pages(&farm, 1000);
    for (uint32_t want = 8, next; want; want = next) {
        struct lease *lease = farm_grant(&farm, 1, 64);
        assert_int_equal(lease->count, want);
        next = want / 2;
        for (uint32_t i = 0; i < want; i++)
            keys[i] = lease->flights[i]->key;
        schedule_memory(&farm.scheduler, farm.workers[0], lease->id, keys, want, "no room", farm.now_ms);
        assert_int_equal(farm.scheduler.leases.count, 0);
        const struct flight *flight = schedule_find(&farm.scheduler, &keys[0]);
        assert_int_equal(flight->state, FLIGHT_READY); /* at once, and nobody is charged */
        assert_int_equal(flight->attempts, 0);
    }
    assert_int_equal(farm.workers[0]->row_count, 0);
    assert_int_equal(farm_grant(&farm, 1, 64)->flights[0]->spec.height, 16); /* another size is another matter */
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 10);
    assert_null(farm_grant(&farm, 1, 64));
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_MEMORY);
    assert_int_equal(why.lack_memory, 1);
    assert_int_equal(why.width, 8);
    farm_here(&farm, 2, 8, 8 << 20, 0); /* no more memory than the first one */
    assert_null(farm_grant(&farm, 2, 64));
    schedule_why_worker(&why, &farm.scheduler, farm.workers[1], farm.now_ms);
    assert_int_equal(why.rule, WHY_MEMORY);
    farm_here(&farm, 3, 8, 9 << 20, 0);
    assert_int_equal(farm_grant(&farm, 3, 64)->count, 8);
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.lack_memory, 2);
    assert_int_equal(why.able, 1);
    /* It connects again, and is the same one. */
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
    farm_here(&farm, 1, 8, 8 << 20, 0);
    assert_null(farm_grant(&farm, 1, 64));
    farm_release(&farm);
}

#define INK "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* A model with LoRAs is another one to load: who has it ready goes on with it, past an older sweep of the same file. */
static void test_affinity_counts_loras(void **state) {
    static const struct { enum field field; const char *text; } wanted[] = {
        { FIELD_LORA, INK }, { FIELD_EMBEDDING, INK ":ink" }, { FIELD_VAE, INK }, { FIELD_REFINER, INK },
    };
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct farm farm;
        farm_init(&farm, 1, 4);
        farm_order(&farm, "ann", kit_field_sweep("a frog", 0, 4, &frog_model, wanted[i].field, wanted[i].text));
        struct order *plain = farm_order(&farm, "ann", kit_sweep("a frog", 10, 4, &frog_model));
        struct order *again = farm_order(&farm, "ann", kit_field_sweep("a frog", 20, 4, &frog_model, wanted[i].field, wanted[i].text));
        farm_pages(&farm, 100);
        farm_deliver_lease(&farm, 1, farm_grant(&farm, 1, 4), 10);
        assert_non_null(farm_grant(&farm, 1, 4));
        assert_int_equal(again->running, 4);
        assert_int_equal(plain->running, 0);
        farm_release(&farm);
    }
}

static void test_numerics(void **state) {
    struct farm farm;
    struct why why;
    (void)state;
    farm_init(&farm, 1, 8);
    farm_here(&farm, 1, 8, 0, 1u << 5); /* something else only */
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 2, &frog_model));
    farm_pages(&farm, 8);
    assert_null(farm_grant(&farm, 1, 8));
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_NUMERICS);
    assert_int_equal(why.lack_numerics, 1);
    farm_here(&farm, 1, 8, 0, 1u << 5 | 1u << NUMERICS_FP32);
    assert_int_equal(farm_grant(&farm, 1, 8)->count, 2);
    farm_release(&farm);
}

/* ---- failures ------------------------------------------------------------------------------------------------------------ */

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

static void test_why(void **state) {
    struct farm farm;
    struct why why;
    (void)state;
    farm_init(&farm, 0, 0);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 2, &frog_model));
    farm_pages(&farm, 2);
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_NO_WORKERS);
    farm_here(&farm, 1, 1, 0, 0);
    schedule_drain(&farm.scheduler, farm.workers[0], true);
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_DRAINING);
    schedule_why_worker(&why, &farm.scheduler, farm.workers[0], farm.now_ms);
    assert_int_equal(why.rule, WHY_DRAINING);
    schedule_drain(&farm.scheduler, farm.workers[0], false);
    const struct lease *lease = farm_grant(&farm, 1, 1);
    schedule_why_flight(&why, &farm.scheduler, lease->flights[0], farm.now_ms);
    assert_int_equal(why.rule, WHY_LEASED);
    assert_ptr_equal(why.worker, farm.workers[0]);
    schedule_why_worker(&why, &farm.scheduler, farm.workers[0], farm.now_ms);
    assert_int_equal(why.rule, WHY_WORKING);
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_QUEUED);
    assert_int_equal(why.able, 1);
    struct digest key = lease->flights[0]->key;
    schedule_commit_begin(&farm.scheduler, &key);
    schedule_why_flight(&why, &farm.scheduler, schedule_find(&farm.scheduler, &key), farm.now_ms);
    assert_int_equal(why.rule, WHY_COMMITTING);
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
    schedule_why_worker(&why, &farm.scheduler, farm.workers[0], farm.now_ms);
    assert_int_equal(why.rule, WHY_ABSENT);
    order->state = SWEEP_CANCELLED;
    schedule_why_order(&why, &farm.scheduler, order, farm.now_ms);
    assert_int_equal(why.rule, WHY_CANCELLED);
    assert_string_equal(why_rule_name(why.rule), "cancelled");
    farm_release(&farm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_users_of_weights_1_to_10),
        cmocka_unit_test(test_small_user_beside_a_big_one),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_model_at_hand_and_ageing),
        cmocka_unit_test(test_batch_is_filled_up),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_affinity_counts_loras),
        cmocka_unit_test(test_numerics),
        cmocka_unit_test(test_three_distinct_workers),
        cmocka_unit_test(test_reconnecting_worker_counts_once),
        cmocka_unit_test(test_single_worker_ends_a_poison_job),
        cmocka_unit_test(test_absence_fails_no_job),
        cmocka_unit_test(test_bench_and_probation),
        cmocka_unit_test(test_success_between_keeps_off_the_bench),
        cmocka_unit_test(test_jobs_that_fail_everywhere_bench_nobody),
        cmocka_unit_test(test_own_trouble_benches_too),
        cmocka_unit_test(test_expired_lease),
        cmocka_unit_test(test_all_poison_ends),
        cmocka_unit_test(test_poison_among_others),
        cmocka_unit_test(test_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
