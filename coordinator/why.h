/*
 * why.h - which rule holds a job, a sweep or a worker, and what the other rules exclude.
 *
 * Pure, and read-only: it asks the same questions as schedule_grant. Whoever answers a person makes sentences of it.
 */
#ifndef COORDINATOR_WHY_H
#define COORDINATOR_WHY_H

#include "coordinator/schedule.h"

enum why_rule {
    WHY_NOTHING = 1,    /* nothing holds it */
    /* of a job or a sweep */
    WHY_DONE,           /* or failed, or nothing is left of it */
    WHY_CANCELLED,
    WHY_PAUSED,
    WHY_BROKEN,         /* its sweep is not opened */
    WHY_LEASED,
    WHY_COMMITTING,
    WHY_ASKED,          /* the ledger is asked whether it is there already */
    WHY_NO_WORKERS,
    WHY_NUMERICS,       /* no worker that is here can compute with its numerics */
    WHY_MEMORY,         /* no worker that is here has the memory */
    WHY_BENCHED,        /* every worker that could take it is benched */
    WHY_DRAINING,       /* every worker that could take it is draining */
    WHY_BACK_OFF,       /* it failed, and is tried again later */
    WHY_FAILED_HERE,    /* it waits for a worker that has not failed it */
    WHY_PRIORITY,       /* sweeps of the same user with a higher priority go first */
    WHY_SHARE,          /* other users have got less of late */
    WHY_QUEUED,         /* jobs before it */
    /* of a worker */
    WHY_ABSENT,
    WHY_WORKING,
    WHY_PROBATION,      /* one job at a time until one succeeds */
    WHY_NO_WORK,        /* nothing waits */
    WHY_TAIL            /* what is left will be ended sooner by faster ones */
};

struct why {
    enum why_rule rule;
    /* How many of the workers that are here each rule excludes; a worker is counted under the first that does. */
    uint32_t workers, lack_numerics, lack_memory, failed_it, benched, draining, able;
    uint64_t before;             /* jobs that go before it */
    const struct order *first;   /* the sweep that goes first; NULL: none */
    const struct worker *worker; /* that has it, or that ends its bench first; NULL: none */
    const struct lease *lease;   /* LEASED */
    uint64_t until_ms;           /* when time alone changes it (monotonic); 0: time alone does not */
    int32_t priority;            /* of `first` */
    enum numerics numerics;      /* that is wanted */
    struct digest model;
    uint32_t width, height;      /* MEMORY: of the jobs nobody can take */
    uint32_t attempts;
};

const char *why_rule_name(enum why_rule rule); /* "no-workers", "back-off", ...: a stable word */

void schedule_why_order(struct why *why, const struct scheduler *schedule, const struct order *order, uint64_t now_ms);
void schedule_why_flight(struct why *why, const struct scheduler *schedule, const struct flight *flight, uint64_t now_ms);
void schedule_why_worker(struct why *why, const struct scheduler *schedule, const struct worker *worker, uint64_t now_ms);

#endif
