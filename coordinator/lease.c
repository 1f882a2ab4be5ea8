/* lease.c - granting, renewing, ending. */
#include "coordinator/lease.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { BUCKETS_LEAST = 64 };

void lease_table_init(struct lease_table *table, uint64_t first_id) {
    *table = (struct lease_table){ .next_id = first_id, .patience_percent = 100, .bucket_count = BUCKETS_LEAST };
    table->buckets = memory_get_array(table->bucket_count, sizeof *table->buckets);
}

static void lease_free(struct lease *lease) {
    free(lease->flights);
    free(lease);
}

void lease_table_release(struct lease_table *table) {
    for (size_t i = 0; i < table->count; i++)
        lease_free(table->leases[i]);
    free(table->leases);
    free(table->buckets);
    *table = (struct lease_table){ 0 };
}

/* A 4-core machine draws one 512x512 step of SD 1.5 in about 7 s and decodes in about 10 s a job (docs/PERFORMANCE.md);
 * twenty times that, a job, is a machine that hangs. Fetching shows progress piece by piece, loading only at its end. */
uint32_t lease_allowance_ms(enum work_phase phase, uint32_t jobs) {
    switch (phase) {
    case PHASE_FETCH: return 120000;
    case PHASE_LOAD: return 600000;
    case PHASE_TEXT: return 120000 + 10000 * jobs;
    case PHASE_STEP: return 120000 + 150000 * jobs;
    case PHASE_DECODE: return 120000 + 200000 * jobs;
    case PHASE_DELIVER: return 300000;
    }
    return 120000;
}

static uint64_t allowance_ms(const struct lease_table *table, enum work_phase phase, uint32_t jobs) {
    return (uint64_t)lease_allowance_ms(phase, jobs) * table->patience_percent / 100;
}

/* ---- the heap of deadlines ---------------------------------------------------------------------------------------------- */

static void put(struct lease_table *table, size_t at, struct lease *lease) {
    table->leases[at] = lease;
    lease->heap_at = at;
}

static void sift(struct lease_table *table, struct lease *lease) {
    size_t at = lease->heap_at;
    for (; at && table->leases[(at - 1) / 2]->deadline_ms > lease->deadline_ms; at = (at - 1) / 2)
        put(table, at, table->leases[(at - 1) / 2]);
    for (size_t child; (child = 2 * at + 1) < table->count; at = child) {
        if (child + 1 < table->count && table->leases[child + 1]->deadline_ms < table->leases[child]->deadline_ms)
            child++;
        if (table->leases[child]->deadline_ms >= lease->deadline_ms)
            break;
        put(table, at, table->leases[child]);
    }
    put(table, at, lease);
}

static void set_deadline(struct lease_table *table, struct lease *lease, uint64_t deadline_ms) {
    lease->deadline_ms = deadline_ms;
    sift(table, lease);
}

/* ---- by id, and by worker ----------------------------------------------------------------------------------------------- */

/* Ids of one life follow one another: their low bits are as good as a hash. */
static struct lease **bucket_of(const struct lease_table *table, uint64_t id) {
    return &table->buckets[id & (table->bucket_count - 1)];
}

static void buckets_grow(struct lease_table *table) {
    free(table->buckets);
    table->bucket_count *= 2;
    table->buckets = memory_get_array(table->bucket_count, sizeof *table->buckets);
    for (size_t i = 0; i < table->count; i++) {
        struct lease **bucket = bucket_of(table, table->leases[i]->id);
        table->leases[i]->chain = *bucket;
        *bucket = table->leases[i];
    }
}

struct lease *lease_find(const struct lease_table *table, uint64_t id) {
    for (struct lease *lease = *bucket_of(table, id); lease; lease = lease->chain)
        if (lease->id == id)
            return lease;
    return NULL;
}

static void worker_link(struct lease *lease) {
    struct lease **last = &lease->worker->leases;
    while (*last) {
        lease->previous = *last;
        last = &(*last)->next;
    }
    *last = lease;
    lease->worker->lease_count++;
}

static void worker_unlink(struct lease *lease) {
    *(lease->previous ? &lease->previous->next : &lease->worker->leases) = lease->next;
    if (lease->next)
        lease->next->previous = lease->previous;
    lease->worker->lease_count--;
}

