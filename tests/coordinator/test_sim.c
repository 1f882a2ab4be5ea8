/*
 * test_sim.c - a whole farm without sockets, clocks or disks: queue, scheduler and leases driven by random numbers.
 *
 * Workers draw, fail, vanish and hang; results come late and twice; commits fail; sweeps overlap, are cancelled and asked for
 * again; the coordinator dies and takes up its sweeps from what was committed. Whatever happens: every job ends exactly once,
 * done unless it is poison, and no key is committed twice. A failure names its seed.
 */
#include "tests/coordinator/kit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule.h"

enum { SWEEPS = 4, KEYS = 4000, WORKERS = 3, SEEDS = 200, TROUBLE = 4000 /* steps */, STEPS = 60000, LATE = 64 };

static const struct digest model = { { 1 } };

struct sim {
    uint64_t random, seed, now_ms;
    struct queue queue;
    struct bloom *bloom;
    struct scheduler scheduler;
    struct page page; /* being resolved */
    bool page_out;
    struct digest asked[PAGE_MOST];
    size_t asked_count;
    /* What is durable. */
    struct digest committed[KEYS];
    size_t committed_count;
    uint64_t life;
    /* Results that are on their way, perhaps for the second time. */
    struct digest late[LATE];
    size_t late_count;
};

static uint64_t dice(struct sim *sim, uint64_t sides) {
    return kit_random(&sim->random, sides);
}

static bool is_committed(const struct sim *sim, const struct digest *key) {
    for (size_t i = 0; i < sim->committed_count; i++)
        if (digest_equal(&sim->committed[i], key))
            return true;
    return false;
}

/* One job in sixteen fails wherever it is drawn. */
static bool is_poison(const struct digest *key) {
    return key->bytes[5] % 16 == 0;
}

static void begin_life(struct sim *sim) {
    sim->bloom = bloom_create(KEYS);
    for (size_t i = 0; i < sim->committed_count; i++)
        bloom_add(sim->bloom, &sim->committed[i]);
    schedule_init(&sim->scheduler, &sim->queue, sim->bloom, ++sim->life << 40, 16);
    sim->asked_count = 0;
}

static void end_life(struct sim *sim) {
    if (sim->page_out)
        page_release(&sim->page);
    sim->page_out = false;
    schedule_release(&sim->scheduler);
    bloom_destroy(sim->bloom);
}

static void restart(struct sim *sim) {
    end_life(sim);
    for (size_t i = 0; i < sim->queue.count; i++) /* done and failed places are durable, the rest is not */
        order_untake(sim->queue.orders[i]);
    begin_life(sim);
}

static void settle_sweeps(struct sim *sim) {
    for (size_t i = 0; i < sim->queue.count; i++)
        if (sim->queue.orders[i]->state == SWEEP_ACTIVE && order_is_finished(sim->queue.orders[i]))
            sim->queue.orders[i]->state = SWEEP_DONE;
}

/* A valid result arrives, from whoever: what gather.c and commit.c do. */
static void deliver(struct sim *sim, const struct digest *key) {
    schedule_commit_begin(&sim->scheduler, key);
    if (dice(sim, 40) == 0) {
        schedule_commit_failed(&sim->scheduler, key);
        return;
    }
    const struct flight *flight = schedule_find(&sim->scheduler, key);
    for (uint32_t p = 0; flight && p < flight->place_count; p++)
        order_set_done(flight->places[p].order, flight->places[p].index);
    if (!is_committed(sim, key))
        sim->committed[sim->committed_count++] = *key;
    bloom_add(sim->bloom, key);
    schedule_committed(&sim->scheduler, key);
}

static void settle_pending(struct sim *sim) {
    for (size_t i = 0; i < sim->scheduler.mark_count; i++)
        order_set_done(sim->scheduler.marks[i].order, sim->scheduler.marks[i].index);
    sim->scheduler.mark_count = 0;
    for (size_t i = 0; i < sim->scheduler.loss_count; i++) {
        struct loss *loss = &sim->scheduler.losses[i];
        order_set_failed(loss->place.order, loss->place.index);
        free(loss->text);
    }
    sim->scheduler.loss_count = 0;
    settle_sweeps(sim);
}

static void worker_turn(struct sim *sim) {
    struct lease_table *table = &sim->scheduler.leases;
    if (!table->count || dice(sim, 3) == 0) {
        const struct lease *granted =
            schedule_grant(&sim->scheduler, dice(sim, WORKERS), (uint32_t)dice(sim, 20), WORKERS, sim->now_ms);
        for (uint32_t i = 0; granted && i < granted->count; i++)
            if (is_committed(sim, &granted->flights[i]->key))
                fail_msg("seed %" PRIu64 ": a job that is done is leased again", sim->seed);
        return;
    }
    struct lease *lease = table->leases[dice(sim, table->count)];
    struct digest key = lease->flights[dice(sim, lease->count)]->key;
    uint64_t what = dice(sim, 100);
    if (what < 3) { /* vanished, or its own trouble */
        if (sim->late_count < LATE)
            sim->late[sim->late_count++] = key; /* it had this one, and will bring it */
        schedule_return(&sim->scheduler, lease, ERR_UNREACHABLE, what ? NULL : "out of memory");
    } else if (is_poison(&key)) {
        schedule_fail(&sim->scheduler, lease, &key, ERR_NUMERIC, "not a number");
    } else if (what < 6) {
        schedule_fail(&sim->scheduler, lease, &key, ERR_CORRUPT, "torn");
    } else {
        deliver(sim, &key);
        if (what < 20 && sim->late_count < LATE)
            sim->late[sim->late_count++] = key; /* its acknowledgement is lost: it comes again */
    }
}

