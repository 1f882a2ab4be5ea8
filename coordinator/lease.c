/* lease.c - granting, renewing, ending. */
#include "coordinator/lease.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void lease_table_init(struct lease_table *table, uint64_t first_id) {
    *table = (struct lease_table){ .next_id = first_id };
}

static void lease_free(struct lease *lease) {
    free(lease->flights);
    free(lease);
}

void lease_table_release(struct lease_table *table) {
    for (size_t i = 0; i < table->count; i++)
        lease_free(table->leases[i]);
    free(table->leases);
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

struct lease *lease_grant(struct lease_table *table, uint64_t worker, uint32_t epoch, struct flight *const *flights,
                          uint32_t count, uint64_t now_ms) {
    assert(count > 0);
    struct lease *lease = memory_get(sizeof *lease);
    *lease = (struct lease){
        .id = table->next_id++,
        .epoch = epoch,
        .worker = worker,
        .flights = memory_get_array(count, sizeof *lease->flights),
        .count = count,
        .granted = count,
        .phase = PHASE_FETCH,
        .granted_ms = now_ms,
        .progress_ms = now_ms,
        .deadline_ms = now_ms + lease_allowance_ms(PHASE_FETCH, count),
    };
    memcpy(lease->flights, flights, count * sizeof *flights);
    table->leases = memory_grow(table->leases, table->count + 1, sizeof *table->leases);
    table->leases[table->count++] = lease;
    return lease;
}

struct lease *lease_find(const struct lease_table *table, uint64_t id) {
    for (size_t i = 0; i < table->count; i++)
        if (table->leases[i]->id == id)
            return table->leases[i];
    return NULL;
}

enum err lease_progress(struct lease *lease, const struct lease_progress *progress, uint64_t now_ms, struct error *error) {
    if (progress->epoch != lease->epoch)
        return error_set(error, ERR_STALE, "lease %" PRIu64 ": it is at epoch %u, progress is of epoch %u", lease->id,
                         lease->epoch, progress->epoch);
    bool moved = progress->phase != lease->phase || progress->step != lease->step;
    lease->phase = progress->phase;
    lease->step = progress->step;
    lease->steps = progress->steps;
    if (moved) {
        lease->progress_ms = now_ms;
        lease->deadline_ms = now_ms + lease_allowance_ms(lease->phase, lease->granted);
    }
    return ERR_OK;
}

void lease_extend_waiting(struct lease_table *table, uint64_t worker, uint64_t now_ms) {
    uint64_t latest_ms = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct lease *lease = table->leases[i];
        if (lease->worker == worker && lease->progress_ms == now_ms && lease->deadline_ms > latest_ms)
            latest_ms = lease->deadline_ms;
    }
    for (size_t i = 0; i < table->count; i++)
        if (table->leases[i]->worker == worker && table->leases[i]->deadline_ms < latest_ms)
            table->leases[i]->deadline_ms = latest_ms;
}

void lease_drop_flight(struct lease *lease, const struct flight *flight) {
    for (uint32_t i = 0; i < lease->count; i++)
        if (lease->flights[i] == flight) {
            memmove(&lease->flights[i], &lease->flights[i + 1], (lease->count - i - 1) * sizeof *lease->flights);
            lease->count--;
            return;
        }
}

void lease_end(struct lease_table *table, struct lease *lease) {
    for (size_t i = 0; i < table->count; i++)
        if (table->leases[i] == lease) {
            memmove(&table->leases[i], &table->leases[i + 1], (table->count - i - 1) * sizeof *table->leases);
            table->count--;
            break;
        }
    lease_free(lease);
}

struct lease *lease_expired(const struct lease_table *table, uint64_t now_ms) {
    for (size_t i = 0; i < table->count; i++)
        if (table->leases[i]->deadline_ms <= now_ms)
            return table->leases[i];
    return NULL;
}

uint64_t lease_next_deadline_ms(const struct lease_table *table) {
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < table->count; i++)
        if (table->leases[i]->deadline_ms < next_ms)
            next_ms = table->leases[i]->deadline_ms;
    return next_ms;
}
