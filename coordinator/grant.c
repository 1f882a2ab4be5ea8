/* grant.c - what a worker gets: whose, which sweep's, how many. */
#include <math.h>
#include <string.h>

#include "coordinator/schedule_parts.h"

enum {
    DOCKETS_LIMIT = 256, /* a user's sweeps looked at */
    LANE_LIMIT = 256,    /* jobs of a lane looked at, beyond those that are taken */
    MATES_LIMIT = 64,    /* lanes looked at to fill a batch up */
    USERS_LIMIT = 32,    /* users looked at for a nearer model */
    IDLE_LOOK_MS = 250   /* how often a worker without work looks for one to copy, or whether to be held back still */
};

/* Before anything is measured: small beside whatever will be. */
#define UNIT_MS_UNKNOWN 1e-9

struct picked {
    struct docket *docket;
    struct lane *lane;
};

/* A job that failed here before goes to another worker, if there is one that has not failed it. */
static bool flight_suits(const struct scheduler *schedule, const struct flight *flight, const struct worker *worker) {
    return !flight_failed_on(flight, worker) || !schedule_untried(schedule, flight);
}

static struct flight *lane_next(const struct scheduler *schedule, struct flight *flight, const struct worker *worker) {
    for (uint32_t looked = 0; flight && looked < LANE_LIMIT; flight = flight->next, looked++)
        if (flight_suits(schedule, flight, worker))
            return flight;
    return NULL;
}

/* The sweep's lane that suits the worker best, the first of equals. */
static struct lane *docket_lane(const struct scheduler *schedule, const struct docket *docket, const struct worker *worker) {
    struct lane *best = NULL;
    int best_at_hand = -1;
    for (struct lane *lane = docket->lanes; lane && best_at_hand < 2; lane = lane->next) {
        const struct spec *spec = &lane->class->spec;
        int at_hand = worker_affinity(worker, spec, &lane->class->prepared);
        if (at_hand <= best_at_hand || schedule_bar(schedule, worker, spec) != BAR_NONE ||
            !lane_next(schedule, lane->first, worker))
            continue;
        best = lane;
        best_at_hand = at_hand;
    }
    return best;
}

/* Of this user's sweeps: the highest priority there is for this worker; of those the one whose model is nearest, but not
 * for longer than AGEING_MS before the oldest. */
static bool pick_docket(struct picked *picked, const struct scheduler *schedule, const struct user *user,
                        const struct worker *worker, uint64_t now_ms) {
    struct picked oldest = { NULL, NULL };
    int at_hand = -1;
    uint32_t looked = 0;
    for (struct docket *docket = user->ready; docket && at_hand < 2 && looked < DOCKETS_LIMIT;
         docket = docket->ready_next, looked++) {
        if (oldest.docket && docket->order->priority < oldest.docket->order->priority)
            break;
        struct lane *lane = docket_lane(schedule, docket, worker);
        if (!lane)
            continue;
        if (!oldest.docket)
            oldest = (struct picked){ docket, lane };
        int here = worker_affinity(worker, &lane->class->spec, &lane->class->prepared);
        if (here > at_hand) {
            at_hand = here;
            *picked = (struct picked){ docket, lane };
        }
    }
    if (!oldest.docket)
        return false;
    if (picked->docket != oldest.docket) {
        if (!oldest.docket->passed_ms)
            oldest.docket->passed_ms = now_ms ? now_ms : 1;
        if (now_ms - oldest.docket->passed_ms >= AGEING_MS)
            *picked = oldest;
    }
    return true;
}

/* Of the users whose turn it is, or nearly: the one whose model is nearest, of those the first. Else many users with many models
 * would have every worker load one after the other. */
static bool pick(struct picked *picked, struct scheduler *schedule, const struct worker *worker, uint64_t now_ms) {
    struct user *stash = NULL, *user;
    double latest = INFINITY;
    int at_hand = -1;
    uint32_t looked = 0;
    while (at_hand < 2 && (at_hand < 0 || looked < USERS_LIMIT) && (user = share_pop(&schedule->share, &stash)) && user->tag <= latest) {
        struct picked of_user = { NULL, NULL };
        if (!pick_docket(&of_user, schedule, user, worker, now_ms))
            continue;
        int here = worker_affinity(worker, &of_user.lane->class->spec, &of_user.lane->class->prepared);
        if (here > at_hand) {
            at_hand = here;
            *picked = of_user;
        }
        latest = fmin(latest, user->tag + schedule->share.slack_ms);
        looked++;
    }
    share_restore(&schedule->share, stash);
    return at_hand >= 0;
}

/* ---- how many ------------------------------------------------------------------------------------------------------------ */

