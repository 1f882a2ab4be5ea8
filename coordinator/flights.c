/* flights.c - the tables of flights: by key, by lane, by back-off; and their ways into and out of leases. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule_parts.h"

/* ---- by key ------------------------------------------------------------------------------------------------------------- */

static struct flight **bucket_of(const struct scheduler *schedule, const struct digest *key) {
    uint64_t word;
    memcpy(&word, key->bytes, sizeof word); /* SHA-256: any word of it is a hash */
    return &schedule->buckets[word & (schedule->bucket_count - 1)];
}

struct flight *schedule_find(const struct scheduler *schedule, const struct digest *key) {
    for (struct flight *flight = *bucket_of(schedule, key); flight; flight = flight->chain)
        if (digest_equal(&flight->key, key))
            return flight;
    return NULL;
}

static void buckets_grow(struct scheduler *schedule) {
    size_t old_count = schedule->bucket_count;
    struct flight **old = schedule->buckets;
    schedule->bucket_count *= 2;
    schedule->buckets = memory_get_array(schedule->bucket_count, sizeof *schedule->buckets);
    for (size_t i = 0; i < old_count; i++)
        for (struct flight *flight = old[i], *chain; flight; flight = chain) {
            struct flight **bucket = bucket_of(schedule, &flight->key);
            chain = flight->chain;
            flight->chain = *bucket;
            *bucket = flight;
        }
    free(old);
}

/* ---- classes ------------------------------------------------------------------------------------------------------------ */

/* Of the larger part of what spec_batches_with compares. */
static struct batch_class **class_bucket(const struct scheduler *schedule, const struct spec *spec) {
    uint64_t hash;
    memcpy(&hash, spec->model.bytes, sizeof hash);
    hash = (hash ^ spec->width) * UINT64_C(1099511628211);
    hash = (hash ^ spec->height) * UINT64_C(1099511628211);
    hash = (hash ^ spec->steps) * UINT64_C(1099511628211);
    hash = (hash ^ (uint64_t)spec->sampler) * UINT64_C(1099511628211);
    return &schedule->classes[(hash >> 20) & (schedule->class_room - 1)];
}

static struct batch_class *class_get(struct scheduler *schedule, const struct spec *spec) {
    struct batch_class **bucket = class_bucket(schedule, spec);
    for (struct batch_class *class = *bucket; class; class = class->chain)
        if (spec_batches_with(&class->spec, spec)) {
            class->uses++;
            return class;
        }
    struct batch_class *class = memory_get(sizeof *class);
    spec_copy(&class->spec, spec);
    class->prepared = spec_model_key(spec);
    class->uses = 1;
    class->chain = *bucket;
    *bucket = class;
    schedule->class_count++;
    return class;
}

static void class_put(struct scheduler *schedule, struct batch_class *class) {
    if (--class->uses)
        return;
    struct batch_class **place = class_bucket(schedule, &class->spec);
    while (*place != class)
        place = &(*place)->chain;
    *place = class->chain;
    schedule->class_count--;
    spec_release(&class->spec);
    free(class);
}

struct flight *flight_add(struct scheduler *schedule, const struct digest *key, struct spec *spec, char **canonical) {
    if (schedule->flight_count >= schedule->bucket_count)
        buckets_grow(schedule);
    struct flight *flight = memory_get(sizeof *flight);
    struct flight **bucket = bucket_of(schedule, key);
    flight->key = *key;
    spec_take(&flight->spec, spec);
    flight->canonical = *canonical;
    *canonical = NULL;
    flight->cost = spec_cost(&flight->spec);
    flight->class = class_get(schedule, &flight->spec);
    flight->grants = schedule->first_epoch;
    flight->chain = *bucket;
    *bucket = flight;
    schedule->flight_count++;
    return flight;
}

void flight_free(struct flight *flight) {
    spec_release(&flight->spec);
    free(flight->canonical);
    free(flight->places);
    free(flight->trouble);
    free(flight);
}

/* ---- lanes -------------------------------------------------------------------------------------------------------------- */

static struct lane *lane_get(struct docket *docket, struct batch_class *class) {
    for (struct lane *lane = class->lanes; lane; lane = lane->class_next)
        if (lane->docket == docket)
            return lane;
    struct lane *lane = memory_get(sizeof *lane);
    *lane = (struct lane){ .docket = docket, .class = class, .previous = docket->lanes_last, .class_next = class->lanes };
    *(lane->previous ? &lane->previous->next : &docket->lanes) = lane;
    docket->lanes_last = lane;
    if (class->lanes)
        class->lanes->class_previous = lane;
    class->lanes = lane;
    return lane;
}

