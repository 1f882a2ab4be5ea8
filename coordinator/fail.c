/* fail.c - progress, deadlines, and who is charged for what fails. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule_parts.h"

/* ---- progress ----------------------------------------------------------------------------------------------------------- */

/* How long what is left of a lease takes, by measured speed; 0: unknown. */
static double left_ms(const struct scheduler *schedule, const struct lease *lease) {
    const struct flight *first = lease->flights[0];
    double job_ms = schedule_job_ms(schedule, lease->worker, &first->spec), done = 0;
    if (lease->phase == PHASE_STEP && lease->steps) {
        uint32_t batch = worker_batch(lease->worker, &first->spec);
        done = fmin(batch, lease->count) * first->cost * fmin((double)lease->step / lease->steps, 1);
    }
    return job_ms / first->cost * fmax(lease->cost - done, 0);
}

/* It has moved: it, and those behind it, should be over when. */
static void expect(const struct scheduler *schedule, struct lease *lease, uint64_t now_ms) {
    double end_ms = (double)now_ms;
    for (; lease; lease = lease->next) {
        double ms = left_ms(schedule, lease);
        end_ms += ms;
        lease->expected_ms = ms > 0 || lease->expected_ms ? (uint64_t)ceil(end_ms) : 0;
    }
}

enum err schedule_progress(struct scheduler *schedule, struct worker *worker, const struct lease_progress *progress,
                           uint64_t now_ms, struct error *error) {
    struct lease *lease = lease_find(&schedule->leases, progress->lease);
    if (!lease || lease->worker != worker)
        return error_set(error, ERR_STALE, "lease %" PRIu64 ": want one of worker \"%s\", it has no such", progress->lease,
                         worker->name);
    enum err err = lease_progress(&schedule->leases, lease, progress, now_ms, error);
    if (err)
        return err;
    if (lease->progress_ms == now_ms)
        expect(schedule, lease, now_ms);
    lease_extend_waiting(&schedule->leases, worker, now_ms);
    return ERR_OK;
}

struct lease *schedule_expired(const struct scheduler *schedule, uint64_t now_ms) {
    return lease_expired(&schedule->leases, now_ms);
}

/* ---- the bench ---------------------------------------------------------------------------------------------------------- */

/* The jobs of its row are not to blame. They keep their back-off: others should come between them. */
static void take_back_charges(struct scheduler *schedule, const struct worker *worker) {
    for (uint32_t i = 0; i < worker->row_count; i++) {
        struct flight *flight = schedule_find(schedule, &worker->row[i].key);
        if (flight && flight->distinct == 1 && flight_failed_on(flight, worker))
            flight->distinct = flight->attempts = 0;
    }
}

/* Who is lost says nothing; what it said before often tells why. */
static char *reason_of(const struct worker *worker, const char *text) {
    if (text)
        return text_copy(text);
    return worker->said ? text_format("it was lost with its leases; before that: %s", worker->said)
                        : text_copy("it was lost with its leases");
}

static void note_said(struct worker *worker, const char *text) {
    if (!text)
        return;
    free(worker->said);
    worker->said = text_copy(text);
}

/* It has failed once more, at a job that nobody else has failed or by itself. */
static void count_against(struct scheduler *schedule, struct worker *worker, const struct digest *key, uint64_t lease,
                          bool weak, const char *text, uint64_t now_ms) {
    note_said(worker, text);
    if (worker->probation) {
        if (worker_is_benched(worker, now_ms))
            return; /* what was in its hands before */
    } else if (worker_row_add(worker, key, lease)) {
        take_back_charges(schedule, worker);
    } else {
        return;
    }
    char *reason = reason_of(worker, text);
    worker_bench(worker, reason, weak, now_ms);
    free(reason);
    schedule_count_worker(schedule, worker);
    schedule_bump(schedule);
}

static void set_trouble(struct flight *flight, enum err code, const char *text) {
    char *copy = text_copy(text);
    free(flight->trouble);
    flight->trouble = copy;
    flight->trouble_code = code;
}

/* ---- jobs --------------------------------------------------------------------------------------------------------------- */

static uint64_t back_off_ms(const struct flight *flight) {
    uint64_t ms = BACK_OFF_FIRST_MS;
    for (uint32_t i = 1; i < flight->failures && ms < BACK_OFF_MOST_MS; i++)
        ms *= 2;
    return ms < BACK_OFF_MOST_MS ? ms : BACK_OFF_MOST_MS;
}

/* The job has failed on two workers: that was not their fault. */
static void clear_rows(struct scheduler *schedule, const struct flight *flight) {
    for (uint32_t i = 0; i < flight->distinct; i++)
        worker_row_drop(schedule_worker_number(schedule, flight->failed_on[i]), &flight->key);
}

