/* schedule.c - pages, flights, leases. */
#include "coordinator/schedule.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_LEAST = 1024, LOOK_LIMIT = 1 << 18 /* places looked at in one turn */, MATES_LIMIT = 4096 /* flights looked at */ };

void schedule_init(struct scheduler *schedule, struct queue *queue, struct bloom *bloom, uint64_t first_lease,
                   uint32_t max_batch) {
    *schedule = (struct scheduler){ .queue = queue, .bloom = bloom, .bucket_count = BUCKETS_LEAST, .page_size = PAGE_LEAST,
                                   .max_batch = max_batch };
    schedule->buckets = memory_get_array(schedule->bucket_count, sizeof *schedule->buckets);
    lease_table_init(&schedule->leases, first_lease);
}

static void flight_free(struct flight *flight) {
    spec_release(&flight->spec);
    free(flight->canonical);
    free(flight->places);
    free(flight->trouble);
    free(flight);
}

void schedule_release(struct scheduler *schedule) {
    for (size_t i = 0; i < schedule->bucket_count; i++)
        for (struct flight *flight = schedule->buckets[i], *chain; flight; flight = chain) {
            chain = flight->chain;
            flight_free(flight);
        }
    for (size_t i = 0; i < schedule->loss_count; i++)
        free(schedule->losses[i].text);
    free(schedule->losses);
    free(schedule->marks);
    free(schedule->buckets);
    lease_table_release(&schedule->leases);
    *schedule = (struct scheduler){ 0 };
}

/* ---- the table of flights ------------------------------------------------------------------------------------------- */

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

static struct flight *flight_add(struct scheduler *schedule, struct page_job *job) {
    if (schedule->flight_count >= schedule->bucket_count)
        buckets_grow(schedule);
    struct flight *flight = memory_get(sizeof *flight);
    struct flight **bucket = bucket_of(schedule, &job->key);
    flight->key = job->key;
    flight->spec = job->spec;
    flight->canonical = job->canonical;
    job->spec = (struct spec){ .prompt = NULL };
    job->canonical = NULL;
    flight->chain = *bucket;
    *bucket = flight;
    schedule->flight_count++;
    return flight;
}

static void flight_add_place(struct flight *flight, struct order *order, uint32_t index) {
    flight->places = memory_grow(flight->places, flight->place_count + 1, sizeof *flight->places);
    flight->places[flight->place_count++] = (struct place){ order, index };
    if (flight->state == FLIGHT_LEASED)
        order_set_leased(order, index, true);
}

static void ready_add(struct scheduler *schedule, struct flight *flight, bool in_front) {
    flight->state = FLIGHT_READY;
    flight->next = in_front ? schedule->ready_first : NULL;
    flight->previous = in_front ? NULL : schedule->ready_last;
    *(flight->previous ? &flight->previous->next : &schedule->ready_first) = flight;
    *(flight->next ? &flight->next->previous : &schedule->ready_last) = flight;
    schedule->ready_count++;
}

static void ready_remove(struct scheduler *schedule, struct flight *flight) {
    *(flight->previous ? &flight->previous->next : &schedule->ready_first) = flight->next;
    *(flight->next ? &flight->next->previous : &schedule->ready_last) = flight->previous;
    flight->next = flight->previous = NULL;
    schedule->ready_count--;
}

/* Take it out of the table, the ready ones and its lease, whose end comes with its last flight. */
static void flight_remove(struct scheduler *schedule, struct flight *flight) {
    struct flight **place = bucket_of(schedule, &flight->key);
    while (*place != flight)
        place = &(*place)->chain;
    *place = flight->chain;
    schedule->flight_count--;
    if (flight->state == FLIGHT_READY)
        ready_remove(schedule, flight);
    if (flight->state == FLIGHT_ASKED)
        schedule->asked_count--;
    if (flight->lease) {
        lease_drop_flight(flight->lease, flight);
        if (!flight->lease->count)
            lease_end(&schedule->leases, flight->lease);
    }
    flight_free(flight);
}

/* ---- pages ---------------------------------------------------------------------------------------------------------- */

void page_release(struct page *page) {
    for (size_t i = 0; i < page->count; i++) {
        spec_release(&page->jobs[i].spec);
        free(page->jobs[i].canonical);
        free(page->jobs[i].failure);
    }
    free(page->jobs);
    *page = (struct page){ 0 };
}

void page_resolve(struct page *page) {
    for (size_t i = 0; i < page->count; i++) {
        struct page_job *job = &page->jobs[i];
        struct bytes text = BYTES_INIT;
        struct error error;
        job->failed = sweep_job(&job->spec, page->order->sweep, job->index, &error);
        if (job->failed) {
            job->failure = text_copy(error.message);
            continue;
        }
        spec_canonical(&text, &job->spec);
        job->key = digest_of(text.data, text.size);
        job->canonical = text_copy(bytes_text(&text));
        bytes_release(&text);
    }
}

bool schedule_wants_page(const struct scheduler *schedule, uint32_t wanted) {
    size_t target = 2 * (size_t)wanted > READY_LEAST ? 2 * (size_t)wanted : READY_LEAST;
    if (target > READY_MOST)
        target = READY_MOST;
    return !schedule->page_out && schedule->ready_count < target && queue_next(schedule->queue);
}