struct lease *lease_adopt(struct lease_table *table, struct worker *worker, uint64_t id, uint32_t epoch,
                          struct flight *const *flights, uint32_t count, uint64_t now_ms) {
    assert(count > 0 && !lease_find(table, id));
    struct lease *lease = memory_get(sizeof *lease);
    *lease = (struct lease){
        .id = id,
        .epoch = epoch,
        .worker = worker,
        .flights = memory_get_array(count, sizeof *lease->flights),
        .count = count,
        .granted = count,
        .phase = PHASE_FETCH,
        .granted_ms = now_ms,
        .progress_ms = now_ms,
        .deadline_ms = now_ms + allowance_ms(table, PHASE_FETCH, count),
    };
    memcpy(lease->flights, flights, count * sizeof *flights);
    if (table->count == table->room) {
        table->room = table->room ? 2 * table->room : 16;
        table->leases = memory_grow(table->leases, table->room, sizeof *table->leases);
    }
    put(table, table->count++, lease);
    sift(table, lease);
    if (table->count > table->bucket_count) {
        buckets_grow(table);
    } else {
        lease->chain = *bucket_of(table, id);
        *bucket_of(table, id) = lease;
    }
    worker_link(lease);
    worker->leased += count;
    return lease;
}

struct lease *lease_grant(struct lease_table *table, struct worker *worker, uint32_t epoch, struct flight *const *flights,
                          uint32_t count, uint64_t now_ms) {
    return lease_adopt(table, worker, table->next_id++, epoch, flights, count, now_ms);
}

/* ---- progress ----------------------------------------------------------------------------------------------------------- */

enum err lease_progress(struct lease_table *table, struct lease *lease, const struct lease_progress *progress,
                        uint64_t now_ms, struct error *error) {
    if (progress->epoch != lease->epoch)
        return error_set(error, ERR_STALE, "lease %" PRIu64 ": it is at epoch %u, progress is of epoch %u", lease->id,
                         lease->epoch, progress->epoch);
    bool moved = progress->phase != lease->phase || progress->step != lease->step;
    lease->phase = progress->phase;
    lease->step = progress->step;
    lease->steps = progress->steps;
    if (moved) {
        lease->progress_ms = now_ms;
        set_deadline(table, lease, now_ms + allowance_ms(table, lease->phase, lease->granted));
    }
    return ERR_OK;
}

void lease_extend_waiting(struct lease_table *table, struct worker *worker, uint64_t now_ms) {
    uint64_t latest_ms = 0;
    for (const struct lease *lease = worker->leases; lease; lease = lease->next)
        if (lease->progress_ms == now_ms && lease->deadline_ms > latest_ms)
            latest_ms = lease->deadline_ms;
    for (struct lease *lease = worker->leases; lease; lease = lease->next)
        if (lease->deadline_ms < latest_ms)
            set_deadline(table, lease, latest_ms);
}

/* ---- ending ------------------------------------------------------------------------------------------------------------- */

void lease_drop_flight(struct lease *lease, const struct flight *flight) {
    for (uint32_t i = 0; i < lease->count; i++)
        if (lease->flights[i] == flight) {
            memmove(&lease->flights[i], &lease->flights[i + 1], (lease->count - i - 1) * sizeof *lease->flights);
            lease->count--;
            lease->worker->leased--;
            return;
        }
}

void lease_end(struct lease_table *table, struct lease *lease) {
    struct lease **place = bucket_of(table, lease->id), *last = table->leases[--table->count];
    while (*place != lease)
        place = &(*place)->chain;
    *place = lease->chain;
    if (last != lease) {
        put(table, lease->heap_at, last);
        sift(table, last);
    }
    worker_unlink(lease);
    lease->worker->leased -= lease->count;
    lease_free(lease);
}

struct lease *lease_expired(const struct lease_table *table, uint64_t now_ms) {
    return table->count && table->leases[0]->deadline_ms <= now_ms ? table->leases[0] : NULL;
}

uint64_t lease_next_deadline_ms(const struct lease_table *table) {
    return table->count ? table->leases[0]->deadline_ms : UINT64_MAX;
}
