/* lease.c - a lease's jobs, checked, and its progress. */
#include "worker/lease.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

static enum err take_job(struct lease *lease, size_t i, const struct assigned_job *job, struct error *error) {
    size_t size = strlen(job->spec);
    struct digest key = digest_of(job->spec, size);
    char want[DIGEST_HEX_SIZE], have[DIGEST_HEX_SIZE];
    if (!digest_equal(&key, &job->key)) {
        digest_hex(&job->key, want);
        digest_hex(&key, have);
        return error_set(error, ERR_CORRUPT, "job %s: its canonical bytes have the key %s", want, have);
    }
    enum err err = spec_parse(&lease->specs[i], job->spec, size, error);
    if (err)
        return err;
    lease->count = i + 1;
    lease->keys[i] = key;
    if (!spec_batches_with(&lease->specs[0], &lease->specs[i])) {
        digest_hex(&key, have);
        return error_set(error, ERR_INVALID, "lease %" PRIu64 ": job %s cannot share a batch with the first one", lease->id,
                         have);
    }
    return ERR_OK;
}

enum err lease_create(struct lease **out, const struct message_assign *assign, struct error *error) {
    struct lease *lease = memory_get(sizeof *lease);
    enum err err = ERR_OK;
    lease->id = assign->lease;
    lease->epoch = assign->epoch;
    lease->specs = memory_get_array(assign->count, sizeof *lease->specs);
    lease->keys = memory_get_array(assign->count, sizeof *lease->keys);
    for (size_t i = 0; i < assign->count && !err; i++)
        err = take_job(lease, i, &assign->jobs[i], error);
    if (err) {
        lease_destroy(lease);
        return err;
    }
    lease_set_progress(lease, PHASE_FETCH, 0, 0);
    *out = lease;
    return ERR_OK;
}

void lease_destroy(struct lease *lease) {
    if (!lease)
        return;
    for (size_t i = 0; i < lease->count; i++)
        spec_release(&lease->specs[i]);
    free(lease->specs);
    free(lease->keys);
    file_places_release(&lease->places);
    free(lease);
}

void lease_hold(struct message *hold, const struct lease *lease) {
    *hold = (struct message){ .type = MESSAGE_HOLD, .assign = { .lease = lease->id, .epoch = lease->epoch, .count = lease->count } };
    hold->assign.jobs = memory_get_array(lease->count, sizeof *hold->assign.jobs);
    for (size_t i = 0; i < lease->count; i++) {
        struct bytes canonical = BYTES_INIT;
        spec_canonical(&canonical, &lease->specs[i]);
        hold->assign.jobs[i] = (struct assigned_job){ lease->keys[i], (char *)bytes_take(&canonical).data };
    }
}

enum { STEP_BITS = 28 };
#define STEP_MASK ((UINT64_C(1) << STEP_BITS) - 1)

void lease_set_progress(struct lease *lease, enum work_phase phase, uint32_t step, uint32_t steps) {
    uint64_t word = (uint64_t)phase << (2 * STEP_BITS) | (step & STEP_MASK) << STEP_BITS | (steps & STEP_MASK);
    if (atomic_exchange(&lease->progress, word) != word)
        atomic_store(&lease->moved_ms, clock_monotonic_ms());
}

struct lease_progress lease_get_progress(const struct lease *lease) {
    uint64_t word = atomic_load(&lease->progress);
    return (struct lease_progress){
        .lease = lease->id,
        .epoch = lease->epoch,
        .phase = (enum work_phase)(word >> (2 * STEP_BITS)),
        .step = (uint32_t)(word >> STEP_BITS & STEP_MASK),
        .steps = (uint32_t)(word & STEP_MASK),
    };
}