static void lane_free(struct lane *lane) {
    *(lane->previous ? &lane->previous->next : &lane->docket->lanes) = lane->next;
    *(lane->next ? &lane->next->previous : &lane->docket->lanes_last) = lane->previous;
    *(lane->class_previous ? &lane->class_previous->class_next : &lane->class->lanes) = lane->class_next;
    if (lane->class_next)
        lane->class_next->class_previous = lane->class_previous;
    free(lane);
}

static void lane_add(struct lane *lane, struct flight *flight, bool in_front) {
    flight->lane = lane;
    flight->next = in_front ? lane->first : NULL;
    flight->previous = in_front ? NULL : lane->last;
    *(flight->previous ? &flight->previous->next : &lane->first) = flight;
    *(flight->next ? &flight->next->previous : &lane->last) = flight;
    lane->count++;
}

static void lane_remove(struct lane *lane, struct flight *flight) {
    *(flight->previous ? &flight->previous->next : &lane->first) = flight->next;
    *(flight->next ? &flight->next->previous : &lane->last) = flight->previous;
    flight->next = flight->previous = NULL;
    flight->lane = NULL;
    if (!--lane->count)
        lane_free(lane);
}

/* ---- back-off: a heap by again_ms ------------------------------------------------------------------------------------------ */

static void put(struct scheduler *schedule, size_t at, struct flight *flight) {
    schedule->back_off[at] = flight;
    flight->heap_at = at;
}

static void sift(struct scheduler *schedule, struct flight *flight) {
    struct flight **heap = schedule->back_off;
    size_t at = flight->heap_at;
    for (; at && heap[(at - 1) / 2]->again_ms > flight->again_ms; at = (at - 1) / 2)
        put(schedule, at, heap[(at - 1) / 2]);
    for (size_t child; (child = 2 * at + 1) < schedule->back_off_count; at = child) {
        if (child + 1 < schedule->back_off_count && heap[child + 1]->again_ms < heap[child]->again_ms)
            child++;
        if (heap[child]->again_ms >= flight->again_ms)
            break;
        put(schedule, at, heap[child]);
    }
    put(schedule, at, flight);
}

void flight_wait(struct scheduler *schedule, struct flight *flight, uint64_t again_ms) {
    flight->state = FLIGHT_BACK_OFF;
    flight->again_ms = again_ms;
    if (schedule->back_off_count == schedule->back_off_room) {
        schedule->back_off_room = schedule->back_off_room ? 2 * schedule->back_off_room : 16;
        schedule->back_off = memory_grow(schedule->back_off, schedule->back_off_room, sizeof *schedule->back_off);
    }
    put(schedule, schedule->back_off_count++, flight);
    sift(schedule, flight);
}

void schedule_wake_due(struct scheduler *schedule, uint64_t now_ms) {
    while (schedule->back_off_count && schedule->back_off[0]->again_ms <= now_ms) {
        struct flight *flight = schedule->back_off[0];
        flight_take(schedule, flight);
        flight_ready(schedule, flight, false); /* behind the others: some that succeed should come between two that fail */
    }
}

/* ---- states ------------------------------------------------------------------------------------------------------------- */

static void count_in(struct flight *flight, int64_t sign) {
    struct docket *docket = flight->docket;
    if (!docket)
        return;
    if (flight->state == FLIGHT_ASKED) {
        docket->coming += (uint64_t)sign;
        docket->user->coming_jobs += (uint64_t)sign;
    }
    if (flight->lease_count)
        docket->user->leased += (uint64_t)sign;
}

/* The most urgent sweep that wants it and goes on, of the first such user. */
static struct docket *best_docket(const struct flight *flight) {
    struct docket *best = NULL;
    for (uint32_t p = 0; p < flight->place_count; p++) {
        struct docket *docket = flight->places[p].order->docket;
        if (docket_is_open(docket) &&
            (!best || (docket->user == best->user && docket->order->priority > best->order->priority)))
            best = docket;
    }
    return best || !flight->place_count ? best : flight->places[0].order->docket;
}

void flight_choose_docket(struct scheduler *schedule, struct flight *flight) {
    struct docket *best = best_docket(flight);
    if (best == flight->docket)
        return;
    bool ready = flight->lane != NULL;
    if (ready)
        flight_take(schedule, flight);
    else
        count_in(flight, -1);
    flight->docket = best;
    if (ready)
        flight_ready(schedule, flight, false);
    else
        count_in(flight, 1);
}

void flight_add_place(struct scheduler *schedule, struct flight *flight, struct order *order, uint32_t index) {
    flight->places = memory_grow(flight->places, flight->place_count + 1, sizeof *flight->places);
    flight->places[flight->place_count++] = (struct place){ order, index };
    if (flight->lease_count)
        order_set_leased(order, index, true);
    flight_choose_docket(schedule, flight);
}

void flight_ask(struct scheduler *schedule, struct flight *flight) {
    flight->state = FLIGHT_ASKED;
    schedule->asked_count++;
    count_in(flight, 1);
}

