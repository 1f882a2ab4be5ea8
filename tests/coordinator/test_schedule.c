/* test_schedule.c - pages, dedupe, batches, chunks, models, sweeps that are paused, cancelled or adopted. */
#include "tests/coordinator/kit_farm.h"

#include <stdlib.h>
#include <string.h>

static void test_batches_and_shares(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 3, 16);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 40, &frog_model));
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 10, &owl_model));
    assert_null(farm_grant(&farm, 1, 16));
    farm_pages(&farm, 16);
    schedule_worker_gone(&farm.scheduler, farm.workers[2], farm.now_ms);
    struct lease *first = farm_grant(&farm, 1, 16);
    assert_int_equal(first->count, 16);
    assert_int_equal(first->epoch, 1);
    assert_int_equal(order->running, 16);
    assert_int_equal(farm_grant(&farm, 2, 16)->count, 16);
    /* 18 are left for two workers: nine each, and eight of them share a model. */
    assert_int_equal(farm_grant(&farm, 1, 16)->count, 8);
    struct lease *fourth = farm_grant(&farm, 2, 16);
    assert_int_equal(fourth->count, 5);
    assert_true(digest_equal(&fourth->flights[0]->spec.model, &owl_model));
    assert_int_equal(farm_grant(&farm, 2, 16)->count, 3);
    assert_int_equal(farm_grant(&farm, 2, 16)->count, 1);
    assert_int_equal(farm_grant(&farm, 2, 16)->count, 1);
    assert_null(farm_grant(&farm, 2, 16));
    schedule_trouble(&farm.scheduler, farm.workers[0], first->id, ERR_UNREACHABLE, NULL, farm.now_ms);
    assert_int_equal(order->running, 24);
    struct lease *again = farm_grant(&farm, 2, 16);
    assert_int_equal(again->count, 8); /* half of them */
    assert_int_equal(again->epoch, 2);
    struct digest key = farm_key(order, 0);
    assert_true(digest_equal(&again->flights[0]->key, &key)); /* in their order */
    farm_release(&farm);
}

static void test_one_key_one_render(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 16);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
    farm_pages(&farm, 16);
    struct lease *lease = farm_grant(&farm, 1, 4);
    assert_int_equal(lease->count, 4);
    struct order *two = farm_order(&farm, "bob", kit_sweep("a frog", 2, 4, &frog_model)); /* seeds 2..5 */
    struct digest shared = farm_key(one, 2), late = farm_key(one, 3);
    farm_pages(&farm, 16);
    assert_int_equal(two->running, 2); /* its seeds 2 and 3 are with the worker already */
    assert_int_equal(farm.scheduler.ready_count, 2);
    farm_deliver(&farm, 1, &shared, 10);
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
    farm_init(&farm, 1, 16);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 3, &frog_model));
    struct digest keys[] = { farm_key(order, 0), farm_key(order, 1) };
    bloom_add(farm.bloom, &keys[0]);
    bloom_add(farm.bloom, &keys[1]);
    farm_pages(&farm, 16);
    assert_int_equal(farm.asked_count, 2);
    assert_int_equal(farm.scheduler.ready_count, 1);
    assert_null(farm_grant(&farm, 1, 3)); /* a fuller batch may come any moment */
    schedule_answer(&farm.scheduler, &keys[0], true);
    schedule_answer(&farm.scheduler, &keys[1], false); /* the filter was wrong */
    assert_int_equal(farm.scheduler.mark_count, 1);
    assert_int_equal(farm.scheduler.marks[0].index, 0);
    assert_int_equal(farm_grant(&farm, 1, 2)->count, 2);
    farm_release(&farm);
}