/* Its part of all work that waits, in proportion to its speed: so all workers come to the end together. */
static double share_of(const struct scheduler *schedule, const struct worker *worker) {
    if (!schedule->present)
        return 1;
    if (!schedule->measured)
        return 1.0 / schedule->present;
    double mean = schedule->pace / schedule->measured;
    double own = worker->pace > 0 ? worker->pace : mean;
    return fmin(own / (mean * schedule->present), 1);
}

/* A batch, or as many as are drawn in LEASE_MS, and towards the end no more than the worker's share. */
static uint32_t chunk_size(const struct scheduler *schedule, const struct worker *worker, const struct flight *flight,
                           uint32_t room) {
    const struct spec *spec = &flight->spec;
    uint32_t batch = worker_batch(worker, spec), jobs = batch;
    double job_ms = worker_unit_ms(worker, &spec->model) * flight->cost;
    if (job_ms > 0) {
        double batches = floor(LEASE_MS / (job_ms * batch));
        jobs = batches * batch >= LIMIT_BATCH ? LIMIT_BATCH : batches > 1 ? (uint32_t)batches * batch : batch;
    }
    double waiting = schedule->queue->waiting_cost / flight->cost;
    double share = ceil(fmax(waiting, (double)schedule->ready_count) * share_of(schedule, worker) - 1e-6);
    uint32_t limits[] = { room, schedule->max_batch, LIMIT_BATCH, share < 1 ? 1 : share < LIMIT_BATCH ? (uint32_t)share : LIMIT_BATCH };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        jobs = jobs < limits[i] ? jobs : limits[i];
    return jobs;
}

static uint32_t collect_lane(struct flight *mates[LIMIT_BATCH], uint32_t count, const struct scheduler *schedule,
                             const struct lane *lane, const struct worker *worker, uint32_t room) {
    struct flight *flight = lane->first;
    while (count < room && (flight = lane_next(schedule, flight, worker))) {
        mates[count++] = flight;
        flight = flight->next;
    }
    return count;
}

/* The lane's, and then those of other sweeps that share its batch. */
static uint32_t collect(struct flight *mates[LIMIT_BATCH], const struct scheduler *schedule, const struct lane *lane,
                        const struct worker *worker, uint32_t room) {
    uint32_t count = collect_lane(mates, 0, schedule, lane, worker, room), looked = 0;
    for (const struct lane *other = lane->class->lanes; other && count < room && looked < MATES_LIMIT;
         other = other->class_next, looked++)
        if (other != lane && docket_is_open(other->docket))
            count = collect_lane(mates, count, schedule, other, worker, room);
    return count;
}

/* ---- the lease ----------------------------------------------------------------------------------------------------------- */

static void charge(struct scheduler *schedule, struct flight *flight, const struct worker *worker) {
    double ms = schedule_job_ms(schedule, worker, &flight->spec);
    flight->charged_ms = ms > 0 ? ms : flight->cost * UNIT_MS_UNKNOWN;
    if (flight->docket)
        share_charge(&schedule->share, flight->docket->user, flight->charged_ms);
}

void grant_settle(struct scheduler *schedule, struct flight *flight, const struct worker *worker) {
    if (flight->docket && flight->charged_ms <= flight->cost * UNIT_MS_UNKNOWN) {
        share_refund(&schedule->share, flight->docket->user, flight->charged_ms);
        charge(schedule, flight, worker);
    }
}

static struct lease *lend(struct scheduler *schedule, struct worker *worker, struct flight **mates, uint32_t count,
                          uint64_t now_ms) {
    uint32_t epoch = 0;
    double ms = 0;
    uint64_t free_ms = tail_free_ms(worker, now_ms);
    for (uint32_t i = 0; i < count; i++) {
        epoch = mates[i]->grants + 1 > epoch ? mates[i]->grants + 1 : epoch;
        ms += schedule_job_ms(schedule, worker, &mates[i]->spec);
    }
    struct lease *lease = lease_grant(&schedule->leases, worker, epoch, mates, count, now_ms);
    lease->expected_ms = ms > 0 && free_ms ? free_ms + (uint64_t)ceil(ms) : 0;
    for (uint32_t i = 0; i < count; i++) {
        lease->copy = mates[i]->lease_count > 0;
        charge(schedule, mates[i], worker);
        if (mates[i]->docket)
            mates[i]->docket->passed_ms = 0;
        if (!lease->copy)
            flight_take(schedule, mates[i]);
        flight_join(mates[i], lease);
    }
    worker->held_ms = 0;
    worker_loads(worker, &mates[0]->spec);
    return lease;
}

