/* test_rules.c - whose turn it is, who may take what, and why something does not run. */
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

/* ---- why ---------------------------------------------------------------------------------------------------------------- */

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
        cmocka_unit_test(test_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