static void test_late_and_failed_commits(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 16);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 2, &frog_model));
    struct digest key = farm_key(order, 0), stranger = { { 9 } };
    farm_pages(&farm, 2);
    struct lease *lease = farm_grant(&farm, 1, 2);
    schedule_trouble(&farm.scheduler, farm.workers[0], lease->id, ERR_STALE, "too slow", farm.now_ms);
    schedule_commit_begin(&farm.scheduler, &stranger); /* nobody's: a cache fill */
    schedule_committed(&farm.scheduler, &stranger);
    schedule_commit_begin(&farm.scheduler, &key); /* late, after its lease */
    assert_int_equal(farm.scheduler.ready_count, 1);
    schedule_commit_failed(&farm.scheduler, &key);
    assert_int_equal(farm.scheduler.ready_count, 2);
    lease = farm_grant(&farm, 1, 2);
    schedule_commit_begin(&farm.scheduler, &key);
    schedule_fail(&farm.scheduler, farm.workers[0], lease->id, &key, ERR_NUMERIC, "NaN", farm.now_ms); /* it is here already */
    assert_int_equal(lease->count, 2);
    schedule_trouble(&farm.scheduler, farm.workers[0], lease->id, ERR_STALE, NULL, farm.now_ms);
    assert_int_equal(farm.scheduler.ready_count, 1);
    order_set_done(order, 0);
    schedule_committed(&farm.scheduler, &key);
    assert_int_equal(order->done, 1);
    farm_release(&farm);
}

static void test_late_result_ends_another_lease(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 16);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 1, &frog_model));
    struct digest key = farm_key(order, 0);
    farm_pages(&farm, 2);
    assert_non_null(farm_grant(&farm, 1, 1));
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
    struct lease *lease = farm_grant(&farm, 2, 1);
    uint64_t id = lease->id;
    uint32_t epoch = lease->epoch;
    assert_int_equal(epoch, 2);
    farm_deliver(&farm, 1, &key, 10); /* it is back from where it was */
    assert_int_equal(farm.scheduler.revoke_count, 1);
    assert_int_equal(farm.scheduler.revokes[0].worker, 2);
    assert_int_equal(farm.scheduler.revokes[0].lease, id);
    assert_int_equal(farm.scheduler.revokes[0].epoch, epoch);
    assert_int_equal(farm.scheduler.leases.count, 0);
    farm_release(&farm);
}

static void test_cancel(void **state) {
    struct farm farm;
    struct page page;
    (void)state;
    farm_init(&farm, 2, 8);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 600, &frog_model));
    farm_page(&farm, 8);
    assert_int_equal(farm_grant(&farm, 1, 8)->count, 8);
    while (farm.scheduler.ready_count >= 64)
        farm_grant(&farm, 1, 8);
    struct digest failing = farm.workers[0]->leases->flights[0]->key;
    schedule_fail(&farm.scheduler, farm.workers[0], farm.workers[0]->leases->id, &failing, ERR_NUMERIC, "NaN", farm.now_ms);
    assert_int_equal(farm.scheduler.back_off_count, 1);
    size_t leases = farm.scheduler.leases.count;
    assert_true(schedule_take_page(&page, &farm.scheduler, 8)); /* out when the sweep is cancelled */
    one->state = SWEEP_CANCELLED;
    schedule_drop_order(&farm.scheduler, one);
    assert_int_equal(farm.scheduler.revoke_count, leases);
    assert_int_equal(one->running, 0);
    assert_int_equal(farm.scheduler.ready_count, 0);
    assert_int_equal(farm.scheduler.back_off_count, 0);
    assert_int_equal(farm.scheduler.flight_count, 0);
    assert_int_equal(farm.scheduler.class_count, 0);
    assert_int_equal(farm.scheduler.leases.count, 0);
    assert_int_equal(farm.queue.waiting, 0);
    one->state = SWEEP_ACTIVE; /* and asked for again before the page came back */
    schedule_order_changed(&farm.scheduler, one);
    page_resolve(&page);
    schedule_add_page(farm.asked, &farm.asked_count, &farm.scheduler, &page);
    assert_int_equal(farm.scheduler.ready_count, 0);
    farm_page(&farm, 8);
    struct lease *lease = farm_grant(&farm, 1, 8);
    assert_int_equal(lease->flights[0]->places[0].index, 0);
    farm_release(&farm);
}

static void test_cancel_one_of_two_that_want_it(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
    struct order *two = farm_order(&farm, "bob", kit_sweep("a frog", 0, 2, &frog_model));
    farm_pages(&farm, 8);
    struct lease *lease = farm_grant(&farm, 1, 1);
    one->state = SWEEP_CANCELLED;
    schedule_drop_order(&farm.scheduler, one);
    assert_int_equal(farm.scheduler.revoke_count, 0); /* bob wants it */
    assert_int_equal(lease->count, 1);
    assert_int_equal(two->running, 1);
    assert_int_equal(farm.scheduler.flight_count, 2);
    assert_int_equal(farm_grant(&farm, 1, 4)->count, 1);
    farm_release(&farm);
}

