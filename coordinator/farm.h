/*
 * farm.h - the loop's state, as the files that answer messages see it. Private to coordinator/.
 *
 * Everything here belongs to the loop's thread, but what is said to belong to a desk.
 */
#ifndef COORDINATOR_FARM_H
#define COORDINATOR_FARM_H

#include <stdatomic.h>

#include "coordinator/bloom.h"
#include "coordinator/coordinator.h"
#include "coordinator/desk.h"
#include "coordinator/gather.h"
#include "coordinator/ledger.h"
#include "coordinator/library.h"
#include "coordinator/preview.h"
#include "coordinator/queue.h"
#include "coordinator/schedule.h"
#include "coordinator/session.h"
#include "coordinator/upload.h"
#include "proto/link.h"
#include "store/store.h"

struct coordinator {
    struct coordinator_options options;
    char *ledger_path;
    struct store *store;     /* thread-safe */
    struct library *library; /* immutable */
    struct ledger *ledger;   /* the ledger desk's, once the loop runs */
    struct link *link;
    struct inbox *inbox;
    struct desk *ledger_desk; /* SQL, and objects of results */
    struct desk *check_desk;  /* hashing and decoding of results */
    struct desk *plan_desk;   /* specs and keys */
    struct desk *file_desk;   /* uploads, fetches, submissions */
    struct queue queue;
    struct bloom *bloom;
    struct scheduler scheduler;
    struct sessions sessions;
    struct gather gather;
    struct uploads uploads;
    struct previews previews;
    uint64_t now_ms;          /* of this turn of the loop */
    uint64_t free_bytes, free_checked_ms;
    bool store_full;          /* leasing is stopped */
    uint64_t full_until_ms;   /* a write that found no room is believed for a while, whatever the system says */
    bool tidying, tidy_again; /* a slice of the ledger's upkeep is under way; there is something to do for one */
    bool closing;             /* no new work is begun */
    atomic_bool stop;
};

/* Send, and log what could not be sent. ERR_UNREACHABLE: the receiver is gone. */
enum err farm_send(struct coordinator *farm, const struct route *to, const struct message *message);
void farm_refuse(struct coordinator *farm, const struct route *to, uint64_t request, const struct error *error);
void farm_done(struct coordinator *farm, const struct route *to, uint64_t request);
/* The store said that the disk is full, or there is room again. */
void farm_set_full(struct coordinator *farm, bool full, const char *why);

/* Parse a sweep's JSON from the store and open its tables; from any thread. *sweep is owned by the caller. */
MUST_USE enum err farm_open_sweep(struct sweep **sweep, struct coordinator *farm, const struct digest *id,
                                  struct error *error);
/* An owned path of an object, in the store or in a models folder; sweep_attach's callback. */
char *farm_object_path(void *farm, const struct digest *digest);
/* At start: the ledger, its sweeps, the filter of keys. */
MUST_USE enum err farm_recover(struct coordinator *farm, struct error *error);

#endif