static void late_turn(struct sim *sim) {
    if (sim->late_count && !is_poison(&sim->late[0])) {
        deliver(sim, &sim->late[0]);
    }
    if (sim->late_count)
        memmove(sim->late, sim->late + 1, --sim->late_count * sizeof *sim->late);
}

static void page_turn(struct sim *sim) {
    if (!sim->page_out) {
        sim->page_out = schedule_take_page(&sim->page, &sim->scheduler, (uint32_t)dice(sim, 40));
    } else {
        page_resolve(&sim->page);
        if (sim->asked_count + sim->page.count > PAGE_MOST)
            return;
        schedule_add_page(sim->asked, &sim->asked_count, &sim->scheduler, &sim->page);
        sim->page_out = false;
    }
}

static void answer_turn(struct sim *sim) {
    for (size_t i = 0; i < sim->asked_count; i++)
        schedule_answer(&sim->scheduler, &sim->asked[i], is_committed(sim, &sim->asked[i]));
    sim->asked_count = 0;
}

static void ignore_revoke(void *context, const struct lease *lease) {
    (void)context;
    (void)lease;
}

static void cancel_turn(struct sim *sim) {
    struct order *order = sim->queue.orders[dice(sim, sim->queue.count)];
    if (order->state == SWEEP_ACTIVE) {
        order->state = SWEEP_CANCELLED;
        schedule_drop_order(&sim->scheduler, order, ignore_revoke, NULL);
    } else if (order->state == SWEEP_CANCELLED) {
        order->cursor = 0;
        order->state = SWEEP_ACTIVE;
        settle_sweeps(sim);
    }
}

/* In the end somebody wants everything. */
static void ask_again(struct sim *sim) {
    for (size_t i = 0; i < sim->queue.count; i++) {
        struct order *order = sim->queue.orders[i];
        if (order->state == SWEEP_CANCELLED) {
            order->cursor = 0;
            order->state = SWEEP_ACTIVE;
        }
    }
    settle_sweeps(sim);
}

static void step(struct sim *sim, bool trouble) {
    uint64_t what = dice(sim, 1000);
    sim->now_ms += dice(sim, 2000);
    if (trouble && what < 2)
        restart(sim);
    else if (trouble && what < 8)
        cancel_turn(sim);
    else if (trouble && what < 20 && lease_expired(&sim->scheduler.leases, sim->now_ms))
        schedule_return(&sim->scheduler, lease_expired(&sim->scheduler.leases, sim->now_ms), ERR_STALE, "hung");
    else if (what < 150)
        page_turn(sim);
    else if (what < 200)
        answer_turn(sim);
    else if (what < 260)
        late_turn(sim);
    else if (what < 300)
        settle_pending(sim);
    else
        worker_turn(sim);
}

static bool all_ended(const struct sim *sim) {
    for (size_t i = 0; i < sim->queue.count; i++)
        if (sim->queue.orders[i]->state == SWEEP_ACTIVE)
            return false;
    return true;
}

static void check_end(const struct sim *sim) {
    for (size_t i = 0; i < sim->queue.count; i++) {
        const struct order *order = sim->queue.orders[i];
        uint64_t done = 0, failed = 0;
        for (uint64_t index = 0; index < order->places; index++) {
            enum job_state is = order_job_state(order, index);
            done += is == JOB_DONE;
            failed += is == JOB_FAILED;
            struct spec spec;
            struct error error;
            assert_ok(sweep_job(&spec, order->sweep, index, &error), error);
            struct digest key = spec_key(&spec);
            spec_release(&spec);
            if (is == JOB_DONE && !is_committed(sim, &key))
                fail_msg("seed %" PRIu64 ": job %" PRIu64 " is done and its picture nowhere", sim->seed, index);
            if (is_poison(&key) != (is == JOB_FAILED) && is_poison(&key))
                fail_msg("seed %" PRIu64 ": poison job %" PRIu64 " is %s", sim->seed, index, job_state_name(is));
        }
        if (done != order->done || failed != order->failed || done + failed != order->jobs || order->running)
            fail_msg("seed %" PRIu64 ": sweep %" PRIu64 ": %" PRIu64 " done (%" PRIu64 "), %" PRIu64 " failed (%" PRIu64 ") of %" PRIu64
                     ", %" PRIu64 " running", sim->seed, order->number, order->done, done, order->failed, failed, order->jobs,
                     order->running);
    }
}

static void run_seed(uint64_t seed) {
    struct sim *sim = memory_get(sizeof *sim);
    sim->seed = sim->random = seed;
    queue_init(&sim->queue);
    for (uint64_t number = 1; number <= SWEEPS; number++) /* they overlap */
        kit_order(&sim->queue, number, "sim", kit_sweep("a frog", dice(sim, 300), 1 + dice(sim, 900), &model));
    begin_life(sim);
    for (int i = 0; i < TROUBLE; i++)
        step(sim, true);
    ask_again(sim);
    for (int i = 0; i < STEPS && !all_ended(sim); i++)
        step(sim, false);
    for (size_t i = 0; i < sim->queue.count; i++)
        if (sim->queue.orders[i]->state == SWEEP_ACTIVE)
            fail_msg("seed %" PRIu64 ": sweep %zu has not ended: %" PRIu64 " of %" PRIu64 " done, %zu ready, %zu flights", seed, i + 1,
                     sim->queue.orders[i]->done, sim->queue.orders[i]->jobs, sim->scheduler.ready_count,
                     sim->scheduler.flight_count);
    check_end(sim);
    end_life(sim);
    queue_release(&sim->queue);
    free(sim);
}

static void test_every_job_ends_once(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_job_ends_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
