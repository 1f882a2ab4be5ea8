/* audit.c - what must hold inside the coordinator: after every turn, after every start, at the end. */
#include <inttypes.h>
#include <stdlib.h>

#include "coordinator/farm.h"
#include "tests/sim/sim.h"

enum { IDLE_MS = 1000 /* the loop's */ };

static struct order *order_of(uint32_t sweep) {
    return queue_find(&world.farm->queue, &pool.sweeps[sweep].id);
}

static uint32_t bits(uint32_t word) {
    return (uint32_t)__builtin_popcount(word);
}

/* ---- after a turn ------------------------------------------------------------------------------------------------------------------ */

static void audit_lease(const struct lease *lease) {
    for (uint32_t i = 0; i < lease->count; i++) {
        const struct flight *flight = lease->flights[i];
        bool listed = false;
        if (flight->lease_count > COPIES_LIMIT)
            broken("a job is in %u leases at once", flight->lease_count);
        for (uint32_t l = 0; l < flight->lease_count; l++) {
            const struct lease *other = flight->leases[l];
            listed = listed || other == lease;
            if (other != lease && other->worker == lease->worker)
                broken("a job is twice with %s", lease->worker->name);
            if (other != lease && other->epoch == lease->epoch)
                broken("two live leases of a job have epoch %u", lease->epoch);
        }
        if (!listed)
            broken("lease %" PRIu64 " has a job that does not know of it", lease->id);
    }
    if (lease->step == ECHO_STEP)
        broken("lease %" PRIu64 " was renewed by a report of an older epoch", lease->id);
    if (!lease->worker->present)
        broken("%s is gone and has lease %" PRIu64, lease->worker->name, lease->id);
}

/* Does this seed let nobody disappear who could try a job? */
static bool all_are_there(void) {
    static const enum fault taking[] = { FAULT_CRASH, FAULT_DIE, FAULT_RESTART, FAULT_KILL, FAULT_STOP, FAULT_FREEZE, FAULT_HANG,
                                         FAULT_RESET, FAULT_PARTITION, FAULT_DRAIN, FAULT_TROUBLE };
    for (size_t i = 0; i < sizeof taking / sizeof *taking; i++)
        if (world.plan.faults[taking[i]])
            return false;
    return world.plan.queue_limit == 1000;
}

static void note_hopeless(void) {
    for (uint32_t i = 0; i < world.plan.worker_count; i++) {
        const struct worker *worker = schedule_find_worker(&world.farm->scheduler, world.workers[i].name);
        if (worker && worker->benches >= HOPELESS_BENCHES)
            world.workers[i].hopeless = true;
    }
}

/* Failed for good: by three workers, or by all where there are fewer. */
static void audit_loss(uint32_t sweep, uint32_t index) {
    const struct record *record = &records[pool.sweeps[sweep].jobs[index]];
    uint32_t most = world.plan.worker_count;
    for (uint32_t i = 0; i < world.plan.worker_count; i++)
        most -= world.workers[i].hopeless;
    if (most > DISTINCT_LIMIT)
        most = DISTINCT_LIMIT;
    if (record->failures < ATTEMPTS_LIMIT)
        broken("job %u of %s has failed for good after %u failures", index, pool.sweeps[sweep].name, record->failures);
    if (all_are_there() && bits(record->failed_by) < most)
        broken("job %u of %s has failed for good, though only %u of %u workers have failed it", index, pool.sweeps[sweep].name,
               bits(record->failed_by), world.plan.worker_count);
}

static void audit_losses(void) {
    for (uint32_t s = 0; s < pool.sweep_count; s++) {
        const struct order *order = tracks[s].asked ? order_of(s) : NULL;
        for (uint32_t i = 0; order && order->failed && i < pool.sweeps[s].count; i++)
            if (order_job_state(order, i) == JOB_FAILED)
                audit_loss(s, i);
    }
}

void audit_turn(void) {
    const struct scheduler *scheduler = &world.farm->scheduler;
    note_hopeless();
    if (!chance(250))
        return;
    for (size_t i = 0; i < scheduler->leases.count; i++)
        audit_lease(scheduler->leases.leases[i]);
    audit_losses();
}

/* ---- after a start ----------------------------------------------------------------------------------------------------------------- */

static void audit_key(uint32_t job) {
    struct error error;
    bool has = false;
    if (!records[job].acknowledged)
        return;
    if (ledger_has(&has, world.farm->ledger, &pool.jobs[job].key, 1, &error) != ERR_OK)
        broken("the ledger: %s", error.message);
    else if (!has)
        broken("a result that was acknowledged is lost: %s", pool.jobs[job].canonical);
    else if (!objects_has(&pool.jobs[job].picture))
        broken("a picture that was acknowledged is lost: %s", pool.jobs[job].canonical);
}

static void audit_sweep(uint32_t sweep) {
    const struct track *track = &tracks[sweep];
    const struct order *order = order_of(sweep);
    const char *name = pool.sweeps[sweep].name;
    if (!track->accepted)
        return;
    if (!order) {
        broken("%s was accepted and is lost", name);
        return;
    }
    if (order->done < track->told_done || order->failed < track->told_failed)
        broken("%s had %" PRIu64 " done and %" PRIu64 " failed, now it has %" PRIu64 " and %" PRIu64, name, track->told_done,
               track->told_failed, order->done, order->failed);
    if (track->told_over && order->state != SWEEP_DONE)
        broken("%s was done, now it is %s", name, sweep_state_name(order->state));
    if (track->cancelled && order->state != SWEEP_CANCELLED)
        broken("%s was cancelled, now it is %s", name, sweep_state_name(order->state));
    if (track->paused && !track->cancelled && order->state != SWEEP_PAUSED && order->state != SWEEP_DONE)
        broken("%s was paused, now it is %s", name, sweep_state_name(order->state));
}

