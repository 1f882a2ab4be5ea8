/* schedule.c - workers and sweeps, as the scheduler knows them. */
#include "coordinator/schedule.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule_parts.h"

enum { BUCKETS_LEAST = 1024, NAMES_LEAST = 64 };

void schedule_init(struct scheduler *schedule, struct queue *queue, struct bloom *bloom, uint64_t life, uint32_t max_batch) {
    *schedule = (struct scheduler){ .queue = queue, .bloom = bloom, .bucket_count = BUCKETS_LEAST, .class_room = BUCKETS_LEAST,
                                   .name_count = NAMES_LEAST, .version = 1, .look_again_ms = UINT64_MAX,
                                   .max_batch = max_batch, .first_epoch = (uint32_t)life << EPOCH_BITS };
    schedule->buckets = memory_get_array(schedule->bucket_count, sizeof *schedule->buckets);
    schedule->classes = memory_get_array(schedule->class_room, sizeof *schedule->classes);
    schedule->names = memory_get_array(schedule->name_count, sizeof *schedule->names);
    share_init(&schedule->share);
    lease_table_init(&schedule->leases, (life << LEASE_ID_BITS) + 1);
    schedule_notice(schedule);
}

static void release_dockets(struct scheduler *schedule) {
    for (size_t i = 0; i < schedule->docket_count; i++) {
        struct docket *docket = schedule->dockets[i];
        for (struct lane *lane = docket->lanes, *next; lane; lane = next) {
            next = lane->next;
            free(lane);
        }
        docket->order->docket = NULL;
        free(docket);
    }
    free(schedule->dockets);
}

static void release_flights(struct scheduler *schedule) {
    for (size_t i = 0; i < schedule->bucket_count; i++)
        for (struct flight *flight = schedule->buckets[i], *chain; flight; flight = chain) {
            chain = flight->chain;
            flight_free(flight);
        }
    for (size_t i = 0; i < schedule->class_room; i++)
        for (struct batch_class *class = schedule->classes[i], *chain; class; class = chain) {
            chain = class->chain;
            spec_release(&class->spec);
            free(class);
        }
    free(schedule->buckets);
    free(schedule->classes);
    free(schedule->back_off);
}

void schedule_release(struct scheduler *schedule) {
    for (size_t i = 0; i < schedule->loss_count; i++)
        free(schedule->losses[i].text);
    release_flights(schedule);
    release_dockets(schedule);
    lease_table_release(&schedule->leases);
    for (size_t i = 0; i < schedule->worker_count; i++)
        worker_destroy(schedule->workers[i]);
    share_release(&schedule->share);
    free(schedule->workers);
    free(schedule->names);
    free(schedule->speeds);
    free(schedule->walls);
    free(schedule->losses);
    free(schedule->marks);
    free(schedule->revokes);
    *schedule = (struct scheduler){ 0 };
}

void schedule_bump(struct scheduler *schedule) {
    schedule->version++;
}

/* ---- workers ---------------------------------------------------------------------------------------------------------- */

/* FNV-1a. */
static size_t hash_name(const char *name) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
    return (size_t)hash;
}

/* Where it is, or would be. */
static struct worker **name_place(const struct scheduler *schedule, const char *name) {
    size_t at = hash_name(name) & (schedule->name_count - 1);
    while (schedule->names[at] && strcmp(schedule->names[at]->name, name) != 0)
        at = (at + 1) & (schedule->name_count - 1);
    return &schedule->names[at];
}

struct worker *schedule_find_worker(const struct scheduler *schedule, const char *name) {
    return *name_place(schedule, name);
}

static void names_grow(struct scheduler *schedule) {
    free(schedule->names);
    schedule->name_count *= 2;
    schedule->names = memory_get_array(schedule->name_count, sizeof *schedule->names);
    for (size_t i = 0; i < schedule->worker_count; i++)
        *name_place(schedule, schedule->workers[i]->name) = schedule->workers[i];
}

struct worker *schedule_worker(struct scheduler *schedule, const char *name) {
    struct worker *worker = schedule_find_worker(schedule, name);
    if (worker)
        return worker;
    if (2 * (schedule->worker_count + 1) > schedule->name_count)
        names_grow(schedule);
    worker = worker_create(schedule->worker_count + 1, name);
    schedule->workers = memory_grow(schedule->workers, schedule->worker_count + 1, sizeof *schedule->workers);
    schedule->workers[schedule->worker_count++] = worker;
    *name_place(schedule, name) = worker;
    return worker;
}