static void fail_in(struct scheduler *schedule, struct lease *lease, struct flight *flight, enum err code, const char *text,
                    uint64_t now_ms) {
    struct worker *worker = lease->worker;
    bool here_before = flight_failed_on(flight, worker);
    set_trouble(flight, code, text);
    flight->failures++;
    flight->attempts++;
    if (!here_before && flight->distinct < DISTINCT_LIMIT)
        flight->failed_on[flight->distinct++] = worker->number;
    worker->jobs_failed++;
    flight_leave(schedule, flight, lease);
    /* Failed here before, and the worker has succeeded since: it is the job. */
    bool again = here_before && !worker->probation && !worker_row_has(worker, &flight->key);
    if (flight->distinct > 1)
        clear_rows(schedule, flight);
    else if (!again)
        count_against(schedule, worker, &flight->key, 0, flight->failures > 1, text, now_ms);
    flight_back(schedule, flight, now_ms + back_off_ms(flight));
}

static struct lease *lease_of(const struct flight *flight, const struct worker *worker) {
    for (uint32_t i = 0; i < flight->lease_count; i++)
        if (flight->leases[i]->worker == worker)
            return flight->leases[i];
    return NULL;
}

void schedule_fail_key(struct scheduler *schedule, struct worker *worker, const struct digest *key, enum err code,
                       const char *text, uint64_t now_ms) {
    struct flight *flight = schedule_find(schedule, key);
    struct lease *lease = flight ? lease_of(flight, worker) : NULL;
    if (lease && !flight->committing)
        fail_in(schedule, lease, flight, code, text, now_ms);
}

void schedule_fail(struct scheduler *schedule, struct worker *worker, uint64_t lease, const struct digest *key, enum err code,
                   const char *text, uint64_t now_ms) {
    const struct flight *flight = schedule_find(schedule, key);
    const struct lease *held = flight ? lease_of(flight, worker) : NULL;
    if (held && held->id == lease)
        schedule_fail_key(schedule, worker, key, code, text, now_ms);
}

/* ---- the worker's own ---------------------------------------------------------------------------------------------------- */

void schedule_trouble(struct scheduler *schedule, struct worker *worker, uint64_t id, enum err code, const char *text,
                      uint64_t now_ms) {
    struct lease *lease = lease_find(&schedule->leases, id);
    static const struct digest none;
    if (!lease || lease->worker != worker)
        return;
    for (uint32_t i = 0; i < lease->count && text; i++)
        set_trouble(lease->flights[i], code, text);
    lease_return(schedule, lease);
    if (worker->trouble_ms == now_ms + 1)
        return; /* several leases, one trouble */
    worker->trouble_ms = now_ms + 1;
    count_against(schedule, worker, &none, id, false, text, now_ms);
}

void schedule_ungrant(struct scheduler *schedule, struct lease *lease) {
    lease_return(schedule, lease);
}

static void add_wall(struct scheduler *schedule, const struct spec *spec, uint64_t bytes) {
    for (size_t i = 0; i < schedule->wall_count; i++) {
        struct memory_wall *wall = &schedule->walls[i];
        if (memory_kind_is(&wall->kind, spec)) {
            wall->bytes = wall->bytes > bytes ? wall->bytes : bytes;
            return;
        }
    }
    schedule->walls = memory_grow(schedule->walls, schedule->wall_count + 1, sizeof *schedule->walls);
    schedule->walls[schedule->wall_count++] = (struct memory_wall){ memory_kind_of(spec), bytes };
}

void schedule_memory(struct scheduler *schedule, struct worker *worker, uint64_t id, const struct digest *keys, size_t count,
                     const char *text, uint64_t now_ms) {
    (void)now_ms;
    for (size_t i = 0; i < count; i++) {
        struct flight *flight = schedule_find(schedule, &keys[i]);
        struct lease *lease = flight ? lease_of(flight, worker) : NULL;
        if (!lease || lease->id != id || flight->committing)
            continue;
        const struct spec *spec = &flight->spec;
        worker_limit(worker, spec, (uint32_t)(count / 2));
        if (count == 1 && worker->memory_bytes)
            add_wall(schedule, spec, worker->memory_bytes);
        set_trouble(flight, ERR_MEMORY, text);
        if (flight->docket)
            share_refund(&schedule->share, flight->docket->user, flight->charged_ms);
        flight_leave(schedule, flight, lease);
        flight_back(schedule, flight, 0);
    }
    schedule_bump(schedule);
}