static void test_pause(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 600, &frog_model));
    struct order *two = farm_order(&farm, "bob", kit_sweep("a frog", 2, 2, &frog_model)); /* ann's third and fourth */
    farm_pages(&farm, 4);
    struct lease *running = farm_grant(&farm, 1, 1);
    struct digest key = running->flights[0]->key;
    one->state = SWEEP_PAUSED;
    schedule_order_changed(&farm.scheduler, one);
    assert_int_equal(farm.queue.waiting, 2);
    struct lease *lease = farm_grant(&farm, 1, 4);
    assert_int_equal(lease->count, 2); /* what bob wants too goes on, and nothing else */
    assert_ptr_equal(lease->flights[0]->docket->order, two);
    assert_null(farm_grant(&farm, 1, 4));
    assert_false(schedule_wants_page(&farm.scheduler, 1000));
    farm_deliver(&farm, 1, &key, 10); /* what runs ends */
    assert_int_equal(one->done, 1);
    struct why why;
    schedule_why_order(&why, &farm.scheduler, one, farm.now_ms);
    assert_int_equal(why.rule, WHY_PAUSED);
    one->state = SWEEP_ACTIVE;
    schedule_order_changed(&farm.scheduler, one);
    assert_int_equal(farm_grant(&farm, 1, 4)->count, 4);
    assert_true(schedule_wants_page(&farm.scheduler, 1000));
    farm_release(&farm);
}

/* ---- pages -------------------------------------------------------------------------------------------------------------- */

static void test_pages(void **state) {
    struct farm farm;
    struct page pages[3];
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *one = farm_order(&farm, "ann", kit_sweep("a frog", 0, 100000, &frog_model));
    struct order *two = farm_order(&farm, "bob", kit_sweep("an owl", 0, 100000, &frog_model));
    assert_true(schedule_take_page(&pages[0], &farm.scheduler, 1)); /* one a sweep, several at once */
    assert_true(schedule_take_page(&pages[1], &farm.scheduler, 1));
    assert_ptr_not_equal(pages[0].order, pages[1].order);
    assert_false(schedule_take_page(&pages[2], &farm.scheduler, 1));
    assert_int_equal(pages[0].count, PAGE_LEAST);
    schedule_page_lost(&farm.scheduler, &pages[0]);
    struct order *lost = one->cursor ? two : one;
    assert_int_equal(lost->cursor, 0);
    assert_true(schedule_take_page(&pages[0], &farm.scheduler, 4096)); /* as many as are wanted */
    assert_ptr_equal(pages[0].order, lost);
    assert_int_equal(pages[0].count, 4096);
    assert_int_equal(pages[0].jobs[0].index, 0);
    for (int i = 0; i < 2; i++) {
        page_resolve(&pages[i]);
        schedule_add_page(farm.asked, &farm.asked_count, &farm.scheduler, &pages[i]);
    }
    assert_int_equal(farm.scheduler.ready_count, 4096 + 256);
    assert_int_equal(farm.scheduler.coming_count, 0);
    farm_release(&farm);
}

/* Nobody can take what is ready, so the next sweeps' jobs are made ready. */
static void test_starved_workers_get_pages(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 1, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 1000, &frog_model));
    struct order *other = farm_order(&farm, "ann", kit_sized_sweep("a frog", 0, 1000, &frog_model, "16x16"));
    farm_pages(&farm, 4);
    assert_int_equal(farm.scheduler.ready_count, 256);
    struct lease *lease = farm_grant(&farm, 1, 1);
    struct digest key = lease->flights[0]->key;
    schedule_memory(&farm.scheduler, farm.workers[0], lease->id, &key, 1, "too much", farm.now_ms);
    assert_null(farm_grant(&farm, 1, 4));
    farm_pages(&farm, 4);
    assert_ptr_equal(farm_grant(&farm, 1, 4)->flights[0]->docket->order, other);
    farm_release(&farm);
}

/* ---- chunks ------------------------------------------------------------------------------------------------------------- */

