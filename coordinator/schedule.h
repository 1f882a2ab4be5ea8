/*
 * schedule.h - which jobs go to which worker next.
 *
 * A job's way: a page of untaken indexes of an active sweep is claimed; somebody outside computes their specs and keys; a
 * key that is already on its way takes the new place along, a key that was perhaps rendered before is asked about, and the
 * others are ready, in their sweep's lane of jobs that share a batch. Ready ones become a lease. When a key's picture is
 * committed, all places that wait for it are done.
 *
 * Who is next: users by share.h, or one not far ahead of them (AFFINITY_MS) whose model the worker has at hand; of a user's
 * sweeps the one of the highest priority, among those one whose model is at hand (for AGEING_MS at most before an older one),
 * among those the oldest. A batch is filled up with jobs of other sweeps that can share it.
 *
 * Pure: no socket, no clock, no file, no randomness; callers pass `now_ms`, and do what the returned values say. Files:
 * schedule.c (workers, sweeps), flights.c (the tables of flights), page.c, grant.c, tail.c, fail.c, settle.c (commits, adopting,
 * dropping), why.c.
 */
#ifndef COORDINATOR_SCHEDULE_H
#define COORDINATOR_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/bloom.h"
#include "coordinator/lease.h"
#include "coordinator/queue.h"
#include "coordinator/share.h"
#include "coordinator/worker.h"
#include "proto/spec.h"

enum {
    PAGE_LEAST = 256,        /* indexes claimed at a time */
    PAGE_MOST = 4096,        /* where many are wanted, or most of them turn out to be known */
    DISTINCT_LIMIT = 3,      /* workers that fail a job: it has failed for good */
    ATTEMPTS_LIMIT = 3,      /* the same with fewer workers than that */
    COPIES_LIMIT = 2,        /* leases that a job may be in at once */
    READY_LEAST = 64,        /* jobs kept ready, workers or not */
    READY_MOST = 8192,
    READY_LIMIT = 1 << 17,   /* even where nobody can take those that are ready */
    BACK_OFF_FIRST_MS = 1000,
    BACK_OFF_MOST_MS = 60000,
    AGEING_MS = 30000,       /* how long a model at hand may go before an older sweep */
    AFFINITY_MS = 10000,     /* of all workers: how far ahead of the others a user may get whose model is at hand */
    LEASE_MS = 1000,         /* a lease is one batch, or as many as are drawn in this time */
    LEASE_ID_BITS = 40,      /* a lease's number in a life of the coordinator's; above it the life */
    EPOCH_BITS = 12          /* a job's grants in a life, in an epoch; above it the life: one that is adopted has a smaller one */
};

/* One index of one sweep: a job as the user counts them. */
struct place {
    struct order *order;
    uint32_t index;
};

enum flight_state {
    FLIGHT_ASKED,     /* the ledger is asked whether it knows the key */
    FLIGHT_READY,     /* in its lane */
    FLIGHT_BACK_OFF,  /* failed, and not before again_ms */
    FLIGHT_LEASED,
    FLIGHT_COMMITTING /* its picture is here, and it is with no worker */
};

/* One key on its way, and every place that waits for it. */
struct flight {
    struct digest key;
    struct spec spec;
    char *canonical;
    double cost;          /* units: worker.h */
    double charged_ms;    /* to its user, by the latest grant */
    enum flight_state state;
    bool committing;      /* its picture is here, not yet durable; a leased one stays leased until it is */
    struct place *places; /* [place_count]; none: nobody wants it any more, or (adopted) its page has not come yet */
    uint32_t place_count;
    uint32_t grants;      /* the largest epoch so far */
    uint32_t failures;    /* of itself, ever: its back-off */
    uint32_t attempts;    /* of these: charged to it, not to a worker that was benched for them */
    uint32_t distinct;    /* workers among the charged ones */
    uint64_t failed_on[DISTINCT_LIMIT]; /* [distinct] their numbers */
    uint64_t deliverer;   /* number of the worker whose picture is being committed; 0 unknown */
    char *trouble;        /* the last failure's sentence; NULL none */
    enum err trouble_code;
    struct lease *leases[COPIES_LIMIT]; /* [lease_count] */
    uint32_t lease_count;
    uint64_t again_ms;    /* BACK_OFF */
    size_t heap_at;       /* BACK_OFF: place in schedule->back_off */
    struct docket *docket; /* whose lane it is in, or was; NULL: nobody's */
    struct batch_class *class;
    struct lane *lane;              /* READY */
    struct flight *chain;           /* of the hash table */
    struct flight *next, *previous; /* of its lane */
};

