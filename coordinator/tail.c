/* tail.c - the end of the work: who is too slow to begin another job, and who should draw one a second time. */
#include <math.h>

#include "coordinator/schedule_parts.h"

#define CLEARLY 1.25 /* a copy is worth it if it would be over in less than 1 / CLEARLY of the time */

uint64_t tail_free_ms(const struct worker *worker, uint64_t now_ms) {
    uint64_t free_ms = now_ms;
    for (const struct lease *lease = worker->leases; lease; lease = lease->next) {
        if (!lease->expected_ms)
            return 0;
        /* One that is late already is believed to be as late again. */
        uint64_t end_ms = lease->expected_ms >= now_ms ? lease->expected_ms : now_ms + (now_ms - lease->expected_ms);
        if (end_ms > free_ms)
            free_ms = end_ms;
    }
    return free_ms;
}

/* Jobs like this one that `worker` will have ended strictly before `end_ms`. */
static double capacity(const struct scheduler *schedule, const struct worker *worker, const struct flight *flight,
                       double end_ms, uint64_t now_ms) {
    double job_ms = schedule_job_ms(schedule, worker, &flight->spec);
    uint64_t free_ms = tail_free_ms(worker, now_ms);
    if (!(job_ms > 0) || !free_ms || (double)free_ms >= end_ms)
        return 0;
    return fmax(ceil((end_ms - (double)free_ms) / job_ms) - 1, 0);
}

bool tail_holds_back(const struct scheduler *schedule, const struct worker *worker, const struct flight *flight,
                     uint64_t now_ms) {
    double own_ms = worker_unit_ms(worker, &flight->spec.model) * flight->cost;
    double waiting = fmax(schedule->queue->waiting_cost / flight->cost, 1), others = 0;
    if (!(own_ms > 0) || schedule->present < 2 || waiting * flight->cost > own_ms * schedule->pace)
        return false; /* all of them together need longer for what waits than this one for a job */
    for (size_t i = 0; i < schedule->worker_count && others < waiting; i++) {
        const struct worker *other = schedule->workers[i];
        if (other != worker && other->counted && !flight_failed_on(flight, other) &&
            schedule_bar(schedule, other, &flight->spec) == BAR_NONE)
            others += capacity(schedule, other, flight, (double)now_ms + own_ms, now_ms);
    }
    return others >= waiting;
}

/* ---- copies --------------------------------------------------------------------------------------------------------------- */

/* A copy is a new grant: none for what is paused. */
static bool is_active(const struct flight *flight) {
    for (uint32_t p = 0; p < flight->place_count; p++)
        if (flight->places[p].order->state == SWEEP_ACTIVE)
            return true;
    return false;
}

/* May this worker draw the last `count` jobs of the lease too, or fewer of them? */
static uint32_t can_copy(const struct scheduler *schedule, const struct worker *worker, const struct lease *lease,
                         uint32_t room) {
    uint32_t count = 0;
    if (lease->worker == worker || lease->copy || schedule_bar(schedule, worker, &lease->flights[0]->spec) != BAR_NONE)
        return 0;
    for (uint32_t i = lease->count; i-- > 0 && count < room; count++) {
        const struct flight *flight = lease->flights[i];
        if (flight->committing || !is_active(flight) || flight->lease_count >= COPIES_LIMIT || flight_failed_on(flight, worker))
            break;
    }
    return count;
}

uint32_t tail_copy(struct flight *copies[LIMIT_BATCH], const struct scheduler *schedule, const struct worker *worker,
                   uint32_t room, uint64_t now_ms) {
    const struct lease *best = NULL;
    uint32_t best_count = 0;
    double best_end_ms = 0;
    for (size_t i = 0; i < schedule->leases.count; i++) {
        const struct lease *lease = schedule->leases.leases[i];
        if (!lease->expected_ms)
            continue;
        double late_ms = (double)now_ms - (double)lease->expected_ms;
        double end_ms = late_ms > 0 ? (double)now_ms + late_ms : (double)lease->expected_ms;
        const struct spec *spec = &lease->flights[0]->spec;
        double job_ms = schedule_job_ms(schedule, worker, spec);
        if (end_ms <= best_end_ms || !(job_ms > 0))
            continue;
        uint32_t batch = worker_batch(worker, spec);
        uint32_t count = can_copy(schedule, worker, lease, batch < room ? batch : room);
        double free_ms = (double)tail_free_ms(worker, now_ms) - (double)now_ms;
        uint32_t in_time = (uint32_t)fmin(fmax(ceil(((end_ms - (double)now_ms) / CLEARLY - free_ms) / job_ms) - 1, 0), LIMIT_BATCH);
        count = count < in_time ? count : in_time;
        if (!count)
            continue;
        best = lease;
        best_count = count;
        best_end_ms = end_ms;
    }
    for (uint32_t i = 0; i < best_count; i++)
        copies[i] = best->flights[best->count - best_count + i];
    return best_count;
}
