/*
 * coordinator.h - the farm's centre: takes sweeps, gives out leases, gathers results, answers questions.
 *
 * One loop owns all state; helper threads do files, hashes and SQL. docs/COORDINATOR.md tells the whole.
 */
#ifndef COORDINATOR_COORDINATOR_H
#define COORDINATOR_COORDINATOR_H

#include <stdint.h>

#include "base/error.h"
#include "proto/catalog.h"

struct coordinator;

struct user_weight {
    const char *user;
    uint32_t weight;              /* 1..LIMIT_WEIGHT */
};

struct coordinator_options {
    const char *store;            /* a folder */
    const char *ledger;           /* a file; NULL: ledger.sqlite in the store */
    const char *const *addresses; /* [address_count] to listen on */
    uint32_t address_count;
    const char *models;           /* colon-separated folders; NULL none */
    uint32_t heartbeat_ms;        /* how often workers say they live; 0: 1000 */
    uint32_t liveness_ms;         /* silence that ends a worker's leases; 0: 10000 */
    uint32_t max_batch;           /* jobs of a lease at most; 0: LIMIT_BATCH */
    uint32_t patience_percent;    /* of the time that a lease may stand without progress; 0: 100 */
    const struct user_weight *weights; /* [weight_count]; who is not named has weight 1 */
    uint32_t weight_count;
    enum numerics numerics;       /* what numerics auto becomes in sweeps that are submitted; fp32 is 0 */
    uint64_t free_mark_bytes;     /* less free space than this stops leasing */
    uint64_t credit_bytes;        /* unacknowledged result bytes a worker may have; 0: 16 MiB */
};

/* Opens the store and the ledger, takes up the sweeps where they were, and listens. */
MUST_USE enum err coordinator_create(struct coordinator **coordinator, const struct coordinator_options *options,
                                     struct error *error);
/* What it listens on: the last address, "*" replaced. */
const char *coordinator_address(const struct coordinator *coordinator);
/* Until coordinator_stop. What was received and is valid is committed before it returns. */
MUST_USE enum err coordinator_run(struct coordinator *coordinator, struct error *error);
/* One turn of coordinator_run, without its waiting. The next one is due when there is a message or a task came back, and at
 * coordinator_wakes_ms at the latest. */
MUST_USE enum err coordinator_turn(struct coordinator *coordinator, struct error *error);
uint64_t coordinator_wakes_ms(struct coordinator *coordinator);
void coordinator_stop(struct coordinator *coordinator); /* from any thread or signal handler */
void coordinator_destroy(struct coordinator *coordinator);

#endif
