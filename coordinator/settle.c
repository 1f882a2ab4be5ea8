/* settle.c - what ends well: deliveries and commits; leases of an earlier life; sweeps that nobody wants any more. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule_parts.h"

/* ---- commits ------------------------------------------------------------------------------------------------------------ */

static void learn(struct scheduler *schedule, struct worker *worker, struct flight *flight, uint32_t render_ms) {
    const struct digest *model = &flight->spec.model;
    struct speed *speed = NULL;
    worker_learn(worker, model, flight->cost, render_ms);
    for (size_t i = 0; i < schedule->speed_count && !speed; i++)
        if (digest_equal(&schedule->speeds[i].model, model))
            speed = &schedule->speeds[i];
    if (!speed) {
        schedule->speeds = memory_grow(schedule->speeds, schedule->speed_count + 1, sizeof *schedule->speeds);
        speed = &schedule->speeds[schedule->speed_count++];
        *speed = (struct speed){ .model = *model };
    }
    double unit_ms = worker_unit_ms(worker, model);
    speed->unit_ms += ((speed->unit_ms > 0 ? 1.0 / 16 : 1) * (unit_ms - speed->unit_ms));
    schedule->unit_ms += ((schedule->unit_ms > 0 ? 1.0 / 16 : 1) * (unit_ms - schedule->unit_ms));
    grant_settle(schedule, flight, worker);
    if (flight->docket)
        flight->docket->user->device_ms += render_ms; /* its sweep's is counted by the commit that makes it durable */
}

/* Whoever has it as well need not go on, if that was the last of its lease. */
static void leave_for_good(struct scheduler *schedule, struct flight *flight, struct lease *lease) {
    if (lease->count == 1 && lease->worker->number != flight->deliverer)
        schedule_revoke(schedule, lease);
    flight_leave(schedule, flight, lease);
}

void schedule_delivered(struct scheduler *schedule, struct worker *worker, const struct digest *key, uint32_t render_ms,
                        uint64_t now_ms) {
    struct flight *flight = schedule_find(schedule, key);
    if (!worker)
        return;
    if (worker_is_benched(worker, now_ms) || worker->probation)
        schedule_bump(schedule);
    worker_success(worker);
    if (flight && !flight->committing) {
        worker->jobs_done++;
        flight->deliverer = worker->number;
        learn(schedule, worker, flight, render_ms);
        bool has_it = false;
        for (uint32_t i = 0; i < flight->lease_count; i++)
            has_it = has_it || flight->leases[i]->worker == worker;
        for (uint32_t i = flight->lease_count; has_it && i-- > 0;)
            if (flight->leases[i]->worker != worker)
                leave_for_good(schedule, flight, flight->leases[i]);
    }
    schedule_count_worker(schedule, worker);
}

void schedule_commit_begin(struct scheduler *schedule, const struct digest *key) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight)
        return;
    flight->committing = true;
    if (flight->state == FLIGHT_READY || flight->state == FLIGHT_BACK_OFF)
        flight_take(schedule, flight); /* COMMITTING */
}

void schedule_committed(struct scheduler *schedule, const struct digest *key) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight)
        return;
    for (uint32_t p = 0; p < flight->place_count; p++) {
        struct place place = flight->places[p];
        order_set_leased(place.order, place.index, false);
        if (order_job_state(place.order, place.index) != JOB_DONE)
            schedule_mark(schedule, place); /* it came to the flight while the commit was under way */
    }
    while (flight->lease_count)
        leave_for_good(schedule, flight, flight->leases[flight->lease_count - 1]);
    flight_remove(schedule, flight);
}

void schedule_commit_failed(struct scheduler *schedule, const struct digest *key) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight)
        return;
    flight->committing = false;
    flight->deliverer = 0;
    if (flight->state == FLIGHT_COMMITTING)
        flight_back(schedule, flight, 0);
}

/* ---- adopting ----------------------------------------------------------------------------------------------------------- */

/* The flight that this job is, free to join the lease; NULL: it is not. */
static struct flight *adopt_job(struct scheduler *schedule, const struct worker *worker, struct held_job *job, uint32_t epoch) {
    struct flight *flight = schedule_find(schedule, &job->key);
    if (!flight) {
        if (bloom_has(schedule->bloom, &job->key))
            return NULL; /* perhaps committed: when its place asks, the ledger will tell */
        flight = flight_add(schedule, &job->key, &job->spec, &job->canonical);
        flight->state = FLIGHT_COMMITTING; /* in nobody's hands yet */
        return flight;
    }
    if (flight->committing || flight->state == FLIGHT_ASKED || flight->lease_count >= COPIES_LIMIT)
        return NULL;
    if (flight->lease_count && (flight->leases[0]->worker == worker || flight->leases[0]->epoch == epoch))
        return NULL;
    if (!flight->lease_count)
        flight_take(schedule, flight);
    return flight;
}