static void test_chunks(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 2000, &frog_model));
    farm_pages(&farm, 1000);
    assert_int_equal(farm_grant(&farm, 1, 256)->count, 4); /* not measured: one batch */
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 9);
    assert_int_equal(farm_grant(&farm, 1, 256)->count, 108); /* 27 batches of 36 ms in a second */
    assert_int_equal(farm_grant(&farm, 1, 50)->count, 50);   /* no more than asked for */
    farm_grant(&farm, 2, 4);
    farm_deliver_lease(&farm, 2, farm.workers[1]->leases, 400);
    assert_int_equal(farm_grant(&farm, 2, 256)->count, 4); /* slower than a batch a second: a batch all the same */
    farm_release(&farm);
    farm_init(&farm, 1, 4);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 2000, &frog_model));
    farm_pages(&farm, 1000);
    farm_grant(&farm, 1, 4);
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 0);
    assert_int_equal(farm_grant(&farm, 1, 1000)->count, 256); /* the most there is */
    farm_release(&farm);
}

/* Towards the end a worker gets its part of what is left: one of 10 ms and one of 40 ms a job share 4 to 1. */
static void test_chunks_shrink(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 102, &frog_model));
    farm_pages(&farm, 200);
    farm_grant(&farm, 1, 1);
    farm_grant(&farm, 2, 1);
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 10);
    farm_deliver_lease(&farm, 2, farm.workers[1]->leases, 40);
    assert_int_equal(farm_grant(&farm, 2, 256)->count, 20); /* of 100 */
    assert_int_equal(farm_grant(&farm, 1, 256)->count, 64); /* of 80 */
    assert_int_equal(farm_grant(&farm, 1, 256)->count, 13); /* of 16 */
    assert_int_equal(farm_grant(&farm, 1, 256)->count, 3);
    farm_release(&farm);
}

static void test_slow_worker_is_held_back(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 8, &frog_model));
    farm_pages(&farm, 200);
    farm_grant(&farm, 1, 1);
    farm_grant(&farm, 2, 1);
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 100);
    farm_deliver_lease(&farm, 2, farm.workers[1]->leases, 1000);
    /* Six jobs: the fast one has them all in 600 ms. */
    assert_null(farm_grant(&farm, 2, 16));
    struct why why;
    schedule_why_worker(&why, &farm.scheduler, farm.workers[1], farm.now_ms);
    assert_int_equal(why.rule, WHY_TAIL);
    assert_true(schedule_next_ms(&farm.scheduler, farm.now_ms) <= farm.now_ms + 250);
    /* It does not draw them: the slow one waits no longer than a job of its own would have taken. */
    farm.now_ms += 999;
    assert_null(farm_grant(&farm, 2, 16));
    farm.now_ms += 1;
    assert_int_equal(farm_grant(&farm, 2, 16)->count, 1);
    farm_release(&farm);
    /* A slow one is not held back from what the fast one has failed. */
    farm_init(&farm, 2, 1);
    farm_order(&farm, "ann", kit_sweep("a frog", 0, 3, &frog_model));
    farm_pages(&farm, 200);
    farm_grant(&farm, 1, 1);
    farm_grant(&farm, 2, 1);
    farm_deliver_lease(&farm, 1, farm.workers[0]->leases, 100);
    farm_deliver_lease(&farm, 2, farm.workers[1]->leases, 1000);
    struct lease *lease = farm_grant(&farm, 1, 1);
    struct digest key = lease->flights[0]->key;
    schedule_fail(&farm.scheduler, farm.workers[0], lease->id, &key, ERR_NUMERIC, "NaN", farm.now_ms);
    farm.now_ms += 1000;
    assert_null(farm_grant(&farm, 1, 1));
    assert_non_null(farm_grant(&farm, 2, 1));
    farm_release(&farm);
}

static void two_measured(struct farm *farm, uint32_t fast_ms, uint32_t slow_ms) {
    farm_grant(farm, 1, 1);
    farm_grant(farm, 2, 1);
    farm_deliver_lease(farm, 1, farm->workers[0]->leases, fast_ms);
    farm_deliver_lease(farm, 2, farm->workers[1]->leases, slow_ms);
}

