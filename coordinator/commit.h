/*
 * commit.h - one group made durable: the objects, then one ledger transaction, then the acknowledgements.
 *
 * Private to gather.c and commit.c.
 */
#ifndef COORDINATOR_COMMIT_H
#define COORDINATOR_COMMIT_H

#include "coordinator/desk.h"
#include "proto/link.h"
#include "proto/message.h"

struct coordinator;

/* One RESULTS message on its way to the disk. */
struct delivery {
    struct task task; /* first: a task is its delivery */
    struct coordinator *farm;
    struct delivery *next;
    struct route route;
    uint64_t worker, request;
    struct message_results results; /* owned */
    struct error *errors;           /* [results.count]; code ERR_OK: valid */
};
void delivery_free(struct delivery *delivery);

/* Take what waits (deliveries, marks, losses) as one group to the ledger desk. */
void commit_begin(struct coordinator *farm);

#endif
