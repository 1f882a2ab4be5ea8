/* test_schedule.c - pages, dedupe, batches, shares, attempts, cancelling. */
#include "tests/coordinator/kit.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule.h"

static const struct digest model = { { 1 } }, other_model = { { 2 } };

struct farm {
    struct queue queue;
    struct bloom *bloom;
    struct scheduler scheduler;
    struct digest asked[PAGE_MOST];
    size_t asked_count;
};

static void farm_init(struct farm *farm) {
    memset(farm, 0, sizeof *farm);
    queue_init(&farm->queue);
    farm->bloom = bloom_create(1000);
    schedule_init(&farm->scheduler, &farm->queue, farm->bloom, 1, 256);
}

static void farm_release(struct farm *farm) {
    schedule_release(&farm->scheduler);
    bloom_destroy(farm->bloom);
    queue_release(&farm->queue);
}

static bool page_turn(struct farm *farm, uint32_t wanted) {
    struct page page;
    if (!schedule_take_page(&page, &farm->scheduler, wanted))
        return false;
    page_resolve(&page);
    schedule_add_page(farm->asked, &farm->asked_count, &farm->scheduler, &page);
    return true;
}

static struct digest key_of(const struct sweep *sweep, uint64_t index) {
    struct spec spec;
    struct error error;
    assert_ok(sweep_job(&spec, sweep, index, &error), error);
    struct digest key = spec_key(&spec);
    spec_release(&spec);
    return key;
}

static void test_batches_and_shares(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm);
    struct order *order = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 40, &model));
    kit_order(&farm.queue, 2, "b", kit_sweep("a frog", 0, 10, &other_model));
    assert_null(schedule_grant(&farm.scheduler, 1, 16, 1, 0));
    assert_true(page_turn(&farm, 16));
    assert_true(page_turn(&farm, 16));
    assert_false(schedule_wants_page(&farm.scheduler, 16));
    struct lease *first = schedule_grant(&farm.scheduler, 1, 16, 2, 0);
    assert_int_equal(first->count, 16);
    assert_int_equal(first->epoch, 1);
    assert_int_equal(order->running, 16);
    struct lease *second = schedule_grant(&farm.scheduler, 2, 16, 2, 0);
    assert_int_equal(second->count, 16);
    /* 18 are left for two workers: nine each, and eight of them share a model. */
    struct lease *third = schedule_grant(&farm.scheduler, 1, 16, 2, 0);
    assert_int_equal(third->count, 8);
    struct lease *fourth = schedule_grant(&farm.scheduler, 2, 16, 2, 0);
    assert_int_equal(fourth->count, 5);
    assert_true(digest_equal(&fourth->flights[0]->spec.model, &other_model));
    assert_int_equal(schedule_grant(&farm.scheduler, 2, 16, 2, 0)->count, 3);
    assert_int_equal(schedule_grant(&farm.scheduler, 2, 16, 2, 0)->count, 1);
    assert_int_equal(schedule_grant(&farm.scheduler, 2, 16, 2, 0)->count, 1);
    assert_null(schedule_grant(&farm.scheduler, 2, 16, 2, 0));
    schedule_return(&farm.scheduler, first, ERR_OK, NULL);
    assert_int_equal(order->running, 24);
    struct lease *again = schedule_grant(&farm.scheduler, 3, 16, 1, 0);
    assert_int_equal(again->count, 16);
    assert_int_equal(again->epoch, 2);
    struct digest key = key_of(order->sweep, 0);
    assert_true(digest_equal(&again->flights[0]->key, &key)); /* in their order */
    farm_release(&farm);
}

static void commit(struct farm *farm, const struct digest *key) {
    const struct flight *flight = schedule_find(&farm->scheduler, key);
    schedule_commit_begin(&farm->scheduler, key);
    for (uint32_t p = 0; flight && p < flight->place_count; p++)
        order_set_done(flight->places[p].order, flight->places[p].index);
    schedule_committed(&farm->scheduler, key);
}

static void test_one_key_one_render(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm);
    struct order *one = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 4, &model));
    struct order *two = kit_order(&farm.queue, 2, "b", kit_sweep("a frog", 2, 4, &model)); /* seeds 2..5 */
    struct digest shared = key_of(one->sweep, 2), late = key_of(one->sweep, 3);
    assert_true(page_turn(&farm, 16));
    struct lease *lease = schedule_grant(&farm.scheduler, 1, 4, 1, 0);
    assert_int_equal(lease->count, 4);
    assert_true(page_turn(&farm, 16));
    assert_int_equal(two->running, 2); /* its seeds 2 and 3 are with the worker already */
    assert_int_equal(farm.scheduler.ready_count, 2);
    commit(&farm, &shared);
    assert_int_equal(order_job_state(one, 2), JOB_DONE);
    assert_int_equal(order_job_state(two, 0), JOB_DONE);
    assert_int_equal(lease->count, 3);
    /* A place that comes while the commit is under way is done afterwards, by a mark. */
    schedule_commit_begin(&farm.scheduler, &late);
    order_set_done(one, 3);
    schedule_committed(&farm.scheduler, &late);
    assert_int_equal(farm.scheduler.mark_count, 1);
    assert_ptr_equal(farm.scheduler.marks[0].order, two);
    farm_release(&farm);
}