struct worker *schedule_worker_number(const struct scheduler *schedule, uint64_t number) {
    return number >= 1 && number <= schedule->worker_count ? schedule->workers[number - 1] : NULL;
}

void schedule_count_worker(struct scheduler *schedule, struct worker *worker) {
    bool counts = worker->present && !worker->draining && !worker->probation;
    double pace = counts && worker->unit_ms > 0 ? 1 / worker->unit_ms : 0;
    schedule->present += (uint32_t)counts - (uint32_t)worker->counted;
    schedule->share.slack_ms = (double)AFFINITY_MS * schedule->present;
    schedule->measured += (uint32_t)(pace > 0) - (uint32_t)(worker->pace > 0);
    schedule->pace = schedule->measured ? schedule->pace + pace - worker->pace : 0;
    worker->counted = counts;
    worker->pace = pace;
}

void schedule_worker_here(struct scheduler *schedule, struct worker *worker, const struct worker_facts *facts) {
    worker_set_facts(worker, facts);
    worker->present = true;
    schedule_count_worker(schedule, worker);
    schedule_bump(schedule);
}

void schedule_worker_gone(struct scheduler *schedule, struct worker *worker, uint64_t now_ms) {
    worker->present = false;
    worker->held_ms = 0;
    schedule_count_worker(schedule, worker);
    while (worker->leases) /* all in one moment: one trouble */
        schedule_trouble(schedule, worker, worker->leases->id, ERR_UNREACHABLE, NULL, now_ms);
    schedule_bump(schedule);
}

void schedule_drain(struct scheduler *schedule, struct worker *worker, bool drain) {
    worker->draining = drain;
    schedule_count_worker(schedule, worker);
    schedule_bump(schedule);
}

enum bar schedule_bar(const struct scheduler *schedule, const struct worker *worker, const struct spec *spec) {
    if (!worker_can_numerics(worker, spec->numerics))
        return BAR_NUMERICS;
    if (!worker_batch(worker, spec))
        return BAR_MEMORY;
    for (size_t i = 0; i < schedule->wall_count; i++) {
        const struct memory_wall *wall = &schedule->walls[i];
        if (worker->memory_bytes && worker->memory_bytes <= wall->bytes && memory_kind_is(&wall->kind, spec))
            return BAR_MEMORY;
    }
    return BAR_NONE;
}

bool flight_failed_on(const struct flight *flight, const struct worker *worker) {
    for (uint32_t i = 0; i < flight->distinct; i++)
        if (flight->failed_on[i] == worker->number)
            return true;
    return false;
}

/* Benched again and again, with no success between: nobody waits for it. */
static bool is_hopeless(const struct worker *worker) {
    return worker->benches >= HOPELESS_BENCHES;
}

const struct worker *schedule_untried(const struct scheduler *schedule, const struct flight *flight) {
    for (size_t i = 0; i < schedule->worker_count; i++) {
        const struct worker *worker = schedule->workers[i];
        if (worker->present && !worker->draining && !is_hopeless(worker) && !flight_failed_on(flight, worker) &&
            schedule_bar(schedule, worker, &flight->spec) == BAR_NONE)
            return worker;
    }
    return NULL;
}

static double model_unit_ms(const struct scheduler *schedule, const struct digest *model) {
    for (size_t i = 0; i < schedule->speed_count; i++)
        if (digest_equal(&schedule->speeds[i].model, model))
            return schedule->speeds[i].unit_ms;
    return 0;
}

double schedule_job_ms(const struct scheduler *schedule, const struct worker *worker, const struct spec *spec) {
    double unit_ms = worker_unit_ms(worker, &spec->model);
    if (!(unit_ms > 0))
        unit_ms = worker->unit_ms;
    if (!(unit_ms > 0))
        unit_ms = model_unit_ms(schedule, &spec->model);
    if (!(unit_ms > 0))
        unit_ms = schedule->unit_ms;
    return unit_ms * spec_cost(spec);
}

void schedule_revoke(struct scheduler *schedule, const struct lease *lease) {
    if (schedule->revoke_count == schedule->revoke_room) {
        schedule->revoke_room = schedule->revoke_room ? 2 * schedule->revoke_room : 16;
        schedule->revokes = memory_grow(schedule->revokes, schedule->revoke_room, sizeof *schedule->revokes);
    }
    schedule->revokes[schedule->revoke_count++] = (struct revoke){ lease->worker->number, lease->id, lease->epoch };
}

/* ---- users and sweeps --------------------------------------------------------------------------------------------------- */

void schedule_set_weight(struct scheduler *schedule, const char *user, uint32_t weight) {
    share_set_weight(&schedule->share, user, weight);
}

