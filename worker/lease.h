/*
 * lease.h - one lease in the worker's hands: its jobs, and how far they are.
 *
 * Made and freed by the socket thread. The threads that work on it write `progress`, `finished`, `drawn`, `refused`, `begin_ms` and
 * `moved_ms`; the socket thread reads them for heartbeats and writes `cancelled`. Everything else is constant once the lease has been handed on.
 */
#ifndef WORKER_LEASE_H
#define WORKER_LEASE_H

#include <stdatomic.h>

#include "proto/message.h"
#include "proto/spec.h"
#include "worker/places.h"

struct lease {
    uint64_t id;
    uint32_t epoch;
    struct spec *specs;   /* [count] */
    struct digest *keys;  /* [count] */
    size_t count;
    struct file_places places; /* of its model and files: set by the thread that makes models ready, before the drawing thread sees it */
    uint64_t ahead_ns;         /* that its models were loaded by that thread */
    atomic_bool cancelled;
    atomic_bool drawn;           /* or as far as it will be: its last pictures are being finished */
    atomic_bool refused;         /* the outbox took none of a batch: no more is drawn */
    bool ended;                  /* the socket thread's own: only its results are waited for */
    atomic_uint_fast64_t progress; /* phase, step and steps in one word, so that they are always of one moment */
    atomic_size_t finished;      /* jobs drawn, failed or found done */
    atomic_uint_fast64_t begin_ms; /* when its rendering began; 0: it waits */
    atomic_uint_fast64_t moved_ms; /* when its progress last changed (monotonic) */
    struct lease *next;          /* in the queue of a thread */
};

/* From ASSIGN: every job's key and spec are checked, and that all may share one batch. */
MUST_USE enum err lease_create(struct lease **lease, const struct message_assign *assign, struct error *error);
void lease_destroy(struct lease *lease);
/* The same the other way round, for HOLD: message_release frees it. */
void lease_hold(struct message *hold, const struct lease *lease);

void lease_set_progress(struct lease *lease, enum work_phase phase, uint32_t step, uint32_t steps);
struct lease_progress lease_get_progress(const struct lease *lease);

#endif