static void test_known_keys_are_asked_about(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm);
    struct order *order = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 3, &model));
    struct digest keys[] = { key_of(order->sweep, 0), key_of(order->sweep, 1) };
    bloom_add(farm.bloom, &keys[0]);
    bloom_add(farm.bloom, &keys[1]);
    assert_true(page_turn(&farm, 16));
    assert_int_equal(farm.asked_count, 2);
    assert_int_equal(farm.scheduler.ready_count, 1);
    assert_null(schedule_grant(&farm.scheduler, 1, 3, 1, 0)); /* a fuller batch may come any moment */
    schedule_answer(&farm.scheduler, &keys[0], true);
    schedule_answer(&farm.scheduler, &keys[1], false); /* the filter was wrong */
    assert_int_equal(farm.scheduler.mark_count, 1);
    assert_int_equal(farm.scheduler.marks[0].index, 0);
    assert_int_equal(schedule_grant(&farm.scheduler, 1, 2, 1, 0)->count, 2);
    farm_release(&farm);
}

static void test_attempts(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm);
    struct order *order = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 1, &model));
    struct digest key = key_of(order->sweep, 0);
    page_turn(&farm, 1);
    struct lease *lease = schedule_grant(&farm.scheduler, 1, 1, 2, 0);
    uint64_t old = lease->id;
    schedule_fail(&farm.scheduler, lease, &key, ERR_NUMERIC, "NaN");
    assert_null(lease_find(&farm.scheduler.leases, old));
    assert_null(schedule_grant(&farm.scheduler, 1, 1, 2, 0)); /* elsewhere first */
    lease = schedule_grant(&farm.scheduler, 2, 1, 2, 0);
    schedule_return(&farm.scheduler, lease, ERR_UNREACHABLE, NULL); /* no charge */
    lease = schedule_grant(&farm.scheduler, 2, 1, 2, 0);
    assert_int_equal(lease->flights[0]->attempts, 1);
    schedule_fail(&farm.scheduler, lease, &key, ERR_NUMERIC, "NaN");
    lease = schedule_grant(&farm.scheduler, 1, 1, 2, 0); /* both have failed it: either may try */
    assert_non_null(lease);
    schedule_fail(&farm.scheduler, lease, &key, ERR_NUMERIC, "NaN again");
    assert_int_equal(farm.scheduler.loss_count, 1);
    assert_string_equal(farm.scheduler.losses[0].text, "NaN again");
    assert_int_equal(farm.scheduler.flight_count, 0);
    assert_int_equal(order->running, 0);
    farm_release(&farm);
}

static void test_late_and_failed_commits(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm);
    struct order *order = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 2, &model));
    struct digest key = key_of(order->sweep, 0), stranger = { { 9 } };
    page_turn(&farm, 2);
    struct lease *lease = schedule_grant(&farm.scheduler, 1, 2, 1, 0);
    schedule_return(&farm.scheduler, lease, ERR_STALE, "too slow");
    schedule_commit_begin(&farm.scheduler, &stranger); /* nobody's: a cache fill */
    schedule_committed(&farm.scheduler, &stranger);
    schedule_commit_begin(&farm.scheduler, &key); /* late, after its lease */
    assert_int_equal(farm.scheduler.ready_count, 1);
    schedule_commit_failed(&farm.scheduler, &key);
    assert_int_equal(farm.scheduler.ready_count, 2);
    lease = schedule_grant(&farm.scheduler, 1, 2, 1, 0);
    schedule_commit_begin(&farm.scheduler, &key);
    schedule_fail(&farm.scheduler, lease, &key, ERR_NUMERIC, "NaN"); /* it is here already */
    assert_int_equal(lease->count, 2);
    schedule_return(&farm.scheduler, lease, ERR_STALE, NULL);
    assert_int_equal(farm.scheduler.ready_count, 1);
    commit(&farm, &key);
    assert_int_equal(order->done, 1);
    farm_release(&farm);
}

static void count_revoked(void *context, const struct lease *lease) {
    (void)lease;
    ++*(int *)context;
}

static void test_cancel(void **state) {
    struct farm farm;
    int revoked = 0;
    struct page page;
    (void)state;
    farm_init(&farm);
    struct order *one = kit_order(&farm.queue, 1, "a", kit_sweep("a frog", 0, 600, &model));
    page_turn(&farm, 8);
    assert_int_equal(schedule_grant(&farm.scheduler, 1, 8, 1, 0)->count, 8);
    assert_true(schedule_take_page(&page, &farm.scheduler, 256)); /* out when the sweep is cancelled */
    one->state = SWEEP_CANCELLED;
    schedule_drop_order(&farm.scheduler, one, count_revoked, &revoked);
    assert_int_equal(revoked, 1);
    assert_int_equal(one->running, 0);
    assert_int_equal(farm.scheduler.ready_count, 0);
    assert_int_equal(farm.scheduler.flight_count, 0);
    assert_int_equal(farm.scheduler.leases.count, 0);
    one->state = SWEEP_ACTIVE; /* and asked for again before the page came back */
    page_resolve(&page);
    schedule_add_page(farm.asked, &farm.asked_count, &farm.scheduler, &page);
    assert_int_equal(farm.scheduler.ready_count, 0);
    assert_true(page_turn(&farm, 8));
    assert_int_equal(farm.scheduler.ready_first->places[0].index, 0);
    farm_release(&farm);
}

static void test_bloom(void **state) {
    struct bloom *bloom = bloom_create(1);
    uint64_t wrong = 0;
    (void)state;
    for (uint32_t i = 0; i < 300000; i++) {
        struct digest key = digest_of(&i, sizeof i);
        bloom_add(bloom, &key);
    }
    for (uint32_t i = 0; i < 400000; i++) {
        struct digest key = digest_of(&i, sizeof i);
        if (i < 300000)
            assert_true(bloom_has(bloom, &key));
        else
            wrong += bloom_has(bloom, &key);
    }
    assert_true(wrong < 4000); /* three filters of about one in a hundred each; measured 2.0 % */
    bloom_destroy(bloom);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_and_shares),         cmocka_unit_test(test_one_key_one_render),
        cmocka_unit_test(test_known_keys_are_asked_about), cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_late_and_failed_commits),    cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_bloom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