void flight_ready(struct scheduler *schedule, struct flight *flight, bool in_front) {
    if (!flight->place_count) {
        flight_remove(schedule, flight);
        return;
    }
    flight->state = FLIGHT_READY;
    flight->docket = best_docket(flight);
    lane_add(lane_get(flight->docket, flight->class), flight, in_front);
    flight->docket->ready++;
    flight->docket->user->ready_jobs++;
    schedule->ready_count++;
    docket_update(schedule, flight->docket);
    schedule_bump(schedule);
}

void flight_take(struct scheduler *schedule, struct flight *flight) {
    if (flight->lane) {
        lane_remove(flight->lane, flight);
        flight->docket->ready--;
        flight->docket->user->ready_jobs--;
        schedule->ready_count--;
        if (!flight->docket->ready)
            docket_update(schedule, flight->docket);
    } else if (flight->state == FLIGHT_ASKED) {
        count_in(flight, -1);
        schedule->asked_count--;
    } else if (flight->state == FLIGHT_BACK_OFF) {
        struct flight *last = schedule->back_off[--schedule->back_off_count];
        if (last != flight) {
            put(schedule, flight->heap_at, last);
            sift(schedule, last);
        }
    }
    flight->state = FLIGHT_COMMITTING; /* in nobody's hands: the caller says what it is now */
}

void flight_remove(struct scheduler *schedule, struct flight *flight) {
    while (flight->lease_count)
        flight_leave(schedule, flight, flight->leases[flight->lease_count - 1]);
    flight_take(schedule, flight);
    struct flight **place = bucket_of(schedule, &flight->key);
    while (*place != flight)
        place = &(*place)->chain;
    *place = flight->chain;
    schedule->flight_count--;
    class_put(schedule, flight->class);
    flight_free(flight);
}

/* ---- leases ------------------------------------------------------------------------------------------------------------- */

void flight_join(struct flight *flight, struct lease *lease) {
    assert(flight->lease_count < COPIES_LIMIT);
    flight->leases[flight->lease_count++] = lease;
    flight->state = FLIGHT_LEASED;
    lease->cost += flight->cost;
    lease->worker->leased_cost += flight->cost;
    if (lease->epoch > flight->grants)
        flight->grants = lease->epoch;
    if (flight->lease_count > 1)
        return;
    if (flight->docket)
        flight->docket->user->leased++;
    for (uint32_t p = 0; p < flight->place_count; p++)
        order_set_leased(flight->places[p].order, flight->places[p].index, true);
}

void flight_leave(struct scheduler *schedule, struct flight *flight, struct lease *lease) {
    lease_drop_flight(lease, flight);
    lease->cost -= flight->cost;
    lease->worker->leased_cost -= flight->cost;
    if (flight->leases[0] == lease)
        flight->leases[0] = flight->leases[1];
    flight->leases[--flight->lease_count] = NULL;
    if (!flight->lease_count) {
        if (flight->docket)
            flight->docket->user->leased--;
        for (uint32_t p = 0; p < flight->place_count; p++)
            order_set_leased(flight->places[p].order, flight->places[p].index, false);
    }
    if (!lease->count) {
        lease_end(&schedule->leases, lease);
        schedule_bump(schedule);
    }
}

/* Failed for good: by as many workers as it takes, or often enough by all that are here and could take it. That workers go away
 * is no reason (again_ms 0). */
static bool flight_is_over(const struct scheduler *schedule, const struct flight *flight, uint64_t again_ms) {
    return flight->distinct >= DISTINCT_LIMIT ||
           (again_ms && flight->attempts >= ATTEMPTS_LIMIT && !schedule_untried(schedule, flight));
}

void flight_back(struct scheduler *schedule, struct flight *flight, uint64_t again_ms) {
    if (flight->lease_count)
        return;
    if (flight->committing) {
        flight->state = FLIGHT_COMMITTING;
    } else if (flight_is_over(schedule, flight, again_ms)) {
        for (uint32_t p = 0; p < flight->place_count; p++)
            schedule_lose(schedule, flight->places[p], flight->trouble_code, flight->trouble);
        flight_remove(schedule, flight);
    } else if (again_ms && flight->place_count) {
        flight_wait(schedule, flight, again_ms);
    } else {
        flight_ready(schedule, flight, true);
    }
}

void lease_return(struct scheduler *schedule, struct lease *lease) {
    for (uint32_t left = lease->count; left--;) { /* from behind: each goes in front of those before it */
        struct flight *flight = lease->flights[left];
        if (flight->docket)
            share_refund(&schedule->share, flight->docket->user, flight->charged_ms);
        flight_leave(schedule, flight, lease); /* the last one ends the lease */
        flight_back(schedule, flight, 0);
    }
}
