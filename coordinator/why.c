/* why.c - see why.h. */
#include "coordinator/why.h"

#include "coordinator/schedule_parts.h"

const char *why_rule_name(enum why_rule rule) {
    static const char *const names[] = { [WHY_NOTHING] = "nothing", [WHY_DONE] = "done", [WHY_CANCELLED] = "cancelled",
        [WHY_PAUSED] = "paused", [WHY_BROKEN] = "broken", [WHY_LEASED] = "leased", [WHY_COMMITTING] = "committing",
        [WHY_ASKED] = "asked", [WHY_NO_WORKERS] = "no-workers", [WHY_NUMERICS] = "no-numerics", [WHY_MEMORY] = "no-memory",
        [WHY_BENCHED] = "benched", [WHY_DRAINING] = "draining", [WHY_BACK_OFF] = "back-off",
        [WHY_FAILED_HERE] = "failed-here", [WHY_PRIORITY] = "priority", [WHY_SHARE] = "share", [WHY_QUEUED] = "queued",
        [WHY_ABSENT] = "absent", [WHY_WORKING] = "working", [WHY_PROBATION] = "probation", [WHY_NO_WORK] = "no-work",
        [WHY_TAIL] = "tail" };
    return (unsigned)rule <= WHY_TAIL && names[rule] ? names[rule] : "unknown";
}

/* Every worker that is here under the first rule that excludes it. `flight` may be NULL. */
static void count_workers(struct why *why, const struct scheduler *schedule, const struct spec *spec,
                          const struct flight *flight, uint64_t now_ms) {
    why->numerics = spec->numerics;
    why->model = spec->model;
    why->width = spec->width;
    why->height = spec->height;
    for (size_t i = 0; i < schedule->worker_count; i++) {
        const struct worker *worker = schedule->workers[i];
        if (!worker->present)
            continue;
        why->workers++;
        enum bar bar = schedule_bar(schedule, worker, spec);
        if (bar == BAR_NUMERICS) {
            why->lack_numerics++;
        } else if (bar == BAR_MEMORY) {
            why->lack_memory++;
        } else if (worker->draining) {
            why->draining++;
        } else if (worker_is_benched(worker, now_ms)) {
            why->benched++;
            if (!why->until_ms || worker->benched_until_ms < why->until_ms) {
                why->until_ms = worker->benched_until_ms;
                why->worker = worker;
            }
        } else if (flight && flight_failed_on(flight, worker) && schedule_untried(schedule, flight)) {
            why->failed_it++;
        } else {
            why->able++;
        }
    }
}

/* No worker that is here may take it: the rule that excludes most of what the others leave. */
static bool nobody_can(struct why *why) {
    if (!why->workers)
        why->rule = WHY_NO_WORKERS;
    else if (why->able)
        return false;
    else if (why->benched)
        why->rule = WHY_BENCHED;
    else if (why->failed_it)
        why->rule = WHY_FAILED_HERE;
    else if (why->draining)
        why->rule = WHY_DRAINING;
    else if (why->lack_memory)
        why->rule = WHY_MEMORY;
    else
        why->rule = WHY_NUMERICS;
    return true;
}

static bool docket_has_work(const struct docket *docket) {
    return docket->in_ready || docket->in_claim;
}

/* Of the same user's sweeps: those before this one, and the first of them. */
static void count_before(struct why *why, const struct docket *docket) {
    const struct order *own = docket->order;
    const struct user *user = docket->user;
    for (size_t i = 0; i < own->queue->count; i++) {
        const struct order *order = own->queue->orders[i];
        const struct docket *other = order->docket;
        if (!other || other->user != user || order == own || !docket_has_work(other) ||
            order->priority < own->priority || (order->priority == own->priority && order->number > own->number))
            continue;
        why->before += order->counted;
        if (!why->first || order->priority > why->first->priority)
            why->first = order;
    }
}

/* Workers could take it: who goes first? */
static void whose_turn(struct why *why, const struct scheduler *schedule, const struct docket *docket) {
    count_before(why, docket);
    why->rule = WHY_QUEUED;
    if (why->first && why->first->priority > docket->order->priority) {
        why->rule = WHY_PRIORITY;
        why->priority = why->first->priority;
        return;
    }
    const struct user *next = schedule->share.count ? schedule->share.heap[0] : NULL;
    if (!why->first && next && next != docket->user) {
        const struct docket *its = next->ready ? next->ready : next->claim_first;
        why->rule = WHY_SHARE;
        why->first = its ? its->order : NULL;
    }
}