static void test_tail_copy(void **state) {
    struct farm farm;
    (void)state;
    for (int fast_wins = 0; fast_wins < 2; fast_wins++) {
        farm_init(&farm, 2, 1);
        struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
        farm_pages(&farm, 200);
        two_measured(&farm, 100, 1000);
        struct lease *quick = farm_grant(&farm, 1, 1);
        struct digest quick_key = quick->flights[0]->key;
        farm.now_ms += 90; /* the last job: by the quick one in 10 + 100 ms */
        assert_null(farm_grant(&farm, 2, 1));
        farm.now_ms += 5000; /* the quick one stands still: it is believed to need as long again */
        struct lease *slow = farm_grant(&farm, 2, 1);
        struct digest key = slow->flights[0]->key;
        farm_deliver(&farm, 1, &quick_key, 100);
        assert_int_equal(farm.scheduler.ready_count, 0);
        struct lease *copy = farm_grant(&farm, 1, 1);
        assert_true(copy->copy);
        assert_int_equal(copy->epoch, 2);
        assert_ptr_equal(copy->flights[0], slow->flights[0]);
        assert_int_equal(slow->flights[0]->lease_count, 2);
        assert_int_equal(order->running, 1);
        assert_null(farm_grant(&farm, 1, 1)); /* never more than two */
        uint64_t loser = fast_wins ? slow->id : copy->id;
        farm_deliver(&farm, fast_wins ? 1 : 2, &key, 100);
        assert_int_equal(farm.scheduler.revoke_count, 1);
        assert_int_equal(farm.scheduler.revokes[0].lease, loser);
        assert_int_equal(farm.scheduler.revokes[0].worker, fast_wins ? 2 : 1);
        assert_int_equal(farm.scheduler.leases.count, 0);
        assert_int_equal(order->done, 4);
        farm_release(&farm);
    }
}

static void test_copies_end_in_every_way(void **state) {
    struct farm farm;
    (void)state;
    farm_init(&farm, 2, 1);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 3, &frog_model));
    farm_pages(&farm, 200);
    two_measured(&farm, 100, 1000);
    schedule_drain(&farm.scheduler, farm.workers[0], true);
    struct lease *slow = farm_grant(&farm, 2, 1);
    struct flight *flight = slow->flights[0];
    assert_null(farm_grant(&farm, 1, 1)); /* draining */
    schedule_drain(&farm.scheduler, farm.workers[0], false);
    struct lease *copy = farm_grant(&farm, 1, 1);
    assert_true(copy->copy);
    /* The copy fails: the job is charged, and still with the other one. */
    schedule_fail(&farm.scheduler, farm.workers[0], copy->id, &flight->key, ERR_NUMERIC, "NaN", farm.now_ms);
    assert_int_equal(flight->state, FLIGHT_LEASED);
    assert_int_equal(flight->lease_count, 1);
    assert_int_equal(flight->attempts, 1);
    assert_int_equal(order->running, 1);
    farm.now_ms += 60000;
    assert_null(farm_grant(&farm, 1, 1)); /* it failed there */
    schedule_worker_gone(&farm.scheduler, farm.workers[1], farm.now_ms);
    assert_int_equal(order->running, 0);
    copy = farm_grant(&farm, 1, 1); /* nobody else is there */
    assert_false(copy->copy);
    assert_int_equal(copy->epoch, 3);
    /* Cancelled with two leases: both are revoked. */
    farm_here(&farm, 2, 1, 0, 0);
    farm.now_ms += 60000;
    schedule_trouble(&farm.scheduler, farm.workers[0], copy->id, ERR_STALE, NULL, farm.now_ms);
    slow = farm_grant(&farm, 2, 1);
    assert_non_null(slow);
    slow->flights[0]->distinct = slow->flights[0]->attempts = 0;
    copy = farm_grant(&farm, 1, 1);
    assert_true(copy->copy);
    order->state = SWEEP_CANCELLED;
    schedule_drop_order(&farm.scheduler, order);
    assert_int_equal(farm.scheduler.revoke_count, 2);
    assert_int_equal(farm.scheduler.leases.count, 0);
    assert_int_equal(farm.scheduler.flight_count, 0);
    farm_release(&farm);
}

/* ---- adopting ----------------------------------------------------------------------------------------------------------- */

static void hold(struct held_job *job, const struct order *order, uint64_t index) {
    struct error error;
    struct bytes text = BYTES_INIT;
    assert_ok(sweep_job(&job->spec, order->sweep, index, &error), error);
    spec_canonical(&text, &job->spec);
    job->key = digest_of(text.data, text.size);
    job->canonical = text_copy(bytes_text(&text));
    bytes_release(&text);
}