/* Jobs that share a batch: same model, size, steps, ... (spec_batches_with). */
struct batch_class {
    struct spec spec;           /* prompts NULL */
    struct digest prepared;     /* its spec_model_key */
    uint32_t uses;              /* flights */
    struct lane *lanes;         /* with ready jobs, over all sweeps */
    struct batch_class *chain;  /* of the hash table */
};

/* The ready jobs of one sweep and one class; never empty. */
struct lane {
    struct docket *docket;
    struct batch_class *class;
    struct flight *first, *last;
    uint32_t count;
    struct lane *next, *previous;             /* of its docket */
    struct lane *class_next, *class_previous; /* of its class */
};

/* What the scheduler has of one sweep. */
struct docket {
    struct order *order;
    struct user *user;
    struct lane *lanes, *lanes_last;
    uint64_t ready;             /* jobs in its lanes */
    uint64_t coming;            /* claimed: in its page, or asked about */
    bool page_out;              /* one page of a sweep at a time */
    uint32_t page_size;
    double job_cost;            /* units, of those resolved last */
    uint64_t passed_ms;         /* since when a younger sweep goes first for its model; 0: none does */
    bool in_ready, in_claim;
    struct docket *ready_next, *ready_previous; /* of its user */
    struct docket *claim_next, *claim_previous;
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
void page_resolve(struct page *page); /* specs, canonical bytes and keys; reads only order->sweep; from any thread */

/* A place that failed for good. */
struct loss {
    struct place place;
    enum err code;
    char *text;
};

/* A lease that ended on our side: its worker must hear REVOKE. */
struct revoke {
    uint64_t worker, lease; /* the worker's number */
    uint32_t epoch;
};

/* Too much for a worker with that much memory, one job alone. */
struct memory_wall {
    struct memory_kind kind;
    uint64_t bytes;
};

/* A job that a worker says it is rendering, though the coordinator has forgotten it. */
struct held_job {
    struct digest key;
    struct spec spec;      /* taken by schedule_adopt */
    char *canonical;       /* taken by schedule_adopt */
};

struct scheduler {
    struct queue *queue;   /* borrowed */
    struct bloom *bloom;   /* borrowed: keys that were perhaps committed */
    struct share share;
    struct lease_table leases;
    struct worker **workers; /* [worker_count] by number - 1 */
    size_t worker_count;
    struct worker **names;   /* [name_count] the same, an open hash table by name */
    size_t name_count;
    double pace;             /* units a millisecond, of all workers that are here and measured */
    uint32_t present, measured; /* workers that are here, and those of them that are measured */
    struct speed *speeds;    /* [speed_count] by model, over all workers */
    size_t speed_count;
    double unit_ms;          /* over all; 0: nothing measured */
    struct memory_wall *walls;
    size_t wall_count;
    struct flight **buckets; /* [bucket_count] by key */
    size_t bucket_count, flight_count;
    struct batch_class **classes; /* [class_room] by what they share */
    size_t class_room, class_count;
    struct flight **back_off; /* [back_off_count] a heap by again_ms */
    size_t back_off_count, back_off_room;
    struct docket **dockets; /* [docket_count] */
    size_t docket_count;
    size_t orders_seen;      /* of queue->orders */
    size_t claimable;        /* dockets with untaken indexes */
    size_t ready_count, asked_count;
    size_t page_count;       /* pages out */
    uint64_t coming_count;   /* indexes in them */
    bool starved;            /* a worker found nothing among the ready ones */
    uint64_t version;        /* grows with whatever may give a worker a job that had none */
    uint64_t look_again_ms;  /* when time alone may; UINT64_MAX: it may not */
    uint32_t max_batch;
    uint32_t first_epoch;    /* of this life */
    struct place *marks;   /* [mark_count]: places whose key the ledger knew; to be made durable */
    size_t mark_count, mark_room;
    struct loss *losses;   /* [loss_count]: to be made durable */
    size_t loss_count, loss_room;
    struct revoke *revokes; /* [revoke_count]: to be sent, and emptied by revoke_count = 0 */
    size_t revoke_count, revoke_room;
};

/* `life` grows with every start: lease ids and epochs of different lives differ. A lease has at most max_batch jobs. Sweeps of
 * the queue are found by themselves. */
void schedule_init(struct scheduler *schedule, struct queue *queue, struct bloom *bloom, uint64_t life, uint32_t max_batch);
void schedule_release(struct scheduler *schedule); /* before the queue's */

/* ---- workers ---------------------------------------------------------------------------------------------------------- */

struct worker *schedule_worker(struct scheduler *schedule, const char *name);                  /* found or made */
struct worker *schedule_find_worker(const struct scheduler *schedule, const char *name);       /* NULL: none */
struct worker *schedule_worker_number(const struct scheduler *schedule, uint64_t number);      /* NULL: none; O(1) */
/* It is connected, and this is what it is. Also for one that is here and says hello again: it holds what it held. One that was
 * draining still is: schedule_drain(false) when another process takes the name. */
void schedule_worker_here(struct scheduler *schedule, struct worker *worker, const struct worker_facts *facts);
/* Its connection is gone: its leases come back at no charge, and nobody need be told. */
void schedule_worker_gone(struct scheduler *schedule, struct worker *worker, uint64_t now_ms);
void schedule_drain(struct scheduler *schedule, struct worker *worker, bool drain); /* granted nothing, or again something */
/* The estimated time of a job on this worker, in milliseconds; by the others of its model if it is not measured; 0: unknown. */
double schedule_job_ms(const struct scheduler *schedule, const struct worker *worker, const struct spec *spec);

/* ---- users and sweeps ------------------------------------------------------------------------------------------------- */

void schedule_set_weight(struct scheduler *schedule, const char *user, uint32_t weight); /* 1..LIMIT_WEIGHT */
/* Call it after every change from outside of order->state, order->priority, order->sweep or order->cursor (paused, resumed, asked
 * for again, another priority, opened). New sweeps are noticed without it. Paused: nothing new is claimed or granted, what
 * runs ends. Cancelled: use schedule_drop_order. */
void schedule_order_changed(struct scheduler *schedule, struct order *order);
/* The sweep is cancelled (its state says so already): nobody wants its places any more. Leases that nobody wants at all end,
 * and are in schedule->revokes. */
void schedule_drop_order(struct scheduler *schedule, struct order *order);

/* ---- pages ------------------------------------------------------------------------------------------------------------ */

/* Are more ready jobs wanted than there are, and may there be some? `wanted` is what the workers ask for. */
bool schedule_wants_page(struct scheduler *schedule, uint32_t wanted);
/* Claim a page: of the user whose turn it is, one a sweep at a time, any number at once. False: none wanted, or none found in
 * one turn's looking (schedule_wants_page then says whether to go on). */
bool schedule_take_page(struct page *page, struct scheduler *schedule, uint32_t wanted);
/* The page, resolved. Keys the ledger must be asked about are appended to *asked (room for page->count). Empties the page. */
void schedule_add_page(struct digest *asked, size_t *asked_count, struct scheduler *schedule, struct page *page);
/* It could not be resolved now: its places can be claimed again. Empties the page. */
void schedule_page_lost(struct scheduler *schedule, struct page *page);
/* The ledger's answer about a key that was asked. */
void schedule_answer(struct scheduler *schedule, const struct digest *key, bool known);

/* ---- leases ----------------------------------------------------------------------------------------------------------- */

/* Up to `room` jobs that share a batch; NULL: nothing now (schedule_next_ms says when time alone may change that). Cheap to
 * call again while nothing has changed. */
struct lease *schedule_grant(struct scheduler *schedule, struct worker *worker, uint32_t room, uint64_t now_ms);
/* Let workers that found nothing look once more at `again_ms`. */
void schedule_look_again(struct scheduler *schedule, uint64_t again_ms);
/* May there be something for a worker that found nothing when the schedule was at `version`? If not, nobody need ask but those
 * who have not asked since. */
bool schedule_has_news(struct scheduler *schedule, uint64_t version, uint64_t now_ms);
/* Once a turn, whether anybody waits for a lease or not: else schedule_next_ms might stay in the past. */
void schedule_tick(struct scheduler *schedule, uint64_t now_ms);
/* When time alone changes something: a back-off or a bench ends, a held-back or idle worker should look again, a deadline
 * passes. UINT64_MAX: never; now_ms: something waits to be done. */
uint64_t schedule_next_ms(const struct scheduler *schedule, uint64_t now_ms);

/* What the worker says of one lease. ERR_STALE: unknown, another epoch or another worker's (the caller sends REVOKE, unless
 * it is delivering). Extends the worker's waiting leases too. */
MUST_USE enum err schedule_progress(struct scheduler *schedule, struct worker *worker, const struct lease_progress *progress,
                                    uint64_t now_ms, struct error *error);
/* One lease whose deadline has passed, or NULL; the caller logs it, revokes it and ends it by schedule_trouble. */
struct lease *schedule_expired(const struct scheduler *schedule, uint64_t now_ms);

/* A worker holds a lease of the coordinator's earlier life. Jobs that were perhaps committed or are being committed are left out,
 * and those that are leased at the very same epoch.
 * False: nothing is left, or the id is another worker's: REVOKE it. Places join when their page comes. What `jobs` own is taken
 * in either case. */
bool schedule_adopt(struct scheduler *schedule, struct worker *worker, uint64_t lease, uint32_t epoch, struct held_job *jobs,
                    size_t count, uint64_t now_ms);

/* ---- failures: nothing happens where the lease, or the job in it, is not this worker's any more --------------------------- */

/* The job failed of itself, or its result was refused: charged; tried again elsewhere after a while, or lost for good. */
void schedule_fail(struct scheduler *schedule, struct worker *worker, uint64_t lease, const struct digest *key, enum err code,
                   const char *text, uint64_t now_ms);
/* The same without a lease (a refused result says nothing reliable of one): charged if the worker has the job leased. */
void schedule_fail_key(struct scheduler *schedule, struct worker *worker, const struct digest *key, enum err code,
                       const char *text, uint64_t now_ms);
/* These jobs together were too much for its memory: nobody is charged, it gets half as many from now on. */
void schedule_memory(struct scheduler *schedule, struct worker *worker, uint64_t lease, const struct digest *keys, size_t count,
                     const char *text, uint64_t now_ms);
/* The worker's own trouble: all jobs of the lease come back at no charge; ends it. `text` may be NULL. */
void schedule_trouble(struct scheduler *schedule, struct worker *worker, uint64_t lease, enum err code, const char *text,
                      uint64_t now_ms);
/* The lease never reached its worker: as if it had not been granted. */
void schedule_ungrant(struct scheduler *schedule, struct lease *lease);

/* ---- commits ---------------------------------------------------------------------------------------------------------- */

/* A valid picture of this key came from `worker` (NULL unknown): learns its speed, ends its row of failures, and ends the
 * job in a copy's lease. Before schedule_commit_begin. */
void schedule_delivered(struct scheduler *schedule, struct worker *worker, const struct digest *key, uint32_t render_ms,
                        uint64_t now_ms);
/* A valid picture of this key is here (whoever sent it), and on its way to the disk. */
void schedule_commit_begin(struct scheduler *schedule, const struct digest *key);
/* It is durable, and the places that were committed with it are set done. Those that came later become marks. The lease ends
 * with its last flight. */
void schedule_committed(struct scheduler *schedule, const struct digest *key);
/* It is not: whoever has it may send it again. */
void schedule_commit_failed(struct scheduler *schedule, const struct digest *key);

/* A place is done since its key is known; it failed for good. Both become durable with the next commit. */
void schedule_mark(struct scheduler *schedule, struct place place);
void schedule_lose(struct scheduler *schedule, struct place place, enum err code, const char *text);

struct flight *schedule_find(const struct scheduler *schedule, const struct digest *key);

#endif