static bool order_rule(struct why *why, const struct order *order) {
    if (order->state == SWEEP_CANCELLED)
        why->rule = WHY_CANCELLED;
    else if (order->state == SWEEP_DONE || order_is_finished(order))
        why->rule = WHY_DONE;
    else if (!order->sweep)
        why->rule = WHY_BROKEN;
    else if (order->state == SWEEP_PAUSED)
        why->rule = WHY_PAUSED;
    else
        return false;
    return true;
}

void schedule_why_flight(struct why *why, const struct scheduler *schedule, const struct flight *flight, uint64_t now_ms) {
    *why = (struct why){ .rule = WHY_NOTHING, .attempts = flight->attempts };
    count_workers(why, schedule, &flight->spec, flight, now_ms);
    if (flight->committing) {
        why->rule = WHY_COMMITTING;
    } else if (flight->lease_count) {
        why->rule = WHY_LEASED;
        why->lease = flight->leases[0];
        why->worker = why->lease->worker;
    } else if (flight->docket && order_rule(why, flight->docket->order)) {
        return;
    } else if (flight->state == FLIGHT_ASKED) {
        why->rule = WHY_ASKED;
    } else if (nobody_can(why)) {
        return;
    } else if (flight->state == FLIGHT_BACK_OFF) {
        why->rule = WHY_BACK_OFF;
        why->until_ms = flight->again_ms;
    } else if (flight->docket) {
        whose_turn(why, schedule, flight->docket);
    }
}

static const struct flight *find_back_off(const struct scheduler *schedule, const struct docket *docket) {
    for (size_t i = 0; i < schedule->back_off_count; i++)
        if (schedule->back_off[i]->docket == docket)
            return schedule->back_off[i];
    return NULL;
}

void schedule_why_order(struct why *why, const struct scheduler *schedule, const struct order *order, uint64_t now_ms) {
    const struct docket *docket = order->docket;
    *why = (struct why){ .rule = WHY_NOTHING };
    if (order_rule(why, order))
        return;
    const struct flight *flight = docket && docket->lanes ? docket->lanes->first : NULL;
    bool more = order_may_have_untaken(order) || (docket && docket->coming);
    if (!flight && docket && !more && !order->running)
        flight = find_back_off(schedule, docket);
    if (flight) {
        schedule_why_flight(why, schedule, flight, now_ms);
        return;
    }
    count_workers(why, schedule, &order->sweep->fixed, NULL, now_ms);
    if (!more && order->running)
        why->rule = WHY_LEASED;
    else if (!nobody_can(why) && docket)
        whose_turn(why, schedule, docket);
}

/* Of the ready jobs: is there one that this worker may take, and what forbids the others? */
static void what_bars(struct why *why, const struct scheduler *schedule, const struct worker *worker) {
    bool could = false;
    for (size_t i = 0; i < schedule->class_room; i++)
        for (const struct batch_class *class = schedule->classes[i]; class; class = class->chain) {
            enum bar bar = class->lanes ? schedule_bar(schedule, worker, &class->spec) : BAR_NONE;
            could = could || (class->lanes && bar == BAR_NONE);
            if (bar == BAR_NONE || could)
                continue;
            why->rule = bar == BAR_NUMERICS ? WHY_NUMERICS : WHY_MEMORY;
            why->numerics = class->spec.numerics;
            why->model = class->spec.model;
            why->width = class->spec.width;
            why->height = class->spec.height;
        }
    if (could)
        why->rule = worker->held_ms ? WHY_TAIL : WHY_NOTHING;
}

void schedule_why_worker(struct why *why, const struct scheduler *schedule, const struct worker *worker, uint64_t now_ms) {
    *why = (struct why){ .rule = WHY_NO_WORK, .worker = worker, .lease = worker->leases, .before = schedule->queue->waiting };
    if (!worker->present) {
        why->rule = WHY_ABSENT;
    } else if (worker->draining) {
        why->rule = WHY_DRAINING;
    } else if (worker_is_benched(worker, now_ms)) {
        why->rule = WHY_BENCHED;
        why->until_ms = worker->benched_until_ms;
    } else if (worker->lease_count) {
        why->rule = worker->probation ? WHY_PROBATION : WHY_WORKING;
    } else {
        what_bars(why, schedule, worker);
    }
}
