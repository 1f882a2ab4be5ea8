/*
 * schedule.h - which jobs go to which worker next.
 *
 * A job's way: a page of untaken indexes of the oldest active sweep is claimed; somebody outside computes their specs and
 * keys; a key that is already on its way takes the new place along, a key that was perhaps rendered before is asked about,
 * and the others are ready. Ready ones that can share a batch become a lease. When a key's picture is committed, all places
 * that wait for it are done.
 *
 * Pure: no socket, no clock, no file; callers pass `now_ms`, and do what the returned values say.
 */
#ifndef COORDINATOR_SCHEDULE_H
#define COORDINATOR_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/bloom.h"
#include "coordinator/lease.h"
#include "coordinator/queue.h"
#include "proto/spec.h"

enum {
    PAGE_LEAST = 256,    /* indexes claimed at a time */
    PAGE_MOST = 4096,    /* where most of them turn out to be known */
    ATTEMPTS_LIMIT = 3,  /* of a job that fails of itself */
    READY_LEAST = 64,    /* jobs kept ready, workers or not */
    READY_MOST = 8192
};

/* One index of one sweep: a job as the user counts them. */
struct place {
    struct order *order;
    uint32_t index;
};

enum flight_state {
    FLIGHT_ASKED,     /* the ledger is asked whether it knows the key */
    FLIGHT_READY,
    FLIGHT_LEASED,
    FLIGHT_COMMITTING /* its picture is here, and it is with no worker */
};

/* One key on its way, and every place that waits for it. */
struct flight {
    struct digest key;
    struct spec spec;
    char *canonical;
    enum flight_state state;
    bool committing;      /* its picture is here, not yet durable; a leased one stays leased until it is */
    struct place *places; /* [place_count]; none: nobody wants it any more */
    uint32_t place_count;
    uint32_t grants;
    uint32_t attempts;    /* that failed of themselves */
    uint64_t failed_on[ATTEMPTS_LIMIT]; /* workers */
    char *trouble;        /* the last failure's sentence; NULL none */
    enum err trouble_code;
    struct lease *lease;  /* LEASED */
    struct flight *chain;           /* of the hash table */
    struct flight *next, *previous; /* of the ready ones */
};

/* A claimed index, to be resolved outside. */
struct page_job {
    uint32_t index;
    struct spec spec;      /* taken by schedule_add_page */
    char *canonical;       /* taken by schedule_add_page */
    struct digest key;
    enum err failed;       /* it has no spec: why */
    char *failure;
};
struct page {
    struct order *order;
    uint32_t life; /* order->life when it was claimed */
    struct page_job *jobs;
    size_t count;
};
void page_release(struct page *page);
void page_resolve(struct page *page); /* specs, canonical bytes and keys; reads only order->sweep */

/* A place that failed for good. */
struct loss {
    struct place place;
    enum err code;
    char *text;
};

struct scheduler {
    struct queue *queue;   /* borrowed */
    struct bloom *bloom;   /* borrowed: keys that were perhaps committed */
    struct lease_table leases;
    struct flight **buckets; /* [bucket_count] by key */
    size_t bucket_count, flight_count;
    struct flight *ready_first, *ready_last;
    size_t ready_count, asked_count;
    bool page_out;         /* one page at a time */
    uint32_t page_size;
    uint32_t max_batch;
    struct place *marks;   /* [mark_count]: places whose key the ledger knew; to be made durable */
    size_t mark_count, mark_room;
    struct loss *losses;   /* [loss_count]: to be made durable */
    size_t loss_count;
};

void schedule_init(struct scheduler *schedule, struct queue *queue, struct bloom *bloom, uint64_t first_lease,
                   uint32_t max_batch);
void schedule_release(struct scheduler *schedule);

/* Are more ready jobs wanted than there are, and may there be some? `wanted` is what the workers ask for. */
bool schedule_wants_page(const struct scheduler *schedule, uint32_t wanted);
/* Claim a page. False: none wanted, or none found in one turn's looking (schedule_wants_page then says whether to go on). */
bool schedule_take_page(struct page *page, struct scheduler *schedule, uint32_t wanted);
/* The page, resolved. Keys the ledger must be asked about are appended to *asked (room for page->count). Empties the page. */
void schedule_add_page(struct digest *asked, size_t *asked_count, struct scheduler *schedule, struct page *page);
/* The ledger's answer about a key that was asked. */
void schedule_answer(struct scheduler *schedule, const struct digest *key, bool known);

/* Up to `room` jobs that share a batch for this worker; NULL: nothing now. `workers`: how many are there, to share a sweep's
 * tail evenly and to try a failed job elsewhere. */
struct lease *schedule_grant(struct scheduler *schedule, uint64_t worker, uint32_t room, uint32_t workers, uint64_t now_ms);

/* A place is done since its key is known; it failed for good. Both become durable with the next commit. */
void schedule_mark(struct scheduler *schedule, struct place place);
void schedule_lose(struct scheduler *schedule, struct place place, enum err code, const char *text);

struct flight *schedule_find(const struct scheduler *schedule, const struct digest *key);

/* A valid picture of this key is here (whoever sent it), and on its way to the disk. */
void schedule_commit_begin(struct scheduler *schedule, const struct digest *key);
/* It is durable, and the places that were committed with it are set done. Those that came later become marks. The lease ends
 * with its last flight. */
void schedule_committed(struct scheduler *schedule, const struct digest *key);
/* It is not: whoever has it may send it again. */
void schedule_commit_failed(struct scheduler *schedule, const struct digest *key);

/* The job failed of itself: tried again, or lost for good after ATTEMPTS_LIMIT. Nothing happens if it is not in this lease. */
void schedule_fail(struct scheduler *schedule, struct lease *lease, const struct digest *key, enum err code, const char *text);
/* All jobs of the lease come back, at no charge; ends it. `text`: the trouble, or NULL. */
void schedule_return(struct scheduler *schedule, struct lease *lease, enum err code, const char *text);

/* The sweep is cancelled: nobody wants its places any more. Leases that nobody wants at all are given to `revoke`, which
 * may not change the schedule, and are then ended. */
void schedule_drop_order(struct scheduler *schedule, struct order *order,
                         void (*revoke)(void *context, const struct lease *lease), void *context);

#endif
