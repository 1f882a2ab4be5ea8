/*
 * test_sim.c - a whole farm without sockets, clocks or disks: queue, scheduler and leases driven by random numbers.
 *
 * Workers draw, fail, vanish and hang; results come late and twice; commits fail; sweeps overlap, are cancelled and asked for
 * again; the coordinator dies and takes up its sweeps from what was committed. Whatever happens: every job ends exactly once,
 * done unless it is poison, and no key is committed twice. A failure names its seed.
 */
#include "tests/coordinator/kit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule.h"

enum { SWEEPS = 4, KEYS = 4000, WORKERS = 3, SEEDS = 200, TROUBLE = 4000 /* steps */, STEPS = 60000, LATE = 64, GROUP = 16, PLACES = 8 };

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
    /* One group on its way to the disk, with the places that it will make done. */
    struct {
        struct digest key;
        struct place places[PLACES];
        uint32_t place_count;
    } group[GROUP];
    size_t group_count;
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
    schedule_init(&sim->scheduler, &sim->queue, sim->bloom, ++sim->life, 16);
    sim->asked_count = 0;
    for (uint64_t i = 0; i < WORKERS; i++) {
        const struct worker_facts facts = { .batch = (uint32_t)dice(sim, 16) + 1 };
        char name[16];
        snprintf(name, sizeof name, "w%" PRIu64, i);
        schedule_worker_here(&sim->scheduler, schedule_worker(&sim->scheduler, name), &facts);
    }
}

static void end_life(struct sim *sim) {
    if (sim->page_out)
        page_release(&sim->page);
    sim->page_out = false;
    sim->group_count = 0; /* it died before the disk had it */
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
        if (sim->queue.orders[i]->state == SWEEP_ACTIVE && order_is_finished(sim->queue.orders[i])) {
            sim->queue.orders[i]->state = SWEEP_DONE;
            schedule_order_changed(&sim->scheduler, sim->queue.orders[i]);
        }
}

/* The group is durable, or it is not: what commit.c does afterwards. */
static void commit_turn(struct sim *sim) {
    bool fails = dice(sim, 20) == 0;
    for (size_t i = 0; i < sim->group_count && !fails; i++) {
        for (uint32_t p = 0; p < sim->group[i].place_count; p++)
            order_set_done(sim->group[i].places[p].order, sim->group[i].places[p].index);
        if (!is_committed(sim, &sim->group[i].key))
            sim->committed[sim->committed_count++] = sim->group[i].key;
    }
    for (size_t i = 0; i < sim->group_count; i++)
        if (fails)
            schedule_commit_failed(&sim->scheduler, &sim->group[i].key);
        else
            schedule_committed(&sim->scheduler, &sim->group[i].key);
    sim->group_count = 0;
}