bool docket_is_open(const struct docket *docket) {
    return docket->order->state == SWEEP_ACTIVE;
}

/* Does `a` go before `b`? */
static bool is_before(const struct docket *a, const struct docket *b) {
    if (a->order->priority != b->order->priority)
        return a->order->priority > b->order->priority;
    return a->order->number < b->order->number;
}

static void ready_link(struct docket *docket) {
    struct docket **next = &docket->user->ready, *previous = NULL;
    while (*next && is_before(*next, docket)) {
        previous = *next;
        next = &previous->ready_next;
    }
    docket->ready_previous = previous;
    docket->ready_next = *next;
    if (*next)
        (*next)->ready_previous = docket;
    *next = docket;
    docket->in_ready = true;
}

static void ready_unlink(struct docket *docket) {
    *(docket->ready_previous ? &docket->ready_previous->ready_next : &docket->user->ready) = docket->ready_next;
    if (docket->ready_next)
        docket->ready_next->ready_previous = docket->ready_previous;
    docket->in_ready = false;
    docket->passed_ms = 0;
}

/* From behind: a new sweep is the youngest. */
static void claim_link(struct docket *docket) {
    struct user *user = docket->user;
    struct docket *previous = user->claim_last;
    while (previous && is_before(docket, previous))
        previous = previous->claim_previous;
    docket->claim_previous = previous;
    docket->claim_next = previous ? previous->claim_next : user->claim_first;
    *(docket->claim_next ? &docket->claim_next->claim_previous : &user->claim_last) = docket;
    *(previous ? &previous->claim_next : &user->claim_first) = docket;
    docket->in_claim = true;
}

static void claim_unlink(struct docket *docket) {
    struct user *user = docket->user;
    *(docket->claim_previous ? &docket->claim_previous->claim_next : &user->claim_first) = docket->claim_next;
    *(docket->claim_next ? &docket->claim_next->claim_previous : &user->claim_last) = docket->claim_previous;
    docket->in_claim = false;
}

void docket_update(struct scheduler *schedule, struct docket *docket) {
    bool ready = docket->ready && docket_is_open(docket), claim = order_may_have_untaken(docket->order);
    if (ready != docket->in_ready) {
        if (ready)
            ready_link(docket);
        else
            ready_unlink(docket);
    }
    if (claim != docket->in_claim) {
        schedule->claimable += claim ? 1 : SIZE_MAX;
        if (claim)
            claim_link(docket);
        else
            claim_unlink(docket);
    }
    if (docket->user->ready || docket->user->claim_first)
        share_wake(&schedule->share, docket->user);
    else
        share_sleep(&schedule->share, docket->user);
}

static void docket_add(struct scheduler *schedule, struct order *order) {
    struct docket *docket = memory_get(sizeof *docket);
    docket->order = order;
    docket->user = share_user(&schedule->share, order->user);
    docket->page_size = PAGE_LEAST;
    order->docket = docket;
    schedule->dockets = memory_grow(schedule->dockets, schedule->docket_count + 1, sizeof *schedule->dockets);
    schedule->dockets[schedule->docket_count++] = docket;
    schedule_order_changed(schedule, order);
}

void schedule_notice(struct scheduler *schedule) {
    while (schedule->orders_seen < schedule->queue->count) {
        struct order *order = schedule->queue->orders[schedule->orders_seen++];
        if (!order->docket)
            docket_add(schedule, order);
    }
}

/* Jobs that other sweeps want too do not wait for a paused one. */
static void leave_paused(struct scheduler *schedule, struct docket *docket) {
    for (struct lane *lane = docket->lanes, *next; lane; lane = next) {
        next = lane->next;
        struct flight *flight = lane->first;
        for (uint32_t left = lane->count; left--;) {
            struct flight *after = flight->next;
            flight_choose_docket(schedule, flight);
            flight = after;
        }
    }
}

void schedule_order_changed(struct scheduler *schedule, struct order *order) {
    struct docket *docket = order->docket;
    if (!docket) {
        schedule_notice(schedule); /* comes here */
        return;
    }
    if (docket->in_ready)
        ready_unlink(docket);
    if (docket->in_claim) {
        claim_unlink(docket);
        schedule->claimable--;
    }
    if (order->sweep && !(docket->job_cost > 0))
        order->job_cost = docket->job_cost = spec_cost(&order->sweep->fixed);
    order_recount(order);
    docket_update(schedule, docket);
    if (order->state == SWEEP_PAUSED)
        leave_paused(schedule, docket);
    schedule_bump(schedule);
}