bool schedule_take_page(struct page *page, struct scheduler *schedule, uint32_t wanted) {
    uint32_t budget = LOOK_LIMIT, index;
    struct order *order;
    if (!schedule_wants_page(schedule, wanted))
        return false;
    while (budget && (order = queue_next(schedule->queue))) {
        *page = (struct page){ .order = order, .life = order->life };
        page->jobs = memory_get_array(schedule->page_size, sizeof *page->jobs);
        while (page->count < schedule->page_size && order_take(&index, order, &budget))
            page->jobs[page->count++].index = index;
        if (page->count) {
            schedule->page_out = true;
            return true;
        }
        page_release(page);
    }
    return false;
}

void schedule_mark(struct scheduler *schedule, struct place place) {
    if (schedule->mark_count == schedule->mark_room) {
        schedule->mark_room = schedule->mark_room ? 2 * schedule->mark_room : 64;
        schedule->marks = memory_grow(schedule->marks, schedule->mark_room, sizeof *schedule->marks);
    }
    schedule->marks[schedule->mark_count++] = place;
}

void schedule_lose(struct scheduler *schedule, struct place place, enum err code, const char *text) {
    schedule->losses = memory_grow(schedule->losses, schedule->loss_count + 1, sizeof *schedule->losses);
    schedule->losses[schedule->loss_count++] = (struct loss){ place, code, text_copy(text) };
}

void schedule_add_page(struct digest *asked, size_t *asked_count, struct scheduler *schedule, struct page *page) {
    bool is_void = page->life != page->order->life || page->order->state != SWEEP_ACTIVE;
    size_t before = *asked_count;
    schedule->page_out = false;
    for (size_t i = 0; i < page->count && !is_void; i++) {
        struct page_job *job = &page->jobs[i];
        if (job->failed) {
            schedule_lose(schedule, (struct place){ page->order, job->index }, job->failed, job->failure);
            continue;
        }
        struct flight *flight = schedule_find(schedule, &job->key);
        if (flight) {
            flight_add_place(flight, page->order, job->index);
            continue;
        }
        flight = flight_add(schedule, job);
        flight_add_place(flight, page->order, job->index);
        if (bloom_has(schedule->bloom, &flight->key)) {
            flight->state = FLIGHT_ASKED;
            schedule->asked_count++;
            asked[(*asked_count)++] = flight->key;
        } else {
            ready_add(schedule, flight, false);
        }
    }
    /* A sweep that is mostly there already is gone through in large steps. */
    bool mostly_known = 2 * (*asked_count - before) > page->count;
    schedule->page_size = !mostly_known ? PAGE_LEAST : schedule->page_size < PAGE_MOST ? 2 * schedule->page_size : PAGE_MOST;
    page_release(page);
}

void schedule_answer(struct scheduler *schedule, const struct digest *key, bool known) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight || flight->state != FLIGHT_ASKED)
        return; /* its picture came meanwhile */
    if (known) {
        for (uint32_t i = 0; i < flight->place_count; i++)
            schedule_mark(schedule, flight->places[i]);
        flight_remove(schedule, flight);
        return;
    }
    if (!flight->place_count && !flight->committing) {
        flight_remove(schedule, flight);
        return;
    }
    schedule->asked_count--;
    if (flight->committing)
        flight->state = FLIGHT_COMMITTING;
    else
        ready_add(schedule, flight, false);
}

/* ---- leases --------------------------------------------------------------------------------------------------------- */

/* A job that failed here before goes to another worker, if there is one that has not failed it. */
static bool flight_suits(const struct flight *flight, uint64_t worker, uint32_t workers) {
    uint32_t others = flight->attempts;
    bool here = false;
    for (uint32_t i = 0; i < flight->attempts; i++)
        here = here || flight->failed_on[i] == worker;
    return !here || workers <= others;
}

/* Towards the end every worker gets its share of what is left, so that all end together. */
static uint32_t fair_room(const struct scheduler *schedule, uint32_t room, uint32_t workers) {
    uint64_t left = 0;
    if (room > schedule->max_batch)
        room = schedule->max_batch;
    if (room > LIMIT_BATCH)
        room = LIMIT_BATCH;
    for (size_t i = 0; i < schedule->queue->count; i++)
        if (schedule->queue->orders[i]->state == SWEEP_ACTIVE)
            left += order_waiting(schedule->queue->orders[i]);
    if (left < schedule->ready_count)
        left = schedule->ready_count;
    uint64_t share = workers ? (left + workers - 1) / workers : left;
    if (share < 1)
        share = 1;
    return share < room ? (uint32_t)share : room;
}

static uint32_t collect(struct flight *mates[LIMIT_BATCH], const struct scheduler *schedule, uint64_t worker, uint32_t room,
                        uint32_t workers) {
    uint32_t count = 0, looked = 0;
    for (struct flight *flight = schedule->ready_first; flight && count < room && looked < MATES_LIMIT;
         flight = flight->next, looked++)
        if (flight_suits(flight, worker, workers) && (!count || spec_batches_with(&mates[0]->spec, &flight->spec)))
            mates[count++] = flight;
    return count;
}