static void held_release(struct held_job *jobs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        spec_release(&jobs[i].spec);
        free(jobs[i].canonical);
        jobs[i].canonical = NULL;
    }
}

bool schedule_adopt(struct scheduler *schedule, struct worker *worker, uint64_t id, uint32_t epoch, struct held_job *jobs,
                    size_t count, uint64_t now_ms) {
    struct flight *flights[LIMIT_BATCH];
    uint32_t adopted = 0;
    const struct lease *there = lease_find(&schedule->leases, id);
    assert(count <= LIMIT_BATCH);
    bool was_given = epoch >> EPOCH_BITS <= schedule->first_epoch >> EPOCH_BITS; /* by us, in this life or before */
    for (size_t i = 0; i < count && !there && was_given; i++) {
        struct flight *flight = adopt_job(schedule, worker, &jobs[i], epoch);
        for (uint32_t k = 0; flight && k < adopted; k++)
            if (flights[k] == flight)
                flight = NULL; /* it names a job twice */
        if (flight)
            flights[adopted++] = flight;
    }
    held_release(jobs, count);
    if (there)
        return there->worker == worker && there->epoch == epoch;
    if (!adopted)
        return false;
    struct lease *lease = lease_adopt(&schedule->leases, worker, id, epoch, flights, adopted, now_ms);
    double ms = 0;
    for (uint32_t i = 0; i < adopted; i++) {
        lease->copy = lease->copy || flights[i]->lease_count;
        flight_join(flights[i], lease);
        ms += schedule_job_ms(schedule, worker, &flights[i]->spec);
    }
    lease->expected_ms = ms > 0 ? now_ms + (uint64_t)ms : 0;
    worker_loads(worker, &flights[0]->spec);
    schedule_bump(schedule);
    return true;
}

/* ---- dropping ----------------------------------------------------------------------------------------------------------- */

static void drop_pending(struct scheduler *schedule, const struct order *order) {
    size_t kept = 0;
    for (size_t i = 0; i < schedule->mark_count; i++)
        if (schedule->marks[i].order != order)
            schedule->marks[kept++] = schedule->marks[i];
    schedule->mark_count = kept;
    kept = 0;
    for (size_t i = 0; i < schedule->loss_count; i++)
        if (schedule->losses[i].place.order != order)
            schedule->losses[kept++] = schedule->losses[i];
        else
            free(schedule->losses[i].text);
    schedule->loss_count = kept;
}

static bool drop_places(struct flight *flight, const struct order *order) {
    uint32_t kept = 0, before = flight->place_count;
    for (uint32_t p = 0; p < before; p++)
        if (flight->places[p].order != order)
            flight->places[kept++] = flight->places[p];
    flight->place_count = kept;
    return kept < before;
}

static bool lease_is_wanted(const struct lease *lease) {
    for (uint32_t i = 0; i < lease->count; i++)
        if (lease->flights[i]->place_count)
            return true;
    return false;
}

/* Ids of leases in which somebody wants one job less. */
struct touched {
    uint64_t *leases;
    size_t count, room;
};

static void touch(struct touched *touched, const struct flight *flight) {
    for (uint32_t i = 0; i < flight->lease_count; i++) {
        if (touched->count == touched->room) {
            touched->room = touched->room ? 2 * touched->room : 64;
            touched->leases = memory_grow(touched->leases, touched->room, sizeof *touched->leases);
        }
        touched->leases[touched->count++] = flight->leases[i]->id;
    }
}

static void drop_from(struct scheduler *schedule, struct touched *touched, struct flight *flight, const struct order *order) {
    if (!drop_places(flight, order))
        return;
    if (flight->place_count) {
        flight_choose_docket(schedule, flight);
    } else if (flight->state == FLIGHT_READY || flight->state == FLIGHT_BACK_OFF) {
        flight_remove(schedule, flight);
    } else {
        flight_choose_docket(schedule, flight);
        touch(touched, flight);
    }
}

void schedule_drop_order(struct scheduler *schedule, struct order *order) {
    struct touched touched = { 0 };
    order_untake(order);
    drop_pending(schedule, order);
    for (size_t i = 0; i < schedule->bucket_count; i++)
        for (struct flight *flight = schedule->buckets[i], *chain; flight; flight = chain) {
            chain = flight->chain;
            drop_from(schedule, &touched, flight, order);
        }
    for (size_t i = 0; i < touched.count; i++) {
        struct lease *lease = lease_find(&schedule->leases, touched.leases[i]);
        if (!lease || lease_is_wanted(lease))
            continue;
        schedule_revoke(schedule, lease);
        lease_return(schedule, lease);
    }
    free(touched.leases);
    schedule_order_changed(schedule, order);
}
