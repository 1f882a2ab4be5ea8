/*
 * gather.h - from RESULTS to what is safe: checked in a helper thread, committed in groups, then acknowledged.
 *
 * One commit is under way at a time; what comes meanwhile is the next group. Order: objects durable, one ledger
 * transaction, acknowledgements.
 */
#ifndef COORDINATOR_GATHER_H
#define COORDINATOR_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"

struct coordinator;
struct session;
struct delivery;

struct gather {
    struct delivery *first, *last; /* checked, not yet in a commit */
    size_t waiting;                /* their items */
    uint64_t since_ms;             /* the oldest of them */
    uint64_t not_before_ms;        /* after a failed commit */
    bool committing;
};

/* RESULTS of a worker: takes what the message holds. */
void gather_take(struct coordinator *farm, struct session *session, struct message *message);
/* Begin a commit if it is time for one. */
void gather_turn(struct coordinator *farm);
uint64_t gather_next_ms(const struct coordinator *farm);
void gather_release(struct gather *gather);

/* Exposed for tests: is this what it claims to be? The sentence names what is not. */
MUST_USE enum err gather_check(const struct result_item *item, struct error *error);

#endif
