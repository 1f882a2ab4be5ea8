/*
 * lease.h - one worker's right to render a run of jobs until a deadline.
 *
 * Pure: no socket, no clock; callers pass `now_ms`. The deadline is extended by progress: another phase, another step. A
 * heartbeat that shows the same step again extends nothing, so a worker that hangs while its heart beats loses its lease.
 */
#ifndef COORDINATOR_LEASE_H
#define COORDINATOR_LEASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/message.h"

struct flight; /* schedule.h */

struct lease {
    uint64_t id;
    uint32_t epoch;          /* grows with every grant of the same jobs */
    uint64_t worker;
    struct flight **flights; /* [count]: those not yet committed, failed or returned */
    uint32_t count;
    uint32_t granted;        /* how many there were */
    enum work_phase phase;
    uint32_t step, steps;
    uint64_t granted_ms, progress_ms, deadline_ms; /* monotonic */
};

struct lease_table {
    struct lease **leases; /* [count] in order of granting */
    size_t count;
    uint64_t next_id;
};

/* Ids begin at first_id: one that no earlier life of the coordinator has used. */
void lease_table_init(struct lease_table *table, uint64_t first_id);
void lease_table_release(struct lease_table *table);

/* How long a lease of `jobs` jobs may stand in a phase without a sign of progress. */
uint32_t lease_allowance_ms(enum work_phase phase, uint32_t jobs);

/* Copies flights[count]. */
struct lease *lease_grant(struct lease_table *table, uint64_t worker, uint32_t epoch, struct flight *const *flights,
                          uint32_t count, uint64_t now_ms);
struct lease *lease_find(const struct lease_table *table, uint64_t id); /* NULL: none */
/* What the worker says of it. ERR_STALE: its epoch is another one. */
MUST_USE enum err lease_progress(struct lease *lease, const struct lease_progress *progress, uint64_t now_ms,
                                 struct error *error);
/* A worker draws one lease after the other: while one of them moves, those behind it wait and do not hang. Every lease of
 * `worker` gets at least the latest deadline that progress at `now_ms` gave to one of them. */
void lease_extend_waiting(struct lease_table *table, uint64_t worker, uint64_t now_ms);
void lease_drop_flight(struct lease *lease, const struct flight *flight); /* it has left */
void lease_end(struct lease_table *table, struct lease *lease);           /* frees it */
/* One whose deadline has passed, or NULL. */
struct lease *lease_expired(const struct lease_table *table, uint64_t now_ms);
/* The earliest deadline; UINT64_MAX: none. */
uint64_t lease_next_deadline_ms(const struct lease_table *table);

#endif
