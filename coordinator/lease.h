/*
 * lease.h - one worker's right to render a run of jobs until a deadline.
 *
 * Pure: no socket, no clock; callers pass `now_ms`. The deadline is extended by progress: another phase, another step. A
 * heartbeat that shows the same step again extends nothing, so a worker that hangs while its heart beats loses its lease.
 *
 * Found by id in a hash table, by deadline in a heap, by worker in the worker's own list: nothing walks over all of them.
 */
#ifndef COORDINATOR_LEASE_H
#define COORDINATOR_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "coordinator/worker.h"
#include "proto/message.h"

struct flight; /* schedule.h */

struct lease {
    uint64_t id;
    uint32_t epoch;          /* grows with every grant of the same jobs */
    struct worker *worker;
    struct flight **flights; /* [count]: those not yet committed, failed or returned */
    uint32_t count;
    uint32_t granted;        /* how many there were */
    bool copy;               /* of another lease's jobs, at a tail */
    enum work_phase phase;
    uint32_t step, steps;
    uint64_t granted_ms, progress_ms, deadline_ms; /* monotonic */
    uint64_t expected_ms;    /* when it should be over, by measured speed; 0: not known */
    double cost;             /* units of flights[] */
    size_t heap_at;          /* place in table->leases */
    struct lease *chain;     /* of the hash table */
    struct lease *next, *previous; /* of its worker's, in order of granting */
};

struct lease_table {
    struct lease **leases; /* [count]: a heap, the earliest deadline first */
    size_t count, room;
    struct lease **buckets; /* [bucket_count] by id */
    size_t bucket_count;
    uint64_t next_id;
    uint32_t patience_percent; /* of every allowance; 100 by lease_table_init */
};

/* Ids begin at first_id: one that no earlier life of the coordinator has used. */
void lease_table_init(struct lease_table *table, uint64_t first_id);
void lease_table_release(struct lease_table *table);

/* How long a lease of `jobs` jobs may stand in a phase without a sign of progress. */
uint32_t lease_allowance_ms(enum work_phase phase, uint32_t jobs);

/* Copies flights[count]. */
struct lease *lease_grant(struct lease_table *table, struct worker *worker, uint32_t epoch, struct flight *const *flights,
                          uint32_t count, uint64_t now_ms);
/* The same with an id of an earlier life, which no lease has now (asserted). */
struct lease *lease_adopt(struct lease_table *table, struct worker *worker, uint64_t id, uint32_t epoch,
                          struct flight *const *flights, uint32_t count, uint64_t now_ms);
struct lease *lease_find(const struct lease_table *table, uint64_t id); /* NULL: none */
/* What the worker says of it. ERR_STALE: its epoch is another one. */
MUST_USE enum err lease_progress(struct lease_table *table, struct lease *lease, const struct lease_progress *progress,
                                 uint64_t now_ms, struct error *error);
/* A worker draws one lease after the other: while one of them moves, those behind it wait and do not hang. Every lease of
 * `worker` gets at least the latest deadline that progress at `now_ms` gave to one of them. */
void lease_extend_waiting(struct lease_table *table, struct worker *worker, uint64_t now_ms);
void lease_drop_flight(struct lease *lease, const struct flight *flight); /* it has left */
void lease_end(struct lease_table *table, struct lease *lease);           /* frees it */
/* One whose deadline has passed, or NULL. */
struct lease *lease_expired(const struct lease_table *table, uint64_t now_ms);
/* The earliest deadline; UINT64_MAX: none. */
uint64_t lease_next_deadline_ms(const struct lease_table *table);

#endif