struct lease *schedule_grant(struct scheduler *schedule, uint64_t worker, uint32_t room, uint32_t workers, uint64_t now_ms) {
    struct flight *mates[LIMIT_BATCH];
    uint32_t epoch = 0;
    room = fair_room(schedule, room, workers);
    bool more_soon = schedule->page_out || schedule->asked_count;
    if (!room || (schedule->ready_count < room && more_soon))
        return NULL;
    uint32_t count = collect(mates, schedule, worker, room, workers);
    if (!count)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        mates[i]->grants++;
        if (mates[i]->grants > epoch)
            epoch = mates[i]->grants;
    }
    struct lease *lease = lease_grant(&schedule->leases, worker, epoch, mates, count, now_ms);
    for (uint32_t i = 0; i < count; i++) {
        ready_remove(schedule, mates[i]);
        mates[i]->state = FLIGHT_LEASED;
        mates[i]->lease = lease;
        mates[i]->grants = epoch;
        for (uint32_t p = 0; p < mates[i]->place_count; p++)
            order_set_leased(mates[i]->places[p].order, mates[i]->places[p].index, true);
    }
    return lease;
}

static void set_trouble(struct flight *flight, enum err code, const char *text) {
    free(flight->trouble);
    flight->trouble = text_copy(text);
    flight->trouble_code = code;
}

/* The flight has left its lease: it is ready again, or gone if nobody wants it. */
static void flight_back(struct scheduler *schedule, struct flight *flight) {
    flight->lease = NULL;
    for (uint32_t p = 0; p < flight->place_count; p++)
        order_set_leased(flight->places[p].order, flight->places[p].index, false);
    if (flight->committing) {
        flight->state = FLIGHT_COMMITTING;
        return;
    }
    ready_add(schedule, flight, true);
    if (!flight->place_count)
        flight_remove(schedule, flight);
}

void schedule_return(struct scheduler *schedule, struct lease *lease, enum err code, const char *text) {
    while (lease->count) {
        struct flight *flight = lease->flights[lease->count - 1]; /* from behind: they come back in their order */
        lease_drop_flight(lease, flight);
        if (text)
            set_trouble(flight, code, text);
        flight_back(schedule, flight);
    }
    lease_end(&schedule->leases, lease);
}

void schedule_fail(struct scheduler *schedule, struct lease *lease, const struct digest *key, enum err code,
                   const char *text) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight || flight->lease != lease || flight->committing)
        return;
    set_trouble(flight, code, text);
    flight->failed_on[flight->attempts++] = lease->worker;
    if (flight->attempts >= ATTEMPTS_LIMIT) {
        for (uint32_t p = 0; p < flight->place_count; p++) {
            order_set_leased(flight->places[p].order, flight->places[p].index, false);
            schedule_lose(schedule, flight->places[p], code, text);
        }
        flight_remove(schedule, flight);
        return;
    }
    lease_drop_flight(lease, flight);
    flight_back(schedule, flight);
    if (!lease->count)
        lease_end(&schedule->leases, lease);
}

/* ---- commits -------------------------------------------------------------------------------------------------------- */

void schedule_commit_begin(struct scheduler *schedule, const struct digest *key) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight)
        return;
    flight->committing = true;
    if (flight->state == FLIGHT_READY) {
        ready_remove(schedule, flight);
        flight->state = FLIGHT_COMMITTING;
    }
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
    flight_remove(schedule, flight);
}

void schedule_commit_failed(struct scheduler *schedule, const struct digest *key) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight)
        return;
    flight->committing = false;
    if (flight->state == FLIGHT_COMMITTING)
        flight_back(schedule, flight);
}

/* ---- cancelling ----------------------------------------------------------------------------------------------------- */

static void flight_drop_order(struct flight *flight, const struct order *order) {
    uint32_t kept = 0;
    for (uint32_t p = 0; p < flight->place_count; p++)
        if (flight->places[p].order != order)
            flight->places[kept++] = flight->places[p];
    flight->place_count = kept;
}

static bool lease_is_wanted(const struct lease *lease) {
    for (uint32_t i = 0; i < lease->count; i++)
        if (lease->flights[i]->place_count)
            return true;
    return false;
}

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

void schedule_drop_order(struct scheduler *schedule, struct order *order,
                         void (*revoke)(void *context, const struct lease *lease), void *context) {
    order_untake(order);
    drop_pending(schedule, order);
    for (size_t i = 0; i < schedule->bucket_count; i++)
        for (struct flight *flight = schedule->buckets[i], *chain; flight; flight = chain) {
            chain = flight->chain;
            flight_drop_order(flight, order);
            if (!flight->place_count && flight->state == FLIGHT_READY)
                flight_remove(schedule, flight);
        }
    for (size_t i = schedule->leases.count; i-- > 0;) {
        struct lease *lease = schedule->leases.leases[i];
        if (lease_is_wanted(lease))
            continue;
        revoke(context, lease);
        schedule_return(schedule, lease, ERR_CANCELLED, NULL);
    }
}