void audit_life(void) {
    for (uint32_t i = 0; i < pool.job_count; i++)
        audit_key(i);
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        audit_sweep(i);
}

/* ---- at the end -------------------------------------------------------------------------------------------------------------------- */

bool audit_is_idle(void) {
    struct coordinator *farm = world.farm;
    uint64_t later_ms = farm->now_ms + IDLE_MS;
    return sessions_next_ms(farm) > later_ms && gather_next_ms(farm) > later_ms &&
           !schedule_wants_page(&farm->scheduler, farm->sessions.wanted);
}

bool audit_store_is_full(void) {
    return world.farm->store_full;
}

bool audit_is_at_rest(void) {
    const struct scheduler *scheduler = &world.farm->scheduler;
    return !scheduler->flight_count && !scheduler->leases.count && !scheduler->mark_count && !scheduler->loss_count &&
           !inbox_outstanding(world.farm->inbox);
}

static bool nothing_goes_wrong(void) {
    for (int i = 0; i < FAULT_COUNT; i++)
        if (world.plan.faults[i])
            return false;
    for (uint32_t i = 0; i < world.plan.worker_count; i++)
        if (world.plan.workers[i].liar)
            return false;
    for (uint32_t i = 0; i < world.plan.script_count; i++)
        if (world.plan.script[i].what == DO_CANCEL)
            return false;
    return world.plan.queue_limit == 1000;
}

/* A job is drawn once, and once more as a copy; each thing that goes wrong may cost it that again. */
static void audit_renders(void) {
    uint32_t most = nothing_goes_wrong() ? COPIES_LIMIT : COPIES_LIMIT * (2 + world.disturbances + world.plan.script_count);
    for (uint32_t i = 0; i < pool.job_count; i++)
        if (records[i].renders > most + records[i].failures)
            broken("%s was drawn %u times", pool.jobs[i].canonical, records[i].renders);
}

static void audit_ended(void) {
    uint64_t rendered = 0;
    for (uint32_t s = 0; s < pool.sweep_count; s++) {
        const struct order *order = tracks[s].accepted ? order_of(s) : NULL;
        if (!order)
            continue;
        rendered += order->rendered;
        if (order->state == SWEEP_DONE && order->done + order->failed != order->jobs)
            broken("%s is over with %" PRIu64 " done and %" PRIu64 " failed of %" PRIu64, pool.sweeps[s].name, order->done,
                   order->failed, order->jobs);
        if (order->running)
            broken("%s is over and %" PRIu64 " of its jobs are running", pool.sweeps[s].name, order->running);
        for (uint32_t i = 0; i < pool.sweeps[s].count; i++) {
            const struct record *record = &records[pool.sweeps[s].jobs[i]];
            if (order_job_state(order, i) == JOB_DONE && !record->renders)
                broken("job %u of %s is done, and nobody has drawn it", i, pool.sweeps[s].name);
        }
    }
    if (rendered > ledger_key_count(world.farm->ledger))
        broken("%" PRIu64 " jobs are counted as drawn, and there are %" PRIu64 " results", rendered,
               ledger_key_count(world.farm->ledger));
    uint64_t distinct = 0;
    for (uint32_t i = 0; i < pool.job_count; i++)
        distinct += records[i].renders > 0;
    if (ledger_key_count(world.farm->ledger) > distinct)
        broken("the ledger has %" PRIu64 " results of %" PRIu64 " jobs", ledger_key_count(world.farm->ledger), distinct);
}

void audit_end(void) {
    audit_ended();
    audit_losses();
    audit_renders();
    audit_life();
}

void audit_farm_lines(void) {
    const struct scheduler *scheduler = &world.farm->scheduler;
    trace("the coordinator holds %zu jobs on their way, %zu ready, %zu asked about, %zu backing off, %zu leases, %zu pages",
          scheduler->flight_count, scheduler->ready_count, scheduler->asked_count, scheduler->back_off_count,
          scheduler->leases.count, scheduler->page_count);
    for (size_t i = 0; i < scheduler->leases.count; i++) {
        const struct lease *lease = scheduler->leases.leases[i];
        trace("  lease %" PRIu64 " of %s: %u jobs, epoch %u, phase %s%s", lease->id & 0xffffffffff, lease->worker->name,
              lease->count, lease->epoch, work_phase_name(lease->phase), lease->copy ? ", a copy" : "");
    }
    for (size_t i = 0; i < scheduler->worker_count; i++) {
        const struct worker *worker = scheduler->workers[i];
        trace("  %s:%s%s %u leases, benched until %" PRIu64 "%s", worker->name, worker->present ? "" : " gone",
              worker->draining ? " draining" : "", worker->lease_count, worker->benched_until_ms,
              worker->probation ? ", on probation" : "");
    }
    for (size_t i = 0; i < world.farm->queue.count; i++) {
        const struct order *order = world.farm->queue.orders[i];
        trace("  %s: %s, %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64 " running of %" PRIu64, order->name,
              sweep_state_name(order->state), order->done, order->failed, order->running, order->jobs);
    }
}