/* A valid result arrives, from whoever: what gather.c does, and commit.c before the disk. */
static void deliver(struct sim *sim, const struct digest *key) {
    if (sim->group_count == GROUP)
        commit_turn(sim);
    for (size_t i = 0; i < sim->group_count; i++)
        if (digest_equal(&sim->group[i].key, key))
            return;
    size_t at = sim->group_count++;
    schedule_commit_begin(&sim->scheduler, key);
    bloom_add(sim->bloom, key);
    const struct flight *flight = schedule_find(&sim->scheduler, key);
    sim->group[at].key = *key;
    sim->group[at].place_count = flight ? flight->place_count : 0;
    assert_true(sim->group[at].place_count <= PLACES);
    if (flight && flight->place_count)
        memcpy(sim->group[at].places, flight->places, flight->place_count * sizeof *flight->places);
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

static struct worker *any_worker(struct sim *sim) {
    return schedule_worker_number(&sim->scheduler, 1 + dice(sim, WORKERS));
}

static void grant_turn(struct sim *sim) {
    const struct lease *granted =
        schedule_grant(&sim->scheduler, any_worker(sim), (uint32_t)dice(sim, 20), sim->now_ms);
    for (uint32_t i = 0; granted && i < granted->count; i++) {
        const struct flight *flight = granted->flights[i];
        if (is_committed(sim, &flight->key) || flight->committing)
            fail_msg("seed %" PRIu64 ": a job whose picture is here is leased again", sim->seed);
        if (flight->lease_count == 2 && (flight->leases[0]->worker == flight->leases[1]->worker ||
                                         flight->leases[0]->epoch == flight->leases[1]->epoch))
            fail_msg("seed %" PRIu64 ": two leases of a job are one worker's, or of one epoch", sim->seed);
    }
}

static void memory_turn(struct sim *sim, const struct lease *lease) {
    struct digest keys[LIMIT_BATCH];
    uint32_t count = 1 + (uint32_t)dice(sim, lease->count);
    if (count == 1)
        return; /* one alone would never be offered again here */
    for (uint32_t i = 0; i < count; i++)
        keys[i] = lease->flights[i]->key;
    schedule_memory(&sim->scheduler, lease->worker, lease->id, keys, count, "too much", sim->now_ms);
}

static void worker_turn(struct sim *sim) {
    struct scheduler *scheduler = &sim->scheduler;
    if (!scheduler->leases.count || dice(sim, 3) == 0) {
        grant_turn(sim);
        return;
    }
    struct lease *lease = scheduler->leases.leases[dice(sim, scheduler->leases.count)];
    struct digest key = lease->flights[dice(sim, lease->count)]->key;
    uint64_t what = dice(sim, 100);
    if (what < 3) { /* vanished, or its own trouble */
        if (sim->late_count < LATE)
            sim->late[sim->late_count++] = key; /* it had this one, and will bring it */
        schedule_trouble(scheduler, lease->worker, lease->id, ERR_UNREACHABLE, what ? NULL : "its device is gone", sim->now_ms);
    } else if (is_poison(&key)) {
        schedule_fail(scheduler, lease->worker, lease->id, &key, ERR_NUMERIC, "not a number", sim->now_ms);
    } else if (what < 6) {
        schedule_fail(scheduler, lease->worker, lease->id, &key, ERR_CORRUPT, "torn", sim->now_ms);
    } else if (what < 7 && lease->count > 1) {
        memory_turn(sim, lease);
    } else {
        schedule_delivered(scheduler, lease->worker, &key, 100 * (uint32_t)lease->worker->number, sim->now_ms);
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

static void cancel_turn(struct sim *sim) {
    struct order *order = sim->queue.orders[dice(sim, sim->queue.count)];
    if (order->state == SWEEP_ACTIVE) {
        order->state = SWEEP_CANCELLED;
        schedule_drop_order(&sim->scheduler, order);
    } else if (order->state == SWEEP_CANCELLED) {
        order->cursor = 0;
        order->state = SWEEP_ACTIVE;
        schedule_order_changed(&sim->scheduler, order);
        settle_sweeps(sim);
    }
}

static void pause_turn(struct sim *sim) {
    struct order *order = sim->queue.orders[dice(sim, sim->queue.count)];
    if (order->state != SWEEP_ACTIVE && order->state != SWEEP_PAUSED)
        return;
    order->state = order->state == SWEEP_ACTIVE ? SWEEP_PAUSED : SWEEP_ACTIVE;
    order->priority = (int32_t)dice(sim, 5);
    schedule_order_changed(&sim->scheduler, order);
}

/* Gone, and back: perhaps with what it had, of which a coordinator that was restarted knows nothing. */
static void gone_turn(struct sim *sim) {
    struct worker *worker = any_worker(sim);
    const struct worker_facts facts = { .batch = 1 + (uint32_t)dice(sim, 16) };
    struct held_job held[LIMIT_BATCH] = { 0 };
    const struct lease *lease = worker->leases;
    uint32_t count = lease ? lease->count : 0, epoch = lease ? lease->epoch : 0;
    uint64_t id = lease ? lease->id : 0;
    for (uint32_t i = 0; i < count; i++) {
        held[i].key = lease->flights[i]->key;
        spec_copy(&held[i].spec, &lease->flights[i]->spec);
        held[i].canonical = text_copy(lease->flights[i]->canonical);
    }
    if (dice(sim, 2))
        restart(sim);
    else
        schedule_worker_gone(&sim->scheduler, worker, sim->now_ms);
    worker = any_worker(sim);
    schedule_worker_here(&sim->scheduler, worker, &facts);
    schedule_adopt(&sim->scheduler, worker, id, epoch, held, count, sim->now_ms);
}

/* In the end somebody wants everything. */
static void ask_again(struct sim *sim) {
    for (size_t i = 0; i < sim->queue.count; i++) {
        struct order *order = sim->queue.orders[i];
        if (order->state == SWEEP_CANCELLED)
            order->cursor = 0;
        if (order->state != SWEEP_DONE)
            order->state = SWEEP_ACTIVE;
        schedule_order_changed(&sim->scheduler, order);
    }
    settle_sweeps(sim);
}

static void step(struct sim *sim, bool trouble) {
    uint64_t what = dice(sim, 1000);
    sim->now_ms += dice(sim, 2000);
    sim->scheduler.revoke_count = 0;
    if (trouble && what < 2)
        restart(sim);
    else if (trouble && what < 8)
        cancel_turn(sim);
    else if (trouble && what < 10)
        gone_turn(sim);
    else if (trouble && what < 13)
        pause_turn(sim);
    else if (trouble && what < 20 && schedule_expired(&sim->scheduler, sim->now_ms))
        schedule_trouble(&sim->scheduler, schedule_expired(&sim->scheduler, sim->now_ms)->worker,
                         schedule_expired(&sim->scheduler, sim->now_ms)->id, ERR_STALE, "hung", sim->now_ms);
    else if (what < 150)
        page_turn(sim);
    else if (what < 200)
        answer_turn(sim);
    else if (what < 240)
        late_turn(sim);
    else if (what < 270)
        commit_turn(sim);
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

/* Every sum is kept step by step: in the end all of them are nothing. */
static void check_sums(const struct sim *sim) {
    const struct scheduler *scheduler = &sim->scheduler;
    const struct user *user = share_find(&scheduler->share, "tester");
    uint64_t worker_sums = 0, docket_sums = 0;
    for (size_t i = 0; i < scheduler->worker_count; i++)
        worker_sums += scheduler->workers[i]->leased + scheduler->workers[i]->lease_count +
                       (scheduler->workers[i]->leased_cost != 0);
    for (size_t i = 0; i < scheduler->docket_count; i++)
        docket_sums += scheduler->dockets[i]->ready + scheduler->dockets[i]->coming + scheduler->dockets[i]->in_claim;
    if (worker_sums || docket_sums || user->ready_jobs || user->coming_jobs || user->leased || user->heap_at ||
        scheduler->ready_count || scheduler->asked_count || scheduler->coming_count || scheduler->page_count ||
        scheduler->back_off_count || scheduler->class_count || scheduler->flight_count || scheduler->leases.count ||
        scheduler->claimable || sim->queue.waiting || sim->queue.waiting_cost != 0)
        fail_msg("seed %" PRIu64 ": something is counted that is not there", sim->seed);
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
    if (sim->page_out)
        schedule_page_lost(&sim->scheduler, &sim->page);
    sim->page_out = false;
    commit_turn(sim);
    answer_turn(sim);
    while (sim->scheduler.leases.count) /* of pictures that a late result has brought, or that nobody asked for */
        schedule_worker_gone(&sim->scheduler, sim->scheduler.leases.leases[0]->worker, sim->now_ms);
    check_sums(sim);
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