static void test_adopt(void **state) {
    struct farm farm;
    struct held_job jobs[3];
    const uint64_t old = UINT64_C(3) << 40;
    (void)state;
    farm_init(&farm, 2, 4);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
    for (uint64_t i = 0; i < 3; i++)
        hold(&jobs[i], order, i);
    bloom_add(farm.bloom, &jobs[2].key); /* perhaps committed */
    assert_true(schedule_adopt(&farm.scheduler, farm.workers[0], old, 7, jobs, 3, farm.now_ms));
    struct lease *lease = lease_find(&farm.scheduler.leases, old);
    assert_int_equal(lease->count, 2);
    assert_int_equal(lease->epoch, 7);
    assert_int_equal(order->running, 0); /* its page has not come */
    struct error error;
    const struct lease_progress progress = { old, 7, PHASE_STEP, 1, 20 };
    assert_ok(schedule_progress(&farm.scheduler, farm.workers[0], &progress, farm.now_ms, &error), error);
    farm_pages(&farm, 4);
    assert_int_equal(order->running, 2);
    assert_int_equal(farm.asked_count, 1);
    schedule_answer(&farm.scheduler, &farm.asked[0], false);
    struct lease *rest = farm_grant(&farm, 2, 4);
    assert_int_equal(rest->count, 1); /* of two, half */
    /* It connects again, and says again what it holds. */
    for (uint64_t i = 0; i < 2; i++)
        hold(&jobs[i], order, i);
    assert_true(schedule_adopt(&farm.scheduler, farm.workers[0], old, 7, jobs, 2, farm.now_ms));
    assert_int_equal(farm.scheduler.leases.count, 2);
    hold(&jobs[0], order, 0);
    assert_false(schedule_adopt(&farm.scheduler, farm.workers[1], old, 7, jobs, 1, farm.now_ms)); /* another's */
    farm_deliver_lease(&farm, 1, lease, 10);
    assert_int_equal(order->done, 2);
    /* With its page here first: out of the ready ones, and granted to nobody else. */
    struct digest last = farm.scheduler.leases.leases[0]->flights[0]->key;
    uint64_t index = digest_equal(&last, &(struct digest[]){ farm_key(order, 3) }[0]) ? 2 : 3;
    hold(&jobs[0], order, index);
    assert_int_equal(farm.scheduler.ready_count, 1);
    assert_true(schedule_adopt(&farm.scheduler, farm.workers[0], old + 1, 1, jobs, 1, farm.now_ms));
    assert_int_equal(farm.scheduler.ready_count, 0);
    assert_int_equal(order->running, 2);
    hold(&jobs[0], order, 0); /* done */
    bloom_add(farm.bloom, &jobs[0].key);
    assert_false(schedule_adopt(&farm.scheduler, farm.workers[0], old + 2, 1, jobs, 1, farm.now_ms));
    farm_release(&farm);
}

static void test_adopted_and_unwanted(void **state) {
    struct farm farm;
    struct held_job job;
    (void)state;
    farm_init(&farm, 1, 4);
    struct order *order = farm_order(&farm, "ann", kit_sweep("a frog", 0, 4, &frog_model));
    hold(&job, order, 0);
    assert_true(schedule_adopt(&farm.scheduler, farm.workers[0], 1 << 20, 1, &job, 1, farm.now_ms));
    schedule_worker_gone(&farm.scheduler, farm.workers[0], farm.now_ms);
    assert_int_equal(farm.scheduler.flight_count, 0); /* nobody has asked for it yet */
    farm_here(&farm, 1, 4, 0, 0);
    farm_pages(&farm, 4);
    assert_int_equal(farm_grant(&farm, 1, 4)->count, 4);
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
        cmocka_unit_test(test_batches_and_shares),
        cmocka_unit_test(test_one_key_one_render),
        cmocka_unit_test(test_known_keys_are_asked_about),
        cmocka_unit_test(test_late_and_failed_commits),
        cmocka_unit_test(test_late_result_ends_another_lease),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_one_of_two_that_want_it),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_starved_workers_get_pages),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_shrink),
        cmocka_unit_test(test_slow_worker_is_held_back),
        cmocka_unit_test(test_tail_copy),
        cmocka_unit_test(test_copies_end_in_every_way),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_adopted_and_unwanted),
        cmocka_unit_test(test_bloom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