/* Held back, but for no longer than the job would have taken: those who should have ended it sooner have not. */
static bool is_held_back(struct scheduler *schedule, struct worker *worker, const struct flight *flight, uint64_t now_ms) {
    if (!tail_holds_back(schedule, worker, flight, now_ms)) {
        worker->held_ms = 0;
        return false;
    }
    if (!worker->held_ms)
        worker->held_ms = now_ms ? now_ms : 1;
    worker->look_again_ms = worker->held_ms + (uint64_t)ceil(schedule_job_ms(schedule, worker, &flight->spec));
    return now_ms < worker->look_again_ms;
}

/* NULL: nothing; *soon: something better may come any moment, so do not look for copies. */
static struct lease *grant_ready(bool *soon, struct scheduler *schedule, struct worker *worker, uint32_t room,
                                 uint64_t now_ms) {
    struct flight *mates[LIMIT_BATCH];
    struct picked picked = { NULL, NULL };
    if (!schedule->ready_count || !pick(&picked, schedule, worker, now_ms)) {
        schedule->starved = schedule->claimable > 0;
        *soon = schedule->claimable || schedule->page_count || schedule->asked_count;
        return NULL;
    }
    const struct flight *first = lane_next(schedule, picked.lane->first, worker);
    *soon = false;
    if (is_held_back(schedule, worker, first, now_ms))
        return NULL;
    room = chunk_size(schedule, worker, first, room);
    uint32_t count = collect(mates, schedule, picked.lane, worker, room);
    if (count < room && picked.docket->coming && picked.docket->ready < room) {
        *soon = true; /* a fuller batch */
        return NULL;
    }
    return lend(schedule, worker, mates, count, now_ms);
}

static struct lease *grant_copy(struct scheduler *schedule, struct worker *worker, uint32_t room, uint64_t now_ms) {
    struct flight *copies[LIMIT_BATCH];
    uint32_t count = tail_copy(copies, schedule, worker, room < schedule->max_batch ? room : schedule->max_batch, now_ms);
    return count ? lend(schedule, worker, copies, count, now_ms) : NULL;
}

static bool may_have_more(const struct worker *worker, uint64_t now_ms) {
    return worker->present && !worker->draining && !worker_is_benched(worker, now_ms) &&
           !(worker->probation && worker->lease_count);
}

void schedule_tick(struct scheduler *schedule, uint64_t now_ms) {
    schedule_wake_due(schedule, now_ms);
    if (now_ms >= schedule->look_again_ms)
        schedule->look_again_ms = UINT64_MAX; /* whoever finds nothing now says anew when to look */
}

struct lease *schedule_grant(struct scheduler *schedule, struct worker *worker, uint32_t room, uint64_t now_ms) {
    bool soon;
    struct lease *lease = NULL;
    schedule_notice(schedule);
    schedule_tick(schedule, now_ms);
    if (!room)
        return NULL;
    if (worker->looked_version != schedule->version || now_ms >= worker->look_again_ms) {
        uint64_t version = schedule->version;
        worker->look_again_ms = UINT64_MAX;
        if (worker_is_benched(worker, now_ms))
            worker->look_again_ms = worker->benched_until_ms;
        if (may_have_more(worker, now_ms)) {
            room = worker->probation ? 1 : room;
            lease = grant_ready(&soon, schedule, worker, room, now_ms);
            if (!lease && !soon)
                lease = grant_copy(schedule, worker, room, now_ms);
            if (!lease && (schedule->leases.count || worker->held_ms) && now_ms + IDLE_LOOK_MS < worker->look_again_ms)
                worker->look_again_ms = now_ms + IDLE_LOOK_MS;
        }
        worker->looked_version = lease ? 0 : version;
    }
    if (!lease)
        schedule_look_again(schedule, worker->look_again_ms);
    return lease;
}

void schedule_look_again(struct scheduler *schedule, uint64_t again_ms) {
    if (again_ms < schedule->look_again_ms)
        schedule->look_again_ms = again_ms;
}

bool schedule_has_news(struct scheduler *schedule, uint64_t version, uint64_t now_ms) {
    schedule_notice(schedule);
    schedule_wake_due(schedule, now_ms);
    return schedule->version != version || now_ms >= schedule->look_again_ms;
}

uint64_t schedule_next_ms(const struct scheduler *schedule, uint64_t now_ms) {
    uint64_t next_ms = lease_next_deadline_ms(&schedule->leases);
    if (schedule->look_again_ms < next_ms)
        next_ms = schedule->look_again_ms;
    if (schedule->back_off_count && schedule->back_off[0]->again_ms < next_ms)
        next_ms = schedule->back_off[0]->again_ms;
    return next_ms > now_ms ? next_ms : now_ms;
}
